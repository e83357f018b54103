"""What becomes of the groups of a dead node, and of a group that fails where it is ([object-model] 7.3).

**A node is dead** when its lease is over as a fact of the database. Then each group that it holds is taken over in
order of Priority: wanted online, it is started elsewhere; with Priority 0, not wanted or given up it gets an owner and
stays as it is; where no node has the room it gets an owner that parks it, and the reason. A whole node's groups are
planned in one go, so that together they never take more than the survivors have.

A node's death is no failure of its groups: FailoverThreshold does not count it. It counts what `plan_failover` decides:
a group that failed where it was and goes to another node.

**A gift under way** (R8): a dead holder to whom a live migration was giving. Its giver is asked. It has not sent
`yours`: it takes the group back by itself, with its memory, and is left to do so. It has sent it, has nothing left, or
is dead itself: the group is started from its disks, by a write that compares what was read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias
from zlib import crc32

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import GroupPriority, GroupStatus, GroupType
from quorate.cluster.picture import AS_MANY_AS_OTHER_NODES, Failover, GroupPicture, NodePicture, Picture
from quorate.cluster.placement import Choice, Room, choose

HOUR: Final = 3600.0


class GiverWord(Enum):
    """What a giver says of its gift to a node that has died."""

    NOT_SENT = "not sent"
    """`yours` was not sent: the giver takes the group back."""
    SENT = "sent"
    """`yours` may have been heard: the group may have run on the dead node."""
    GONE = "gone"
    """The giver has nothing left of it."""
    WAIT = "wait"
    """The giver cannot say yet, or did not answer."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Give a dead node's group to another one."""

    group: GroupId
    destination: NodeId
    starts: bool
    """Its new owner brings it online."""
    status: GroupStatus
    """Why it does not, in bits."""
    sentence: str


@dataclass(frozen=True, slots=True)
class AskGiver:
    """Ask a giver about its gift."""

    group: GroupId
    giver: NodeId
    epoch: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Stays:
    """Nothing can be done for a dead node's group now."""

    group: GroupId
    sentence: str


Decision: TypeAlias = TakeOver | AskGiver | Stays


def plan_take_over(
    picture: Picture,
    words: Mapping[tuple[GroupId, int], GiverWord] | None = None,
    moving: Mapping[GroupId, NodeId] | None = None,
    room: Room | None = None,
) -> tuple[Decision, ...]:
    """Decide about every group of every dead node, in the order in which it is to be done.

    ``words`` are givers' answers by group and epoch of the record that was asked about; groups of ``moving`` are on
    their way already, and keep the place where they go.
    """
    under_way = moving or {}
    orphans = [group for group in orphans_of(picture) if group.id not in under_way]
    if not orphans:
        return ()
    left = room if room is not None else Room(picture, under_way)
    orphans.sort(key=lambda group: (-group.priority, not group.starts_by_itself, -group.memory, group.name.casefold()))
    return tuple(_decide(picture, left, group, words or {}) for group in orphans)


def orphans_of(picture: Picture) -> list[GroupPicture]:
    """Give the groups whose holder is dead, or is in the cluster no more: an older version could leave it a group."""
    dead = [node.id for node in picture.nodes.values() if node.is_dead]
    gone = sorted(owner for owner in picture.all.owners() if owner not in picture.nodes)
    return [group for node in (*dead, *gone) for group in picture.owned_by(node)]


def _decide(
    picture: Picture, room: Room, group: GroupPicture, words: Mapping[tuple[GroupId, int], GiverWord]
) -> Decision:
    dead = picture.name(group.owner)
    if is_waited_for(picture, group.owner):
        return Stays(group.id, _WAITED_FOR.format(dead, picture.settings.restore_wait))
    how = f"{dead} is down" if group.owner in picture.nodes else f"{dead} is in the cluster no more"
    if group.giver is not None and group.giver != group.owner and not _is_gone(picture, group.giver):
        giver = picture.name(group.giver)
        match words.get((group.id, group.epoch), GiverWord.WAIT):
            case GiverWord.WAIT:
                sentence = f"{how} while {giver} was giving it {group.name}: {giver} is asked whether it has let go"
                return AskGiver(group.id, group.giver, group.epoch, sentence)
            case GiverWord.NOT_SENT:
                return Stays(group.id, f"{how}; {giver}, which was giving it {group.name}, takes that back by itself")
            case GiverWord.SENT:
                how += f" and may have run it: {giver} had let go"
            case GiverWord.GONE:
                how += f" and {giver} has nothing left of it"
    return _place(picture, room, group, how)


_WAITED_FOR: Final = (
    "{} has not been up since the database was restored: it is waited for until {:g} s after the cluster has formed"
    " (ClusterGroupWaitDelay)"
)


def is_waited_for(picture: Picture, owner: NodeId) -> bool:
    """Tell whether a node may just be on its way up: after a restore the first one must not take what all have."""
    node = picture.nodes.get(owner)
    lease = None if node is None else node.lease
    return lease is not None and lease.is_restored and picture.clock < picture.waits_until


def _is_gone(picture: Picture, giver: NodeId) -> bool:
    node = picture.nodes.get(giver)
    return node is None or node.is_dead


