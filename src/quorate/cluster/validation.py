"""Whether the cluster survives the loss of any one node: N+1, the same plan that a real loss would get."""

from dataclasses import dataclass, replace

from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState
from quorate.cluster.failover import Stays, TakeOver, plan_take_over
from quorate.cluster.picture import LeaseView, NodePicture, Picture


@dataclass(frozen=True, slots=True)
class Loss:
    """What would become of a node's groups if it died now."""

    node: NodeId
    name: str
    fits: int
    """Groups that would run elsewhere."""
    left: tuple[str, ...]
    """A sentence for each group that would not, and why."""

    @property
    def is_survived(self) -> bool:
        """Tell whether every group would run elsewhere."""
        return not self.left


def plan_n_plus_one(picture: Picture) -> tuple[Loss, ...]:
    """Plan the loss of each node that is a member now, one at a time."""
    members = [node for node in picture.nodes.values() if node.state in (NodeState.UP, NodeState.PAUSED)]
    return tuple(_lose(picture, node) for node in members)


def _lose(picture: Picture, node: NodePicture) -> Loss:
    lease = node.lease or LeaseView(0, "")
    dead = replace(node, state=NodeState.DOWN, lease=replace(lease, is_ended=True))
    nodes = {**picture.nodes, node.id: dead}
    # Only what this node holds is asked about: gifts to it, and other nodes that are dead, are matters of the moment.
    groups = {
        group.id: replace(group, giver=None) if group.owner == node.id else group
        for group in picture.groups.values()
        if group.owner == node.id or (group.owner in nodes and not nodes[group.owner].is_dead)
    }
    fits, left = 0, []
    for decision in plan_take_over(replace(picture, nodes=nodes, groups=groups)):
        group = groups[decision.group]
        if not group.starts_by_itself and not group.runs:
            continue
        if isinstance(decision, TakeOver) and decision.starts:
            fits += 1
        elif isinstance(decision, TakeOver | Stays):
            left.append(decision.sentence)
    return Loss(node.id, node.name, fits, tuple(left))
