"""The daemon's side of the guard: tells it the deadline of I2, keeps one alive, and asks whether it is.

The guard is a process of its own (`quorate.service.guard`), which outlives the daemon as the QEMUs do. One that has
died is started again, one that stands still is killed for that, as it holds the lock that lets there be only one. Where
systemd starts the guard, only the killing is done here.
"""

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.engine.guard_file import LAYOUT, GuardFile, Party, Pulse, boottime, start_ticks

LOOK: Final = 0.1
"""Seconds between two looks at the guard."""
LATE: Final = 0.15
"""Seconds past the deadline at which a guard has acted. With `LOOK` well below the margin that others add."""
FRESH: Final = 1.0
"""Seconds within which a guard that is to be relied on has done its round; it does twenty of them in that time."""
FROZEN: Final = 2.0
"""Seconds after which a guard that holds its lock and does nothing is killed."""
PATIENCE: Final = 2.0
"""Seconds that a start of virtual CPUs waits for a guard that is being started."""
_AGAIN: Final = 0.5
"""Seconds between two starts of a guard."""

_log = structlog.get_logger("guard")

StartGuard = Callable[[], "subprocess.Popen[bytes]"]
EndAll = Callable[[], Sequence[str]]
"""Kills every QEMU of this node and answers which they were."""


class GuardLink:
    """The guard of this node."""

    def __init__(self, path: Path, start: StartGuard | None, end_all: EndAll = tuple) -> None:
        """Share the file ``path`` with it; ``start`` starts a guard, None: somebody else does.

        ``end_all`` does what a guard would have done that was not there in time: where one has just died, the margin
        that other nodes add to a lease can be over before another has come.

        Raises:
            FaultError: 1117, the file cannot be used.
        """
        try:
            self._file = GuardFile(path)
        except OSError as error:
            sentence = f"the guard's file {path} cannot be used: {error.strerror}"
            raise FaultError(Status.ERROR_IO_DEVICE, sentence) from error
        self._start = start
        self._end_all = end_all
        self._pulse = self._file.pulse_writer(Party.DAEMON)
        self._writing = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._start_due = 0.0
        self._seen: Pulse | None = None
        self._seen_at = time.monotonic()
        self._complained = False

    # --- the deadline ----------------------------------------------------------------------------------------------

    def set_deadline(self, deadline: float, duration: float = 0.0) -> None:
        """Let virtual machines run until ``deadline`` (CLOCK_BOOTTIME in seconds). May be called by any thread.

        ``duration`` is how many seconds a lease lasts, which the watchdog is tuned to; 0: not known.
        """
        with self._writing:
            self._file.write_word(deadline, duration)

    def deadline(self) -> float:
        """The last deadline that the guard was told in this boot, by whichever daemon; 0: none."""
        word = self._file.word()
        return 0.0 if word is None else word.deadline

    # --- is there a guard? -----------------------------------------------------------------------------------------

    def is_live(self) -> bool:
        """Tell whether a guard that understands us has done its round within the last second."""
        pulse = self._file.pulse(Party.GUARD)
        if pulse is None or pulse.layout != LAYOUT or not 0.0 <= boottime() - pulse.at < FRESH:
            return False
        return self._file.is_locked() and _is_alive(pulse)

    def check(self, doing: str) -> None:
        """Refuse to start virtual CPUs without a guard.

        Raises:
            FaultError: 1062, there is none, or it stands still.
        """
        if not self.is_live():
            raise FaultError(
                Status.ERROR_SERVICE_NOT_ACTIVE,
                f"{doing} was refused: {self._what_is_wrong()}. Nothing runs without a guard that would end it when "
                "the node's lease is over",
            )

    async def wait_live(self, doing: str, patience: float = PATIENCE) -> None:
        """Wait for the guard that is being started, ``patience`` seconds at most, and check it.

        Raises:
            FaultError: 1062, there is still none.
        """
        deadline = time.monotonic() + patience
        while not self.is_live() and time.monotonic() < deadline:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
        self.check(doing)

    def _what_is_wrong(self) -> str:
        pulse = self._file.pulse(Party.GUARD)
        again = "it is being started again" if self._start is not None else "quorate-guard.service has to be started"
        if not self._file.is_locked():
            return f"the node's guard is not there; {again}"
        if pulse is None or not _is_alive(pulse):
            return "the node's guard has just been started"
        if pulse.layout != LAYOUT:
            return f"the node's guard (pid {pulse.pid}) is of another version; {again}"
        return f"the node's guard (pid {pulse.pid}) has stood still for {boottime() - pulse.at:.1f} s; {again}"

    # --- keeping one -----------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """See to it that there is a guard, for as long as this is awaited."""
        while True:
            try:
                self.look_after()
            except Exception:  # noqa: BLE001 - the supervisor of the guard: there is nobody else who would start it
                _log.exception("looking after the guard broke; it is tried again")
            await asyncio.sleep(LOOK)

    def look_after(self) -> None:
        """Start a guard that is not there, kill one that is of no use, and do its work when it is late."""
        self._pulse()
        self._stand_in()
        now = time.monotonic()
        if self._child is not None and (code := self._child.poll()) is not None:
            _log.warning("the guard has ended", pid=self._child.pid, code=code)
            self._child = None
        if not self._file.is_locked():
            self._seen, self._seen_at = None, now
            self._start_one(now)
            return
        pulse = self._file.pulse(Party.GUARD)
        if pulse != self._seen:
            self._seen, self._seen_at = pulse, now
        if pulse is None:
            return
        if pulse.layout != LAYOUT and _is_alive(pulse):
            _log.warning("a guard of another version is replaced", pid=pulse.pid, layout=pulse.layout)
            self._kill(pulse)
        elif now - self._seen_at > FROZEN:
            # Counted on our own looks: after a sleep of the machine its pulse is old, and it is not to blame for that.
            _log.warning("the guard stands still and is replaced", pid=pulse.pid, seconds=now - self._seen_at)
            self._kill(pulse)
            self._seen_at = now

    def _stand_in(self) -> None:
        deadline = self.deadline()
        if deadline and boottime() - deadline > LATE:
            for qemu in self._end_all():
                _log.error("no guard has ended it in time: the daemon has, as the node's lease is over", qemu=qemu)

    def _start_one(self, now: float) -> None:
        if self._start is None or self._child is not None or now < self._start_due:
            return
        self._start_due = now + _AGAIN
        try:
            self._child = self._start()
        except OSError as error:
            if not self._complained:
                _log.error("the guard cannot be started; it is tried again", error=str(error))
            self._complained = True
            return
        self._complained = False
        _log.info("a guard was started", pid=self._child.pid)

    def _kill(self, pulse: Pulse) -> None:
        _send(pulse, signal.SIGKILL)
        if self._child is not None and self._child.pid == pulse.pid:
            self._child.wait()
            self._child = None
        self._start_due = 0.0

    # --- the end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the guard. One that was started from here is told to end as soon as no virtual machine lives."""
        pulse = self._file.pulse(Party.GUARD)
        if self._start is not None and pulse is not None and self._file.is_locked():
            _send(pulse, signal.SIGTERM)
        self._file.close()


def _is_alive(pulse: Pulse) -> bool:
    return start_ticks(pulse.pid) == pulse.start_ticks


def _send(pulse: Pulse, number: int) -> None:
    """Send a signal to the process that a pulse is of, and to no other that has its pid by now."""
    with suppress(OSError):
        pidfd = os.pidfd_open(pulse.pid)
        try:
            if _is_alive(pulse):
                signal.pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)
