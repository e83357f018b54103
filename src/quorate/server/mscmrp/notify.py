"""The methods on notification ports of both generations.

What is told is made by :mod:`quorate.server.notices`. A call that waits ends with 259 when its port is closed or
unblocked.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.events import Change
from quorate.clusapi.notifications import (
    OF_REGISTRY,
    STATES,
    GroupFlag,
    NetworkFlag,
    NodeFlag,
    Notice,
    ObjectType,
    ResourceFlag,
)
from quorate.clusapi.security_descriptors import KeyAccess, sids_of
from quorate.clusapi.status import Status
from quorate.dcerpc.errors import FaultCode, RpcFault
from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp import notify_methods as methods
from quorate.mscmrp.notify_methods import (
    AddNotifyIn,
    AddNotifyKeyIn,
    AddNotifyOut,
    AddNotifyResourceTypeV2In,
    AddNotifyV2In,
    GetNotifyAsyncOut,
    GetNotifyOut,
    GetNotifyV2Out,
    ReAddNotifyIn,
)
from quorate.mscmrp.shapes import CloseOut, HandleIn, NoIn, OpenOut, ReturnOut, StatusOut
from quorate.mscmrp.types import AsyncNotification, Notification, NotificationData, NotifyFilter
from quorate.server.mscmrp.access import GrantedAccess
from quorate.server.mscmrp.binding import Handler, answer, handlers
from quorate.server.mscmrp.calls import WireCall
from quorate.server.mscmrp.handles import (
    OpenCluster,
    OpenGroup,
    OpenGroupSet,
    OpenNetInterface,
    OpenNetwork,
    OpenNode,
    OpenObject,
    OpenResource,
)
from quorate.server.mscmrp.registry import OpenKey
from quorate.server.notification_ports import FirstWish, Indication, NotifyPort, SecondWish

_AT_ONCE: Final = 100
"""Indications of one answer, where several fit into it."""
_FIRST: Final = 1
_SECOND: Final = 2

_TYPES: Final[Mapping[type[OpenObject], ObjectType]] = {
    OpenCluster: ObjectType.CLUSTER,
    OpenGroup: ObjectType.GROUP,
    OpenResource: ObjectType.RESOURCE,
    OpenNode: ObjectType.NODE,
    OpenNetwork: ObjectType.NETWORK,
    OpenNetInterface: ObjectType.NETWORK_INTERFACE,
    OpenGroupSet: ObjectType.GROUP_SET,
    OpenKey: ObjectType.REGISTRY,
}
_STATE_FLAGS: Final[Mapping[ObjectType, int]] = {
    ObjectType.GROUP: GroupFlag.STATE,
    ObjectType.RESOURCE: ResourceFlag.STATE,
    ObjectType.NODE: NodeFlag.STATE,
    ObjectType.NETWORK: NetworkFlag.STATE,
    ObjectType.NETWORK_INTERFACE: NetworkFlag.STATE,
}


@dataclass(frozen=True, slots=True)
class OpenNotifyPort(OpenObject):
    """A handle of a notification port."""

    port: NotifyPort


# --- Ports ---------------------------------------------------------------------------------------------------------


def _creates(generation: int) -> Callable[[WireCall, NoIn], Awaitable[OpenOut]]:
    async def create(wire: WireCall, inputs: NoIn) -> OpenOut:
        port = NotifyPort(generation, sids_of(full_access=wire.caller.full_access))
        return OpenOut(handle=await wire.open_port(port, OpenNotifyPort(GrantedAccess.READ, "", "", port)))

    return create


async def close(wire: WireCall, inputs: HandleIn) -> CloseOut:
    """Close a port; a call that waits ends."""
    await wire.notifications.close(wire.close(inputs.handle, OpenNotifyPort).port)
    return CloseOut()


async def unblock(wire: WireCall, inputs: HandleIn) -> ReturnOut:
    """End the calls that wait at a port."""
    wire.find(inputs.handle, OpenNotifyPort).port.unblock()
    return ReturnOut()


def _port(wire: WireCall, handle: ContextHandle, generation: int) -> NotifyPort:
    port = wire.find(handle, OpenNotifyPort).port
    if port.generation != generation:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            f"the notification port is of version {port.generation}, this call is for those of version {generation}",
        )
    return port


# --- The first generation ------------------------------------------------------------------------------------------


async def add_cluster(wire: WireCall, inputs: AddNotifyIn) -> StatusOut:
    """Hear of all objects; of the registry's root, and of everything below if the filter says so."""
    port = _port(wire, inputs.handle, _FIRST)
    wire.find(inputs.other, OpenCluster)
    subtree = bool(inputs.filter & Change.REGISTRY_SUBTREE)
    wire.notifications.add(port, FirstWish(inputs.key, inputs.filter, ObjectType.CLUSTER, subtree=subtree))
    return StatusOut()


