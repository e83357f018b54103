"""Enumerations: opened with a mask, read by index, closed. What they list is what there was when they were opened."""
# ruff: noqa: N802 - ClusAPI's own names

from quorate.client.blocking import BlockingClient
from quorate.client.capi.handles import (
    ClusterHandle,
    GroupHandle,
    Handle,
    NetworkHandle,
    NodeHandle,
    ResourceHandle,
    answer_or,
    flags_of,
    status_of,
    valid,
)
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject, json_int, json_text
from quorate.clusapi.status import Status

__all__ = [
    "ClusterCloseEnum",
    "ClusterEnum",
    "ClusterGetEnumCount",
    "ClusterGroupCloseEnum",
    "ClusterGroupEnum",
    "ClusterGroupGetEnumCount",
    "ClusterGroupOpenEnum",
    "ClusterNetInterfaceCloseEnum",
    "ClusterNetInterfaceEnum",
    "ClusterNetInterfaceOpenEnum",
    "ClusterNetworkCloseEnum",
    "ClusterNetworkEnum",
    "ClusterNetworkGetEnumCount",
    "ClusterNetworkOpenEnum",
    "ClusterNodeCloseEnum",
    "ClusterNodeEnum",
    "ClusterNodeGetEnumCount",
    "ClusterNodeOpenEnum",
    "ClusterOpenEnum",
    "ClusterResourceCloseEnum",
    "ClusterResourceEnum",
    "ClusterResourceGetEnumCount",
    "ClusterResourceOpenEnum",
    "EnumHandle",
]


EnumEntry = tuple[int, int, str]


