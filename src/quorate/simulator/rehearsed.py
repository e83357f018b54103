"""What is rehearsed, and what is told of it. Times are seconds since its beginning, sizes bytes."""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Drain:
    """These nodes are drained."""

    nodes: tuple[str, ...]
    to: str | None = None
    remain: bool = True
    """What cannot move gracefully stays."""
    in_turn: bool = False
    """One after the other, in this order; else all of them at the same time."""


@dataclass(frozen=True, slots=True)
class Lose:
    """These nodes lose their power at the same moment, and do not come back."""

    nodes: tuple[str, ...]


class How(Enum):
    """How a virtual machine goes."""

    LIVE = "live"
    SAVED = "saved"
    """Its memory is written to a file, and read again where it comes to."""
    SHUT_DOWN = "shut down"
    TURNED_OFF = "turned off"
    RESTARTED = "restarted"
    """Its node is lost: it is started from its disks elsewhere."""
    STOPPED = "not running"
    """It does not run, and changes its owner."""


@dataclass(slots=True)
class Journey:
    """One way of one virtual machine, from its beginning on."""

    vm: str
    how: How
    source: str
    begins: float
    destination: str = ""
    ends: float | None = None
    """None: it is not over."""
    gap: float = 0.0
    """Seconds for which its guest did not run."""
    passes: int = 0
    """How often its memory was gone through; 0: it was not copied while it ran."""
    copied: int = 0
    """Bytes."""
    failure: str = ""
    """Why it came to nothing; empty: it arrived."""
    still_since: float | None = None

    @property
    def has_arrived(self) -> bool:
        """Tell whether it is over and has come to something."""
        return self.ends is not None and not self.failure and self.still_since is None


class What(Enum):
    """What is not as it should be."""

    STAYS = "stays"
    DOES_NOT_CONVERGE = "does not converge"
    FAILS = "fails"
    DOES_NOT_RUN = "does not run"
    ANTI_AFFINITY = "anti-affinity"
    NO_SPARE = "no spare room"
    """The loss of one more node would not be covered any more (N+1)."""
    NOT_OVER = "not over"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not as it should be."""

    what: What
    vm: str
    """Empty: it is about no single one."""
    sentence: str


@dataclass(frozen=True, slots=True)
class NodeRoom:
    """How much memory of a node is taken, in bytes."""

    name: str
    memory: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took of the cluster; in a drain without the renewal of leases."""

    transactions: int = 0
    """In the database, those that were refused counted too."""
    questions: int = 0
    """Between daemons, answers not counted."""
    events: int = 0
    """Of the simulated world."""

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(
            self.transactions - other.transactions, self.questions - other.questions, self.events - other.events
        )


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What would happen."""

    seed: int
    journeys: tuple[Journey, ...]
    """In the order in which they begin."""
    troubles: tuple[Trouble, ...]
    remarks: tuple[str, ...]
    rooms: tuple[NodeRoom, ...]
    seconds: float
    """After so long all is done."""
    cost: Cost = Cost()

    @property
    def longest_gap(self) -> float:
        """The longest time for which one guest did not run."""
        return max((journey.gap for journey in self.journeys), default=0.0)
