"""The records of the private namespace: typed, versioned, in JSON.

A record of a version that this program does not know is refused; a field that it does not know is kept in ``extra`` and
written again, so that a newer node may add fields while older ones still write.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Self, TypeAlias, TypeVar

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import ImageId, NodeId, ResourceId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.status import Status

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Document: TypeAlias = "dict[str, JsonValue]"


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T_co]):
    """A record's content and the revision at which it stood: what a compare-and-swap needs."""

    value: T_co
    revision: int


def write_document(version: int, fields: JsonObject, extra: JsonObject) -> bytes:
    """Write a record; fields that another version left in ``extra`` are kept."""
    return json.dumps({**extra, **fields, "version": version}, sort_keys=True, separators=(",", ":")).encode()


def parse_document(data: bytes, newest: int, what: str) -> Document:
    """Read a record's fields without its version. Raises FaultError: damaged, or newer than this program."""
    try:
        document = json.loads(data)
    except ValueError as error:
        raise _damaged(what, str(error)) from error
    if not isinstance(document, dict):
        raise _damaged(what, "not an object")
    version = document.pop("version", None)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _damaged(what, f"version {version!r}")
    if version > newest:
        raise FaultError(
            Status.ERROR_CLUSTER_OLD_VERSION,
            f"{what} has version {version}, written by a newer Quorate; this one reads up to {newest}: upgrade it",
        )
    return document


def _damaged(what: str, reason: str) -> FaultError:
    sentence = f"{what} in the cluster database is damaged: {reason}"
    return FaultError(Status.ERROR_CLUSTER_CANT_DESERIALIZE_DATA, sentence)


class _Fields:
    """Takes the fields of a document one by one, with their types; what is left over is ``extra``."""

    def __init__(self, what: str, document: Mapping[str, JsonValue]) -> None:
        self._what = what
        self._left: Document = dict(document)

    def text(self, name: str) -> str:
        value = self._left.pop(name, None)
        if not isinstance(value, str):
            raise _damaged(self._what, f"{name} is {value!r}, not a text")
        return value

    def optional(self, name: str, kind: Callable[[str], T]) -> T | None:
        if self._left.get(name) is None:
            self._left.pop(name, None)
            return None
        return kind(self.text(name))

    def number(self, name: str) -> int:
        value = self._left.pop(name, None)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _damaged(self._what, f"{name} is {value!r}, not a whole number")
        return value

    def duration(self, name: str) -> float:
        value = self._left.pop(name, None)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _damaged(self._what, f"{name} is {value!r}, not a number of seconds")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self._left.pop(name, None)
        if not isinstance(value, bool):
            raise _damaged(self._what, f"{name} is {value!r}, not true or false")
        return value

    def object_(self, name: str) -> JsonObject:
        value = self._left.pop(name, None)
        if not isinstance(value, Mapping):
            raise _damaged(self._what, f"{name} is {value!r}, not an object")
        return value

    def rest(self) -> JsonObject:
        return self._left


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
        fields = _Fields("an ownership record", parse_document(data, cls.VERSION, "an ownership record"))
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
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read what ``to_json`` wrote. Raises FaultError when it is damaged."""
        fields = _Fields("a VM's run state", {"migration_progress": 0, **value})
        return cls(
            vm_state=fields.number("vm_state"),
            migration_state=fields.number("migration_state"),
            migration_failure_reason=fields.number("migration_failure_reason"),
            saved_image=fields.optional("saved_image", ImageId),
            saved_path=fields.optional("saved_path", str),
            sentence=fields.text("sentence"),
            migration_progress=fields.number("migration_progress"),
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
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = _Fields("a run state", document := parse_document(data, cls.VERSION, "a run state"))
        states = _Fields("a run state", fields.object_("resource_states"))
        vm = None if document.get("vm") is None else VmRunState.from_json(fields.object_("vm"))
        fields.optional("vm", str)  # an explicit null is no unknown field
        return cls(
            persistent_state=fields.flag("persistent_state"),
            default_owner=fields.optional("default_owner", NodeId),
            resource_states={ResourceId(key): states.number(key) for key in tuple(states.rest())},
            vm=vm,
            status_information=fields.number("status_information"),
            extra=fields.rest(),
        )


@dataclass(frozen=True, slots=True)
class Lease:
    """A node's sign of life: it is valid for ``duration`` seconds from the moment its renewal was sent."""

    incarnation: str
    sequence: int
    duration: float
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {"incarnation": self.incarnation, "sequence": self.sequence, "duration": self.duration}
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = _Fields("a lease", parse_document(data, cls.VERSION, "a lease"))
        return cls(
            incarnation=fields.text("incarnation"),
            sequence=fields.number("sequence"),
            duration=fields.duration("duration"),
            extra=fields.rest(),
        )


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
        fields = _Fields("a node's facts", parse_document(data, cls.VERSION, "a node's facts"))
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
        fields = _Fields("a name's entry", parse_document(data, cls.VERSION, "a name's entry"))
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
        fields = _Fields("a counter", parse_document(data, cls.VERSION, "a counter"))
        return cls(fields.number("last"), fields.rest())


SCHEMA: Final = 1
"""The version of the layout of the whole cluster database (keys.py), in the record ``private/schema``."""


def encode_schema() -> bytes:
    """Write the record ``private/schema``."""
    return write_document(SCHEMA, {}, {})


def check_schema(data: bytes) -> None:
    """Read the record ``private/schema``. Raises FaultError when it is newer than this program."""
    parse_document(data, SCHEMA, "the cluster database")
