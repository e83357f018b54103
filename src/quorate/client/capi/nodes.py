"""Functions on nodes."""
# ruff: noqa: N802 - ClusAPI's own names

from quorate.client.capi.control import ControlAnswer, control
from quorate.client.capi.handles import (
    CLUSAPI_ALL_ACCESS,
    ClusterHandle,
    NodeHandle,
    answer_or,
    close,
    status_of,
    valid,
    wants_full_access,
)
from quorate.clusapi.errors import CallerError
from quorate.clusapi.states import NodeState
from quorate.clusapi.status import Status

__all__ = [
    "CloseClusterNode",
    "ClusterNodeControl",
    "EvictClusterNode",
    "EvictClusterNodeEx",
    "GetClusterNodeId",
    "GetClusterNodeState",
    "OpenClusterNode",
    "OpenClusterNodeById",
    "OpenClusterNodeEx",
    "PauseClusterNode",
    "PauseClusterNodeEx",
    "ResumeClusterNode",
    "ResumeClusterNodeEx",
]


def OpenClusterNode(cluster: object, node_name: str) -> NodeHandle:
    """Open a node by name (or id). Raises ClusterError 5042 when there is none."""
    return OpenClusterNodeEx(cluster, node_name, CLUSAPI_ALL_ACCESS)


def OpenClusterNodeEx(cluster: object, node_name: str, desired_access: int) -> NodeHandle:
    """Open a node with less access; never with more than the cluster's handle has."""
    parent = valid(cluster, ClusterHandle)
    full = wants_full_access(desired_access) and parent.has_full_access()
    found = parent.call("GetNodeId", node=node_name)
    return NodeHandle(parent.client(), found.text("id"), found.text("name"), full_access=full)


def OpenClusterNodeById(cluster: object, node_id: int) -> NodeHandle:
    """Open a node by its number."""
    return OpenClusterNode(cluster, str(node_id))


def CloseClusterNode(node: object) -> bool:
    """Close the handle; False when it is none."""
    return close(node, NodeHandle)


def GetClusterNodeId(node: object) -> tuple[int, str]:
    """(status, id)."""
    return answer_or(lambda: (0, valid(node, NodeHandle).object_id()), lambda status: (status, ""))


def GetClusterNodeState(node: object) -> int:
    """The node's state; -1 when it cannot be told (GetLastError says why)."""

    def ask() -> int:
        handle = valid(node, NodeHandle)
        return int(NodeState(handle.call("GetNodeState", node=handle.object_id()).number("state")))

    return answer_or(ask, lambda _: int(NodeState.UNKNOWN))


def PauseClusterNode(node: object) -> int:
    """Let the node take no new groups."""
    return _change(node, "PauseNode")


def PauseClusterNodeEx(node: object, drain: bool, flags: int = 0, drain_target: object = None) -> int:
    """Pause the node and, with ``drain``, begin to move everything off it: 5962 while that goes on, 5005 and 5050."""

    def change() -> int:
        target = None if drain_target is None else valid(drain_target, NodeHandle).object_id()
        handle = valid(node, NodeHandle)
        inputs = {"drain": True, "flags": flags, "target": target} if drain else {}
        return handle.call("PauseNode", node=handle.object_id(), **inputs).number("status")

    return status_of(change)


def ResumeClusterNode(node: object) -> int:
    """End the pause."""
    return _change(node, "ResumeNode")


def ResumeClusterNodeEx(node: object, failback_type: int, reserved: int = 0) -> int:
    """End the pause and a drain, with a CLUSTER_NODE_RESUME_FAILBACK_TYPE; 87 where the last one is not 0."""

    def change() -> int:
        handle = valid(node, NodeHandle)
        if reserved:
            raise CallerError(Status.ERROR_INVALID_PARAMETER, "the last argument is reserved and must be 0")
        return handle.call("ResumeNode", node=handle.object_id(), failback=failback_type).number("status")

    return status_of(change)


def EvictClusterNode(node: object) -> int:
    """Take the node out of the cluster: 5009 while something runs on it, 5939 for the last one."""
    return _change(node, "EvictNode")


def EvictClusterNodeEx(node: object, timeout: int) -> tuple[int, int]:
    """(status, HRESULT of the cleanup).

    The node's own daemon cleans up, when it notices, so that nothing is waited for and the second is always S_OK.
    """
    return _change(node, "EvictNode"), 0


def ClusterNodeControl(
    node: object, host_node: object, control_code: int, in_buffer: object = None, out_size: int = 65536
) -> ControlAnswer:
    """(status, output, required) of a control code for a node."""
    return control(
        lambda: valid(node, NodeHandle),
        "NodeControl",
        lambda handle: {"node": handle.object_id()},
        host_node,
        control_code,
        in_buffer,
        out_size,
    )


def _change(node: object, operation: str) -> int:
    def change() -> int:
        handle = valid(node, NodeHandle)
        return handle.call(operation, node=handle.object_id()).number("status")

    return status_of(change)
