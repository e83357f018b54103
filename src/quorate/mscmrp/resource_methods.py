"""The methods on resources. Source: [MS-CMRP] 3.1.4.2, in the order of their opnums."""

from dataclasses import dataclass, field
from typing import Annotated, Final

from quorate.clusapi.operation_types import Access
from quorate.dcerpc.ndr import HANDLE, U32, WSTRING, ContextHandle, Struct, Unique
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
from quorate.mscmrp.types import TEXT, ResourceEnumList


@dataclass(frozen=True, slots=True)
class CreateResourceIn:
    """A group, a name, the name of a type; flag 1 asks for a monitor of its own."""

    handle: Annotated[ContextHandle, HANDLE]
    name: Annotated[str, WSTRING]
    type: Annotated[str, WSTRING]
    flags: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class GetResourceStateOut:
    """The state, the owner, and the group."""

    state: Annotated[int, U32] = 0
    node_name: Annotated[str | None, TEXT] = None
    group_name: Annotated[str | None, TEXT] = None
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class SetResourceDependencyExpressionIn:
    """A resource, and what it depends on; None is nothing."""

    handle: Annotated[ContextHandle, HANDLE]
    expression: Annotated[str | None, TEXT]


@dataclass(frozen=True, slots=True)
class ChangeCsvStateExIn:
    """A resource, a state, and one of its volumes."""

    handle: Annotated[ContextHandle, HANDLE]
    state: Annotated[int, U32]
    volume_name: Annotated[str, WSTRING]


@dataclass(frozen=True, slots=True)
class CreateResourceEnumOut:
    """Every resource with properties."""

    entries: Annotated[ResourceEnumList | None, Unique(Struct(ResourceEnumList))] = None
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


_RES: Final = HandleKind.RESOURCE
_NODE: Final = HandleKind.NODE
_ALL: Final = Access.FULL

