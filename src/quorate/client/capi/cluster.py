"""Functions on clusters."""
# ruff: noqa: N802 - ClusAPI's own names

from dataclasses import dataclass

from quorate.client.blocking import BlockingClient
from quorate.client.capi.control import ControlAnswer, control
from quorate.client.capi.handles import (
    CLUSAPI_ALL_ACCESS,
    ClusterHandle,
    answer_or,
    close,
    last_error,
    status_of,
    valid,
    wants_full_access,
)
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.states import NodeClusterState

__all__ = [
    "CloseCluster",
    "ClusterControl",
    "ClusterResourceTypeControl",
    "ClusterUpgradeFunctionalLevel",
    "ClusterVersionInfo",
    "GetClusterInformation",
    "GetLastError",
    "GetNodeClusterState",
    "OpenCluster",
    "OpenClusterEx",
    "SetClusterName",
]


NODE_CLUSTER_STATE_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class ClusterVersionInfo:
    """CLUSTERVERSIONINFO."""

    major_version: int
    minor_version: int
    build_number: int
    vendor_id: str
    csd_version: str


def OpenCluster(cluster_name: str | None = None) -> ClusterHandle:
    """Open a cluster: None is the usual place, else a cluster's directory, a node's socket or "https://HOST:PORT".

    "ncacn_ip_tcp:HOST[PORT]" is any server of MS-CMRP, with the account that the environment names. Raises ClusterError
    when no node of it answers.
    """
    return OpenClusterEx(cluster_name, CLUSAPI_ALL_ACCESS)


def OpenClusterEx(cluster_name: str | None, desired_access: int) -> ClusterHandle:
    """Open a cluster for CLUSAPI_READ_ACCESS or CLUSAPI_ALL_ACCESS; the handle's ``granted_access`` tells."""
    full = wants_full_access(desired_access)
    client = BlockingClient.at(cluster_name)
    found = client.call("GetClusterInformation", full_access=full)
    return ClusterHandle(client, found.text("name"), found.text("name"), full_access=full)


def CloseCluster(cluster: object) -> bool:
    """Close the handle; False when it is none."""
    return close(cluster, ClusterHandle)


def GetClusterInformation(cluster: object) -> tuple[int, str, ClusterVersionInfo | None]:
    """(status, name, version)."""

    def ask() -> tuple[int, str, ClusterVersionInfo | None]:
        found = valid(cluster, ClusterHandle).call("GetClusterInformation")
        info = ClusterVersionInfo(
            found.number("major_version"),
            found.number("minor_version"),
            found.number("build_number"),
            found.text("vendor"),
            found.text("version"),
        )
        return 0, found.text("name"), info

    return answer_or(ask, lambda status: (status, "", None))


def GetNodeClusterState(node_name: str | None = None) -> tuple[int, int]:
    """(status, state): whether a cluster is set up and runs here; needs no handle."""
    try:
        client = BlockingClient.at(None)
    except ClusterError:
        return 0, int(NodeClusterState.NOT_CONFIGURED)
    try:
        if node_name is None:
            client.call("GetClusterInformation")
        elif client.call("GetNodeState", node=node_name).number("state") == 1:
            return 0, int(NodeClusterState.NOT_RUNNING)
    except ClusterError as error:
        return (0, int(NodeClusterState.NOT_RUNNING)) if node_name is None else (int(error.status), 0)
    return 0, int(NodeClusterState.RUNNING)


def ClusterControl(
    cluster: object, host_node: object, control_code: int, in_buffer: object = None, out_size: int = 65536
) -> ControlAnswer:
    """(status, output, required) of a control code for the cluster."""
    return control(
        lambda: valid(cluster, ClusterHandle),
        "ClusterControl",
        lambda _: {},
        host_node,
        control_code,
        in_buffer,
        out_size,
    )


def ClusterResourceTypeControl(
    cluster: object,
    resource_type_name: str,
    host_node: object,
    control_code: int,
    in_buffer: object = None,
    out_size: int = 65536,
) -> ControlAnswer:
    """(status, output, required) of a control code for a resource type."""
    return control(
        lambda: valid(cluster, ClusterHandle),
        "ResourceTypeControl",
        lambda _: {"type": resource_type_name},
        host_node,
        control_code,
        in_buffer,
        out_size,
    )


def SetClusterName(cluster: object, new_cluster_name: str) -> int:
    """Give the cluster another name; the status is 5024 when it was done, as in ClusAPI."""
    return status_of(
        lambda: valid(cluster, ClusterHandle).call("SetClusterName", name=new_cluster_name).number("status")
    )


def ClusterUpgradeFunctionalLevel(cluster: object, perform: bool) -> int:
    """Raise the functional level to what every node can, or only check that; 5973 when a node holds it back."""
    return status_of(
        lambda: valid(cluster, ClusterHandle).call("UpgradeClusterFunctionalLevel", perform=perform).number("status")
    )


def GetLastError() -> int:
    """The status of this thread's last call, for the functions that do not return one."""
    return last_error()
