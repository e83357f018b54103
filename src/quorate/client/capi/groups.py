"""Functions on groups."""
# ruff: noqa: N802 - ClusAPI's own names

from collections.abc import Sequence

from quorate.client.capi.control import ControlAnswer, change, control
from quorate.client.capi.handles import (
    CLUSAPI_ALL_ACCESS,
    ClusterHandle,
    GroupHandle,
    NodeHandle,
    answer_or,
    close,
    status_of,
    valid,
    wants_full_access,
)
from quorate.clusapi.states import GroupState

__all__ = [
    "CancelClusterGroupOperation",
    "CloseClusterGroup",
    "ClusterGroupControl",
    "CreateClusterGroup",
    "CreateClusterGroupEx",
    "DeleteClusterGroup",
    "GetClusterGroupState",
    "MoveClusterGroup",
    "MoveClusterGroupEx",
    "OfflineClusterGroup",
    "OfflineClusterGroupEx",
    "OnlineClusterGroup",
    "OnlineClusterGroupEx",
    "OpenClusterGroup",
    "OpenClusterGroupEx",
    "SetClusterGroupName",
    "SetClusterGroupNodeList",
]


def OpenClusterGroup(cluster: object, group_name: str) -> GroupHandle:
    """Open a group by name (or id). Raises ClusterError 5013 when there is none."""
    return OpenClusterGroupEx(cluster, group_name, CLUSAPI_ALL_ACCESS)


def OpenClusterGroupEx(cluster: object, group_name: str, desired_access: int) -> GroupHandle:
    """Open a group with less access; never with more than the cluster's handle has."""
    parent = valid(cluster, ClusterHandle)
    full = wants_full_access(desired_access) and parent.has_full_access()
    found = parent.call("GetGroupId", group=group_name)
    return GroupHandle(parent.client(), found.text("id"), found.text("name"), full_access=full)


def CloseClusterGroup(group: object) -> bool:
    """Close the handle; False when it is none."""
    return close(group, GroupHandle)


def CreateClusterGroup(cluster: object, group_name: str) -> GroupHandle:
    """Make an empty group and open it. Raises ClusterError 5010 when the name is taken."""
    return CreateClusterGroupEx(cluster, group_name, None)


def CreateClusterGroupEx(cluster: object, group_name: str, group_type: int | None) -> GroupHandle:
    """Make an empty group of a type and open it."""
    parent = valid(cluster, ClusterHandle)
    made = parent.call("CreateGroup", name=group_name, group_type=group_type)
    return GroupHandle(parent.client(), made.text("id"), made.text("name"), full_access=parent.has_full_access())


def DeleteClusterGroup(group: object) -> int:
    """Delete an empty group; its handle is still to be closed."""
    return _change(group, "DeleteGroup")


def GetClusterGroupState(group: object) -> tuple[int, str]:
    """(state, owner's name); the state is -1 when it cannot be told (GetLastError says why)."""

    def ask() -> tuple[int, str]:
        handle = valid(group, GroupHandle)
        found = handle.call("GetGroupState", group=handle.object_id())
        return int(GroupState(found.number("state"))), found.text("node")

    return answer_or(ask, lambda _: (int(GroupState.UNKNOWN), ""))


def OnlineClusterGroup(group: object, destination_node: object = None) -> int:
    """Bring it online: 0, or 997 while it is pending."""
    return OnlineClusterGroupEx(group, destination_node, 0)


def OnlineClusterGroupEx(group: object, destination_node: object, online_flags: int, in_buffer: object = None) -> int:
    """Bring it online with CLUSAPI_GROUP_ONLINE_… flags."""
    return _change(group, "OnlineGroup", destination_node, flags=online_flags, in_buffer=in_buffer)


def OfflineClusterGroup(group: object) -> int:
    """Take it offline: 0, or 997 while it is pending."""
    return OfflineClusterGroupEx(group, 0)


def OfflineClusterGroupEx(group: object, offline_flags: int, in_buffer: object = None) -> int:
    """Take it offline; the buffer is a property list {resource type name: VM_RESDLL_CONTEXT}."""
    return _change(group, "OfflineGroup", flags=offline_flags, in_buffer=in_buffer)


def MoveClusterGroup(group: object, destination_node: object = None) -> int:
    """Move it: 997 when under way, 0 when it is there already; None is the best node."""
    return _change(group, "MoveGroup", destination_node)


def MoveClusterGroupEx(group: object, destination_node: object, move_flags: int, in_buffer: object = None) -> int:
    """Move it with CLUSAPI_GROUP_MOVE_… flags and a property list {resource type name: VM_RESDLL_CONTEXT}."""
    return _change(group, "MoveGroup", destination_node, flags=move_flags, in_buffer=in_buffer)


def CancelClusterGroupOperation(group: object, cancel_flags: int = 0) -> int:
    """Cancel a move: 0 cancelled, 997 cancelling; the flags are reserved."""
    return _change(group, "CancelGroupOperation", flags=cancel_flags)


def SetClusterGroupName(group: object, group_name: str) -> int:
    """Give it another name: 5010 when that is taken."""
    return _change(group, "SetGroupName", name=group_name)


def SetClusterGroupNodeList(group: object, node_list: Sequence[object] | None) -> int:
    """Set the preferred owners, in order: handles of nodes; none, or None, clears the list. 5011 for a node twice."""

    def change() -> int:
        handle = valid(group, GroupHandle)
        nodes = tuple(valid(node, NodeHandle).object_id() for node in node_list or ())
        return handle.call("SetGroupNodeList", group=handle.object_id(), nodes=nodes).number("status")

    return status_of(change)


def ClusterGroupControl(
    group: object, host_node: object, control_code: int, in_buffer: object = None, out_size: int = 65536
) -> ControlAnswer:
    """(status, output, required) of a control code for a group."""
    return control(
        lambda: valid(group, GroupHandle),
        "GroupControl",
        lambda handle: {"group": handle.object_id()},
        host_node,
        control_code,
        in_buffer,
        out_size,
    )


def _change(group: object, operation: str, destination_node: object = None, **inputs: object) -> int:
    nodes = {} if destination_node is None else {"destination": destination_node}
    return change(lambda: valid(group, GroupHandle), "group", operation, nodes, inputs)
