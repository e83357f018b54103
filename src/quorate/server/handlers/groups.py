"""Operations on groups."""

from collections.abc import Mapping

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import GroupId
from quorate.clusapi.operation_values import Values
from quorate.clusapi.property_lists import parse_property_list
from quorate.clusapi.states import (
    GroupEnum,
    GroupMoveFlags,
    GroupOnlineFlags,
    GroupState,
    GroupType,
    ResourceState,
    VmResdllContext,
)
from quorate.clusapi.status import Status
from quorate.database.administration import random_id
from quorate.database.snapshot import TYPE_VIRTUAL_MACHINE, GroupInfo
from quorate.server import lookup, object_codes, view
from quorate.server.call import Call, done
from quorate.server.controlled import group_object
from quorate.server.controlled_group_sets import provider_codes
from quorate.server.entries import fitting


async def get_id(call: Call) -> Values:
    """Find a group."""
    info = _group(call)
    return Values({"id": info.id, "name": info.name})


async def get_state(call: Call) -> Values:
    """State and owner."""
    info = _group(call)
    owner = call.snapshot.owner_of(info.id)
    seen = view.own_view(call, info.id)
    return Values({"state": seen.group_state(info).dword, "node": lookup.node_name(call.snapshot, owner)})


async def create(call: Call) -> Values:
    """Make an empty group, owned by the node that was asked."""
    name, type_ = call.inputs.text("name"), call.inputs.optional_number("group_type")
    group_type = int(GroupType.UNKNOWN) if type_ is None else type_
    database, node = call.services.database, call.services.node_id
    group_id = GroupId(random_id())
    added = call.event(EventKind.GROUP_ADDED, group_id, name, f'group "{name}" was created')
    await database.create_group(name, group_type, node, group_id=group_id, events=(added,))
    return Values({"id": group_id, "name": name})


async def delete(call: Call) -> Values:
    """Delete an empty group; by force with all that it holds, as DestroyClusterGroup does."""
    info = _group(call)
    if info.group_type == GroupType.CORE_CLUSTER:
        raise RefusalError(Status.ERROR_CORE_RESOURCE, f'"{info.name}" is the cluster\'s own: it stays')
    if info.resources and call.inputs.flag("force"):
        _check_all_off(call, info)
        if call.snapshot.vm_resource(info.id) is not None:
            return await call.again("DeleteVirtualMachine", Values({"vm": info.id}))
    elif info.resources:
        raise RefusalError(
            Status.ERROR_DIR_NOT_EMPTY,
            f'"{info.name}" holds {len(info.resources)} resources; delete them first, or the VM as a whole',
        )
    deleted = call.event(EventKind.GROUP_DELETED, info.id, info.name, f'group "{info.name}" was deleted')
    await call.services.database.delete_group(info.id, events=(deleted,))
    return done()


def _check_all_off(call: Call, info: GroupInfo) -> None:
    """Refuse with 5019 while a resource of the group is not offline."""
    for member in call.snapshot.resources_of(info.id):
        state = call.services.host.state(member.id)
        if state not in (ResourceState.OFFLINE, ResourceState.FAILED):
            sentence = f'"{member.name}" is {state.name.lower()}; take "{info.name}" offline first'
            raise RefusalError(Status.ERROR_RESOURCE_ONLINE, sentence)


async def online(call: Call) -> Values:
    """Bring every resource online, on another node if the caller says so."""
    info, flags = _group(call), _flags(call, 0xF)
    destination = call.inputs.optional_text("destination")
    if destination is not None:
        node = lookup.node(call.snapshot, destination)
        if node.id != call.services.node_id:
            status = await call.services.move_group(info.id, node.id, GroupMoveFlags.NONE, {}, call.context)
            if status != Status.ERROR_SUCCESS:
                return done(status)
            return await call.again("OnlineGroup", Values({"group": info.id, "flags": flags}))
    status = await call.services.host.online_group(info.id)
    if flags & GroupOnlineFlags.SYNCHRONOUS and status == Status.ERROR_IO_PENDING:
        await call.services.host.wait_settled(info.id)
        seen = view.own_view(call, info.id)
        return done(0 if seen.group_state(info) is GroupState.ONLINE else Status.ERROR_RESOURCE_FAILED)
    return done(status)


