"""The methods on group sets, and on what groups and sets depend on.

Source: [MS-CMRP] 3.1.4.2, in the order of their opnums.
"""

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
    EnumOut,
    HandleIn,
    HandleNameIn,
    NameIn,
    NodeControlIn,
    OpenOut,
    StatusOut,
    TwoHandlesIn,
)
from quorate.mscmrp.types import TRUTH


@dataclass(frozen=True, slots=True)
class AddGroupToGroupSetExIn:
    """A set, a group, and the domains in which it stands when ``use_domains`` says so."""

    handle: Annotated[ContextHandle, HANDLE]
    other: Annotated[ContextHandle, HANDLE]
    fault_domain: Annotated[int, U32]
    update_domain: Annotated[int, U32]
    use_domains: Annotated[bool, TRUTH]
    reserved: Annotated[int, U32] = 0


_SET: Final = HandleKind.GROUP_SET
_GROUP: Final = HandleKind.GROUP
_ALL: Final = Access.FULL

CREATE_GROUP_SET: Final = method(163, "CreateGroupSet", NameIn, OpenOut, opens=_SET, access=_ALL)
OPEN_GROUP_SET: Final = method(164, "OpenGroupSet", NameIn, OpenOut, opens=_SET, access=_ALL)
CLOSE_GROUP_SET: Final = method(165, "CloseGroupSet", HandleIn, CloseOut, _SET)
DELETE_GROUP_SET: Final = method(166, "DeleteGroupSet", HandleIn, StatusOut, _SET, access=_ALL)
ADD_GROUP_TO_GROUP_SET: Final = method(167, "AddGroupToGroupSet", TwoHandlesIn, StatusOut, _SET, _GROUP, access=_ALL)
REMOVE_GROUP_FROM_GROUP_SET: Final = method(168, "RemoveGroupFromGroupSet", HandleIn, StatusOut, _GROUP, access=_ALL)
MOVE_GROUP_TO_GROUP_SET: Final = method(169, "MoveGroupToGroupSet", TwoHandlesIn, StatusOut, _SET, _GROUP, access=_ALL)
ADD_GROUP_SET_DEPENDENCY: Final = method(171, "AddGroupSetDependency", TwoHandlesIn, StatusOut, _SET, _SET, access=_ALL)
ADD_GROUP_TO_GROUP_SET_DEPENDENCY: Final = method(
    172, "AddGroupToGroupSetDependency", TwoHandlesIn, StatusOut, _GROUP, _SET, access=_ALL
)
NODE_GROUP_SET_CONTROL: Final = method(
    173, "NodeGroupSetControl", NodeControlIn, ControlOut, _SET, HandleKind.NODE, access=Access.BY_CODE
)
GROUP_SET_CONTROL: Final = method(174, "GroupSetControl", ControlIn, ControlOut, _SET, access=Access.BY_CODE)
SET_GROUP_DEPENDENCY_EXPRESSION: Final = method(
    175, "SetGroupDependencyExpression", HandleNameIn, StatusOut, _GROUP, access=_ALL
)
REMOVE_CLUSTER_GROUP_DEPENDENCY: Final = method(
    176, "RemoveClusterGroupDependency", TwoHandlesIn, StatusOut, _GROUP, _GROUP, access=_ALL
)
SET_GROUP_SET_DEPENDENCY_EXPRESSION: Final = method(
    177, "SetGroupSetDependencyExpression", HandleNameIn, StatusOut, _SET, access=_ALL
)
REMOVE_GROUP_SET_DEPENDENCY: Final = method(
    178, "RemoveGroupSetDependency", TwoHandlesIn, StatusOut, _SET, _SET, access=_ALL
)
REMOVE_CLUSTER_GROUP_TO_GROUP_SET_DEPENDENCY: Final = method(
    179, "RemoveClusterGroupToGroupSetDependency", TwoHandlesIn, StatusOut, _GROUP, _SET, access=_ALL
)
CREATE_GROUP_SET_ENUM: Final = method(180, "CreateGroupSetEnum", HandleIn, EnumOut, HandleKind.CLUSTER)
ADD_GROUP_TO_GROUP_SET_EX: Final = method(
    183, "AddGroupToGroupSetEx", AddGroupToGroupSetExIn, StatusOut, _SET, _GROUP, access=_ALL
)

GROUP_SET_METHODS: Final = (
    CREATE_GROUP_SET,
    OPEN_GROUP_SET,
    CLOSE_GROUP_SET,
    DELETE_GROUP_SET,
    ADD_GROUP_TO_GROUP_SET,
    REMOVE_GROUP_FROM_GROUP_SET,
    MOVE_GROUP_TO_GROUP_SET,
    ADD_GROUP_SET_DEPENDENCY,
    ADD_GROUP_TO_GROUP_SET_DEPENDENCY,
    NODE_GROUP_SET_CONTROL,
    GROUP_SET_CONTROL,
    SET_GROUP_DEPENDENCY_EXPRESSION,
    REMOVE_CLUSTER_GROUP_DEPENDENCY,
    SET_GROUP_SET_DEPENDENCY_EXPRESSION,
    REMOVE_GROUP_SET_DEPENDENCY,
    REMOVE_CLUSTER_GROUP_TO_GROUP_SET_DEPENDENCY,
    CREATE_GROUP_SET_ENUM,
    ADD_GROUP_TO_GROUP_SET_EX,
)
