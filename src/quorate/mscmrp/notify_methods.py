"""The methods on notification ports of both versions. Source: [MS-CMRP] 3.1.4.2, in the order of their opnums."""

from dataclasses import dataclass, field
from typing import Annotated, Final

from quorate.dcerpc.ndr import HANDLE, U32, U64, WSTRING, ConformantArray, ContextHandle, Count, Struct, Unique
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.method import method
from quorate.mscmrp.shapes import CloseOut, HandleIn, NoIn, OpenOut, ReturnOut, StatusOut
from quorate.mscmrp.types import TEXT, TRUTH, AsyncNotification, Notification, NotifyFilter


@dataclass(frozen=True, slots=True)
class AddNotifyIn:
    """A port, an object, CLUSTER_CHANGE flags, and the number by which the client knows them."""

    handle: Annotated[ContextHandle, HANDLE]
    other: Annotated[ContextHandle, HANDLE]
    filter: Annotated[int, U32]
    key: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class AddNotifyOut:
    """How far the object's events have come."""

    state_sequence: Annotated[int, U32] = 0
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class ReAddNotifyIn:
    """As AddNotify, and how far the object's events had come when they were seen last."""

    handle: Annotated[ContextHandle, HANDLE]
    other: Annotated[ContextHandle, HANDLE]
    filter: Annotated[int, U32]
    key: Annotated[int, U32]
    state_sequence: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class AddNotifyKeyIn:
    """A port and a key of the registry; here the number comes before the flags."""

    handle: Annotated[ContextHandle, HANDLE]
    other: Annotated[ContextHandle, HANDLE]
    key: Annotated[int, U32]
    filter: Annotated[int, U32]
    watch_sub_tree: Annotated[bool, TRUTH]


@dataclass(frozen=True, slots=True)
class GetNotifyOut:
    """One event of a port of version 1."""

    key: Annotated[int, U32] = 0
    filter: Annotated[int, U32] = 0
    state_sequence: Annotated[int, U32] = 0
    name: Annotated[str | None, TEXT] = None
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class AddNotifyV2In:
    """A port of version 2, an object, what of it, and the number by which the client knows it."""

    handle: Annotated[ContextHandle, HANDLE]
    other: Annotated[ContextHandle, HANDLE]
    filter: Annotated[NotifyFilter, Struct(NotifyFilter)]
    key: Annotated[int, U32]
    version: Annotated[int, U32]
    is_targeted_at_object: Annotated[bool, TRUTH]


@dataclass(frozen=True, slots=True)
class AddNotifyResourceTypeV2In:
    """A port of version 2, and what of a resource type."""

    handle: Annotated[ContextHandle, HANDLE]
    filter: Annotated[int, U64]
    key: Annotated[int, U32]
    type_name: Annotated[str, WSTRING]
    version: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class GetNotifyV2Out:
    """The events that a port of version 2 has."""

    notifications: Annotated[
        tuple[Notification, ...] | None, Unique(ConformantArray(Struct(Notification), size_is="count"))
    ] = None
    count: Annotated[int, Count(U32, of="notifications")] = field(default=0, kw_only=True, compare=False)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class GetNotifyAsyncOut:
    """The events that a port of version 1 has."""

    notifications: Annotated[
        tuple[AsyncNotification, ...] | None, Unique(ConformantArray(Struct(AsyncNotification), size_is="count"))
    ] = None
    count: Annotated[int, Count(U32, of="notifications")] = field(default=0, kw_only=True, compare=False)
    status: Annotated[int, U32] = 0


_K: Final = HandleKind
_NOTIFY: Final = HandleKind.NOTIFY

