"""The whole cluster at one revision, as immutable typed objects: what every decision looks at.

``SnapshotBuilder`` keeps what it has decoded, so that a change costs only the records it touched.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, TypeVar, cast

from quorate.clusapi.dependencies import Dependency, every, parse_dependency
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.identity import GroupId, NetworkId, NetworkInterfaceId, NodeId, ResourceId, VmId
from quorate.clusapi.states import GroupType, NodeStatus
from quorate.clusapi.status import Status
from quorate.clusapi.versions import LevelRange
from quorate.database import keys
from quorate.database.contract import Change, Record, Snapshot
from quorate.database.credentials import UserRecord
from quorate.database.failover_records import CoordinatorRecord
from quorate.database.levels import level_of, levels_of
from quorate.database.network_objects import NetworkInfo, NetworkInterfaceInfo, Reach, interface_info, network_info
from quorate.database.records import Admission, Lease, NodeFacts, Ownership, RunState, Versioned, check_schema
from quorate.database.values import KeyRecord, RegistryValues

T = TypeVar("T")

DEPENDENCY_EXPRESSION: Final = "DependencyExpression"
"""Value of a resource's key: which of its ``Dependencies`` are alternatives; not there when all are needed."""

TYPE_VIRTUAL_MACHINE: Final = "Virtual Machine"
TYPE_VIRTUAL_MACHINE_CONFIGURATION: Final = "Virtual Machine Configuration"


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """The cluster itself; ``properties`` are all values of its key."""

    name: str
    instance_id: str
    properties: RegistryValues
    revision: int

    @property
    def level(self) -> int:
        """The functional level: what every node understands, and so what may be written."""
        return level_of(self.properties)


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node of the cluster, whether it is up or not."""

    id: NodeId
    name: str
    paused: bool
    properties: RegistryValues
    revision: int

    @property
    def status(self) -> NodeStatus:
        """What the membership says of the node besides its state: the value StatusInformation."""
        return NodeStatus(self.properties.number("StatusInformation"))

    @property
    def levels(self) -> LevelRange:
        """The functional levels that its program knows."""
        return levels_of(self.properties)


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group; ``resources`` in the order in which they were made, ``preferred_owners`` in order of preference."""

    id: GroupId
    name: str
    group_type: int
    resources: tuple[ResourceId, ...]
    preferred_owners: tuple[NodeId, ...]
    properties: RegistryValues
    revision: int

    @property
    def is_virtual_machine(self) -> bool:
        """Answer whether the group is a virtual machine (group type 111)."""
        return self.group_type == GroupType.VIRTUAL_MACHINE


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    """A resource. ``properties`` are the common ones as stored, ``parameters`` the private ones.

    ``possible_owners`` are all nodes unless some were named.
    """

    id: ResourceId
    name: str
    type: str
    group_id: GroupId
    possible_owners: tuple[NodeId, ...]
    dependencies: tuple[ResourceId, ...]
    parameters: RegistryValues
    properties: RegistryValues
    revision: int
    parameters_revision: int

    @property
    def requirement(self) -> Dependency:
        """What must be online before it: all of ``dependencies``, unless an expression says which are alternatives."""
        text = self.properties.text(DEPENDENCY_EXPRESSION)
        if text:
            try:
                return parse_dependency(text)
            except CallerError:  # written past the operations, through the registry: the stricter reading holds
                pass
        return every(self.dependencies)

    @property
    def vm_id(self) -> VmId | None:
        """The VM that the resource stands for, if any."""
        vm_id = self.parameters.text("VmId")
        return VmId(vm_id.lower()) if vm_id else None


