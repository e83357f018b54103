"""What is remembered for failover: of each group in its run state, and of the cluster in its coordinator's record.

Times in these records are the *cluster's time*: seconds for which the cluster has had a coordinator. The coordinator
notes it once a minute, and everybody counts on from there on CLOCK_BOOTTIME. It means the same on every node, no wall
clock that is set can move it, and it stands still while the cluster does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.database.documents import Document, Fields, parse_document, write_document


@dataclass(frozen=True, slots=True)
class FailoverNote:
    """One failover of a group that had failed: when, and where it had failed."""

    at: float
    node: NodeId


@dataclass(frozen=True, slots=True)
class FailoverState:
    """What the failover policy remembers of a group."""

    failovers: tuple[FailoverNote, ...] = ()
    failed_at: float | None = None
    """When the policy gave up: the group stays Failed until its one retry, or until a person acts."""
    retried: bool = False
    """The retry after RetryPeriodOnFailure was made, and failed."""
    away: bool = False
    """A failover has brought the group where it is; its failback policy may bring it home."""
    sentence: str = ""
    """Why the group is not online though it is wanted online."""
    drained: str = ""
    """The drain that has brought the group where it is, by id; records of older versions lack it."""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    def to_json(self) -> Document:
        """Write it as part of the group's run state."""
        return {
            **self.extra,
            "failovers": [{"at": one.at, "node": one.node} for one in self.failovers],
            "failed_at": self.failed_at,
            "retried": self.retried,
            "away": self.away,
            "sentence": self.sentence,
            "drained": self.drained,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read what ``to_json`` wrote. Raises FaultError when it is damaged."""
        fields = Fields("a group's failover state", {"drained": "", **value})
        notes = [Fields("a failover", one) for one in fields.objects("failovers")]
        return cls(
            failovers=tuple(FailoverNote(note.duration("at"), NodeId(note.text("node"))) for note in notes),
            failed_at=fields.optional_duration("failed_at"),
            retried=fields.flag("retried"),
            away=fields.flag("away"),
            sentence=fields.text("sentence"),
            drained=fields.text("drained"),
            extra=fields.rest(),
        )


@dataclass(frozen=True, slots=True)
class LapseNote:
    """A lease that ended without a farewell."""

    node: NodeId
    incarnation: str
    at: float


@dataclass(frozen=True, slots=True)
class CoordinatorRecord:
    """Who coordinates, what time it is in the cluster, and whom the cluster distrusts.

    The role is valid while that node's lease goes on under that incarnation.
    """

    node: NodeId
    incarnation: str
    clock: float = 0.0
    """The cluster's time at this write."""
    formed: float = 0.0
    """The cluster's time when a coordinator last took the role while no other node was there."""
    lapses: tuple[LapseNote, ...] = ()
    quarantined: Mapping[NodeId, float | None] = field(default_factory=dict)
    """Until when; None: until a person ends it."""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {
            "node": self.node,
            "incarnation": self.incarnation,
            "clock": self.clock,
            "formed": self.formed,
            "lapses": [{"node": one.node, "incarnation": one.incarnation, "at": one.at} for one in self.lapses],
            "quarantined": {str(node): until for node, until in self.quarantined.items()},
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields("the coordinator's record", parse_document(data, cls.VERSION, "the coordinator's record"))
        lapses = [Fields("a lapse", one) for one in fields.objects("lapses")]
        until = Fields("the quarantines", fields.object_("quarantined"))
        return cls(
            node=NodeId(fields.text("node")),
            incarnation=fields.text("incarnation"),
            clock=fields.duration("clock"),
            formed=fields.duration("formed"),
            lapses=tuple(
                LapseNote(NodeId(one.text("node")), one.text("incarnation"), one.duration("at")) for one in lapses
            ),
            quarantined={NodeId(node): until.optional_duration(node) for node in tuple(until.rest())},
            extra=fields.rest(),
        )
