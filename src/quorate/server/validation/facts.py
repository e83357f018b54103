"""What the checks look at: the cluster as it was gathered, nothing that asks or waits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import NetworkRole, NetworkState, NodeState, NodeStatus
from quorate.cluster.validation import Loss
from quorate.database.credentials import UserRecord
from quorate.database.maintenance import StoreStatus
from quorate.server.inspection import NodeHealth


@dataclass(frozen=True, slots=True)
class NodeFact:
    """A node; ``health`` is None when it did not answer."""

    id: NodeId
    name: str
    state: NodeState
    status: NodeStatus = NodeStatus.NORMAL
    health: NodeHealth | None = None
    clock_offset: float = 0.0  # seconds by which its clock is ahead of this node's
    clock_doubt: float = 0.0  # seconds that the offset may be wrong: half of the time that asking took
    lease_duration: float | None = None  # seconds; None: it never had one
    levels: str = ""  # functional levels that its program knows
    fence_agents: tuple[str, ...] = ()  # what can switch it off
    hypervisor: Mapping[str, str] = field(default_factory=dict)  # kind, version, accelerator, machine_type, cpu_model

    @property
    def is_active(self) -> bool:
        """Answer whether it takes part."""
        return self.state in (NodeState.UP, NodeState.PAUSED)


@dataclass(frozen=True, slots=True)
class NetworkFact:
    """A network."""

    name: str
    role: NetworkRole
    state: NetworkState
    sentence: str


@dataclass(frozen=True, slots=True)
class GroupFact:
    """A group; ``possible`` are the nodes where all of its resources may run."""

    id: GroupId
    name: str
    owner: NodeId | None
    wanted: bool
    possible: frozenset[NodeId]
    preferred: tuple[NodeId, ...] = ()
    classes: frozenset[str] = frozenset()  # AntiAffinityClassNames, folded


@dataclass(frozen=True, slots=True)
class FileFact:
    """A file that a VM needs: its storage, or "" for a bare path."""

    storage: str
    path: PurePath  # of a named storage below its directory


@dataclass(frozen=True, slots=True)
class MachineFact:
    """A virtual machine's files; ``unreadable`` says why its definition could not be read."""

    group: GroupFact
    files: tuple[FileFact, ...] = ()
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """The whole cluster at one look."""

    now: datetime
    this_node: str
    one_machine: bool  # every node is reached through a socket file: a pocket cluster
    nodes: tuple[NodeFact, ...]
    networks: tuple[NetworkFact, ...] = ()
    groups: tuple[GroupFact, ...] = ()
    machines: tuple[MachineFact, ...] = ()
    store: StoreStatus | None = None
    store_trouble: str = ""  # why there is no status
    lease: float = 5.0  # seconds that a lease lasts by the cluster's properties
    level: int = 0  # functional level of the cluster
    losses: tuple[Loss, ...] | None = None  # None: nobody could plan
    enforced_anti_affinity: bool = False
    users: tuple[UserRecord, ...] = ()  # who may enter from other machines

    def name_of(self, node: NodeId | None) -> str:
        """A node's name."""
        return next(
            (fact.name for fact in self.nodes if fact.id == node), "no node" if node is None else f"node {node}"
        )