@dataclass(frozen=True, slots=True)
class ResourceTypeInfo:
    """A resource type; its properties are the defaults of its resources'."""

    name: str
    properties: RegistryValues
    parameters: RegistryValues
    revision: int


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """The cluster at one revision of the database."""

    revision: int
    cluster: ClusterInfo
    nodes: Mapping[NodeId, NodeInfo]
    groups: Mapping[GroupId, GroupInfo]
    resources: Mapping[ResourceId, ResourceInfo]
    resource_types: Mapping[str, ResourceTypeInfo]  # by name as spelled
    ownership: Mapping[GroupId, Versioned[Ownership]]
    run: Mapping[GroupId, Versioned[RunState]]
    leases: Mapping[NodeId, Versioned[Lease]]
    admissions: Mapping[NodeId, int]  # the revision at which the node was admitted; clusters of older versions lack it
    facts: Mapping[NodeId, Versioned[NodeFacts]]
    users: Mapping[str, Versioned[UserRecord]]  # by their folded names; the same object until one changes
    networks: Mapping[NetworkId, NetworkInfo]
    network_interfaces: Mapping[NetworkInterfaceId, NetworkInterfaceInfo]
    reach: Mapping[NodeId, Versioned[Reach]]
    coordinator: Versioned[CoordinatorRecord] | None

    def find_node(self, id_or_name: str) -> NodeInfo | None:
        """The node with this id, or else with this name, without regard to case."""
        return _find(self.nodes, NodeId(id_or_name), id_or_name, lambda node: node.name)

    def find_group(self, id_or_name: str) -> GroupInfo | None:
        """The group with this id, or else with this name, without regard to case."""
        return _find(self.groups, GroupId(id_or_name.lower()), id_or_name, lambda group: group.name)

    def find_resource(self, id_or_name: str) -> ResourceInfo | None:
        """The resource with this id, or else with this name, without regard to case."""
        return _find(self.resources, ResourceId(id_or_name.lower()), id_or_name, lambda resource: resource.name)

    def find_resource_type(self, name: str) -> ResourceTypeInfo | None:
        """The resource type with this name, without regard to case."""
        return _find(self.resource_types, name, name, lambda type_: type_.name)

    def find_network(self, id_or_name: str) -> NetworkInfo | None:
        """The network with this id, or else with this name, without regard to case."""
        return _find(self.networks, NetworkId(id_or_name.lower()), id_or_name, lambda network: network.name)

    def find_network_interface(self, id_or_name: str) -> NetworkInterfaceInfo | None:
        """The network interface with this id, or else with this name, without regard to case."""
        id_ = NetworkInterfaceId(id_or_name.lower())
        return _find(self.network_interfaces, id_, id_or_name, lambda interface: interface.name)

    def node(self, id_or_name: str) -> NodeInfo:
        """The node. Raises CallerError ERROR_CLUSTER_NODE_NOT_FOUND."""
        return _required(self.find_node(id_or_name), Status.ERROR_CLUSTER_NODE_NOT_FOUND, "node", id_or_name)

    def group(self, id_or_name: str) -> GroupInfo:
        """The group. Raises CallerError ERROR_GROUP_NOT_FOUND."""
        return _required(self.find_group(id_or_name), Status.ERROR_GROUP_NOT_FOUND, "group", id_or_name)

    def resource(self, id_or_name: str) -> ResourceInfo:
        """The resource. Raises CallerError ERROR_RESOURCE_NOT_FOUND."""
        return _required(self.find_resource(id_or_name), Status.ERROR_RESOURCE_NOT_FOUND, "resource", id_or_name)

    def resource_type(self, name: str) -> ResourceTypeInfo:
        """The resource type. Raises CallerError ERROR_CLUSTER_RESOURCE_TYPE_NOT_FOUND."""
        status = Status.ERROR_CLUSTER_RESOURCE_TYPE_NOT_FOUND
        return _required(self.find_resource_type(name), status, "resource type", name)

    def resources_of(self, group: GroupId) -> tuple[ResourceInfo, ...]:
        """The resources of a group, in the order in which they were made; none of a group that is not there."""
        info = self.groups.get(group)
        return tuple(self.resources[id_] for id_ in info.resources if id_ in self.resources) if info else ()

    def groups_of(self, node: NodeId) -> tuple[GroupInfo, ...]:
        """The groups that a node owns."""
        return tuple(
            group for id_, group in self.groups.items() if id_ in self.ownership and self.owner_of(id_) == node
        )

    def owner_of(self, group: GroupId) -> NodeId | None:
        """The node that owns a group."""
        ownership = self.ownership.get(group)
        return ownership.value.holder if ownership else None

    def vm_resource(self, group: GroupId) -> ResourceInfo | None:
        """The "Virtual Machine" resource of a group."""
        return self._resource_of_type(group, TYPE_VIRTUAL_MACHINE)

    def vm_configuration(self, group: GroupId) -> ResourceInfo | None:
        """The "Virtual Machine Configuration" resource of a group."""
        return self._resource_of_type(group, TYPE_VIRTUAL_MACHINE_CONFIGURATION)

    def _resource_of_type(self, group: GroupId, type_name: str) -> ResourceInfo | None:
        wanted = type_name.casefold()
        return next((resource for resource in self.resources_of(group) if resource.type.casefold() == wanted), None)


