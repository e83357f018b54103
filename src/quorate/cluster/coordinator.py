"""The coordinator: one node at a time runs the failover for the whole cluster.

              the role is free, or its holder's lease may be ended
    follower ------------------------------------------------------> taking
       ^  ^                                                            |  |
       |  `------------------- refused, unanswered --------------------'  | landed
       |                                                                  v
       `---------------- the record names somebody else ------------- coordinator

The role is a record `{node, incarnation}`. It is valid while that node's lease goes on under that incarnation; whoever
may end the holder's lease takes the role in the same transaction. Nothing depends on there being one coordinator only:
every write compares what it was decided on, so that of two that do the same thing one is refused.

A coordinator ends the leases that it may end (R9), and gives the groups of nodes whose lease has ended to others (R8,
I4). It decides on pictures alone; what it has sent and not yet seen in a picture is kept in mind and not sent again.
A follower whose coordinator does not end a lease that this node may end does it after a second: that coordinator may be
newer in the cluster than the lease, and would have to wait far longer (R9 b), or may be just about to be lost itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from quorate.clusapi import machine
from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.machine import Rule, Step
from quorate.clusapi.states import NodeState, NodeStatus
from quorate.cluster import coordinator_work as w
from quorate.cluster.failover import AskGiver, GiverWord, Stays, TakeOver, orphans_of, plan_take_over
from quorate.cluster.picture import GroupPicture, NodePicture, Picture, Role
from quorate.cluster.quarantine import Quarantine, forget_old, forgive, new_lapses, plan_quarantine

HELP_AFTER: Final = 1.0
"""Seconds for which a follower leaves the end of a lease to the coordinator."""
ASK_AGAIN: Final = 0.5
"""Seconds after which a giver that has to settle something is asked again."""
BACK_OFF: Final = 0.5
"""Seconds without decisions after the database has not answered."""
CLOCK_PERIOD: Final = 60.0
"""Seconds of the cluster's time between two notes of it."""


class Phase(Enum):
    """Where this node stands."""

    FOLLOWER = "follower"
    """Somebody else coordinates, or nobody yet."""
    TAKING = "taking"
    """The role's record is being written."""
    COORDINATOR = "coordinator"
    """The record named this node when it was seen last."""


@dataclass(frozen=True, slots=True)
class Moving:
    """A take-over that was sent."""

    destination: NodeId
    epoch: int
    landed: int | None = None
    """The revision at which it landed; a picture that shows it ends the memory of it."""


@dataclass(frozen=True, slots=True)
class Word:
    """A giver's answer, and when it was heard."""

    word: GiverWord
    at: float


@dataclass(frozen=True, slots=True)
class Coordinator:
    """One node's part in the coordination."""

    me: NodeId
    phase: Phase = Phase.FOLLOWER
    role_revision: int = 0
    """The newest revision of the role's record that this node knows of; older pictures say nothing about it."""
    ending: frozenset[NodeId] = frozenset()
    moving: Mapping[GroupId, Moving] = field(default_factory=dict)
    asking: Mapping[GroupId, int] = field(default_factory=dict)
    words: Mapping[tuple[GroupId, int], Word] = field(default_factory=dict)
    noting: bool = False
    """A `NoteRole` is under way."""
    overdue: Mapping[NodeId, float] = field(default_factory=dict)
    """Since when this node, as a follower, might have ended a lease."""
    quiet_until: float = 0.0
    """The database did not answer: nothing is begun before."""
    said: Mapping[GroupId, str] = field(default_factory=dict)

    def step(self, event: w.Event, now: float) -> Step["Coordinator"]:
        """Take in what happened at ``now`` (CLOCK_BOOTTIME); give the next state and what to do."""
        return machine.follow(TABLE, lambda state: state.phase, self, event, now)


_Step: TypeAlias = Step[Coordinator]


# --- follower ------------------------------------------------------------------------------------------------------


def _follow(s: Coordinator, event: object, now: float) -> _Step:
    assert isinstance(event, w.Looked)
    picture = event.picture
    if _is_stale(s, picture):
        return Step(s)
    state = _with_role_of(s, picture)
    if picture.coordinator == s.me:
        return _coordinate(replace(state, phase=Phase.COORDINATOR), event, now)
    if now < s.quiet_until:
        return Step(state, (w.WakeAt(s.quiet_until),))
    if _is_fit(picture):
        taking = _plan_role(picture)
        if taking is not None:
            return Step(replace(state, phase=Phase.TAKING), (taking,))
        return _help(state, picture, now)
    return Step(state, _wake(picture, now))


