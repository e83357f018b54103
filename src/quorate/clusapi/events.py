"""What happened, as a record: the log line, the tooltip and the audit trail are all made of it.

An event is written to the cluster database in the transaction that made it true; its sequence is the revision of that
transaction (0 until it is stored). Fields that a newer node wrote survive a rewrite by an older one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import IntFlag, StrEnum
from typing import Final, Self

from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.status import Status

EVENT_SCHEMA: Final = 1


class Change(IntFlag):
    """What a listener filters by: the change bits of ClusAPI's first notifications (CLUSTER_CHANGE_*)."""

    NONE = 0
    NODE_STATE = 0x00000001
    NODE_DELETED = 0x00000002
    NODE_ADDED = 0x00000004
    NODE_PROPERTY = 0x00000008
    REGISTRY_NAME = 0x00000010
    REGISTRY_ATTRIBUTES = 0x00000020
    REGISTRY_VALUE = 0x00000040
    REGISTRY_SUBTREE = 0x00000080
    RESOURCE_STATE = 0x00000100
    RESOURCE_DELETED = 0x00000200
    RESOURCE_ADDED = 0x00000400
    RESOURCE_PROPERTY = 0x00000800
    GROUP_STATE = 0x00001000
    GROUP_DELETED = 0x00002000
    GROUP_ADDED = 0x00004000
    GROUP_PROPERTY = 0x00008000
    RESOURCE_TYPE_DELETED = 0x00010000
    RESOURCE_TYPE_ADDED = 0x00020000
    RESOURCE_TYPE_PROPERTY = 0x00040000
    CLUSTER_RECONNECT = 0x00080000
    NETWORK_STATE = 0x00100000
    NETWORK_DELETED = 0x00200000
    NETWORK_ADDED = 0x00400000
    NETWORK_PROPERTY = 0x00800000
    NETINTERFACE_STATE = 0x01000000
    NETINTERFACE_DELETED = 0x02000000
    NETINTERFACE_ADDED = 0x04000000
    NETINTERFACE_PROPERTY = 0x08000000
    QUORUM_STATE = 0x10000000
    CLUSTER_STATE = 0x20000000
    CLUSTER_PROPERTY = 0x40000000
    HANDLE_CLOSE = 0x80000000
    ALL = 0xFFFFFFFF


