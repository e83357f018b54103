"""The queue of moves of the whole cluster: which of those that wait begin now, and where they go.

    waiting ----> begun ----> (the group is elsewhere, with all its memory: the entry is taken off)
       |            |
       |            `--(it came to nothing)--> failed, and the coordinator decides what follows; what was asked for by a
       `--(cancelled: taken off)                person is taken off, and MigrationState says it

1. What somebody asked for comes first, then by Priority; who has waited longer, then who is larger.
2. A live move takes a place at its source and one at its destination, of MaximumParallelMigrations each; a node's moves
   in and out count together, as in Windows clusters. Other moves have places of their own: they use no link.
3. The memory of what has begun is kept at its destination (`placement.Room`).
4. Who cannot begin holds up nobody. Only for the first one that has waited for `PATIENCE` the places that it needs are
   kept as they become free: it needs two at the same time, and others might take turns with them for ever.

Whoever lets a move begin compares and writes one record, so that two who do it at the same moment cannot exceed a limit
together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import GroupStatus, VmResdllContext, VmState
from quorate.cluster.moves import Cause, Drain, DrainStage, Limits, Move, Stage
from quorate.cluster.picture import GroupPicture, Picture
from quorate.cluster.placement import Room, choose

PATIENCE: Final = 60.0
"""Seconds after which places are kept free for a move."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A move begins, at this destination."""

    move: Move
    """As it is to be written."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """No node can take the group of a move that the coordinator keeps."""

    move: Move
    """As it is to be written."""


Verdict = Begin | Refuse


class Places:
    """The places that are taken. It belongs to one plan and to nobody else."""

    def __init__(self, limits: Limits) -> None:
        """Count from nothing."""
        self._limits = limits
        self._live: dict[NodeId, int] = {}
        self._links: dict[frozenset[NodeId], int] = {}
        self._other: dict[NodeId, int] = {}

    @classmethod
    def of(cls, picture: Picture, entries: "Entries") -> "Places":
        """Count what has begun."""
        places = cls(picture.settings.limits)
        for move in picture.moves.values():
            if move.stage is Stage.BEGUN and not entries.why_void(move):
                places.take(move, move.destination)
        return places

    def is_free_at(self, move: Move, node: NodeId) -> bool:
        """Tell whether a move finds a place at one of its ends."""
        if not move.is_live:
            return node != move.source or self._other.get(node, 0) < self._limits.offline_per_node
        return self._live.get(node, 0) < max(1, self._limits.per_node)

    def are_free(self, move: Move, destination: NodeId) -> bool:
        """Tell whether a move to a node could begin."""
        if not (self.is_free_at(move, move.source) and self.is_free_at(move, destination)):
            return False
        per_link = self._limits.per_link
        link = frozenset({move.source, destination})
        return not move.is_live or per_link is None or self._links.get(link, 0) < max(1, per_link)

    def take(self, move: Move, destination: NodeId | None) -> None:
        """Take the places of a move, or keep them for it."""
        if not move.is_live:
            self._other[move.source] = self._other.get(move.source, 0) + 1
            return
        for node in {move.source, destination} - {None}:
            assert node is not None, "it was taken out"
            self._live[node] = self._live.get(node, 0) + 1
        if destination is not None:
            link = frozenset({move.source, destination})
            self._links[link] = self._links.get(link, 0) + 1


# --- what an entry is worth ------------------------------------------------------------------------------------------


class Entries:
    """What the entries of one picture are worth."""

    def __init__(self, picture: Picture) -> None:
        """Know what goes on that entries are made for."""
        self._picture = picture
        self._going_on = {
            cause: frozenset(drain.id for drain in picture.drains.values() if drain.stage is stage)
            for cause, stage in _MADE_FOR.items()
        }

    def why_void(self, move: Move) -> str:
        """Say why an entry means nothing any more; empty while it does."""
        picture = self._picture
        group, source = picture.groups.get(move.group), picture.nodes.get(move.source)
        if group is None:
            return "the group is gone"
        if source is None or source.is_dead:
            return f"{group.name}: {picture.name(move.source)} is down"
        if group.owner != move.source:
            goes_on = group.giver == move.source or has_pages_left(group, move)
            is_under_way = move.stage is Stage.BEGUN and goes_on and not _is_dead(picture, group.owner)
            return "" if is_under_way else f"{group.name} is on {picture.name(group.owner)}"
        if move.stage is not Stage.BEGUN and move.is_of_coordinator and move.drain not in self._going_on[move.cause]:
            return f"{group.name} is not moved: what it was moved for is over"
        return ""


_MADE_FOR: Final = {Cause.DRAIN: DrainStage.DRAINING, Cause.RETURN: DrainStage.RETURNING}


def why_void(picture: Picture, move: Move) -> str:
    """Say why an entry means nothing any more; empty while it does."""
    return Entries(picture).why_void(move)


def has_pages_left(group: GroupPicture, move: Move) -> bool:
    """Tell whether a group has moved by post-copy, and its source is still the only one that has all of its memory."""
    return group.fetches and group.owner == move.destination and move.stage is Stage.BEGUN


def belongs(drains: Mapping[NodeId, Drain], move: Move) -> bool:
    """Tell whether what an entry of the coordinator was made for goes on."""
    return any(drain.id == move.drain and drain.stage is _MADE_FOR[move.cause] for drain in drains.values())


def _is_dead(picture: Picture, node: NodeId) -> bool:
    found = picture.nodes.get(node)
    return found is None or found.is_dead


# --- what begins -----------------------------------------------------------------------------------------------------


def plan_queue(picture: Picture, room: Room | None = None) -> tuple[Verdict, ...]:
    """Decide which of the waiting moves begin now, in the order in which they do."""
    entries = Entries(picture)
    waiting = [move for move in picture.moves.values() if move.stage is Stage.WAITING and not entries.why_void(move)]
    if not waiting:
        return ()
    places, left = Places.of(picture, entries), room
    waiting.sort(key=lambda move: _order(picture.groups, move))
    verdicts: list[Verdict] = []
    is_kept = False
    for asked in waiting:
        group = picture.groups[asked.group]
        move = _as_it_is(group, asked)
        if move.is_of_coordinator and any(state.is_pending for state in group.states):
            continue  # it is on its way online or offline: what becomes of that is awaited
        is_patient = not is_kept and picture.clock - move.asked_at >= PATIENCE
        if not (places.is_free_at(move, move.source) or is_patient):
            continue
        left = left if left is not None else Room(picture)
        target = _target(picture, places, left, group, move)
        if target.node is None:
            verdicts.append(Refuse(replace(move, stage=Stage.FAILED, sentence=target.sentence)))
        elif places.are_free(move, target.node):
            places.take(move, target.node)
            if occupies(group) and not target.status:
                left.take(group, target.node)
            verdicts.append(Begin(_begun(picture, move, target)))
        elif is_patient:
            places.take(move, target.node)
            is_kept = True
    return tuple(verdicts)


def may_begin(picture: Picture, move: Move) -> bool:
    """Tell whether a move that is just being asked for begins at once: there is a place, and nobody is before it."""
    assert move.destination is not None, "who asks has chosen where to"
    queue = {**picture.moves, move.group: move}
    verdicts = plan_queue(replace(picture, moves=queue))
    return any(isinstance(verdict, Begin) and verdict.move.group == move.group for verdict in verdicts)


def _order(groups: Mapping[GroupId, GroupPicture], move: Move) -> tuple[bool, int, float, int, str]:
    group = groups[move.group]
    return move.is_of_coordinator, -group.priority, move.asked_at, -group.memory, group.name.casefold()


def _as_it_is(group: GroupPicture, move: Move) -> Move:
    """A group of which no virtual machine runs at this moment is not migrated, and takes no place on a link."""
    if move.is_of_coordinator and move.is_live and not (group.runs and group.memory):
        return replace(move, how=VmResdllContext.SAVE)
    return move


def _begun(picture: Picture, move: Move, target: "Target") -> Move:
    return replace(
        move,
        stage=Stage.BEGUN,
        destination=target.node,
        begun_at=picture.clock,
        status=target.status,
        sentence=target.sentence,
    )


# --- where it goes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """Where a move goes; None: no node can take the group."""

    node: NodeId | None
    sentence: str
    status: GroupStatus = GroupStatus.NORMAL
    """What keeps it offline there."""


def occupies(group: GroupPicture) -> bool:
    """Tell whether a group needs room where it goes."""
    return group.runs or group.starts_by_itself


def find_target(picture: Picture, room: Room, group: GroupPicture, move: Move) -> Target:
    """Find the node to which a move would go if every place were free."""
    return _target(picture, Places(picture.settings.limits), room, group, move)


def _target(picture: Picture, places: Places, room: Room, group: GroupPicture, move: Move) -> Target:
    if move.cause is Cause.ASKED:
        return Target(move.destination, move.sentence)  # checked when it was asked for; its owner checks it again
    if move.destination is not None:
        return _named(picture, room, group, move, move.destination)
    to_run = occupies(group)
    failed_on = _failed_on(picture, move)
    source = frozenset({move.source})
    best = choose(picture, room, group, without=source, failed_on=failed_on, to_run=to_run)
    if best.node is None:
        may_park = move.parks or not group.runs
        if best.keeper is None or not may_park:
            return Target(None, f"no other node can take {group.name}: {best.sentence}")
        return Target(best.keeper, f"to {picture.name(best.keeper)}, where it waits: {best.sentence}", best.status)
    if not places.are_free(move, best.node) and best.node not in group.preferred:
        # As good as the best is any other one that has a place now; a preferred owner is waited for.
        full = frozenset(node for node in picture.nodes if not places.are_free(move, node))
        other = choose(picture, room, group, without=source | full, failed_on=failed_on, to_run=to_run)
        best = best if other.node is None or other.node in failed_on else other
    return Target(best.node, f"to {picture.name(best.node)}: {best.sentence}")


def _named(picture: Picture, room: Room, group: GroupPicture, move: Move, node: NodeId) -> Target:
    if node not in picture.nodes:
        return Target(None, f"{group.name} cannot go to node {node}, which is not in the cluster any more")
    others = frozenset(picture.nodes) - {node}
    choice = choose(picture, room, group, without=others, to_run=occupies(group))
    if choice.node is not None:
        return Target(node, f"to {picture.name(node)}, as it was asked for")
    if choice.keeper is not None and (move.parks or not group.runs):
        return Target(node, f"to {picture.name(node)}, where it waits: {choice.sentence}", choice.status)
    return Target(None, f"{group.name} cannot go to {picture.name(node)}: {choice.sentence}")


def _failed_on(picture: Picture, move: Move) -> frozenset[NodeId]:
    drain = picture.drains.get(move.source)
    trouble = None if drain is None else drain.troubles.get(move.group)
    return frozenset() if trouble is None else frozenset(trouble.nodes)


# --- the owner's part ------------------------------------------------------------------------------------------------


class Carry(Enum):
    """What the owner of a group does about a move that has begun."""

    LATER = "later"
    """Something else is being done to the group: that is over first."""
    LIVE = "live"
    """Migrate the virtual machine."""
    OFFLINE = "offline"
    """Take the group offline, if it is not, and give it away."""
    FAIL = "fail"
    """It cannot be, and `why` says it."""


@dataclass(frozen=True, slots=True)
class Carrying:
    """The owner's decision."""

    carry: Carry
    why: str = ""


def plan_carry(move: Move, vm: VmState | None, *, is_busy: bool) -> Carrying:
    """Decide what its owner does about a move that has begun; ``vm`` is the state of the group's VM, if it has one."""
    assert move.stage is Stage.BEGUN, "a move that waits is left alone"
    if is_busy:
        return Carrying(Carry.LATER)
    if vm is VmState.RUNNING and move.is_live:
        return Carrying(Carry.LIVE)
    if move.cause is Cause.ASKED:
        state = "gone" if vm is None else vm.name.lower()
        return Carrying(Carry.FAIL, f"the virtual machine is {state}: only a running one can be migrated")
    return Carrying(Carry.OFFLINE)