def _is_stale(s: Coordinator, picture: Picture) -> bool:
    return picture.revision < s.role_revision


def _with_role_of(s: Coordinator, picture: Picture) -> Coordinator:
    if picture.role is None or picture.role.revision <= s.role_revision:
        return s
    return replace(s, role_revision=picture.role.revision)


def _is_fit(picture: Picture) -> bool:
    node = picture.nodes.get(picture.me)
    return node is not None and node.lease is not None and node.state in (NodeState.UP, NodeState.PAUSED)


def _plan_role(picture: Picture) -> w.TakeRole | None:
    """Take the role if it is free, or if its holder's lease may be ended."""
    role, holder = picture.role, picture.coordinator
    me = picture.nodes[picture.me]
    if holder is None:
        before = "there was none" if role is None else f"{picture.name(role.node)} is no member any more as it was then"
        return _take_role(picture, None, f"{me.name} coordinates the cluster: {before}")
    lease = picture.nodes[holder].lease
    if lease is not None and lease.may_end and holder != picture.me:
        sentence = f"{me.name} coordinates the cluster, as {_is_down(picture.nodes[holder])}"
        return _take_role(picture, picture.nodes[holder], sentence)
    return None


def _take_role(picture: Picture, ended: NodePicture | None, sentence: str) -> w.TakeRole:
    me, old = picture.nodes[picture.me], picture.role
    assert me.lease is not None, "only a member takes the role"
    ends = None if ended is None else _end_lease(ended)
    gone = None if ends is None else ends.node
    alone = not any(node.state in _PRESENT for node in picture.nodes.values() if node.id not in (picture.me, gone))
    role = Role(
        node=picture.me,
        incarnation=me.lease.incarnation,
        revision=0,
        clock=picture.clock,
        formed=picture.clock if alone or old is None else old.formed,
        lapses=() if old is None else old.lapses,
        quarantined={} if old is None else old.quarantined,
    )
    return w.TakeRole(0 if old is None else old.revision, role, ends, sentence)


_PRESENT: Final = (NodeState.UP, NodeState.PAUSED, NodeState.JOINING)


def _help(s: Coordinator, picture: Picture, now: float) -> _Step:
    """End the leases that the coordinator has left alone for too long."""
    due = {node.id: s.overdue.get(node.id, now) for node in _endable(s, picture)}
    late = [picture.nodes[id_] for id_, since in due.items() if now - since >= HELP_AFTER]
    state = replace(s, overdue=due, ending=s.ending | {node.id for node in late}) if due or s.overdue else s
    waking = [since + HELP_AFTER for id_, since in due.items() if id_ not in state.ending]
    return Step(state, (*(_end_lease(node) for node in late), *_wake(picture, now, *waking)))


def _endable(s: Coordinator, picture: Picture) -> list[NodePicture]:
    return [
        node
        for node in picture.nodes.values()
        if node.lease is not None
        and node.lease.may_end
        and not node.is_dead
        and node.id not in s.ending
        and node.id != s.me
    ]


def _end_lease(node: NodePicture) -> w.EndLease:
    assert node.lease is not None, "only a lease can be ended"
    return w.EndLease(node.id, node.lease.revision, _is_down(node))


def _is_down(node: NodePicture) -> str:
    """Say why a node is down; the verdict on its lease begins with its name."""
    assert node.lease is not None, "only a lease can be ended"
    return f"{node.name} is down: it {node.lease.sentence.removeprefix(f'{node.name} ')}"


def _wake(picture: Picture, now: float, *moments: float) -> tuple[w.WakeAt, ...]:
    """Look again when the next lease may be ended, or at one of these moments."""
    asked = [
        node.lease.again_at
        for node in picture.nodes.values()
        if node.lease is not None and not node.is_dead and node.lease.again_at is not None and node.id != picture.me
    ]
    later = [at for at in (*asked, *moments) if at > now]
    return (w.WakeAt(min(later)),) if later else ()


# --- taking --------------------------------------------------------------------------------------------------------


def _role_answered(s: Coordinator, event: object, now: float) -> _Step:
    assert isinstance(event, w.RoleAnswered)
    match event.outcome:
        case w.Outcome.LANDED:
            state = replace(s, phase=Phase.COORDINATOR, role_revision=max(s.role_revision, event.revision), overdue={})
            return Step(state, (w.WakeAt(now),))
        case w.Outcome.REFUSED:
            return Step(replace(s, phase=Phase.FOLLOWER), (w.WakeAt(now + BACK_OFF),))
        case w.Outcome.UNANSWERED:
            quiet = now + BACK_OFF
            return Step(replace(s, phase=Phase.FOLLOWER, quiet_until=quiet), (w.WakeAt(quiet),))


