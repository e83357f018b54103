"""Where a group goes ([object-model] 7.5): candidates, preferred owners, memory, anti-affinity.

1. Candidates are Up (not paused, draining, isolated or quarantined) and possible owners of every resource.
2. A node that has not the memory is none. Where ClusterEnforcedAntiAffinity is 1, nor is a node with a group of the
   same class.
3. Order: nodes where the group has not failed lately; nodes without a group of the same class (soft anti-affinity: if
   only the others are left, it is ignored); preferred owners in their order; for virtual machines most memory left, for
   other groups the order of the nodes' numbers, or one drawn with a seed.

Every node that is ruled out has a sentence: which rule, and what was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import GroupStatus, NodeState, NodeStatus
from quorate.cluster.memory import explain_shortage, mib
from quorate.cluster.moves import Stage
from quorate.cluster.picture import GroupPicture, NodePicture, Picture


class Rule(Enum):
    """Why a node is no candidate."""

    NOT_UP = "not up"
    PAUSED = "paused"
    ISOLATED = "isolated"
    QUARANTINED = "quarantined"
    NOT_POSSIBLE = "not a possible owner"
    MEMORY = "memory"
    ANTI_AFFINITY = "anti-affinity"


ROOM_RULES: Final = frozenset({Rule.MEMORY, Rule.ANTI_AFFINITY})
"""A node that only these rule out may own the group; it cannot run it now."""
_STATUS: Final = {
    Rule.MEMORY: GroupStatus.PHYSICAL_RESOURCES_LACKING,
    Rule.ANTI_AFFINITY: GroupStatus.OFFLINE_DUE_TO_ANTIAFFINITY_CONFLICT,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node that was ruled out."""

    node: NodeId
    rule: Rule
    sentence: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What came of looking for a node."""

    node: NodeId | None
    """Where the group can run; None: nowhere now."""
    sentence: str
    refusals: tuple[Refusal, ...] = ()
    keeper: NodeId | None = None
    """Who may own the group though nobody can run it: a candidate that only memory or anti-affinity rules out."""
    status: GroupStatus = GroupStatus.NORMAL
    """StatusInformation of a group that stays offline for it."""


class Room:
    """What the nodes have left, as one plan goes on to fill it. It belongs to that plan and to nobody else."""

    def __init__(self, picture: Picture, moving: Mapping[GroupId, NodeId] | None = None) -> None:
        """Count what every node has committed; a group of ``moving`` counts where it is going to.

        A move that has begun counts at both of its ends.
        """
        groups, elsewhere = picture.all, moving or {}
        self._committed: dict[NodeId, int] = {node: groups.committed(node) for node in picture.nodes}
        self._classes: dict[NodeId, dict[str, list[GroupPicture]]] = {node: {} for node in picture.nodes}
        for group in groups.of_classes():
            if group.id not in elsewhere:
                self._take_classes(group, group.owner)
        for id_, destination in elsewhere.items():
            going = groups.get(id_)
            if going is not None and going.occupies:
                if going.owner in self._committed:
                    self._committed[going.owner] -= going.memory
                self.take(going, destination)
        for move in picture.moves.values():
            coming = picture.groups.get(move.group)
            if move.stage is Stage.BEGUN and coming is not None and coming.fetches and coming.owner == move.destination:
                self._keep(coming, move.source)
            if move.stage is not Stage.BEGUN or coming is None or coming.owner != move.source:
                continue  # it waits, or has arrived and counts there by itself
            needs_room = coming.occupies and not move.status
            if needs_room and move.destination is not None and move.group not in (moving or {}):
                self.take(coming, move.destination)

    def _keep(self, group: GroupPicture, node: NodeId) -> None:
        """What is still to be sent of a group's memory takes room where it was."""
        if node in self._committed:
            self._committed[node] += group.memory

    def take(self, group: GroupPicture, node: NodeId) -> None:
        """Reserve a group's place on a node."""
        if node not in self._committed:
            return
        self._committed[node] += group.memory
        self._take_classes(group, node)

    def _take_classes(self, group: GroupPicture, node: NodeId) -> None:
        if node in self._classes:
            for name in group.classes:
                self._classes[node].setdefault(name, []).append(group)

    def committed(self, node: NodeId) -> int:
        """Bytes that are taken on a node."""
        return self._committed[node]

    def free(self, node: NodePicture) -> int:
        """Bytes that are left on a node; below zero where more was promised than there is."""
        return (node.memory or 0) - self._committed[node.id]

    def conflict(self, group: GroupPicture, node: NodeId) -> GroupPicture | None:
        """Find a group on a node that shares an anti-affinity class with another one."""
        classes = self._classes[node]
        for name in sorted(group.classes):
            for other in classes.get(name, ()):
                if other.id != group.id:
                    return other
        return None


def choose(
    picture: Picture,
    room: Room,
    group: GroupPicture,
    *,
    without: frozenset[NodeId] = frozenset(),
    failed_on: frozenset[NodeId] = frozenset(),
    to_run: bool = True,
    seed: int | None = None,
) -> Choice:
    """Choose a node for a group, in the room that is left.

    ``without`` are nodes that nobody asks about (where it comes from), ``failed_on`` nodes that come last. A group that
    is not ``to_run`` needs an owner only. ``seed`` shuffles the candidates of a group that is no virtual machine.
    """
    refusals: list[Refusal] = []
    able: list[NodePicture] = []
    for node in picture.nodes.values():
        if node.id in without:
            continue
        refusal = check_node(picture, room, group, node, to_run=to_run)
        if refusal is None:
            able.append(node)
        else:
            refusals.append(refusal)
    if able:
        best = min(able, key=lambda node: _rank(room, group, node, failed_on, seed))
        return Choice(best.id, _explain(room, group, best, len(able), refusals), tuple(refusals))
    return _nowhere(picture, room, group, refusals)


