"""The records of moves that wait or are under way, and of nodes that are drained (`quorate.cluster.moves` says more).

`private/moves/<group>` is the queue: one entry of each group at most. `private/drains/<node>` is a drain, or the return
after it. `private/queue` is written by every transaction by which a move begins, and compared by it. Times are the
cluster's time (failover_records.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.states import NodeDrainStatus, NodeStatus
from quorate.database import keys
from quorate.database.documents import Document, Fields, parse_document, write_document
from quorate.database.plan import Plan


@dataclass(frozen=True, slots=True)
class MoveRecord:
    """The entry of a group in the queue. Words as in `quorate.cluster.moves`, numbers as ClusAPI has them."""

    source: NodeId
    cause: str
    asked_at: float
    how: int
    stage: str
    destination: NodeId | None = None
    begun_at: float | None = None
    session: str = ""
    policy: str = ""
    bandwidth_limit: int = 0
    drain: str = ""
    parks: bool = False
    status: int = 0
    is_final: bool = False
    sentence: str = ""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {
            "source": self.source,
            "cause": self.cause,
            "asked_at": self.asked_at,
            "how": self.how,
            "stage": self.stage,
            "destination": self.destination,
            "begun_at": self.begun_at,
            "session": self.session,
            "policy": self.policy,
            "bandwidth_limit": self.bandwidth_limit,
            "drain": self.drain,
            "parks": self.parks,
            "status": self.status,
            "is_final": self.is_final,
            "sentence": self.sentence,
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        found = parse_document(data, cls.VERSION, "an entry of the queue")
        fields = Fields("an entry of the queue", {"bandwidth_limit": 0, **found})
        return cls(
            source=NodeId(fields.text("source")),
            cause=fields.text("cause"),
            asked_at=fields.duration("asked_at"),
            how=fields.number("how"),
            stage=fields.text("stage"),
            destination=fields.optional("destination", NodeId),
            begun_at=fields.optional_duration("begun_at"),
            session=fields.text("session"),
            policy=fields.optional("policy", str) or "",  # entries of an earlier version have none
            bandwidth_limit=fields.number("bandwidth_limit"),
            drain=fields.text("drain"),
            parks=fields.flag("parks"),
            status=fields.number("status"),
            is_final=fields.flag("is_final"),
            sentence=fields.text("sentence"),
            extra=fields.rest(),
        )


@dataclass(frozen=True, slots=True)
class TroubleNote:
    """A group that did not go when it was to."""

    attempts: int
    how: int
    sentence: str
    again_at: float | None = None
    nodes: tuple[NodeId, ...] = ()
    nowhere: bool = False

    def to_json(self) -> Document:
        """Write it as part of a drain."""
        return {
            "attempts": self.attempts,
            "how": self.how,
            "sentence": self.sentence,
            "again_at": self.again_at,
            "nodes": list(self.nodes),
            "nowhere": self.nowhere,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Read what ``to_json`` wrote."""
        return cls(
            attempts=fields.number("attempts"),
            how=fields.number("how"),
            sentence=fields.text("sentence"),
            again_at=fields.optional_duration("again_at"),
            nodes=tuple(NodeId(node) for node in fields.texts("nodes")),
            nowhere=fields.flag("nowhere"),
        )


@dataclass(frozen=True, slots=True)
class DrainRecord:
    """The drain of a node."""

    id: str
    started: float
    stage: str
    target: NodeId | None = None
    flags: int = 0
    total: int = 0
    troubles: Mapping[GroupId, TroubleNote] = field(default_factory=dict)
    failback: int = 0
    sentence: str = ""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {
            "id": self.id,
            "started": self.started,
            "stage": self.stage,
            "target": self.target,
            "flags": self.flags,
            "total": self.total,
            "troubles": {str(group): note.to_json() for group, note in self.troubles.items()},
            "failback": self.failback,
            "sentence": self.sentence,
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields("a drain", parse_document(data, cls.VERSION, "a drain"))
        troubles = Fields("the troubles of a drain", fields.object_("troubles"))
        return cls(
            id=fields.text("id"),
            started=fields.duration("started"),
            stage=fields.text("stage"),
            target=fields.optional("target", NodeId),
            flags=fields.number("flags"),
            total=fields.number("total"),
            troubles={
                GroupId(group): TroubleNote.from_json(Fields("a trouble of a drain", troubles.object_(group)))
                for group in tuple(troubles.rest())
            },
            failback=fields.number("failback"),
            sentence=fields.text("sentence"),
            extra=fields.rest(),
        )


@dataclass(frozen=True, slots=True)
class QueueTurn:
    """The record that every transaction compares and writes by which a move begins; its content means nothing."""

    count: int = 0
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        return write_document(self.VERSION, {"count": self.count}, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields("the queue's turn", parse_document(data, cls.VERSION, "the queue's turn"))
        return cls(fields.number("count"), fields.rest())


# --- writes ----------------------------------------------------------------------------------------------------------


class QueuedWrite(Enum):
    """What became of a run state that was written together with an entry of the queue."""

    LANDED = "landed"
    NOT_OWNER = "not owner"
    """The group's ownership record has changed meanwhile."""
    QUEUE_MOVED = "queue moved"
    """The entry, or the queue's turn, stood elsewhere than it was read."""


@dataclass(frozen=True, slots=True)
class MoveWrite:
    """A change of one entry of the queue, as part of a transaction."""

    group: GroupId
    record: MoveRecord | None
    """None: it is taken off."""
    expected: int
    """The revision that it is written over; 0: there is none."""
    turn: int | None = None
    """The revision of the queue's turn, where a move begins by this."""

    def add_to(self, plan: Plan) -> None:
        """Add it to a transaction."""
        key = keys.move(self.group)
        plan.compares[key] = self.expected
        plan.writes[key] = None if self.record is None else self.record.encode()
        if self.turn is not None:
            take_turn(plan, self.turn)


def take_turn(plan: Plan, turn: int) -> None:
    """Make a transaction the only one that lets moves begin since the revision ``turn``."""
    plan.compares[keys.QUEUE] = turn
    plan.put(keys.QUEUE, QueueTurn(turn).encode())


DRAIN_BITS = NodeStatus.DRAIN_IN_PROGRESS | NodeStatus.DRAIN_COMPLETED | NodeStatus.DRAIN_FAILED
BIT_OF = {
    NodeDrainStatus.NOT_INITIATED: NodeStatus.NORMAL,
    NodeDrainStatus.IN_PROGRESS: NodeStatus.DRAIN_IN_PROGRESS,
    NodeDrainStatus.COMPLETED: NodeStatus.DRAIN_COMPLETED,
    NodeDrainStatus.FAILED: NodeStatus.DRAIN_FAILED,
}
"""StatusInformation of a node whose NodeDrainStatus is this."""
