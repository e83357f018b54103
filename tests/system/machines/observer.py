"""What a stranger concludes from the serial logs of one guest on all machines: did two copies ever run?

The guest counts. As long as it is one and the same, a count that comes from another machine is the next one; where it
was started anew, it is 1. Anything else means that two copies counted beside each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from quorate.hypervisor.serial_watch import Line

TOGETHER: Final = 0.02
"""Seconds within which lines of two files may be seen in the wrong order: a look lasts so long on a busy machine."""


@dataclass(frozen=True, slots=True)
class Life:
    """A time in which one copy of the guest counted on one machine, without a fresh start."""

    source: Path
    began: float
    ended: float
    first: int
    last: int


def lives(lines: Sequence[Line]) -> tuple[Life, ...]:
    """Take a guest's lines apart into lives, by machine and then by the restarts of its count."""
    found: list[Life] = []
    for source in sorted({line.source for line in lines}):
        beats = [(line.at, line.count) for line in lines if line.source == source and line.count is not None]
        if not beats:
            continue
        starts = [0, *(i + 1 for i, ((_, a), (_, b)) in enumerate(pairwise(beats)) if b <= a or b > a + 1)]
        for start, end in zip(starts, [*starts[1:], len(beats)], strict=True):
            part = beats[start:end]
            found.append(Life(source, part[0][0], part[-1][0], part[0][1], part[-1][1]))
    return tuple(sorted(found, key=lambda life: (life.began, life.first)))


def two_copies(lines: Sequence[Line]) -> str:
    """Say what shows that two copies ran at one time; empty when nothing does."""
    found = lives(lines)
    for before, after in pairwise(found):
        if after.began < before.ended - TOGETHER:
            return f"{after} began while {before} still counted"
        if after.first not in (1, before.last + 1):
            return f"{after} goes on neither from 1 nor from {before}"
    return ""
