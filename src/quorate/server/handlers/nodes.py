"""Operations on nodes."""

from quorate.clusapi.json_types import json_object, json_objects
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import NodeEnum
from quorate.server import lookup, object_codes, view
from quorate.server.call import Call, done
from quorate.server.controlled import node_object
from quorate.server.entries import fitting


async def get_id(call: Call) -> Values:
    """Find a node."""
    info = lookup.node(call.snapshot, call.inputs.text("node"))
    return Values({"id": info.id, "name": info.name})


async def get_state(call: Call) -> Values:
    """State of a node."""
    info = lookup.node(call.snapshot, call.inputs.text("node"))
    return Values({"state": call.services.node_state(info.id).dword})


async def pause(call: Call) -> Values:
    """Let a node take no new groups."""
    info = lookup.node(call.snapshot, call.inputs.text("node"))
    return done(await call.services.pause_node(info.id, call.context))


async def resume(call: Call) -> Values:
    """End a pause and a quarantine."""
    info = lookup.node(call.snapshot, call.inputs.text("node"))
    return done(await call.services.resume_node(info.id, call.context))


async def control(call: Call) -> Values:
    """A control code for a node."""
    info = lookup.node(call.snapshot, call.inputs.text("node"))
    return await object_codes.answer(call, node_object(call, info))


async def create_enum(call: Call) -> Values:
    """Network interfaces of a node, groups that it owns, and those that prefer it."""
    info, mask = lookup.node(call.snapshot, call.inputs.text("node")), call.inputs.number("mask")
    groups = call.snapshot.groups.values()
    owned = [group for group in groups if call.snapshot.owner_of(group.id) == info.id]
    interfaces = [found for found in call.snapshot.network_interfaces.values() if found.node == info.id]
    preferring = [group for group in groups if info.id in group.preferred_owners]
    return Values(
        {
            "entries": (
                *fitting(mask, NodeEnum.NETINTERFACES, interfaces),
                *fitting(mask, NodeEnum.GROUPS, owned),
                *fitting(mask, NodeEnum.PREFERRED_GROUPS, preferring),
            )
        }
    )


async def list_all(call: Call) -> Values:
    """Every node with its state and processes."""
    return Values({"nodes": tuple((await view.collect(call)).nodes())})


async def get_report(call: Call) -> Values:
    """What this node knows of itself."""
    report = view.local_report(call.services, call.snapshot)
    return Values(
        {
            "processes": json_object(report, "processes"),
            "groups": json_objects(report, "groups"),
            "virtual_machines": json_objects(report, "virtual_machines"),
            "health": json_object(report, "health"),
        }
    )
