"""The cluster at one moment, as the brains of this package look at it: immutable, and nothing in it is a question.

The hands build a picture from the database's snapshot and from what this node knows of the others
(`engine/pictures.py`).
Two clocks appear in it and are never mixed: `now` is CLOCK_BOOTTIME of the node that looks, for deadlines of leases;
`clock` is the *cluster's time*, seconds for which the cluster has had a coordinator. The latter has the same meaning on
every node and no wall clock can move it: what counts failovers within hours is written in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import (
    GroupPriority,
    GroupStatus,
    GroupType,
    NodeState,
    NodeStatus,
    ResourceState,
    VmResdllContext,
)
from quorate.cluster.groups import Groups
from quorate.cluster.lease import MARGIN
from quorate.cluster.moves import Drain, Limits, Move

AS_MANY_AS_OTHER_NODES: Final = 0xFFFFFFFF
"""FailoverThreshold: the number of nodes less one."""
NO_HOUR: Final = 0xFFFFFFFF
"""FailbackWindowStart and FailbackWindowEnd: no window."""
PARKED: Final = GroupStatus.PHYSICAL_RESOURCES_LACKING | GroupStatus.OFFLINE_DUE_TO_ANTIAFFINITY_CONFLICT
"""A group with one of these stays offline, though wanted online, until some node can take it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The cluster's common properties that decide here. Durations in seconds."""

    enforced_anti_affinity: bool = False
    """ClusterEnforcedAntiAffinity."""
    fixed_order: bool = False
    """DisableGroupPreferredOwnerRandomization."""
    ignore_persistent_state: bool = False
    """IgnorePersistentStateOnStartup."""
    group_wait_delay: float = 120.0
    """ClusterGroupWaitDelay."""
    lease_duration: float = 5.0
    """SameSubnetDelay x SameSubnetThreshold."""
    quarantine_threshold: int = 3
    """QuarantineThreshold: lapses within an hour."""
    quarantine_duration: int = 7200
    """QuarantineDuration; 0 quarantines nobody, 0xFFFFFFFF until a person ends it."""
    limits: Limits = field(default_factory=Limits)
    """How many moves may be under way at a time."""

    @property
    def restore_wait(self) -> float:
        """How long nodes are waited for that have not been up since a restore: no less than they may go on unseen."""
        return max(self.group_wait_delay, self.lease_duration + 2 * MARGIN)


@dataclass(frozen=True, slots=True)
class LeaseView:
    """A node's lease, as the node that looks may judge it (rules R9 and R10, `engine/membership.py`)."""

    revision: int
    incarnation: str
    is_ended: bool = False
    """It is a fact of the database that this lease is over: whoever compares this revision may take over (I4)."""
    may_end: bool = False
    """This node may make it such a fact now."""
    again_at: float | None = None
    """When to ask again, on CLOCK_BOOTTIME; None: time alone will not do."""
    sentence: str = ""
    is_restored: bool = False
    """The database was restored, and this node has not been up since."""


@dataclass(frozen=True, slots=True)
class NodePicture:
    """A node of the cluster."""

    id: NodeId
    name: str
    state: NodeState
    status: NodeStatus = NodeStatus.NORMAL
    memory: int | None = None
    """Bytes for virtual machines; None while the node has not said."""
    lease: LeaseView | None = None
    """None: the node has never been a member."""

    @property
    def is_dead(self) -> bool:
        """Tell whether its lease is over as a fact of the database."""
        return self.lease is not None and self.lease.is_ended

    @property
    def number(self) -> int:
        """The node's number, for an order that everybody agrees upon."""
        return int(self.id) if self.id.isdigit() else 1 << 30


@dataclass(frozen=True, slots=True)
class Failover:
    """One failover of a group because it failed; a node's death is none."""

    at: float
    """The cluster's time."""
    node: NodeId
    """Where it had failed."""


