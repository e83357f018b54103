"""The methods on resources."""

from collections.abc import Mapping
from typing import Final

from quorate.clusapi.control_codes import (
    CLUSCTL_RESOURCE_GET_COMMON_PROPERTIES,
    CLUSCTL_RESOURCE_GET_RO_COMMON_PROPERTIES,
)
from quorate.clusapi.json_types import json_text
from quorate.clusapi.states import ResourceState
from quorate.mscmrp import resource_methods as methods
from quorate.mscmrp.resource_methods import (
    ChangeCsvStateExIn,
    CreateResourceEnumOut,
    CreateResourceIn,
    GetResourceStateOut,
    SetResourceDependencyExpressionIn,
)
from quorate.mscmrp.shapes import (
    HandleFlagsIn,
    HandleIn,
    OpenOut,
    PropertiesEnumIn,
    StatusOut,
)
from quorate.mscmrp.types import ResourceEnumEntry, ResourceEnumList
from quorate.server.mscmrp import patterns
from quorate.server.mscmrp.access import GrantedAccess
from quorate.server.mscmrp.binding import Handler, answer, handlers
from quorate.server.mscmrp.calls import Inputs, WireCall
from quorate.server.mscmrp.enumerated_properties import Wanted, parse_names, properties_of
from quorate.server.mscmrp.handles import OpenCluster, OpenGroup, OpenNode, OpenResource
from quorate.server.mscmrp.patterns import opened, status_out
from quorate.server.mscmrp.settling import settled_resource


async def create(wire: WireCall, inputs: CreateResourceIn) -> OpenOut:
    """Add a resource to a group."""
    group = wire.find(inputs.handle, OpenGroup)
    asked: Inputs = {"group": group.id, "name": inputs.name, "type": inputs.type, "flags": inputs.flags}
    return OpenOut(handle=opened(wire, OpenResource, await wire.ask("CreateResource", asked, group), GrantedAccess.ALL))


async def get_state(wire: WireCall, inputs: HandleIn) -> GetResourceStateOut:
    """Tell state, owner and group."""
    it = wire.find(inputs.handle, OpenResource)
    told = await wire.ask("GetResourceState", {"resource": it.id}, it)
    return GetResourceStateOut(told.number("state"), told.text("node"), told.text("group"))


async def online(wire: WireCall, inputs: HandleIn) -> StatusOut:
    """Bring it online, and wait for that."""
    return await _settle(wire, inputs, "OnlineResource", ResourceState.ONLINE)


async def offline(wire: WireCall, inputs: HandleIn) -> StatusOut:
    """Take it offline, and wait for that."""
    return await _settle(wire, inputs, "OfflineResource", ResourceState.OFFLINE)


async def set_expression(wire: WireCall, inputs: SetResourceDependencyExpressionIn) -> StatusOut:
    """Set what it depends on; null is nothing."""
    it = wire.find(inputs.handle, OpenResource)
    asked: Inputs = {"resource": it.id, "expression": inputs.expression or ""}
    return status_out(await wire.ask("SetResourceDependencyExpression", asked, it))


async def change_csv_state(wire: WireCall, inputs: HandleFlagsIn) -> StatusOut:
    """Make it a shared volume, or end that."""
    it = wire.find(inputs.handle, OpenResource)
    return status_out(await wire.ask("ChangeCsvState", {"resource": it.id, "state": inputs.flags}, it))


async def change_csv_state_ex(wire: WireCall, inputs: ChangeCsvStateExIn) -> StatusOut:
    """Make one of its volumes a shared one, or end that."""
    it = wire.find(inputs.handle, OpenResource)
    asked: Inputs = {"resource": it.id, "state": inputs.state, "volume": inputs.volume_name}
    return status_out(await wire.ask("ChangeCsvState", asked, it))


async def create_enum(wire: WireCall, inputs: PropertiesEnumIn) -> CreateResourceEnumOut:
    """List every resource with its group and the properties that are asked for."""
    it = wire.find(inputs.handle, OpenCluster)
    wanted = Wanted(
        "ResourceControl",
        CLUSCTL_RESOURCE_GET_COMMON_PROPERTIES,
        parse_names(inputs.properties),
        CLUSCTL_RESOURCE_GET_RO_COMMON_PROPERTIES,
        parse_names(inputs.ro_properties),
    )
    found = (await wire.ask("ListResources", {}, it)).objects("resources")
    blobs = await properties_of(wire, it, wanted, [{"resource": json_text(one, "id")} for one in found])
    return CreateResourceEnumOut(
        ResourceEnumList(
            tuple(
                ResourceEnumEntry(
                    json_text(one, "name"),
                    json_text(one, "id"),
                    json_text(one, "group"),
                    json_text(one, "group_id"),
                    properties=common,
                    ro_properties=read_only,
                )
                for one, (common, read_only) in zip(found, blobs, strict=True)
            )
        )
    )