class EnumHandle(Handle):
    """HCLUSENUM and its kin."""

    kind = "HCLUSENUM"

    def __init__(self, client: BlockingClient, entries: tuple[JsonObject, ...]) -> None:
        """Hold what was listed."""
        super().__init__(client, "", "", full_access=False)
        self._entries = entries

    def count(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    def entry(self, index: int) -> EnumEntry:
        """(0, type, name) of one entry. Raises CallerError 259 behind the last one."""
        if not isinstance(index, int) or index < 0:
            raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{index!r} is not an index")
        if index >= len(self._entries):
            raise CallerError(Status.ERROR_NO_MORE_ITEMS, "there are no more entries")
        entry = self._entries[index]
        return 0, json_int(entry, "type"), json_text(entry, "name")


class NodeEnumHandle(EnumHandle):
    """HNODEENUM."""

    kind = "HNODEENUM"


class GroupEnumHandle(EnumHandle):
    """HGROUPENUM."""

    kind = "HGROUPENUM"


class NetworkEnumHandle(EnumHandle):
    """HNETWORKENUM."""

    kind = "HNETWORKENUM"


class NetInterfaceEnumHandle(EnumHandle):
    """HNETINTERFACEENUM."""

    kind = "HNETINTERFACEENUM"


class ResourceEnumHandle(EnumHandle):
    """HRESENUM."""

    kind = "HRESENUM"


def ClusterOpenEnum(cluster: object, type_mask: int) -> EnumHandle:
    """List objects of the kinds CLUSTER_ENUM_…; raises ClusterError."""
    handle = valid(cluster, ClusterHandle)
    return EnumHandle(handle.client(), handle.call("CreateEnum", mask=flags_of(type_mask)).objects("entries"))


def ClusterEnum(enum: object, index: int) -> EnumEntry:
    """(status, type, name); 259 at the end."""
    return _entry(enum, EnumHandle, index)


def ClusterGetEnumCount(enum: object) -> int:
    """How many entries there are; 0 for a handle that is none (GetLastError says 6)."""
    return _count(enum, EnumHandle)


def ClusterCloseEnum(enum: object) -> int:
    """Close the enumeration."""
    return _close(enum, EnumHandle)


def ClusterNodeOpenEnum(node: object, type_mask: int) -> NodeEnumHandle:
    """List what belongs to a node: CLUSTER_NODE_ENUM_…"""
    handle = valid(node, NodeHandle)
    found = handle.call("CreateNodeEnum", node=handle.object_id(), mask=flags_of(type_mask))
    return NodeEnumHandle(handle.client(), found.objects("entries"))


def ClusterNodeEnum(enum: object, index: int) -> EnumEntry:
    """(status, type, name); 259 at the end."""
    return _entry(enum, NodeEnumHandle, index)


def ClusterNodeGetEnumCount(enum: object) -> int:
    """How many entries there are."""
    return _count(enum, NodeEnumHandle)


def ClusterNodeCloseEnum(enum: object) -> int:
    """Close the enumeration."""
    return _close(enum, NodeEnumHandle)


def ClusterGroupOpenEnum(group: object, type_mask: int) -> GroupEnumHandle:
    """List what belongs to a group: CLUSTER_GROUP_ENUM_…"""
    handle = valid(group, GroupHandle)
    found = handle.call("CreateGroupResourceEnum", group=handle.object_id(), mask=flags_of(type_mask))
    return GroupEnumHandle(handle.client(), found.objects("entries"))


def ClusterGroupEnum(enum: object, index: int) -> EnumEntry:
    """(status, type, name); 259 at the end."""
    return _entry(enum, GroupEnumHandle, index)


def ClusterGroupGetEnumCount(enum: object) -> int:
    """How many entries there are."""
    return _count(enum, GroupEnumHandle)


def ClusterGroupCloseEnum(enum: object) -> int:
    """Close the enumeration."""
    return _close(enum, GroupEnumHandle)


def ClusterResourceOpenEnum(resource: object, type_mask: int) -> ResourceEnumHandle:
    """List what belongs to a resource: CLUSTER_RESOURCE_ENUM_…"""
    handle = valid(resource, ResourceHandle)
    found = handle.call("CreateResEnum", resource=handle.object_id(), mask=flags_of(type_mask))
    return ResourceEnumHandle(handle.client(), found.objects("entries"))


def ClusterResourceEnum(enum: object, index: int) -> EnumEntry:
    """(status, type, name); 259 at the end."""
    return _entry(enum, ResourceEnumHandle, index)


def ClusterResourceGetEnumCount(enum: object) -> int:
    """How many entries there are."""
    return _count(enum, ResourceEnumHandle)


def ClusterResourceCloseEnum(enum: object) -> int:
    """Close the enumeration."""
    return _close(enum, ResourceEnumHandle)


def ClusterNetworkOpenEnum(network: object, type_mask: int) -> NetworkEnumHandle:
    """List what belongs to a network: CLUSTER_NETWORK_ENUM_…"""
    handle = valid(network, NetworkHandle)
    found = handle.call("CreateNetworkEnum", network=handle.object_id(), mask=flags_of(type_mask))
    return NetworkEnumHandle(handle.client(), found.objects("entries"))


def ClusterNetworkEnum(enum: object, index: int) -> EnumEntry:
    """(status, type, name); 259 at the end."""
    return _entry(enum, NetworkEnumHandle, index)


def ClusterNetworkGetEnumCount(enum: object) -> int:
    """How many entries there are."""
    return _count(enum, NetworkEnumHandle)


def ClusterNetworkCloseEnum(enum: object) -> int:
    """Close the enumeration."""
    return _close(enum, NetworkEnumHandle)


def ClusterNetInterfaceOpenEnum(
    cluster: object, node_name: str | None = None, network_name: str | None = None
) -> NetInterfaceEnumHandle:
    """List the interfaces of a node, on a network, or of both; None is every one."""
    handle = valid(cluster, ClusterHandle)
    found = handle.call("CreateNetInterfaceEnum", node=node_name, network=network_name)
    return NetInterfaceEnumHandle(handle.client(), found.objects("entries"))


def ClusterNetInterfaceEnum(enum: object, index: int) -> tuple[int, str]:
    """(status, name); 259 at the end."""
    status, _, name = _entry(enum, NetInterfaceEnumHandle, index)
    return status, name


def ClusterNetInterfaceCloseEnum(enum: object) -> int:
    """Close the enumeration."""
    return _close(enum, NetInterfaceEnumHandle)


def _exactly(enum: object, kind: type[EnumHandle]) -> EnumHandle:
    """An enumeration of a group is none of a cluster, though it is made of the same stuff."""
    if type(enum) is not kind:
        raise CallerError(Status.ERROR_INVALID_HANDLE, f"{enum!r} is not a handle of kind {kind.kind}")
    return valid(enum, kind)


def _entry(enum: object, kind: type[EnumHandle], index: int) -> EnumEntry:
    return answer_or(lambda: _exactly(enum, kind).entry(index), lambda status: (status, 0, ""))


def _count(enum: object, kind: type[EnumHandle]) -> int:
    return answer_or(lambda: _exactly(enum, kind).count(), lambda _: 0)


def _close(enum: object, kind: type[EnumHandle]) -> int:
    def close() -> int:
        _exactly(enum, kind).close()
        return 0

    return status_of(close)
