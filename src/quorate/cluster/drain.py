"""The drain of a node ([object-model] 11): every group goes, in order of Priority, and what cannot go is named.

    draining --(the node holds nothing more)--> completed --(something has come all the same)--> draining
       |   `--(nothing more can go)----> failed --(the rest has gone)--> completed
       |                                   |
       `----------- the node is resumed ---+--> returning, or forgotten

What is to be done follows from what the node holds at this moment, never from a list that was made at the beginning:
a group that comes back, or was being created, is not forgotten. A group goes as its DefaultMoveType says, a running
virtual machine live unless its Priority is low. One that fails is tried again after a pause, elsewhere if it can be,
and holds up no other. Then it depends on the flags of CLUSAPI_NODE_PAUSE. With REMAIN_ON_PAUSED_NODE_ON_MOVE_ERROR the
group stays where it is and runs on; without it nothing may stay, so that it is saved, or else shut down, and goes as it
is, also to a node that has no room to run it now. RETRY_DRAIN_ON_FAILURE tries for ever instead of giving up.

A group that has left by post-copy runs elsewhere while the node still sends its pages: until the last of them is across
the node is not drained, as its end would be the end of that guest.

Locked groups (LockedFromMoving) stay in any case: a person has said so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeResumeFailbackType, NodeState, VmResdllContext
from quorate.cluster.moves import (
    Cause,
    Change,
    Drain,
    DrainStage,
    DropDrain,
    DropMove,
    Move,
    PutDrain,
    PutMove,
    Stage,
    Trouble,
)
from quorate.cluster.picture import GroupPicture, Picture
from quorate.cluster.placement import Room
from quorate.cluster.queue import find_target, has_pages_left

ATTEMPTS: Final = 3
"""How often a group is tried in one way before it counts as one that cannot go so."""
FIRST_PAUSE: Final = 5.0
"""Seconds before the second try; each later one waits four times as long."""
LONGEST_PAUSE: Final = 60.0
AT_ONCE: Final = 16
"""So many failures are dealt with in one transaction."""
NAMED: Final = 5
"""So many of the groups that stay are named in a sentence; the record has them all."""

_HARDER: Final = {
    VmResdllContext.LIVE_MIGRATION: VmResdllContext.SAVE,
    VmResdllContext.SAVE: VmResdllContext.SHUTDOWN_FORCE,
    VmResdllContext.SHUTDOWN: VmResdllContext.SHUTDOWN_FORCE,
    VmResdllContext.SHUTDOWN_FORCE: VmResdllContext.TURN_OFF,
}
"""How a group goes that must, when it does not go as it was to."""


@dataclass(frozen=True, slots=True)
class DrainPlan:
    """What is to be written about one drain."""

    changes: tuple[Change, ...] = ()
    again_at: float | None = None
    """When to look again though nothing changes, in the cluster's time."""


def plan_drain(picture: Picture, drain: Drain) -> DrainPlan:
    """Decide what comes next in a drain, or in the return after it."""
    if drain.node not in picture.nodes:
        sentence = f"node {drain.node} is in the cluster no more, and is not drained any more"
        return DrainPlan((DropDrain(drain.node, drain.revision, sentence),))
    match drain.stage:
        case DrainStage.DRAINING:
            return _plan_draining(picture, drain)
        case DrainStage.COMPLETED:
            return _reopen(picture, drain)
        case DrainStage.FAILED:
            if picture.owned_by(drain.node) or _has_pages_left(picture, drain.node):
                return DrainPlan()
            return DrainPlan((_end(picture, drain, ()),))
        case DrainStage.RETURNING:
            return _plan_returning(picture, drain)


def has_moved(picture: Picture, drain: Drain) -> int:
    """How many groups the drain has moved so far and are still away."""
    return len(_away(picture, drain))


def _away(picture: Picture, drain: Drain) -> list[GroupPicture]:
    """The groups that the drain has moved and that are where it has brought them, or elsewhere but at home."""
    return [group for group in picture.all.drained_by(drain.id) if group.owner != drain.node]


# --- draining --------------------------------------------------------------------------------------------------------


def _plan_draining(picture: Picture, drain: Drain) -> DrainPlan:
    failed = _learn(picture, drain, may_force=not drain.remains)
    if failed:
        return DrainPlan(failed)
    here = picture.owned_by(drain.node)
    node = picture.nodes[drain.node]
    if node.is_dead:
        # Failover has the say; what it leaves goes when the node is back.
        return DrainPlan() if here else DrainPlan((_end(picture, drain, ()),))
    asked = tuple(PutMove(_wish(picture, drain, group), 0) for group in _due(picture, drain, here))
    again_at = _again_at(picture, drain, here)
    if asked or again_at is not None or _is_under_way(picture, drain, here) or _has_pages_left(picture, drain.node):
        return DrainPlan(asked, again_at)
    return DrainPlan((_end(picture, drain, here),))


