"""QMP under a supervisor: what qemu.qmp does not do by itself.

qemu.qmp stays in DISCONNECTING when its peer dies and knows neither deadlines nor reconnection. A :class:`Monitor`

- gives every command a deadline, and turns a dead process into one :class:`HypervisorGone`;
- hands on every event, in order, the last ones before the connection broke included;
- connects again when the connection broke and the process lives (QEMU serves one client at a time, so the old
  connection is closed first);
- asks a cheap question now and then, more often while ``busy``, and says when no answer came for two seconds;
- is not drowned: with nothing left to copy QEMU tells of up to fifteen thousand passes a second, and the answer to the
  `stop` that ends it stands behind them. Most of them are dropped before anybody looks into them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from qemu.qmp import ConnectError, ExecInterruptedError, ExecuteError, QMPClient, QMPError, Runstate, StateError
from qemu.qmp.message import Message

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import VmId
from quorate.clusapi.status import Status
from quorate.hypervisor.contract import HypervisorGone

COMMAND_DEADLINE: Final = 5.0
MUTE_AFTER: Final = 2.0
_PING_BUSY: Final = 0.5
_PING_IDLE: Final = 5.0
_RECONNECT_EVERY: Final = 0.5
_EXIT_NOTICE: Final = 0.3  # the socket closes a moment before the process counts as ended
_PASS: Final = re.compile(rb'\{"timestamp": \{[^{}]*\}, "event": "MIGRATION_PASS", "data": \{"pass": (\d+)\}\}\s*')
_FIRST_PASSES: Final = 3  # each of them is handed on
_PASS_EVERY: Final = 0.01  # later ones at most this often

# A peer that hangs up is an everyday event here, reported as such by us; qemu.qmp would log it as an error.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)


class Process(Protocol):
    """What the monitor has to know of the process behind the socket."""

    @property
    def is_gone(self) -> bool:
        """Answer whether it has ended."""
        ...

    async def wait_gone(self) -> None:
        """Wait for its end."""
        ...


class _Client(QMPClient):
    """A client that does not take in every pass of a migration."""

    _pass_taken = 0.0

    async def _do_recv(self) -> Message:
        while self._is_superfluous(line := await self._readline()):
            pass
        return Message(line, eager=True)

    def _is_superfluous(self, line: bytes) -> bool:
        found = _PASS.fullmatch(line)
        if found is None:
            return False
        now = time.monotonic()
        if int(found[1]) > _FIRST_PASSES and now - self._pass_taken < _PASS_EVERY:
            return True
        self._pass_taken = now
        return False


class Monitor:
    """The control connection to one QEMU."""

    def __init__(
        self,
        vm_id: VmId,
        path: Path,
        process: Process,
        on_event: Callable[[str, Mapping[str, object]], Awaitable[None]],
        on_speech: Callable[[bool, float], None],
    ) -> None:
        self._vm_id = vm_id
        self._path = path
        self._process = process
        self._on_event = on_event
        self._on_speech = on_speech
        self._client = _Client(vm_id)
        self._tasks: list[asyncio.Task[None]] = []
        self._last_word = time.monotonic()
        self._busy = asyncio.Event()
        self._drained = asyncio.Event()
        self._version = (0, 0, 0)

    @property
    def version(self) -> tuple[int, int, int]:
        """The version of the QEMU behind the connection, as it says itself."""
        return self._version

    def set_busy(self, busy: bool) -> None:
        """Say whether silence would matter now: a migration is going on."""
        if busy:
            self._busy.set()
        else:
            self._busy.clear()

    async def connect(self, deadline: float) -> None:
        """Connect and begin to supervise; raises HypervisorGone or FaultError."""
        try:
            async with asyncio.timeout(deadline):
                await self._client.connect(str(self._path))
        except TimeoutError:
            raise self._late("its greeting", deadline) from None
        except ConnectError as error:
            raise await self._broken(str(error.exc) or type(error.exc).__name__) from error
        self._greet()
        self._tasks = [
            asyncio.create_task(self._supervise(), name=f"qmp-{self._vm_id}"),
            asyncio.create_task(self._watch(), name=f"qmp-watch-{self._vm_id}"),
        ]

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        deadline: float = COMMAND_DEADLINE,
        *,
        oob: bool = False,
    ) -> object:
        """Run one command and return its answer; ``oob``: past all others, even while QEMU's main loop stands.

        Raises HypervisorGone when the process has ended, FaultError ERROR_TIMEOUT when no answer came in time (it is
        not known whether the command was carried out), FaultError ERROR_GEN_FAILURE when QEMU refused.
        """
        try:
            async with asyncio.timeout(deadline):
                answer = await self._client.execute(command, arguments, oob=oob)
        except TimeoutError:
            raise self._late(f"an answer to {command}", deadline) from None
        except ExecuteError as error:
            raise FaultError(Status.ERROR_GEN_FAILURE, f"QEMU refused {command}: {error}") from error
        except (ExecInterruptedError, StateError) as error:
            raise await self._broken(f"the control connection broke during {command}") from error
        self._last_word = time.monotonic()
        return answer

    async def pass_file(self, name: str, descriptor: int) -> None:
        """Give QEMU an open file under ``name``; raises as :meth:`execute` does."""
        if self._client.runstate is not Runstate.RUNNING:
            raise await self._broken("the control connection is broken")
        try:
            self._client.send_fd_scm(descriptor)
        except OSError as error:
            raise await self._broken("the control connection broke while a file was handed over") from error
        await self.execute("getfd", {"fdname": name})

    async def drain(self, deadline: float) -> None:
        """Wait until the last event of a dead process has been handed on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await self._drained.wait()

    async def close(self) -> None:
        """Close the connection and stop supervising; QEMU is free for the next client."""
        own = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not own]
        self._tasks = []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._disconnect()

    # --- supervision ---

    def _greet(self) -> None:
        greeting = self._client.greeting
        version = greeting.QMP.version.get("qemu") if greeting else None
        if isinstance(version, Mapping):
            self._version = (int(version["major"]), int(version["minor"]), int(version["micro"]))
        self._last_word = time.monotonic()

    async def _supervise(self) -> None:
        while True:
            pump = asyncio.create_task(self._pump())
            try:
                while self._client.runstate is Runstate.RUNNING:
                    await self._client.runstate_changed()
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)
            await self._disconnect()
            for message in self._client.events.clear():
                await self._hand_on(message)
            if not await self._reconnect():
                self._drained.set()
                return

    async def _reconnect(self) -> bool:
        lost = time.monotonic()
        told = False
        with suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_NOTICE):
                await self._process.wait_gone()
        while not self._process.is_gone:
            with suppress(ConnectError, TimeoutError):
                async with asyncio.timeout(MUTE_AFTER):
                    await self._client.connect(str(self._path))
                    self._greet()
                    if told:
                        self._on_speech(True, self._last_word)
                    return True
            if not told and time.monotonic() - lost > MUTE_AFTER:
                told = True
                self._on_speech(False, lost)
            await asyncio.sleep(_RECONNECT_EVERY)
        return False

    async def _pump(self) -> None:
        async for message in self._client.events:
            await self._hand_on(message)

    async def _hand_on(self, message: Message) -> None:
        self._last_word = time.monotonic()
        data = message.get("data")
        await self._on_event(str(message.get("event")), data if isinstance(data, Mapping) else {})

    async def _watch(self) -> None:
        while True:
            await self._pause()
            ping = asyncio.create_task(self._ping())
            try:
                done, _ = await asyncio.wait({ping}, timeout=MUTE_AFTER - _PING_BUSY)
                if not done:
                    self._on_speech(False, self._last_word)
                    if await ping:
                        self._on_speech(True, self._last_word)
            finally:
                ping.cancel()

    async def _pause(self) -> None:
        """Wait for the next question: half a second while busy, else five seconds or until it gets busy."""
        if self._busy.is_set():
            await asyncio.sleep(_PING_BUSY)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_PING_IDLE):
                await self._busy.wait()

    async def _ping(self) -> bool:
        try:
            await self._client.execute("query-status")
        except QMPError:
            return False  # broken, not mute: the supervisor sees to it
        self._last_word = time.monotonic()
        return True

    async def _disconnect(self) -> None:
        if self._client.runstate is not Runstate.IDLE:
            with suppress(QMPError, EOFError, OSError):
                await self._client.disconnect()

    # --- errors ---

    def _late(self, what: str, deadline: float) -> FaultError:
        sentence = f"QEMU of the virtual machine {self._vm_id} did not give {what} within {deadline:g} s"
        return FaultError(Status.ERROR_TIMEOUT, sentence)

    async def _broken(self, cause: str) -> FaultError:
        with suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_NOTICE):
                await self._process.wait_gone()
        if self._process.is_gone:
            return HypervisorGone(self._vm_id, f"QEMU of the virtual machine {self._vm_id} has ended ({cause})")
        sentence = f"QEMU of the virtual machine {self._vm_id} lives but cannot be spoken to: {cause}"
        return FaultError(Status.ERROR_GEN_FAILURE, sentence)
