"""The states of all networks, from what the database says that each node reaches and from the nodes' own states."""

from collections.abc import Callable, Mapping
from typing import Protocol

from quorate.clusapi.identity import NetworkId, NodeId
from quorate.clusapi.states import NodeState
from quorate.cluster.network_states import InterfaceReport, NetworkFinding, find_states
from quorate.database.network_objects import InterfaceReach, NetworkInterfaceInfo
from quorate.database.snapshot import ClusterSnapshot


class SeenCluster(Protocol):
    """The cluster as a node sees it: :class:`quorate.engine.view.ClusterView`."""

    @property
    def snapshot(self) -> ClusterSnapshot:
        """The newest snapshot."""
        ...

    def node_state(self, node: NodeId) -> NodeState:
        """The state of a node."""
        ...


_UNSAID = InterfaceReach(link=True)


def network_findings(
    snapshot: ClusterSnapshot, node_state: Callable[[NodeId], NodeState]
) -> Mapping[NetworkId, NetworkFinding]:
    """State, reason and interfaces of every network."""
    reports: dict[NetworkId, list[InterfaceReport]] = {network: [] for network in snapshot.networks}
    for info in snapshot.network_interfaces.values():
        if info.network in reports:
            reports[info.network].append(_report(snapshot, node_state, info))
    return {network: find_states(found) for network, found in reports.items()}


def _report(
    snapshot: ClusterSnapshot, node_state: Callable[[NodeId], NodeState], info: NetworkInterfaceInfo
) -> InterfaceReport:
    said = snapshot.reach.get(info.node)
    reach = _UNSAID if said is None else said.value.interfaces.get(info.id, _UNSAID)
    node = snapshot.nodes.get(info.node)
    return InterfaceReport(
        id=info.id,
        node=info.node,
        node_name=info.node if node is None else node.name,
        node_is_up=node_state(info.node) in (NodeState.UP, NodeState.PAUSED),
        link=reach.link,
        reached=reach.reached,
        missed=reach.missed,
    )
