"""Writes networks, their interfaces and what nodes say of them. ``ClusterDatabase.networks``.

Each change is one transaction. A subnet belongs to one network: an index key claims it as names are claimed, so that
two nodes that find it at once make one network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from quorate.clusapi.errors import CallerError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import NetworkId, NetworkInterfaceId, NodeId
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.contract import Store
from quorate.database.events import EventLog
from quorate.database.network_objects import Announced, NetworkInfo, NetworkInterfaceInfo, Reach
from quorate.database.plan import Plan, Values, commit_until_done
from quorate.database.records import NameEntry, Versioned
from quorate.database.registry import ValueChanges
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.snapshot_builder import SnapshotBuilder
from quorate.database.values import KeyRecord, RegistryValue


@dataclass(frozen=True, slots=True)
class NetworkChanges:
    """What one node wants to write after it has looked at its adapters."""

    new_networks: Mapping[NetworkId, tuple[tuple[str, ...], Values]] = field(default_factory=dict)  # subnets, values
    grown_networks: Mapping[NetworkId, tuple[tuple[str, ...], ValueChanges]] = field(default_factory=dict)
    new_interfaces: Mapping[NetworkInterfaceId, Values] = field(default_factory=dict)
    changed_interfaces: Mapping[NetworkInterfaceId, ValueChanges] = field(default_factory=dict)
    removed_interfaces: Sequence[NetworkInterfaceId] = ()
    removed_networks: Sequence[NetworkId] = ()


class NetworkRecords:
    """Everything about networks in the database."""

    def __init__(self, store: Store, log: EventLog) -> None:
        """Write into this store."""
        self._store = store
        self._log = log

    # --- What nodes find -------------------------------------------------------------------------------------------

    async def apply(
        self, node: NodeId, snapshot: ClusterSnapshot, changes: NetworkChanges, events: Sequence[EventRecord]
    ) -> bool:
        """Write what was planned on a snapshot, all or nothing; False when the database has moved on meanwhile."""
        plan = Plan()
        plan.compares[keys.registry_key(keys.node_path(node))] = snapshot.nodes[node].revision
        for network, (subnets, values) in changes.new_networks.items():
            plan.claim_name("network", _name(values), network)
            plan.create_key(keys.network_path(network), values)
            for subnet in subnets:
                plan.create(keys.name_index("subnet", subnet), NameEntry(network).encode())
        for network, (subnets, more) in changes.grown_networks.items():
            info = snapshot.networks[network]
            await self._change(plan, keys.network_path(network), info.revision, more)
            for subnet in set(subnets) - set(info.subnets):
                plan.create(keys.name_index("subnet", subnet), NameEntry(network).encode())
        for interface, values in changes.new_interfaces.items():
            plan.claim_name("netinterface", _name(values), interface)
            plan.create_key(keys.network_interface_path(interface), values)
            await self._hold(plan, snapshot, NetworkId(_text(values, "Network")))
        for interface, more in changes.changed_interfaces.items():
            await self._change_interface(plan, snapshot, snapshot.network_interfaces[interface], more)
        for interface in changes.removed_interfaces:
            await self._remove_interface(plan, snapshot.network_interfaces[interface])
        for network in changes.removed_networks:
            await self._remove_network(plan, snapshot.networks[network])
        self._log.add(plan, events)
        try:
            return (await plan.commit(self._store)).succeeded
        except CallerError as error:
            if error.status == Status.ERROR_OBJECT_ALREADY_EXISTS:  # another node took the name a moment ago
                return False
            raise

    async def write_reach(self, node: NodeId, reach: Reach) -> bool:
        """Say what this node reaches; False when it is no longer in the cluster."""
        record = await self._store.get(keys.registry_key(keys.node_path(node)))
        if record is None:
            return False
        plan = Plan()
        plan.expect(record)
        plan.put(keys.reach(node), reach.encode())
        return (await plan.commit(self._store)).succeeded

    # --- What administrators change --------------------------------------------------------------------------------

    async def configure(
        self,
        network: NetworkId,
        plan_values: Callable[[ClusterSnapshot, NetworkInfo], ValueChanges],
        *,
        name: str | None = None,
        events: Sequence[EventRecord] = (),
    ) -> None:
        """Change values of a network's key and its name, all or nothing.

        ``plan_values`` says what changes, or refuses, on a snapshot whose networks stand until it is written. Raises
        CallerError ERROR_CLUSTER_NETWORK_NOT_FOUND, ERROR_OBJECT_ALREADY_EXISTS, ERROR_INVALID_NAME.
        """

        async def plan() -> tuple[Plan, None]:
            snapshot = SnapshotBuilder(await self._store.range(*SnapshotBuilder.PREFIXES)).build()
            info = snapshot.networks.get(network)
            if info is None:
                raise CallerError(Status.ERROR_CLUSTER_NETWORK_NOT_FOUND, f"the cluster has no network {network!r}")
            planned, changes = Plan(), dict(plan_values(snapshot, info))
            if name is not None:
                changes["Name"] = RegistryValue.sz(name)
                self._rename(planned, "network", info.id, info.name, name)
            await self._change(planned, keys.network_path(network), info.revision, changes)
            for other in snapshot.networks.values():
                planned.compares[keys.registry_key(keys.network_path(other.id))] = other.revision
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def order(
        self,
        plan_metrics: Callable[[ClusterSnapshot], Mapping[NetworkId, int]],
        *,
        events: Sequence[EventRecord] = (),
    ) -> None:
        """Set the metrics of networks, all or nothing; the cluster chooses them by itself no more.

        ``plan_metrics`` says which, or refuses, on a snapshot whose networks stand until it is written.
        """

        async def plan() -> tuple[Plan, None]:
            snapshot = SnapshotBuilder(await self._store.range(*SnapshotBuilder.PREFIXES)).build()
            planned = Plan()
            for network, metric in plan_metrics(snapshot).items():
                values = {"Metric": RegistryValue.dword(metric), "AutoMetric": RegistryValue.dword(0)}
                await self._change(planned, keys.network_path(network), snapshot.networks[network].revision, values)
            for other in snapshot.networks.values():
                planned.compares[keys.registry_key(keys.network_path(other.id))] = other.revision
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    # --- What was announced ----------------------------------------------------------------------------------------

    async def announced(self) -> Versioned[Announced]:
        """What the event log has told of last; revision 0 while nothing was."""
        record = await self._store.get(keys.ANNOUNCED)
        return (
            Versioned(Announced(), 0) if record is None else Versioned(Announced.decode(record.value), record.revision)
        )

    async def announce(self, before: Versioned[Announced], after: Announced, events: Sequence[EventRecord]) -> bool:
        """Tell of changes, once: False when somebody else has told of something meanwhile."""
        plan = Plan()
        plan.compares[keys.ANNOUNCED] = before.revision
        plan.put(keys.ANNOUNCED, after.encode())
        self._log.add(plan, events)
        return (await plan.commit(self._store)).succeeded

    # --- Parts -----------------------------------------------------------------------------------------------------

    async def _change(self, plan: Plan, path: str, revision: int, changes: ValueChanges) -> None:
        """Change values of a key that stood at a revision; when it does not, the transaction cannot succeed."""
        key = keys.registry_key(path)
        record = await self._store.get(key)
        plan.compares[key] = revision
        if record is None:
            return
        old = KeyRecord.decode(record.value)
        plan.put(key, KeyRecord(old.name, old.values.changed(changes), old.extra).encode())

    async def _hold(self, plan: Plan, snapshot: ClusterSnapshot, network: NetworkId) -> None:
        """Let a network not be removed as empty while an interface comes to it."""
        info = snapshot.networks.get(network)
        key = keys.registry_key(keys.network_path(network))
        if info is not None and key not in plan.writes:
            await self._change(plan, keys.network_path(network), info.revision, {})

    async def _change_interface(
        self, plan: Plan, snapshot: ClusterSnapshot, old: NetworkInterfaceInfo, changes: ValueChanges
    ) -> None:
        name = changes.get("Name")
        if name is not None:
            self._rename(plan, "netinterface", old.id, old.name, str(name.data))
        await self._change(plan, keys.network_interface_path(old.id), old.revision, changes)
        network = changes.get("Network")
        if network is not None:
            await self._hold(plan, snapshot, NetworkId(str(network.data)))

    def _rename(self, plan: Plan, kind: str, id_: str, old: str, new: str) -> None:
        if keys.name_index(kind, old) != keys.name_index(kind, new):
            plan.claim_name(kind, new, id_)
            plan.remove(keys.name_index(kind, old))

    async def _remove_interface(self, plan: Plan, info: NetworkInterfaceInfo) -> None:
        await self._remove(plan, keys.network_interface_path(info.id), info.revision)
        plan.remove(keys.name_index("netinterface", info.name))

    async def _remove_network(self, plan: Plan, info: NetworkInfo) -> None:
        await self._remove(plan, keys.network_path(info.id), info.revision)
        plan.remove(keys.name_index("network", info.name))
        for subnet in info.subnets:
            plan.remove(keys.name_index("subnet", subnet))

    async def _remove(self, plan: Plan, path: str, revision: int) -> None:
        key = keys.registry_key(path)
        plan.compares[key] = revision
        plan.remove(key)
        for below in (await self._store.range(key + "/")).records:
            plan.delete(below)


def _name(values: Values) -> str:
    return _text(values, "Name")


def _text(values: Values, name: str) -> str:
    return str(values[name].data)
