"""The methods on resource types: a name stands for one, and the cluster's handle for the access."""

from collections.abc import Mapping
from typing import Final

from quorate.mscmrp import resource_type_methods as methods
from quorate.mscmrp.resource_type_methods import (
    CreateResourceTypeIn,
    CreateResTypeEnumIn,
    NodeResourceTypeControlIn,
    ResourceTypeControlIn,
)
from quorate.mscmrp.shapes import ControlOut, EnumOut, NameIn, StatusOut
from quorate.server.mscmrp.binding import Handler, answer, handlers
from quorate.server.mscmrp.calls import Inputs, WireCall
from quorate.server.mscmrp.handles import OpenCluster, OpenNode
from quorate.server.mscmrp.patterns import ask_control, enum_out, status_out


async def create(wire: WireCall, inputs: CreateResourceTypeIn) -> StatusOut:
    """Make a type known."""
    wire.about = inputs.name
    asked: Inputs = {
        "name": inputs.name,
        "display_name": inputs.display_name,
        "dll_name": inputs.dll_name,
        "looks_alive": inputs.looks_alive,
        "is_alive": inputs.is_alive,
    }
    return status_out(await wire.ask("CreateResourceType", asked))


async def delete(wire: WireCall, inputs: NameIn) -> StatusOut:
    """Forget a type."""
    wire.about = inputs.name
    return status_out(await wire.ask("DeleteResourceType", {"type": inputs.name}))


async def create_enum(wire: WireCall, inputs: CreateResTypeEnumIn) -> EnumOut:
    """List the nodes that can run a type, and its resources."""
    wire.about = inputs.name
    return enum_out(await wire.ask("CreateResTypeEnum", {"type": inputs.name, "mask": inputs.mask}))


async def control(wire: WireCall, inputs: ResourceTypeControlIn) -> ControlOut:
    """Send a type a control code."""
    wire.about = inputs.type_name
    it = wire.find(inputs.handle, OpenCluster)
    code, data, room = inputs.control_code, inputs.in_buffer, inputs.out_size
    return await ask_control(wire, it, "ResourceTypeControl", {"type": inputs.type_name}, code, data, room)


async def node_control(wire: WireCall, inputs: NodeResourceTypeControlIn) -> ControlOut:
    """Send a type a control code that a given node shall carry out."""
    wire.about = inputs.type_name
    it = wire.find(inputs.handle, OpenCluster)
    host = wire.find(inputs.host_node, OpenNode)
    asked: Inputs = {"type": inputs.type_name, "host_node": host.id}
    code, data, room = inputs.control_code, inputs.in_buffer, inputs.out_size
    return await ask_control(wire, it, "ResourceTypeControl", asked, code, data, room)


HANDLERS: Final[Mapping[int, Handler]] = handlers(
    answer(methods.CREATE_RESOURCE_TYPE, create),
    answer(methods.DELETE_RESOURCE_TYPE, delete),
    answer(methods.NODE_RESOURCE_TYPE_CONTROL, node_control),
    answer(methods.RESOURCE_TYPE_CONTROL, control),
    answer(methods.CREATE_RES_TYPE_ENUM, create_enum),
)