class EventKind(StrEnum):
    """What kinds of things happen; a word before the dot says to what kind of object."""

    CLUSTER_CREATED = "cluster.created"
    CLUSTER_PROPERTY = "cluster.property"
    CLUSTER_UPGRADED = "cluster.upgraded"
    CLUSTER_RESTORED = "cluster.restored"
    CLUSTER_DATABASE = "cluster.database"
    CLUSTER_COORDINATOR = "cluster.coordinator"
    NODE_INVITED = "node.invited"
    NODE_ADDED = "node.added"
    NODE_EVICTED = "node.evicted"
    NODE_FENCING = "node.fencing"
    NODE_FENCED = "node.fenced"
    NODE_FENCE_FAILED = "node.fence_failed"
    NODE_FENCE_HELD = "node.fence_held"
    NODE_STATE = "node.state"
    NODE_STOPPED = "node.stopped"
    NODE_DATABASE = "node.database"
    NODE_GUARD = "node.guard"
    NODE_PAUSED = "node.paused"
    NODE_RESUMED = "node.resumed"
    NODE_DRAIN = "node.drain"
    NODE_PROPERTY = "node.property"
    NODE_CERTIFICATE = "node.certificate"
    NETWORK_ADDED = "network.added"
    NETWORK_DELETED = "network.deleted"
    NETWORK_STATE = "network.state"
    NETWORK_PROPERTY = "network.property"
    NETINTERFACE_ADDED = "netinterface.added"
    NETINTERFACE_DELETED = "netinterface.deleted"
    NETINTERFACE_STATE = "netinterface.state"
    NETINTERFACE_PROPERTY = "netinterface.property"
    GROUP_ADDED = "group.added"
    GROUP_DELETED = "group.deleted"
    GROUP_STATE = "group.state"
    GROUP_OWNER = "group.owner"
    GROUP_PROPERTY = "group.property"
    RESOURCE_ADDED = "resource.added"
    RESOURCE_DELETED = "resource.deleted"
    RESOURCE_STATE = "resource.state"
    RESOURCE_FAILED = "resource.failed"
    RESOURCE_PROPERTY = "resource.property"
    REGISTRY_KEY = "registry.key"
    REGISTRY_SECURITY = "registry.security"
    REGISTRY_VALUE = "registry.value"
    RESOURCE_TYPE_ADDED = "resource_type.added"
    RESOURCE_TYPE_DELETED = "resource_type.deleted"
    GROUP_SET_ADDED = "group_set.added"
    GROUP_SET_DELETED = "group_set.deleted"
    GROUP_SET_PROPERTY = "group_set.property"
    MONITOR_HUNG = "monitor.hung"
    MONITOR_LOST = "monitor.lost"
    MONITOR_STARTED = "monitor.started"
    USER_CERTIFIED = "user.certified"
    USER_PASSWORD = "user.password"
    USER_REMOVED = "user.removed"
    USER_EXPIRES = "user.expires"
    AUDIT_LOGON = "audit.logon"
    AUDIT_REFUSED = "audit.refused"
    AUDIT_CHANGE = "audit.change"
    AUDIT_READS = "audit.reads"
    VM_CREATED = "vm.created"
    VM_DELETED = "vm.deleted"
    VM_STATE = "vm.state"
    VM_FAILED = "vm.failed"
    VM_ADOPTED = "vm.adopted"
    MIGRATION_QUEUED = "migration.queued"
    MIGRATION_STARTED = "migration.started"
    MIGRATION_STATE = "migration.state"
    MIGRATION_STOPPED_SOURCE = "migration.stopped_source"
    MIGRATION_COMPLETED = "migration.completed"
    MIGRATION_CANCELLED = "migration.cancelled"
    MIGRATION_FAILED = "migration.failed"
    MIGRATION_TAKEN_BACK = "migration.taken_back"