def _adds(kind: type[OpenObject]) -> Callable[[WireCall, AddNotifyIn], Awaitable[AddNotifyOut]]:
    async def add(wire: WireCall, inputs: AddNotifyIn) -> AddNotifyOut:
        port = _port(wire, inputs.handle, _FIRST)
        it = wire.find(inputs.other, kind)
        wire.notifications.add(port, FirstWish(inputs.key, inputs.filter, _TYPES[kind], it.id))
        return AddNotifyOut(wire.notifications.sequence)

    return add


def _adds_again(kind: type[OpenObject]) -> Callable[[WireCall, ReAddNotifyIn], Awaitable[StatusOut]]:
    """A client that comes back is told at once of a state that may be another one since it has heard last."""

    async def add_again(wire: WireCall, inputs: ReAddNotifyIn) -> StatusOut:
        port = _port(wire, inputs.handle, _FIRST)
        it, type_ = wire.find(inputs.other, kind), _TYPES[kind]
        wish = FirstWish(inputs.key, inputs.filter, type_, it.id)
        wire.notifications.add(port, wish)
        state = Notice(type_, _STATE_FLAGS[type_], it.id, it.id, it.name)
        flag = wish.fitting(state) & STATES
        if flag and wire.notifications.has_changed(type_, it.id, inputs.state_sequence):
            port.tell(Indication(inputs.key, flag, state, wire.notifications.sequence))
        return StatusOut()

    return add_again


async def add_key(wire: WireCall, inputs: AddNotifyKeyIn) -> StatusOut:
    """Hear of a key of the registry, and of all below it if that is wanted."""
    port = _port(wire, inputs.handle, _FIRST)
    it = wire.find(inputs.other, OpenKey)
    await wire.ask("OpenKey", {"key": it.id, "access": int(KeyAccess.NOTIFY)}, it)
    subtree = inputs.watch_sub_tree or bool(inputs.filter & Change.REGISTRY_SUBTREE)
    wire.notifications.add(
        port, FirstWish(inputs.key, inputs.filter & OF_REGISTRY, ObjectType.REGISTRY, it.id, subtree)
    )
    return StatusOut()


async def get(wire: WireCall, inputs: HandleIn) -> GetNotifyOut:
    """Wait for the next event."""
    (one,) = await _port(wire, inputs.handle, _FIRST).take(1)
    return GetNotifyOut(one.key, one.flag, one.sequence, one.notice.name)


async def get_async(wire: WireCall, inputs: HandleIn) -> GetNotifyAsyncOut:
    """Wait for events."""
    found = await _port(wire, inputs.handle, _FIRST).take(_AT_ONCE)
    return GetNotifyAsyncOut(tuple(AsyncNotification(one.key, one.flag, one.notice.name) for one in found))


# --- The second generation -----------------------------------------------------------------------------------------


