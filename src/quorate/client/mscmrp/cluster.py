"""Operations on the cluster and on resource types."""

from collections.abc import Mapping
from typing import Final

from quorate.client.mscmrp.kinds import NODE, RESOURCE
from quorate.client.mscmrp.session import (
    Outputs,
    Performer,
    Session,
    control_outputs,
    listed_outputs,
    out_size,
)
from quorate.clusapi.operation_types import Access
from quorate.clusapi.operation_values import Values
from quorate.clusapi.operations import MODIFY_BIT
from quorate.clusapi.resource_types import IS_ALIVE_MS, LOOKS_ALIVE_MS
from quorate.clusapi.states import ClusterEnum, ResourceTypeEnum
from quorate.mscmrp import cluster_methods as c
from quorate.mscmrp import resource_type_methods as t
from quorate.mscmrp.shapes import NameIn, NoIn
from quorate.mscmrp.types import OperationalVersion

_OF_TYPES: Final = {
    int(ResourceTypeEnum.NODES): ClusterEnum.NODE,
    int(ResourceTypeEnum.RESOURCES): ClusterEnum.RESOURCE,
}


async def get_information(session: Session, inputs: Values) -> Outputs:
    """Name and versions."""
    names = await session.call(c.GET_CLUSTER_NAME, NoIn(), "the cluster")
    told = await session.call(c.GET_CLUSTER_VERSION2, NoIn(), "the cluster")
    versions = told.operational_version or OperationalVersion()
    return {
        "name": names.cluster_name or "",
        "node": names.node_name or "",
        "major_version": told.major_version,
        "minor_version": told.minor_version,
        "build_number": told.build_number,
        "vendor": told.vendor_id or "",
        "version": told.csd_version or "",
        "highest_version": versions.highest_version,
        "lowest_version": versions.lowest_version,
        "version_flags": versions.flags,
    }


async def set_name(session: Session, inputs: Values) -> Outputs:
    """Give it another name."""
    return await session.change(c.SET_CLUSTER_NAME, NameIn(inputs.text("name")), "the cluster")


async def create_enum(session: Session, inputs: Values) -> Outputs:
    """List objects."""
    return listed_outputs(await session.enumerate(inputs.number("mask")))


async def control(session: Session, inputs: Values) -> Outputs:
    """A control code for the cluster."""
    access = Access.FULL if inputs.number("control_code") & MODIFY_BIT else Access.READ
    async with session.cluster(access) as handle:
        return await session.control_handle(c.CLUSTER_CONTROL, c.NODE_CLUSTER_CONTROL, handle, inputs)


async def get_quorum_resource(session: Session, inputs: Values) -> Outputs:
    """The quorum resource."""
    told = await session.call(c.GET_QUORUM_RESOURCE, NoIn(), "the quorum resource")
    return {
        "resource": told.resource_name or "",
        "device": told.device_name or "",
        "max_log_size": told.max_log_size,
    }


async def set_quorum_resource(session: Session, inputs: Values) -> Outputs:
    """Make a resource the quorum resource."""
    name = inputs.text("resource")
    device, size = inputs.optional_text("device") or "", inputs.optional_number("max_log_size") or 0
    async with session.opened(RESOURCE, name, Access.FULL) as handle:
        asked = c.SetQuorumResourceIn(handle, device, size)
        return await session.change(c.SET_QUORUM_RESOURCE, asked, f'resource "{name}"')


# --- Resource types ------------------------------------------------------------------------------------------------


async def type_control(session: Session, inputs: Values) -> Outputs:
    """A control code for a resource type."""
    type_, code, host = inputs.text("type"), inputs.number("control_code"), inputs.optional_text("host_node")
    access = Access.FULL if code & MODIFY_BIT else Access.READ
    buffer, room = inputs.optional_data("in_buffer"), out_size(inputs)
    session.note_code(code)
    async with session.cluster(access) as handle:
        if host is None:
            asked = t.ResourceTypeControlIn(handle, type_, code, buffer, room)
            return control_outputs(await session.ask(t.RESOURCE_TYPE_CONTROL, asked), code)
        async with session.opened(NODE, host, access) as node:
            at_node = t.NodeResourceTypeControlIn(handle, type_, node, code, buffer, room)
            return control_outputs(await session.ask(t.NODE_RESOURCE_TYPE_CONTROL, at_node), code)


async def create_type(session: Session, inputs: Values) -> Outputs:
    """Make a resource type known."""
    name = inputs.text("name")
    asked = t.CreateResourceTypeIn(
        name,
        inputs.optional_text("display_name") or name,
        inputs.optional_text("dll_name") or "",
        LOOKS_ALIVE_MS if (interval := inputs.optional_number("looks_alive")) is None else interval,
        IS_ALIVE_MS if (interval := inputs.optional_number("is_alive")) is None else interval,
    )
    return await session.change(t.CREATE_RESOURCE_TYPE, asked, f'resource type "{name}"')


async def delete_type(session: Session, inputs: Values) -> Outputs:
    """Forget a resource type."""
    name = inputs.text("type")
    return await session.change(t.DELETE_RESOURCE_TYPE, NameIn(name), f'resource type "{name}"')


async def create_type_enum(session: Session, inputs: Values) -> Outputs:
    """Where a resource type may run, and the resources of it."""
    name = inputs.text("type")
    asked = t.CreateResTypeEnumIn(name, inputs.number("mask"))
    return await session.entries(await session.call(t.CREATE_RES_TYPE_ENUM, asked, f'type "{name}"'), _OF_TYPES)


PERFORMERS: Final[Mapping[str, Performer]] = {
    "GetClusterInformation": get_information,
    "SetClusterName": set_name,
    "CreateEnum": create_enum,
    "ClusterControl": control,
    "GetQuorumResource": get_quorum_resource,
    "SetQuorumResource": set_quorum_resource,
    "ResourceTypeControl": type_control,
    "CreateResourceType": create_type,
    "DeleteResourceType": delete_type,
    "CreateResTypeEnum": create_type_enum,
}
