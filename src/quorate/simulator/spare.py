"""Whether a cluster could lose one more node (N+1): whose virtual machines would then find no place.

It is asked of a picture, by the rules of failover; nothing is played for it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState
from quorate.cluster.failover import TakeOver, plan_take_over
from quorate.cluster.picture import NodePicture, Picture

AT_MOST: Final = 8
"""So many nodes are asked about, those with most memory taken first: who can lose these can lose the others."""


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A virtual machine that would find no place if its node were lost."""

    vm: str
    node: str
    why: str


def find_uncovered(picture: Picture, at_most: int = AT_MOST) -> dict[str, Uncovered]:
    """Find the virtual machines that would find no place, by their names."""
    living = [node for node in picture.nodes.values() if node.lease is not None and not node.is_dead]
    living.sort(key=lambda node: (-picture.all.committed(node.id), node.number))
    return {one.vm: one for node in living[:at_most] for one in _without(picture, node)}


def _without(picture: Picture, node: NodePicture) -> Iterator[Uncovered]:
    assert node.lease is not None, "only a member is lost"
    lost = replace(node, state=NodeState.DOWN, lease=replace(node.lease, is_ended=True))
    nodes: Mapping[NodeId, NodePicture] = {**picture.nodes, node.id: lost}
    runs = {group.id for group in picture.owned_by(node.id) if group.runs and group.starts_by_itself}
    for decision in plan_take_over(replace(picture, nodes=nodes, moves={})):
        is_covered = isinstance(decision, TakeOver) and decision.starts
        if decision.group in runs and not is_covered:
            yield Uncovered(picture.groups[decision.group].name, node.name, decision.sentence)
