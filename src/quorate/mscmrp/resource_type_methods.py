"""The methods on resource types, which have no handles: a name stands for one.

Source: [MS-CMRP] 3.1.4.2, in the order of their opnums.
"""

from dataclasses import dataclass, field
from typing import Annotated, Final

from quorate.clusapi.operation_types import Access
from quorate.dcerpc.ndr import HANDLE, U32, WSTRING, ConformantBytes, ContextHandle, Count, Unique
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.method import method
from quorate.mscmrp.shapes import ControlOut, EnumOut, NameIn, StatusOut


@dataclass(frozen=True, slots=True)
class CreateResourceTypeIn:
    """A type that shall be known; the intervals of its polls are in milliseconds."""

    name: Annotated[str, WSTRING]
    display_name: Annotated[str, WSTRING]
    dll_name: Annotated[str, WSTRING]
    looks_alive: Annotated[int, U32]
    is_alive: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class CreateResTypeEnumIn:
    """A type, and which kinds of objects to list."""

    name: Annotated[str, WSTRING]
    mask: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class ResourceTypeControlIn:
    """A control code for a type; the handle is the cluster's."""

    handle: Annotated[ContextHandle, HANDLE]
    type_name: Annotated[str, WSTRING]
    control_code: Annotated[int, U32]
    in_buffer: Annotated[bytes | None, Unique(ConformantBytes(size_is="in_size"))]
    in_size: Annotated[int, Count(U32, of="in_buffer")] = field(default=0, kw_only=True, compare=False)
    out_size: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class NodeResourceTypeControlIn:
    """A control code for a type, that a given node shall carry out."""

    handle: Annotated[ContextHandle, HANDLE]
    type_name: Annotated[str, WSTRING]
    host_node: Annotated[ContextHandle, HANDLE]
    control_code: Annotated[int, U32]
    in_buffer: Annotated[bytes | None, Unique(ConformantBytes(size_is="in_size"))]
    in_size: Annotated[int, Count(U32, of="in_buffer")] = field(default=0, kw_only=True, compare=False)
    out_size: Annotated[int, U32]


CREATE_RESOURCE_TYPE: Final = method(26, "CreateResourceType", CreateResourceTypeIn, StatusOut, access=Access.FULL)
DELETE_RESOURCE_TYPE: Final = method(27, "DeleteResourceType", NameIn, StatusOut, access=Access.FULL)
NODE_RESOURCE_TYPE_CONTROL: Final = method(
    74,
    "NodeResourceTypeControl",
    NodeResourceTypeControlIn,
    ControlOut,
    HandleKind.CLUSTER,
    HandleKind.NODE,
    access=Access.BY_CODE,
)
RESOURCE_TYPE_CONTROL: Final = method(
    75, "ResourceTypeControl", ResourceTypeControlIn, ControlOut, HandleKind.CLUSTER, access=Access.BY_CODE
)
CREATE_RES_TYPE_ENUM: Final = method(103, "CreateResTypeEnum", CreateResTypeEnumIn, EnumOut)

RESOURCE_TYPE_METHODS: Final = (
    CREATE_RESOURCE_TYPE,
    DELETE_RESOURCE_TYPE,
    NODE_RESOURCE_TYPE_CONTROL,
    RESOURCE_TYPE_CONTROL,
    CREATE_RES_TYPE_ENUM,
)
