"""Values that registry calls set where properties are read from: they have to be what the property may be.

The tables are those by which SET_…_PROPERTIES is checked, with the same statuses: 87 for what is read-only, 13 for a
wrong format or a number out of range. A value that is no property is anybody's own and is not checked.
"""

from collections.abc import Mapping
from typing import Final

from quorate.clusapi.property_lists import Property
from quorate.database import keys, registry_rules
from quorate.database.registry import ValueChanges
from quorate.database.snapshot import TYPE_VIRTUAL_MACHINE, TYPE_VIRTUAL_MACHINE_CONFIGURATION, ClusterSnapshot
from quorate.database.values import RegistryValue
from quorate.hosting.common_properties import RESOURCE_COMMON, TYPE_COMMON
from quorate.hosting.property_table import NO_TABLE, PropertyTable
from quorate.hosting.registry_properties import from_registry
from quorate.migration.migration_networks import check_networks
from quorate.resources.vm_properties import (
    NETWORK_LISTS,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CONFIGURATION,
    VIRTUAL_MACHINE_TYPE,
)
from quorate.server.properties.cluster import CLUSTER_COMMON, check_lease
from quorate.server.properties.group import GROUP_COMMON
from quorate.server.properties.group_set import GROUP_SET_COMMON
from quorate.server.properties.network import NETWORK_COMMON
from quorate.server.properties.network_interface import NETWORK_INTERFACE_COMMON
from quorate.server.properties.node import NODE_COMMON

_COMMON: Final[Mapping[str, PropertyTable]] = {
    keys.fold(kind): table
    for kind, table in {
        keys.NODES: NODE_COMMON,
        keys.GROUPS: GROUP_COMMON,
        keys.GROUP_SETS: GROUP_SET_COMMON,
        keys.RESOURCES: RESOURCE_COMMON,
        keys.RESOURCE_TYPES: TYPE_COMMON,
        keys.NETWORKS: NETWORK_COMMON,
        keys.NETWORK_INTERFACES: NETWORK_INTERFACE_COMMON,
    }.items()
}
_PRIVATE: Final[Mapping[str, PropertyTable]] = {
    keys.fold(TYPE_VIRTUAL_MACHINE): VIRTUAL_MACHINE,
    keys.fold(TYPE_VIRTUAL_MACHINE_CONFIGURATION): VIRTUAL_MACHINE_CONFIGURATION,
}


def check_value(snapshot: ClusterSnapshot, path: str, name: str, value: RegistryValue | None) -> None:
    """Refuse a value that may not be set, or removed where it is None. Raises CallerError: 5, 13, 87."""
    registry_rules.check_value(path, name)
    definition = _table(snapshot, path).find(name)
    if definition is None or (value is None and not definition.read_only):
        return
    found = from_registry({name: RegistryValue.sz("") if value is None else value})
    checked = definition.check(Property(name, (found[name],)))
    if definition.name in NETWORK_LISTS and value is not None:
        known = {network.id: network.name for network in snapshot.networks.values()}
        check_networks(definition.name, str(checked.value), known)


def check_cluster(snapshot: ClusterSnapshot, changes: ValueChanges, shortest_lease: float) -> None:
    """Refuse values of the root key that do not go together. Raises CallerError 87."""
    folded = {keys.fold(name) for name in changes}
    names = [one.name for one in CLUSTER_COMMON.definitions if keys.fold(one.name) in folded]
    check_lease(names, from_registry(snapshot.cluster.properties.changed(changes)), shortest_lease)


def _table(snapshot: ClusterSnapshot, path: str) -> PropertyTable:
    match [keys.fold(part) for part in keys.split_path(path)]:
        case []:
            return CLUSTER_COMMON
        case [kind, _]:
            return _COMMON.get(kind, NO_TABLE)
        case [kind, id_, below] if kind == keys.fold(keys.RESOURCES) and below == keys.fold(keys.PARAMETERS):
            one = snapshot.find_resource(id_)
            return NO_TABLE if one is None else _PRIVATE.get(keys.fold(one.type), NO_TABLE)
        case [kind, id_, below] if kind == keys.fold(keys.RESOURCE_TYPES) and below == keys.fold(keys.PARAMETERS):
            return VIRTUAL_MACHINE_TYPE if id_ == keys.fold(TYPE_VIRTUAL_MACHINE) else NO_TABLE
        case _:
            return NO_TABLE
