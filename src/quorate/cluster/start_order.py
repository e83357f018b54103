"""In which order a node brings the groups online that are waiting: Priority, high first, so many at a time.

A group of higher priority begins first; it does not hold up the others until it runs ([object-model] 7.7).
GroupStartDelay is counted from the moment at which the group would have begun to wait.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.identity import GroupId

STARTS_AT_ONCE: Final = 8
"""Starts of one node at a time: enough to hide the waits within a start, few enough that each one is soon over."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A group that waits to be started."""

    group: GroupId
    name: str
    priority: int
    since: float
    """When it began to wait; any clock, the same for all."""
    delay: float = 0.0
    """GroupStartDelay in seconds."""

    @property
    def ready_at(self) -> float:
        """When it may begin."""
        return self.since + self.delay


@dataclass(frozen=True, slots=True)
class StartPlan:
    """Which groups begin now, and when to look again."""

    begin: tuple[GroupId, ...] = ()
    again_at: float | None = None


def plan_starts(waiting: Iterable[Waiting], starting: int, now: float, at_once: int = STARTS_AT_ONCE) -> StartPlan:
    """Decide which groups begin at ``now`` while ``starting`` others are on their way."""
    queue = list(waiting)
    ready = sorted((one for one in queue if one.ready_at <= now), key=lambda one: (-one.priority, one.since, one.name))
    later = [one.ready_at for one in queue if one.ready_at > now]
    begin = ready[: max(0, at_once - starting)]
    return StartPlan(tuple(one.group for one in begin), min(later) if later else None)
