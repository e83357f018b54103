"""The daemon's end of one monitor process, in which types of third parties live.

Its end is seen through a pidfd, whatever the reason. What a script or program started by a type must know: the monitor
is killed together with its process group. Whatever is to outlive it takes a session of its own (setsid).
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.errors import FaultError, error_from_status
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.states import ResourceMonitorState, ResourceState, ResourceStatus
from quorate.clusapi.status import Status
from quorate.hosting import monitor_messages as messages
from quorate.hosting.resource_type import HolderLost, ReportStatus

START_WITHIN: Final = 30.0
"""Seconds that a monitor process has to begin; a machine under load takes some for an interpreter."""

_FAREWELL: Final = 2.0  # seconds that a monitor has to end after a goodbye
_PENDING: Final = frozenset({ResourceState.ONLINE_PENDING, ResourceState.OFFLINE_PENDING})
_STATES: Final[Mapping[str, ResourceMonitorState]] = {
    "open": ResourceMonitorState.INITIALIZING_RESOURCE,
    "close": ResourceMonitorState.DELETING_RESOURCE,
    "online": ResourceMonitorState.ONLINE_RESOURCE,
    "offline": ResourceMonitorState.OFFLINE_RESOURCE,
    "terminate": ResourceMonitorState.TERMINATE_RESOURCE,
    "looks_alive": ResourceMonitorState.LOOKS_ALIVE_POLL,
    "is_alive": ResourceMonitorState.IS_ALIVE_POLL,
    "resource_control": ResourceMonitorState.RESOURCE_CONTROL,
    "resource_type_control": ResourceMonitorState.RESOURCE_TYPE_CONTROL,
}


@dataclass(frozen=True, slots=True)
class CallUnderWay:
    """A call of an entry point that has not returned; ``resource`` None: of the type itself."""

    type_name: str
    entry: str
    resource: ResourceId | None
    began: float  # the loop's clock
    answer: asyncio.Future[JsonValue]


class Monitor:
    """One monitor process, and the calls that are under way in it."""

    def __init__(
        self, on_lost: Callable[["Monitor", str], None], environment: Mapping[str, str], deadline: int
    ) -> None:
        """Prepare it; :meth:`start` starts the process. ``on_lost`` is called once, when it has ended unasked.

        ``deadline`` is the descriptor of a :class:`~quorate.hosting.shared_deadline.SharedDeadline`.
        """
        self._on_lost = on_lost
        self._deadline = deadline
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._calls: dict[int, CallUnderWay] = {}
        self._reporters: dict[int, tuple[ResourceId, ReportStatus]] = {}
        self._number = 0
        self._cause = ""
        self._deadlocked = False
        self._leaving = False
        self._ready = asyncio.Event()
        self._gone = asyncio.Event()

    @property
    def pid(self) -> int:
        """Its process id; 0 before the start."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_alive(self) -> bool:
        """Answer whether calls can be made."""
        return self._ready.is_set() and not self._gone.is_set() and not self._cause and not self._leaving

    @property
    def is_deadlocked(self) -> bool:
        """Answer whether it is ended because a call in it hangs."""
        return self._deadlocked

    @property
    def is_gone(self) -> bool:
        """Answer whether the process has ended."""
        return self._gone.is_set()

    @property
    def under_way(self) -> tuple[CallUnderWay, ...]:
        """The calls that have not returned, oldest first."""
        return tuple(self._calls.values())

    @property
    def working_for(self) -> frozenset[ResourceId]:
        """The resources that are being called, or for which a pending online or offline goes on."""
        called = {call.resource for call in self._calls.values() if call.resource is not None}
        return frozenset(called | {resource for resource, _ in self._reporters.values()})

    @property
    def state(self) -> ResourceMonitorState:
        """What it does; of several calls, the oldest counts."""
        if self._deadlocked:
            return ResourceMonitorState.DEADLOCKED
        if self._leaving:
            return ResourceMonitorState.SHUTDOWN_RESOURCE
        if not self._ready.is_set():
            return ResourceMonitorState.INITIALIZING
        oldest = next(iter(self._calls.values()), None)
        return ResourceMonitorState.IDLE if oldest is None else _STATES[oldest.entry]

    async def start(self) -> None:
        """Start the process and wait until it takes calls. Raises FaultError 5017 and 5931 when that fails."""
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: ASYNC220 — starts without waiting
                [sys.executable, "-P", "-m", "quorate.hosting.monitor_main", str(theirs.fileno()), str(self._deadline)],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._deadline),
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise FaultError(Status.ERROR_RESMON_CREATE_FAILED, f"no monitor process could start: {error}") from error
        finally:
            theirs.close()
        self._pidfd = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_exit)
        ours.setblocking(False)
        reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        self._reading = asyncio.create_task(self._read(reader), name=f"monitor {self.pid}")
        await self._wait_ready()

    async def _wait_ready(self) -> None:
        try:
            async with asyncio.timeout(START_WITHIN):
                await self._ready.wait()
        except TimeoutError:
            self.kill(f"the monitor process {self.pid} did not begin within {START_WITHIN:g} s")
            await self._gone.wait()
        if self._gone.is_set():
            raise FaultError(Status.ERROR_CLUSTER_RHS_FAILED_INITIALIZATION, self._cause or "it ended as it began")

    async def call(
        self,
        type_name: str,
        entry: str,
        resource_id: ResourceId | None,
        arguments: messages.Message,
        report: ReportStatus | None = None,
    ) -> JsonValue:
        """Call an entry point and return what it returns. Raises what it raised, or :class:`HolderLost`."""
        if self._writer is None or not self.is_alive:
            raise HolderLost(self._cause or f"the monitor process {self.pid} is ending")
        self._number += 1
        number = self._number
        message = messages.pack_message(
            {"call": number, "type": type_name, "entry": entry, "resource": resource_id, "arguments": arguments}
        )
        if report is not None and resource_id is not None:
            self.forget_reports(resource_id)
            self._reporters[number] = resource_id, report
        loop = asyncio.get_running_loop()
        call = CallUnderWay(type_name, entry, resource_id, loop.time(), loop.create_future())
        self._calls[number] = call
        self._writer.write(message)
        try:
            value = await call.answer
        except BaseException:
            self._reporters.pop(number, None)
            raise
        finally:
            self._calls.pop(number, None)
        if value != Status.ERROR_IO_PENDING:
            self._reporters.pop(number, None)  # it is done: nothing was left behind that could report
        return value

    def forget_reports(self, resource_id: ResourceId) -> None:
        """Let nobody hear of the resource's earlier operations any more."""
        for number in [number for number, (owner, _) in self._reporters.items() if owner == resource_id]:
            del self._reporters[number]

    def kill(self, sentence: str, *, deadlocked: bool = False) -> None:
        """End the process and whatever it started in its session now; ``sentence`` says why."""
        self._cause = self._cause or sentence
        self._deadlocked = self._deadlocked or deadlocked
        self._kill_group()

    async def stop(self) -> None:
        """Let the process end and stop nothing; kill it when it takes too long."""
        if self._process is None or self._reading is None:
            return
        self._leaving = True
        if self._writer is not None and not self._gone.is_set():
            self._writer.write(messages.pack_message({"goodbye": True}))
        try:
            async with asyncio.timeout(_FAREWELL):
                await self._gone.wait()
        except TimeoutError:
            self.kill("it did not end when it was asked to")
            await self._gone.wait()
        await self._reading

    async def wait_gone(self) -> None:
        """Return when the process has ended and everybody has been told."""
        await self._gone.wait()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                header = await reader.readexactly(messages.HEADER.size)
                data = await reader.readexactly(messages.parse_length(header))
                self._take(messages.parse_message(data))
                await asyncio.sleep(0)  # one that never stops talking must not keep everybody else waiting
        except messages.BadMessage as error:
            self.kill(f"the monitor process {self.pid} was ended: {error.sentence}")
        except (OSError, asyncio.IncompleteReadError):
            return  # the process has ended, or is about to: the pidfd tells

    def _take(self, message: messages.Message) -> None:
        if "ready" in message:
            self._ready.set()
            return
        if "report" in message:
            self._take_report(message)
            return
        call = self._calls.get(messages.number_of(message.get("call")))
        if call is None or call.answer.done():
            return  # whoever called has given up
        if "status" not in message:
            call.answer.set_result(message.get("value"))
            return
        status, sentence = messages.status_of(message["status"]), messages.text_of(message.get("sentence"))
        if status == Status.ERROR_SUCCESS:
            raise messages.BadMessage("an error that is a success")
        call.answer.set_exception(error_from_status(status, sentence))

    def _take_report(self, message: messages.Message) -> None:
        number = messages.number_of(message["report"])
        found = self._reporters.get(number)
        if found is None:
            return
        try:
            state = ResourceState(messages.number_of(message.get("state")))
            lacking = ResourceStatus(messages.number_of(message.get("lacking")))
        except ValueError as error:
            raise messages.BadMessage(str(error)) from error
        if state not in _PENDING:
            del self._reporters[number]
        checkpoint, sentence = messages.number_of(message.get("checkpoint")), message.get("sentence")
        status = messages.status_of(message.get("status"))
        found[1](state, checkpoint, messages.text_of(sentence), status=status, lacking=lacking)

    def _kill_group(self) -> None:
        if self._process is None or self._gone.is_set():
            return
        # Not yet waited for, so the number is still this process's, and still names its group.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _on_exit(self) -> None:
        """The pidfd says that the process has ended."""
        assert self._process is not None
        asyncio.get_running_loop().remove_reader(self._pidfd)
        if not self._leaving:
            self._kill_group()  # what it left behind
        code = self._process.wait()
        os.close(self._pidfd)
        if self._writer is not None:
            self._writer.close()
        self._gone.set()
        self._ready.set()  # nobody need wait for that any more
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        sentence = self._cause = self._cause or f"the monitor process {self.pid} ended {how}"
        if not self._leaving:
            self._on_lost(self, sentence)
        self._reporters.clear()
        for call in list(self._calls.values()):
            if not call.answer.done():
                call.answer.set_exception(HolderLost(sentence))