def _has_pages_left(picture: Picture, node: NodeId) -> bool:
    """Tell whether a node still sends pages of a guest that runs elsewhere, whoever has moved it."""
    sent = (move for move in picture.moves.values() if move.source == node and move.stage is Stage.BEGUN)
    groups = ((picture.groups.get(move.group), move) for move in sent)
    return any(group is not None and has_pages_left(group, move) for group, move in groups)


def _due(picture: Picture, drain: Drain, groups: Iterable[GroupPicture]) -> list[GroupPicture]:
    """The groups that are to be put into the queue now."""
    is_quiet = all(move.stage is not Stage.WAITING for move in picture.moves.values())
    room: Room | None = None
    due = []
    for group in groups:
        if group.id in picture.moves:
            continue
        trouble = drain.troubles.get(group.id)
        if group.locked:
            continue
        if trouble is not None and trouble.nowhere:
            if is_quiet:  # those that wait would have the room before it
                room = room if room is not None else Room(picture)
                if find_target(picture, room, group, _wish(picture, drain, group)).node is not None:
                    due.append(group)
            continue
        if trouble is None or (trouble.again_at is not None and picture.clock >= trouble.again_at):
            due.append(group)
    return due


def _again_at(picture: Picture, drain: Drain, groups: Iterable[GroupPicture]) -> float | None:
    found = (drain.troubles.get(group.id) for group in groups if not group.locked)
    troubles = [trouble for trouble in found if trouble is not None]
    times = [trouble.again_at for trouble in troubles if trouble.again_at is not None]
    if drain.retries and any(trouble.nowhere for trouble in troubles):
        times.append(picture.clock + LONGEST_PAUSE)
    return min(times, default=None)


def _is_under_way(picture: Picture, drain: Drain, here: Iterable[GroupPicture]) -> bool:
    """Tell whether anything goes, or comes, that has to be waited for."""
    if any(group.id in picture.moves for group in here):
        return True
    return any(
        move.stage is Stage.BEGUN and (move.destination == drain.node or move.drain == drain.id)
        for move in picture.moves.values()
    )


def _wish(picture: Picture, drain: Drain, group: GroupPicture) -> Move:
    """The entry that a group gets."""
    leaves = drain.stage is not DrainStage.RETURNING
    return _leave(picture, drain, group) if leaves else _return(picture, drain, group)


def _leave(picture: Picture, drain: Drain, group: GroupPicture) -> Move:
    trouble = drain.troubles.get(group.id)
    how = group.how if trouble is None else trouble.how
    node = picture.name(drain.node)
    return Move(
        group=group.id,
        source=drain.node,
        cause=Cause.DRAIN,
        asked_at=picture.clock,
        how=how,
        destination=drain.target,
        drain=drain.id,
        parks=not drain.remains and how is not VmResdllContext.LIVE_MIGRATION,
        sentence=f"{group.name} leaves {node}, which is being drained",
    )


# --- what came to nothing --------------------------------------------------------------------------------------------


def _learn(picture: Picture, drain: Drain, *, may_force: bool) -> tuple[Change, ...]:
    """Take the moves off the queue that came to nothing, and remember what follows for their groups."""
    failed = [
        move
        for move in picture.moves.values()
        if move.stage is Stage.FAILED and move.drain == drain.id and move.is_of_coordinator
    ]
    del failed[AT_ONCE:]  # what is learned and what is taken off the queue belong into one transaction
    if not failed:
        return ()
    troubles = {id_: trouble for id_, trouble in drain.troubles.items() if id_ in picture.groups}
    for move in failed:
        troubles[move.group] = _after(picture, drain, move, troubles.get(move.group), may_force=may_force)
    drops = tuple(DropMove(move.group, move.revision, move.sentence) for move in failed)
    return (PutDrain(replace(drain, troubles=troubles), drain.revision), *drops)


def _after(picture: Picture, drain: Drain, move: Move, before: Trouble | None, *, may_force: bool) -> Trouble:
    """What follows for a group whose move came to nothing."""
    group, clock = picture.groups.get(move.group), picture.clock
    usual = group.how if group is not None else move.how
    how = before.how if before is not None else usual
    if move.is_final:
        return Trouble(1, how, move.sentence)
    harder = _HARDER.get(how) if may_force else None
    if move.begun_at is None:
        # No node could take it. One that must go is stopped for it; another one waits for a node that can.
        if harder is not None and not move.parks:
            return Trouble(0, harder, move.sentence, clock)
        return Trouble(0, how, move.sentence, nowhere=True)
    attempts = 1 if before is None else before.attempts + 1
    nodes = () if before is None else before.nodes
    if move.destination is not None and move.destination not in nodes:
        nodes = (*nodes, move.destination)
    if attempts < ATTEMPTS:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 4 ** (attempts - 1))
        return Trouble(attempts, how, move.sentence, clock + pause, nodes)
    if harder is not None:
        return Trouble(0, harder, move.sentence, clock)
    return Trouble(attempts, how, move.sentence, clock + LONGEST_PAUSE if drain.retries else None, nodes)


