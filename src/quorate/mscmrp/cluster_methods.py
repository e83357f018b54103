"""The methods on the cluster. Source: [MS-CMRP] 3.1.4.2, in the order of their opnums."""

from dataclasses import dataclass, field
from typing import Annotated, Final

from quorate.clusapi.operation_types import Access
from quorate.dcerpc.ndr import (
    HANDLE,
    NULL_HANDLE,
    U16,
    U32,
    U64,
    WSTRING,
    ConformantArray,
    ConformantBytes,
    ConformantVaryingArray,
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
    EnumExOut,
    EnumOut,
    HandleIn,
    HandleMaskOptionsIn,
    NameIn,
    NodeControlIn,
    NoIn,
    StatusOut,
)
from quorate.mscmrp.types import TEXT, TRUTH, DiskId, MrrResponse, OperationalVersion, SetPasswordStatus


@dataclass(frozen=True, slots=True)
class OpenClusterOut:
    """A handle; this method has no ``rpc_status``."""

    status: Annotated[int, U32] = 0
    handle: Annotated[ContextHandle, HANDLE] = NULL_HANDLE


@dataclass(frozen=True, slots=True)
class OpenClusterExIn:
    """What is going to be done with the cluster."""

    desired_access: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class OpenClusterExOut:
    """A handle, and what may be done with it."""

    granted_access: Annotated[int, U32] = 0
    status: Annotated[int, U32] = 0
    handle: Annotated[ContextHandle, HANDLE] = NULL_HANDLE


