"""The coordinator's second brain: it runs the drains and the queue of the cluster, by records that outlive it.

    idle --(something is to be written)--> writing --(it landed, was refused, or nobody answered)--> idle

Whatever follows from one picture is written in one transaction, which compares every record that it writes over. One is
under way at a time, and the next one waits for a picture that shows it, so that nothing is decided twice. It acts only
while this node coordinates; who coordinates next finds everything in the records.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from quorate.clusapi import machine
from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import NodeId
from quorate.clusapi.machine import Rule, Step
from quorate.cluster.coordinator_work import Looked, Outcome, WakeAt
from quorate.cluster.drain import plan_drain
from quorate.cluster.moves import Change, DropMove, PutMove
from quorate.cluster.picture import Picture
from quorate.cluster.queue import PATIENCE, Entries, plan_queue

BACK_OFF: Final = 0.5
"""Seconds without decisions after the database has not answered."""
AT_ONCE: Final = 40
"""Changes in one transaction; the rest follows with the next one."""


class Phase(Enum):
    """What the brain waits for."""

    IDLE = "idle"
    """For something to do."""
    WRITING = "writing"
    """For the answer to a transaction."""


# --- effects and events ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Commit:
    """Write these changes, all or none; `Answered` follows, whatever becomes of it."""

    number: int
    changes: tuple[Change, ...]
    turn: int | None
    """The revision of the queue's record, which is compared and written too where moves begin; None: none does."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a `Commit`; the store's revision if it landed."""

    number: int
    outcome: Outcome
    revision: int = 0


Event: TypeAlias = Looked | Answered
Effect: TypeAlias = Commit | WakeAt


@dataclass(frozen=True, slots=True)
class Movements:
    """One node's part in it."""

    me: NodeId
    phase: Phase = Phase.IDLE
    number: int = 0
    """Of the last transaction."""
    landed: int = 0
    """The revision of the last one that landed; older pictures do not show it."""
    quiet_until: float = 0.0
    """The database did not answer: nothing is begun before."""

    def step(self, event: Event, now: float) -> Step["Movements"]:
        """Take in what happened at ``now`` (CLOCK_BOOTTIME); give the next state and what to do."""
        return machine.follow(TABLE, lambda state: state.phase, self, event, now)


_Step: TypeAlias = Step[Movements]


def _look(s: Movements, event: object, now: float) -> _Step:
    assert isinstance(event, Looked)
    picture = event.picture
    if picture.coordinator != s.me or picture.revision < s.landed:
        return Step(s)
    if now < s.quiet_until:
        return Step(s, (WakeAt(s.quiet_until),))
    plan = _plan(picture)
    waking = () if plan.again_at is None else (WakeAt(now + max(0.0, plan.again_at - picture.clock)),)
    if not plan.changes:
        return Step(s, waking)
    changes = plan.changes[:AT_ONCE]
    begins = any(isinstance(change, PutMove) and change.move.begun_at is not None for change in changes)
    commit = Commit(s.number + 1, changes, picture.turn if begins else None)
    return Step(replace(s, phase=Phase.WRITING, number=commit.number), (commit, *waking))


@dataclass(frozen=True, slots=True)
class _Plan:
    changes: tuple[Change, ...]
    again_at: float | None


def _plan(picture: Picture) -> _Plan:
    """What follows from a picture, all of it about different records."""
    changes: list[Change] = []
    times: list[float] = []
    entries = Entries(picture)
    for move in picture.moves.values():
        why = entries.why_void(move)
        if why:
            changes.append(DropMove(move.group, move.revision, why))
    for drain in picture.drains.values():
        plan = plan_drain(picture, drain)
        changes += plan.changes
        if plan.again_at is not None:
            times.append(plan.again_at)
    for verdict in plan_queue(picture):
        changes.append(PutMove(verdict.move, verdict.move.revision))
    times += [move.asked_at + PATIENCE for move in picture.moves.values() if move.begun_at is None]
    return _Plan(tuple(changes), min((at for at in times if at > picture.clock), default=None))


def _answered(s: Movements, event: object, now: float) -> _Step:
    assert isinstance(event, Answered)
    if event.number != s.number:
        return Step(s)
    match event.outcome:
        case Outcome.LANDED:
            return Step(replace(s, phase=Phase.IDLE, landed=event.revision), (WakeAt(now),))
        case Outcome.REFUSED:
            return Step(replace(s, phase=Phase.IDLE), (WakeAt(now + REFUSED_PAUSE),))
        case Outcome.UNANSWERED:
            quiet = now + BACK_OFF
            return Step(replace(s, phase=Phase.IDLE, quiet_until=quiet), (WakeAt(quiet),))


REFUSED_PAUSE: Final = 0.05
"""Seconds after which it is planned anew what was refused: the picture that shows why is about to come."""

TABLE: Final[Mapping[Phase, Mapping[type, Rule[Movements, Phase]]]] = {
    Phase.IDLE: {
        Looked: Rule(_look, (Phase.IDLE, Phase.WRITING)),
        Answered: Rule(None, (), "of a transaction that was given up"),
    },
    Phase.WRITING: {
        Looked: Rule(None, (), "the answer comes within the database's own deadline"),
        Answered: Rule(_answered, (Phase.IDLE, Phase.WRITING)),
    },
}
