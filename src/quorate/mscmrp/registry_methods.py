"""The methods on the cluster registry: keys, values, batches.

Source: [MS-CMRP] 3.1.4.2, in the order of their opnums.
"""

from dataclasses import dataclass, field
from typing import Annotated, Final

from quorate.clusapi.operation_types import Access
from quorate.dcerpc.ndr import (
    FILETIME,
    HANDLE,
    NULL_HANDLE,
    S32,
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
from quorate.mscmrp.shapes import CloseOut, HandleIn, HandleNameIn, OpenOut, StatusOut
from quorate.mscmrp.types import NO_DESCRIPTOR, TEXT, SecurityAttributes, SecurityDescriptor

# --- Keys ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GetRootKeyIn:
    """What is going to be done with the key."""

    sam_desired: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class CreateKeyIn:
    """A key below an open one. Options: 1 is volatile."""

    handle: Annotated[ContextHandle, HANDLE]
    sub_key: Annotated[str, WSTRING]
    options: Annotated[int, U32]
    sam_desired: Annotated[int, U32]
    security_attributes: Annotated[SecurityAttributes | None, Unique(Struct(SecurityAttributes))] = None


@dataclass(frozen=True, slots=True)
class CreateKeyOut:
    """The key; disposition 1: it is new, 2: it was there."""

    disposition: Annotated[int, U32] = 0
    status: Annotated[int, U32] = 0
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    handle: Annotated[ContextHandle, HANDLE] = NULL_HANDLE


@dataclass(frozen=True, slots=True)
class OpenKeyIn:
    """A key below an open one."""

    handle: Annotated[ContextHandle, HANDLE]
    sub_key: Annotated[str, WSTRING]
    sam_desired: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class EnumKeyIn:
    """The nth key below an open one, from 0."""

    handle: Annotated[ContextHandle, HANDLE]
    index: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class EnumKeyOut:
    """Its name; status 259 is the end."""

    name: Annotated[str | None, TEXT] = None
    last_write_time: Annotated[int, FILETIME] = 0
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class QueryInfoKeyOut:
    """How much is in a key; lengths of names in characters without the NUL."""

    sub_keys: Annotated[int, U32] = 0
    max_sub_key_length: Annotated[int, U32] = 0
    values: Annotated[int, U32] = 0
    max_value_name_length: Annotated[int, U32] = 0
    max_value_length: Annotated[int, U32] = 0
    security_descriptor_size: Annotated[int, U32] = 0
    last_write_time: Annotated[int, FILETIME] = 0
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class KeySecurityIn:
    """A key, which parts of its descriptor are meant, and the descriptor or the room for it."""

    handle: Annotated[ContextHandle, HANDLE]
    security_information: Annotated[int, U32]
    security_descriptor: Annotated[SecurityDescriptor, Struct(SecurityDescriptor)]


@dataclass(frozen=True, slots=True)
class GetKeySecurityOut:
    """The descriptor; status 122 when it did not fit."""

    security_descriptor: Annotated[SecurityDescriptor, Struct(SecurityDescriptor)] = NO_DESCRIPTOR
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


# --- Values --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetValueIn:
    """A value of a key; the type is a REG_… number."""

    handle: Annotated[ContextHandle, HANDLE]
    name: Annotated[str, WSTRING]
    type: Annotated[int, U32]
    data: Annotated[bytes, ConformantBytes(size_is="data_size")]
    data_size: Annotated[int, Count(U32, of="data")] = field(default=0, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class QueryValueIn:
    """A value of a key, and the room for it."""

    handle: Annotated[ContextHandle, HANDLE]
    name: Annotated[str, WSTRING]
    room: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class QueryValueOut:
    """The value. On the wire ``data`` always fills the room; its first ``required`` bytes count."""

    type: Annotated[int, U32] = 0
    data: Annotated[bytes, ConformantBytes(size_is="room", padded=True)] = b""
    required: Annotated[int, U32] = 0
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class EnumValueIn:
    """The nth value of a key, from 0, and the room for it."""

    handle: Annotated[ContextHandle, HANDLE]
    index: Annotated[int, U32]
    room: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class EnumValueOut:
    """The value; ``total_size`` is what it needs. Status 259 is the end."""

    name: Annotated[str | None, TEXT] = None
    type: Annotated[int, U32] = 0
    data: Annotated[bytes, ConformantBytes(size_is="data_size")] = b""
    data_size: Annotated[int, Count(U32, of="data")] = field(default=0, kw_only=True, compare=False)
    total_size: Annotated[int, U32] = 0
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class QueryAllValuesOut:
    """Every value of a key, as a batch of CLUSREG_READ_VALUE commands: an array of one."""

    data_size: Annotated[int, U32] = 0
    data: Annotated[tuple[bytes | None, ...], ConformantArray(Unique(ConformantBytes()), size_is=1)] = (None,)
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0

    @classmethod
    def of(cls, data: bytes) -> "QueryAllValuesOut":
        """Wrap a batch."""
        return cls(len(data), (data,))


# --- Batches -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExecuteBatchIn:
    """A key, and a batch of changes below it."""

    handle: Annotated[ContextHandle, HANDLE]
    data_size: Annotated[int, Count(U32, of="data")] = field(default=0, kw_only=True, compare=False)
    data: Annotated[bytes, ConformantBytes(size_is="data_size")]


@dataclass(frozen=True, slots=True)
class ExecuteBatchOut:
    """Which command failed, from 0; -1 for none."""

    failed_command: Annotated[int, S32] = 0
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class CreateBatchPortOut:
    """A port; here the handle comes first."""

    handle: Annotated[ContextHandle, HANDLE] = NULL_HANDLE
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class GetBatchNotificationOut:
    """The changes of a batch."""

    data_size: Annotated[int, Count(U32, of="data")] = field(default=0, kw_only=True, compare=False)
    data: Annotated[bytes | None, Unique(ConformantBytes(size_is="data_size"))] = None
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class ExecuteReadBatchExIn:
    """A key, a batch of reads below it, and flags."""

    handle: Annotated[ContextHandle, HANDLE]
    data_size: Annotated[int, Count(U32, of="data")] = field(default=0, kw_only=True, compare=False)
    data: Annotated[bytes, ConformantBytes(size_is="data_size")]
    flags: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class ExecuteReadBatchOut:
    """What the reads have given."""

    data_size: Annotated[int, Count(U32, of="data")] = field(default=0, kw_only=True, compare=False)
    data: Annotated[bytes | None, Unique(ConformantBytes(size_is="data_size"))] = None
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


_KEY: Final = HandleKind.KEY
_PORT: Final = HandleKind.BATCH_PORT
_ALL: Final = Access.FULL

GET_ROOT_KEY: Final = method(28, "GetRootKey", GetRootKeyIn, OpenOut, opens=_KEY)
CREATE_KEY: Final = method(29, "CreateKey", CreateKeyIn, CreateKeyOut, _KEY, opens=_KEY, access=_ALL)
OPEN_KEY: Final = method(30, "OpenKey", OpenKeyIn, OpenOut, _KEY, opens=_KEY)
ENUM_KEY: Final = method(31, "EnumKey", EnumKeyIn, EnumKeyOut, _KEY)
SET_VALUE: Final = method(32, "SetValue", SetValueIn, StatusOut, _KEY, access=_ALL)
DELETE_VALUE: Final = method(33, "DeleteValue", HandleNameIn, StatusOut, _KEY, access=_ALL)
QUERY_VALUE: Final = method(34, "QueryValue", QueryValueIn, QueryValueOut, _KEY)
DELETE_KEY: Final = method(35, "DeleteKey", HandleNameIn, StatusOut, _KEY, access=_ALL)
ENUM_VALUE: Final = method(36, "EnumValue", EnumValueIn, EnumValueOut, _KEY)
CLOSE_KEY: Final = method(37, "CloseKey", HandleIn, CloseOut, _KEY)
QUERY_INFO_KEY: Final = method(38, "QueryInfoKey", HandleIn, QueryInfoKeyOut, _KEY)
SET_KEY_SECURITY: Final = method(39, "SetKeySecurity", KeySecurityIn, StatusOut, _KEY, access=_ALL)
GET_KEY_SECURITY: Final = method(40, "GetKeySecurity", KeySecurityIn, GetKeySecurityOut, _KEY)
EXECUTE_BATCH: Final = method(113, "ExecuteBatch", ExecuteBatchIn, ExecuteBatchOut, _KEY, access=_ALL)
CREATE_BATCH_PORT: Final = method(114, "CreateBatchPort", HandleIn, CreateBatchPortOut, _KEY, opens=_PORT)
GET_BATCH_NOTIFICATION: Final = method(
    115, "GetBatchNotification", HandleIn, GetBatchNotificationOut, _PORT, is_blocking=True
)
CLOSE_BATCH_PORT: Final = method(116, "CloseBatchPort", HandleIn, CloseOut, _PORT)
QUERY_ALL_VALUES: Final = method(140, "QueryAllValues", HandleIn, QueryAllValuesOut, _KEY)
EXECUTE_READ_BATCH: Final = method(145, "ExecuteReadBatch", ExecuteBatchIn, ExecuteReadBatchOut, _KEY)
EXECUTE_READ_BATCH_EX: Final = method(157, "ExecuteReadBatchEx", ExecuteReadBatchExIn, ExecuteReadBatchOut, _KEY)

REGISTRY_METHODS: Final = (
    GET_ROOT_KEY,
    CREATE_KEY,
    OPEN_KEY,
    ENUM_KEY,
    SET_VALUE,
    DELETE_VALUE,
    QUERY_VALUE,
    DELETE_KEY,
    ENUM_VALUE,
    CLOSE_KEY,
    QUERY_INFO_KEY,
    SET_KEY_SECURITY,
    GET_KEY_SECURITY,
    EXECUTE_BATCH,
    CREATE_BATCH_PORT,
    GET_BATCH_NOTIFICATION,
    CLOSE_BATCH_PORT,
    QUERY_ALL_VALUES,
    EXECUTE_READ_BATCH,
    EXECUTE_READ_BATCH_EX,
)
