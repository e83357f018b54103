"""Functions on resource types, quorum and the order of networks; and the ones on groups and resources that are rare."""
# ruff: noqa: N802 - ClusAPI's own names

from collections.abc import Sequence

from quorate.client.capi.enums import EnumHandle
from quorate.client.capi.handles import (
    ClusterHandle,
    GroupHandle,
    NetworkHandle,
    ResourceHandle,
    answer_or,
    flags_of,
    status_of,
    text_of,
    valid,
)
from quorate.clusapi.operation_values import FieldValue

__all__ = [
    "ClusterResourceTypeOpenEnum",
    "CreateClusterResourceType",
    "DeleteClusterResourceType",
    "DestroyClusterGroup",
    "GetClusterQuorumResource",
    "GetClusterResourceNetworkName",
    "RestartClusterResource",
    "SetClusterNetworkPriorityOrder",
    "SetClusterQuorumResource",
]


def CreateClusterResourceType(
    cluster: object,
    resource_type_name: str,
    display_name: str,
    resource_type_dll: str,
    looks_alive_poll_interval: int,
    is_alive_poll_interval: int,
) -> int:
    """Register a resource type, with its poll intervals in milliseconds: 183 when there is one of that name."""

    def create() -> int:
        inputs: dict[str, FieldValue] = {
            "name": text_of(resource_type_name),
            "display_name": text_of(display_name),
            "dll_name": text_of(resource_type_dll),
            "looks_alive": flags_of(looks_alive_poll_interval),
            "is_alive": flags_of(is_alive_poll_interval),
        }
        return valid(cluster, ClusterHandle).call("CreateResourceType", **inputs).number("status")

    return status_of(create)


def DeleteClusterResourceType(cluster: object, resource_type_name: str) -> int:
    """Delete a resource type: 145 while there are resources of it."""

    def delete() -> int:
        handle = valid(cluster, ClusterHandle)
        return handle.call("DeleteResourceType", type=text_of(resource_type_name)).number("status")

    return status_of(delete)


def ClusterResourceTypeOpenEnum(cluster: object, resource_type_name: str, type_mask: int) -> EnumHandle:
    """List what belongs to a resource type: CLUSTER_RESOURCE_TYPE_ENUM_…; raises ClusterError.

    It is read and closed by ClusterEnum, ClusterGetEnumCount and ClusterCloseEnum.
    """
    handle = valid(cluster, ClusterHandle)
    found = handle.call("CreateResTypeEnum", type=resource_type_name, mask=flags_of(type_mask))
    return EnumHandle(handle.client(), found.objects("entries"))


def GetClusterQuorumResource(cluster: object) -> tuple[int, str, str, int]:
    """(status, resource name, device name, largest log size); empty names where no resource holds the quorum."""

    def ask() -> tuple[int, str, str, int]:
        found = valid(cluster, ClusterHandle).call("GetQuorumResource")
        return 0, found.text("resource"), found.text("device"), found.number("max_log_size")

    return answer_or(ask, lambda status: (status, "", "", 0))


def SetClusterQuorumResource(resource: object, device_name: str | None, max_quorum_log_size: int) -> int:
    """Make a resource the quorum resource: 5021, as none can be here."""

    def send() -> int:
        handle = valid(resource, ResourceHandle)
        device, size = "" if device_name is None else text_of(device_name), flags_of(max_quorum_log_size)
        asked = handle.call("SetQuorumResource", resource=handle.object_id(), device=device, max_log_size=size)
        return asked.number("status")

    return status_of(send)


def SetClusterNetworkPriorityOrder(cluster: object, network_list: Sequence[object]) -> int:
    """Set the order in which networks carry the cluster's own traffic: handles of all that are for internal use."""

    def send() -> int:
        networks = tuple(valid(network, NetworkHandle).object_id() for network in network_list)
        return valid(cluster, ClusterHandle).call("SetNetworkPriorityOrder", networks=networks).number("status")

    return status_of(send)


def GetClusterResourceNetworkName(resource: object) -> tuple[bool, str]:
    """(whether there is one, the network name that a resource depends on); GetLastError says why not."""

    def ask() -> tuple[bool, str]:
        handle = valid(resource, ResourceHandle)
        return True, handle.call("GetResourceNetworkName", resource=handle.object_id()).text("name")

    return answer_or(ask, lambda _: (False, ""))


def RestartClusterResource(resource: object, flags: int = 0) -> int:
    """Take it offline and bring it online again, with what depends on it and was online: 5004 unless it is online."""

    def send() -> int:
        handle = valid(resource, ResourceHandle)
        asked = handle.call("RestartResource", resource=handle.object_id(), flags=flags_of(flags))
        return asked.number("status")

    return status_of(send)


def DestroyClusterGroup(group: object) -> int:
    """Delete a group with the resources that it holds, which must be offline (5019)."""

    def send() -> int:
        handle = valid(group, GroupHandle)
        return handle.call("DeleteGroup", group=handle.object_id(), force=True).number("status")

    return status_of(send)
