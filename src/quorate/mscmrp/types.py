"""The structures of the protocol, and the ways in which it sends texts, numbers and truth.

Counts are written from what they count; whoever makes a structure leaves them out, and they do not take part in
comparisons.

Source: [MS-CMRP] 2.2.3.
"""

from dataclasses import dataclass, field
from typing import Annotated, Final

from quorate.dcerpc.ndr import (
    U32,
    U64,
    WSTRING,
    ConformantArray,
    ConformantBytes,
    ConformantVaryingBytes,
    Count,
    FixedBytes,
    NdrReader,
    NdrType,
    NdrWriter,
    Scope,
    Struct,
    Unique,
)
from quorate.dcerpc.ndr.types import UNKNOWN

TEXT: Final = Unique(WSTRING)
"""A text, or null."""


class Truth(NdrType[bool]):
    """BOOL: four bytes, as the specification has it. Some clients send one byte, which is read as well."""

    alignment = 4
    smallest = 1

    def write_flat(self, out: NdrWriter, value: bool, scope: Scope) -> None:
        """Write 0 or 1 in four bytes."""
        out.write_count(int(value))

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> bool:
        """Read four bytes, or as many as are left, but one at least."""
        source.align(4)
        return any(source.take(max(1, min(4, source.left))))


TRUTH: Final = Truth()


# --- Enumerations --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EnumEntry:
    """ENUM_ENTRY: an object; ``name`` is its id in a list of ids. Source: [MS-CMRP] 2.2.3.4."""

    type: Annotated[int, U32]
    name: Annotated[str | None, TEXT]


@dataclass(frozen=True, slots=True)
class EnumList:
    """ENUM_LIST. Source: [MS-CMRP] 2.2.3.5."""

    entry_count: Annotated[int, Count(U32, of="entries")] = field(default=0, kw_only=True, compare=False)
    entries: Annotated[tuple[EnumEntry, ...], ConformantArray(Struct(EnumEntry), size_is="entry_count")] = ()


@dataclass(frozen=True, slots=True)
class GroupEnumEntry:
    """GROUP_ENUM_ENTRY; the properties are property lists. Source: [MS-CMRP] 2.2.3.14."""

    name: Annotated[str | None, TEXT]
    id: Annotated[str | None, TEXT]
    state: Annotated[int, U32]
    owner: Annotated[str | None, TEXT]
    flags: Annotated[int, U32]
    properties_size: Annotated[int, Count(U32, of="properties")] = field(default=0, kw_only=True, compare=False)
    properties: Annotated[bytes | None, Unique(ConformantBytes(size_is="properties_size"))] = None
    ro_properties_size: Annotated[int, Count(U32, of="ro_properties")] = field(default=0, kw_only=True, compare=False)
    ro_properties: Annotated[bytes | None, Unique(ConformantBytes(size_is="ro_properties_size"))] = None


@dataclass(frozen=True, slots=True)
class GroupEnumList:
    """GROUP_ENUM_LIST. Source: [MS-CMRP] 2.2.3.15."""

    entry_count: Annotated[int, Count(U32, of="entries")] = field(default=0, kw_only=True, compare=False)
    entries: Annotated[tuple[GroupEnumEntry, ...], ConformantArray(Struct(GroupEnumEntry), size_is="entry_count")] = ()


@dataclass(frozen=True, slots=True)
class ResourceEnumEntry:
    """RESOURCE_ENUM_ENTRY; the owner is its group. Source: [MS-CMRP] 2.2.3.16."""

    name: Annotated[str | None, TEXT]
    id: Annotated[str | None, TEXT]
    owner_name: Annotated[str | None, TEXT]
    owner_id: Annotated[str | None, TEXT]
    properties_size: Annotated[int, Count(U32, of="properties")] = field(default=0, kw_only=True, compare=False)
    properties: Annotated[bytes | None, Unique(ConformantBytes(size_is="properties_size"))] = None
    ro_properties_size: Annotated[int, Count(U32, of="ro_properties")] = field(default=0, kw_only=True, compare=False)
    ro_properties: Annotated[bytes | None, Unique(ConformantBytes(size_is="ro_properties_size"))] = None


@dataclass(frozen=True, slots=True)
class ResourceEnumList:
    """RESOURCE_ENUM_LIST. Source: [MS-CMRP] 2.2.3.17."""

    entry_count: Annotated[int, Count(U32, of="entries")] = field(default=0, kw_only=True, compare=False)
    entries: Annotated[
        tuple[ResourceEnumEntry, ...], ConformantArray(Struct(ResourceEnumEntry), size_is="entry_count")
    ] = ()


# --- Cluster, groups, disks ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OperationalVersion:
    """CLUSTER_OPERATIONAL_VERSION_INFO: in each version the high half is ours, the low half a build."""

    size: Annotated[int, U32] = 20
    highest_version: Annotated[int, U32] = 0
    lowest_version: Annotated[int, U32] = 0
    flags: Annotated[int, U32] = 0
    """1: nodes of two versions."""
    reserved: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class CreateGroupInfo:
    """CLUSTER_CREATE_GROUP_INFO_RPC. Source: [MS-CMRP] 2.2.3.21."""

    version: Annotated[int, U32] = 1
    group_type: Annotated[int, U32] = 9999