def _find(objects: Mapping[T, "_I"], id_: T, name: str, name_of: Callable[["_I"], str]) -> "_I | None":
    found = objects.get(id_)
    if found is not None:
        return found
    folded = name.casefold()
    return next((object_ for object_ in objects.values() if name_of(object_).casefold() == folded), None)


_I = TypeVar("_I")


def _required(found: T | None, status: Status, kind: str, name: str) -> T:
    if found is None:
        raise CallerError(status, f"the cluster has no {kind} {name!r}")
    return found


class _Table(Generic[T]):
    """The decoded records under one prefix, by what follows the prefix."""

    def __init__(self, prefix: str, decode: Callable[[bytes], T]) -> None:
        self.prefix = prefix
        self._decode = decode
        self._rows: dict[str, Versioned[T]] = {}
        self.view: Mapping[str, Versioned[T]] = MappingProxyType({})

    def apply(self, change: Change) -> None:
        name = change.key[len(self.prefix) :]
        rows = dict(self._rows)  # snapshots that were handed out keep theirs
        if change.value is None:
            rows.pop(name, None)
        else:
            rows[name] = Versioned(self._decode(change.value), change.revision)
        self._rows = rows
        self.view = MappingProxyType(rows)

    def load(self, records: Iterable[Record]) -> None:
        self._rows = {
            record.key[len(self.prefix) :]: Versioned(self._decode(record.value), record.revision)
            for record in records
            if record.key.startswith(self.prefix)
        }
        self.view = MappingProxyType(self._rows)


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
        keys.REACH,
        keys.COORDINATOR,
        keys.SCHEMA,
    )

    def __init__(self, snapshot: Snapshot) -> None:
        """Begin with the records of ``PREFIXES``. Raises FaultError when one of them cannot be understood."""
        self.revision = snapshot.revision
        self._schema = False
        self._registry = _Table(keys.REGISTRY, KeyRecord.decode)
        self._ownership = _Table(keys.OWNERSHIP, Ownership.decode)
        self._run = _Table(keys.RUN, RunState.decode)
        self._leases = _Table(keys.LEASES, Lease.decode)
        self._admissions = _Table(keys.ADMISSIONS, Admission.decode)
        self._facts = _Table(keys.NODE_FACTS, NodeFacts.decode)
        self._users = _Table(keys.USERS, UserRecord.decode)
        self._reach = _Table(keys.REACH, Reach.decode)
        private = (self._ownership, self._run, self._leases, self._admissions, self._facts, self._users)
        self._coordinator = _Table(keys.COORDINATOR, CoordinatorRecord.decode)  # one record, with an empty name
        self._tables = (self._registry, *private, self._reach, self._coordinator)
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
            ownership=cast("Mapping[GroupId, Versioned[Ownership]]", self._ownership.view),
            run=cast("Mapping[GroupId, Versioned[RunState]]", self._run.view),
            leases=cast("Mapping[NodeId, Versioned[Lease]]", self._leases.view),
            admissions=MappingProxyType({NodeId(id_): row.revision for id_, row in self._admissions.view.items()}),
            facts=cast("Mapping[NodeId, Versioned[NodeFacts]]", self._facts.view),
            users=self._users.view,
            networks=objects.networks,
            network_interfaces=objects.network_interfaces,
            reach=cast("Mapping[NodeId, Versioned[Reach]]", self._reach.view),
            coordinator=self._coordinator.view.get(""),
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


_Tree = Mapping[str, Versioned[KeyRecord]]
_NOTHING: Final = _Objects(ClusterInfo("", "", RegistryValues(), 0), {}, {}, {}, {}, {}, {})


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
    if is_dirty(keys.GROUPS, keys.RESOURCES, keys.NODES):
        # Whose possible owners were not named follows the nodes.
        same = known.resources if tuple(known.nodes) == tuple(nodes) else {}
        resources = {one.id: one for group in groups.values() for one in _resources(tree, group, tuple(nodes), same)}
    return _Objects(
        ClusterInfo(values.text("ClusterName"), values.text("ClusterInstanceID"), values, root.revision),
        MappingProxyType(nodes) if nodes is not known.nodes else known.nodes,
        MappingProxyType(groups) if groups is not known.groups else known.groups,
        MappingProxyType(resources) if resources is not known.resources else known.resources,
        _types(tree) if is_dirty(keys.RESOURCE_TYPES) else known.resource_types,
        _networks(tree) if is_dirty(keys.NETWORKS) else known.networks,
        _interfaces(tree) if is_dirty(keys.NETWORK_INTERFACES) else known.network_interfaces,
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