_CHANGE_OF_KIND: Final[Mapping[EventKind, Change]] = {
    EventKind.CLUSTER_CREATED: Change.CLUSTER_STATE,
    EventKind.CLUSTER_PROPERTY: Change.CLUSTER_PROPERTY,
    EventKind.CLUSTER_UPGRADED: Change.CLUSTER_PROPERTY,
    EventKind.CLUSTER_RESTORED: Change.CLUSTER_RECONNECT,
    EventKind.CLUSTER_DATABASE: Change.CLUSTER_STATE,
    EventKind.CLUSTER_COORDINATOR: Change.CLUSTER_STATE,
    EventKind.NODE_INVITED: Change.CLUSTER_STATE,
    EventKind.NODE_ADDED: Change.NODE_ADDED,
    EventKind.NODE_EVICTED: Change.NODE_DELETED,
    EventKind.NODE_FENCING: Change.NODE_STATE,
    EventKind.NODE_FENCED: Change.NODE_STATE,
    EventKind.NODE_FENCE_FAILED: Change.NODE_STATE,
    EventKind.NODE_FENCE_HELD: Change.NODE_STATE,
    EventKind.NODE_STATE: Change.NODE_STATE,
    EventKind.NODE_STOPPED: Change.NODE_STATE,
    EventKind.NODE_DATABASE: Change.NODE_STATE,
    EventKind.NODE_GUARD: Change.NODE_PROPERTY,
    EventKind.NODE_PAUSED: Change.NODE_STATE,
    EventKind.NODE_RESUMED: Change.NODE_STATE,
    EventKind.NODE_DRAIN: Change.NODE_PROPERTY,
    EventKind.NODE_PROPERTY: Change.NODE_PROPERTY,
    EventKind.NODE_CERTIFICATE: Change.NODE_PROPERTY,
    EventKind.USER_CERTIFIED: Change.CLUSTER_PROPERTY,  # ClusAPI knows no users: who may enter is the cluster's affair
    EventKind.USER_PASSWORD: Change.CLUSTER_PROPERTY,
    EventKind.USER_REMOVED: Change.CLUSTER_PROPERTY,
    EventKind.USER_EXPIRES: Change.CLUSTER_PROPERTY,
    EventKind.AUDIT_LOGON: Change.NONE,  # who asked for what changes nothing; what it changed is told by itself
    EventKind.AUDIT_REFUSED: Change.NONE,
    EventKind.AUDIT_CHANGE: Change.NONE,
    EventKind.AUDIT_READS: Change.NONE,
    EventKind.NETWORK_ADDED: Change.NETWORK_ADDED,
    EventKind.NETWORK_DELETED: Change.NETWORK_DELETED,
    EventKind.NETWORK_STATE: Change.NETWORK_STATE,
    EventKind.NETWORK_PROPERTY: Change.NETWORK_PROPERTY,
    EventKind.NETINTERFACE_ADDED: Change.NETINTERFACE_ADDED,
    EventKind.NETINTERFACE_DELETED: Change.NETINTERFACE_DELETED,
    EventKind.NETINTERFACE_STATE: Change.NETINTERFACE_STATE,
    EventKind.NETINTERFACE_PROPERTY: Change.NETINTERFACE_PROPERTY,
    EventKind.GROUP_ADDED: Change.GROUP_ADDED,
    EventKind.GROUP_DELETED: Change.GROUP_DELETED,
    EventKind.GROUP_STATE: Change.GROUP_STATE,
    EventKind.GROUP_OWNER: Change.GROUP_STATE,
    EventKind.GROUP_PROPERTY: Change.GROUP_PROPERTY,
    EventKind.RESOURCE_ADDED: Change.RESOURCE_ADDED,
    EventKind.RESOURCE_DELETED: Change.RESOURCE_DELETED,
    EventKind.RESOURCE_STATE: Change.RESOURCE_STATE,
    EventKind.RESOURCE_FAILED: Change.RESOURCE_STATE,
    EventKind.RESOURCE_PROPERTY: Change.RESOURCE_PROPERTY,
    EventKind.REGISTRY_KEY: Change.REGISTRY_NAME,
    EventKind.REGISTRY_SECURITY: Change.REGISTRY_ATTRIBUTES,
    EventKind.REGISTRY_VALUE: Change.REGISTRY_VALUE,
    EventKind.RESOURCE_TYPE_ADDED: Change.RESOURCE_TYPE_ADDED,
    EventKind.RESOURCE_TYPE_DELETED: Change.RESOURCE_TYPE_DELETED,
    EventKind.GROUP_SET_ADDED: Change.CLUSTER_PROPERTY,  # the first generation of notifications knows no group sets
    EventKind.GROUP_SET_DELETED: Change.CLUSTER_PROPERTY,
    EventKind.GROUP_SET_PROPERTY: Change.CLUSTER_PROPERTY,
    EventKind.MONITOR_HUNG: Change.NODE_PROPERTY,  # a monitor process is the node's
    EventKind.MONITOR_LOST: Change.NODE_PROPERTY,
    EventKind.MONITOR_STARTED: Change.NODE_PROPERTY,
    EventKind.VM_CREATED: Change.GROUP_ADDED | Change.RESOURCE_ADDED,
    EventKind.VM_DELETED: Change.GROUP_DELETED | Change.RESOURCE_DELETED,
}


