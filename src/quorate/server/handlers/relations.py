"""Operations on names, on what resources depend on, and on the group that they are in."""

from quorate.clusapi.dependencies import Dependency, format_dependency, is_met, parse_dependency, renamed
from quorate.clusapi.errors import CallerError, ClusterError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.operation_values import Values
from quorate.clusapi.resource_types import TYPE_NETWORK_NAME
from quorate.clusapi.states import ResourceState
from quorate.clusapi.status import Status
from quorate.database.resource_relations import check_dependency, check_new_dependency, plan_regrouping
from quorate.database.snapshot import ResourceInfo
from quorate.server import lookup
from quorate.server.call import Call, done

_FORCE_TO_SHARED_VOLUMES = 0x1
_OFF = (ResourceState.OFFLINE, ResourceState.FAILED)


async def set_group_name(call: Call) -> Values:
    """Rename a group."""
    info, name = lookup.group(call.snapshot, call.inputs.text("group")), call.inputs.text("name")
    sentence = f'group "{info.name}" is called "{name}" now'
    event = call.event(EventKind.GROUP_PROPERTY, info.id, name, sentence, {"Name": name}, {"Name": info.name})
    await call.services.database.rename_group(info.id, name, events=(event,))
    return done()


async def set_resource_name(call: Call) -> Values:
    """Rename a resource."""
    info, name = _resource(call), call.inputs.text("name")
    sentence = f'resource "{info.name}" is called "{name}" now'
    event = call.event(EventKind.RESOURCE_PROPERTY, info.id, name, sentence, {"Name": name}, {"Name": info.name})
    await call.services.database.rename_resource(info.id, name, events=(event,))
    return done()


async def change_group(call: Call) -> Values:
    """Move a resource with its dependency tree; what runs goes on."""
    if (call.inputs.optional_number("flags") or 0) & ~_FORCE_TO_SHARED_VOLUMES:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "flags: only 1 means something here")
    info, group = _resource(call), lookup.group(call.snapshot, call.inputs.text("group"))
    elsewhere = call.snapshot.owner_of(group.id) != call.snapshot.owner_of(info.group_id)
    if elsewhere and call.services.host.state(info.id) not in _OFF:
        sentence = f'"{info.name}" is not offline, and "{group.name}" is on another node'
        raise RefusalError(Status.ERROR_RESOURCE_ONLINE, sentence)
    moves = plan_regrouping(call.snapshot, info, group)
    names = ", ".join(f'"{item.name}"' for item in moves.resources)
    sentence = f'{names}: from group "{moves.source.name}" into group "{group.name}"'
    event = call.event(
        EventKind.RESOURCE_PROPERTY, info.id, info.name, sentence, {"group": group.id}, {"group": moves.source.id}
    )
    await call.services.change_resource_group(info.id, group.id, (event,))
    return done()


async def add_dependency(call: Call) -> Values:
    """Depend on one more resource."""
    info, provider = _resource(call), _provider(call)
    if info.id == provider.id:  # [MS-CMRP] 3.1.4.2.20; a longer circle is ERROR_CIRCULAR_DEPENDENCY
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f'"{info.name}" cannot depend on itself')
    check_new_dependency(call.snapshot, info, provider)
    _check_running(call, info, provider.id)
    sentence = f'"{info.name}" depends on "{provider.name}"'
    event = call.event(EventKind.RESOURCE_PROPERTY, info.id, info.name, sentence, {"depends_on": provider.id})
    await call.services.database.add_dependency(info.id, provider.id, events=(event,))
    await _until_hosted(call, info.id)
    return done()


async def remove_dependency(call: Call) -> Values:
    """Depend on one resource less."""
    info, provider = _resource(call), _provider(call)
    sentence = f'"{info.name}" no longer depends on "{provider.name}"'
    event = call.event(EventKind.RESOURCE_PROPERTY, info.id, info.name, sentence, before={"depends_on": provider.id})
    await call.services.database.remove_dependency(info.id, provider.id, events=(event,))
    await _until_hosted(call, info.id)
    return done()


async def can_be_dependent(call: Call) -> Values:
    """Say whether a dependency may be added, and why not."""
    try:
        check_new_dependency(call.snapshot, _resource(call), _provider(call))
    except ClusterError as error:
        if error.status == Status.ERROR_RESOURCE_NOT_FOUND:
            raise
        return Values({"status": int(error.status), "sentence": error.sentence})
    return Values({"status": 0, "sentence": None})


async def set_expression(call: Call) -> Values:
    """Set what it depends on, given as an expression on ids or names."""
    info = _resource(call)
    given = parse_dependency(call.inputs.text("expression"))
    dependency = renamed(given, lambda name: lookup.resource(call.snapshot, name).id)
    check_dependency(call.snapshot, info, dependency)
    _check_running(call, info, dependency)
    before, after = format_dependency(info.requirement), format_dependency(dependency)
    names = format_dependency(renamed(dependency, lambda id_: ResourceId(call.snapshot.resources[id_].name)))
    sentence = f'"{info.name}" depends on {names}' if names else f'"{info.name}" depends on nothing'
    event = call.event(
        EventKind.RESOURCE_PROPERTY, info.id, info.name, sentence, {"depends_on": after}, {"depends_on": before}
    )
    await call.services.database.set_dependencies(info.id, dependency, events=(event,))
    await _until_hosted(call, info.id)
    return done()


async def get_network_name(call: Call) -> Values:
    """The name of the nearest "Network Name": itself, or what it depends on. Raises CallerError 5002 without any."""
    info, snapshot = _resource(call), call.snapshot
    waiting, seen = [info.id], set[ResourceId]()
    while waiting:
        provider = snapshot.resources.get(waiting.pop(0))
        if provider is None or provider.id in seen:
            continue
        seen.add(provider.id)
        if provider.type.casefold() == TYPE_NETWORK_NAME.casefold():
            return Values({"name": provider.parameters.text("Name")})
        waiting.extend(provider.dependencies)
    sentence = f'"{info.name}" neither is nor depends on a resource of the type "{TYPE_NETWORK_NAME}"'
    raise CallerError(Status.ERROR_DEPENDENCY_NOT_FOUND, sentence)


async def get_expression(call: Call) -> Values:
    """What it depends on, by ids."""
    return Values({"expression": format_dependency(_resource(call).requirement)})


def _check_running(call: Call, info: ResourceInfo, dependency: Dependency) -> None:
    """Refuse to let what is online depend on what is not: it would be online without what it needs."""
    host = call.services.host
    if host.state(info.id) in _OFF or is_met(dependency, lambda id_: host.state(id_) is ResourceState.ONLINE):
        return
    sentence = f'"{info.name}" is online and what it would depend on is not: bring that online, or this offline, first'
    raise RefusalError(Status.ERROR_RESOURCE_ONLINE, sentence)


async def _until_hosted(call: Call, resource: ResourceId) -> None:
    """Let the host know it before the caller does: what he asks next goes by the new dependencies."""
    requirement = (await call.services.database.snapshot()).resource(resource).requirement
    await call.services.host.wait_requirement(resource, requirement)


def _resource(call: Call) -> ResourceInfo:
    return lookup.resource(call.snapshot, call.inputs.text("resource"))


def _provider(call: Call) -> ResourceInfo:
    return lookup.resource(call.snapshot, call.inputs.text("depends_on"))
