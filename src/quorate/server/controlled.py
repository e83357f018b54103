"""Groups, nodes and the cluster as what control codes are sent to: where each keeps the values of its properties."""

from collections.abc import Mapping, Sequence
from typing import Final

from quorate.clusapi.control_codes import CLUSCTL_CLUSTER_GET_FQDN, ControlObject
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.property_lists import PropertyValue, pack_sz
from quorate.clusapi.versions import API_BUILD
from quorate.database import keys
from quorate.database.group_configuration import GroupConfiguration
from quorate.database.levels import HIGHEST, LEVEL, LOWEST
from quorate.database.snapshot import GroupInfo, NodeInfo
from quorate.hosting.contract import Parameters
from quorate.hosting.property_table import DWORD_MAX, PropertyTable, with_changes
from quorate.hosting.registry_properties import from_registry, to_registry
from quorate.server.call import Call
from quorate.server.movement import status_information
from quorate.server.object_codes import Changes, ControlledObject
from quorate.server.properties.cluster import CLUSTER_COMMON, check_lease
from quorate.server.properties.group import DEFAULT_OWNER, GROUP_COMMON, NAME, PERSISTENT_STATE
from quorate.server.properties.node import NODE_COMMON
from quorate.server.version import API_MAJOR, API_MINOR

_RUN: Final = (PERSISTENT_STATE, DEFAULT_OWNER)


def group_object(call: Call, info: GroupInfo) -> ControlledObject:
    """A group: its key, and its run state, which the owner node alone writes."""
    run = call.snapshot.run.get(info.id)
    live: dict[str, int | str] = {NAME: info.name, "GroupType": int(info.group_type)}
    if run is not None:
        owner = run.value.default_owner
        live["StatusInformation"] = status_information(call.snapshot, info.id)
        live[PERSISTENT_STATE] = int(run.value.persistent_state)
        live[DEFAULT_OWNER] = DWORD_MAX if owner is None else int(owner)

    async def write(changes: Changes, events: Sequence[EventRecord]) -> None:
        await call.services.configure_group(info.id, _configuration(changes), events)

    return ControlledObject(
        kind=ControlObject.GROUP,
        id=info.id,
        name=info.name,
        path=keys.group_path(info.id),
        table=GROUP_COMMON,
        common=_with(GROUP_COMMON, from_registry(info.properties), live),
        changed=EventKind.GROUP_PROPERTY,
        write=write,
    )


def node_object(call: Call, info: NodeInfo) -> ControlledObject:
    """A node."""
    stored = from_registry(info.properties)
    path = keys.node_path(info.id)
    live: dict[str, int | str] = {
        "NodeName": info.name,
        "MajorVersion": API_MAJOR,
        "MinorVersion": API_MINOR,
        "BuildNumber": API_BUILD,
        HIGHEST: info.levels.highest_version,
        LOWEST: info.levels.lowest_version,
        "DynamicWeight": NODE_COMMON.number(stored, "NodeWeight"),  # nothing takes votes away yet
        "StatusInformation": int(info.status),
    }
    return ControlledObject(
        kind=ControlObject.NODE,
        id=info.id,
        name=info.name,
        path=path,
        table=NODE_COMMON,
        common=_with(NODE_COMMON, stored, live),
        changed=EventKind.NODE_PROPERTY,
        write=KeyWriter(call, path),
    )


def cluster_object(call: Call) -> ControlledObject:
    """The cluster itself."""
    info = call.snapshot.cluster
    stored = from_registry(info.properties)
    return ControlledObject(
        kind=ControlObject.CLUSTER,
        id=info.instance_id,
        name=info.name,
        path=keys.CLUSTER,
        table=CLUSTER_COMMON,
        common=_with(CLUSTER_COMMON, stored, {LEVEL: info.level}),
        changed=EventKind.CLUSTER_PROPERTY,
        write=KeyWriter(call, keys.CLUSTER),
        check=lambda changes, values: check_lease(changes, values, call.services.shortest_lease),
        more={CLUSCTL_CLUSTER_GET_FQDN: pack_sz(info.name)},  # it has no name in the DNS, and is in no domain
    )


class KeyWriter:
    """Stores common properties of an object whose key anybody may write."""

    def __init__(self, call: Call, path: str) -> None:
        self._call = call
        self._path = path

    async def __call__(self, changes: Changes, events: Sequence[EventRecord]) -> None:
        """Store checked properties with their event."""
        await self._call.services.database.set_values(self._path, to_registry(changes), events=events)


def _configuration(changes: Changes) -> GroupConfiguration:
    name, persistent, owner = (changes.get(key) for key in (NAME, PERSISTENT_STATE, DEFAULT_OWNER))
    rest = {key: value for key, value in changes.items() if key not in (NAME, *_RUN)}
    return GroupConfiguration(
        values=to_registry(rest),
        name=None if name is None else str(name.value),
        persistent_state=None if persistent is None else persistent.value != 0,
        default_owner=None if owner is None else _node_of(owner),
    )


def _node_of(owner: PropertyValue) -> NodeId:
    """The node of a number; no node is the empty text."""
    return NodeId("" if owner.value == DWORD_MAX else str(owner.value))


def _with(table: PropertyTable, stored: Parameters, live: Mapping[str, int | str]) -> Parameters:
    """The stored values under those that are kept elsewhere."""
    known = {item.name: item.format for item in table.definitions}
    return with_changes(stored, {name: PropertyValue.of(known[name], value) for name, value in live.items()})
