"""Finding out where a virtual machine may go: the facts for `migration.preflight`, and what the nodes say of it."""

import asyncio
import json

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.json_types import JsonObject, json_int
from quorate.clusapi.states import NodeState, NodeStatus
from quorate.clusapi.status import Status
from quorate.database.snapshot import ClusterSnapshot, NodeInfo
from quorate.engine.context import EngineContext
from quorate.migration.preflight import (
    Assessment,
    Candidate,
    check_candidate,
    check_destination,
    choose_destination,
)
from quorate.peers.client import PeerUnreachable
from quorate.peers.messages import Assess

ANSWER_DEADLINE = 1.0
"""Seconds that a node has to say whether it could run a VM; one that is silent longer is not up."""


def describe(snapshot: ClusterSnapshot, group: GroupId) -> tuple[JsonObject, JsonObject]:
    """Give a VM's definition and what was pinned at its first start."""
    configuration = snapshot.vm_configuration(group)
    if configuration is None or not configuration.parameters.text("Pinned"):
        raise RefusalError(Status.ERROR_INVALID_STATE, "the virtual machine was never started")
    return json.loads(configuration.parameters.text("Definition")), json.loads(configuration.parameters.text("Pinned"))


async def choose(
    context: EngineContext,
    snapshot: ClusterSnapshot,
    group: GroupId,
    wanted: str | None,
    definition: JsonObject,
    pinned: JsonObject,
) -> NodeId:
    """Give the node to move to: the one that was named, or the best.

    Raises:
        ClusterError: as `migration.preflight` says, or the destination's own refusal (5953, 5957); 5050 if it is
            silent.
    """
    if wanted is not None:
        node = next((n for n in snapshot.nodes.values() if n.name.casefold() == wanted.casefold()), None)
        candidate = None if node is None else _candidate(context, snapshot, group, node)
        chosen = check_destination(context.node, candidate, wanted).node
        assessment = await _assess(context, chosen, definition, pinned)
        if assessment.refusal is not None:
            raise assessment.refusal
        return chosen
    others = [_candidate(context, snapshot, group, n) for n in snapshot.nodes.values() if n.id != context.node]
    judged = [check_candidate(candidate) for candidate in others]
    asked = [_assess(context, c.node, definition, pinned) for c, out in zip(others, judged, strict=True) if out is None]
    ruled_out = [assessment for assessment in judged if assessment is not None]
    return choose_destination((*ruled_out, *await asyncio.gather(*asked)))


def _candidate(context: EngineContext, snapshot: ClusterSnapshot, group: GroupId, node: NodeInfo) -> Candidate:
    state = context.view.node_state(node.id)
    return Candidate(
        node=node.id,
        name=node.name,
        state=NodeState.PAUSED if state is NodeState.UP and node.paused else state,
        isolated=bool(node.status & NodeStatus.ISOLATED),
        quarantined=bool(node.status & NodeStatus.QUARANTINED),
        possible_owner=all(node.id in r.possible_owners for r in snapshot.resources_of(group)),
    )


async def _assess(context: EngineContext, node: NodeId, definition: JsonObject, pinned: JsonObject) -> Assessment:
    try:
        answer = await context.peers.call(node, "assess", Assess(definition, pinned).to_json(), ANSWER_DEADLINE)
    except PeerUnreachable as error:
        sentence = f"{context.name_of(node)} does not answer: {error.sentence}"
        return Assessment(node, RefusalError(Status.ERROR_CLUSTER_NODE_DOWN, sentence), 0)
    except ClusterError as error:
        sentence = f"{context.name_of(node)}: {error.sentence}"
        return Assessment(node, RefusalError(error.status, sentence), 0)
    return Assessment(node, None, json_int(answer, "memory_free"))
