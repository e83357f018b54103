"""The machine's watchdog, fed by the guard: when a virtual machine cannot be ended in time, the machine is reset.

Of the standard library alone. A watchdog resets the machine so many seconds after it was fed last. While a virtual
machine may run, it is fed only so far ahead that it would bite by the lease's deadline plus the margin: whatever
becomes of the guard, of the kernel or of a QEMU that SIGKILL does not reach, nothing runs here any more when another
node may take over. When nothing can run it is fed in any case, as nobody is served by the reset of an idle machine.
"""

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

MARGIN: Final = 0.5
"""Seconds after the end of a lease at which another node may take over (R9)."""
FEED: Final = 0.25
"""Seconds between two feedings; short beside every time that a watchdog may have."""
SHORTEST: Final = 2
"""Seconds that the watchdog has at least: a guard that has died is back within one."""
LONGEST: Final = 60
_SETTIMEOUT: Final = 0xC0045706  # WDIOC_SETTIMEOUT, linux/watchdog.h
_INT: Final = struct.Struct("i")
_FOOD: Final = b"\0"
_MAGIC_CLOSE: Final = b"V"


def seconds_for(duration: float) -> int:
    """Tell after how many seconds without food it should bite, when leases last so long.

    Half of the lease: then it starves neither between two renewals nor when some of them fail, and the pause before
    the deadline in which it may not be fed is shorter than it can bear.
    """
    return min(LONGEST, max(SHORTEST, int(duration / 2 + 0.5)))


def may_be_fed(now: float, deadline: float, duration: float, seconds: int | None) -> bool:
    """Tell whether it may be fed while a virtual machine may run.

    ``seconds`` is what the watchdog really has; where that is too long for the lease, or unknown, all that can be had
    is that it is not fed after the deadline.
    """
    if seconds is None or seconds - MARGIN > duration / 2:
        return now < deadline
    return now + seconds <= deadline + MARGIN


class Watchdog:
    """A watchdog device that is open, and bites from now on when it is not fed."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        """Open it; raises OSError."""
        self._path = path
        self._tell = tell
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._duration = 0.0
        self._seconds: int | None = None
        self._due = 0.0
        self._starves = False
        self._broken = False

    def tend(self, now: float, deadline: float, duration: float, *, may_run: bool) -> None:
        """Feed it when it is time and may be done; ``may_run``: a virtual CPU may be running on this machine."""
        if duration != self._duration:
            self._tune(duration)
        if now < self._due:
            return
        if may_run and not may_be_fed(now, deadline, duration, self._seconds):
            if now >= deadline and not self._starves:
                self._starves = True
                self._tell(f"{self._path} is not fed: what runs here cannot be ended, and the machine will be reset")
            return
        self._starves = False
        self._due = now + FEED
        self._write(_FOOD)

    def _tune(self, duration: float) -> None:
        self._duration = duration
        wanted = seconds_for(duration)
        try:
            (self._seconds,) = _INT.unpack(fcntl.ioctl(self._descriptor, _SETTIMEOUT, _INT.pack(wanted)))
        except OSError as error:
            self._seconds = None
            self._tell(f"{self._path} keeps its own time: {error.strerror}; it is fed until the deadline of the lease")
            return
        if self._seconds - MARGIN > duration / 2:
            self._tell(
                f"{self._path} bites after {self._seconds} s at the earliest, which is long for a lease of "
                f"{duration:g} s: a machine that hangs may be reset only after another node has taken over"
            )

    def _write(self, food: bytes) -> None:
        try:
            os.write(self._descriptor, food)
        except OSError as error:
            if not self._broken:
                self._broken = True
                self._tell(f"{self._path} cannot be fed: {error.strerror}; the machine may be reset")
            return
        self._broken = False

    def leave(self) -> None:
        """Close it in order, so that it does not bite; only where no virtual machine runs."""
        self._write(_MAGIC_CLOSE)
        os.close(self._descriptor)
