"""Operations on group sets, and on what groups wait for when the cluster starts them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.dependencies import (
    Dependency,
    and_also,
    format_dependency,
    parse_dependency,
    renamed,
    resources_of,
    restricted,
)
from quorate.clusapi.errors import CallerError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import GroupId, GroupSetId, ResourceId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_values import Values
from quorate.clusapi.status import Status
from quorate.cluster.group_order import GroupNeeds, GroupOrder
from quorate.database import keys
from quorate.database.administration import random_id
from quorate.database.registry import ValueChanges
from quorate.database.snapshot import DEPENDENCY_EXPRESSION, PROVIDER_SETS, ClusterSnapshot, GroupInfo, GroupSetInfo
from quorate.database.values import RegistryValue
from quorate.engine.group_order import is_online, order_of
from quorate.hosting.registry_properties import from_registry
from quorate.server import lookup, object_codes
from quorate.server.call import Call, done
from quorate.server.controlled_group_sets import group_set_object
from quorate.server.entries import entry
from quorate.server.properties.group_set import GROUP_SET_COMMON

GROUPS: Final = "Groups"
Plan = Callable[[ClusterSnapshot], Mapping[str, ValueChanges]]


async def create(call: Call) -> Values:
    """Make an empty set."""
    name, id_ = call.inputs.text("name"), GroupSetId(random_id())
    event = call.event(EventKind.GROUP_SET_ADDED, id_, name, f'group set "{name}" was created')
    await call.services.database.group_sets.create(id_, name, events=(event,))
    return Values({"id": id_, "name": name})


async def get_id(call: Call) -> Values:
    """Find a set."""
    info = _set(call)
    return Values({"id": info.id, "name": info.name})


async def delete(call: Call) -> Values:
    """Delete a set on which nothing depends."""
    info = _set(call)
    event = call.event(EventKind.GROUP_SET_DELETED, info.id, info.name, f'group set "{info.name}" was deleted')
    await call.services.database.group_sets.delete(info.id, events=(event,))
    return done()


# --- Members ---------------------------------------------------------------------------------------------------------


async def add_group(call: Call) -> Values:
    """Put a group that is in no set into one. Raises CallerError 5011 for a group that is in a set."""
    info, group = _set(call), _group(call)
    domains = {
        name: RegistryValue.dword(number)
        for name, key in (("FaultDomain", "fault_domain"), ("UpdateDomain", "update_domain"))
        if (number := call.inputs.optional_number(key)) is not None
    }

    def plan(snapshot: ClusterSnapshot) -> dict[str, ValueChanges]:
        present = snapshot.set_of(group.id)
        if present is not None:
            sentence = f'"{group.name}" is in the group set "{present.name}" already: a group is in one at most'
            raise CallerError(Status.ERROR_OBJECT_IN_LIST, sentence)
        changes = _moved(snapshot, snapshot.group_set(info.id), group)
        return {**changes, keys.group_path(group.id): domains} if domains else changes

    return await _change(call, plan, _set_event(call, info, f'"{group.name}" was put into the group set "{info.name}"'))


async def remove_group(call: Call) -> Values:
    """Take a group out of its set. Raises CallerError 5992 for a group that is in none."""
    group = _group(call)
    info = _set_of(call.snapshot, group)

    def plan(snapshot: ClusterSnapshot) -> dict[str, ValueChanges]:
        present = _set_of(snapshot, group)
        return {keys.group_set_path(present.id): _members(one for one in present.groups if one != group.id)}

    sentence = f'"{group.name}" was taken out of the group set "{info.name}"'
    return await _change(call, plan, _set_event(call, info, sentence))


async def move_group(call: Call) -> Values:
    """Put a group into a set, out of the one that it is in."""
    info, group = _set(call), _group(call)

    def plan(snapshot: ClusterSnapshot) -> dict[str, ValueChanges]:
        return _moved(snapshot, snapshot.group_set(info.id), group)

    return await _change(call, plan, _set_event(call, info, f'"{group.name}" was put into the group set "{info.name}"'))


def _moved(snapshot: ClusterSnapshot, target: GroupSetInfo, group: GroupInfo) -> dict[str, ValueChanges]:
    """The sets after a group was put into one. Raises CallerError 1059."""
    before = snapshot.set_of(group.id)
    if before is not None and before.id == target.id:
        return {}
    left = {} if before is None else {before.id: tuple(one for one in before.groups if one != group.id)}
    members = {**left, target.id: (*target.groups, group.id)}
    order = order_of(snapshot)
    sets = {id_: replace(one, groups=members.get(id_, one.groups)) for id_, one in order.sets.items()}
    replace(order, sets=sets).check()
    return {keys.group_set_path(id_): _members(groups) for id_, groups in members.items()}


# --- What sets and groups wait for -----------------------------------------------------------------------------------


async def add_set_dependency(call: Call) -> Values:
    """Let a set wait for one more."""
    info, provider = _set(call), _provider_set(call)

    def needs(snapshot: ClusterSnapshot) -> Dependency:
        present = snapshot.group_set(info.id).needs
        _check_new(info.name, provider.name, provider.id, present)
        return and_also(present, ResourceId(provider.id))

    return await _set_needs(call, info, needs)


async def set_set_expression(call: Call) -> Values:
    """Set what a set waits for, given as an expression on ids or names."""
    info, text = _set(call), call.inputs.text("expression")

    def needs(snapshot: ClusterSnapshot) -> Dependency:
        return renamed(parse_dependency(text), lambda name: ResourceId(lookup.group_set(snapshot, name).id))

    return await _set_needs(call, info, needs)


async def remove_set_dependency(call: Call) -> Values:
    """Let a set wait for one less. Raises CallerError 5002 when it does not wait for it."""
    info, provider = _set(call), _provider_set(call)
    return await _set_needs(
        call, info, lambda snapshot: _without(info.name, provider.name, provider.id, snapshot.group_set(info.id).needs)
    )


async def add_group_dependency(call: Call) -> Values:
    """Let a group wait for one more."""
    info, provider = _group(call), _provider(call)

    def needs(snapshot: ClusterSnapshot) -> Dependency:
        present = snapshot.group(info.id).needs
        _check_new(info.name, provider.name, provider.id, present)
        return and_also(present, ResourceId(provider.id))

    return await _set_group_needs(call, info, needs)


async def set_group_expression(call: Call) -> Values:
    """Set what a group waits for, given as an expression on ids or names."""
    info, text = _group(call), call.inputs.text("expression")

    def needs(snapshot: ClusterSnapshot) -> Dependency:
        return renamed(parse_dependency(text), lambda name: ResourceId(lookup.group(snapshot, name).id))

    return await _set_group_needs(call, info, needs)


async def remove_group_dependency(call: Call) -> Values:
    """Let a group wait for one less. Raises CallerError 5002 when it does not wait for it."""
    info, provider = _group(call), _provider(call)
    return await _set_group_needs(
        call, info, lambda snapshot: _without(info.name, provider.name, provider.id, snapshot.group(info.id).needs)
    )


async def add_group_to_set_dependency(call: Call) -> Values:
    """Let a group wait for a set."""
    info, provider = _group(call), _provider_set(call)

    def sets(present: tuple[GroupSetId, ...]) -> tuple[GroupSetId, ...]:
        if provider.id in present:
            raise _already(info.name, provider.name)
        return (*present, provider.id)

    return await _set_provider_sets(call, info, f'"{info.name}" waits for the group set "{provider.name}"', sets)


async def remove_group_to_set_dependency(call: Call) -> Values:
    """Let a group not wait for a set any more. Raises CallerError 5002 when it does not."""
    info, provider = _group(call), _provider_set(call)

    def sets(present: tuple[GroupSetId, ...]) -> tuple[GroupSetId, ...]:
        if provider.id not in present:
            raise _not_found(info.name, provider.name)
        return tuple(one for one in present if one != provider.id)

    sentence = f'"{info.name}" no longer waits for the group set "{provider.name}"'
    return await _set_provider_sets(call, info, sentence, sets)


async def _set_needs(call: Call, info: GroupSetInfo, needs: Callable[[ClusterSnapshot], Dependency]) -> Values:
    def plan(snapshot: ClusterSnapshot) -> dict[str, ValueChanges]:
        wanted, order = needs(snapshot), order_of(snapshot)
        replace(order, sets={**order.sets, info.id: replace(order.sets[info.id], needs=wanted)}).check()
        return {keys.group_set_path(info.id): _expression(wanted)}

    names = {id_: one.name for id_, one in call.snapshot.group_sets.items()}
    sentence = _waits(f'the group set "{info.name}"', needs(call.snapshot), names)
    return await _change(call, plan, _set_event(call, info, sentence))


async def _set_group_needs(call: Call, info: GroupInfo, needs: Callable[[ClusterSnapshot], Dependency]) -> Values:
    def plan(snapshot: ClusterSnapshot) -> dict[str, ValueChanges]:
        wanted, order = needs(snapshot), order_of(snapshot)
        _with_needs(order, info.id, replace(order.needs[info.id], groups=wanted)).check()
        return {keys.group_path(info.id): _expression(wanted)}

    names = {id_: one.name for id_, one in call.snapshot.groups.items()}
    sentence = _waits(f'"{info.name}"', needs(call.snapshot), names)
    return await _change(call, plan, call.event(EventKind.GROUP_PROPERTY, info.id, info.name, sentence))


async def _set_provider_sets(
    call: Call, info: GroupInfo, sentence: str, sets: Callable[[tuple[GroupSetId, ...]], tuple[GroupSetId, ...]]
) -> Values:
    def plan(snapshot: ClusterSnapshot) -> dict[str, ValueChanges]:
        wanted, order = sets(snapshot.group(info.id).provider_sets), order_of(snapshot)
        _with_needs(order, info.id, replace(order.needs[info.id], sets=wanted)).check()
        return {keys.group_path(info.id): {PROVIDER_SETS: RegistryValue.multi_sz(*wanted) if wanted else None}}

    return await _change(call, plan, call.event(EventKind.GROUP_PROPERTY, info.id, info.name, sentence))


# --- Control codes and lists -----------------------------------------------------------------------------------------


async def control(call: Call) -> Values:
    """A control code for a set."""
    return await object_codes.answer(call, group_set_object(call, _set(call)))


async def create_enum(call: Call) -> Values:
    """Every set, by name; the type of an entry is the object's number in control codes."""
    sets = call.snapshot.group_sets.values()
    return Values({"entries": tuple(entry(ControlObject.GROUPSET, one.id, one.name) for one in sets)})


