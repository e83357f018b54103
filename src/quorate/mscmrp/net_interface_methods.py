"""The methods on network interfaces. Source: [MS-CMRP] 3.1.4.2, in the order of their opnums."""

from dataclasses import dataclass
from typing import Annotated, Final

from quorate.clusapi.operation_types import Access
from quorate.dcerpc.ndr import HANDLE, WSTRING, ContextHandle
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.method import method
from quorate.mscmrp.shapes import (
    CloseOut,
    ControlIn,
    ControlOut,
    EnumOut,
    HandleIn,
    NameAccessIn,
    NameIn,
    NodeControlIn,
    OpenExOut,
    OpenOut,
    StateOut,
    TextOut,
)


@dataclass(frozen=True, slots=True)
class GetNetInterfaceIn:
    """A node and a network, by name or id."""

    node_name: Annotated[str, WSTRING]
    network_name: Annotated[str, WSTRING]


@dataclass(frozen=True, slots=True)
class CreateNetInterfaceEnumIn:
    """The cluster, a node and a network; an empty name stands for all."""

    handle: Annotated[ContextHandle, HANDLE]
    node_name: Annotated[str, WSTRING]
    network_name: Annotated[str, WSTRING]


_INTERFACE: Final = HandleKind.NET_INTERFACE

OPEN_NET_INTERFACE: Final = method(92, "OpenNetInterface", NameIn, OpenOut, opens=_INTERFACE, access=Access.FULL)
CLOSE_NET_INTERFACE: Final = method(93, "CloseNetInterface", HandleIn, CloseOut, _INTERFACE)
GET_NET_INTERFACE_STATE: Final = method(94, "GetNetInterfaceState", HandleIn, StateOut, _INTERFACE)
GET_NET_INTERFACE: Final = method(95, "GetNetInterface", GetNetInterfaceIn, TextOut)
GET_NET_INTERFACE_ID: Final = method(96, "GetNetInterfaceId", HandleIn, TextOut, _INTERFACE)
NODE_NET_INTERFACE_CONTROL: Final = method(
    97, "NodeNetInterfaceControl", NodeControlIn, ControlOut, _INTERFACE, HandleKind.NODE, access=Access.BY_CODE
)
NET_INTERFACE_CONTROL: Final = method(
    98, "NetInterfaceControl", ControlIn, ControlOut, _INTERFACE, access=Access.BY_CODE
)
OPEN_NET_INTERFACE_EX: Final = method(122, "OpenNetInterfaceEx", NameAccessIn, OpenExOut, opens=_INTERFACE)
CREATE_NET_INTERFACE_ENUM: Final = method(
    181, "CreateNetInterfaceEnum", CreateNetInterfaceEnumIn, EnumOut, HandleKind.CLUSTER
)

NET_INTERFACE_METHODS: Final = (
    OPEN_NET_INTERFACE,
    CLOSE_NET_INTERFACE,
    GET_NET_INTERFACE_STATE,
    GET_NET_INTERFACE,
    GET_NET_INTERFACE_ID,
    NODE_NET_INTERFACE_CONTROL,
    NET_INTERFACE_CONTROL,
    OPEN_NET_INTERFACE_EX,
    CREATE_NET_INTERFACE_ENUM,
)
