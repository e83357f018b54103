"""Whether another node answers on a network: probes once a second, three in a row decide.

::

                     answered                      ANSWERS answered in a row
    UNKNOWN ───────────────────────▶ REACHED ◀──────────────────────────────── MISSED
       │                                │                                          ▲
       │   MISSES unanswered in a row   │        MISSES unanswered in a row        │
       └────────────────────────────────┴──────────────────────────────────────────┘

Coming back takes as many answers as going away takes misses, so that a path that loses packets does not flicker. When
the one who probes has been asleep (a stopped daemon, a frozen machine), nothing that was not answered meanwhile counts.

Nothing that must be right stands on this: who may run a VM is decided by leases, never by probes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import NetworkInterfaceId, NodeId

INTERVAL: Final = 1.0
"""Seconds between two probes."""
MISSES: Final = 3
ANSWERS: Final = 3
_ASLEEP: Final = 2.5
"""Intervals between two ticks after which the prober itself has slept."""


class PathState(Enum):
    """What is known of a path to another node."""

    UNKNOWN = "unknown"  # nothing was decided yet
    REACHED = "reached"
    MISSED = "missed"


class PathEvent(Enum):
    """What one interval brought."""

    ANSWERED = "answered"
    UNANSWERED = "unanswered"


TRANSITIONS: Final[Mapping[tuple[PathState, PathEvent], tuple[PathState, int]]] = {
    (PathState.UNKNOWN, PathEvent.ANSWERED): (PathState.REACHED, 1),
    (PathState.UNKNOWN, PathEvent.UNANSWERED): (PathState.MISSED, MISSES),
    (PathState.REACHED, PathEvent.ANSWERED): (PathState.REACHED, 1),
    (PathState.REACHED, PathEvent.UNANSWERED): (PathState.MISSED, MISSES),
    (PathState.MISSED, PathEvent.ANSWERED): (PathState.REACHED, ANSWERS),
    (PathState.MISSED, PathEvent.UNANSWERED): (PathState.MISSED, 1),
}
"""Where so many of these events in a row lead."""


@dataclass(frozen=True, slots=True)
class Target:
    """Another node's interface, probed from one of ours."""

    interface: NetworkInterfaceId  # ours
    node: NodeId
    address: str  # of the other one, without its prefix length


@dataclass(frozen=True, slots=True)
class Path:
    """One target and what is known of it."""

    state: PathState = PathState.UNKNOWN
    event: PathEvent | None = None  # what came last, and
    in_a_row: int = 0  # how often in a row
    answered: bool = False  # since the last tick
    probed: bool = False  # since the last tick

    def step(self, event: PathEvent) -> "Path":
        """The path after one interval."""
        in_a_row = self.in_a_row + 1 if event is self.event else 1
        state, needed = TRANSITIONS[self.state, event]
        return Path(state if in_a_row >= needed else self.state, event, in_a_row)


@dataclass(frozen=True, slots=True)
class Reached:
    """Whom one of our interfaces reaches."""

    reached: frozenset[NodeId] = frozenset()
    missed: frozenset[NodeId] = frozenset()


@dataclass(frozen=True, slots=True)
class Probe:
    """An effect: send this now."""

    target: Target
    sequence: int


class Prober:
    """All paths of one node. Times are seconds on a monotonic clock."""

    def __init__(self) -> None:
        """Probe nobody yet."""
        self._paths: dict[Target, Path] = {}
        self._sequence = 0
        self._ticked: float | None = None

    @property
    def targets(self) -> Collection[Target]:
        """Whom it probes."""
        return self._paths.keys()

    def retarget(self, targets: Collection[Target]) -> None:
        """Probe these from now on; what is known of those that stay is kept."""
        self._paths = {target: self._paths.get(target, Path()) for target in targets}

    def tick(self, now: float) -> tuple[Probe, ...]:
        """An interval is over: judge what it brought, and send the next probes."""
        asleep = self._ticked is None or now - self._ticked > _ASLEEP * INTERVAL
        self._ticked = now
        self._sequence += 1
        for target, path in self._paths.items():
            judged = path
            if path.answered:
                judged = path.step(PathEvent.ANSWERED)
            elif path.probed and not asleep:
                judged = path.step(PathEvent.UNANSWERED)
            self._paths[target] = replace(judged, answered=False, probed=True)
        return tuple(Probe(target, self._sequence) for target in self._paths)

    def answered(self, target: Target, sequence: int) -> None:
        """Take an answer; one that is older than the misses that would decide is nothing."""
        path = self._paths.get(target)
        if path is None or not self._sequence - MISSES < sequence <= self._sequence:
            return
        self._paths[target] = replace(path, answered=True)

    def reached(self) -> dict[NetworkInterfaceId, Reached]:
        """What is known, by our interfaces."""
        known: dict[NetworkInterfaceId, Reached] = {}
        for target, path in self._paths.items():
            found = known.get(target.interface, Reached())
            if path.state is PathState.REACHED:
                found = replace(found, reached=found.reached | {target.node})
            elif path.state is PathState.MISSED:
                found = replace(found, missed=found.missed | {target.node})
            known[target.interface] = found
        return known
