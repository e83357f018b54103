"""The methods on groups."""

import struct
from collections.abc import Mapping
from typing import Final

from quorate.clusapi.control_codes import CLUSCTL_GROUP_GET_COMMON_PROPERTIES, CLUSCTL_GROUP_GET_RO_COMMON_PROPERTIES
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import json_int, json_text
from quorate.clusapi.property_lists import parse_multi_sz
from quorate.clusapi.states import GroupState, GroupType
from quorate.clusapi.status import Status
from quorate.mscmrp import group_methods as methods
from quorate.mscmrp.group_methods import (
    CreateGroupEnumOut,
    CreateGroupExIn,
    DeleteGroupIn,
    GetGroupStateOut,
    MoveGroupToNodeExIn,
    SetGroupNodeListIn,
)
from quorate.mscmrp.shapes import (
    HandleFlagsIn,
    HandleIn,
    OpenOut,
    PropertiesEnumIn,
    StatusOut,
)
from quorate.mscmrp.types import GroupEnumEntry, GroupEnumList
from quorate.server.mscmrp import patterns
from quorate.server.mscmrp.access import GrantedAccess
from quorate.server.mscmrp.binding import Handler, answer, handlers
from quorate.server.mscmrp.calls import Inputs, WireCall
from quorate.server.mscmrp.enumerated_properties import Wanted, parse_names, properties_of
from quorate.server.mscmrp.handles import OpenCluster, OpenGroup, OpenNode
from quorate.server.mscmrp.patterns import opened, status_out
from quorate.server.mscmrp.settling import settled_group

_GROUP_INFO_VERSION: Final = 1
_FLAG_CORE: Final = 1  # CLUS_FLAG_CORE


async def create_ex(wire: WireCall, inputs: CreateGroupExIn) -> OpenOut:
    """Make a group of a type; without information it is of none."""
    wire.about = inputs.name
    asked: Inputs = {"name": inputs.name}
    if inputs.info is not None:
        if inputs.info.version != _GROUP_INFO_VERSION:
            raise CallerError(
                Status.ERROR_INVALID_PARAMETER, f"the information on the group is of version {inputs.info.version}"
            )
        asked["group_type"] = inputs.info.group_type
    return OpenOut(handle=opened(wire, OpenGroup, await wire.ask("CreateGroup", asked), GrantedAccess.ALL))


async def delete(wire: WireCall, inputs: DeleteGroupIn) -> StatusOut:
    """Delete a group, with what it holds if that is forced."""
    it = wire.find(inputs.handle, OpenGroup)
    force = {"force": True} if inputs.force else {}
    return status_out(await wire.ask("DeleteGroup", {"group": it.id, **force}, it))


async def get_state(wire: WireCall, inputs: HandleIn) -> GetGroupStateOut:
    """Tell state and owner."""
    it = wire.find(inputs.handle, OpenGroup)
    told = await wire.ask("GetGroupState", {"group": it.id}, it)
    return GetGroupStateOut(told.number("state"), told.text("node"))


async def online(wire: WireCall, inputs: HandleIn) -> StatusOut:
    """Bring it online, and wait for that."""
    return await _settle(wire, inputs, "OnlineGroup", GroupState.ONLINE)


async def offline(wire: WireCall, inputs: HandleIn) -> StatusOut:
    """Take it offline, and wait for that."""
    return await _settle(wire, inputs, "OfflineGroup", GroupState.OFFLINE)


async def move_to_node_ex(wire: WireCall, inputs: MoveGroupToNodeExIn) -> StatusOut:
    """Move it to a node, as flags and context say."""
    it = wire.find(inputs.handle, OpenGroup)
    node = wire.find(inputs.node, OpenNode)
    asked: Inputs = {
        "group": it.id,
        "destination": node.id,
        "flags": inputs.flags,
        "in_buffer": inputs.in_buffer or None,
    }
    return status_out(await wire.ask("MoveGroup", asked, it))


async def cancel(wire: WireCall, inputs: HandleFlagsIn) -> StatusOut:
    """Cancel a move under way."""
    it = wire.find(inputs.handle, OpenGroup)
    return status_out(await wire.ask("CancelGroupOperation", {"group": it.id, "flags": inputs.flags}, it))


