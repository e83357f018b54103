"""What the keeping of a node's lease hears, and what it asks for: `lease.py` decides."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Terms:
    """What the cluster's properties say of leases; seconds."""

    delay: float
    """SameSubnetDelay: from one renewal to the next."""
    duration: float
    """SameSubnetDelay x SameSubnetThreshold."""
    resilience: float
    """ResiliencyDefaultPeriod: how long what runs may go on beyond the lease, by promises of some of the nodes."""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A node's lease as the database has it."""

    incarnation: str
    sequence: int
    duration: float
    seen: int = 0
    """The store's revision of the newest view that the holder had when it sent this."""
    resilience: float = 0.0
    ended: bool = False
    joining: bool = False


# --- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Due:
    """A pause is over."""

    terms: Terms
    seen: int
    """The revision of this node's newest view, read before this moment."""
    joining: bool = False
    is_member: bool = True
    """The node is in the cluster, as its view has it; one that was evicted renews nothing."""


@dataclass(frozen=True, slots=True)
class Found:
    """The record was read; None when there is none, with revision 0."""

    record: LeaseRecord | None
    revision: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The renewal has landed."""

    revision: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The record did not stand where it was expected, and never will again; None: it is gone.

    Mostly somebody else's write is found. It may be this very renewal, where the store's client sent it twice.
    """

    record: LeaseRecord | None
    revision: int


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The database did not answer; a renewal may have landed, or may yet."""


@dataclass(frozen=True, slots=True)
class Promised:
    """Every node that was asked has promised to take nothing over."""

    sent: float
    """When the question was sent."""
    period: float
    capped: bool
    """Not every configured node is among them: the time beyond the lease is limited."""


Event: TypeAlias = Due | Found | Answered | Refused | Unanswered | Promised


# --- effects -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeepUntil:
    """What runs here may run until then. Carried out before any effect that follows it."""

    deadline: float


@dataclass(frozen=True, slots=True)
class Read:
    """Read the record; answered with `Found` or `Unanswered`."""


@dataclass(frozen=True, slots=True)
class Send:
    """Write the record while it stands at `expected`; answered with `Answered`, `Refused` or `Unanswered`."""

    record: LeaseRecord
    expected: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Say `Due` after so many seconds, or earlier when something has changed."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Say:
    """Tell people."""

    sentence: str
