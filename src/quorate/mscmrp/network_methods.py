"""The methods on networks. Source: [MS-CMRP] 3.1.4.2, in the order of their opnums."""

from dataclasses import dataclass, field
from typing import Annotated, Final

from quorate.clusapi.operation_types import Access
from quorate.dcerpc.ndr import U32, ConformantArray, Count
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.method import method
from quorate.mscmrp.shapes import (
    CloseOut,
    ControlIn,
    ControlOut,
    EnumOut,
    HandleIn,
    HandleMaskIn,
    HandleNameIn,
    NameAccessIn,
    NameIn,
    NodeControlIn,
    OpenExOut,
    OpenOut,
    StateOut,
    StatusOut,
    TextOut,
)
from quorate.mscmrp.types import TEXT


@dataclass(frozen=True, slots=True)
class SetNetworkPriorityOrderIn:
    """The ids of all networks that the nodes use among themselves, the best one first; 1000 at most."""

    network_count: Annotated[int, Count(U32, of="networks")] = field(default=0, kw_only=True, compare=False)
    networks: Annotated[tuple[str | None, ...], ConformantArray(TEXT, size_is="network_count")]


_NETWORK: Final = HandleKind.NETWORK

OPEN_NETWORK: Final = method(81, "OpenNetwork", NameIn, OpenOut, opens=_NETWORK, access=Access.FULL)
CLOSE_NETWORK: Final = method(82, "CloseNetwork", HandleIn, CloseOut, _NETWORK)
GET_NETWORK_STATE: Final = method(83, "GetNetworkState", HandleIn, StateOut, _NETWORK)
SET_NETWORK_NAME: Final = method(84, "SetNetworkName", HandleNameIn, StatusOut, _NETWORK, access=Access.FULL)
CREATE_NETWORK_ENUM: Final = method(85, "CreateNetworkEnum", HandleMaskIn, EnumOut, _NETWORK)
GET_NETWORK_ID: Final = method(86, "GetNetworkId", HandleIn, TextOut, _NETWORK)
SET_NETWORK_PRIORITY_ORDER: Final = method(
    87, "SetNetworkPriorityOrder", SetNetworkPriorityOrderIn, StatusOut, access=Access.FULL
)
NODE_NETWORK_CONTROL: Final = method(
    88, "NodeNetworkControl", NodeControlIn, ControlOut, _NETWORK, HandleKind.NODE, access=Access.BY_CODE
)
NETWORK_CONTROL: Final = method(89, "NetworkControl", ControlIn, ControlOut, _NETWORK, access=Access.BY_CODE)
OPEN_NETWORK_EX: Final = method(121, "OpenNetworkEx", NameAccessIn, OpenExOut, opens=_NETWORK)

NETWORK_METHODS: Final = (
    OPEN_NETWORK,
    CLOSE_NETWORK,
    GET_NETWORK_STATE,
    SET_NETWORK_NAME,
    CREATE_NETWORK_ENUM,
    GET_NETWORK_ID,
    SET_NETWORK_PRIORITY_ORDER,
    NODE_NETWORK_CONTROL,
    NETWORK_CONTROL,
    OPEN_NETWORK_EX,
)
