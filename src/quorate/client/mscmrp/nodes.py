"""Operations on nodes, networks and network interfaces."""

from collections.abc import Mapping
from typing import Final

from quorate.client.mscmrp.common import (
    about,
    changes,
    controls,
    enumerates,
    finds,
    identity,
    reads_state,
    renames,
)
from quorate.client.mscmrp.kinds import NET_INTERFACE, NETWORK, NODE
from quorate.client.mscmrp.session import Outputs, Performer, Session, listed_outputs, listed_twice
from quorate.clusapi.errors import CallerError
from quorate.clusapi.operation_types import Access
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import ClusterEnum, NetworkEnum
from quorate.clusapi.status import Status
from quorate.mscmrp import net_interface_methods as i
from quorate.mscmrp import network_methods as w
from quorate.mscmrp import node_methods as n
from quorate.mscmrp.shapes import HandleIn, HandleMaskOptionsIn

_OF_CLUSTER: Final = {int(ClusterEnum.NETINTERFACE): ClusterEnum.NETINTERFACE}
_INTERFACES: Final = {int(NetworkEnum.NETINTERFACES): ClusterEnum.NETINTERFACE}


async def pause(session: Session, inputs: Values) -> Outputs:
    """Let a node take no new groups, and drain it if that is wanted."""
    name, target = inputs.text("node"), inputs.optional_text("target")
    drain, flags = inputs.flag("drain"), inputs.optional_number("flags") or 0
    if target is not None and not drain:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "target: it is where a drain goes to; ask for a drain too")
    async with session.opened(NODE, name, Access.FULL) as handle:
        if target is not None:
            async with session.opened(NODE, target) as other:
                asked = n.PauseNodeWithDrainTargetIn(handle, flags, other)
                words = f"{about(NODE, name)}, {about(NODE, target)}"
                return await session.change(n.PAUSE_NODE_WITH_DRAIN_TARGET, asked, words)
        if drain or flags:
            return await session.change(n.PAUSE_NODE_EX, n.PauseNodeExIn(handle, drain, flags), about(NODE, name))
        return await session.change(n.PAUSE_NODE, HandleIn(handle), about(NODE, name))


async def resume(session: Session, inputs: Values) -> Outputs:
    """End a pause, a drain and a quarantine; what was drained comes back if that is wanted."""
    name, failback = inputs.text("node"), inputs.optional_number("failback")
    async with session.opened(NODE, name, Access.FULL) as handle:
        if failback is None:
            return await session.change(n.RESUME_NODE, HandleIn(handle), about(NODE, name))
        return await session.change(n.RESUME_NODE_EX, n.ResumeNodeExIn(handle, failback), about(NODE, name))


async def create_node_enum(session: Session, inputs: Values) -> Outputs:
    """Network interfaces and groups of a node."""
    name = inputs.text("node")
    async with session.opened(NODE, name) as handle:
        asked = HandleMaskOptionsIn(handle, inputs.number("mask"))
        return listed_outputs(listed_twice(await session.call(n.CREATE_NODE_ENUM_EX, asked, about(NODE, name))))


async def set_priority_order(session: Session, inputs: Values) -> Outputs:
    """Say which networks the nodes prefer."""
    asked = w.SetNetworkPriorityOrderIn(inputs.ids("networks"))
    return await session.change(w.SET_NETWORK_PRIORITY_ORDER, asked, "the order of the networks")


async def get_interface(session: Session, inputs: Values) -> Outputs:
    """Which interface a node has on a network."""
    node, network = inputs.text("node"), inputs.text("network")
    asked = i.GetNetInterfaceIn(node, network)
    told = await session.call(i.GET_NET_INTERFACE, asked, f'node "{node}", network "{network}"')
    name = told.text or ""
    async with session.opened(NET_INTERFACE, name) as handle:
        id_, own = await identity(session, NET_INTERFACE, handle, name)
        return {"id": id_, "name": own}


async def create_interface_enum(session: Session, inputs: Values) -> Outputs:
    """The interfaces of a node, on a network, or all."""
    node, network = inputs.optional_text("node") or "", inputs.optional_text("network") or ""
    async with session.cluster() as handle:
        asked = i.CreateNetInterfaceEnumIn(handle, node, network)
        answer = await session.call(i.CREATE_NET_INTERFACE_ENUM, asked, f'node "{node}", network "{network}"')
    return await session.entries(answer, _OF_CLUSTER | _INTERFACES)


PERFORMERS: Final[Mapping[str, Performer]] = {
    "GetNodeId": finds(NODE, "node"),
    "GetNodeState": reads_state(NODE, "node", n.GET_NODE_STATE),
    "PauseNode": pause,
    "ResumeNode": resume,
    "EvictNode": changes(NODE, "node", n.EVICT_NODE),
    "NodeControl": controls(NODE, "node"),
    "CreateNodeEnum": create_node_enum,
    "GetNetworkId": finds(NETWORK, "network"),
    "GetNetworkState": reads_state(NETWORK, "network", w.GET_NETWORK_STATE),
    "SetNetworkName": renames(NETWORK, "network", w.SET_NETWORK_NAME),
    "SetNetworkPriorityOrder": set_priority_order,
    "NetworkControl": controls(NETWORK, "network"),
    "CreateNetworkEnum": enumerates(NETWORK, "network", w.CREATE_NETWORK_ENUM, _INTERFACES),
    "GetNetInterfaceId": finds(NET_INTERFACE, "interface"),
    "GetNetInterfaceState": reads_state(NET_INTERFACE, "interface", i.GET_NET_INTERFACE_STATE),
    "GetNetInterface": get_interface,
    "NetInterfaceControl": controls(NET_INTERFACE, "interface"),
    "CreateNetInterfaceEnum": create_interface_enum,
}
