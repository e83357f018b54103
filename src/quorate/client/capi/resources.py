"""Functions on resources."""
# ruff: noqa: N802 - ClusAPI's own names

from quorate.client.capi.control import ControlAnswer, change, control
from quorate.client.capi.handles import (
    CLUSAPI_ALL_ACCESS,
    ClusterHandle,
    GroupHandle,
    ResourceHandle,
    answer_or,
    close,
    flags_of,
    valid,
    wants_full_access,
)
from quorate.clusapi.states import ResourceState

__all__ = [
    "AddClusterResourceNode",
    "CloseClusterResource",
    "ClusterResourceControl",
    "CreateClusterResource",
    "DeleteClusterResource",
    "FailClusterResource",
    "GetClusterResourceState",
    "OfflineClusterResource",
    "OfflineClusterResourceEx",
    "OnlineClusterResource",
    "OnlineClusterResourceEx",
    "OpenClusterResource",
    "OpenClusterResourceEx",
    "RemoveClusterResourceNode",
]


_NO_NODE = object()  # None is a node that is no handle: 6


def OpenClusterResource(cluster: object, resource_name: str) -> ResourceHandle:
    """Open a resource by name (or id). Raises ClusterError 5007 when there is none."""
    return OpenClusterResourceEx(cluster, resource_name, CLUSAPI_ALL_ACCESS)


def OpenClusterResourceEx(cluster: object, resource_name: str, desired_access: int) -> ResourceHandle:
    """Open a resource with less access; never with more than the cluster's handle has."""
    parent = valid(cluster, ClusterHandle)
    full = wants_full_access(desired_access) and parent.has_full_access()
    found = parent.call("GetResourceId", resource=resource_name)
    return ResourceHandle(parent.client(), found.text("id"), found.text("name"), full_access=full)


def CloseClusterResource(resource: object) -> bool:
    """Close the handle; False when it is none."""
    return close(resource, ResourceHandle)


def CreateClusterResource(group: object, resource_name: str, resource_type: str, flags: int = 0) -> ResourceHandle:
    """Add a resource to a group and open it. Raises ClusterError 5010 or 5078."""
    parent = valid(group, GroupHandle)
    made = parent.call(
        "CreateResource", group=parent.object_id(), name=resource_name, type=resource_type, flags=flags_of(flags)
    )
    return ResourceHandle(parent.client(), made.text("id"), made.text("name"), full_access=parent.has_full_access())


def DeleteClusterResource(resource: object) -> int:
    """Delete a resource that is offline; its handle is still to be closed."""
    return _change(resource, "DeleteResource")


def GetClusterResourceState(resource: object) -> tuple[int, str, str]:
    """(state, owner's name, group's name); the state is -1 when it cannot be told (GetLastError says why)."""

    def ask() -> tuple[int, str, str]:
        handle = valid(resource, ResourceHandle)
        found = handle.call("GetResourceState", resource=handle.object_id())
        return int(ResourceState(found.number("state"))), found.text("node"), found.text("group")

    return answer_or(ask, lambda _: (int(ResourceState.UNKNOWN), "", ""))


def OnlineClusterResource(resource: object) -> int:
    """Bring it online: 0, or 997 while it is pending."""
    return OnlineClusterResourceEx(resource, 0)


def OnlineClusterResourceEx(resource: object, online_flags: int) -> int:
    """Bring it online with CLUSAPI_RESOURCE_ONLINE_… flags."""
    return _change(resource, "OnlineResource", flags=online_flags)


def OfflineClusterResource(resource: object) -> int:
    """Take it offline: 0, or 997 while it is pending."""
    return OfflineClusterResourceEx(resource, 0)


def OfflineClusterResourceEx(resource: object, offline_flags: int, in_buffer: object = None) -> int:
    """Take it offline; the buffer is a property list {resource type name: VM_RESDLL_CONTEXT}."""
    return _change(resource, "OfflineResource", flags=offline_flags, in_buffer=in_buffer)


def FailClusterResource(resource: object) -> int:
    """Treat it as failed; the policy applies."""
    return _change(resource, "FailResource")


def AddClusterResourceNode(resource: object, node: object) -> int:
    """Add a possible owner; 5011 when it is one already."""
    return _change(resource, "AddResourceNode", node)


def RemoveClusterResourceNode(resource: object, node: object) -> int:
    """Remove a possible owner: 5042 when it is none, 5071 when it is the last one. What runs there goes on."""
    return _change(resource, "RemoveResourceNode", node)


def ClusterResourceControl(
    resource: object, host_node: object, control_code: int, in_buffer: object = None, out_size: int = 65536
) -> ControlAnswer:
    """(status, output, required) of a control code; ``host_node`` None is the owner, ``in_buffer`` None is NULL.

    ``required`` is the size of the whole output, also when it did not fit (status 234).
    """
    return control(
        lambda: valid(resource, ResourceHandle),
        "ResourceControl",
        lambda handle: {"resource": handle.object_id()},
        host_node,
        control_code,
        in_buffer,
        out_size,
    )


def _change(resource: object, operation: str, node: object = _NO_NODE, **inputs: object) -> int:
    nodes = {} if node is _NO_NODE else {"node": node}
    return change(lambda: valid(resource, ResourceHandle), "resource", operation, nodes, inputs)
