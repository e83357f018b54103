"""Inputs and outputs that many methods share.

The first handle is always ``handle``. Sizes that count something else are left out by whoever makes an input.
"""

from dataclasses import dataclass, field
from typing import Annotated

from quorate.dcerpc.ndr import (
    HANDLE,
    NULL_HANDLE,
    U32,
    WSTRING,
    ConformantBytes,
    ConformantVaryingBytes,
    ContextHandle,
    Count,
    Struct,
    Unique,
)
from quorate.mscmrp.types import TEXT, EnumList

# --- Inputs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NoIn:
    """Nothing."""


@dataclass(frozen=True, slots=True)
class NameIn:
    """A name, or an id."""

    name: Annotated[str, WSTRING]


@dataclass(frozen=True, slots=True)
class NameAccessIn:
    """A name, or an id, and what is going to be done with the object."""

    name: Annotated[str, WSTRING]
    desired_access: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class HandleIn:
    """An open object."""

    handle: Annotated[ContextHandle, HANDLE]


@dataclass(frozen=True, slots=True)
class HandleNameIn:
    """An open object and a name."""

    handle: Annotated[ContextHandle, HANDLE]
    name: Annotated[str, WSTRING]


@dataclass(frozen=True, slots=True)
class TwoHandlesIn:
    """Two open objects, in the order of the method's ``takes``."""

    handle: Annotated[ContextHandle, HANDLE]
    other: Annotated[ContextHandle, HANDLE]


@dataclass(frozen=True, slots=True)
class HandleMaskIn:
    """An open object, and which kinds of objects to list."""

    handle: Annotated[ContextHandle, HANDLE]
    mask: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class HandleMaskOptionsIn:
    """An open object, which kinds of objects to list, and options, which must be 0."""

    handle: Annotated[ContextHandle, HANDLE]
    mask: Annotated[int, U32]
    options: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class HandleFlagsIn:
    """An open object and flags."""

    handle: Annotated[ContextHandle, HANDLE]
    flags: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class HandleContextIn:
    """An open object, flags, and a property list; an empty one stands for none."""

    handle: Annotated[ContextHandle, HANDLE]
    flags: Annotated[int, U32]
    in_buffer: Annotated[bytes, ConformantBytes(size_is="in_size")] = b""
    in_size: Annotated[int, Count(U32, of="in_buffer")] = field(default=0, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class ControlIn:
    """A control code for an open object. ``in_buffer`` None is NULL, which differs from empty."""

    handle: Annotated[ContextHandle, HANDLE]
    control_code: Annotated[int, U32]
    in_buffer: Annotated[bytes | None, Unique(ConformantBytes(size_is="in_size"))]
    in_size: Annotated[int, Count(U32, of="in_buffer")] = field(default=0, kw_only=True, compare=False)
    out_size: Annotated[int, U32]
    """Room for the output, in bytes."""


@dataclass(frozen=True, slots=True)
class NodeControlIn:
    """A control code for an open object, that a given node shall carry out."""

    handle: Annotated[ContextHandle, HANDLE]
    host_node: Annotated[ContextHandle, HANDLE]
    control_code: Annotated[int, U32]
    in_buffer: Annotated[bytes | None, Unique(ConformantBytes(size_is="in_size"))]
    in_size: Annotated[int, Count(U32, of="in_buffer")] = field(default=0, kw_only=True, compare=False)
    out_size: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class PropertiesEnumIn:
    """The cluster, and which properties of each object to give: names as MULTI_SZ in UTF-16LE, None for none."""

    handle: Annotated[ContextHandle, HANDLE]
    properties: Annotated[bytes | None, Unique(ConformantBytes(size_is="properties_size"))]
    properties_size: Annotated[int, Count(U32, of="properties")] = field(default=0, kw_only=True, compare=False)
    ro_properties: Annotated[bytes | None, Unique(ConformantBytes(size_is="ro_properties_size"))]
    ro_properties_size: Annotated[int, Count(U32, of="ro_properties")] = field(default=0, kw_only=True, compare=False)


# --- Outputs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StatusOut:
    """How it went."""

    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class ReturnOut:
    """How it went, of the methods without ``rpc_status``."""

    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class OpenOut:
    """A handle, null unless ``status`` is 0."""

    status: Annotated[int, U32] = 0
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    handle: Annotated[ContextHandle, HANDLE] = NULL_HANDLE


@dataclass(frozen=True, slots=True)
class OpenExOut:
    """A handle, and what may be done with it."""

    granted_access: Annotated[int, U32] = 0
    status: Annotated[int, U32] = 0
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    handle: Annotated[ContextHandle, HANDLE] = NULL_HANDLE


@dataclass(frozen=True, slots=True)
class CloseOut:
    """The handle as it is now: null."""

    handle: Annotated[ContextHandle, HANDLE] = NULL_HANDLE
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class TextOut:
    """A text: an id, a type, a name, an expression."""

    text: Annotated[str | None, TEXT] = None
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class StateOut:
    """A state."""

    state: Annotated[int, U32] = 0
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class EnumOut:
    """A list of objects."""

    entries: Annotated[EnumList | None, Unique(Struct(EnumList))] = None
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class EnumExOut:
    """A list of objects twice, in the same order: by id and by name."""

    ids: Annotated[EnumList | None, Unique(Struct(EnumList))] = None
    names: Annotated[EnumList | None, Unique(Struct(EnumList))] = None
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class ControlOut:
    """What a control code has answered. Status 234 with ``required`` and no output: it did not fit."""

    out_buffer: Annotated[bytes, ConformantVaryingBytes(size_is="out_size", length_is="bytes_returned")] = b""
    bytes_returned: Annotated[int, Count(U32, of="out_buffer")] = field(default=0, kw_only=True, compare=False)
    required: Annotated[int, U32] = 0
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0
