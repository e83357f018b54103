"""The daemon's end of the monitor processes, in which the types of third parties live.

One monitor holds all resources that do not ask for one of their own (SeparateMonitor). It is started when something is
to be called in it, never before, and its end is seen through a pidfd, whatever the reason: its resources are told
``lost``, calls that wait for it fail, and the next call starts another monitor and opens the resource there. A resource
whose entry point hung (DeadlockTimeout) has its monitor killed, and gets one of its own from then on.

What a script or program started by a type must know: the monitor is killed together with its process group. Whatever
is to outlive it takes a session of its own (setsid).
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Final

from quorate.clusapi.errors import FaultError, error_from_status
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.states import ResourceState
from quorate.clusapi.status import Status
from quorate.hosting import monitor_messages as messages
from quorate.hosting.resource_type import ReportStatus

_FAREWELL: Final = 2.0  # seconds that a monitor has to end after a goodbye
_PENDING: Final = frozenset({ResourceState.ONLINE_PENDING, ResourceState.OFFLINE_PENDING})


class MonitorLost(FaultError):
    """The monitor process ended before it answered."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Status.ERROR_RESOURCE_FAILED, sentence)
        self.args = (sentence,)


class Monitor:
    """One monitor process, and the calls that are under way in it."""

    def __init__(self, on_lost: Callable[["Monitor", str], None], environment: Mapping[str, str]) -> None:
        """Prepare it; :meth:`start` starts the process. ``on_lost`` is called once, when it has ended unasked."""
        self._on_lost = on_lost
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._calls: dict[int, asyncio.Future[JsonValue]] = {}
        self._reporters: dict[int, tuple[ResourceId, ReportStatus]] = {}
        self._number = 0
        self._cause = ""
        self._leaving = False
        self._gone = asyncio.Event()

    @property
    def pid(self) -> int:
        """Its process id; 0 before the start."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_alive(self) -> bool:
        """Answer whether calls can be made."""
        return self._process is not None and not self._gone.is_set() and not self._cause and not self._leaving

    async def start(self) -> None:
        """Start the process. Raises FaultError 5017 when that fails."""
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: ASYNC220 — starts without waiting
                [sys.executable, "-P", "-m", "quorate.hosting.monitor_main", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
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

    async def call(
        self,
        type_name: str,
        entry: str,
        resource_id: ResourceId | None,
        arguments: messages.Message,
        report: ReportStatus | None = None,
    ) -> JsonValue:
        """Call an entry point and return what it returns. Raises what it raised, or :class:`MonitorLost`."""
        if self._writer is None or not self.is_alive:
            raise MonitorLost(self._cause or f"the monitor process {self.pid} is ending")
        self._number += 1
        number = self._number
        if report is not None and resource_id is not None:
            self.forget_reports(resource_id)
            self._reporters[number] = resource_id, report
        answer: asyncio.Future[JsonValue] = asyncio.get_running_loop().create_future()
        self._calls[number] = answer
        message: dict[str, JsonValue] = {
            "call": number,
            "type": type_name,
            "entry": entry,
            "resource": resource_id,
            "arguments": arguments,
        }
        self._writer.write(messages.pack_message(message))
        try:
            return await answer
        finally:
            self._calls.pop(number, None)

    def forget_reports(self, resource_id: ResourceId) -> None:
        """Let nobody hear of the resource's earlier operations any more."""
        for number in [number for number, (owner, _) in self._reporters.items() if owner == resource_id]:
            del self._reporters[number]

    def kill(self, sentence: str) -> None:
        """End the process and whatever it started in its session now; ``sentence`` says why."""
        self._cause = self._cause or sentence
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
        except messages.BadMessage as error:
            self.kill(f"the monitor process {self.pid} was ended: {error.sentence}")
        except (OSError, asyncio.IncompleteReadError):
            return  # the process has ended, or is about to: the pidfd tells

    def _take(self, message: messages.Message) -> None:
        if "report" in message:
            self._take_report(message)
            return
        answer = self._calls.get(messages.number_of(message.get("call")))
        if answer is None or answer.done():
            return  # whoever called has given up
        if "status" not in message:
            answer.set_result(message.get("value"))
            return
        status, sentence = messages.status_of(message["status"]), messages.text_of(message.get("sentence"))
        if status == Status.ERROR_SUCCESS:
            raise messages.BadMessage("an error that is a success")
        answer.set_exception(error_from_status(status, sentence))

    def _take_report(self, message: messages.Message) -> None:
        number = messages.number_of(message["report"])
        found = self._reporters.get(number)
        if found is None:
            return
        try:
            state = ResourceState(messages.number_of(message.get("state")))
        except ValueError as error:
            raise messages.BadMessage(str(error)) from error
        if state not in _PENDING:
            del self._reporters[number]
        checkpoint = messages.number_of(message.get("checkpoint"))
        found[1](state, checkpoint, messages.text_of(message.get("sentence")))

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
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        sentence = self._cause or f"the monitor process {self.pid} ended {how}"
        self._reporters.clear()
        for answer in list(self._calls.values()):
            if not answer.done():
                answer.set_exception(MonitorLost(sentence))
        if not self._leaving:
            self._on_lost(self, sentence)
