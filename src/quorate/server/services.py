"""What the server needs of the node that it serves; ``service`` implements it, tests fake it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from quorate.clusapi.dependencies import Dependency
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupId, NodeId, ResourceId, VmId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import (
    GroupMoveFlags,
    NodePauseFlags,
    NodeResumeFailbackType,
    NodeState,
    NodeStatus,
    ResourceState,
    VmResdllContext,
    VmState,
)
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.group_configuration import GroupConfiguration
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.fence_agents import FenceAgents
from quorate.engine.outgoing_migrations import DryRun
from quorate.engine.selection import Judged
from quorate.hosting.contract import ControlResult
from quorate.hosting.monitor_pool import MonitorFacts
from quorate.server.inspection import NodeInspection


@dataclass(frozen=True, slots=True)
class CallContext:
    """Who asks, and on whose behalf; it travels with a request that is forwarded to another node."""

    actor: str  # an account of the machine, or "node 2"
    full_access: bool
    operation_id: str  # made once, where the request arrived; events carry it
    forwarded: bool = False  # arrived from another node: never forwarded again

    def to_json(self) -> dict[str, JsonValue]:
        """Write it for the other node."""
        return {"actor": self.actor, "full_access": self.full_access, "operation_id": self.operation_id}


@dataclass(frozen=True, slots=True)
class QemuProcess:
    """One QEMU of this node, whatever it is doing."""

    vm_id: VmId
    pid: int
    role: str  # "running", "source", "destination": for people


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """The processes of this node."""

    daemon_pid: int
    qemu: tuple[QemuProcess, ...]
    monitors: tuple[MonitorFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class VmDetails:
    """What the hosting node knows of a VM beyond the database; never a question to the hypervisor."""

    vm_state: VmState
    progress: MigrationProgress
    serial_log: str  # path on the hosting node
    pid: int | None  # of the QEMU that holds the VM's current image; None when it is off
    command: tuple[str, ...]  # that QEMU's argv


@dataclass(frozen=True, slots=True)
class SilentView:
    """The cluster as a node saw it before the database fell silent: good enough to look at, for nothing else."""

    snapshot: ClusterSnapshot
    sentence: str  # since when, and what it means for what runs here


class HostedResources(Protocol):
    """The part of :class:`quorate.hosting.host.Host` that the server calls."""

    def state(self, resource_id: ResourceId) -> ResourceState:
        """The live state of a resource; UNKNOWN when it is not hosted here."""
        ...

    def sentence(self, resource_id: ResourceId) -> str:
        """Why it is in its state, for people; empty when it is not hosted here."""
        ...

    async def online_resource(self, resource_id: ResourceId, flags: int = 0) -> Status:
        """Bring it online: 0, or 997 while it is pending."""
        ...

    async def offline_resource(
        self, resource_id: ResourceId, flags: int = 0, vm_context: VmResdllContext | None = None
    ) -> Status:
        """Take it offline: 0, or 997 while it is pending."""
        ...

    async def online_group(self, group_id: GroupId, flags: int = 0) -> Status:
        """Bring every resource of the group online: 0 or 997."""
        ...

    async def offline_group(
        self, group_id: GroupId, flags: int = 0, vm_context: VmResdllContext | None = None
    ) -> Status:
        """Take every resource of the group offline: 0 or 997."""
        ...

    async def fail_resource(self, resource_id: ResourceId) -> Status:
        """Treat it as failed."""
        ...

    async def wait_settled(self, group_id: GroupId) -> None:
        """Wait until no resource of the group is pending."""
        ...

    async def wait_requirement(self, resource_id: ResourceId, requirement: Dependency) -> None:
        """Wait shortly until the host has the resource, and goes by what it depends on now."""
        ...

    async def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, out_size: int | None
    ) -> ControlResult:
        """Carry out a control code."""
        ...

    async def resource_type_control(
        self, type_name: str, code: int, data: bytes | None, out_size: int | None
    ) -> ControlResult:
        """Carry out a control code of a type."""
        ...


class NodeServices(Protocol):
    """The node as the server sees it. Methods raise :class:`~quorate.clusapi.errors.ClusterError` and nothing else."""

    @property
    def node_id(self) -> NodeId:
        """This node."""
        ...

    @property
    def node_name(self) -> str:
        """This node's name."""
        ...

    @property
    def database(self) -> ClusterDatabase:
        """The cluster database."""
        ...

    @property
    def shortest_lease(self) -> float:
        """Seconds that a lease must have at least, as the cluster database is kept; 0: no matter."""
        ...

    @property
    def fence_agents(self) -> FenceAgents:
        """The fence agents that are installed on this node."""
        ...

    @property
    def inspection(self) -> NodeInspection:
        """What is asked to validate the cluster."""
        ...

    @property
    def host(self) -> HostedResources:
        """The resources that this node hosts."""
        ...

    def silent_view(self) -> "SilentView | None":
        """What was seen last of the cluster, while the database does not answer; None while it does."""
        ...

    def node_state(self, node_id: NodeId) -> NodeState:
        """State of any node, from leases and the pause mark."""
        ...

    def silent_lease(self, node_id: NodeId) -> int | None:
        """The revision of the lease that has stood for so long that its node is down; None: it is not, or ended."""
        ...

    def node_status(self, node_id: NodeId) -> NodeStatus:
        """What is to be said of any node besides its state; isolated is this node alone, when it is."""
        ...

    async def forward(self, node_id: NodeId, operation: str, request: JsonObject) -> JsonObject:
        """Have another node's ``Dispatcher.serve_forwarded`` answer; FaultError 1722 when it cannot be reached."""
        ...

    async def wait_attached(self, group_id: GroupId) -> bool:
        """Wait shortly until the host has a group that the database says is ours; False: it is not ours."""
        ...

    async def change_resource_group(
        self, resource_id: ResourceId, group_id: GroupId, events: Sequence[EventRecord]
    ) -> None:
        """Put a resource with its dependency tree into another group; this node owns both. What runs goes on."""
        ...

    async def move_group(
        self,
        group_id: GroupId,
        destination: NodeId | None,
        flags: GroupMoveFlags,
        vm_contexts: Mapping[str, int],
        context: CallContext,
    ) -> Status:
        """Move a group that this node owns: 997 when under way, 0 when it is there already.

        ``vm_contexts``: by resource type name, as the caller gave them (VM_RESDLL_CONTEXT); empty: as DefaultMoveType
        says.
        """
        ...

    async def configure_group(
        self, group_id: GroupId, configuration: GroupConfiguration, events: Sequence[EventRecord]
    ) -> None:
        """Change a group that this node owns, all or nothing; RefusalError 5016 when it owns it no longer."""
        ...

    async def cancel_group_operation(self, group_id: GroupId, context: CallContext) -> Status:
        """Cancel a move: 0 cancelled, 997 cancelling, 5023 when there is none that can be cancelled."""
        ...

    async def pause_node(self, node_id: NodeId, context: CallContext) -> Status:
        """Let a node take no new groups."""
        ...

    async def drain_node(
        self, node_id: NodeId, target: NodeId | None, flags: NodePauseFlags, context: CallContext
    ) -> Status:
        """Pause a node and begin to move everything off it; RefusalError 5962, 5050, 5005."""
        ...

    async def resume_node(self, node_id: NodeId, failback: NodeResumeFailbackType, context: CallContext) -> Status:
        """End a pause, a drain and a quarantine; RefusalError 5058 when the node is neither paused nor quarantined."""
        ...

    async def check_virtual_machine(self, vm_id: VmId, definition: JsonObject) -> JsonObject:
        """Check and complete a definition (ids, MACs, serials); CallerError 87 with the key and the reason."""
        ...

    async def place_virtual_machine(self, definition: JsonObject, node_id: NodeId | None) -> NodeId:
        """Choose the first owner, or check the one that was asked for."""
        ...

    async def pause_virtual_machine(self, group_id: GroupId) -> None:
        """Stop the virtual CPUs; RefusalError 5023 unless the VM runs."""
        ...

    async def resume_virtual_machine(self, group_id: GroupId) -> None:
        """Let the virtual CPUs run again; RefusalError 5023 unless the VM is paused."""
        ...

    async def why_not(self, group_id: GroupId, destination: str | None) -> Sequence[Judged]:
        """How every rule of START stands for a node (by name), or for all others; CallerError 5042, 87."""
        ...

    async def forecast_move(
        self, group_id: GroupId, destination: str | None, policy: str = "", bandwidth_limit: int = 0
    ) -> DryRun:
        """How a migration would go; CallerError 5042, 87; RefusalError 5023 when one has begun meanwhile."""
        ...

    async def discard_virtual_machine(self, group_id: GroupId) -> None:
        """Remove what this node keeps of a VM that is off or saved (saved image, logs); its disks stay."""
        ...

    def process_facts(self) -> ProcessFacts:
        """The processes of this node."""
        ...

    def vm_details(self, group_id: GroupId) -> VmDetails | None:
        """What this node knows of a VM that it hosts; None when it does not."""
        ...

    def subscribe_progress(self, group_id: GroupId, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back whenever a migration of a VM hosted here has news; returns the unsubscription."""
        ...
