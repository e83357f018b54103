"""Promises between nodes while the database is silent (rule R10): the asker's side, and the promiser's.

    quiet --(Look: silent for 2 delays)--> asking --(all have answered, all promise)--> quiet, and go on
      ^                                      |
      '----(all have answered, one refuses)--'   and what runs here ends in time, by the guard

A node whose renewals are not answered keeps what runs on it only if every node that might take it over has promised
not to. Those are the nodes whose leases are not ended in its newest view: it says in every renewal how new that view
is, and whoever is not in it waits longer (`cluster/observer.py`). One refusal, or one silence, and no promise counts.
The asker counts from the moment before it sent the first question, the promiser from the receipt plus the margin.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import NodeId
from quorate.clusapi.machine import Rule, Step, Table, follow
from quorate.cluster.lease import MARGIN

SILENT_DELAYS: Final = 2.0
"""Delays without an answered renewal after which the others are asked: one renewal may be late."""
SOON: Final = 0.25
"""Delays after which they are asked again when one refused: who could write a moment ago will soon know better."""
MAX_PERIOD: Final = 240.0
"""Seconds that anybody may ask for: the longest lease that the cluster's properties allow (2 s x 120)."""


# --- the asker: events -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """Look whether a promise is needed. What stands here was read after `now`, in this order: it may only be newer."""

    since: float | None
    """When the last answered renewal was sent; None: no lease to carry on."""
    deadline: float
    """Until when what runs here may run."""
    delay: float
    period: float
    nodes: frozenset[NodeId]
    """The other nodes whose leases are not ended."""
    configured: frozenset[NodeId]
    """The other nodes of the cluster."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A node has promised."""

    round: int
    node: NodeId


@dataclass(frozen=True, slots=True)
class NotGranted:
    """A node has refused, or could not be asked in time."""

    round: int
    node: NodeId
    sentence: str


AskerEvent: TypeAlias = Look | Granted | NotGranted


# --- the asker: effects ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask these nodes, all at once, to promise for `period` seconds; each is answered for."""

    round: int
    nodes: frozenset[NodeId]
    period: float


@dataclass(frozen=True, slots=True)
class GoOn:
    """Everybody has promised: what runs here may run until `period` seconds after `sent`."""

    sent: float
    period: float
    capped: bool


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Say `Look` at this time; it takes the place of what was said before."""

    at: float


@dataclass(frozen=True, slots=True)
class Say:
    """Tell people."""

    sentence: str


# --- the asker ---------------------------------------------------------------------------------------------------


class Phase(Enum):
    """What the asker does."""

    QUIET = "quiet"
    """The database answers, or the next question is not due yet."""
    ASKING = "asking"
    """Nodes were asked, and not all have answered."""


@dataclass(frozen=True, slots=True)
class Asker:
    """A node's questions. One round at a time; an answer of an earlier round is nothing."""

    phase: Phase = Phase.QUIET
    round: int = 0
    sent: float = 0.0
    """Before the first question of this round went out."""
    again: float = 0.0
    """When the next round may begin."""
    delay: float = 0.0
    period: float = 0.0
    nodes: frozenset[NodeId] = frozenset()
    capped: bool = False
    granted: frozenset[NodeId] = frozenset()
    refused: Mapping[NodeId, str] = field(default_factory=dict)
    said: str = ""
    """What people were told last; nothing is said twice."""

    def step(self, event: AskerEvent, now: float) -> Step["Asker"]:
        """Take in what happened at `now` (CLOCK_BOOTTIME); give the next state and what to do."""
        return follow(TABLE, lambda state: state.phase, self, event, now)


_Step: TypeAlias = Step[Asker]


def _on_look(s: Asker, event: object, now: float) -> _Step:
    assert isinstance(event, Look)
    if event.since is None or now >= event.deadline:
        return Step(s, (LookAgain(now + event.delay),))
    due = max(event.since + SILENT_DELAYS * event.delay, s.again)
    if now < due:
        return Step(s if now - event.since > event.delay else replace(s, said=""), (LookAgain(due),))
    asking = replace(
        s,
        phase=Phase.ASKING,
        round=s.round + 1,
        sent=now,
        delay=event.delay,
        period=event.period,
        nodes=event.nodes,
        capped=not event.configured <= event.nodes,
        granted=frozenset(),
        refused={},
    )
    step = _concluded(asking, now)  # at once where nobody is left to be asked
    return Step(step.state, (Ask(asking.round, event.nodes, event.period), LookAgain(now + event.delay), *step.effects))


