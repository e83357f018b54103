"""When a node may end another one's lease: the taker's side of R9 and R10 (I4).

D may end X's lease when its own is held, X has none of its promises outstanding, and X's guard has surely acted:

(a) X has seen a lease of this daemon of D, not ended since, before it sent the renewal that stands (`seen`): it would
    not go on without a promise of D, and D has none to keep. So the lease is all: duration + margin since D saw that
    renewal first.
(b) X knew of the node D, but not of this daemon, or saw its lease ended: D may have promised before it was restarted,
    or may be out of the game for X, which then can go on for its resilience at most. D waits that out too, from its
    own start at the earliest.
(c) X did not know that D is in the cluster: it may go on without ever asking D. Time proves nothing.

What D counts begins when its own lease was held again at the earliest: while the database answered nobody, nobody could
renew, and the first node that is back would else end the leases of all the others.

Where a fence agent has switched X off, or a person says that it is dead, nothing is left to wait for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState
from quorate.cluster.lease import MARGIN
from quorate.cluster.lease_events import LeaseRecord

DRIFT: Final = 0.001
"""How much faster or slower one clock may go than another: both may be slewed by 500 ppm. The margin covers it for a
lease; over the resilience it is added."""
AGAIN: Final = 0.5
"""Seconds after which a question is worth asking again that hangs on more than time."""


@dataclass(frozen=True, slots=True)
class EndVerdict:
    """Whether a lease may be ended now."""

    allowed: bool
    at: float | None
    """When to ask again, on CLOCK_BOOTTIME; None: time alone will not change it."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """The renewal of a node that was seen last."""

    revision: int
    at: float
    """When it was seen first, on CLOCK_BOOTTIME."""


@dataclass(frozen=True, slots=True)
class Sightings:
    """Since when each lease has not moved, as this node sees it."""

    of: Mapping[NodeId, Sighting] = field(default_factory=dict)

    def seen(self, revisions: Mapping[NodeId, int], now: float) -> "Sightings":
        """Take in the revisions of all lease records; one that is gone is forgotten."""
        of = {}
        for node, revision in revisions.items():
            known = self.of.get(node)
            of[node] = known if known is not None and known.revision == revision else Sighting(revision, now)
        return Sightings(of)


@dataclass(frozen=True, slots=True)
class Subject:
    """The node whose lease it is about."""

    name: str
    lease: LeaseRecord
    revision: int
    """Of the lease's record, which the end of the lease compares."""
    seen_at: float
    """When this node saw that revision first."""


@dataclass(frozen=True, slots=True)
class Judge:
    """The node that would end it, as it is at this moment."""

    is_held: bool
    """Its own lease is held."""
    since_revision: int
    """The first answered write since which its lease was never ended (`Holder.since_revision`); 0: there was none."""
    admitted: int | None
    """The revision at which it was admitted to the cluster; None: nobody has noted it."""
    started: float
    """When its daemon was started."""
    promised_until: float | None = None
    """Until when it has promised the subject to take nothing over."""
    held_since: float = 0.0
    """Since when its own lease is held without a break (`Holder.held_since`)."""


class Ground(Enum):
    """By which part of the rule the judge waits."""

    ASKED = "a"
    WAITS = "b"
    NEVER = "c"


def ground(subject: Subject, judge: Judge) -> Ground:
    """Say which part of the rule applies."""
    seen = subject.lease.seen
    if seen >= subject.revision:
        return Ground.NEVER  # nobody has seen his own write before he sent it: this is of another store's history
    if 0 < judge.since_revision <= seen:
        return Ground.ASKED
    if judge.admitted is not None and judge.admitted <= seen:
        return Ground.WAITS
    return Ground.NEVER


def over_at(subject: Subject, judge: Judge) -> float | None:
    """When the subject's guard has surely acted, as far as time alone can tell; None: it cannot."""
    lease = subject.lease
    silent_since = max(subject.seen_at, judge.held_since)
    match ground(subject, judge):
        case Ground.ASKED:
            return silent_since + lease.duration + MARGIN
        case Ground.WAITS:
            wait = lease.duration + lease.resilience * (1 + DRIFT) + 2 * MARGIN
            return max(silent_since, judge.started) + wait
        case Ground.NEVER:
            return None


def may_end(subject: Subject, judge: Judge, now: float, *, fenced: bool = False) -> EndVerdict:
    """Tell whether the judge may end the subject's lease at `now` (CLOCK_BOOTTIME).

    `fenced`: the subject is switched off, by a fence agent's proof or a person's word. What is allowed once stays so
    until the subject's record changes, which the transaction compares: it may land as late as it likes.
    """
    name, lease = subject.name, subject.lease
    if lease.ended:
        return EndVerdict(False, None, f"the lease of {name} is ended already")
    if fenced:
        return EndVerdict(True, None, f"{name} is proven to be off")
    if not judge.is_held:
        return EndVerdict(False, now + AGAIN, f"this node's own lease is not held: it cannot judge {name}")
    over = over_at(subject, judge)
    if over is None:
        sentence = (
            f"{name} had not seen this node in the cluster when it last renewed its lease: it may go on without having "
            "asked; confirm that it is off, or have it fenced"
        )
        return EndVerdict(False, None, sentence)
    if judge.promised_until is not None and now < judge.promised_until:
        left = judge.promised_until - now
        return EndVerdict(
            False,
            max(over, judge.promised_until),
            f"this node has promised {name} to take nothing over for {left:.1f} s",
        )
    if now < over:
        return EndVerdict(False, over, f"{name} may still run for {over - now:.1f} s: {_why(subject, judge)}")
    return EndVerdict(True, None, f"{name} was silent for {now - subject.seen_at:.1f} s: {_why(subject, judge)}")


def _why(subject: Subject, judge: Judge) -> str:
    lease = subject.lease
    if ground(subject, judge) is Ground.ASKED:
        return f"its lease is {lease.duration:g} s, the margin {MARGIN:g} s"
    return (
        f"its lease is {lease.duration:g} s, and it may go on for {lease.resilience:g} s more, as it has not seen this "
        "node since it started"
    )


def node_state(
    lease: LeaseRecord | None, seen_at: float, now: float, *, paused: bool, is_blind: bool = False
) -> NodeState:
    """Give a node's state as an observer shows it: for people and for placement, never for taking over.

    `is_blind`: the observer's own lease is not held, so that a lease which it does not see move says nothing.
    """
    if lease is None or lease.ended:
        return NodeState.DOWN
    if now - seen_at > lease.duration + MARGIN:
        return NodeState.UNKNOWN if is_blind else NodeState.DOWN
    if lease.joining:
        return NodeState.JOINING
    return NodeState.PAUSED if paused else NodeState.UP