async def set_node_list(wire: WireCall, inputs: SetGroupNodeListIn) -> StatusOut:
    """Set the nodes that it prefers."""
    it = wire.find(inputs.handle, OpenGroup)
    units = inputs.nodes or ()
    nodes = parse_multi_sz(struct.pack(f"<{len(units)}H", *units)) if units else ()
    return status_out(await wire.ask("SetGroupNodeList", {"group": it.id, "nodes": nodes}, it))


async def create_enum(wire: WireCall, inputs: PropertiesEnumIn) -> CreateGroupEnumOut:
    """List every group with its state, its owner and the properties that are asked for."""
    it = wire.find(inputs.handle, OpenCluster)
    wanted = Wanted(
        "GroupControl",
        CLUSCTL_GROUP_GET_COMMON_PROPERTIES,
        parse_names(inputs.properties),
        CLUSCTL_GROUP_GET_RO_COMMON_PROPERTIES,
        parse_names(inputs.ro_properties),
    )
    found = (await wire.ask("ListGroups", {}, it)).objects("groups")
    blobs = await properties_of(wire, it, wanted, [{"group": json_text(group, "id")} for group in found])
    return CreateGroupEnumOut(
        GroupEnumList(
            tuple(
                GroupEnumEntry(
                    json_text(group, "name"),
                    json_text(group, "id"),
                    json_int(group, "state"),
                    json_text(group, "node"),
                    _FLAG_CORE if json_int(group, "type") == GroupType.CORE_CLUSTER else 0,
                    properties=common,
                    ro_properties=read_only,
                )
                for group, (common, read_only) in zip(found, blobs, strict=True)
            )
        )
    )


async def _settle(wire: WireCall, inputs: HandleIn, operation: str, wanted: GroupState) -> StatusOut:
    it = wire.find(inputs.handle, OpenGroup)
    status = (await wire.ask(operation, {"group": it.id}, it)).number("status")
    return StatusOut(status=await settled_group(wire, it, status, wanted))


HANDLERS: Final[Mapping[int, Handler]] = handlers(
    answer(methods.OPEN_GROUP, patterns.opens(OpenGroup, "GetGroupId", "group")),
    answer(methods.CREATE_GROUP, patterns.creates(OpenGroup, "CreateGroup", "name")),
    answer(methods.DELETE_GROUP, delete),
    answer(methods.CLOSE_GROUP, patterns.closes(OpenGroup)),
    answer(methods.GET_GROUP_STATE, get_state),
    answer(methods.SET_GROUP_NAME, patterns.changes_text(OpenGroup, "SetGroupName", "group", "name")),
    answer(methods.GET_GROUP_ID, patterns.tells_text(OpenGroup, "GetGroupId", "group", "id")),
    answer(methods.ONLINE_GROUP, online),
    answer(methods.OFFLINE_GROUP, offline),
    answer(methods.MOVE_GROUP, patterns.changes(OpenGroup, "MoveGroup", "group")),
    answer(methods.MOVE_GROUP_TO_NODE, patterns.relates(OpenGroup, "MoveGroup", "group", OpenNode, "destination")),
    answer(methods.CREATE_GROUP_RESOURCE_ENUM, patterns.lists(OpenGroup, "CreateGroupResourceEnum", "group")),
    answer(methods.SET_GROUP_NODE_LIST, set_node_list),
    answer(methods.NODE_GROUP_CONTROL, patterns.controls_at_node(OpenGroup, "GroupControl", "group")),
    answer(methods.GROUP_CONTROL, patterns.controls(OpenGroup, "GroupControl", "group")),
    answer(methods.OPEN_GROUP_EX, patterns.opens_ex(OpenGroup, "GetGroupId", "group")),
    answer(methods.CREATE_GROUP_EX, create_ex),
    answer(methods.ONLINE_GROUP_EX, patterns.changes_by_context(OpenGroup, "OnlineGroup", "group")),
    answer(methods.OFFLINE_GROUP_EX, patterns.changes_by_context(OpenGroup, "OfflineGroup", "group")),
    answer(methods.MOVE_GROUP_EX, patterns.changes_by_context(OpenGroup, "MoveGroup", "group")),
    answer(methods.MOVE_GROUP_TO_NODE_EX, move_to_node_ex),
    answer(methods.CANCEL_CLUSTER_GROUP_OPERATION, cancel),
    answer(methods.CREATE_GROUP_ENUM, create_enum),
)