# --- coordinator ---------------------------------------------------------------------------------------------------


def _coordinate(s: Coordinator, event: object, now: float) -> _Step:
    assert isinstance(event, w.Looked)
    picture = event.picture
    if _is_stale(s, picture):
        return Step(s)
    state = _with_role_of(s, picture)
    if picture.coordinator != s.me:
        followed = Coordinator(s.me, role_revision=state.role_revision, quiet_until=s.quiet_until)
        return Step(followed, (w.WakeAt(now),))
    state = _forget_done(state, picture)
    if now < s.quiet_until:
        return Step(state, (w.WakeAt(s.quiet_until),))
    ends = [_end_lease(node) for node in _endable(state, picture)]
    if ends:
        state = replace(state, ending=state.ending | {end.node for end in ends})
    taking = _take_over(state, picture, now)
    noting = _note_role(taking.state, picture)
    moments = [word.at + ASK_AGAIN for word in taking.state.words.values()]
    assert picture.role is not None, "it names this node"
    moments.append(now + picture.waits_until - picture.clock)
    moments.append(now + max(1.0, CLOCK_PERIOD - (picture.clock - picture.role.clock)))
    return Step(noting.state, (*ends, *taking.effects, *noting.effects, *_wake(picture, now, *moments)))


def _forget_done(s: Coordinator, picture: Picture) -> Coordinator:
    """Forget what the picture shows by now, and what was about records that are gone."""
    if not (s.moving or s.words or s.said):
        return s
    moving = {
        id_: one
        for id_, one in s.moving.items()
        if (group := picture.groups.get(id_)) is not None
        and group.epoch == one.epoch
        and (one.landed is None or one.landed > picture.revision)
    }
    orphans = {group.id: group.epoch for group in orphans_of(picture)}
    return replace(
        s,
        moving=moving,
        words={(id_, epoch): word for (id_, epoch), word in s.words.items() if orphans.get(id_) == epoch},
        said={id_: text for id_, text in s.said.items() if id_ in orphans},
    )


def _take_over(s: Coordinator, picture: Picture, now: float) -> _Step:
    fresh = {key: word.word for key, word in s.words.items() if _holds(word, now)}
    destinations = {id_: one.destination for id_, one in s.moving.items()}
    decisions = plan_take_over(picture, fresh, destinations)
    if not decisions:
        return Step(s)
    effects: list[w.Effect] = []
    moving, asking, said = dict(s.moving), dict(s.asking), dict(s.said)
    for decision in decisions:
        group = picture.groups[decision.group]
        match decision:
            case TakeOver():
                effects.append(w.Take(decision, group.owner, group.epoch, group.revision, _ended_lease(picture, group)))
                moving[group.id] = Moving(decision.destination, group.epoch)
            case AskGiver() if asking.get(group.id) != group.epoch:
                effects.append(w.Ask(decision))
                asking[group.id] = group.epoch
            case Stays(sentence=sentence) if said.get(group.id) != sentence:
                effects.append(w.Say(group.id, sentence))
                said[group.id] = sentence
            case _:
                pass  # asked already, or said already
    return Step(replace(s, moving=moving, asking=asking, said=said), tuple(effects))


def _ended_lease(picture: Picture, group: GroupPicture) -> int:
    """Give the revision of the lease that its holder has no more; 0: the holder was evicted, and its lease with it."""
    holder = picture.nodes.get(group.owner)
    if holder is None:
        return 0
    assert holder.lease is not None, "only a node whose lease has ended has orphans"
    return holder.lease.revision


def _holds(word: Word, now: float) -> bool:
    """Tell whether a giver's word still decides: that it has let go holds for good, all else is asked again."""
    return word.word in (GiverWord.SENT, GiverWord.GONE) or now - word.at < ASK_AGAIN