@dataclass(frozen=True, slots=True)
class GroupPicture:
    """A group with what decides where it goes."""

    id: GroupId
    name: str
    owner: NodeId
    epoch: int
    revision: int
    """Of the ownership record."""
    giver: NodeId | None = None
    """Who gave it in a live migration that is not marked yet, and still keeps its image."""
    group_type: int = GroupType.VIRTUAL_MACHINE
    priority: int = GroupPriority.MEDIUM
    wanted: bool = False
    """PersistentState: wanted online."""
    states: tuple[ResourceState, ...] = ()
    memory: int = 0
    """Bytes that its virtual machine commits; 0 for a group without one."""
    possible: frozenset[NodeId] | None = None
    """Possible owners of every one of its resources; None: all nodes."""
    preferred: tuple[NodeId, ...] = ()
    classes: frozenset[str] = frozenset()
    """AntiAffinityClassNames, folded."""
    failovers: tuple[Failover, ...] = ()
    failover_threshold: int = AS_MANY_AS_OTHER_NODES
    failover_period: int = 6
    """Hours."""
    failed_at: float | None = None
    """When the policy gave up, in the cluster's time: it stays Failed until its retry, or until a person acts."""
    status: GroupStatus = GroupStatus.NORMAL
    away: bool = False
    """A failover brought it where it is; by its AutoFailbackType it may go home."""
    failback: bool = False
    """AutoFailbackType."""
    failback_window: tuple[int, int] = (NO_HOUR, NO_HOUR)
    locked: bool = False
    """LockedFromMoving: no policy moves it from a living node; from a dead one it is taken all the same."""
    sentence: str = ""
    """Why it is not online though it is wanted online."""
    how: VmResdllContext = VmResdllContext.LIVE_MIGRATION
    """What becomes of its running virtual machine in a move of which nobody says it (DefaultMoveType)."""
    drained: str = ""
    """The drain that brought it where it is, by id."""
    fetches: bool = False
    """It runs where it is, and pages of its memory are still where it came from (post-copy)."""

    @property
    def runs(self) -> bool:
        """Tell whether anything of it is online or on its way, as its owner wrote last."""
        return any(state is ResourceState.ONLINE or state.is_pending for state in self.states)

    @property
    def starts_by_itself(self) -> bool:
        """Tell whether the cluster starts it: wanted online, not given up, and not of priority 0."""
        return self.wanted and self.priority > GroupPriority.DISABLED and self.failed_at is None

    @property
    def occupies(self) -> bool:
        """Tell whether its owner must keep its place free: it runs there, or will as soon as it may."""
        return self.runs or (self.starts_by_itself and not self.status & PARKED)


@dataclass(frozen=True, slots=True)
class Lapse:
    """A lease that ended without a farewell."""

    node: NodeId
    incarnation: str
    at: float
    """The cluster's time."""


@dataclass(frozen=True, slots=True)
class Role:
    """The coordinator's record."""

    node: NodeId
    incarnation: str
    revision: int
    clock: float = 0.0
    """The cluster's time when the record was written."""
    formed: float = 0.0
    """The cluster's time when a coordinator last took the role while no other node was there."""
    lapses: tuple[Lapse, ...] = ()
    quarantined: Mapping[NodeId, float | None] = field(default_factory=dict)
    """Until when, in the cluster's time; None: until a person ends it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The cluster at one revision of the database."""

    revision: int
    me: NodeId
    now: float
    """CLOCK_BOOTTIME."""
    clock: float
    """The cluster's time."""
    settings: Settings
    nodes: Mapping[NodeId, NodePicture]
    """In the order of their numbers."""
    groups: Mapping[GroupId, GroupPicture]
    role: Role | None = None
    moves: Mapping[GroupId, Move] = field(default_factory=dict)
    """The queue: what waits to be moved, and what is being moved."""
    drains: Mapping[NodeId, Drain] = field(default_factory=dict)
    turn: int = 0
    """The revision of the record that every transaction compares by which a move begins; 0: there is none."""

    @property
    def all(self) -> Groups:
        """The groups, and what is asked of all of them."""
        groups = self.groups
        if not isinstance(groups, Groups):
            groups = Groups(groups)
            object.__setattr__(self, "groups", groups)  # the same ones, counted
        return groups

    @property
    def waits_until(self) -> float:
        """Until when, in the cluster's time, nodes that have not been up since a restore are waited for."""
        return 0.0 if self.role is None else self.role.formed + self.settings.restore_wait

    def name(self, node: NodeId | None) -> str:
        """Give a node's name, for people."""
        if node is None:
            return "no node"
        found = self.nodes.get(node)
        return found.name if found is not None else f"node {node}"

    def owned_by(self, node: NodeId) -> tuple[GroupPicture, ...]:
        """Give the groups that a node holds."""
        return self.all.owned_by(node)

    @property
    def coordinator(self) -> NodeId | None:
        """Who coordinates: the role's node while its lease goes on under the incarnation of then."""
        role = self.role
        if role is None:
            return None
        node = self.nodes.get(role.node)
        lease = None if node is None else node.lease
        if lease is None or lease.is_ended or lease.incarnation != role.incarnation:
            return None
        return role.node