# --- the end ---------------------------------------------------------------------------------------------------------


def _end(picture: Picture, drain: Drain, stay: tuple[GroupPicture, ...]) -> PutDrain:
    name = picture.name(drain.node)
    if stay:
        many = f"{_counted(len(stay))} {'stays' if len(stay) == 1 else 'stay'} on it"
        sentence = f"{name} is not drained: {many}: {_reasons(picture, drain, stay)}"
        return PutDrain(replace(drain, stage=DrainStage.FAILED, sentence=sentence), drain.revision, sentence)
    if picture.nodes[drain.node].is_dead:
        sentence = f"{name} went down while it was being drained: what was left on it was taken over"
    else:
        sentence = f"{name} is drained: {_counted(has_moved(picture, drain))} moved, nothing is left on it"
    done = replace(drain, stage=DrainStage.COMPLETED, troubles={}, sentence=sentence)
    return PutDrain(done, drain.revision, sentence)


def _reasons(picture: Picture, drain: Drain, stay: tuple[GroupPicture, ...]) -> str:
    """Say why groups stay, with the figures of this moment."""
    room = Room(picture)
    reasons = "; ".join(f"{group.name}: {_why_it_stays(picture, room, drain, group)}" for group in stay[:NAMED])
    return reasons + (f"; and {len(stay) - NAMED} more" if len(stay) > NAMED else "")


def _why_it_stays(picture: Picture, room: Room, drain: Drain, group: GroupPicture) -> str:
    if group.locked:
        return "it is locked from moving (LockedFromMoving 1)"
    trouble = drain.troubles.get(group.id)
    assert trouble is not None, "what has met no trouble is put into the queue"
    if trouble.nowhere:
        return find_target(picture, room, group, _wish(picture, drain, group)).sentence
    return trouble.sentence


def _counted(number: int) -> str:
    return f"{number} group" if number == 1 else f"{number} groups"


def _reopen(picture: Picture, drain: Drain) -> DrainPlan:
    here = picture.owned_by(drain.node)
    if not here or picture.nodes[drain.node].is_dead:
        return DrainPlan()
    sentence = f"{picture.name(drain.node)} is drained once more: {here[0].name} has come to it"
    again = replace(drain, stage=DrainStage.DRAINING, total=drain.total + len(here), sentence=sentence)
    return DrainPlan((PutDrain(again, drain.revision, sentence),))


# --- the return ------------------------------------------------------------------------------------------------------


def _plan_returning(picture: Picture, drain: Drain) -> DrainPlan:
    failed = _learn(picture, drain, may_force=False)
    if failed:
        return DrainPlan(failed)
    away = _away(picture, drain)
    if drain.failback is NodeResumeFailbackType.FAIL_BACK_PER_POLICY:
        # Their owners bring them home, as a failover's; here it is only seen when that is over.
        if any(may_go_home(group) for group in away):
            return DrainPlan()
        return DrainPlan((_returned(picture, drain, ()),))
    if picture.nodes[drain.node].state is not NodeState.UP:
        return DrainPlan()
    asked = tuple(PutMove(_wish(picture, drain, group), 0) for group in _due(picture, drain, away))
    again_at = _again_at(picture, drain, away)
    if asked or again_at is not None or _is_under_way(picture, drain, away):
        return DrainPlan(asked, again_at)
    return DrainPlan((_returned(picture, drain, tuple(away)),))


def may_go_home(group: GroupPicture) -> bool:
    """Tell whether its failback policy would bring a group somewhere else than it is."""
    return group.failback and bool(group.preferred) and group.preferred[0] != group.owner


def _return(picture: Picture, drain: Drain, group: GroupPicture) -> Move:
    name = picture.name(drain.node)
    return Move(
        group=group.id,
        source=group.owner,
        cause=Cause.RETURN,
        asked_at=picture.clock,
        how=group.how,
        destination=drain.node,
        drain=drain.id,
        sentence=f"{group.name} goes back to {name}, which was resumed",
    )


def _returned(picture: Picture, drain: Drain, stay: tuple[GroupPicture, ...]) -> DropDrain:
    name = picture.name(drain.node)
    if not stay:
        return DropDrain(drain.node, drain.revision, f"what was drained from {name} is back, or goes its own way")
    sentence = f"not everything that was drained from {name} has come back: {_reasons(picture, drain, stay)}"
    return DropDrain(drain.node, drain.revision, sentence)