def change_of(kind: str) -> Change:
    """Say which change bits an event of this kind has unless it names its own: of VMs, what their resource shows."""
    try:
        return _CHANGE_OF_KIND.get(EventKind(kind), Change.RESOURCE_PROPERTY)
    except ValueError:
        return Change.NONE


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event. ``before`` and ``after`` hold what changed, in JSON; ``sentence`` says it to people."""

    time: datetime
    node: NodeId
    kind: str  # one of EventKind; a newer node may send words that this version does not know
    object_id: str
    object_name: str
    sentence: str
    change: int = 0
    before: JsonValue = None
    after: JsonValue = None
    actor: str = ""  # who asked: an account, or "node 2" for the cluster's own doing
    operation_id: str = ""  # the request that caused it, on whichever node it arrived
    cause_id: str = ""  # what came before: a session, or the operation id of an earlier event
    sequence: int = 0
    version: int = EVENT_SCHEMA
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        kind: EventKind,
        *,
        time: datetime,
        node: NodeId,
        object_id: str,
        object_name: str,
        sentence: str,
        before: JsonValue = None,
        after: JsonValue = None,
        actor: str = "",
        operation_id: str = "",
        cause_id: str = "",
    ) -> Self:
        """Make an event of a kind, with that kind's change bits."""
        return cls(
            time=time,
            node=node,
            kind=str(kind),
            object_id=object_id,
            object_name=object_name,
            sentence=sentence,
            change=int(change_of(kind)),
            before=before,
            after=after,
            actor=actor,
            operation_id=operation_id,
            cause_id=cause_id,
        )

    def stored_at(self, sequence: int) -> Self:
        """The same event with the revision at which the database holds it."""
        return replace(self, sequence=sequence)

    def to_json(self) -> dict[str, JsonValue]:
        """Write it as every face shows it."""
        return {
            **self.extra,
            "version": self.version,
            "sequence": str(self.sequence),
            "time": self.time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "node": self.node,
            "kind": self.kind,
            "object_id": self.object_id,
            "object_name": self.object_name,
            "change": self.change,
            "before": self.before,
            "after": self.after,
            "actor": self.actor,
            "operation_id": self.operation_id,
            "cause_id": self.cause_id,
            "sentence": self.sentence,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read it back. Raises CallerError ERROR_INVALID_DATA when it is not what ``to_json`` writes."""
        try:
            return cls(
                time=datetime.fromisoformat(_text(value, "time")),
                node=NodeId(_text(value, "node")),
                kind=_text(value, "kind"),
                object_id=_text(value, "object_id"),
                object_name=_text(value, "object_name"),
                sentence=_text(value, "sentence"),
                change=_number(value, "change"),
                before=value.get("before"),
                after=value.get("after"),
                actor=_text(value, "actor"),
                operation_id=_text(value, "operation_id"),
                cause_id=_text(value, "cause_id"),
                sequence=int(_text(value, "sequence")),
                version=_number(value, "version"),
                extra={name: member for name, member in value.items() if name not in _KNOWN},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CallerError(Status.ERROR_INVALID_DATA, f"an event record is unreadable: {error}") from error

    def encode(self) -> bytes:
        """Write it as the database holds it."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what the database holds. Raises CallerError ERROR_INVALID_DATA when it is no event."""
        try:
            value = json.loads(data)
        except ValueError as error:
            raise CallerError(Status.ERROR_INVALID_DATA, f"an event record is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise CallerError(Status.ERROR_INVALID_DATA, "an event record is no JSON object")
        return cls.from_json(value)


_KNOWN: Final = frozenset(
    {
        "version", "sequence", "time", "node", "kind", "object_id", "object_name", "change", "before", "after",
        "actor", "operation_id", "cause_id", "sentence",
    }
)  # fmt: skip


def _text(value: JsonObject, name: str) -> str:
    member = value[name]
    if not isinstance(member, str):
        raise TypeError(f"{name} is not a text")
    return member


def _number(value: JsonObject, name: str) -> int:
    member = value[name]
    if not isinstance(member, int) or isinstance(member, bool):
        raise TypeError(f"{name} is not a number")
    return member
