"""The node as the server sees it: every method hands on to the part that knows."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import GroupId, NodeId, ResourceId, VmId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.states import (
    GroupMoveFlags,
    NodePauseFlags,
    NodeResumeFailbackType,
    NodeState,
    NodeStatus,
    VmResdllContext,
)
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.group_configuration import GroupConfiguration
from quorate.engine.context import EngineContext
from quorate.engine.draining import Draining
from quorate.engine.fence_agents import FenceAgents
from quorate.engine.groups import Groups
from quorate.engine.migrations import Migrations
from quorate.engine.outgoing_migrations import DryRun
from quorate.engine.selection import Judged
from quorate.hosting.host import Host
from quorate.hypervisor.definition import check_definition, complete_definition
from quorate.hypervisor.definition_json import definition_to_json, parse_definition
from quorate.server.services import CallContext, ProcessFacts, QemuProcess, SilentView, VmDetails
from quorate.service.configuration import NodeConfiguration
from quorate.service.inspection import Inspection

FORWARD_TIMEOUT = 30.0
"""Seconds that another node has for a forwarded operation."""
ATTACH_TIMEOUT = 2.0


class Services:
    """Implements `server.services.NodeServices`."""

    def __init__(
        self,
        context: EngineContext,
        configuration: NodeConfiguration,
        host: Host,
        migrations: Migrations,
        groups: Groups,
        inspection: Inspection,
        draining: Draining,
        shortest_lease: float,
    ) -> None:
        """Hand on to these."""
        self._shortest_lease = shortest_lease
        self._context = context
        self._configuration = configuration
        self._host = host
        self._migrations = migrations
        self._groups = groups
        self._inspection = inspection
        self._draining = draining
        self._fence_agents = FenceAgents(configuration.fence_directory)

    @property
    def node_id(self) -> NodeId:
        """This node."""
        return self._context.node

    @property
    def node_name(self) -> str:
        """This node's name."""
        return self._context.node_name

    @property
    def database(self) -> ClusterDatabase:
        """The cluster database."""
        return self._context.database

    @property
    def shortest_lease(self) -> float:
        """Seconds that a lease must have at least."""
        return self._shortest_lease

    @property
    def fence_agents(self) -> FenceAgents:
        """The fence agents that are installed on this node."""
        return self._fence_agents

    @property
    def inspection(self) -> Inspection:
        """What is asked to validate the cluster."""
        return self._inspection

    @property
    def host(self) -> Host:
        """The resources that this node hosts."""
        return self._host

    def silent_view(self) -> SilentView | None:
        """What was seen last of the cluster, while the database does not answer."""
        lease = self._context.lease
        if lease.is_writable or lease.is_joining:
            return None
        goes_on = "what runs here goes on" if lease.may_run else "nothing may run here, and what did was ended"
        sentence = (
            f"the database does not answer {self._context.node_name}: this is what it saw last, nothing is decided or "
            f"started until it answers again, and {goes_on}"
        )
        return SilentView(self._context.view.snapshot, sentence)

    def node_state(self, node_id: NodeId) -> NodeState:
        """State of any node."""
        return self._context.view.node_state(node_id)

    def silent_lease(self, node_id: NodeId) -> int | None:
        """The revision of the lease that has stood for so long that its node is down."""
        view = self._context.view
        lease = view.snapshot.leases.get(node_id)
        if lease is None or lease.value.ended or view.node_state(node_id) is not NodeState.DOWN:
            return None
        return lease.revision

    def node_status(self, node_id: NodeId) -> NodeStatus:
        """What is to be said of any node besides its state."""
        info = self._context.view.snapshot.nodes.get(node_id)
        status = NodeStatus.NORMAL if info is None else info.status & ~NodeStatus.ISOLATED
        lease = self._context.lease
        if node_id == self.node_id and lease.may_run and not lease.is_held:
            status |= NodeStatus.ISOLATED
        return status

    async def forward(self, node_id: NodeId, operation: str, request: JsonObject) -> JsonObject:
        """Have another node answer."""
        body: JsonObject = {"operation": operation, "request": request}
        return await self._context.peers.call(node_id, "forward", body, FORWARD_TIMEOUT)

    async def wait_attached(self, group_id: GroupId) -> bool:
        """Wait shortly until this node hosts a group that the record says is ours."""
        return await self._groups.wait_attached(group_id, ATTACH_TIMEOUT)

    # --- groups ----------------------------------------------------------------------------------------------------

    async def move_group(
        self,
        group_id: GroupId,
        destination: NodeId | None,
        flags: GroupMoveFlags,
        vm_contexts: Mapping[str, int],
        context: CallContext,
    ) -> Status:
        """Move a group of ours."""
        wanted = next((number for name, number in vm_contexts.items() if name.casefold() == "virtual machine"), None)
        vm_context = None if wanted is None else VmResdllContext(wanted)
        return await self._groups.move(group_id, destination, flags, vm_context)

    async def change_resource_group(
        self, resource_id: ResourceId, group_id: GroupId, events: Sequence[EventRecord]
    ) -> None:
        """Put a resource with its dependency tree into another group of ours."""
        await self._groups.change_resource_group(resource_id, group_id, events)

    async def configure_group(
        self, group_id: GroupId, configuration: GroupConfiguration, events: Sequence[EventRecord]
    ) -> None:
        """Change common properties of a group of ours."""
        await self._groups.configure(group_id, configuration, events)

    async def cancel_group_operation(self, group_id: GroupId, context: CallContext) -> Status:
        """Cancel a migration."""
        await self._migrations.cancel_migration(group_id)
        return Status.ERROR_SUCCESS

    # --- nodes -----------------------------------------------------------------------------------------------------

    async def pause_node(self, node_id: NodeId, context: CallContext) -> Status:
        """Let a node take no new groups."""
        await self._draining.pause(node_id, self._telling(EventKind.NODE_PAUSED, node_id, context))
        return Status.ERROR_SUCCESS

    async def drain_node(
        self, node_id: NodeId, target: NodeId | None, flags: NodePauseFlags, context: CallContext
    ) -> Status:
        """Pause a node and begin to move everything off it."""
        await self._draining.drain(node_id, target, flags, self._telling(EventKind.NODE_DRAIN, node_id, context))
        return Status.ERROR_SUCCESS

    async def resume_node(self, node_id: NodeId, failback: NodeResumeFailbackType, context: CallContext) -> Status:
        """End a pause, a drain and a quarantine."""
        await self._draining.resume(node_id, failback, self._telling(EventKind.NODE_RESUMED, node_id, context))
        return Status.ERROR_SUCCESS

    def _telling(self, kind: EventKind, node: NodeId, context: CallContext) -> Callable[[str], tuple[EventRecord, ...]]:
        def tell(sentence: str) -> tuple[EventRecord, ...]:
            event = EventRecord.of(
                kind,
                time=datetime.now(UTC),
                node=self._context.node,
                object_id=node,
                object_name=self._context.name_of(node),
                sentence=sentence,
                actor=context.actor,
                operation_id=context.operation_id,
            )
            return (event,)

        return tell

    # --- virtual machines ------------------------------------------------------------------------------------------

    async def check_virtual_machine(self, vm_id: VmId, definition: JsonObject) -> JsonObject:
        """Check and complete a definition."""
        parsed = complete_definition(parse_definition(json.dumps(definition)), vm_id)
        configuration = self._configuration
        await asyncio.to_thread(check_definition, parsed, configuration.storage_roots, configuration.storages)
        completed: JsonObject = json.loads(definition_to_json(parsed))
        return completed

    async def place_virtual_machine(self, definition: JsonObject, node_id: NodeId | None) -> NodeId:
        """Choose the first owner, or check the one that was asked for."""
        if node_id is None:
            return self.node_id
        if self.node_state(node_id) is not NodeState.UP:
            name = self._context.name_of(node_id)
            raise RefusalError(Status.ERROR_CLUSTER_NODE_DOWN, f"{name} is not up: name another node")
        return node_id

    async def pause_virtual_machine(self, group_id: GroupId) -> None:
        """Stop the virtual CPUs."""
        await self._migrations.pause(group_id)

    async def resume_virtual_machine(self, group_id: GroupId) -> None:
        """Let the virtual CPUs run again."""
        await self._migrations.resume(group_id)

    async def why_not(self, group_id: GroupId, destination: str | None) -> Sequence[Judged]:
        """How every rule of START stands for a node, or for all others."""
        return await self._migrations.why_not(group_id, destination)

    async def forecast_move(
        self, group_id: GroupId, destination: str | None, policy: str = "", bandwidth_limit: int = 0
    ) -> DryRun:
        """How a migration would go."""
        return await self._migrations.dry_run(group_id, destination, policy, bandwidth_limit)

    async def discard_virtual_machine(self, group_id: GroupId) -> None:
        """Remove what this node keeps of a VM that is off or saved; its disks stay."""
        vm = self._migrations.get(group_id)
        log, saved = self._context.paths.vm.serial_log(vm.vm_id), self._context.paths.saved

        def remove() -> None:
            for path in (log, *saved.glob(f"{vm.vm_id}.*.saved")):
                path.unlink(missing_ok=True)

        await asyncio.to_thread(remove)  # to free some GiB takes its time

    # --- facts -----------------------------------------------------------------------------------------------------

    def process_facts(self) -> ProcessFacts:
        """The processes of this node."""
        processes = []
        for vm in self._migrations.all():
            if vm.instance is not None:
                role = "source" if vm.group in self._migrations.outgoing else "running"
                processes.append(QemuProcess(vm.vm_id, vm.instance.pid, role))
        processes += [
            QemuProcess(vm.vm_id, vm.instance.pid, "source")
            for vm in self._migrations.serving()
            if vm.instance is not None
        ]
        processes += [
            QemuProcess(session.vm_id, session.instance.pid, "destination")
            for session in self._migrations.incoming.values()
            if session.instance is not None
        ]
        return ProcessFacts(os.getpid(), tuple(processes), self._host.monitors())

    def vm_details(self, group_id: GroupId) -> VmDetails | None:
        """What this node knows of a VM that it hosts."""
        vm = self._migrations.find(group_id)
        if vm is None:
            return None
        return VmDetails(
            vm_state=vm.state,
            progress=vm.progress,
            serial_log=str(self._context.paths.vm.serial_log(vm.vm_id)),
            pid=None if vm.instance is None else vm.instance.pid,
            command=() if vm.instance is None else _command_line(vm.instance.pid),
        )

    def subscribe_progress(self, group_id: GroupId, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back whenever a migration of a VM hosted here has news."""
        return self._migrations.get(group_id).subscribe(callback)


def _command_line(pid: int) -> tuple[str, ...]:
    """Read a process's command line; nothing of a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode(errors="replace") for part in text.split(b"\0")[:-1])
