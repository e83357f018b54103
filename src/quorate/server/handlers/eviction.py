"""A node is evicted (`engine/evicting.py`), and who asked for it is told what is left to do."""

from datetime import UTC, datetime

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonValue, json_object, json_objects
from quorate.clusapi.operation_values import Values
from quorate.database.member_records import EvictedNode
from quorate.engine.evicting import Evicting
from quorate.server import lookup, view
from quorate.server.call import Call, done


async def evict(call: Call) -> Values:
    """Take a node out of the cluster."""
    info = lookup.node(call.snapshot, call.inputs.text("node"))
    services = call.services

    async def qemus_of(node: NodeId) -> int | None:
        report = await view.report_of(call, node)
        return None if report is None else len(json_objects(json_object(report, "processes"), "qemu"))

    def events(
        kind: EventKind,
        object_id: str,
        object_name: str,
        sentence: str,
        after: JsonValue = None,
        before: JsonValue = None,
    ) -> tuple[EventRecord, ...]:
        return (call.event(kind, object_id, object_name, sentence, after, before),)

    evicting = Evicting(
        database=services.database,
        node=services.node_id,
        node_state=services.node_state,
        qemus_of=qemus_of,
        picture=services.inspection.picture,
        events=events,
    )
    await evicting.evict(call.snapshot, info, EvictedNode(info.name, datetime.now(UTC), call.context.actor))
    return done().with_value("sentence", await _left_to_do(call))


async def _left_to_do(call: Call) -> str | None:
    try:
        access = await call.services.database.members.store_access()
    except RefusalError:
        return None  # all its nodes live on one machine
    if not access.key:
        return None
    return "it still has the key to etcd that all nodes share: if the machine is not yours any more, replace that key"