async def add_v2(wire: WireCall, inputs: AddNotifyV2In) -> StatusOut:
    """Hear of one object, or of all objects of a type."""
    port = _port(wire, inputs.handle, _SECOND)
    it = wire.find(inputs.other, OpenObject)
    if type(it) not in _TYPES:
        raise RpcFault(FaultCode.CONTEXT_MISMATCH, "the context handle stands for a port, and no object")
    try:
        wanted = ObjectType(inputs.filter.object_type)
    except ValueError:
        sentence = f"there are no notifications of objects of type {inputs.filter.object_type}"
        raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence) from None
    target = await _target(wire, it, wanted, is_targeted=inputs.is_targeted_at_object)
    wire.notifications.add(port, SecondWish(inputs.key, wanted, inputs.filter.flags, target))
    return StatusOut()


async def _target(wire: WireCall, it: OpenObject, wanted: ObjectType, *, is_targeted: bool) -> str | None:
    if isinstance(it, OpenKey) and wanted is ObjectType.REGISTRY:
        await wire.ask("OpenKey", {"key": it.id, "access": int(KeyAccess.NOTIFY)}, it)
        return it.id
    if not is_targeted or isinstance(it, OpenCluster):
        return None
    if _TYPES.get(type(it)) is not wanted:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            f'"{it.name}" is not an object of the type {wanted.name}: it cannot be a target',
        )
    return it.id


async def add_resource_type(wire: WireCall, inputs: AddNotifyResourceTypeV2In) -> StatusOut:
    """Hear of a resource type."""
    port = _port(wire, inputs.handle, _SECOND)
    found = (await wire.services.database.snapshot()).resource_type(inputs.type_name)
    wire.notifications.add(port, SecondWish(inputs.key, ObjectType.RESOURCE_TYPE, inputs.filter, found.name))
    return StatusOut()


async def get_v2(wire: WireCall, inputs: HandleIn) -> GetNotifyV2Out:
    """Wait for events."""
    found = await _port(wire, inputs.handle, _SECOND).take(_AT_ONCE)
    return GetNotifyV2Out(tuple(map(_notification, found)))


def _notification(one: Indication) -> Notification:
    notice = one.notice
    data = NotificationData(
        NotifyFilter(notice.object_type, one.flag),
        object_id=notice.id,
        parent_id=notice.parent,
        name=notice.name,
        type=notice.type,
    )
    return Notification(one.key, data)


HANDLERS: Final[Mapping[int, Handler]] = handlers(
    answer(methods.CREATE_NOTIFY, _creates(_FIRST)),
    answer(methods.CLOSE_NOTIFY, close),
    answer(methods.ADD_NOTIFY_CLUSTER, add_cluster),
    answer(methods.ADD_NOTIFY_NODE, _adds(OpenNode)),
    answer(methods.ADD_NOTIFY_GROUP, _adds(OpenGroup)),
    answer(methods.ADD_NOTIFY_RESOURCE, _adds(OpenResource)),
    answer(methods.ADD_NOTIFY_KEY, add_key),
    answer(methods.RE_ADD_NOTIFY_NODE, _adds_again(OpenNode)),
    answer(methods.RE_ADD_NOTIFY_GROUP, _adds_again(OpenGroup)),
    answer(methods.RE_ADD_NOTIFY_RESOURCE, _adds_again(OpenResource)),
    answer(methods.GET_NOTIFY, get),
    answer(methods.ADD_NOTIFY_NETWORK, _adds(OpenNetwork)),
    answer(methods.RE_ADD_NOTIFY_NETWORK, _adds_again(OpenNetwork)),
    answer(methods.ADD_NOTIFY_NET_INTERFACE, _adds(OpenNetInterface)),
    answer(methods.RE_ADD_NOTIFY_NET_INTERFACE, _adds_again(OpenNetInterface)),
    answer(methods.UNBLOCK_GET_NOTIFY_CALL, unblock),
    answer(methods.CREATE_NOTIFY_V2, _creates(_SECOND)),
    answer(methods.ADD_NOTIFY_V2, add_v2),
    answer(methods.GET_NOTIFY_V2, get_v2),
    answer(methods.GET_NOTIFY_ASYNC, get_async),
    answer(methods.ADD_NOTIFY_RESOURCE_TYPE_V2, add_resource_type),
)
