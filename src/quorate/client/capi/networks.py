"""Functions on networks and network interfaces."""
# ruff: noqa: N802 - ClusAPI's own names

from quorate.client.capi.control import ControlAnswer, control
from quorate.client.capi.handles import (
    CLUSAPI_ALL_ACCESS,
    ClusterHandle,
    NetInterfaceHandle,
    NetworkHandle,
    answer_or,
    close,
    status_of,
    valid,
    wants_full_access,
)
from quorate.clusapi.states import NetworkInterfaceState, NetworkState

__all__ = [
    "CloseClusterNetInterface",
    "CloseClusterNetwork",
    "ClusterNetInterfaceControl",
    "ClusterNetworkControl",
    "GetClusterNetInterface",
    "GetClusterNetInterfaceState",
    "GetClusterNetworkId",
    "GetClusterNetworkState",
    "OpenClusterNetInterface",
    "OpenClusterNetInterfaceEx",
    "OpenClusterNetwork",
    "OpenClusterNetworkEx",
    "SetClusterNetworkName",
]


# --- Networks ------------------------------------------------------------------------------------------------------


def OpenClusterNetwork(cluster: object, network_name: str) -> NetworkHandle:
    """Open a network by name (or id). Raises ClusterError 5045 when there is none."""
    return OpenClusterNetworkEx(cluster, network_name, CLUSAPI_ALL_ACCESS)


def OpenClusterNetworkEx(cluster: object, network_name: str, desired_access: int) -> NetworkHandle:
    """Open a network with less access; never with more than the cluster's handle has."""
    parent = valid(cluster, ClusterHandle)
    full = wants_full_access(desired_access) and parent.has_full_access()
    found = parent.call("GetNetworkId", network=network_name)
    return NetworkHandle(parent.client(), found.text("id"), found.text("name"), full_access=full)


def CloseClusterNetwork(network: object) -> bool:
    """Close the handle; False when it is none."""
    return close(network, NetworkHandle)


def GetClusterNetworkId(network: object) -> tuple[int, str]:
    """(status, id)."""
    return answer_or(lambda: (0, valid(network, NetworkHandle).object_id()), lambda status: (status, ""))


def GetClusterNetworkState(network: object) -> int:
    """The network's state; -1 when it cannot be told (GetLastError says why)."""

    def ask() -> int:
        handle = valid(network, NetworkHandle)
        return int(NetworkState(handle.call("GetNetworkState", network=handle.object_id()).number("state")))

    return answer_or(ask, lambda _: int(NetworkState.UNKNOWN))


def SetClusterNetworkName(network: object, name: str) -> int:
    """Give the network another name; 5010 when it is taken."""

    def change() -> int:
        handle = valid(network, NetworkHandle)
        return handle.call("SetNetworkName", network=handle.object_id(), name=name).number("status")

    return status_of(change)


def ClusterNetworkControl(
    network: object, host_node: object, control_code: int, in_buffer: object = None, out_size: int = 65536
) -> ControlAnswer:
    """(status, output, required) of a control code for a network."""
    return control(
        lambda: valid(network, NetworkHandle),
        "NetworkControl",
        lambda handle: {"network": handle.object_id()},
        host_node,
        control_code,
        in_buffer,
        out_size,
    )


# --- Network interfaces --------------------------------------------------------------------------------------------


def OpenClusterNetInterface(cluster: object, interface_name: str) -> NetInterfaceHandle:
    """Open a network interface by name (or id). Raises ClusterError 5047 when there is none."""
    return OpenClusterNetInterfaceEx(cluster, interface_name, CLUSAPI_ALL_ACCESS)


def OpenClusterNetInterfaceEx(cluster: object, interface_name: str, desired_access: int) -> NetInterfaceHandle:
    """Open a network interface with less access; never with more than the cluster's handle has."""
    parent = valid(cluster, ClusterHandle)
    full = wants_full_access(desired_access) and parent.has_full_access()
    found = parent.call("GetNetInterfaceId", interface=interface_name)
    return NetInterfaceHandle(parent.client(), found.text("id"), found.text("name"), full_access=full)


def CloseClusterNetInterface(interface: object) -> bool:
    """Close the handle; False when it is none."""
    return close(interface, NetInterfaceHandle)


def GetClusterNetInterface(cluster: object, node_name: str, network_name: str) -> tuple[int, str]:
    """(status, name) of the interface that a node has on a network; 5047 when it has none."""

    def ask() -> tuple[int, str]:
        handle = valid(cluster, ClusterHandle)
        return 0, handle.call("GetNetInterface", node=node_name, network=network_name).text("name")

    return answer_or(ask, lambda status: (status, ""))


def GetClusterNetInterfaceState(interface: object) -> int:
    """The interface's state; -1 when it cannot be told (GetLastError says why)."""

    def ask() -> int:
        handle = valid(interface, NetInterfaceHandle)
        found = handle.call("GetNetInterfaceState", interface=handle.object_id())
        return int(NetworkInterfaceState(found.number("state")))

    return answer_or(ask, lambda _: int(NetworkInterfaceState.UNKNOWN))


def ClusterNetInterfaceControl(
    interface: object, host_node: object, control_code: int, in_buffer: object = None, out_size: int = 65536
) -> ControlAnswer:
    """(status, output, required) of a control code for a network interface."""
    return control(
        lambda: valid(interface, NetInterfaceHandle),
        "NetInterfaceControl",
        lambda handle: {"interface": handle.object_id()},
        host_node,
        control_code,
        in_buffer,
        out_size,
    )
