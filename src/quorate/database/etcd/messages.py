"""The messages of etcd's v3 API that the client uses, and the methods that carry them.

Field numbers: etcd's ``rpc.proto`` and ``kv.proto``. Left out is what the client neither sends nor looks at. The
numbers after a comment are of versions later than 3.4; an older server leaves them at their defaults.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum

from quorate.database.etcd.wire import Message, boolean, integer, message, messages, octets, text, texts, unsigned


class Method(Enum):
    """The remote procedures, as gRPC paths."""

    RANGE = "/etcdserverpb.KV/Range"
    TXN = "/etcdserverpb.KV/Txn"
    COMPACT = "/etcdserverpb.KV/Compact"
    WATCH = "/etcdserverpb.Watch/Watch"
    MEMBER_LIST = "/etcdserverpb.Cluster/MemberList"
    STATUS = "/etcdserverpb.Maintenance/Status"
    ALARM = "/etcdserverpb.Maintenance/Alarm"
    DEFRAGMENT = "/etcdserverpb.Maintenance/Defragment"


class CompareResult(IntEnum):
    """How a comparison relates the key's value to the given one."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


class CompareTarget(IntEnum):
    """What of a key is compared."""

    VERSION = 0
    CREATE = 1
    MOD = 2


class EventType(IntEnum):
    """What happened to a key."""

    PUT = 0
    DELETE = 1


class AlarmType(IntEnum):
    """What a member can complain of."""

    NONE = 0
    NOSPACE = 1
    CORRUPT = 2


@dataclass(frozen=True, slots=True)
class ResponseHeader(Message):
    """Who answered, and at which revision of the whole etcd."""

    cluster_id: int = unsigned(1)
    member_id: int = unsigned(2)
    revision: int = integer(3)
    raft_term: int = unsigned(4)


@dataclass(frozen=True, slots=True)
class KeyValue(Message):
    """A key as it stands; ``version`` counts the writes since its creation."""

    key: bytes = octets(1)
    create_revision: int = integer(2)
    mod_revision: int = integer(3)
    version: int = integer(4)
    value: bytes = octets(5)
    lease: int = integer(6)


@dataclass(frozen=True, slots=True)
class Event(Message):
    """One write: of a deletion, ``kv`` has the key and the revision of the deletion."""

    type: int = integer(1)
    kv: KeyValue | None = message(2, KeyValue)


@dataclass(frozen=True, slots=True)
class RangeRequest(Message):
    """Keys in [key, range_end), or the one key; linearizable unless ``serializable``."""

    key: bytes = octets(1)
    range_end: bytes = octets(2)
    limit: int = integer(3)
    revision: int = integer(4)
    serializable: bool = boolean(7)
    keys_only: bool = boolean(8)
    count_only: bool = boolean(9)
    min_mod_revision: int = integer(10)


@dataclass(frozen=True, slots=True)
class RangeResponse(Message):
    """The keys found, in order; ``more`` says that the limit cut them off."""

    header: ResponseHeader | None = message(1, ResponseHeader)
    kvs: tuple[KeyValue, ...] = messages(2, KeyValue)
    more: bool = boolean(3)
    count: int = integer(4)


@dataclass(frozen=True, slots=True)
class PutRequest(Message):
    """Write one key."""

    key: bytes = octets(1)
    value: bytes = octets(2)


@dataclass(frozen=True, slots=True)
class PutResponse(Message):
    """A key was written."""

    header: ResponseHeader | None = message(1, ResponseHeader)


@dataclass(frozen=True, slots=True)
class DeleteRangeRequest(Message):
    """Delete the keys in [key, range_end), or the one key."""

    key: bytes = octets(1)
    range_end: bytes = octets(2)


@dataclass(frozen=True, slots=True)
class DeleteRangeResponse(Message):
    """How many keys were deleted."""

    header: ResponseHeader | None = message(1, ResponseHeader)
    deleted: int = integer(2)


@dataclass(frozen=True, slots=True)
class RequestOp(Message):
    """One operation of a transaction: exactly one of these."""

    request_range: RangeRequest | None = message(1, RangeRequest)
    request_put: PutRequest | None = message(2, PutRequest)
    request_delete_range: DeleteRangeRequest | None = message(3, DeleteRangeRequest)


@dataclass(frozen=True, slots=True)
class ResponseOp(Message):
    """The answer to one operation of a transaction."""

    response_range: RangeResponse | None = message(1, RangeResponse)
    response_put: PutResponse | None = message(2, PutResponse)
    response_delete_range: DeleteRangeResponse | None = message(3, DeleteRangeResponse)


@dataclass(frozen=True, slots=True)
class Compare(Message):
    """A condition of a transaction: one of the three values, of the ``target``'s kind."""

    result: int = integer(1)
    target: int = integer(2)
    key: bytes = octets(3)
    version: int | None = integer(4, default=None)
    create_revision: int | None = integer(5, default=None)
    mod_revision: int | None = integer(6, default=None)


