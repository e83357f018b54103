"""Which node a virtual machine may be moved to, and why not: the destination's part of the START table.

The facts are gathered by the hands; this module only judges them, in the order that the contract gives. Here are the
rules about a node as the cluster knows it. What the node itself has for the guest is judged in `host_rules`, the
virtual machine in `machine_rules`, and the way between the two in `path_rules`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.errors import CallerError, ClusterError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState
from quorate.clusapi.status import Status
from quorate.migration.rules import Finding, first_refusal, require


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node as a possible destination."""

    node: NodeId
    name: str
    state: NodeState
    isolated: bool
    possible_owner: bool
    quarantined: bool = False
    draining: bool = False
    conflict: str = ""
    """The name of a group there with which it shares an anti-affinity class; empty: none."""
    enforced: bool = False
    """ClusterEnforcedAntiAffinity."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """A candidate's own word whether it could run the VM now."""

    node: NodeId
    refusal: ClusterError | None
    memory_free: int
    """Bytes."""


# --- the rules -------------------------------------------------------------------------------------------------------


def judge_membership(candidate: Candidate) -> Finding:
    """The node takes part in the cluster: 5050."""
    rule, name = "node up", candidate.name
    if candidate.state not in (NodeState.DOWN, NodeState.JOINING, NodeState.UNKNOWN):
        return Finding.ok(rule, "up")
    word = candidate.state.name.lower()
    sentence = f"{name} is {word}: start it, or name a node that is up"
    return Finding.refuses(rule, word, Status.ERROR_CLUSTER_NODE_DOWN, sentence, f"start the daemon of {name}")


def judge_pause(candidate: Candidate) -> Finding:
    """The node takes new groups, neither paused nor being drained: 5070."""
    rule, name = "not paused", candidate.name
    if candidate.state is not NodeState.PAUSED:
        return Finding.ok(rule, "takes groups")
    measured = "being drained" if candidate.draining else "paused"
    sentence = f"{name} is {measured} and takes no new groups: resume it, or name another node"
    return Finding.refuses(rule, measured, Status.ERROR_CLUSTER_NODE_PAUSED, sentence, f"quorate node resume {name}")


def judge_isolation(candidate: Candidate) -> Finding:
    """The node reaches the others and the database: 5984."""
    rule, name = "not isolated", candidate.name
    if not candidate.isolated:
        return Finding.ok(rule, "in contact")
    sentence = f"{name} is isolated: wait until it has rejoined, or name another node"
    remedy = f"mend the way from {name} to the cluster database"
    return Finding.refuses(rule, "isolated", Status.ERROR_CLUSTER_NODE_ISOLATED, sentence, remedy)


def judge_quarantine(candidate: Candidate) -> Finding:
    """The node was not lost too often: 5985."""
    rule, name = "not quarantined", candidate.name
    if not candidate.quarantined:
        return Finding.ok(rule, "trusted")
    sentence = f"{name} is quarantined, as it was lost too often: resume it, or name another node"
    remedy = f"find out why, then quorate node resume {name}"
    return Finding.refuses(rule, "quarantined", Status.ERROR_CLUSTER_NODE_QUARANTINED, sentence, remedy)


def judge_ownership(candidate: Candidate) -> Finding:
    """The node may own every resource of the group: 5071."""
    rule, name = "possible owner", candidate.name
    if candidate.possible_owner:
        return Finding.ok(rule, "of all resources")
    sentence = f"{name} is not a possible owner of all resources of the group: make it one, or name another node"
    remedy = f"make {name} a possible owner of each resource of the group"
    return Finding.refuses(rule, "not of all resources", Status.ERROR_NODE_CANT_HOST_RESOURCE, sentence, remedy)


def judge_anti_affinity(candidate: Candidate) -> Finding:
    """No group that shall be kept apart from this one is there: 5971 where the cluster enforces that."""
    rule, name, other = "anti-affinity", candidate.name, candidate.conflict
    if not other:
        return Finding.ok(rule, "no conflict")
    remedy = f"quorate group move {other}"
    if candidate.enforced:
        sentence = (
            f"{name} has {other}, of the same anti-affinity class, enforced: move that away, or name another node"
        )
        return Finding.refuses(rule, other, Status.ERROR_CLUSTER_AFFINITY_CONFLICT, sentence, remedy)
    sentence = f"{name} has {other}, of the same anti-affinity class: a host that is lost takes both"
    return Finding.warns(rule, other, sentence, remedy)


NODE_RULES: Final[tuple[Callable[[Candidate], Finding], ...]] = (
    judge_membership,
    judge_pause,
    judge_isolation,
    judge_quarantine,
    judge_ownership,
    judge_anti_affinity,
)
"""In the order in which START refuses."""


def judge_node(candidate: Candidate) -> tuple[Finding, ...]:
    """Judge a node by what the cluster knows of it."""
    return tuple(rule(candidate) for rule in NODE_RULES)


# --- who is asked, and who is chosen ---------------------------------------------------------------------------------


def find_destination(source: NodeId, candidate: Candidate | None, wanted: str) -> Candidate:
    """Find the node that was named; nothing is judged about it yet.

    Raises:
        CallerError: 5042 unknown, 87 the source itself.
    """
    if candidate is None:
        raise CallerError(Status.ERROR_CLUSTER_NODE_NOT_FOUND, f"no node of this cluster is called {wanted!r}")
    if candidate.node == source:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER, f"the virtual machine runs on {candidate.name} already: name another node"
        )
    return candidate


def check_destination(source: NodeId, candidate: Candidate | None, wanted: str) -> Candidate:
    """Judge a named destination by what the cluster knows of it; give it back if nothing speaks against it.

    Raises:
        ClusterError: 5042 unknown, 87 the source itself, 5050 down, 5070 paused, 5984 isolated, 5985
            quarantined, 5071 not a possible owner, 5971 anti-affinity.
    """
    found = find_destination(source, candidate, wanted)
    require(judge_node(found))
    return found


def check_candidate(candidate: Candidate) -> Assessment | None:
    """Judge a node that nobody named: why it is out of the question, or None if it is to be asked itself."""
    refusal = first_refusal(judge_node(candidate))
    return None if refusal is None else Assessment(candidate.node, refusal.error(), 0)


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
