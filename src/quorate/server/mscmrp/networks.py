"""The methods on networks and network interfaces."""

from collections.abc import Mapping
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.mscmrp import net_interface_methods as interfaces
from quorate.mscmrp import network_methods as networks
from quorate.mscmrp.net_interface_methods import CreateNetInterfaceEnumIn, GetNetInterfaceIn
from quorate.mscmrp.network_methods import SetNetworkPriorityOrderIn
from quorate.mscmrp.shapes import EnumOut, StatusOut, TextOut
from quorate.server.mscmrp import patterns
from quorate.server.mscmrp.binding import Handler, answer, handlers
from quorate.server.mscmrp.calls import Inputs, WireCall
from quorate.server.mscmrp.handles import OpenCluster, OpenNetInterface, OpenNetwork
from quorate.server.mscmrp.patterns import enum_out, status_out


async def set_priority_order(wire: WireCall, inputs: SetNetworkPriorityOrderIn) -> StatusOut:
    """Say which network the nodes shall use first among themselves."""
    named = tuple(network for network in inputs.networks if network is not None)
    if len(named) != len(inputs.networks):
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "the list of networks has a null in it")
    return status_out(await wire.ask("SetNetworkPriorityOrder", {"networks": named}))


async def get_interface(wire: WireCall, inputs: GetNetInterfaceIn) -> TextOut:
    """Tell which interface a node has on a network."""
    asked: Inputs = {"node": inputs.node_name, "network": inputs.network_name}
    return TextOut((await wire.ask("GetNetInterface", asked)).text("name"))


async def create_interface_enum(wire: WireCall, inputs: CreateNetInterfaceEnumIn) -> EnumOut:
    """List the interfaces of a node, on a network, or all."""
    it = wire.find(inputs.handle, OpenCluster)
    asked: Inputs = {"node": inputs.node_name or None, "network": inputs.network_name or None}
    return enum_out(await wire.ask("CreateNetInterfaceEnum", asked, it))


_INTERFACE: Final = (OpenNetInterface, "GetNetInterfaceId", "interface")
_NETWORK: Final = (OpenNetwork, "GetNetworkId", "network")
_NETWORK_CONTROL: Final = (OpenNetwork, "NetworkControl", "network")
_INTERFACE_CONTROL: Final = (OpenNetInterface, "NetInterfaceControl", "interface")

HANDLERS: Final[Mapping[int, Handler]] = handlers(
    answer(networks.OPEN_NETWORK, patterns.opens(*_NETWORK)),
    answer(networks.CLOSE_NETWORK, patterns.closes(OpenNetwork)),
    answer(networks.GET_NETWORK_STATE, patterns.tells_state(OpenNetwork, "GetNetworkState", "network")),
    answer(networks.SET_NETWORK_NAME, patterns.changes_text(OpenNetwork, "SetNetworkName", "network", "name")),
    answer(networks.CREATE_NETWORK_ENUM, patterns.lists(OpenNetwork, "CreateNetworkEnum", "network")),
    answer(networks.GET_NETWORK_ID, patterns.tells_text(*_NETWORK, "id")),
    answer(networks.SET_NETWORK_PRIORITY_ORDER, set_priority_order),
    answer(networks.NODE_NETWORK_CONTROL, patterns.controls_at_node(*_NETWORK_CONTROL)),
    answer(networks.NETWORK_CONTROL, patterns.controls(*_NETWORK_CONTROL)),
    answer(networks.OPEN_NETWORK_EX, patterns.opens_ex(*_NETWORK)),
    answer(interfaces.OPEN_NET_INTERFACE, patterns.opens(*_INTERFACE)),
    answer(interfaces.CLOSE_NET_INTERFACE, patterns.closes(OpenNetInterface)),
    answer(
        interfaces.GET_NET_INTERFACE_STATE,
        patterns.tells_state(OpenNetInterface, "GetNetInterfaceState", "interface"),
    ),
    answer(interfaces.GET_NET_INTERFACE, get_interface),
    answer(interfaces.GET_NET_INTERFACE_ID, patterns.tells_text(*_INTERFACE, "id")),
    answer(interfaces.NODE_NET_INTERFACE_CONTROL, patterns.controls_at_node(*_INTERFACE_CONTROL)),
    answer(interfaces.NET_INTERFACE_CONTROL, patterns.controls(*_INTERFACE_CONTROL)),
    answer(interfaces.OPEN_NET_INTERFACE_EX, patterns.opens_ex(*_INTERFACE)),
    answer(interfaces.CREATE_NET_INTERFACE_ENUM, create_interface_enum),
)
