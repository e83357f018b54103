"""Until when this node may run things: a number in memory that the daemon shares with its monitor processes.

Virtual machines are ended by the node's guard when the lease is over and nobody has promised to wait (I2). What monitor
processes hold is ended by them, by terminate, as no signal would know what belongs to a script. They read the deadline
themselves, so that a daemon that is stopped or stuck changes nothing.
"""

import mmap
import os
import struct
import time
from typing import Final, Self

_TWICE: Final = struct.Struct("<dd")  # a reader that sees two different numbers has come in the middle of a write


class SharedDeadline:
    """The number, in CLOCK_BOOTTIME seconds; 0 as long as none was set: then nothing is ended."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Make it, or map the one of a descriptor that was inherited; owns the descriptor. Raises OSError."""
        self.descriptor = os.memfd_create("quorate-deadline") if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self.descriptor, _TWICE.size)
        self._memory = mmap.mmap(self.descriptor, _TWICE.size)

    def set(self, deadline: float) -> None:
        """Let things run until then. For one thread, whichever that is."""
        _TWICE.pack_into(self._memory, 0, deadline, deadline)

    def is_over(self) -> bool:
        """Answer whether nothing may run any more."""
        first, second = _TWICE.unpack_from(self._memory)
        return bool(first == second and 0 < first < time.clock_gettime(time.CLOCK_BOOTTIME))

    def close(self) -> None:
        """Let go of it. Idempotent."""
        if not self._memory.closed:
            self._memory.close()
            os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
