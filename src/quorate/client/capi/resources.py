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
    status_of,
    valid,
    wants_full_access,
)
from quorate.clusapi.errors import error_from_status
from quorate.clusapi.states import ResourceState

__all__ = [
    "AddClusterResourceDependency",
    "AddClusterResourceNode",
    "CanResourceBeDependent",
    "ChangeClusterResourceGroup",
    "ChangeClusterResourceGroupEx",
    "CloseClusterResource",
    "ClusterResourceControl",
    "CreateClusterResource",
    "DeleteClusterResource",
    "FailClusterResource",
    "GetClusterResourceDependencyExpression",
    "GetClusterResourceState",
    "OfflineClusterResource",
    "OfflineClusterResourceEx",
    "OnlineClusterResource",
    "OnlineClusterResourceEx",
    "OpenClusterResource",
    "OpenClusterResourceEx",
    "RemoveClusterResourceDependency",
    "RemoveClusterResourceNode",
    "SetClusterResourceDependencyExpression",
    "SetClusterResourceName",
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


def AddClusterResourceDependency(resource: object, depends_on: object) -> int:
    """Let it depend on another one of its group: 87 of another group, 1059 in a circle, 5003 already."""
    return _relate(resource, "AddResourceDependency", depends_on)


def RemoveClusterResourceDependency(resource: object, depends_on: object) -> int:
    """Let it depend on that one no more: 5002 when it does not."""
    return _relate(resource, "RemoveResourceDependency", depends_on)


def CanResourceBeDependent(resource: object, resource_dependent: object) -> bool:
    """Answer whether ``resource`` may come to depend on ``resource_dependent``; if not, GetLastError says why."""

    def ask() -> bool:
        handle, provider = valid(resource, ResourceHandle), valid(resource_dependent, ResourceHandle)
        found = handle.call("CanResourceBeDependent", resource=handle.object_id(), depends_on=provider.object_id())
        if found.number("status"):
            raise error_from_status(found.number("status"), found.optional_text("sentence") or "")
        return True

    return answer_or(ask, lambda _: False)


def SetClusterResourceDependencyExpression(resource: object, dependency_expression: str | None) -> int:
    """Set what it depends on, "([id] or [id]) and [id]"; None is nothing. 87: no expression, 5929: too complex."""
    return _change(resource, "SetResourceDependencyExpression", expression=dependency_expression or "")


def GetClusterResourceDependencyExpression(resource: object) -> tuple[int, str]:
    """(status, the expression on ids); empty when it depends on nothing."""

    def ask() -> tuple[int, str]:
        handle = valid(resource, ResourceHandle)
        found = handle.call("GetResourceDependencyExpression", resource=handle.object_id())
        return 0, found.text("expression")

    return answer_or(ask, lambda status: (status, ""))


def ChangeClusterResourceGroup(resource: object, group: object) -> int:
    """Put it with its dependency tree into another group of the same owner; what runs goes on. 183: it is there."""
    return ChangeClusterResourceGroupEx(resource, group, 0)


def ChangeClusterResourceGroupEx(resource: object, group: object, flags: int) -> int:
    """The same with CLUSAPI_CHANGE_RESOURCE_GROUP_… flags."""

    def move() -> int:
        handle, target = valid(resource, ResourceHandle), valid(group, GroupHandle)
        found = handle.call(
            "ChangeResourceGroup", resource=handle.object_id(), group=target.object_id(), flags=flags_of(flags)
        )
        return found.number("status")

    return status_of(move)


def SetClusterResourceName(resource: object, resource_name: str) -> int:
    """Give it another name: 5010 when that is taken."""
    return _change(resource, "SetResourceName", name=resource_name)


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


def _relate(resource: object, operation: str, depends_on: object) -> int:
    def relate() -> int:
        handle, provider = valid(resource, ResourceHandle), valid(depends_on, ResourceHandle)
        found = handle.call(operation, resource=handle.object_id(), depends_on=provider.object_id())
        return found.number("status")

    return status_of(relate)


def _change(resource: object, operation: str, node: object = _NO_NODE, **inputs: object) -> int:
    nodes = {} if node is _NO_NODE else {"node": node}
    return change(lambda: valid(resource, ResourceHandle), "resource", operation, nodes, inputs)
