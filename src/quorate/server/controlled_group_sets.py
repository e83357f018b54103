"""Group sets as what control codes are sent to, and what a group answers of the sets and groups that it waits for.

The lists that the GET_… codes answer hold names, each ended by a NUL.
"""

from collections.abc import Iterable

from quorate.clusapi import control_codes as codes
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.dependencies import resources_of
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import GroupId, GroupSetId
from quorate.clusapi.property_lists import PropertyFormat, PropertyValue, pack_multi_sz
from quorate.clusapi.states import GroupState, ResourceState, group_state
from quorate.database import keys
from quorate.database.snapshot import ClusterSnapshot, GroupInfo, GroupSetInfo
from quorate.hosting.property_table import with_changes
from quorate.hosting.registry_properties import from_registry
from quorate.server.call import Call
from quorate.server.controlled import KeyWriter
from quorate.server.object_codes import ControlledObject
from quorate.server.properties.group_set import GROUP_SET_COMMON

_PENDING = 0x1
_ONLINE = 0x2


def group_set_object(call: Call, info: GroupSetInfo) -> ControlledObject:
    """A group set."""
    snapshot, path = call.snapshot, keys.group_set_path(info.id)
    shown = {
        "Name": PropertyValue.of(PropertyFormat.SZ, info.name),
        "StatusInformation": PropertyValue.of(PropertyFormat.ULARGE_INTEGER, _status(snapshot, info)),
    }
    providers = [GroupSetId(id_) for id_ in resources_of(info.needs)]
    return ControlledObject(
        kind=ControlObject.GROUPSET,
        id=info.id,
        name=info.name,
        path=path,
        table=GROUP_SET_COMMON,
        common=with_changes(from_registry(info.properties), shown),
        changed=EventKind.GROUP_SET_PROPERTY,
        write=KeyWriter(call, path),
        more={
            codes.CLUSCTL_GROUPSET_GET_GROUPS: pack_multi_sz(snapshot.groups[id_].name for id_ in info.groups),
            codes.CLUSCTL_GROUPSET_GET_PROVIDER_GROUPS: pack_multi_sz(()),  # a set waits for sets only
            codes.CLUSCTL_GROUPSET_GET_PROVIDER_GROUPSETS: _names(snapshot, providers),
        },
    )


def provider_codes(snapshot: ClusterSnapshot, info: GroupInfo) -> dict[int, bytes]:
    """What a group answers to the two codes about what it waits for; their numbers are those of group sets."""
    groups = (GroupId(id_) for id_ in resources_of(info.needs))
    named = [snapshot.groups[id_].name for id_ in groups if id_ in snapshot.groups]
    return {
        codes.CLUSCTL_GROUP_GET_PROVIDER_GROUPS: pack_multi_sz(named),
        codes.CLUSCTL_GROUP_GET_PROVIDER_GROUPSETS: _names(snapshot, info.provider_sets),
    }


def _names(snapshot: ClusterSnapshot, sets: Iterable[GroupSetId]) -> bytes:
    return pack_multi_sz(snapshot.group_sets[id_].name for id_ in sets if id_ in snapshot.group_sets)


def _status(snapshot: ClusterSnapshot, info: GroupSetInfo) -> int:
    """StatusInformation: 1 while groups of it are pending, 2 while some are online."""
    states = [_state(snapshot, id_) for id_ in info.groups]
    return _PENDING * (GroupState.PENDING in states) | _ONLINE * (GroupState.ONLINE in states)


def _state(snapshot: ClusterSnapshot, group: GroupId) -> GroupState:
    run = snapshot.run.get(group)
    if run is None:
        return GroupState.OFFLINE
    members = (run.value.resource_states.get(one.id, ResourceState.OFFLINE) for one in snapshot.resources_of(group))
    return group_state(map(ResourceState, members))
