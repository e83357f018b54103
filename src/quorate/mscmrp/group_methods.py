"""The methods on groups. Source: [MS-CMRP] 3.1.4.2, in the order of their opnums."""

from dataclasses import dataclass, field
from typing import Annotated, Final

from quorate.clusapi.operation_types import Access
from quorate.dcerpc.ndr import (
    HANDLE,
    U16,
    U32,
    WSTRING,
    ConformantArray,
    ConformantBytes,
    ContextHandle,
    Count,
    Struct,
    Unique,
)
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.method import method
from quorate.mscmrp.shapes import (
    CloseOut,
    ControlIn,
    ControlOut,
    EnumOut,
    HandleContextIn,
    HandleFlagsIn,
    HandleIn,
    HandleMaskIn,
    HandleNameIn,
    NameAccessIn,
    NameIn,
    NodeControlIn,
    OpenExOut,
    OpenOut,
    PropertiesEnumIn,
    StatusOut,
    TextOut,
    TwoHandlesIn,
)
from quorate.mscmrp.types import TEXT, TRUTH, CreateGroupInfo, GroupEnumList


@dataclass(frozen=True, slots=True)
class CreateGroupExIn:
    """A name, and of which type the group is."""

    name: Annotated[str, WSTRING]
    info: Annotated[CreateGroupInfo | None, Unique(Struct(CreateGroupInfo))]


@dataclass(frozen=True, slots=True)
class DeleteGroupIn:
    """A group; ``force`` deletes its resources as well."""

    handle: Annotated[ContextHandle, HANDLE]
    force: Annotated[bool, TRUTH]


@dataclass(frozen=True, slots=True)
class GetGroupStateOut:
    """The state, and the owner."""

    state: Annotated[int, U32] = 0
    node_name: Annotated[str | None, TEXT] = None
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class SetGroupNodeListIn:
    """A group, and the nodes that it prefers: names or ids as MULTI_SZ, in units of UTF-16; None clears the list."""

    handle: Annotated[ContextHandle, HANDLE]
    nodes: Annotated[tuple[int, ...] | None, Unique(ConformantArray(U16, size_is="nodes_size"))]
    nodes_size: Annotated[int, Count(U32, of="nodes")] = field(default=0, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class MoveGroupToNodeExIn:
    """A group, a destination, flags, and a property list."""

    handle: Annotated[ContextHandle, HANDLE]
    node: Annotated[ContextHandle, HANDLE]
    flags: Annotated[int, U32]
    in_buffer: Annotated[bytes, ConformantBytes(size_is="in_size")] = b""
    in_size: Annotated[int, Count(U32, of="in_buffer")] = field(default=0, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class CreateGroupEnumOut:
    """Every group with properties."""

    entries: Annotated[GroupEnumList | None, Unique(Struct(GroupEnumList))] = None
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


_GROUP: Final = HandleKind.GROUP
_NODE: Final = HandleKind.NODE
_ALL: Final = Access.FULL

OPEN_GROUP: Final = method(41, "OpenGroup", NameIn, OpenOut, opens=_GROUP, access=_ALL)
CREATE_GROUP: Final = method(42, "CreateGroup", NameIn, OpenOut, opens=_GROUP, access=_ALL)
DELETE_GROUP: Final = method(43, "DeleteGroup", DeleteGroupIn, StatusOut, _GROUP, access=_ALL)
CLOSE_GROUP: Final = method(44, "CloseGroup", HandleIn, CloseOut, _GROUP)
GET_GROUP_STATE: Final = method(45, "GetGroupState", HandleIn, GetGroupStateOut, _GROUP)
SET_GROUP_NAME: Final = method(46, "SetGroupName", HandleNameIn, StatusOut, _GROUP, access=_ALL)
GET_GROUP_ID: Final = method(47, "GetGroupId", HandleIn, TextOut, _GROUP)
ONLINE_GROUP: Final = method(49, "OnlineGroup", HandleIn, StatusOut, _GROUP, access=_ALL)
OFFLINE_GROUP: Final = method(50, "OfflineGroup", HandleIn, StatusOut, _GROUP, access=_ALL)
MOVE_GROUP: Final = method(51, "MoveGroup", HandleIn, StatusOut, _GROUP, access=_ALL)
MOVE_GROUP_TO_NODE: Final = method(52, "MoveGroupToNode", TwoHandlesIn, StatusOut, _GROUP, _NODE, access=_ALL)
CREATE_GROUP_RESOURCE_ENUM: Final = method(53, "CreateGroupResourceEnum", HandleMaskIn, EnumOut, _GROUP)
SET_GROUP_NODE_LIST: Final = method(54, "SetGroupNodeList", SetGroupNodeListIn, StatusOut, _GROUP, access=_ALL)
NODE_GROUP_CONTROL: Final = method(
    76, "NodeGroupControl", NodeControlIn, ControlOut, _GROUP, _NODE, access=Access.BY_CODE
)
GROUP_CONTROL: Final = method(77, "GroupControl", ControlIn, ControlOut, _GROUP, access=Access.BY_CODE)
OPEN_GROUP_EX: Final = method(119, "OpenGroupEx", NameAccessIn, OpenExOut, opens=_GROUP)
CREATE_GROUP_EX: Final = method(129, "CreateGroupEx", CreateGroupExIn, OpenOut, opens=_GROUP, access=_ALL)
ONLINE_GROUP_EX: Final = method(130, "OnlineGroupEx", HandleContextIn, StatusOut, _GROUP, access=_ALL)
OFFLINE_GROUP_EX: Final = method(131, "OfflineGroupEx", HandleContextIn, StatusOut, _GROUP, access=_ALL)
MOVE_GROUP_EX: Final = method(132, "MoveGroupEx", HandleContextIn, StatusOut, _GROUP, access=_ALL)
MOVE_GROUP_TO_NODE_EX: Final = method(
    133, "MoveGroupToNodeEx", MoveGroupToNodeExIn, StatusOut, _GROUP, _NODE, access=_ALL
)
CANCEL_CLUSTER_GROUP_OPERATION: Final = method(
    134, "CancelClusterGroupOperation", HandleFlagsIn, StatusOut, _GROUP, access=_ALL
)
CREATE_GROUP_ENUM: Final = method(143, "CreateGroupEnum", PropertiesEnumIn, CreateGroupEnumOut, HandleKind.CLUSTER)

GROUP_METHODS: Final = (
    OPEN_GROUP,
    CREATE_GROUP,
    DELETE_GROUP,
    CLOSE_GROUP,
    GET_GROUP_STATE,
    SET_GROUP_NAME,
    GET_GROUP_ID,
    ONLINE_GROUP,
    OFFLINE_GROUP,
    MOVE_GROUP,
    MOVE_GROUP_TO_NODE,
    CREATE_GROUP_RESOURCE_ENUM,
    SET_GROUP_NODE_LIST,
    NODE_GROUP_CONTROL,
    GROUP_CONTROL,
    OPEN_GROUP_EX,
    CREATE_GROUP_EX,
    ONLINE_GROUP_EX,
    OFFLINE_GROUP_EX,
    MOVE_GROUP_EX,
    MOVE_GROUP_TO_NODE_EX,
    CANCEL_CLUSTER_GROUP_OPERATION,
    CREATE_GROUP_ENUM,
)
