"""Operations on resources and resource types."""

from quorate.clusapi.dependencies import NO_DEPENDENCY
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import ResourceEnum, ResourceOfflineFlags, ResourceOnlineFlags, ResourceState
from quorate.clusapi.status import Status
from quorate.database.administration import random_id
from quorate.database.snapshot import ResourceInfo
from quorate.database.values import RegistryType, RegistryValue
from quorate.server import lookup, view
from quorate.server.call import Call, done
from quorate.server.entries import fitting
from quorate.server.handlers.groups import offline_context, vm_contexts
from quorate.server.handlers.resource_types import check_can_be_made
from quorate.server.object_codes import control_values

_INTERNAL_BIT = 0x00100000
_SEPARATE_MONITOR = 0x1


async def get_id(call: Call) -> Values:
    """Find a resource."""
    info = _resource(call)
    return Values({"id": info.id, "name": info.name, "type": info.type, "group": info.group_id})


async def get_state(call: Call) -> Values:
    """State, owner and group."""
    info = _resource(call)
    group = call.snapshot.groups.get(info.group_id)
    seen = view.own_view(call, info.group_id)
    return Values(
        {
            "state": seen.resource_state(info).dword,
            "node": lookup.node_name(call.snapshot, call.snapshot.owner_of(info.group_id)),
            "group": "" if group is None else group.name,
        }
    )


async def create(call: Call) -> Values:
    """Add a resource to a group."""
    group = lookup.group(call.snapshot, call.inputs.text("group"))
    type_ = call.snapshot.resource_type(call.inputs.text("type"))
    check_can_be_made(type_)
    name, parameters = call.inputs.text("name"), call.inputs.json("parameters")
    flags = _flags(call, _SEPARATE_MONITOR)
    sentence = f'resource "{name}" of type {type_.name} was added to "{group.name}"'
    resource_id = ResourceId(random_id())
    await call.services.database.create_resource(
        name,
        type_.name,
        group.id,
        resource_id=resource_id,
        properties={"SeparateMonitor": RegistryValue.dword(1)} if flags & _SEPARATE_MONITOR else None,
        parameters={key: _registry_value(key, value) for key, value in parameters.items()},
        events=(call.event(EventKind.RESOURCE_ADDED, resource_id, name, sentence, {"group": group.id}),),
    )
    await call.services.host.wait_requirement(resource_id, NO_DEPENDENCY)  # whoever asks next finds it hosted
    return Values({"id": resource_id, "name": name})


async def delete(call: Call) -> Values:
    """Delete a resource that is offline and that no other depends on."""
    info = _resource(call)
    state = call.services.host.state(info.id)
    if state not in (ResourceState.OFFLINE, ResourceState.FAILED):
        raise RefusalError(
            Status.ERROR_RESOURCE_ONLINE, f'"{info.name}" is {state.name.lower()}; take it offline first'
        )
    deleted = call.event(EventKind.RESOURCE_DELETED, info.id, info.name, f'resource "{info.name}" was deleted')
    await call.services.database.delete_resource(info.id, events=(deleted,))
    return done()


async def online(call: Call) -> Values:
    """Bring it online."""
    return done(await call.services.host.online_resource(_resource(call).id, _flags(call, 0x2F)))


async def offline(call: Call) -> Values:
    """Take it offline; a VM as its OfflineAction or the caller's context says."""
    context = offline_context(vm_contexts(call.inputs.optional_data("in_buffer")))
    return done(await call.services.host.offline_resource(_resource(call).id, _flags(call, 0x7), context))


async def restart(call: Call) -> Values:
    """Take it offline with what depends on it, and bring online again what was. Raises RefusalError 5004, 5023."""
    info, host = _resource(call), call.services.host
    _flags(call, 0)
    if host.state(info.id) is not ResourceState.ONLINE:
        sentence = f'"{info.name}" is {host.state(info.id).name.lower()}: only what is online is restarted'
        raise RefusalError(Status.ERROR_RESOURCE_NOT_ONLINE, sentence)
    members = call.snapshot.resources_of(info.group_id)
    online = [member.id for member in members if host.state(member.id) is ResourceState.ONLINE]
    await host.offline_resource(info.id, ResourceOfflineFlags.DO_NOT_UPDATE_PERSISTENT_STATE)
    await host.wait_settled(info.group_id)
    if host.state(info.id) is not ResourceState.OFFLINE:
        why = host.sentence(info.id) or host.state(info.id).name.lower()
        raise RefusalError(Status.ERROR_INVALID_STATE, f'"{info.name}" did not go offline: {why}')
    again = [id_ for id_ in online if host.state(id_) is ResourceState.OFFLINE]
    flags = ResourceOnlineFlags.DO_NOT_UPDATE_PERSISTENT_STATE
    statuses = [await host.online_resource(id_, flags) for id_ in (info.id, *(id_ for id_ in again if id_ != info.id))]
    return done(max(statuses, key=lambda status: status is Status.ERROR_IO_PENDING))


