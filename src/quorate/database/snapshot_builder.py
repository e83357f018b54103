"""Makes snapshots of the records of the database, and goes on making them as the records change.

What was decoded is kept: a change costs the records that it touched, and objects whose records have not changed are the
same ones in the next snapshot, so that whoever keeps them sees at once that nothing is new.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, TypeVar, cast

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import GroupId, GroupSetId, NetworkId, NetworkInterfaceId, NodeId, ResourceId
from quorate.clusapi.rows import Rows
from quorate.clusapi.states import GroupType
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.accounts import Account
from quorate.database.contract import Change, Record, Snapshot
from quorate.database.credentials import UserRecord
from quorate.database.failover_records import CoordinatorRecord
from quorate.database.move_records import DrainRecord, MoveRecord, QueueTurn
from quorate.database.network_objects import NetworkInfo, NetworkInterfaceInfo, Reach, interface_info, network_info
from quorate.database.records import Admission, Lease, NodeFacts, Ownership, RunState, Versioned, check_schema
from quorate.database.snapshot import (
    ClusterInfo,
    ClusterSnapshot,
    GroupInfo,
    GroupSetInfo,
    NodeInfo,
    ResourceInfo,
    ResourceTypeInfo,
)
from quorate.database.values import KeyRecord, RegistryValues, decode_key

T = TypeVar("T")


class _Table(Generic[T]):
    """The decoded records under one prefix, by what follows the prefix."""

    def __init__(self, prefix: str, decode: Callable[[bytes], T]) -> None:
        self.prefix = prefix
        self._decode = decode
        self.view: Rows[str, Versioned[T]] = Rows()

    def apply(self, change: Change) -> None:
        name = change.key[len(self.prefix) :]
        if change.value is not None:
            self.view = self.view.changed({name: Versioned(self._decode(change.value), change.revision)})
        elif name in self.view:
            self.view = self.view.without(name)

    def load(self, records: Iterable[Record]) -> None:
        rows = {
            record.key[len(self.prefix) :]: Versioned(self._decode(record.value), record.revision)
            for record in records
            if record.key.startswith(self.prefix)
        }
        self.view = Rows(rows)


class SnapshotBuilder:
    """Follows the records of the database and makes snapshots of them."""

    PREFIXES: Final = (
        keys.REGISTRY,
        keys.OWNERSHIP,
        keys.RUN,
        keys.LEASES,
        keys.ADMISSIONS,
        keys.NODE_FACTS,
        keys.USERS,
        keys.ACCOUNTS,
        keys.REACH,
        keys.COORDINATOR,
        keys.MOVES,
        keys.DRAINS,
        keys.QUEUE,
        keys.SCHEMA,
    )

    def __init__(self, snapshot: Snapshot) -> None:
        """Begin with the records of ``PREFIXES``. Raises FaultError when one of them cannot be understood."""
        self.revision = snapshot.revision
        self._schema = False
        self._registry = _Table(keys.REGISTRY, decode_key)
        self._ownership = _Table(keys.OWNERSHIP, Ownership.decode)
        self._run = _Table(keys.RUN, RunState.decode)
        self._leases = _Table(keys.LEASES, Lease.decode)
        self._admissions = _Table(keys.ADMISSIONS, Admission.decode)
        self._facts = _Table(keys.NODE_FACTS, NodeFacts.decode)
        self._users = _Table(keys.USERS, UserRecord.decode)
        self._accounts = _Table(keys.ACCOUNTS, Account.decode)
        self._reach = _Table(keys.REACH, Reach.decode)
        private = (self._ownership, self._run, self._leases, self._admissions, self._facts, self._users)
        self._coordinator = _Table(keys.COORDINATOR, CoordinatorRecord.decode)  # one record, with an empty name
        self._moves = _Table(keys.MOVES, MoveRecord.decode)
        self._drains = _Table(keys.DRAINS, DrainRecord.decode)
        self._turn = _Table(keys.QUEUE, QueueTurn.decode)  # likewise
        queue = (self._moves, self._drains, self._turn)
        self._tables = (self._registry, *private, self._accounts, self._reach, self._coordinator, *queue)
        self._objects: _Objects | None = None
        self._dirty: set[str] = set()  # the parts of the registry that have changed since
        for record in snapshot.records:
            if record.key == keys.SCHEMA:
                check_schema(record.value)
                self._schema = True
        for table in self._tables:
            table.load(snapshot.records)

    def apply(self, changes: Iterable[Change]) -> bool:
        """Take the changes of one revision; answers whether any of them shows in a snapshot."""
        seen = False
        for change in changes:
            self.revision = max(self.revision, change.revision)
            if change.key == keys.SCHEMA:
                if change.value is not None:
                    check_schema(change.value)
                self._schema = change.value is not None
                seen = True
                continue
            for table in self._tables:
                if change.key.startswith(table.prefix):
                    table.apply(change)
                    seen = True
                    if table is self._registry:
                        self._dirty.add(change.key[len(table.prefix) :].partition("/")[0])
        return seen

    def key_values(self, path: str) -> RegistryValues:
        """The values of a registry key; none when there is no such key."""
        row = self._registry.view.get(keys.registry_key(path).removeprefix(keys.REGISTRY))
        return RegistryValues() if row is None else row.value.values

    def key(self, key: str) -> KeyRecord | None:
        """The registry key that the store has under this key; None when it is not there."""
        row = self._registry.view.get(key.removeprefix(keys.REGISTRY))
        return None if row is None else row.value

    def build(self) -> ClusterSnapshot:
        """The cluster as it is now. Raises RefusalError ERROR_CLUSTER_NOT_INSTALLED when none was created here."""
        if not self._schema:
            raise RefusalError(
                Status.ERROR_CLUSTER_NOT_INSTALLED, "this database holds no cluster yet: create one first"
            )
        if self._objects is None or self._dirty:
            self._objects = _build_objects(self._registry.view, self._objects, frozenset(self._dirty))
            self._dirty.clear()
        objects = self._objects
        return ClusterSnapshot(
            revision=self.revision,
            cluster=objects.cluster,
            nodes=objects.nodes,
            groups=objects.groups,
            resources=objects.resources,
            resource_types=objects.resource_types,
            ownership=cast("Rows[GroupId, Versioned[Ownership]]", self._ownership.view),
            run=cast("Rows[GroupId, Versioned[RunState]]", self._run.view),
            leases=cast("Mapping[NodeId, Versioned[Lease]]", self._leases.view),
            admissions=MappingProxyType({NodeId(id_): row.revision for id_, row in self._admissions.view.items()}),
            facts=cast("Mapping[NodeId, Versioned[NodeFacts]]", self._facts.view),
            users=self._users.view,
            accounts=self._accounts.view,
            group_sets=objects.group_sets,
            networks=objects.networks,
            network_interfaces=objects.network_interfaces,
            reach=cast("Mapping[NodeId, Versioned[Reach]]", self._reach.view),
            coordinator=self._coordinator.view.get(""),
            moves=cast("Mapping[GroupId, Versioned[MoveRecord]]", self._moves.view),
            drains=cast("Mapping[NodeId, Versioned[DrainRecord]]", self._drains.view),
            turn=0 if (turn := self._turn.view.get("")) is None else turn.revision,
        )


@dataclass(frozen=True, slots=True)
class _Objects:
    """The part of a snapshot that comes from the registry."""

    cluster: ClusterInfo
    nodes: Mapping[NodeId, NodeInfo]
    groups: Mapping[GroupId, GroupInfo]
    resources: Mapping[ResourceId, ResourceInfo]
    resource_types: Mapping[str, ResourceTypeInfo]
    networks: Mapping[NetworkId, NetworkInfo]
    network_interfaces: Mapping[NetworkInterfaceId, NetworkInterfaceInfo]
    group_sets: Mapping[GroupSetId, GroupSetInfo]


_Tree = Mapping[str, Versioned[KeyRecord]]
_NOTHING: Final = _Objects(ClusterInfo("", "", RegistryValues(), 0), {}, {}, {}, {}, {}, {}, {})


def _build_objects(tree: _Tree, before: _Objects | None, dirty: frozenset[str]) -> _Objects:
    """Make the objects; those of ``before`` stay the same ones unless their part of the registry is ``dirty``."""

    def is_dirty(*paths: str) -> bool:
        return before is None or not dirty.isdisjoint(map(keys.fold, paths))

    known = before or _NOTHING
    root = tree.get("", Versioned(KeyRecord(""), 0))
    values = root.value.values
    nodes, groups, resources = known.nodes, known.groups, known.resources
    if is_dirty(keys.NODES):
        nodes = {node.id: node for node in sorted(_nodes(tree), key=lambda node: (len(node.id), node.id))}
    if is_dirty(keys.GROUPS):
        listed = sorted(_groups(tree, known.groups), key=lambda group: group.name.casefold())
        groups = {group.id: group for group in listed}
    is_same_nodes = tuple(known.nodes) == tuple(nodes)
    if is_dirty(keys.GROUPS, keys.RESOURCES) or not is_same_nodes:
        # Whose possible owners were not named follows the nodes.
        same = known.resources if is_same_nodes else {}
        resources = {one.id: one for group in groups.values() for one in _resources(tree, group, tuple(nodes), same)}
    cluster = known.cluster
    if before is None or cluster.revision != root.revision:
        cluster = ClusterInfo(values.text("ClusterName"), values.text("ClusterInstanceID"), values, root.revision)
    return _Objects(
        cluster,
        MappingProxyType(nodes) if nodes is not known.nodes else known.nodes,
        MappingProxyType(groups) if groups is not known.groups else known.groups,
        MappingProxyType(resources) if resources is not known.resources else known.resources,
        _types(tree) if is_dirty(keys.RESOURCE_TYPES) else known.resource_types,
        _networks(tree) if is_dirty(keys.NETWORKS) else known.networks,
        _interfaces(tree) if is_dirty(keys.NETWORK_INTERFACES) else known.network_interfaces,
        _group_sets(tree, groups) if is_dirty(keys.GROUP_SETS, keys.GROUPS) else known.group_sets,
    )


def _types(tree: _Tree) -> Mapping[str, ResourceTypeInfo]:
    return MappingProxyType(
        {
            key.value.name: ResourceTypeInfo(
                key.value.name, key.value.values, _parameters(tree, path).value, key.revision
            )
            for path, key in _children(tree, keys.RESOURCE_TYPES)
        }
    )


def _group_sets(tree: _Tree, groups: Mapping[GroupId, GroupInfo]) -> Mapping[GroupSetId, GroupSetInfo]:
    found = []
    for _, key in _children(tree, keys.GROUP_SETS):
        values = key.value.values
        members = tuple(GroupId(id_) for id_ in values.texts("Groups") if id_ in groups)
        found.append(GroupSetInfo(GroupSetId(key.value.name), values.text("Name"), members, values, key.revision))
    return MappingProxyType({info.id: info for info in sorted(found, key=lambda info: info.name.casefold())})


def _networks(tree: _Tree) -> Mapping[NetworkId, NetworkInfo]:
    found = (network_info(key) for _, key in _children(tree, keys.NETWORKS))
    return MappingProxyType({info.id: info for info in sorted(found, key=lambda info: info.name.casefold())})


def _interfaces(tree: _Tree) -> Mapping[NetworkInterfaceId, NetworkInterfaceInfo]:
    found = (interface_info(key) for _, key in _children(tree, keys.NETWORK_INTERFACES))
    return MappingProxyType({info.id: info for info in sorted(found, key=lambda info: info.name.casefold())})


def _children(tree: _Tree, parent: str) -> list[tuple[str, Versioned[KeyRecord]]]:
    prefix = keys.fold(parent) + "/"
    return [(path, key) for path, key in tree.items() if path.startswith(prefix) and "/" not in path[len(prefix) :]]


def _parameters(tree: _Tree, path: str) -> Versioned[RegistryValues]:
    found = tree.get(f"{path}/{keys.fold(keys.PARAMETERS)}")
    return Versioned(found.value.values, found.revision) if found else Versioned(RegistryValues(), 0)


def _nodes(tree: _Tree) -> Iterable[NodeInfo]:
    for _, key in _children(tree, keys.NODES):
        values = key.value.values
        paused = values.number("Paused") != 0
        yield NodeInfo(NodeId(key.value.name), values.text("NodeName"), paused, values, key.revision)


def _groups(tree: _Tree, known: Mapping[GroupId, GroupInfo]) -> Iterable[GroupInfo]:
    for _, key in _children(tree, keys.GROUPS):
        before = known.get(GroupId(key.value.name))
        if before is not None and before.revision == key.revision:
            yield before
            continue
        values = key.value.values
        yield GroupInfo(
            id=GroupId(key.value.name),
            name=values.text("Name"),
            group_type=values.number("GroupType", GroupType.UNKNOWN),
            resources=tuple(ResourceId(id_) for id_ in values.texts("Contains")),
            preferred_owners=tuple(NodeId(id_) for id_ in values.texts("PreferredOwners")),
            properties=values,
            revision=key.revision,
        )


def _resources(
    tree: _Tree, group: GroupInfo, all_nodes: tuple[NodeId, ...], known: Mapping[ResourceId, ResourceInfo]
) -> Iterable[ResourceInfo]:
    for id_ in group.resources:
        path = f"{keys.fold(keys.RESOURCES)}/{id_}"
        key = tree.get(path)
        if key is None:
            continue
        values, parameters = key.value.values, _parameters(tree, path)
        before = known.get(id_)
        revisions = (key.revision, parameters.revision, group.id)
        if before is not None and (before.revision, before.parameters_revision, before.group_id) == revisions:
            yield before
            continue
        possible = tuple(NodeId(node) for node in values.texts("PossibleOwners"))
        yield ResourceInfo(
            id=id_,
            name=values.text("Name"),
            type=values.text("Type"),
            group_id=group.id,
            possible_owners=possible if "PossibleOwners" in values else all_nodes,
            dependencies=tuple(ResourceId(other) for other in values.texts("Dependencies")),
            parameters=parameters.value,
            properties=values,
            revision=key.revision,
            parameters_revision=parameters.revision,
        )