async def list_all(call: Call) -> Values:
    """Every set with its groups and what it waits for."""
    return Values({"group_sets": tuple(_described(call.snapshot, one) for one in call.snapshot.group_sets.values())})


def _described(snapshot: ClusterSnapshot, info: GroupSetInfo) -> JsonObject:
    names = {id_: one.name for id_, one in snapshot.group_sets.items()}
    stored, order = from_registry(info.properties), order_of(snapshot)
    return {
        "id": info.id,
        "name": info.name,
        "groups": [snapshot.groups[id_].name for id_ in info.groups],
        "depends_on": _named(info.needs, names),
        "ready": order.sets[info.id].is_ready(lambda id_: is_online(snapshot, id_)),
        "ready_setting": GROUP_SET_COMMON.number(stored, "ReadySetting"),
        "ready_count": GROUP_SET_COMMON.number(stored, "ReadyCount"),
        "ready_delay": GROUP_SET_COMMON.number(stored, "ReadyDelay"),
    }


# --- Parts -----------------------------------------------------------------------------------------------------------


async def _change(call: Call, plan: Plan, event: EventRecord) -> Values:
    await call.services.database.group_sets.change(plan, events=(event,))
    return done()


def _set_event(call: Call, info: GroupSetInfo, sentence: str) -> EventRecord:
    return call.event(EventKind.GROUP_SET_PROPERTY, info.id, info.name, sentence)