async def _settle(wire: WireCall, inputs: HandleIn, operation: str, wanted: ResourceState) -> StatusOut:
    it = wire.find(inputs.handle, OpenResource)
    status = (await wire.ask(operation, {"resource": it.id}, it)).number("status")
    return StatusOut(status=await settled_resource(wire, it, status, wanted))


_DEPENDS_ON: Final = (OpenResource, "depends_on")

HANDLERS: Final[Mapping[int, Handler]] = handlers(
    answer(methods.OPEN_RESOURCE, patterns.opens(OpenResource, "GetResourceId", "resource")),
    answer(methods.CREATE_RESOURCE, create),
    answer(methods.DELETE_RESOURCE, patterns.changes(OpenResource, "DeleteResource", "resource")),
    answer(methods.CLOSE_RESOURCE, patterns.closes(OpenResource)),
    answer(methods.GET_RESOURCE_STATE, get_state),
    answer(methods.SET_RESOURCE_NAME, patterns.changes_text(OpenResource, "SetResourceName", "resource", "name")),
    answer(methods.GET_RESOURCE_ID, patterns.tells_text(OpenResource, "GetResourceId", "resource", "id")),
    answer(methods.GET_RESOURCE_TYPE, patterns.tells_text(OpenResource, "GetResourceId", "resource", "type")),
    answer(methods.FAIL_RESOURCE, patterns.changes(OpenResource, "FailResource", "resource")),
    answer(methods.ONLINE_RESOURCE, online),
    answer(methods.OFFLINE_RESOURCE, offline),
    answer(
        methods.ADD_RESOURCE_DEPENDENCY,
        patterns.relates(OpenResource, "AddResourceDependency", "resource", *_DEPENDS_ON),
    ),
    answer(
        methods.REMOVE_RESOURCE_DEPENDENCY,
        patterns.relates(OpenResource, "RemoveResourceDependency", "resource", *_DEPENDS_ON),
    ),
    answer(
        methods.CAN_RESOURCE_BE_DEPENDENT,
        patterns.relates(OpenResource, "CanResourceBeDependent", "resource", *_DEPENDS_ON),
    ),
    answer(methods.CREATE_RES_ENUM, patterns.lists(OpenResource, "CreateResEnum", "resource")),
    answer(methods.ADD_RESOURCE_NODE, patterns.relates(OpenResource, "AddResourceNode", "resource", OpenNode, "node")),
    answer(
        methods.REMOVE_RESOURCE_NODE,
        patterns.relates(OpenResource, "RemoveResourceNode", "resource", OpenNode, "node"),
    ),
    answer(
        methods.CHANGE_RESOURCE_GROUP,
        patterns.relates(OpenResource, "ChangeResourceGroup", "resource", OpenGroup, "group"),
    ),
    answer(methods.NODE_RESOURCE_CONTROL, patterns.controls_at_node(OpenResource, "ResourceControl", "resource")),
    answer(methods.RESOURCE_CONTROL, patterns.controls(OpenResource, "ResourceControl", "resource")),
    answer(methods.SET_RESOURCE_DEPENDENCY_EXPRESSION, set_expression),
    answer(
        methods.GET_RESOURCE_DEPENDENCY_EXPRESSION,
        patterns.tells_text(OpenResource, "GetResourceDependencyExpression", "resource", "expression"),
    ),
    answer(
        methods.GET_RESOURCE_NETWORK_NAME,
        patterns.tells_text(OpenResource, "GetResourceNetworkName", "resource", "name"),
    ),
    answer(methods.OPEN_RESOURCE_EX, patterns.opens_ex(OpenResource, "GetResourceId", "resource")),
    answer(methods.CHANGE_CSV_STATE, change_csv_state),
    answer(methods.ONLINE_RESOURCE_EX, patterns.changes_by_context(OpenResource, "OnlineResource", "resource")),
    answer(methods.OFFLINE_RESOURCE_EX, patterns.changes_by_context(OpenResource, "OfflineResource", "resource")),
    answer(methods.CREATE_RESOURCE_ENUM, create_enum),
    answer(methods.RESTART_RESOURCE, patterns.changes_by_flags(OpenResource, "RestartResource", "resource")),
    answer(methods.CHANGE_CSV_STATE_EX, change_csv_state_ex),
)
