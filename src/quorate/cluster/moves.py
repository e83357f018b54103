"""What is known of moves that wait or are under way, and of nodes that are being drained: records of the database.

The records are the truth, and whoever coordinates reads them anew: a queue or a drain does not end with the daemon that
has begun it. Times are the *cluster's time* (`picture.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import (
    GroupStatus,
    NodeDrainStatus,
    NodePauseFlags,
    NodeResumeFailbackType,
    VmResdllContext,
)

DEFAULT_PARALLEL: Final = 1
"""MaximumParallelMigrations where the cluster does not say otherwise."""
OFFLINE_PER_NODE: Final = 8
"""Moves that copy no memory, away from one node at a time: they cost starts and writes, not the link."""


class Cause(Enum):
    """Who wants a group moved."""

    ASKED = "asked"
    """A person, or the group's owner by its failback policy. The owner keeps the entry, and ends it."""
    DRAIN = "drain"
    """Its node is being drained. The coordinator keeps the entry."""
    RETURN = "return"
    """The node from which it was drained has been resumed. The coordinator keeps the entry."""


class Stage(Enum):
    """Where a move stands."""

    WAITING = "waiting"
    """In the queue (StatusInformation 0x4 of the group)."""
    BEGUN = "begun"
    """It has its places, and its destination: the owner carries it out."""
    FAILED = "failed"
    """It came to nothing, and the coordinator has yet to draw the consequences."""


@dataclass(frozen=True, slots=True)
class Move:
    """The entry of one group in the queue; there is never more than one."""

    group: GroupId
    source: NodeId
    """Who owned it when the entry was made; under another owner it is void."""
    cause: Cause
    asked_at: float
    how: VmResdllContext = VmResdllContext.LIVE_MIGRATION
    """What becomes of a virtual machine that runs."""
    destination: NodeId | None = None
    """None: chosen when it begins."""
    stage: Stage = Stage.WAITING
    begun_at: float | None = None
    session: str = ""
    """Of the live migration, where it was given when the move was asked for."""
    policy: str = ""
    """Of the live migration, where one was named when the move was asked for."""
    bandwidth_limit: int = 0
    """MiB/s of the live migration, where a limit was named when the move was asked for; 0: none was."""
    drain: str = ""
    """The drain that it belongs to, by id."""
    parks: bool = False
    """It may be stopped and go to a node that has no room for it now: a drain that leaves nothing behind."""
    status: GroupStatus = GroupStatus.NORMAL
    """What keeps it offline where it goes."""
    is_final: bool = False
    """FAILED because somebody has cancelled it: it is not tried again by itself."""
    sentence: str = ""
    revision: int = 0
    """Of the record; 0: there is none yet."""

    @property
    def is_live(self) -> bool:
        """Tell whether it copies memory, if the virtual machine runs."""
        return self.how is VmResdllContext.LIVE_MIGRATION

    @property
    def is_of_coordinator(self) -> bool:
        """Tell whether the coordinator has made the entry, and wants to know what became of it."""
        return self.cause is not Cause.ASKED


class DrainStage(Enum):
    """Where the drain of a node stands."""

    DRAINING = "draining"
    COMPLETED = "completed"
    FAILED = "failed"
    """Something stays, and the record says what and why."""
    RETURNING = "returning"
    """The node was resumed: what was drained from it comes back."""


DRAIN_STATUS: Final = {
    DrainStage.DRAINING: NodeDrainStatus.IN_PROGRESS,
    DrainStage.COMPLETED: NodeDrainStatus.COMPLETED,
    DrainStage.FAILED: NodeDrainStatus.FAILED,
    DrainStage.RETURNING: NodeDrainStatus.NOT_INITIATED,
}
"""NodeDrainStatus as ClusAPI shows it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A group that did not go when it was to."""

    attempts: int
    """In the present way (`how`)."""
    how: VmResdllContext
    """How it is tried next."""
    sentence: str
    again_at: float | None = None
    """When it is tried again; None: not by itself."""
    nodes: tuple[NodeId, ...] = ()
    """Where it was to go and did not arrive; they come last."""
    nowhere: bool = False
    """No node could take it: it goes as soon as one can, while the drain lasts."""


@dataclass(frozen=True, slots=True)
class Drain:
    """The drain of one node."""

    node: NodeId
    id: str
    """A GUID. Groups that were moved carry it in their run state, so that it is known what may come back."""
    started: float
    target: NodeId | None = None
    """NodeDrainTarget: where everything goes; None: where placement says."""
    flags: NodePauseFlags = NodePauseFlags.NONE
    stage: DrainStage = DrainStage.DRAINING
    total: int = 0
    """Groups that the node had when it began."""
    troubles: Mapping[GroupId, Trouble] = field(default_factory=dict)
    failback: NodeResumeFailbackType = NodeResumeFailbackType.DO_NOT_FAIL_BACK
    """RETURNING: who comes back."""
    sentence: str = ""
    revision: int = 0

    @property
    def remains(self) -> bool:
        """Tell whether what cannot move gracefully stays (CLUSAPI_NODE_PAUSE_REMAIN_ON_PAUSED_NODE_ON_MOVE_ERROR)."""
        return bool(self.flags & NodePauseFlags.REMAIN_ON_PAUSED_NODE_ON_MOVE_ERROR)

    @property
    def retries(self) -> bool:
        """Tell whether it goes on trying until the node is empty (CLUSAPI_NODE_PAUSE_RETRY_DRAIN_ON_FAILURE)."""
        return bool(self.flags & NodePauseFlags.RETRY_DRAIN_ON_FAILURE)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many moves may be under way at a time."""

    per_node: int = DEFAULT_PARALLEL
    """Live ones of a node, in and out together (MaximumParallelMigrations)."""
    per_link: int | None = None
    """Live ones between one pair of nodes; None: as the nodes allow."""
    offline_per_node: int = OFFLINE_PER_NODE
    """Others away from a node."""


# --- what is written -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PutMove:
    """Write an entry over the one of revision ``expected`` (0: there is none)."""

    move: Move
    expected: int


@dataclass(frozen=True, slots=True)
class DropMove:
    """Take an entry off the queue."""

    group: GroupId
    expected: int
    sentence: str


@dataclass(frozen=True, slots=True)
class PutDrain:
    """Write a drain, and what the node shows of it (NodeDrainStatus, NodeDrainTarget, StatusInformation)."""

    drain: Drain
    expected: int
    sentence: str = ""
    """For people; empty where nothing is to be told."""


@dataclass(frozen=True, slots=True)
class DropDrain:
    """Forget a drain whose node was resumed, as nothing of it is left to do."""

    node: NodeId
    expected: int
    sentence: str


Change: TypeAlias = PutMove | DropMove | PutDrain | DropDrain