@dataclass(frozen=True, slots=True)
class SetPasswordStatus:
    """IDL_CLUSTER_SET_PASSWORD_STATUS: what became of a new password on one node."""

    node_id: Annotated[int, U32]
    set_attempted: Annotated[bool, TRUTH]
    return_status: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class DiskId:
    """CLUSTER_DISKID: type 1 is a signature, 2 a GUID."""

    type: Annotated[int, U32]
    blob: Annotated[bytes, FixedBytes(16)]


@dataclass(frozen=True, slots=True)
class MrrNodeResponse:
    """CLUSTER_MRR_NODE_RESPONSE: what one node has answered; the code is an HRESULT."""

    node_name: Annotated[str | None, TEXT]
    result_code: Annotated[int, U32]
    result_size: Annotated[int, Count(U32, of="result_data")] = field(default=0, kw_only=True, compare=False)
    result_data: Annotated[bytes | None, Unique(ConformantBytes(size_is="result_size"))] = None


@dataclass(frozen=True, slots=True)
class MrrResponse:
    """CLUSTER_MRR_RESPONSE."""

    node_count: Annotated[int, Count(U32, of="nodes")] = field(default=0, kw_only=True, compare=False)
    nodes: Annotated[
        tuple[MrrNodeResponse, ...] | None, Unique(ConformantArray(Struct(MrrNodeResponse), size_is="node_count"))
    ] = None


# --- Registry ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SecurityDescriptor:
    """RPC_SECURITY_DESCRIPTOR: a self-relative descriptor and the room for one. Source: [MS-CMRP] 2.2.3.2.

    Whoever asks for one gives no bytes, and the room that there is.
    """

    descriptor: Annotated[bytes | None, Unique(ConformantVaryingBytes(size_is="room", length_is="descriptor_size"))] = (
        None
    )
    room: Annotated[int, U32] = 0
    """Bytes that fit; of an answer with status 122, bytes that it needs."""
    descriptor_size: Annotated[int, Count(U32, of="descriptor")] = field(default=0, kw_only=True, compare=False)

    @classmethod
    def of(cls, descriptor: bytes) -> "SecurityDescriptor":
        """Wrap a descriptor."""
        return cls(descriptor, len(descriptor))

    @classmethod
    def room_for(cls, size: int) -> "SecurityDescriptor":
        """Say how much room there is for an answer, or how much an answer needs (status 122)."""
        return cls(b"", size)


NO_DESCRIPTOR: Final = SecurityDescriptor()


@dataclass(frozen=True, slots=True)
class SecurityAttributes:
    """RPC_SECURITY_ATTRIBUTES. Source: [MS-CMRP] 2.2.3.3."""

    length: Annotated[int, U32]
    security_descriptor: Annotated[SecurityDescriptor, Struct(SecurityDescriptor)]
    inherit_handle: Annotated[bool, TRUTH]


# --- Notifications -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NotifyFilter:
    """NOTIFY_FILTER_AND_TYPE_RPC: what of which objects. Source: [MS-CMRP] 2.2.3.22."""

    object_type: Annotated[int, U32]
    """CLUSTER_OBJECT_TYPE."""
    flags: Annotated[int, U64]
    """The CLUSTER_CHANGE_…_V2 flags of that type."""


@dataclass(frozen=True, slots=True)
class NotificationData:
    """NOTIFICATION_DATA_RPC: what has happened to one object. Source: [MS-CMRP] 2.2.3.23."""

    filter: Annotated[NotifyFilter, Struct(NotifyFilter)]
    buffer: Annotated[bytes | None, Unique(ConformantBytes(size_is="buffer_size"))] = None
    buffer_size: Annotated[int, Count(U32, of="buffer")] = field(default=0, kw_only=True, compare=False)
    object_id: Annotated[str | None, TEXT] = None
    parent_id: Annotated[str | None, TEXT] = None
    name: Annotated[str | None, TEXT] = None
    type: Annotated[str | None, TEXT] = None


@dataclass(frozen=True, slots=True)
class Notification:
    """NOTIFICATION_RPC: an event and the key that its filter was given. Source: [MS-CMRP] 2.2.3.24."""

    key: Annotated[int, U32]
    data: Annotated[NotificationData, Struct(NotificationData)]


@dataclass(frozen=True, slots=True)
class AsyncNotification:
    """NOTIFICATION_DATA_ASYNC_RPC: an event of a port of version 1. Source: [MS-CMRP] 2.2.3.30."""

    key: Annotated[int, U32]
    filter: Annotated[int, U32]
    """One CLUSTER_CHANGE flag."""
    name: Annotated[str | None, TEXT]
