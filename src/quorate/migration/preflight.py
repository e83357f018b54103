"""Which node a virtual machine may be moved to, and why not: the destination's part of the START table.

The facts are gathered by the hands; this module only judges them, in the order that the contract gives.
"""

from dataclasses import dataclass

from quorate.clusapi.errors import CallerError, ClusterError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState
from quorate.clusapi.status import Status


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node as a possible destination."""

    node: NodeId
    name: str
    state: NodeState
    isolated: bool
    possible_owner: bool
    quarantined: bool = False


@dataclass(frozen=True, slots=True)
class Assessment:
    """A candidate's own word whether it could run the VM now."""

    node: NodeId
    refusal: ClusterError | None
    memory_free: int
    """Bytes."""


def check_destination(source: NodeId, candidate: Candidate | None, wanted: str) -> Candidate:
    """Judge a named destination by what the cluster knows of it; give it back if nothing speaks against it.

    Raises:
        ClusterError: 5042 unknown, 87 the source itself, 5050 down, 5070 paused, 5984 isolated, 5985
            quarantined, 5071 not a possible owner.
    """
    if candidate is None:
        raise CallerError(Status.ERROR_CLUSTER_NODE_NOT_FOUND, f"no node of this cluster is called {wanted!r}")
    if candidate.node == source:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER, f"the virtual machine runs on {candidate.name} already: name another node"
        )
    refusal = _reason_against(candidate)
    if refusal is not None:
        raise refusal
    return candidate


def _reason_against(candidate: Candidate) -> RefusalError | None:
    if candidate.state in (NodeState.DOWN, NodeState.JOINING, NodeState.UNKNOWN):
        return RefusalError(
            Status.ERROR_CLUSTER_NODE_DOWN,
            f"{candidate.name} is {candidate.state.name.lower()}: start it, or name a node that is up",
        )
    if candidate.state is NodeState.PAUSED:
        return RefusalError(
            Status.ERROR_CLUSTER_NODE_PAUSED,
            f"{candidate.name} is paused and takes no new groups: resume it, or name another node",
        )
    if candidate.isolated:
        return RefusalError(
            Status.ERROR_CLUSTER_NODE_ISOLATED,
            f"{candidate.name} is isolated: wait until it has rejoined, or name another node",
        )
    if candidate.quarantined:
        return RefusalError(
            Status.ERROR_CLUSTER_NODE_QUARANTINED,
            f"{candidate.name} is quarantined, as it was lost too often: resume it, or name another node",
        )
    if not candidate.possible_owner:
        return RefusalError(
            Status.ERROR_NODE_CANT_HOST_RESOURCE,
            f"{candidate.name} is not a possible owner of all resources of the group: "
            "make it one, or name another node",
        )
    return None


def check_candidate(candidate: Candidate) -> Assessment | None:
    """Judge a node that nobody named: why it is out of the question, or None if it is to be asked itself."""
    refusal = _reason_against(candidate)
    return None if refusal is None else Assessment(candidate.node, refusal, 0)


def choose_destination(assessments: tuple[Assessment, ...]) -> NodeId:
    """Choose the node with most free memory among those that could run the VM; every other node has been assessed.

    Raises:
        RefusalError: 5957 if memory alone excluded all others; 5071 if none is possible at all.
    """
    able = [a for a in assessments if a.refusal is None]
    if able:
        return max(able, key=lambda a: (a.memory_free, a.node)).node
    refusals = [a.refusal for a in assessments if a.refusal is not None]
    reasons = "; ".join(refusal.sentence for refusal in refusals) or "there is no other node"
    no_room = Status.ERROR_CLUSTER_RESOURCE_VETOED_MOVE_NOT_ENOUGH_RESOURCES_ON_DESTINATION
    if refusals and all(refusal.status == no_room for refusal in refusals):
        raise RefusalError(no_room, f"no other node has the memory: {reasons}")
    raise RefusalError(Status.ERROR_NODE_CANT_HOST_RESOURCE, f"no other node can take the virtual machine: {reasons}")