def _note_role(s: Coordinator, picture: Picture) -> _Step:
    """Keep the cluster's time, count lapses, and see to quarantines."""
    role = picture.role
    assert role is not None, "it names this node"
    if s.noting:
        return Step(s)
    lapses = (*forget_old(picture, role.lapses), *new_lapses(picture, role))
    counted = role if lapses == role.lapses else replace(role, lapses=lapses)
    quarantined, statuses, sentences = dict(role.quarantined), {}, {}
    for verdict in plan_quarantine(picture, counted):
        status = picture.nodes[verdict.node].status
        if isinstance(verdict, Quarantine):
            quarantined[verdict.node] = verdict.until
            statuses[verdict.node] = status | NodeStatus.QUARANTINED
        else:
            quarantined.pop(verdict.node, None)
            statuses[verdict.node] = status & ~NodeStatus.QUARANTINED
            lapses = forgive(picture, lapses, verdict.node)
        sentences[verdict.node] = verdict.sentence
    if not statuses and lapses == role.lapses and picture.clock - role.clock < CLOCK_PERIOD:
        return Step(s)
    new = replace(role, clock=picture.clock, lapses=lapses, quarantined=quarantined)
    return Step(replace(s, noting=True), (w.NoteRole(role.revision, new, statuses, sentences),))


def _note_answered(s: Coordinator, event: object, now: float) -> _Step:
    assert isinstance(event, w.RoleAnswered)
    state = replace(s, noting=False, role_revision=max(s.role_revision, event.revision))
    return _after_write(state, event.outcome, now)


def _after_write(s: Coordinator, outcome: w.Outcome, now: float) -> _Step:
    match outcome:
        case w.Outcome.LANDED:
            return Step(s)  # the picture that shows it wakes us
        case w.Outcome.REFUSED:
            return Step(s, (w.WakeAt(now + BACK_OFF),))
        case w.Outcome.UNANSWERED:
            quiet = now + BACK_OFF
            return Step(replace(s, quiet_until=quiet), (w.WakeAt(quiet),))


def _lease_answered(s: Coordinator, event: object, now: float) -> _Step:
    assert isinstance(event, w.LeaseAnswered)
    return _after_write(replace(s, ending=s.ending - {event.node}), event.outcome, now)


def _take_answered(s: Coordinator, event: object, now: float) -> _Step:
    assert isinstance(event, w.TakeAnswered)
    sent = s.moving.get(event.group)
    if sent is None:
        return Step(s)
    if event.outcome is w.Outcome.LANDED:
        return Step(replace(s, moving={**s.moving, event.group: replace(sent, landed=event.revision)}))
    left = {id_: one for id_, one in s.moving.items() if id_ != event.group}
    return _after_write(replace(s, moving=left), event.outcome, now)


def _giver_answered(s: Coordinator, event: object, now: float) -> _Step:
    assert isinstance(event, w.GiverAnswered)
    asking = {id_: epoch for id_, epoch in s.asking.items() if (id_, epoch) != (event.group, event.epoch)}
    words = {**s.words, (event.group, event.epoch): Word(event.word, now)}
    at_once = event.word in (GiverWord.SENT, GiverWord.GONE)
    return Step(replace(s, asking=asking, words=words), (w.WakeAt(now if at_once else now + ASK_AGAIN),))


# --- the table -----------------------------------------------------------------------------------------------------


def _late(why: str) -> Rule[Coordinator, Phase]:
    return Rule(None, (), why)


_P: Final = Phase
_ASKED_BEFORE: Final = "asked as coordinator; the next one reads what became of it"
TABLE: Final[dict[Phase, dict[type, Rule[Coordinator, Phase]]]] = {
    _P.FOLLOWER: {
        w.Looked: Rule(_follow, (_P.FOLLOWER, _P.TAKING, _P.COORDINATOR)),
        w.RoleAnswered: _late(_ASKED_BEFORE),
        w.LeaseAnswered: Rule(_lease_answered, (_P.FOLLOWER,)),
        w.TakeAnswered: _late(_ASKED_BEFORE),
        w.GiverAnswered: _late(_ASKED_BEFORE),
    },
    _P.TAKING: {
        w.Looked: _late("the answer comes within the database's own deadline"),
        w.RoleAnswered: Rule(_role_answered, (_P.FOLLOWER, _P.COORDINATOR)),
        w.LeaseAnswered: Rule(_lease_answered, (_P.TAKING,)),
        w.TakeAnswered: _late(_ASKED_BEFORE),
        w.GiverAnswered: _late(_ASKED_BEFORE),
    },
    _P.COORDINATOR: {
        w.Looked: Rule(_coordinate, (_P.COORDINATOR, _P.FOLLOWER)),
        w.RoleAnswered: Rule(_note_answered, (_P.COORDINATOR,)),
        w.LeaseAnswered: Rule(_lease_answered, (_P.COORDINATOR,)),
        w.TakeAnswered: Rule(_take_answered, (_P.COORDINATOR,)),
        w.GiverAnswered: Rule(_giver_answered, (_P.COORDINATOR,)),
    },
}