def _place(picture: Picture, room: Room, group: GroupPicture, how: str) -> Decision:
    starts = group.starts_by_itself
    without = frozenset({group.owner})
    choice = choose(picture, room, group, without=without, to_run=starts, seed=seed_of(picture, group))
    if choice.node is not None:
        if starts:
            room.take(group, choice.node)
        sentence = f"{group.name} goes to {picture.name(choice.node)}, as {how}: {choice.sentence}{_left_off(group)}"
        return TakeOver(group.id, choice.node, starts, GroupStatus.NORMAL, sentence)
    if choice.keeper is not None:
        sentence = f"{group.name} is kept offline by {picture.name(choice.keeper)}, as {how}: {choice.sentence}"
        return TakeOver(group.id, choice.keeper, False, choice.status, sentence)
    return Stays(group.id, f"{how} and no other node can take {group.name}: {choice.sentence}")


def _left_off(group: GroupPicture) -> str:
    """Say why a group that gets a new owner is not started there."""
    if group.starts_by_itself:
        return ""
    if group.failed_at is not None:
        return "; it had failed before and stays so"
    if group.wanted and group.priority == GroupPriority.DISABLED:
        return "; it is not started by itself (Priority 0)"
    return "; it is not wanted online"


def seed_of(picture: Picture, group: GroupPicture) -> int | None:
    """Give the seed that shuffles the nodes for a group that is no VM; None where their order is fixed."""
    if picture.settings.fixed_order or group.group_type == GroupType.VIRTUAL_MACHINE:
        return None
    return crc32(group.id.encode()) + group.epoch


# --- a group that fails where it is --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FailoverDecision:
    """What to do about a group that cannot be brought online where it is."""

    destination: NodeId | None
    """None: it stays, Failed or parked."""
    sentence: str
    history: tuple[Failover, ...] = ()
    """The group's failovers with this one."""
    status: GroupStatus = GroupStatus.NORMAL
    """What keeps it offline where no node has the room: it waits for that. Nothing: the policy has given up."""


def limit_of(group: GroupPicture, nodes: int) -> int:
    """Give FailoverThreshold as a number: as a default one less than there are nodes."""
    return max(0, nodes - 1) if group.failover_threshold == AS_MANY_AS_OTHER_NODES else group.failover_threshold


def recent_failovers(group: GroupPicture, clock: float) -> tuple[Failover, ...]:
    """Give the failovers that count at this moment of the cluster's time: those within FailoverPeriod."""
    return tuple(one for one in group.failovers if clock - one.at < group.failover_period * HOUR)


def plan_failover(picture: Picture, group: GroupPicture, room: Room | None = None) -> FailoverDecision:
    """Decide where a group goes that cannot be online on its owner; its owner asks."""
    recent = recent_failovers(group, picture.clock)
    limit = limit_of(group, len(picture.nodes))
    if group.locked:
        return FailoverDecision(None, "not failed over: it is locked from moving (LockedFromMoving 1)", recent)
    if len(recent) >= limit:
        sentence = (
            f"not failed over: {len(recent)} failovers within {group.failover_period} h "
            f"(FailoverThreshold {limit}, FailoverPeriod {group.failover_period})"
        )
        return FailoverDecision(None, sentence, recent)
    choice = _choose_next(picture, group, recent, room)
    here = picture.name(group.owner)
    if choice.node is None:
        sentence = f"not failed over from {here}: {choice.sentence}"
        return FailoverDecision(None, sentence, recent, choice.status)
    sentence = (
        f"failover {len(recent) + 1} of {limit} within {group.failover_period} h, "
        f"from {here} to {picture.name(choice.node)}: {choice.sentence}"
    )
    return FailoverDecision(choice.node, sentence, (*recent, Failover(picture.clock, group.owner)))


def _choose_next(picture: Picture, group: GroupPicture, recent: tuple[Failover, ...], room: Room | None) -> Choice:
    return choose(
        picture,
        room if room is not None else Room(picture),
        group,
        without=frozenset({group.owner}),
        failed_on=frozenset(one.node for one in recent),
        seed=seed_of(picture, group),
    )


def room_beside_orphans(picture: Picture) -> Room:
    """Give the room for groups that can wait: what dead nodes' groups will take is not theirs.

    Records of a take-over land one after the other. A group that was parked for a more important one sees its own
    before that one's, and would take the very room that it was refused.
    """
    room = Room(picture)
    plan_take_over(picture, room=room)
    return room


def plan_parked(picture: Picture, group: GroupPicture, room: Room | None = None) -> Choice:
    """Look again for a node for a group that is parked; where its owner has the room now, it goes nowhere else."""
    left = room if room is not None else room_beside_orphans(picture)
    owner: NodePicture | None = picture.nodes.get(group.owner)
    others = frozenset(node for node in picture.nodes if node != group.owner)
    if owner is not None:
        here = choose(picture, left, group, without=others)
        if here.node is not None or group.locked:
            return here
    return choose(picture, left, group, seed=seed_of(picture, group))


# --- the retry of a group that was given up ------------------------------------------------------------------------

NEVER: Final = 0xFFFFFFFF
"""RetryPeriodOnFailure: no retry."""


def retry_at(group: GroupPicture, period_milliseconds: int, *, restarts: bool) -> float | None:
    """Tell when a given-up group has its one more try, in the cluster's time ([object-model] 7.4); None: never.

    ``restarts``: whether RestartAction permits restarts at all.
    """
    if group.failed_at is None or not restarts or period_milliseconds == NEVER or not group.wanted:
        return None
    return group.failed_at + period_milliseconds / 1000
