"""Writes down which networks and interfaces this node has found: plans, commits, and plans anew until nothing is left.

The plan is made by `cluster.networks` on one snapshot and written only if that still stands, so that two nodes which
find a network at the same moment make one.
"""

import uuid
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

import structlog

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NetworkRole, NodeState
from quorate.clusapi.status import Status
from quorate.cluster.networks import (
    FoundInterface,
    KnownInterface,
    KnownNetwork,
    NetworkPlan,
    NetworkSituation,
    NewNetwork,
    Planned,
    plan_networks,
)
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.network_objects import NetworkInfo, NetworkInterfaceInfo, address_values, subnet_values
from quorate.database.network_records import NetworkChanges
from quorate.database.plan import Values
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.values import RegistryValue
from quorate.engine.network_picture import SeenCluster

_ROUNDS: Final = 20
"""Plans in a row before it is left for later: every one of them was overtaken by another node."""

T = TypeVar("T", NewNetwork, KnownNetwork, KnownInterface)
_log = structlog.get_logger("networks")


class NetworkRegistration:
    """One node's hand on the network objects."""

    def __init__(self, node: NodeId, database: ClusterDatabase, view: SeenCluster) -> None:
        """Write nothing until `register`."""
        self._node = node
        self._database = database
        self._view = view
        self.left_alone: tuple[str, ...] = ()
        """Adapters that are not used, and why."""

    async def register(self, found: Sequence[FoundInterface], gone: Collection[str]) -> None:
        """Make the database show what was found. Raises StoreUnavailable."""
        plan = self._plan(self._view.snapshot, found, gone)
        self._tell(plan)
        for _ in range(_ROUNDS):
            if plan.is_empty:
                return
            snapshot = await self._database.snapshot()
            if self._node not in snapshot.nodes:
                return  # evicted: nothing here is the cluster's any more
            plan = self._plan(snapshot, found, gone)
            if not plan.is_empty:
                await self._database.networks.apply(self._node, snapshot, _changes(plan), self._events(plan))
        raise RefusalError(Status.ERROR_RETRY, "the networks in the database are changing too fast; it is tried again")

    def _plan(self, snapshot: ClusterSnapshot, found: Sequence[FoundInterface], gone: Collection[str]) -> NetworkPlan:
        info = snapshot.nodes.get(self._node)
        up = (node for node in snapshot.nodes if self._view.node_state(node) in (NodeState.UP, NodeState.PAUSED))
        situation = NetworkSituation(
            node=self._node,
            node_name=self._node if info is None else info.name,
            nodes=frozenset(snapshot.nodes),
            up=frozenset(up),
            networks=tuple(map(_known_network, snapshot.networks.values())),
            interfaces=tuple(map(_known_interface, snapshot.network_interfaces.values())),
            role=NetworkRole(snapshot.cluster.properties.number("DefaultNetworkRole", 3) & 3),
            gone=frozenset(gone),
        )
        return plan_networks(found, situation, _ids())

    def _tell(self, plan: NetworkPlan) -> None:
        for sentence in plan.left_alone:
            if sentence not in self.left_alone:
                _log.info("an adapter is not used", sentence=sentence)
        self.left_alone = plan.left_alone

    def _events(self, plan: NetworkPlan) -> tuple[EventRecord, ...]:
        return (
            *self._of(EventKind.NETWORK_ADDED, plan.new_networks),
            *self._of(EventKind.NETWORK_PROPERTY, plan.grown_networks),
            *self._of(EventKind.NETINTERFACE_ADDED, plan.new_interfaces),
            *self._of(EventKind.NETINTERFACE_PROPERTY, plan.changed_interfaces),
            *self._of(EventKind.NETINTERFACE_DELETED, plan.removed_interfaces),
            *self._of(EventKind.NETWORK_DELETED, plan.removed_networks),
        )

    def _of(self, kind: EventKind, planned: Sequence[Planned[T]]) -> Iterator[EventRecord]:
        for item in planned:
            yield EventRecord.of(
                kind,
                time=datetime.now(UTC),
                node=self._node,
                object_id=item.what.id,
                object_name=item.what.name,
                sentence=item.sentence,
                actor=f"node {self._node}",
            )


def _ids() -> Iterator[str]:
    while True:
        yield str(uuid.uuid4())


def _known_network(info: NetworkInfo) -> KnownNetwork:
    return KnownNetwork(info.id, info.name, info.subnets, info.metric)


def _known_interface(info: NetworkInterfaceInfo) -> KnownInterface:
    return KnownInterface(
        info.id, info.name, info.node, info.network, info.adapter, info.adapter_id, info.addresses, info.dhcp
    )


def _changes(plan: NetworkPlan) -> NetworkChanges:
    return NetworkChanges(
        new_networks={item.what.id: (item.what.subnets, _network_values(item.what)) for item in plan.new_networks},
        grown_networks={
            item.what.id: (item.what.subnets, subnet_values(item.what.subnets)) for item in plan.grown_networks
        },
        new_interfaces={item.what.id: _present(_interface_values(item.what)) for item in plan.new_interfaces},
        changed_interfaces={item.what.id: _interface_values(item.what) for item in plan.changed_interfaces},
        removed_interfaces=[item.what.id for item in plan.removed_interfaces],
        removed_networks=[item.what.id for item in plan.removed_networks],
    )


def _network_values(network: NewNetwork) -> Values:
    return {
        "Name": RegistryValue.sz(network.name),
        "Role": RegistryValue.dword(network.role),
        "Metric": RegistryValue.dword(network.metric),
        "AutoMetric": RegistryValue.dword(1),
        **_present(subnet_values(network.subnets)),
    }


def _interface_values(interface: KnownInterface) -> dict[str, RegistryValue | None]:
    return {
        "Name": RegistryValue.sz(interface.name),
        "Node": RegistryValue.sz(interface.node),
        "Network": RegistryValue.sz(interface.network),
        "Adapter": RegistryValue.sz(interface.adapter),
        "AdapterId": RegistryValue.sz(interface.adapter_id),
        "DhcpEnabled": RegistryValue.dword(interface.dhcp),
        **address_values(interface.addresses),
    }


def _present(values: dict[str, RegistryValue | None]) -> dict[str, RegistryValue]:
    return {name: value for name, value in values.items() if value is not None}
