"""What the coordinator's brain hears, and what it asks its hands to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import NodeStatus
from quorate.cluster.failover import AskGiver, GiverWord, TakeOver
from quorate.cluster.picture import Picture, Role

# --- effects -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EndLease:
    """Make it a fact of the database that a node's lease is over."""

    node: NodeId
    revision: int
    """Of the lease that was judged."""
    sentence: str


@dataclass(frozen=True, slots=True)
class TakeRole:
    """Write the coordinator's record, and the end of its holder's lease with it; compares what was read of both."""

    expected: int
    """The revision at which the record stood; 0: there is none."""
    role: Role
    ends: EndLease | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Take:
    """Give a dead node's group to another one; compares the ownership record and the ended lease."""

    decision: TakeOver
    holder: NodeId
    epoch: int
    revision: int
    lease_revision: int
    """0: there is none, as the holder was evicted."""

    @property
    def group(self) -> GroupId:
        """The group."""
        return self.decision.group


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a giver whether `yours` is out; `GiverAnswered` follows, whatever becomes of the question."""

    question: AskGiver


@dataclass(frozen=True, slots=True)
class NoteRole:
    """Write the coordinator's record again, and StatusInformation of nodes with it."""

    expected: int
    role: Role
    statuses: Mapping[NodeId, NodeStatus]
    sentences: Mapping[NodeId, str]


@dataclass(frozen=True, slots=True)
class Say:
    """Tell people why a group stays with a dead node."""

    group: GroupId
    sentence: str


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Look again at this moment on CLOCK_BOOTTIME, if nothing happens before."""

    at: float


Effect: TypeAlias = TakeRole | EndLease | Take | Ask | NoteRole | Say | WakeAt


# --- events --------------------------------------------------------------------------------------------------------


class Outcome(Enum):
    """What became of a write."""

    LANDED = "landed"
    REFUSED = "refused"
    """Something stood elsewhere than it was read: look again."""
    UNANSWERED = "unanswered"
    """The database did not answer: nothing is decided until it does. A write compares, and lands once at most."""


@dataclass(frozen=True, slots=True)
class Looked:
    """The cluster as it is now, while this node's lease is held and the database answers it."""

    picture: Picture


@dataclass(frozen=True, slots=True)
class RoleAnswered:
    """What became of `TakeRole` or `NoteRole`; the store's revision if it landed."""

    outcome: Outcome
    revision: int = 0


@dataclass(frozen=True, slots=True)
class LeaseAnswered:
    """What became of `EndLease`."""

    node: NodeId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class TakeAnswered:
    """What became of `Take`; the store's revision if it landed."""

    group: GroupId
    outcome: Outcome
    revision: int = 0


@dataclass(frozen=True, slots=True)
class GiverAnswered:
    """What a giver says."""

    group: GroupId
    epoch: int
    word: GiverWord


Event: TypeAlias = Looked | RoleAnswered | LeaseAnswered | TakeAnswered | GiverAnswered
EVENTS: tuple[type, ...] = Event.__args__
