"""The records of the private namespace: typed, versioned, in JSON.

A record of a version that this program does not know is refused; a field that it does not know is kept in ``extra`` and
written again, so that a newer node may add fields while older ones still write.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Self, TypeVar

from quorate.clusapi.identity import ImageId, NodeId, ResourceId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.database.documents import Document, Fields, parse_document, write_document
from quorate.database.failover_records import FailoverState

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T_co]):
    """A record's content and the revision at which it stood: what a compare-and-swap needs."""

    value: T_co
    revision: int


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who may run a group. Every write is a compare-and-swap on the whole record and raises the epoch by one.

    ``image`` is the only memory image that may be resumed, ``giver_image`` the one that the ``giver`` still keeps
    paused while the holder has not yet marked the record.
    """

    holder: NodeId
    epoch: int
    image: ImageId | None = None
    giver_image: ImageId | None = None
    giver: NodeId | None = None
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {
            "holder": self.holder,
            "epoch": self.epoch,
            "image": self.image,
            "giver_image": self.giver_image,
            "giver": self.giver,
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields("an ownership record", parse_document(data, cls.VERSION, "an ownership record"))
        return cls(
            holder=NodeId(fields.text("holder")),
            epoch=fields.number("epoch"),
            image=fields.optional("image", ImageId),
            giver_image=fields.optional("giver_image", ImageId),
            giver=fields.optional("giver", NodeId),
            extra=fields.rest(),
        )


@dataclass(frozen=True, slots=True)
class VmRunState:
    """What is durable of a VM's state: VmState and the migration's outcome as ClusAPI shows them, and a saved image."""

    vm_state: int
    migration_state: int = 0
    migration_failure_reason: int = 0
    saved_image: ImageId | None = None
    saved_path: str | None = None
    sentence: str = ""
    migration_progress: int = 0
    """What MigrationProgress showed last; records of older versions lack it."""
    last_rate: int = 0
    """Bytes per second that got across in its last live migration; 0: not measured. Older versions lack it."""
    last_dirty_rate: int = 0
    """Bytes per second that its guest dirtied meanwhile."""
    paused: bool = False
    """Its user wants its processors to stand, also after it was saved and restored. Older versions lack it."""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    def to_json(self) -> Document:
        """Write it as part of the group's run state."""
        return {
            **self.extra,
            "vm_state": self.vm_state,
            "migration_state": self.migration_state,
            "migration_failure_reason": self.migration_failure_reason,
            "saved_image": self.saved_image,
            "saved_path": self.saved_path,
            "sentence": self.sentence,
            "migration_progress": self.migration_progress,
            "last_rate": self.last_rate,
            "last_dirty_rate": self.last_dirty_rate,
            "paused": self.paused,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read what ``to_json`` wrote. Raises FaultError when it is damaged."""
        lacking = {"migration_progress": 0, "last_rate": 0, "last_dirty_rate": 0, "paused": False}
        fields = Fields("a VM's run state", {**lacking, **value})
        return cls(
            vm_state=fields.number("vm_state"),
            migration_state=fields.number("migration_state"),
            migration_failure_reason=fields.number("migration_failure_reason"),
            saved_image=fields.optional("saved_image", ImageId),
            saved_path=fields.optional("saved_path", str),
            sentence=fields.text("sentence"),
            migration_progress=fields.number("migration_progress"),
            last_rate=fields.number("last_rate"),
            last_dirty_rate=fields.number("last_dirty_rate"),
            paused=fields.flag("paused"),
            extra=fields.rest(),
        )


@dataclass(frozen=True, slots=True)
class RunState:
    """What the owner of a group writes about it: wanted online or not, the states of its resources, its VM."""

    persistent_state: bool = False
    default_owner: NodeId | None = None
    resource_states: Mapping[ResourceId, int] = field(default_factory=dict)
    vm: VmRunState | None = None
    status_information: int = 0
    failover: FailoverState = field(default_factory=FailoverState)
    """What the failover policy remembers; records of older versions lack it."""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {
            "persistent_state": self.persistent_state,
            "default_owner": self.default_owner,
            "resource_states": {str(key): int(state) for key, state in self.resource_states.items()},
            "vm": None if self.vm is None else self.vm.to_json(),
            "status_information": self.status_information,
            "failover": self.failover.to_json(),
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        older: Document = {"failover": FailoverState().to_json()}
        fields = Fields("a run state", document := {**older, **parse_document(data, cls.VERSION, "a run state")})
        states = Fields("a run state", fields.object_("resource_states"))
        vm = None if document.get("vm") is None else VmRunState.from_json(fields.object_("vm"))
        fields.optional("vm", str)  # an explicit null is no unknown field
        return cls(
            persistent_state=fields.flag("persistent_state"),
            default_owner=fields.optional("default_owner", NodeId),
            resource_states={ResourceId(key): states.number(key) for key in tuple(states.rest())},
            vm=vm,
            status_information=fields.number("status_information"),
            failover=FailoverState.from_json(fields.object_("failover")),
            extra=fields.rest(),
        )


@dataclass(frozen=True, slots=True)
class Lease:
    """A node's sign of life: it is valid for ``duration`` seconds from the moment its renewal was sent (R9).

    What follows ``duration`` came later: a record that lacks it was written by a program without a guard, and what it
    then reads as lets nobody conclude from time alone that the node is dead (R10).
    """

    incarnation: str
    sequence: int
    duration: float
    seen: int = 0
    """The store's revision of the newest view that the node had when it sent this renewal: whom it would ask for a
    promise."""
    resilience: float = 0.0
    """Seconds for which the node may go on beyond the lease by promises, where not every configured node promised."""
    ended: bool = False
    """Somebody else has ended it: the node is Down as a fact of the database, and goes on as another incarnation."""
    joining: bool = False
    """The node has not yet recovered what it had, and its doors are not open."""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {
            "incarnation": self.incarnation,
            "sequence": self.sequence,
            "duration": self.duration,
            "seen": self.seen,
            "resilience": self.resilience,
            "ended": self.ended,
            "joining": self.joining,
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        older: Document = {"seen": 0, "resilience": 0.0, "ended": False, "joining": False}
        fields = Fields("a lease", {**older, **parse_document(data, cls.VERSION, "a lease")})
        return cls(
            incarnation=fields.text("incarnation"),
            sequence=fields.number("sequence"),
            duration=fields.duration("duration"),
            seen=fields.number("seen"),
            resilience=fields.duration("resilience"),
            ended=fields.flag("ended"),
            joining=fields.flag("joining"),
            extra=fields.rest(),
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """Written in the transaction that admits a node, and never again: the record's revision is that of the admission.

    Whoever had a view of that revision or a later one knew of the node (R10).
    """

    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        return write_document(self.VERSION, {}, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        return cls(Fields("an admission", parse_document(data, cls.VERSION, "an admission")).rest())


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the other nodes need to reach a node's daemon, and what it said about its host when it started.

    Addresses are written "unix:/path" or "host:port"; ``hypervisor`` is the driver's own description of the host.
    """

    http_address: str
    peers_address: str
    pid: int
    version: str
    hypervisor: JsonObject = field(default_factory=dict)
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {
            "http_address": self.http_address,
            "peers_address": self.peers_address,
            "pid": self.pid,
            "program_version": self.version,
            "hypervisor": self.hypervisor,
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields("a node's facts", parse_document(data, cls.VERSION, "a node's facts"))
        return cls(
            http_address=fields.text("http_address"),
            peers_address=fields.text("peers_address"),
            pid=fields.number("pid"),
            version=fields.text("program_version"),
            hypervisor=fields.object_("hypervisor"),
            extra=fields.rest(),
        )


@dataclass(frozen=True, slots=True)
class NameEntry:
    """An entry of the name index: the object that has a name. It exists exactly as long as the name is taken."""

    id: str
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        return write_document(self.VERSION, {"id": self.id}, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields("a name's entry", parse_document(data, cls.VERSION, "a name's entry"))
        return cls(fields.text("id"), fields.rest())


@dataclass(frozen=True, slots=True)
class Counter:
    """The last number that was given; none is ever given twice."""

    last: int
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        return write_document(self.VERSION, {"last": self.last}, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields("a counter", parse_document(data, cls.VERSION, "a counter"))
        return cls(fields.number("last"), fields.rest())


SCHEMA: Final = 1
"""The version of the layout of the whole cluster database (keys.py), in the record ``private/schema``."""


def encode_schema() -> bytes:
    """Write the record ``private/schema``."""
    return write_document(SCHEMA, {}, {})


def check_schema(data: bytes) -> None:
    """Read the record ``private/schema``. Raises FaultError when it is newer than this program."""
    parse_document(data, SCHEMA, "the cluster database")
