"""How much of the past is kept: events, the store's history, and what is said of a store that runs full."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

KEEP_SECONDS: Final = 300.0
KEEP_AT_LEAST: Final = 10_000
KEEP_AT_MOST: Final = 50_000
_NUMBER: Final = re.compile(r"\b\d+\b")
NEARLY_FULL: Final = 0.8
"""Part of the quota from which a store is said to run full."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Which revision the store was at; ``time`` in seconds on a monotonic clock."""

    time: float
    revision: int


def plan_compaction(samples: Sequence[Sample], now: float, compacted: int) -> int | None:
    """The revision up to which the store may forget, or None when nothing is to be gained.

    Changes are kept for those who follow the store: five minutes of them, at least ten thousand, at most fifty
    thousand. Who is further behind reads everything anew, which costs a moment and loses nothing. ``samples`` are in
    order of time and may begin anywhere; ``compacted`` is what was forgotten already.
    """
    if not samples:
        return None
    head = samples[-1].revision
    old = max((sample.revision for sample in samples if now - sample.time >= KEEP_SECONDS), default=0)
    target = max(min(old, head - KEEP_AT_LEAST), head - KEEP_AT_MOST)
    return target if target > compacted + KEEP_AT_LEAST // 10 else None  # a small step is not worth a transaction


def trim_samples(samples: Sequence[Sample], now: float) -> list[Sample]:
    """The samples that ``plan_compaction`` may still need: those of the last five minutes and one before."""
    young = [sample for sample in samples if now - sample.time < KEEP_SECONDS]
    old = [sample for sample in samples if now - sample.time >= KEEP_SECONDS]
    return [*old[-1:], *young]


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What is known of the store; sizes in bytes."""

    size: int
    in_use: int
    quota: int | None
    alarms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoreAlarm:
    """Something that is wrong with the store.

    ``key`` stays the same as long as it is the same trouble. ``is_felt`` where the store itself complains, and not we.
    """

    key: str
    sentence: str
    is_felt: bool = True


def find_alarms(store: StoreFacts) -> tuple[StoreAlarm, ...]:
    """What is wrong with the store: what it says itself, and that it runs full."""
    found = [StoreAlarm(_NUMBER.sub("…", alarm), f"the cluster database complains: {alarm}") for alarm in store.alarms]
    if store.quota and store.size >= NEARLY_FULL * store.quota:
        percent = 100 * store.size / store.quota
        found.append(
            StoreAlarm(
                "nearly full",
                f"the cluster database takes {_mib(store.size)} MiB, {percent:.0f} % of the {_mib(store.quota)} MiB at "
                f"which it refuses every write ({_mib(store.in_use)} MiB in use); defragment it, or raise its quota",
                is_felt=False,
            )
        )
    return tuple(found)


def _mib(size: int) -> int:
    return size >> 20
