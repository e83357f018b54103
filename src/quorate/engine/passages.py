"""The networks that this node and another are both on, as ways for memory."""

from collections.abc import Iterator
from typing import Final

from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NetworkInterfaceState, NetworkRole
from quorate.cluster.network_states import InterfaceFinding
from quorate.database.network_objects import NetworkInterfaceInfo
from quorate.database.snapshot import TYPE_VIRTUAL_MACHINE, ClusterSnapshot
from quorate.engine.network_picture import SeenCluster, network_findings
from quorate.migration.migration_networks import EXCLUDE_PROPERTY, ORDER_PROPERTY, Passage, Passages, order_passages

_BROKEN: Final = (NetworkInterfaceState.FAILED, NetworkInterfaceState.UNREACHABLE)
_UNSEEN: Final = InterfaceFinding(NetworkInterfaceState.UP)


def passages_to(view: SeenCluster, snapshot: ClusterSnapshot, here: NodeId, there: NodeId) -> Passages:
    """Order the networks between two nodes as the type "Virtual Machine" says; none where no networks are known."""
    type_ = snapshot.find_resource_type(TYPE_VIRTUAL_MACHINE)
    order = "" if type_ is None else type_.parameters.text(ORDER_PROPERTY)
    excluded = "" if type_ is None else type_.parameters.text(EXCLUDE_PROPERTY)
    return order_passages(_passages(view, snapshot, here, there), order, excluded)


def _passages(view: SeenCluster, snapshot: ClusterSnapshot, here: NodeId, there: NodeId) -> Iterator[Passage]:
    findings = network_findings(snapshot, view.node_state)
    interfaces = snapshot.network_interfaces.values()
    for network in snapshot.networks.values():
        mine = next((one for one in interfaces if one.network == network.id and one.node == here), None)
        theirs = next((one for one in interfaces if one.network == network.id and one.node == there), None)
        if mine is None or theirs is None or not (address := _address(mine, theirs)):
            continue
        states = findings[network.id].interfaces
        broken = [one.name for one in (mine, theirs) if states.get(one.id, _UNSEEN).state in _BROKEN]
        yield Passage(
            network=network.id,
            name=network.name,
            metric=network.metric,
            address=address,
            is_used=network.role is not NetworkRole.NONE,
            trouble=f"{broken[0]} is not up" if broken else "",
        )


def _address(mine: NetworkInterfaceInfo, theirs: NetworkInterfaceInfo) -> str:
    """The first address of theirs that is of a version of IP which we have there too."""
    versions = {":" in address for address in mine.addresses}
    usable = (address.partition("/")[0] for address in theirs.addresses if (":" in address) in versions)
    return next(usable, "")
