"""The methods on nodes. Source: [MS-CMRP] 3.1.4.2, in the order of their opnums."""

from dataclasses import dataclass
from typing import Annotated, Final

from quorate.clusapi.operation_types import Access
from quorate.dcerpc.ndr import HANDLE, U32, ContextHandle
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.method import method
from quorate.mscmrp.shapes import (
    CloseOut,
    ControlIn,
    ControlOut,
    EnumExOut,
    EnumOut,
    HandleIn,
    HandleMaskIn,
    HandleMaskOptionsIn,
    NameAccessIn,
    NameIn,
    NodeControlIn,
    OpenExOut,
    OpenOut,
    StateOut,
    StatusOut,
    TextOut,
)
from quorate.mscmrp.types import TRUTH


@dataclass(frozen=True, slots=True)
class PauseNodeExIn:
    """A node, and whether its groups are to leave it."""

    handle: Annotated[ContextHandle, HANDLE]
    drain_node: Annotated[bool, TRUTH]
    flags: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class PauseNodeWithDrainTargetIn:
    """A node, and where its groups are to go."""

    handle: Annotated[ContextHandle, HANDLE]
    flags: Annotated[int, U32]
    drain_target: Annotated[ContextHandle, HANDLE]


@dataclass(frozen=True, slots=True)
class ResumeNodeExIn:
    """A node, and whether its groups come back: 0 not, 1 at once, 2 by their policy."""

    handle: Annotated[ContextHandle, HANDLE]
    failback_type: Annotated[int, U32]
    reserved: Annotated[int, U32] = 0


_NODE: Final = HandleKind.NODE

GET_NODE_ID: Final = method(48, "GetNodeId", HandleIn, TextOut, _NODE)
OPEN_NODE: Final = method(66, "OpenNode", NameIn, OpenOut, opens=_NODE, access=Access.FULL)
CLOSE_NODE: Final = method(67, "CloseNode", HandleIn, CloseOut, _NODE)
GET_NODE_STATE: Final = method(68, "GetNodeState", HandleIn, StateOut, _NODE)
PAUSE_NODE: Final = method(69, "PauseNode", HandleIn, StatusOut, _NODE, access=Access.FULL)
RESUME_NODE: Final = method(70, "ResumeNode", HandleIn, StatusOut, _NODE, access=Access.FULL)
EVICT_NODE: Final = method(71, "EvictNode", HandleIn, StatusOut, _NODE, access=Access.FULL)
NODE_NODE_CONTROL: Final = method(78, "NodeNodeControl", NodeControlIn, ControlOut, _NODE, _NODE, access=Access.BY_CODE)
NODE_CONTROL: Final = method(79, "NodeControl", ControlIn, ControlOut, _NODE, access=Access.BY_CODE)
CREATE_NODE_ENUM: Final = method(101, "CreateNodeEnum", HandleMaskIn, EnumOut, _NODE)
OPEN_NODE_EX: Final = method(118, "OpenNodeEx", NameAccessIn, OpenExOut, opens=_NODE)
CREATE_NODE_ENUM_EX: Final = method(124, "CreateNodeEnumEx", HandleMaskOptionsIn, EnumExOut, _NODE)
PAUSE_NODE_EX: Final = method(126, "PauseNodeEx", PauseNodeExIn, StatusOut, _NODE, access=Access.FULL)
PAUSE_NODE_WITH_DRAIN_TARGET: Final = method(
    127, "PauseNodeWithDrainTarget", PauseNodeWithDrainTargetIn, StatusOut, _NODE, _NODE, access=Access.FULL
)
RESUME_NODE_EX: Final = method(128, "ResumeNodeEx", ResumeNodeExIn, StatusOut, _NODE, access=Access.FULL)

NODE_METHODS: Final = (
    GET_NODE_ID,
    OPEN_NODE,
    CLOSE_NODE,
    GET_NODE_STATE,
    PAUSE_NODE,
    RESUME_NODE,
    EVICT_NODE,
    NODE_NODE_CONTROL,
    NODE_CONTROL,
    CREATE_NODE_ENUM,
    OPEN_NODE_EX,
    CREATE_NODE_ENUM_EX,
    PAUSE_NODE_EX,
    PAUSE_NODE_WITH_DRAIN_TARGET,
    RESUME_NODE_EX,
)