CREATE_NOTIFY: Final = method(55, "CreateNotify", NoIn, OpenOut, opens=_NOTIFY)
CLOSE_NOTIFY: Final = method(56, "CloseNotify", HandleIn, CloseOut, _NOTIFY)
ADD_NOTIFY_CLUSTER: Final = method(57, "AddNotifyCluster", AddNotifyIn, StatusOut, _NOTIFY, _K.CLUSTER)
ADD_NOTIFY_NODE: Final = method(58, "AddNotifyNode", AddNotifyIn, AddNotifyOut, _NOTIFY, _K.NODE)
ADD_NOTIFY_GROUP: Final = method(59, "AddNotifyGroup", AddNotifyIn, AddNotifyOut, _NOTIFY, _K.GROUP)
ADD_NOTIFY_RESOURCE: Final = method(60, "AddNotifyResource", AddNotifyIn, AddNotifyOut, _NOTIFY, _K.RESOURCE)
ADD_NOTIFY_KEY: Final = method(61, "AddNotifyKey", AddNotifyKeyIn, StatusOut, _NOTIFY, _K.KEY)
RE_ADD_NOTIFY_NODE: Final = method(62, "ReAddNotifyNode", ReAddNotifyIn, StatusOut, _NOTIFY, _K.NODE)
RE_ADD_NOTIFY_GROUP: Final = method(63, "ReAddNotifyGroup", ReAddNotifyIn, StatusOut, _NOTIFY, _K.GROUP)
RE_ADD_NOTIFY_RESOURCE: Final = method(64, "ReAddNotifyResource", ReAddNotifyIn, StatusOut, _NOTIFY, _K.RESOURCE)
GET_NOTIFY: Final = method(65, "GetNotify", HandleIn, GetNotifyOut, _NOTIFY, is_blocking=True)
ADD_NOTIFY_NETWORK: Final = method(90, "AddNotifyNetwork", AddNotifyIn, AddNotifyOut, _NOTIFY, _K.NETWORK)
RE_ADD_NOTIFY_NETWORK: Final = method(91, "ReAddNotifyNetwork", ReAddNotifyIn, StatusOut, _NOTIFY, _K.NETWORK)
ADD_NOTIFY_NET_INTERFACE: Final = method(
    99, "AddNotifyNetInterface", AddNotifyIn, AddNotifyOut, _NOTIFY, _K.NET_INTERFACE
)
RE_ADD_NOTIFY_NET_INTERFACE: Final = method(
    100, "ReAddNotifyNetInterface", ReAddNotifyIn, StatusOut, _NOTIFY, _K.NET_INTERFACE
)
UNBLOCK_GET_NOTIFY_CALL: Final = method(107, "UnblockGetNotifyCall", HandleIn, ReturnOut, _NOTIFY)
CREATE_NOTIFY_V2: Final = method(137, "CreateNotifyV2", NoIn, OpenOut, opens=_NOTIFY)
ADD_NOTIFY_V2: Final = method(138, "AddNotifyV2", AddNotifyV2In, StatusOut, _NOTIFY, _K.ANY)
GET_NOTIFY_V2: Final = method(139, "GetNotifyV2", HandleIn, GetNotifyV2Out, _NOTIFY, is_blocking=True)
GET_NOTIFY_ASYNC: Final = method(147, "GetNotifyAsync", HandleIn, GetNotifyAsyncOut, _NOTIFY, is_blocking=True)
ADD_NOTIFY_RESOURCE_TYPE_V2: Final = method(
    155, "AddNotifyResourceTypeV2", AddNotifyResourceTypeV2In, StatusOut, _NOTIFY
)

NOTIFY_METHODS: Final = (
    CREATE_NOTIFY,
    CLOSE_NOTIFY,
    ADD_NOTIFY_CLUSTER,
    ADD_NOTIFY_NODE,
    ADD_NOTIFY_GROUP,
    ADD_NOTIFY_RESOURCE,
    ADD_NOTIFY_KEY,
    RE_ADD_NOTIFY_NODE,
    RE_ADD_NOTIFY_GROUP,
    RE_ADD_NOTIFY_RESOURCE,
    GET_NOTIFY,
    ADD_NOTIFY_NETWORK,
    RE_ADD_NOTIFY_NETWORK,
    ADD_NOTIFY_NET_INTERFACE,
    RE_ADD_NOTIFY_NET_INTERFACE,
    UNBLOCK_GET_NOTIFY_CALL,
    CREATE_NOTIFY_V2,
    ADD_NOTIFY_V2,
    GET_NOTIFY_V2,
    GET_NOTIFY_ASYNC,
    ADD_NOTIFY_RESOURCE_TYPE_V2,
)
