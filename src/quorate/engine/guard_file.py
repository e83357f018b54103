"""What a node's daemon and its guard tell each other: one page of shared memory in the file `guard` of the node.

Of the standard library alone, and little of that: the guard imports this module and nothing else of Quorate.

    offset   0  magic, layout            which layout this is
            64  word, slot A             by the daemon: until when the node's virtual machines may run (I2)
           128  word, slot B
           192  pulse of the guard       process, layout, when it last did its round
           256  pulse of the daemon      the same

A word goes to the slot that the last one did not go to, and ends with a checksum: of a word that was torn, by a process
stopped or killed while it wrote or by one that reads meanwhile, the one before it counts, whose deadline is nearer.
Every entry carries the id of this boot: CLOCK_BOOTTIME begins anew with each, and a deadline of another one says
nothing about processes of this one. The guard holds a lock on the file as long as it lives; a node has one.
"""

import fcntl
import mmap
import os
import struct
import time
import uuid
import zlib
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

GUARD_FILE: Final = "guard"
"""Its name in the node's runtime directory."""
LAYOUT: Final = 1
"""Of the file, and of what the guard understands of run files: a guard of another one is replaced."""
SIZE: Final = 4096

_MAGIC: Final = b"QUOGUARD"
_HEADER: Final = struct.Struct("<8sI")
_CHECKSUM: Final = struct.Struct("<I")
_WORD: Final = struct.Struct("<16sQdd")  # boot, sequence, deadline, duration
_SLOTS: Final = (64, 128)
_PULSE: Final = struct.Struct("<16sIQId")  # boot, pid, start ticks, layout, at
_TRIES: Final = 3
"""How often an entry is read that is being written at the same moment."""


class Party(Enum):
    """Whose pulse it is; the value is where it lies."""

    GUARD = 192
    DAEMON = 256


class Word(NamedTuple):
    """What the daemon says."""

    sequence: int
    """Of the word: a later one has a higher."""
    deadline: float
    """CLOCK_BOOTTIME in seconds after which nothing may run."""
    duration: float
    """Seconds that a lease lasts."""


class Pulse(NamedTuple):
    """That a process lives, and which one it is."""

    pid: int
    start_ticks: int
    """When the kernel says that it started: a pid may have been given to somebody else."""
    layout: int
    at: float
    """CLOCK_BOOTTIME in seconds."""


def boottime() -> float:
    """Seconds on the clock that deadlines are counted on; it goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> bytes:
    """Tell this boot of the machine from every other."""
    return uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()).bytes


def start_ticks(pid: int) -> int | None:
    """Tell when a process started, in the kernel's ticks since boot; None when there is none, or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


class GuardFile:
    """The file, mapped into this process."""

    def __init__(self, path: Path, *, boot: bytes | None = None) -> None:
        """Open it; one that is not there, or has another layout, is begun anew. Raises OSError."""
        self.path = path
        self._boot = boot_id() if boot is None else boot
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._descriptor, 0, SIZE)  # a full file system is noticed here, not at a write
            self._memory = mmap.mmap(self._descriptor, SIZE)
        except OSError:
            os.close(self._descriptor)
            raise
        header = _HEADER.pack(_MAGIC, LAYOUT)
        if self._memory[: _HEADER.size] != header:
            self._memory[:SIZE] = header.ljust(SIZE, b"\0")
        newest = self._newest()
        self._sequence = 0 if newest is None else newest[0].sequence
        self._last_slot = _SLOTS[1] if newest is None else newest[1]

    def close(self) -> None:
        """Let go of it, and of its lock."""
        self._memory.close()
        os.close(self._descriptor)

    # --- the daemon's word -----------------------------------------------------------------------------------------

    def write_word(self, deadline: float, duration: float) -> None:
        """Say until when virtual machines may run. There is one writer at a time: the daemon that has the node."""
        slot = _SLOTS[0] if self._last_slot == _SLOTS[1] else _SLOTS[1]
        self._sequence += 1
        self._write(slot, _WORD.pack(self._boot, self._sequence, deadline, duration))
        self._last_slot = slot

    def word(self) -> Word | None:
        """Read the newest word that is whole; None when there is none of this boot."""
        newest = self._newest()
        return None if newest is None else newest[0]

    def _newest(self) -> tuple[Word, int] | None:
        found: tuple[Word, int] | None = None
        for slot in _SLOTS:
            fields = self._read(slot, _WORD)
            if fields is not None:
                word = Word._make(fields[1:])
                if found is None or word.sequence > found[0].sequence:
                    found = word, slot
        return found

    # --- pulses ----------------------------------------------------------------------------------------------------

    def pulse_writer(self, party: Party) -> Callable[[], None]:
        """Make the function that says that this process lives."""
        pid = os.getpid()
        started = start_ticks(pid) or 0

        def write() -> None:
            self._write(party.value, _PULSE.pack(self._boot, pid, started, LAYOUT, boottime()))

        return write

    def pulse(self, party: Party) -> Pulse | None:
        """Read who lived when; None when nobody has said so in this boot."""
        fields = self._read(party.value, _PULSE)
        return None if fields is None else Pulse._make(fields[1:])

    # --- the lock --------------------------------------------------------------------------------------------------

    def try_lock(self) -> bool:
        """Take the guard's lock for as long as this file is open; False when another guard has it."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_locked(self) -> bool:
        """Tell whether a guard holds the lock. Who asks must not be the guard."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False

    def is_in_place(self) -> bool:
        """Tell whether the file still has its name: one that was removed, or replaced, reaches nobody any more."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except OSError:
            return False

    # --- entries ---------------------------------------------------------------------------------------------------

    def _write(self, offset: int, entry: bytes) -> None:
        whole = entry + _CHECKSUM.pack(zlib.crc32(entry))
        self._memory[offset : offset + len(whole)] = whole

    def _read(self, offset: int, layout: struct.Struct) -> tuple[object, ...] | None:
        """Read an entry of this boot; None when there is none that is whole."""
        for _ in range(_TRIES):
            whole = self._memory[offset : offset + layout.size + _CHECKSUM.size]
            entry = whole[: layout.size]
            if _CHECKSUM.unpack(whole[layout.size :])[0] == zlib.crc32(entry):
                fields = layout.unpack(entry)
                return fields if fields[0] == self._boot else None
        return None
