"""The methods on nodes."""

from collections.abc import Mapping
from typing import Final

from quorate.mscmrp import node_methods as methods
from quorate.mscmrp.node_methods import PauseNodeExIn, PauseNodeWithDrainTargetIn, ResumeNodeExIn
from quorate.mscmrp.shapes import EnumExOut, HandleMaskOptionsIn, StatusOut
from quorate.server.mscmrp import patterns
from quorate.server.mscmrp.binding import Handler, answer, handlers
from quorate.server.mscmrp.calls import Inputs, WireCall
from quorate.server.mscmrp.cluster import check_options
from quorate.server.mscmrp.handles import OpenNode
from quorate.server.mscmrp.patterns import enum_ex_out, status_out


async def create_enum_ex(wire: WireCall, inputs: HandleMaskOptionsIn) -> EnumExOut:
    """List what belongs to a node, by id and by name."""
    it = wire.find(inputs.handle, OpenNode)
    check_options(inputs.options)
    return enum_ex_out(await wire.ask("CreateNodeEnum", {"node": it.id, "mask": inputs.mask}, it))


async def pause_ex(wire: WireCall, inputs: PauseNodeExIn) -> StatusOut:
    """Pause a node, and drain it if that is wanted."""
    it = wire.find(inputs.handle, OpenNode)
    asked: Inputs = {"node": it.id, "drain": True, "flags": inputs.flags} if inputs.drain_node else {"node": it.id}
    return status_out(await wire.ask("PauseNode", asked, it))


async def pause_with_target(wire: WireCall, inputs: PauseNodeWithDrainTargetIn) -> StatusOut:
    """Pause a node and drain it to another one."""
    it = wire.find(inputs.handle, OpenNode)
    target = wire.find(inputs.drain_target, OpenNode)
    asked: Inputs = {"node": it.id, "drain": True, "flags": inputs.flags, "target": target.id}
    return status_out(await wire.ask("PauseNode", asked, it))


async def resume_ex(wire: WireCall, inputs: ResumeNodeExIn) -> StatusOut:
    """Resume a node, and bring its groups back if that is wanted."""
    it = wire.find(inputs.handle, OpenNode)
    check_options(inputs.reserved)
    failback = {"failback": inputs.failback_type} if inputs.failback_type else {}
    return status_out(await wire.ask("ResumeNode", {"node": it.id, **failback}, it))


HANDLERS: Final[Mapping[int, Handler]] = handlers(
    answer(methods.GET_NODE_ID, patterns.tells_text(OpenNode, "GetNodeId", "node", "id")),
    answer(methods.OPEN_NODE, patterns.opens(OpenNode, "GetNodeId", "node")),
    answer(methods.CLOSE_NODE, patterns.closes(OpenNode)),
    answer(methods.GET_NODE_STATE, patterns.tells_state(OpenNode, "GetNodeState", "node")),
    answer(methods.PAUSE_NODE, patterns.changes(OpenNode, "PauseNode", "node")),
    answer(methods.RESUME_NODE, patterns.changes(OpenNode, "ResumeNode", "node")),
    answer(methods.EVICT_NODE, patterns.changes(OpenNode, "EvictNode", "node")),
    answer(methods.NODE_NODE_CONTROL, patterns.controls_at_node(OpenNode, "NodeControl", "node")),
    answer(methods.NODE_CONTROL, patterns.controls(OpenNode, "NodeControl", "node")),
    answer(methods.CREATE_NODE_ENUM, patterns.lists(OpenNode, "CreateNodeEnum", "node")),
    answer(methods.OPEN_NODE_EX, patterns.opens_ex(OpenNode, "GetNodeId", "node")),
    answer(methods.CREATE_NODE_ENUM_EX, create_enum_ex),
    answer(methods.PAUSE_NODE_EX, pause_ex),
    answer(methods.PAUSE_NODE_WITH_DRAIN_TARGET, pause_with_target),
    answer(methods.RESUME_NODE_EX, resume_ex),
)
