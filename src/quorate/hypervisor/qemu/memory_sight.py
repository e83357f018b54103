"""What a guest does with its memory, and whether its vCPUs get on: looked at from outside, while it runs undisturbed.

How fast it writes is asked of QEMU (calc-dirty-rate, page-sampling): a thread hashes a sample of the pages twice. Of
QEMU's three ways it is the only one that tells the truth everywhere. Tried on 10.0.2 with TCG: dirty-bitmap answers 0
whatever the guest does, as it reads KVM's log; dirty-ring is refused unless KVM was started with one. A rate is told in
whole MiB per second, cut off.

How much of the memory is in use is a sample of our own: pages spread evenly over it, read through /proc/PID/mem, are
zero or not. The process's resident set would not tell: it counts what was touched before the guest came. Of guests of
less than 128 MiB, which QEMU does not sample, the same pages tell how much is written.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from zlib import crc32

from quorate.hypervisor.transfer import MemorySight

Version = tuple[int, int, int]

LEAST_SAMPLED: Final = 128 << 20
"""Bytes of a guest that QEMU samples at all."""
SAMPLED_PER_GIB: Final = 16384
"""Pages, the most that QEMU takes: half a second of reading in the largest guests, in a thread of its own."""
_MILLISECONDS_SINCE: Final[Version] = (8, 2, 0)
_PAGE: Final = 4096
_LOOKED_AT: Final = 4096
_ZERO: Final = crc32(bytes(_PAGE))
_MAPPING: Final = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw")


def dirty_rate_arguments(seconds: float, version: Version) -> dict[str, object]:
    """Give the arguments of calc-dirty-rate; a QEMU before 8.2 counts in whole seconds."""
    arguments: dict[str, object] = {"mode": "page-sampling", "sample-pages": SAMPLED_PER_GIB}
    if version >= _MILLISECONDS_SINCE:
        return arguments | {"calc-time": max(50, round(seconds * 1000)), "calc-time-unit": "millisecond"}
    return arguments | {"calc-time": max(1, round(seconds))}


def seconds_measured(seconds: float, version: Version) -> float:
    """Tell how long such a measurement takes in fact."""
    return max(0.05, seconds) if version >= _MILLISECONDS_SINCE else float(max(1, round(seconds)))


def written_at_rate(mebibytes_per_second: int, seconds: float) -> int:
    """Tell how many bytes were written at QEMU's rate, which has lost half a MiB per second on the average."""
    return round((mebibytes_per_second + 0.5) * seconds * (1 << 20)) if mebibytes_per_second else 0


def memory_in_use(pid: int, size: int) -> MemorySight:
    """Tell how much of a guest's memory of ``size`` bytes is not zero; blocks for some milliseconds."""
    try:
        marks = page_marks(pid, size)
    except OSError:
        marks = []  # a daemon that is not root, and a QEMU that it has not started itself
    if not marks:
        return _resident(pid, size)
    return MemorySight(in_use=round(size * sum(mark != _ZERO for mark in marks) / len(marks)))


def _resident(pid: int, size: int) -> MemorySight:
    """Tell what the process has touched, which is more than is in use, since it may not be looked into."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError) as error:
        return MemorySight(trouble=f"its process cannot be looked at: {error}")
    return MemorySight(in_use=min(size, pages * os.sysconf("SC_PAGE_SIZE")))


def written_between(before: list[int], after: list[int], size: int, seconds: float) -> MemorySight:
    """Tell how much was written between two looks at the same pages."""
    if not before or len(before) != len(after):
        return MemorySight(trouble="its memory is not found in its process")
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    return MemorySight(seconds=seconds, written=round(size * changed / len(before)))


def page_marks(pid: int, size: int) -> list[int]:
    """Give a mark of each page of a sample: what was written has another one. Empty: its memory is not found.

    Raises OSError where the process cannot be looked into.
    """
    start = _find_memory(pid, size)
    return [] if start is None else list(_marks(pid, start, size))


def _find_memory(pid: int, size: int) -> int | None:
    """Find where the process has the guest's memory: the one mapping that is just as large, or a little larger."""
    best: tuple[int, int] | None = None
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="ascii", errors="replace").splitlines():
        if (found := _MAPPING.match(line)) is not None:
            start, end = (int(number, 16) for number in found.groups())
            if end - start >= size and (best is None or end - start < best[0]):
                best = end - start, start
    return None if best is None else best[1]


def _marks(pid: int, start: int, size: int) -> Iterator[int]:
    pages = size // _PAGE
    step = max(1, pages // _LOOKED_AT)
    descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for number, first in enumerate(range(0, pages - step + 1, step)):
            page = first + number * 7919 % step  # within each stretch another place: what recurs is not missed
            yield crc32(os.pread(descriptor, _PAGE, start + page * _PAGE))
    finally:
        os.close(descriptor)


def thread_seconds(pid: int, threads: list[int]) -> float:
    """Tell for how many seconds threads have run on a processor; those that are gone count no more."""
    total = 0
    for thread in threads:
        with suppress(OSError, ValueError):
            total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9
