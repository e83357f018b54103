"""What has happened to objects of the cluster: two snapshots of it compared, told as notices; pure.

Objects whose records have not changed are the same ones in both, so a comparison costs what has changed.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.notifications import (
    ClusterFlag,
    GroupFlag,
    GroupSetFlag,
    NetworkFlag,
    NodeFlag,
    Notice,
    ObjectType,
    ResourceFlag,
    ResourceTypeFlag,
)
from quorate.clusapi.states import GroupState, ResourceState, group_state
from quorate.database import keys
from quorate.database.snapshot import ClusterSnapshot, GroupInfo, GroupSetInfo, ResourceInfo
from quorate.server.registry_notices import KeyChange

K = TypeVar("K")
T = TypeVar("T")
_O: Final = ObjectType


# --- What there is, how it belongs, in which state it is -----------------------------------------------------------


def of_objects(before: ClusterSnapshot, after: ClusterSnapshot) -> Iterator[Notice]:
    """Objects that are new or gone, that belong elsewhere, or are in another state."""
    yield from _of_nodes(before, after)
    yield from _of_groups(before, after)
    yield from _of_resources(before, after)
    yield from _of_group_sets(before, after)
    yield from _of_networks(before, after)
    for type_ in _only_in(after.resource_types, before.resource_types):
        yield Notice(_O.CLUSTER, ClusterFlag.RESOURCE_TYPE_ADDED, "", type_.name, type_.name)
    for type_ in _only_in(before.resource_types, after.resource_types):
        yield Notice(_O.RESOURCE_TYPE, ResourceTypeFlag.DELETED, type_.name, type_.name, type_.name)


def _only_in(one: Mapping[K, T], other: Mapping[K, T]) -> list[T]:
    return [] if one is other else [found for id_, found in one.items() if id_ not in other]


def _changed(before: Mapping[K, T], after: Mapping[K, T]) -> list[K]:
    """What is in both, but not the very same object: who has not written leaves it."""
    if before is after:
        return []
    return [id_ for id_, found in after.items() if before.get(id_, found) is not found]


def _of_nodes(before: ClusterSnapshot, after: ClusterSnapshot) -> Iterator[Notice]:
    for node in _only_in(after.nodes, before.nodes):
        yield Notice(_O.CLUSTER, ClusterFlag.NODE_ADDED, "", node.id, node.name)
    for node in _only_in(before.nodes, after.nodes):
        yield Notice(_O.NODE, NodeFlag.DELETED, node.id, node.id, node.name)


def _of_groups(before: ClusterSnapshot, after: ClusterSnapshot) -> Iterator[Notice]:
    for group in _only_in(after.groups, before.groups):
        yield Notice(_O.CLUSTER, ClusterFlag.GROUP_ADDED, "", group.id, group.name)
        yield from _of_node(NodeFlag.GROUP_GAINED, after, after.owner_of(group.id))
    for group in _only_in(before.groups, after.groups):
        yield _of_group(GroupFlag.DELETED, group)
        yield from _of_node(NodeFlag.GROUP_LOST, before, before.owner_of(group.id))
    for id_ in _changed_groups(before, after):
        old, group = before.groups[id_], after.groups[id_]
        giver, taker = before.owner_of(group.id), after.owner_of(group.id)
        if giver != taker:
            yield _of_group(GroupFlag.OWNER_NODE, group)
            yield from _of_node(NodeFlag.GROUP_LOST, after, giver)
            yield from _of_node(NodeFlag.GROUP_GAINED, after, taker)
        if _group_state(before, old) != _group_state(after, group):
            yield _of_group(GroupFlag.STATE, group)
        if old.preferred_owners != group.preferred_owners:
            yield _of_group(GroupFlag.PREFERRED_OWNERS, group)
        yield from _of_run_state(before, after, group)


def _changed_groups(before: ClusterSnapshot, after: ClusterSnapshot) -> list[GroupId]:
    """The groups that are in both, and of which a record has changed."""
    found = (
        *_changed(before.groups, after.groups),
        *_changed(before.ownership, after.ownership),
        *_changed(before.run, after.run),
    )
    return [id_ for id_ in dict.fromkeys(found) if id_ in before.groups and id_ in after.groups]


def _of_run_state(before: ClusterSnapshot, after: ClusterSnapshot, group: GroupInfo) -> Iterator[Notice]:
    """Properties that the owner writes: of the group, and of a virtual machine."""
    old, new = before.run.get(group.id), after.run.get(group.id)
    if old is new or old is None or new is None:
        return
    was, now = old.value, new.value
    of_group = [(run.persistent_state, run.default_owner, run.status_information) for run in (was, now)]
    if of_group[0] != of_group[1]:
        yield _of_group(GroupFlag.COMMON_PROPERTY, group)
    if was.vm != now.vm and (machine := after.vm_resource(group.id)) is not None:
        yield _of_resource(ResourceFlag.PRIVATE_PROPERTY, machine)


def _of_resources(before: ClusterSnapshot, after: ClusterSnapshot) -> Iterator[Notice]:
    for one in _only_in(after.resources, before.resources):
        yield _in_group(GroupFlag.RESOURCE_ADDED, one.group_id, one)
    for one in _only_in(before.resources, after.resources):
        yield _of_resource(ResourceFlag.DELETED, one)
    members = (one.id for group in _changed_groups(before, after) for one in after.resources_of(group))
    for id_ in dict.fromkeys((*_changed(before.resources, after.resources), *members)):
        if id_ not in before.resources:
            continue
        old, one = before.resources[id_], after.resources[id_]
        if old.group_id != one.group_id:
            yield _of_resource(ResourceFlag.OWNER_GROUP, one)
            yield _in_group(GroupFlag.RESOURCE_LOST, old.group_id, one)
            yield _in_group(GroupFlag.RESOURCE_GAINED, one.group_id, one)
        if _resource_state(before, old) != _resource_state(after, one):
            yield _of_resource(ResourceFlag.STATE, one)
        if old is one:
            continue
        if old.requirement != one.requirement:
            yield _of_resource(ResourceFlag.DEPENDENCIES, one)
            for provider in set(old.dependencies) ^ set(one.dependencies):
                if provider in after.resources:
                    yield _of_resource(ResourceFlag.DEPENDENTS, after.resources[provider])
        if old.possible_owners != one.possible_owners:
            yield _of_resource(ResourceFlag.POSSIBLE_OWNERS, one)


def _of_group_sets(before: ClusterSnapshot, after: ClusterSnapshot) -> Iterator[Notice]:
    for one in _only_in(before.group_sets, after.group_sets):
        yield _of_set(GroupSetFlag.DELETED, one)
    for own in _changed(before.group_sets, after.group_sets):
        old, one = before.group_sets[own], after.group_sets[own]
        for flag, ids in (
            (GroupSetFlag.GROUP_ADDED, set(one.groups) - set(old.groups)),
            (GroupSetFlag.GROUP_REMOVED, set(old.groups) - set(one.groups)),
        ):
            for id_ in sorted(ids):
                group = after.groups.get(id_) or before.groups.get(id_)
                yield Notice(_O.GROUP_SET, flag, one.id, id_, "" if group is None else group.name, one.id)
        if old.needs != one.needs:
            yield _of_set(GroupSetFlag.DEPENDENCIES, one)


def _of_networks(before: ClusterSnapshot, after: ClusterSnapshot) -> Iterator[Notice]:
    for network in _only_in(after.networks, before.networks):
        yield Notice(_O.CLUSTER, ClusterFlag.NETWORK_ADDED, "", network.id, network.name)
    for network in _only_in(before.networks, after.networks):
        yield Notice(_O.NETWORK, NetworkFlag.DELETED, network.id, network.id, network.name)
    for one in _only_in(after.network_interfaces, before.network_interfaces):
        yield Notice(_O.NODE, NodeFlag.NETINTERFACE_ADDED, one.node, one.id, one.name)
    for one in _only_in(before.network_interfaces, after.network_interfaces):
        yield Notice(_O.NETWORK_INTERFACE, NetworkFlag.DELETED, one.id, one.id, one.name)


def _of_node(flag: NodeFlag, snapshot: ClusterSnapshot, node: NodeId | None) -> Iterator[Notice]:
    if node is not None:
        name = snapshot.nodes[node].name if node in snapshot.nodes else node
        yield Notice(_O.NODE, flag, node, node, name)


def _of_group(flag: GroupFlag, group: GroupInfo) -> Notice:
    return Notice(_O.GROUP, flag, group.id, group.id, group.name)


def _of_resource(flag: ResourceFlag, one: ResourceInfo) -> Notice:
    return Notice(_O.RESOURCE, flag, one.id, one.id, one.name, one.group_id, one.type)


def _in_group(flag: GroupFlag, group: str, one: ResourceInfo) -> Notice:
    return Notice(_O.GROUP, flag, group, one.id, one.name, group, one.type)


def _of_set(flag: GroupSetFlag, one: GroupSetInfo) -> Notice:
    return Notice(_O.GROUP_SET, flag, one.id, one.id, one.name)


def _resource_state(snapshot: ClusterSnapshot, one: ResourceInfo) -> int:
    run = snapshot.run.get(one.group_id)
    return ResourceState.OFFLINE if run is None else run.value.resource_states.get(one.id, ResourceState.OFFLINE)


def _group_state(snapshot: ClusterSnapshot, group: GroupInfo) -> GroupState:
    return group_state(ResourceState(_resource_state(snapshot, one)) for one in snapshot.resources_of(group.id))


# --- Properties ----------------------------------------------------------------------------------------------------

_TOLD_OTHERWISE: Final[Mapping[str, frozenset[str]]] = {
    keys.fold(kind): frozenset(map(keys.fold, names))
    for kind, names in {
        keys.NODES: ("Paused",),
        keys.GROUPS: ("Contains", "PreferredOwners"),
        keys.GROUP_SETS: ("Groups", "DependencyExpression"),
        keys.RESOURCES: ("Dependencies", "DependencyExpression", "PossibleOwners"),
    }.items()
}
"""Values that are no properties: a change of them has a flag of its own."""
_PARAMETERS: Final = keys.fold(keys.PARAMETERS)
_COMMON: Final[Mapping[ObjectType, int]] = {
    _O.CLUSTER: ClusterFlag.COMMON_PROPERTY,
    _O.GROUP: GroupFlag.COMMON_PROPERTY,
    _O.RESOURCE: ResourceFlag.COMMON_PROPERTY,
    _O.RESOURCE_TYPE: ResourceTypeFlag.COMMON_PROPERTY,
    _O.NODE: NodeFlag.COMMON_PROPERTY,
    _O.NETWORK: NetworkFlag.COMMON_PROPERTY,
    _O.NETWORK_INTERFACE: NetworkFlag.COMMON_PROPERTY,
    _O.GROUP_SET: GroupSetFlag.COMMON_PROPERTY,
}


def of_properties(after: ClusterSnapshot, changes: Iterable[KeyChange]) -> Iterator[Notice]:
    """Properties that have changed, from the keys that hold them: common ones, and private ones below Parameters."""
    for change in changes:
        parts = [keys.fold(name) for name in keys.split_path(change.path)]
        is_private = len(parts) % 2 == 1 and parts[-1] == _PARAMETERS
        own = parts[:-1] if is_private else parts
        is_new = change.before is None and not is_private  # a new object is told as such
        names = {keys.fold(name) for name in change.changed_values}
        if is_new or change.after is None or not names or len(own) not in (0, 2):
            continue
        if not own:
            yield from _of_cluster(after, names, is_private=is_private)
        elif is_private or names - _TOLD_OTHERWISE.get(own[0], frozenset()):
            yield from _property(after, own[0], own[1], is_private=is_private)


def _of_cluster(after: ClusterSnapshot, names: set[str], *, is_private: bool) -> Iterator[Notice]:
    special = {keys.fold("ClusterName"): ClusterFlag.RENAME, keys.fold("ClusterFunctionalLevel"): ClusterFlag.UPGRADED}
    flags = [ClusterFlag.PRIVATE_PROPERTY] if is_private else [special[name] for name in names if name in special]
    if not is_private and names - special.keys():
        flags.append(ClusterFlag.COMMON_PROPERTY)
    for flag in flags:
        yield Notice(_O.CLUSTER, flag, "", "", after.cluster.name)


def _property(after: ClusterSnapshot, kind: str, id_: str, *, is_private: bool) -> Iterator[Notice]:
    found = _found(after, kind, id_)
    if found is not None:
        type_, own, name, parent, type_name = found
        flag = _COMMON[type_] << is_private  # a private property has the next flag, of every type
        yield Notice(type_, flag, own, own, name, parent, type_name)


def _found(after: ClusterSnapshot, kind: str, id_: str) -> tuple[ObjectType, str, str, str, str] | None:
    """The type of an object, its id and name, its parent and the name of its type; None: it is not there."""
    if kind == keys.fold(keys.RESOURCES):
        one = after.find_resource(id_)
        return None if one is None else (_O.RESOURCE, one.id, one.name, one.group_id, one.type)
    if kind == keys.fold(keys.RESOURCE_TYPES):
        name = next((name for name in after.resource_types if keys.fold(name) == id_), None)
        return None if name is None else (_O.RESOURCE_TYPE, name, name, "", "")
    finders = {
        keys.GROUPS: (_O.GROUP, after.find_group),
        keys.NODES: (_O.NODE, after.find_node),
        keys.NETWORKS: (_O.NETWORK, after.find_network),
        keys.NETWORK_INTERFACES: (_O.NETWORK_INTERFACE, after.find_network_interface),
        keys.GROUP_SETS: (_O.GROUP_SET, after.find_group_set),
    }
    for name, (type_, find) in finders.items():
        if kind == keys.fold(name) and (other := find(id_)) is not None:
            return type_, other.id, other.name, "", ""
    return None


# --- What no record shows ------------------------------------------------------------------------------------------

_STATES: Final[Mapping[str, tuple[ObjectType, int]]] = {
    EventKind.NODE_STATE: (_O.NODE, NodeFlag.STATE),
    EventKind.NODE_PAUSED: (_O.NODE, NodeFlag.STATE),
    EventKind.NODE_RESUMED: (_O.NODE, NodeFlag.STATE),
    EventKind.NETWORK_STATE: (_O.NETWORK, NetworkFlag.STATE),
    EventKind.NETINTERFACE_STATE: (_O.NETWORK_INTERFACE, NetworkFlag.STATE),
}


def of_events(events: Iterable[EventRecord]) -> Iterator[Notice]:
    """States of nodes, networks and interfaces: they follow from leases and probes, and events tell of them."""
    for event in events:
        if event.kind in _STATES:
            type_, flag = _STATES[event.kind]
            yield Notice(type_, flag, event.object_id, event.object_id, event.object_name)