@dataclass(frozen=True, slots=True)
class TxnRequest(Message):
    """If all compares hold, ``success`` is done, else ``failure``: at once."""

    compare: tuple[Compare, ...] = messages(1, Compare)
    success: tuple[RequestOp, ...] = messages(2, RequestOp)
    failure: tuple[RequestOp, ...] = messages(3, RequestOp)


@dataclass(frozen=True, slots=True)
class TxnResponse(Message):
    """Which of the two was done, and the answers in order."""

    header: ResponseHeader | None = message(1, ResponseHeader)
    succeeded: bool = boolean(2)
    responses: tuple[ResponseOp, ...] = messages(3, ResponseOp)


@dataclass(frozen=True, slots=True)
class CompactionRequest(Message):
    """Forget what was superseded up to a revision; ``physical`` waits until the space is free."""

    revision: int = integer(1)
    physical: bool = boolean(2)


@dataclass(frozen=True, slots=True)
class CompactionResponse(Message):
    """Compacted."""

    header: ResponseHeader | None = message(1, ResponseHeader)


@dataclass(frozen=True, slots=True)
class WatchCreateRequest(Message):
    """Tell the writes in [key, range_end) from a revision on; ``fragment`` allows to split what is large."""

    key: bytes = octets(1)
    range_end: bytes = octets(2)
    start_revision: int = integer(3)
    progress_notify: bool = boolean(4)
    watch_id: int = integer(7)
    fragment: bool = boolean(8)


@dataclass(frozen=True, slots=True)
class WatchCancelRequest(Message):
    """Tell no more."""

    watch_id: int = integer(1)


@dataclass(frozen=True, slots=True)
class WatchProgressRequest(Message):
    """Give a sign of life on the stream."""


@dataclass(frozen=True, slots=True)
class WatchRequest(Message):
    """What a client says on a watch stream: exactly one of these."""

    create_request: WatchCreateRequest | None = message(1, WatchCreateRequest)
    cancel_request: WatchCancelRequest | None = message(2, WatchCancelRequest)
    progress_request: WatchProgressRequest | None = message(3, WatchProgressRequest)


@dataclass(frozen=True, slots=True)
class WatchResponse(Message):
    """What a server says on a watch stream; ``fragment`` says that the next response goes on with this one."""

    header: ResponseHeader | None = message(1, ResponseHeader)
    watch_id: int = integer(2)
    created: bool = boolean(3)
    canceled: bool = boolean(4)
    compact_revision: int = integer(5)
    cancel_reason: str = text(6)
    fragment: bool = boolean(7)
    events: tuple[Event, ...] = messages(11, Event)


@dataclass(frozen=True, slots=True)
class Member(Message):
    """One member of the etcd cluster; one without a name never started."""

    id: int = unsigned(1)
    name: str = text(2)
    peer_urls: tuple[str, ...] = texts(3)
    client_urls: tuple[str, ...] = texts(4)
    is_learner: bool = boolean(5)


@dataclass(frozen=True, slots=True)
class MemberListRequest(Message):
    """Who belongs to the cluster."""

    linearizable: bool = boolean(1)  # 3.5


@dataclass(frozen=True, slots=True)
class MemberListResponse(Message):
    """The members."""

    header: ResponseHeader | None = message(1, ResponseHeader)
    members: tuple[Member, ...] = messages(2, Member)


@dataclass(frozen=True, slots=True)
class AlarmRequest(Message):
    """Which alarms are raised (action 0, all members, every type)."""

    action: int = integer(1)
    member_id: int = unsigned(2)
    alarm: int = integer(3)


@dataclass(frozen=True, slots=True)
class AlarmMember(Message):
    """An alarm that is raised."""

    member_id: int = unsigned(1)
    alarm: int = integer(2)


@dataclass(frozen=True, slots=True)
class AlarmResponse(Message):
    """All alarms that are raised."""

    header: ResponseHeader | None = message(1, ResponseHeader)
    alarms: tuple[AlarmMember, ...] = messages(2, AlarmMember)


@dataclass(frozen=True, slots=True)
class StatusRequest(Message):
    """How the asked member is doing."""


@dataclass(frozen=True, slots=True)
class StatusResponse(Message):
    """The member's own view; ``leader`` 0 says that it knows none."""

    header: ResponseHeader | None = message(1, ResponseHeader)
    version: str = text(2)
    db_size: int = integer(3)
    leader: int = unsigned(4)
    errors: tuple[str, ...] = texts(8)
    db_size_in_use: int = integer(9)
    is_learner: bool = boolean(10)
    db_size_quota: int = integer(12)  # 3.6


@dataclass(frozen=True, slots=True)
class DefragmentRequest(Message):
    """Give free space back to the disk; the asked member answers nobody meanwhile."""


@dataclass(frozen=True, slots=True)
class DefragmentResponse(Message):
    """Done."""

    header: ResponseHeader | None = message(1, ResponseHeader)