def _on_granted(s: Asker, event: object, now: float) -> _Step:
    assert isinstance(event, Granted)
    if event.round != s.round or event.node not in s.nodes:
        return Step(s)
    return _concluded(replace(s, granted=s.granted | {event.node}), now)


def _on_not_granted(s: Asker, event: object, now: float) -> _Step:
    assert isinstance(event, NotGranted)
    if event.round != s.round or event.node not in s.nodes:
        return Step(s)
    return _concluded(replace(s, refused={**s.refused, event.node: event.sentence}), now)


def _concluded(s: Asker, now: float) -> _Step:
    """Draw the conclusion once every node has answered, or is known not to."""
    if s.granted | frozenset(s.refused) != s.nodes:
        return Step(s)
    if s.refused:
        reasons = "; ".join(f"node {node}: {why}" for node, why in sorted(s.refused.items()))
        sentence = f"the database is silent, and not every node has promised to take nothing over ({reasons})"
        goes_on: tuple[object, ...] = ()
    else:
        limit = "for a limited time" if s.capped else "as long as they do"
        sentence = f"the database is silent; all nodes that might take over promise not to: we go on {limit}"
        goes_on = (GoOn(s.sent, s.period, s.capped),)
    said = () if sentence == s.said else (Say(sentence),)
    again = s.sent + s.delay * (SOON if s.refused else 1.0)
    return Step(replace(s, phase=Phase.QUIET, said=sentence, again=again), (*goes_on, *said, LookAgain(again)))


def _on_look_while_asking(s: Asker, event: object, now: float) -> _Step:
    assert isinstance(event, Look)
    return Step(s, (LookAgain(now + event.delay),))


def _stale(why: str) -> Rule[Asker, Phase]:
    return Rule(None, (), why)


TABLE: Final[Table[Phase, Asker]] = {
    Phase.QUIET: {
        Look: Rule(_on_look, (Phase.QUIET, Phase.ASKING)),
        Granted: _stale("of a round that is over"),
        NotGranted: _stale("of a round that is over"),
    },
    Phase.ASKING: {
        Look: Rule(_on_look_while_asking, (Phase.ASKING,)),
        Granted: Rule(_on_granted, (Phase.ASKING, Phase.QUIET)),
        NotGranted: Rule(_on_not_granted, (Phase.ASKING, Phase.QUIET)),
    },
}


# --- the promiser ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """A node asks for a promise."""

    node: NodeId
    incarnation: str
    period: float


@dataclass(frozen=True, slots=True)
class Situation:
    """What the promiser knows of itself and of the asker."""

    is_writable: bool
    """It could write to the database a moment ago: then it is the asker that is cut off, and not the database."""
    ended: str = ""
    """The asker's incarnation that the view shows as ended, or that this node has set out to end; empty: none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the promiser says."""

    granted: bool
    sentence: str
    seconds: float = 0.0
    """How long this node takes nothing over, from now."""


@dataclass(frozen=True, slots=True)
class Promises:
    """What a node has promised. Lost with its daemon: the next one has another incarnation, which nobody has asked."""

    until: Mapping[NodeId, float] = field(default_factory=dict)

    def outstanding(self, node: NodeId, now: float) -> float | None:
        """Until when this node may not end the lease of `node`, nor take its groups; None: it may."""
        until = self.until.get(node, now)
        return until if until > now else None

    def answer(self, request: Request, situation: Situation, now: float) -> tuple["Promises", Answer]:
        """Answer a request that was received at `now`; a promise counts from here."""
        refusal = _refusal(request, situation)
        if refusal:
            return self, Answer(False, refusal)
        seconds = request.period + MARGIN
        kept = {node: until for node, until in self.until.items() if until > now}
        until = max(kept.get(request.node, 0.0), now + seconds)
        sentence = f"takes nothing over from node {request.node} for {seconds:g} s"
        return Promises({**kept, request.node: until}), Answer(True, sentence, seconds)


def _refusal(request: Request, situation: Situation) -> str:
    if not 0 < request.period <= MAX_PERIOD:
        return f"a promise for {request.period:g} s was asked; it can be given for up to {MAX_PERIOD:g} s"
    if situation.ended and situation.ended == request.incarnation:
        return f"the lease of node {request.node} is over by this node's count, or ended already"
    if situation.is_writable:
        return "this node can write to the database: the silence is the asker's own"
    return ""
