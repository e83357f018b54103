"""Operations on nodes."""

from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import json_object, json_objects
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import NodeEnum, NodePauseFlags, NodeResumeFailbackType
from quorate.clusapi.status import Status
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


_PAUSE_FLAGS: Final = int(
    NodePauseFlags.REMAIN_ON_PAUSED_NODE_ON_MOVE_ERROR
    | NodePauseFlags.AVOID_PLACEMENT
    | NodePauseFlags.RETRY_DRAIN_ON_FAILURE
)


async def pause(call: Call) -> Values:
    """Let a node take no new groups, and move off it what it has if the caller says so."""
    info = lookup.node(call.snapshot, call.inputs.text("node"))
    target, flags = call.inputs.optional_text("target"), call.inputs.optional_number("flags") or 0
    if flags & ~_PAUSE_FLAGS & 0xFFFFFFFF:
        sentence = f"flags 0x{flags:X} hold bits that mean nothing here"
        raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
    if not call.inputs.flag("drain"):
        if target is not None:
            sentence = "a target is for a drain: ask for one, or leave the target out"
            raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
        return done(await call.services.pause_node(info.id, call.context))
    to = None if target is None else lookup.node(call.snapshot, target).id
    return done(await call.services.drain_node(info.id, to, NodePauseFlags(flags), call.context))


async def resume(call: Call) -> Values:
    """End a pause, a drain and a quarantine; what was drained comes back as the caller says."""
    info = lookup.node(call.snapshot, call.inputs.text("node"))
    number = call.inputs.optional_number("failback") or 0
    if number > max(NodeResumeFailbackType):
        sentence = (
            f"{number} is no CLUSTER_NODE_RESUME_FAILBACK_TYPE: 0 leaves the groups, 1 brings them back, 2 by policy"
        )
        raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
    return done(await call.services.resume_node(info.id, NodeResumeFailbackType(number), call.context))


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