def check_node(
    picture: Picture, room: Room, group: GroupPicture, node: NodePicture, *, to_run: bool = True
) -> Refusal | None:
    """Say why a node cannot have a group; None if it can."""
    by_itself = _check_membership(node)
    if by_itself is not None:
        return by_itself
    if group.possible is not None and node.id not in group.possible:
        sentence = f"{node.name} is not a possible owner of all resources of {group.name}"
        return Refusal(node.id, Rule.NOT_POSSIBLE, sentence)
    return _check_room(picture, room, group, node) if to_run else None


def _check_membership(node: NodePicture) -> Refusal | None:
    if node.state is NodeState.PAUSED:
        return Refusal(node.id, Rule.PAUSED, f"{node.name} is paused and takes no new groups")
    if node.state is not NodeState.UP:
        return Refusal(node.id, Rule.NOT_UP, f"{node.name} is {node.state.name.lower()}")
    if node.status is NodeStatus.NORMAL:
        return None
    if node.status & NodeStatus.QUARANTINED:
        return Refusal(node.id, Rule.QUARANTINED, f"{node.name} is quarantined: it was lost too often")
    if node.status & NodeStatus.ISOLATED:
        return Refusal(node.id, Rule.ISOLATED, f"{node.name} is isolated")
    if node.status & NodeStatus.DRAIN_IN_PROGRESS:
        return Refusal(node.id, Rule.PAUSED, f"{node.name} is being drained")
    return None


def _check_room(picture: Picture, room: Room, group: GroupPicture, node: NodePicture) -> Refusal | None:
    if group.memory and node.memory is None:
        return Refusal(node.id, Rule.MEMORY, f"{node.name} has not said how much memory it has for virtual machines")
    if group.memory and node.memory is not None and group.memory > room.free(node):
        sentence = explain_shortage(node.name, group.memory, room.committed(node.id), node.memory)
        return Refusal(node.id, Rule.MEMORY, sentence)
    if picture.settings.enforced_anti_affinity:
        other = room.conflict(group, node.id)
        if other is not None:
            return Refusal(
                node.id, Rule.ANTI_AFFINITY, f"{node.name} has {other.name}, {_shared(group, other)}, enforced"
            )
    return None


def _shared(group: GroupPicture, other: GroupPicture) -> str:
    return f"of the same anti-affinity class {min(group.classes & other.classes)!r}"


def _rank(
    room: Room, group: GroupPicture, node: NodePicture, failed_on: frozenset[NodeId], seed: int | None
) -> tuple[int, ...]:
    preference = group.preferred.index(node.id) if node.id in group.preferred else len(group.preferred)
    among_equals = 0 if seed is None else _drawn(seed, node.number)
    return (
        int(node.id in failed_on),
        int(node.status is not NodeStatus.NORMAL and bool(node.status & NodeStatus.AVOID_PLACEMENT)),
        int(bool(group.classes) and room.conflict(group, node.id) is not None),
        preference,
        -room.free(node) if group.memory else among_equals,
        node.number,
    )


def _drawn(seed: int, number: int) -> int:
    """Draw a number for a node: the same for the same seed on every machine (the finaliser of MurmurHash3)."""
    value = (seed * 0x9E3779B97F4A7C15 + number) & 0xFFFFFFFFFFFFFFFF
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ (value >> 33)) * factor & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 33)


def _explain(room: Room, group: GroupPicture, chosen: NodePicture, able: int, refusals: list[Refusal]) -> str:
    if chosen.id in group.preferred:
        reason = (
            f"{chosen.name} is its preferred owner {group.preferred.index(chosen.id) + 1} of {len(group.preferred)}"
        )
    elif able == 1:
        reason = f"{chosen.name} is the only node that can take it"
    elif group.memory:
        reason = f"{chosen.name} has most memory left ({mib(room.free(chosen))} before it)"
    else:
        reason = f"{chosen.name} is the first of {able} nodes that can take it"
    other = room.conflict(group, chosen.id)
    if other is not None:
        reason += f", though it has {other.name}, {_shared(group, other)}: no other node is left"
    passed = [refusal.sentence for refusal in refusals if refusal.rule is not Rule.NOT_UP]
    return f"{reason}; {'; '.join(passed)}" if passed else reason


def _nowhere(picture: Picture, room: Room, group: GroupPicture, refusals: list[Refusal]) -> Choice:
    sentence = "; ".join(refusal.sentence for refusal in refusals) or "there is no other node"
    lacking = [refusal for refusal in refusals if refusal.rule in ROOM_RULES]
    status = GroupStatus.NORMAL
    for refusal in lacking:
        status |= _STATUS[refusal.rule]
    keepers = sorted(
        (picture.nodes[refusal.node] for refusal in lacking),
        key=lambda node: _rank(room, group, node, frozenset(), None),
    )
    return Choice(None, sentence, tuple(refusals), keepers[0].id if keepers else None, status)