@dataclass(frozen=True, slots=True)
class GetClusterNameOut:
    """The cluster, and the node that answers."""

    cluster_name: Annotated[str | None, TEXT] = None
    node_name: Annotated[str | None, TEXT] = None
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class GetClusterVersionOut:
    """Never filled in by a server of version 3.0, which answers 120."""

    major_version: Annotated[int, U16] = 0
    minor_version: Annotated[int, U16] = 0
    build_number: Annotated[int, U16] = 0
    vendor_id: Annotated[str | None, TEXT] = None
    csd_version: Annotated[str | None, TEXT] = None
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class GetClusterVersion2Out:
    """Versions of the node that answers, and what the cluster can."""

    major_version: Annotated[int, U16] = 0
    minor_version: Annotated[int, U16] = 0
    build_number: Annotated[int, U16] = 0
    vendor_id: Annotated[str | None, TEXT] = None
    csd_version: Annotated[str | None, TEXT] = None
    operational_version: Annotated[OperationalVersion | None, Unique(Struct(OperationalVersion))] = None
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class GetQuorumResourceOut:
    """The quorum resource."""

    resource_name: Annotated[str | None, TEXT] = None
    device_name: Annotated[str | None, TEXT] = None
    max_log_size: Annotated[int, U32] = 0
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class SetQuorumResourceIn:
    """A resource that shall be the quorum resource."""

    handle: Annotated[ContextHandle, HANDLE]
    device_name: Annotated[str, WSTRING]
    max_log_size: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class CreateEnumIn:
    """Which kinds of objects to list."""

    mask: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class SetServiceAccountPasswordIn:
    """A password for the account of the service; ``room`` is in structures."""

    new_password: Annotated[str, WSTRING]
    flags: Annotated[int, U16]
    room: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class SetServiceAccountPasswordOut:
    """What became of it on each node."""

    statuses: Annotated[
        tuple[SetPasswordStatus, ...],
        ConformantVaryingArray(Struct(SetPasswordStatus), size_is="room", length_is="size_returned"),
    ] = ()
    size_returned: Annotated[int, Count(U32, of="statuses")] = field(default=0, kw_only=True, compare=False)
    expected_size: Annotated[int, U32] = 0
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class StmFindDiskIn:
    """A disk by one of its ids."""

    handle: Annotated[ContextHandle, HANDLE]
    flags: Annotated[int, U32]
    disk_id: Annotated[DiskId | None, Unique(Struct(DiskId))]
    unique_id: Annotated[bytes | None, Unique(ConformantBytes(size_is="unique_id_size"))]
    unique_id_size: Annotated[int, Count(U32, of="unique_id")] = field(default=0, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class StmFindDiskOut:
    """The disk as the node that answers knows it."""

    disk_id: Annotated[DiskId | None, Unique(Struct(DiskId))] = None
    device_name: Annotated[str | None, TEXT] = None
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


@dataclass(frozen=True, slots=True)
class ClusterMrrIn:
    """A request that several nodes shall answer; ``node_set`` has a bit for each."""

    handle: Annotated[ContextHandle, HANDLE]
    exclude_self: Annotated[bool, TRUTH]
    node_set: Annotated[int, U64]
    timeout: Annotated[int, U32]
    component: Annotated[int, U32]
    control_code: Annotated[int, U32]
    in_size: Annotated[int, Count(U32, of="in_data")] = field(default=0, kw_only=True, compare=False)
    in_data: Annotated[bytes | None, Unique(ConformantBytes(size_is="in_size"))]


@dataclass(frozen=True, slots=True)
class ClusterMrrOut:
    """The answers: an array of one."""

    info: Annotated[tuple[MrrResponse | None, ...], ConformantArray(Unique(Struct(MrrResponse)), size_is=1)] = (None,)
    rpc_status: Annotated[int, U32] = field(default=0, kw_only=True)
    status: Annotated[int, U32] = 0


_CLUSTER: Final = HandleKind.CLUSTER

OPEN_CLUSTER: Final = method(0, "OpenCluster", NoIn, OpenClusterOut, opens=_CLUSTER, access=Access.FULL)
CLOSE_CLUSTER: Final = method(1, "CloseCluster", HandleIn, CloseOut, _CLUSTER)
SET_CLUSTER_NAME: Final = method(2, "SetClusterName", NameIn, StatusOut, access=Access.FULL)
GET_CLUSTER_NAME: Final = method(3, "GetClusterName", NoIn, GetClusterNameOut)
GET_CLUSTER_VERSION: Final = method(4, "GetClusterVersion", NoIn, GetClusterVersionOut)
GET_QUORUM_RESOURCE: Final = method(5, "GetQuorumResource", NoIn, GetQuorumResourceOut)
SET_QUORUM_RESOURCE: Final = method(
    6, "SetQuorumResource", SetQuorumResourceIn, StatusOut, HandleKind.RESOURCE, access=Access.FULL
)
CREATE_ENUM: Final = method(7, "CreateEnum", CreateEnumIn, EnumOut)
GET_CLUSTER_VERSION2: Final = method(102, "GetClusterVersion2", NoIn, GetClusterVersion2Out)
BACKUP_CLUSTER_DATABASE: Final = method(104, "BackupClusterDatabase", NameIn, StatusOut, access=Access.FULL)
NODE_CLUSTER_CONTROL: Final = method(
    105, "NodeClusterControl", NodeControlIn, ControlOut, _CLUSTER, HandleKind.NODE, access=Access.BY_CODE
)
CLUSTER_CONTROL: Final = method(106, "ClusterControl", ControlIn, ControlOut, _CLUSTER, access=Access.BY_CODE)
SET_SERVICE_ACCOUNT_PASSWORD: Final = method(
    108,
    "SetServiceAccountPassword",
    SetServiceAccountPasswordIn,
    SetServiceAccountPasswordOut,
    access=Access.FULL,
)
OPEN_CLUSTER_EX: Final = method(117, "OpenClusterEx", OpenClusterExIn, OpenClusterExOut, opens=_CLUSTER)
CREATE_ENUM_EX: Final = method(125, "CreateEnumEx", HandleMaskOptionsIn, EnumExOut, _CLUSTER)
STM_FIND_DISK: Final = method(141, "StmFindDisk", StmFindDiskIn, StmFindDiskOut, _CLUSTER)
CLUSTER_MRR: Final = method(142, "ClusterMrr", ClusterMrrIn, ClusterMrrOut, _CLUSTER, access=Access.FULL)

CLUSTER_METHODS: Final = (
    OPEN_CLUSTER,
    CLOSE_CLUSTER,
    SET_CLUSTER_NAME,
    GET_CLUSTER_NAME,
    GET_CLUSTER_VERSION,
    GET_QUORUM_RESOURCE,
    SET_QUORUM_RESOURCE,
    CREATE_ENUM,
    GET_CLUSTER_VERSION2,
    BACKUP_CLUSTER_DATABASE,
    NODE_CLUSTER_CONTROL,
    CLUSTER_CONTROL,
    SET_SERVICE_ACCOUNT_PASSWORD,
    OPEN_CLUSTER_EX,
    CREATE_ENUM_EX,
    STM_FIND_DISK,
    CLUSTER_MRR,
)
