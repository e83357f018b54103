"""The whole cluster at one revision, as immutable typed objects: what every decision looks at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from quorate.clusapi import resource_types
from quorate.clusapi.dependencies import NO_DEPENDENCY, Dependency, every, parse_dependency
from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import GroupId, GroupSetId, NetworkId, NetworkInterfaceId, NodeId, ResourceId, VmId
from quorate.clusapi.rows import Rows
from quorate.clusapi.states import GroupType, NodeStatus
from quorate.clusapi.status import Status
from quorate.clusapi.versions import LevelRange
from quorate.database.accounts import Account
from quorate.database.credentials import UserRecord
from quorate.database.failover_records import CoordinatorRecord
from quorate.database.levels import level_of, levels_of
from quorate.database.move_records import DrainRecord, MoveRecord
from quorate.database.network_objects import NetworkInfo, NetworkInterfaceInfo, Reach
from quorate.database.records import Lease, NodeFacts, Ownership, RunState, Versioned
from quorate.database.values import RegistryValues

T = TypeVar("T")

DEPENDENCY_EXPRESSION: Final = "DependencyExpression"
"""Value of a resource's key: which of its ``Dependencies`` are alternatives; not there when all are needed."""

NAME_RESOURCE: Final = "ClusterNameResource"
"""Value of the cluster's key: the id of the resource "Cluster Name"."""

TYPE_VIRTUAL_MACHINE: Final = resource_types.TYPE_VIRTUAL_MACHINE
TYPE_VIRTUAL_MACHINE_CONFIGURATION: Final = resource_types.TYPE_VIRTUAL_MACHINE_CONFIGURATION


PROVIDER_SETS: Final = "ProviderGroupSets"
"""Value of a group's key: the ids of the group sets that it depends on by itself."""


def _stored_dependency(values: RegistryValues) -> Dependency:
    """The expression in a key's values; one that was written past the operations, and is none, asks nothing."""
    try:
        return parse_dependency(values.text(DEPENDENCY_EXPRESSION))
    except CallerError:
        return NO_DEPENDENCY


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """The cluster itself; ``properties`` are all values of its key."""

    name: str
    instance_id: str
    properties: RegistryValues
    revision: int

    @property
    def name_resource(self) -> ResourceId | None:
        """The resource "Cluster Name"; clusters of older versions lack it until one of their nodes starts anew."""
        text = self.properties.text(NAME_RESOURCE)
        return ResourceId(text.lower()) if text else None

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
        number = self.properties.number("StatusInformation")
        return NodeStatus(number) if number else NodeStatus.NORMAL

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
    def needs(self) -> Dependency:
        """The groups that must be online before it, as an expression on their ids."""
        return _stored_dependency(self.properties)

    @property
    def provider_sets(self) -> tuple[GroupSetId, ...]:
        """The group sets that must be ready before it, besides those that its own set depends on."""
        return tuple(GroupSetId(id_) for id_ in self.properties.texts(PROVIDER_SETS))

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
class GroupSetInfo:
    """A group set; ``groups`` are those that are in it, as far as they are there."""

    id: GroupSetId
    name: str
    groups: tuple[GroupId, ...]
    properties: RegistryValues
    revision: int

    @property
    def needs(self) -> Dependency:
        """The sets that must be ready before it, as an expression on their ids."""
        return _stored_dependency(self.properties)


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
    ownership: Rows[GroupId, Versioned[Ownership]]
    run: Rows[GroupId, Versioned[RunState]]
    leases: Mapping[NodeId, Versioned[Lease]]
    admissions: Mapping[NodeId, int]  # the revision at which the node was admitted; clusters of older versions lack it
    facts: Mapping[NodeId, Versioned[NodeFacts]]
    users: Mapping[str, Versioned[UserRecord]]  # by their folded names; the same object until one changes
    accounts: Mapping[str, Versioned[Account]]  # who has a password; likewise
    group_sets: Mapping[GroupSetId, GroupSetInfo]
    networks: Mapping[NetworkId, NetworkInfo]
    network_interfaces: Mapping[NetworkInterfaceId, NetworkInterfaceInfo]
    reach: Mapping[NodeId, Versioned[Reach]]
    coordinator: Versioned[CoordinatorRecord] | None
    moves: Mapping[GroupId, Versioned[MoveRecord]] = field(default_factory=dict)  # the queue
    drains: Mapping[NodeId, Versioned[DrainRecord]] = field(default_factory=dict)
    turn: int = 0  # the revision of the queue's turn (move_records.py)

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

    def find_group_set(self, id_or_name: str) -> GroupSetInfo | None:
        """The group set with this id, or else with this name, without regard to case."""
        return _find(self.group_sets, GroupSetId(id_or_name.lower()), id_or_name, lambda one: one.name)

    def group_set(self, id_or_name: str) -> GroupSetInfo:
        """The group set. Raises CallerError ERROR_GROUPSET_NOT_FOUND."""
        return _required(self.find_group_set(id_or_name), Status.ERROR_GROUPSET_NOT_FOUND, "group set", id_or_name)

    def set_of(self, group: GroupId) -> GroupSetInfo | None:
        """The group set that a group is in."""
        return next((one for one in self.group_sets.values() if group in one.groups), None)

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

    def is_bare(self, group: GroupInfo) -> bool:
        """Answer whether a group holds nothing that could run: no resource at all, or the cluster's name alone."""
        return all(id_ == self.cluster.name_resource for id_ in group.resources)

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