async def offline(call: Call) -> Values:
    """Take every resource offline; a VM as its OfflineAction or the caller's context says."""
    info = _group(call)
    _flags(call, 0x1)
    context = vm_contexts(call.inputs.optional_data("in_buffer"))
    return done(await call.services.host.offline_group(info.id, vm_context=offline_context(context)))


async def move(call: Call) -> Values:
    """Move it to another node; 997 when that is under way."""
    info = _group(call)
    flags = GroupMoveFlags(_flags(call, 0x3F))
    destination = call.inputs.optional_text("destination")
    node = None if destination is None else lookup.node(call.snapshot, destination)
    contexts = vm_contexts(call.inputs.optional_data("in_buffer"))
    if node is not None and node.id == call.services.node_id:
        return done()  # there already
    return done(
        await call.services.move_group(info.id, None if node is None else node.id, flags, contexts, call.context)
    )


async def cancel_operation(call: Call) -> Values:
    """Cancel a move under way."""
    if _flags(call, 0xFFFFFFFF):
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "flags are reserved and must be 0")
    return done(await call.services.cancel_group_operation(_group(call).id, call.context))


async def control(call: Call) -> Values:
    """A control code for a group."""
    info = _group(call)
    provider = provider_codes(call.snapshot, info).get(call.inputs.number("control_code"))
    if provider is not None:  # these two have the numbers of group sets
        return object_codes.fitting_output(call, provider)
    return await object_codes.answer(call, group_object(call, info))


async def set_node_list(call: Call) -> Values:
    """Set the preferred owners, in order; none clears the list."""
    info = _group(call)
    nodes = [lookup.node(call.snapshot, text) for text in call.inputs.ids("nodes")]
    names = ", ".join(node.name for node in nodes)
    sentence = f'"{info.name}" prefers {names}' if nodes else f'"{info.name}" prefers no node'
    before = {"PreferredOwners": list(info.preferred_owners)}
    after = {"PreferredOwners": [node.id for node in nodes]}
    event = call.event(EventKind.GROUP_PROPERTY, info.id, info.name, sentence, after, before)
    await call.services.database.set_preferred_owners(info.id, [node.id for node in nodes], events=(event,))
    return done()


async def create_enum(call: Call) -> Values:
    """The resources that it holds and its preferred owners, in order of preference."""
    info, mask = _group(call), call.inputs.number("mask")
    preferred = [call.snapshot.nodes[node] for node in info.preferred_owners if node in call.snapshot.nodes]
    nodes = tuple(entry for node in preferred for entry in fitting(mask, GroupEnum.NODES, (node,)))
    return Values({"entries": (*fitting(mask, GroupEnum.CONTAINS, call.snapshot.resources_of(info.id)), *nodes)})


async def list_all(call: Call) -> Values:
    """Every group with state, owner and resources."""
    return Values({"groups": tuple((await view.collect(call)).groups())})


def vm_contexts(buffer: bytes | None) -> Mapping[str, int]:
    """Read the property list {resource type name: VM_RESDLL_CONTEXT} of move and offline; none is empty."""
    if not buffer:
        return {}
    contexts: dict[str, int] = {}
    for property_ in parse_property_list(buffer):
        value = property_.value
        if not isinstance(value, int) or not 0 <= value <= VmResdllContext.LIVE_MIGRATION:
            raise CallerError(
                Status.ERROR_INVALID_PARAMETER,
                f'"{property_.name}" is {value!r}, not a VM_RESDLL_CONTEXT (a DWORD from 0 to 4)',
            )
        contexts[property_.name] = value
    return contexts


def offline_context(contexts: Mapping[str, int]) -> VmResdllContext | None:
    """What the context says about taking a VM offline; None: its OfflineAction decides. CallerError 87 for 4."""
    folded = {name.casefold(): value for name, value in contexts.items()}
    context = folded.get(TYPE_VIRTUAL_MACHINE.casefold())
    if context == VmResdllContext.LIVE_MIGRATION:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER, "a VM cannot be live-migrated offline; the context must be 0 to 3"
        )
    return None if context is None else VmResdllContext(context)


def _group(call: Call) -> GroupInfo:
    return lookup.group(call.snapshot, call.inputs.text("group"))


def _flags(call: Call, allowed: int) -> int:
    flags = call.inputs.optional_number("flags") or 0
    if flags & ~allowed & 0xFFFFFFFF:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"flags 0x{flags:X} hold bits that mean nothing here")
    return flags