def _members(groups: Iterable[GroupId]) -> ValueChanges:
    return {GROUPS: RegistryValue.multi_sz(*groups)}


def _expression(dependency: Dependency) -> ValueChanges:
    text = format_dependency(dependency)
    return {DEPENDENCY_EXPRESSION: RegistryValue.sz(text) if text else None}


def _with_needs(order: GroupOrder, group: GroupId, needs: GroupNeeds) -> GroupOrder:
    return replace(order, needs={**order.needs, group: needs})


def _check_new(name: str, provider: str, id_: str, present: Dependency) -> None:
    if id_ in resources_of(present):
        raise _already(name, provider)


def _without(name: str, provider: str, id_: str, present: Dependency) -> Dependency:
    if id_ not in resources_of(present):
        raise _not_found(name, provider)
    return restricted(present, lambda other: other != id_)


def _already(name: str, provider: str) -> CallerError:
    return CallerError(Status.ERROR_DEPENDENCY_ALREADY_EXISTS, f'"{name}" waits for "{provider}" already')


def _not_found(name: str, provider: str) -> CallerError:
    return CallerError(Status.ERROR_DEPENDENCY_NOT_FOUND, f'"{name}" does not wait for "{provider}"')


def _waits(name: str, needs: Dependency, names: Mapping[GroupId, str] | Mapping[GroupSetId, str]) -> str:
    return f"{name} waits for {_named(needs, names) or 'nothing'}"


def _named(needs: Dependency, names: Mapping[GroupId, str] | Mapping[GroupSetId, str]) -> str:
    by_id = {str(id_): name for id_, name in names.items()}
    return format_dependency(renamed(needs, lambda id_: ResourceId(by_id.get(id_, id_))))


def _set_of(snapshot: ClusterSnapshot, group: GroupInfo) -> GroupSetInfo:
    found = snapshot.set_of(group.id)
    if found is None:
        raise CallerError(Status.ERROR_GROUPSET_NOT_FOUND, f'"{group.name}" is in no group set')
    return found


def _set(call: Call) -> GroupSetInfo:
    return lookup.group_set(call.snapshot, call.inputs.text("group_set"))


def _provider_set(call: Call) -> GroupSetInfo:
    return lookup.group_set(call.snapshot, call.inputs.text("provider_set"))


def _group(call: Call) -> GroupInfo:
    return lookup.group(call.snapshot, call.inputs.text("group"))


def _provider(call: Call) -> GroupInfo:
    return lookup.group(call.snapshot, call.inputs.text("depends_on"))