OPEN_RESOURCE: Final = method(8, "OpenResource", NameIn, OpenOut, opens=_RES, access=_ALL)
CREATE_RESOURCE: Final = method(
    9, "CreateResource", CreateResourceIn, OpenOut, HandleKind.GROUP, opens=_RES, access=_ALL
)
DELETE_RESOURCE: Final = method(10, "DeleteResource", HandleIn, StatusOut, _RES, access=_ALL)
CLOSE_RESOURCE: Final = method(11, "CloseResource", HandleIn, CloseOut, _RES)
GET_RESOURCE_STATE: Final = method(12, "GetResourceState", HandleIn, GetResourceStateOut, _RES)
SET_RESOURCE_NAME: Final = method(13, "SetResourceName", HandleNameIn, StatusOut, _RES, access=_ALL)
GET_RESOURCE_ID: Final = method(14, "GetResourceId", HandleIn, TextOut, _RES)
GET_RESOURCE_TYPE: Final = method(15, "GetResourceType", HandleIn, TextOut, _RES)
FAIL_RESOURCE: Final = method(16, "FailResource", HandleIn, StatusOut, _RES, access=_ALL)
ONLINE_RESOURCE: Final = method(17, "OnlineResource", HandleIn, StatusOut, _RES, access=_ALL)
OFFLINE_RESOURCE: Final = method(18, "OfflineResource", HandleIn, StatusOut, _RES, access=_ALL)
ADD_RESOURCE_DEPENDENCY: Final = method(19, "AddResourceDependency", TwoHandlesIn, StatusOut, _RES, _RES, access=_ALL)
REMOVE_RESOURCE_DEPENDENCY: Final = method(
    20, "RemoveResourceDependency", TwoHandlesIn, StatusOut, _RES, _RES, access=_ALL
)
CAN_RESOURCE_BE_DEPENDENT: Final = method(21, "CanResourceBeDependent", TwoHandlesIn, StatusOut, _RES, _RES)
CREATE_RES_ENUM: Final = method(22, "CreateResEnum", HandleMaskIn, EnumOut, _RES)
ADD_RESOURCE_NODE: Final = method(23, "AddResourceNode", TwoHandlesIn, StatusOut, _RES, _NODE, access=_ALL)
REMOVE_RESOURCE_NODE: Final = method(24, "RemoveResourceNode", TwoHandlesIn, StatusOut, _RES, _NODE, access=_ALL)
CHANGE_RESOURCE_GROUP: Final = method(
    25, "ChangeResourceGroup", TwoHandlesIn, StatusOut, _RES, HandleKind.GROUP, access=_ALL
)
NODE_RESOURCE_CONTROL: Final = method(
    72, "NodeResourceControl", NodeControlIn, ControlOut, _RES, _NODE, access=Access.BY_CODE
)
RESOURCE_CONTROL: Final = method(73, "ResourceControl", ControlIn, ControlOut, _RES, access=Access.BY_CODE)
SET_RESOURCE_DEPENDENCY_EXPRESSION: Final = method(
    109, "SetResourceDependencyExpression", SetResourceDependencyExpressionIn, StatusOut, _RES, access=_ALL
)
GET_RESOURCE_DEPENDENCY_EXPRESSION: Final = method(110, "GetResourceDependencyExpression", HandleIn, TextOut, _RES)
GET_RESOURCE_NETWORK_NAME: Final = method(112, "GetResourceNetworkName", HandleIn, TextOut, _RES)
OPEN_RESOURCE_EX: Final = method(120, "OpenResourceEx", NameAccessIn, OpenExOut, opens=_RES)
CHANGE_CSV_STATE: Final = method(123, "ChangeCsvState", HandleFlagsIn, StatusOut, _RES, access=_ALL)
ONLINE_RESOURCE_EX: Final = method(135, "OnlineResourceEx", HandleContextIn, StatusOut, _RES, access=_ALL)
OFFLINE_RESOURCE_EX: Final = method(136, "OfflineResourceEx", HandleContextIn, StatusOut, _RES, access=_ALL)
CREATE_RESOURCE_ENUM: Final = method(
    144, "CreateResourceEnum", PropertiesEnumIn, CreateResourceEnumOut, HandleKind.CLUSTER
)
RESTART_RESOURCE: Final = method(146, "RestartResource", HandleFlagsIn, StatusOut, _RES, access=_ALL)
CHANGE_CSV_STATE_EX: Final = method(182, "ChangeCsvStateEx", ChangeCsvStateExIn, StatusOut, _RES, access=_ALL)

RESOURCE_METHODS: Final = (
    OPEN_RESOURCE,
    CREATE_RESOURCE,
    DELETE_RESOURCE,
    CLOSE_RESOURCE,
    GET_RESOURCE_STATE,
    SET_RESOURCE_NAME,
    GET_RESOURCE_ID,
    GET_RESOURCE_TYPE,
    FAIL_RESOURCE,
    ONLINE_RESOURCE,
    OFFLINE_RESOURCE,
    ADD_RESOURCE_DEPENDENCY,
    REMOVE_RESOURCE_DEPENDENCY,
    CAN_RESOURCE_BE_DEPENDENT,
    CREATE_RES_ENUM,
    ADD_RESOURCE_NODE,
    REMOVE_RESOURCE_NODE,
    CHANGE_RESOURCE_GROUP,
    NODE_RESOURCE_CONTROL,
    RESOURCE_CONTROL,
    SET_RESOURCE_DEPENDENCY_EXPRESSION,
    GET_RESOURCE_DEPENDENCY_EXPRESSION,
    GET_RESOURCE_NETWORK_NAME,
    OPEN_RESOURCE_EX,
    CHANGE_CSV_STATE,
    ONLINE_RESOURCE_EX,
    OFFLINE_RESOURCE_EX,
    CREATE_RESOURCE_ENUM,
    RESTART_RESOURCE,
    CHANGE_CSV_STATE_EX,
)