async def fail(call: Call) -> Values:
    """Treat it as failed."""
    return done(await call.services.host.fail_resource(_resource(call).id))


async def add_node(call: Call) -> Values:
    """Add a possible owner."""
    info, node = _resource(call), lookup.node(call.snapshot, call.inputs.text("node"))
    sentence = f'{node.name} became a possible owner of "{info.name}"'
    event = call.event(EventKind.RESOURCE_PROPERTY, info.id, info.name, sentence, {"added": node.id})
    await call.services.database.add_possible_owner(info.id, node.id, events=(event,))
    return done()


async def remove_node(call: Call) -> Values:
    """Remove a possible owner; what runs there goes on."""
    info, node = _resource(call), lookup.node(call.snapshot, call.inputs.text("node"))
    sentence = f'{node.name} is no longer a possible owner of "{info.name}"'
    event = call.event(EventKind.RESOURCE_PROPERTY, info.id, info.name, sentence, {"removed": node.id})
    await call.services.database.remove_possible_owner(info.id, node.id, events=(event,))
    return done()


async def control(call: Call) -> Values:
    """A control code: the type answers, then the hosting default, then the cluster."""
    info, code = _resource(call), call.inputs.number("control_code")
    if code & _INTERNAL_BIT:
        return _internal(code)
    result = await call.services.host.resource_control(
        info.id, code, call.inputs.optional_data("in_buffer"), call.inputs.optional_number("out_size")
    )
    return control_values(result.status, result.output, result.required, result.sentence)


async def type_control(call: Call) -> Values:
    """A control code of a resource type."""
    type_, code = call.snapshot.resource_type(call.inputs.text("type")), call.inputs.number("control_code")
    if code & _INTERNAL_BIT:
        return _internal(code)
    result = await call.services.host.resource_type_control(
        type_.name, code, call.inputs.optional_data("in_buffer"), call.inputs.optional_number("out_size")
    )
    return control_values(result.status, result.output, result.required, result.sentence)


async def create_enum(call: Call) -> Values:
    """What it depends on, what depends on it, and where it may run."""
    info, mask, snapshot = _resource(call), call.inputs.number("mask"), call.snapshot
    providers = [snapshot.resources[other] for other in info.dependencies if other in snapshot.resources]
    dependents = [other for other in snapshot.resources.values() if info.id in other.dependencies]
    owners = [snapshot.nodes[node] for node in info.possible_owners if node in snapshot.nodes]
    return Values(
        {
            "entries": (
                *fitting(mask, ResourceEnum.DEPENDS, providers),
                *fitting(mask, ResourceEnum.PROVIDES, dependents),
                *fitting(mask, ResourceEnum.NODES, owners),
            )
        }
    )


async def list_all(call: Call) -> Values:
    """Every resource with type, state, group and owner."""
    return Values({"resources": tuple((await view.collect(call)).resources())})


def _internal(code: int) -> Values:
    return control_values(
        Status.ERROR_INVALID_FUNCTION, b"", 0, f"0x{code:08X} is internal: only the cluster itself sends it"
    )


def _registry_value(name: str, value: object) -> RegistryValue:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFFFFFF:
        return RegistryValue(RegistryType.DWORD, value)
    if isinstance(value, str):
        return RegistryValue(RegistryType.SZ, value)
    raise CallerError(Status.ERROR_INVALID_PARAMETER, f"parameters: {name} is neither a text nor an unsigned number")


def _resource(call: Call) -> ResourceInfo:
    return lookup.resource(call.snapshot, call.inputs.text("resource"))


def _flags(call: Call, allowed: int) -> int:
    flags = call.inputs.optional_number("flags") or 0
    if flags & ~allowed & 0xFFFFFFFF:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"flags 0x{flags:X} hold bits that mean nothing here")
    return flags
