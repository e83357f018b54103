"""A cluster for tests of what people touch: real database, dispatchers and sockets, but fake nodes and machines.

A migration takes as many looks as ``steps`` has, one each ``pace`` seconds; nothing runs anywhere.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.waiting import PATIENCE

from quorate.clusapi.control_codes import (
    CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTY_FMTS,
    CLUSCTL_RESOURCE_VALIDATE_PRIVATE_PROPERTIES,
)
from quorate.clusapi.dependencies import Dependency
from quorate.clusapi.errors import CallerError, FaultError, RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupId, NodeId, ResourceId, VmId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.property_lists import PropertyFormat, parse_sz
from quorate.clusapi.states import (
    GroupMoveFlags,
    MigrationState,
    NodePauseFlags,
    NodeResumeFailbackType,
    NodeState,
    NodeStatus,
    ResourceState,
    VmResdllContext,
    VmState,
)
from quorate.clusapi.status import Status
from quorate.cluster.picture import Picture
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.group_configuration import GroupConfiguration
from quorate.database.maintenance import StoreStatus
from quorate.database.memory import MemoryData, MemoryStore
from quorate.database.records import Ownership
from quorate.engine.fence_agents import FenceAgents
from quorate.engine.foresight import Foretold
from quorate.engine.outgoing_migrations import DryRun
from quorate.engine.selection import Judged
from quorate.hosting.common_properties import RESOURCE_COMMON, TYPE_COMMON
from quorate.hosting.contract import ControlResult, PropertyScope
from quorate.hosting.property_codes import PROPERTY_CODES, answer_from_table
from quorate.hosting.property_table import PropertyDefinition, PropertyTable
from quorate.resources.vm_properties import VIRTUAL_MACHINE_TYPE
from quorate.server.dispatcher import Dispatcher
from quorate.server.http import HttpFace, build_app
from quorate.server.inspection import NodeHealth
from quorate.server.routing import MIGRATION_CODES
from quorate.server.services import CallContext, ProcessFacts, QemuProcess, SilentView, VmDetails

_MIGRATION_STEPS: Sequence[MigrationProgress] = (
    MigrationProgress(MigrationState.SETUP, 0, phase="preparing"),
    MigrationProgress(MigrationState.DATA_TRANSFER, 40, phase="copying", passes=1, total=1 << 28, remaining=150 << 20),
    MigrationProgress(MigrationState.DATA_TRANSFER, 30, phase="copying", passes=2, total=1 << 28, remaining=9 << 20),
    MigrationProgress(MigrationState.MOVE, 95, phase="handing over", passes=2),
)


@dataclass(slots=True)
class FakeWorld:
    """What the nodes share besides the database."""

    directory: Path
    states: dict[ResourceId, ResourceState] = field(default_factory=dict)
    vms: dict[GroupId, VmDetails] = field(default_factory=dict)
    nodes: dict[NodeId, "FakeNode"] = field(default_factory=dict)
    down: set[NodeId] = field(default_factory=set)
    silent_leases: dict[NodeId, int] = field(default_factory=dict)
    paused: set[NodeId] = field(default_factory=set)
    drains: dict[NodeId, tuple[NodeId | None, NodePauseFlags]] = field(default_factory=dict)
    resumed: dict[NodeId, NodeResumeFailbackType] = field(default_factory=dict)
    statuses: dict[NodeId, NodeStatus] = field(default_factory=dict)
    controls: list[tuple[NodeId, ResourceId, int, bytes | None]] = field(default_factory=list)
    steps: Sequence[MigrationProgress] = _MIGRATION_STEPS
    pace: float = 0.05
    judged: list[Judged] = field(default_factory=list)
    dry_runs: list[tuple[str | None, str, int]] = field(default_factory=list)
    dry_run: DryRun = field(default_factory=lambda: DryRun("node2", (), None, Foretold(None, {}, "nobody has looked")))
    health: dict[NodeId, NodeHealth] = field(default_factory=dict)
    picture: Picture | None = None
    listeners: list[Callable[[], None]] = field(default_factory=list)

    def vm(self, group_id: GroupId) -> VmDetails:
        """A VM; off to begin with."""
        idle = VmDetails(VmState.OFF, MigrationProgress(MigrationState.NO_MIGRATION), "", None, ())
        return self.vms.setdefault(group_id, idle)

    def tell(self) -> None:
        """Wake whoever follows a migration."""
        for listener in tuple(self.listeners):
            listener()


class FakeHost:
    """Resources that change their state at a word."""

    def __init__(self, world: FakeWorld, node: "FakeNode") -> None:
        """Host the resources of one node."""
        self._world = world
        self._node = node

    def state(self, resource_id: ResourceId) -> ResourceState:
        """The state that was set last."""
        return self._world.states.get(resource_id, ResourceState.OFFLINE)

    def sentence(self, resource_id: ResourceId) -> str:
        """Nothing to say."""
        return ""

    async def online_resource(self, resource_id: ResourceId, flags: int = 0) -> Status:
        """Online at once."""
        self._world.states[resource_id] = ResourceState.ONLINE
        return Status.ERROR_SUCCESS

    async def offline_resource(
        self, resource_id: ResourceId, flags: int = 0, vm_context: VmResdllContext | None = None
    ) -> Status:
        """Offline at once."""
        self._world.states[resource_id] = ResourceState.OFFLINE
        return Status.ERROR_SUCCESS

    async def online_group(self, group_id: GroupId, flags: int = 0) -> Status:
        """Pending, and online a moment later."""
        await self._set(group_id, ResourceState.ONLINE_PENDING, VmState.STARTING)
        self._node.later(self._set(group_id, ResourceState.ONLINE, VmState.RUNNING))
        return Status.ERROR_IO_PENDING

    async def offline_group(
        self, group_id: GroupId, flags: int = 0, vm_context: VmResdllContext | None = None
    ) -> Status:
        """Offline at once: saved, unless the context turns it off."""
        saved = vm_context in (None, VmResdllContext.SAVE)
        await self._set(group_id, ResourceState.OFFLINE, VmState.SAVED if saved else VmState.OFF)
        return Status.ERROR_SUCCESS

    async def fail_resource(self, resource_id: ResourceId) -> Status:
        """Failed at once."""
        self._world.states[resource_id] = ResourceState.FAILED
        return Status.ERROR_SUCCESS

    async def wait_settled(self, group_id: GroupId) -> None:
        """Wait for what was put off."""
        await self._node.wait_later()

    async def wait_requirement(self, resource_id: ResourceId, requirement: Dependency) -> None:
        """Nothing has to be told here."""

    async def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, out_size: int | None
    ) -> ControlResult:
        """START and CANCEL of a migration; of other codes, an echo of the input."""
        self._world.controls.append((self._node.node_id, resource_id, code, data))
        if code in MIGRATION_CODES:
            try:
                destination = None if data is None else parse_sz(data)
                await self._node.migrate(resource_id, destination, cancel=code == 0x01600008)
            except (CallerError, RefusalError) as error:
                return ControlResult(error.status, b"", 0, error.sentence)
            return ControlResult(Status.ERROR_SUCCESS, b"", 0)
        if code in _OF_TABLES:
            return _from_table(code, data)
        return _echo(data or b"", out_size)

    async def resource_type_control(
        self, type_name: str, code: int, data: bytes | None, out_size: int | None
    ) -> ControlResult:
        """Properties of the type "Virtual Machine" by its tables, as if none was set; else an echo."""
        scope, request = PROPERTY_CODES.get(code, (None, None))
        if scope is not None and request is not None and type_name.casefold() == "virtual machine":
            table = TYPE_COMMON if scope is PropertyScope.COMMON else VIRTUAL_MACHINE_TYPE
            output = answer_from_table(request, table, {}, data, of_type=True).output
            return ControlResult(Status.ERROR_SUCCESS, output, len(output))
        return _echo(data or b"", out_size)

    async def _set(self, group_id: GroupId, state: ResourceState, vm_state: VmState) -> None:
        for info in (await self._node.database.snapshot()).resources_of(group_id):
            self._world.states[info.id] = state
        self._world.vms[group_id] = replace(self._world.vm(group_id), vm_state=vm_state)


def _from_table(code: int, data: bytes | None) -> ControlResult:
    """Common properties as every resource has them, and a private one; checked and forgotten."""
    try:
        output = answer_from_table(PROPERTY_CODES[code][1], _OF_TABLES[code], {}, data).output
    except CallerError as error:
        return ControlResult(error.status, b"", 0, error.sentence)
    return ControlResult(Status.ERROR_SUCCESS, output, len(output))


_PRIVATE = PropertyTable((PropertyDefinition("OfflineAction", PropertyFormat.DWORD, 1, maximum=3),))
_OF_TABLES = {
    **{code: RESOURCE_COMMON for code, (scope, _) in PROPERTY_CODES.items() if scope is PropertyScope.COMMON},
    CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTY_FMTS: _PRIVATE,
    CLUSCTL_RESOURCE_VALIDATE_PRIVATE_PROPERTIES: _PRIVATE,
}


def _echo(data: bytes, out_size: int | None) -> ControlResult:
    if out_size is not None and len(data) > out_size:
        return ControlResult(Status.ERROR_MORE_DATA, b"", len(data), f"the answer needs {len(data)} bytes")
    return ControlResult(Status.ERROR_SUCCESS, data, len(data))


class FakeInspection:
    """What a fake node says when the cluster is validated: all well, unless the world says otherwise."""

    def __init__(self, world: FakeWorld, node_id: NodeId) -> None:
        """Of one node."""
        self._world = world
        self._node_id = node_id

    def health(self) -> NodeHealth:
        """Well, with the clock of this machine."""
        return self._world.health.get(self._node_id) or NodeHealth(time.time(), "1.0", guard=True)

    async def store_status(self) -> StoreStatus:
        """A store without servers."""
        return StoreStatus(1, 1 << 20, 1 << 19, None, (), ())

    def picture(self) -> Picture | None:
        """What the test has said; as a rule nothing is planned here."""
        return self._world.picture


class FakeNode:
    """A node as the server sees it."""

    def __init__(self, world: FakeWorld, node_id: NodeId, name: str, data: MemoryData) -> None:
        """One of the nodes of a fake cluster."""
        self._world = world
        self.node_id = node_id
        self.node_name = name
        self.database = ClusterDatabase(MemoryStore(data))
        self.silent: SilentView | None = None
        self.shortest_lease = 0.0
        self.host = FakeHost(world, self)
        self.inspection = FakeInspection(world, node_id)
        self.fence_agents = FenceAgents(world.directory / "agents")
        self.dispatcher = Dispatcher(self)
        self.face = HttpFace(build_app(self, self.dispatcher), world.directory / f"{name}.sock")
        self._later: set[asyncio.Task[None]] = set()

    def silent_view(self) -> SilentView | None:
        return self.silent

    def node_state(self, node_id: NodeId) -> NodeState:
        """Up, unless it was said to be down or paused."""
        if node_id in self._world.down:
            return NodeState.DOWN
        return NodeState.PAUSED if node_id in self._world.paused else NodeState.UP

    def silent_lease(self, node_id: NodeId) -> int | None:
        """What the test has said, of a node that it has said to be down."""
        return self._world.silent_leases.get(node_id) if node_id in self._world.down else None

    def node_status(self, node_id: NodeId) -> NodeStatus:
        """Normal, unless it was said to be something else."""
        return self._world.statuses.get(node_id, NodeStatus.NORMAL)

    async def forward(self, node_id: NodeId, operation: str, request: JsonObject) -> JsonObject:
        """Ask the other node's dispatcher, by way of JSON text as over a wire."""
        if node_id in self._world.down:
            raise FaultError(Status.RPC_S_SERVER_UNAVAILABLE, f"node {node_id} does not answer")
        answer = await self._world.nodes[node_id].dispatcher.serve_forwarded(operation, json.loads(json.dumps(request)))
        decoded: JsonObject = json.loads(json.dumps(answer))
        return decoded

    async def wait_attached(self, group_id: GroupId) -> bool:
        """Attached is what the database says."""
        return (await self.database.get_ownership(group_id)).value.holder == self.node_id

    async def move_group(
        self,
        group_id: GroupId,
        destination: NodeId | None,
        flags: GroupMoveFlags,
        vm_contexts: Mapping[str, int],
        context: CallContext,
    ) -> Status:
        """Give the group away at once."""
        others = [node for node in self._world.nodes if node != self.node_id]
        await self._give(group_id, destination or others[0])
        return Status.ERROR_IO_PENDING

    async def change_resource_group(
        self, resource_id: ResourceId, group_id: GroupId, events: Sequence[EventRecord]
    ) -> None:
        """Change it in the database."""
        source = (await self.database.snapshot()).resource(resource_id).group_id
        writers = {
            group: (await self.database.get_ownership(group), (await self.database.get_run_state(group)).value)
            for group in (source, group_id)
        }
        await self.database.change_resource_group(resource_id, group_id, writers, events=tuple(events))

    async def configure_group(
        self, group_id: GroupId, configuration: GroupConfiguration, events: Sequence[EventRecord]
    ) -> None:
        """Change it in the database."""
        ownership, run = await self.database.get_ownership(group_id), await self.database.get_run_state(group_id)
        after = configuration.applied_to(run.value)
        await self.database.configure_group(group_id, configuration, run=after, ownership=ownership, events=events)

    async def cancel_group_operation(self, group_id: GroupId, context: CallContext) -> Status:
        """There is never anything to cancel."""
        raise RefusalError(Status.ERROR_INVALID_STATE, "the group is not being moved")

    async def pause_node(self, node_id: NodeId, context: CallContext) -> Status:
        """Pause it."""
        self._world.paused.add(node_id)
        return Status.ERROR_SUCCESS

    async def drain_node(
        self, node_id: NodeId, target: NodeId | None, flags: NodePauseFlags, context: CallContext
    ) -> Status:
        """Pause it, and remember how."""
        self._world.paused.add(node_id)
        self._world.drains[node_id] = (target, flags)
        return Status.ERROR_SUCCESS

    async def resume_node(self, node_id: NodeId, failback: NodeResumeFailbackType, context: CallContext) -> Status:
        """End the pause."""
        self._world.resumed[node_id] = failback
        if node_id not in self._world.paused:
            raise RefusalError(Status.ERROR_CLUSTER_NODE_NOT_PAUSED, f"node {node_id} is not paused")
        self._world.paused.discard(node_id)
        return Status.ERROR_SUCCESS

    async def check_virtual_machine(self, vm_id: VmId, definition: JsonObject) -> JsonObject:
        """Sound is what has memory."""
        if not definition.get("memory"):
            raise CallerError(Status.ERROR_INVALID_PARAMETER, "memory: is missing")
        return {**definition, "schema": 1}

    async def place_virtual_machine(self, definition: JsonObject, node_id: NodeId | None) -> NodeId:
        """Where it was asked for, or here."""
        return self.node_id if node_id is None else node_id

    async def pause_virtual_machine(self, group_id: GroupId) -> None:
        """Pause it if it runs."""
        self._vm_state(group_id, VmState.RUNNING, VmState.PAUSED)

    async def resume_virtual_machine(self, group_id: GroupId) -> None:
        """Resume it if it is paused."""
        self._vm_state(group_id, VmState.PAUSED, VmState.RUNNING)

    async def why_not(self, group_id: GroupId, destination: str | None) -> Sequence[Judged]:
        """What a test has put there, for every other node or for one."""
        judged = self._world.judged
        return [one for one in judged if destination in (None, one.candidate.name)]

    async def forecast_move(
        self, group_id: GroupId, destination: str | None, policy: str = "", bandwidth_limit: int = 0
    ) -> DryRun:
        """What a test has put there; it hears what it was asked for."""
        self._world.dry_runs.append((destination, policy, bandwidth_limit))
        return self._world.dry_run

    async def discard_virtual_machine(self, group_id: GroupId) -> None:
        """Forget it."""
        self._world.vms.pop(group_id, None)

    def process_facts(self) -> ProcessFacts:
        """Made-up pids."""
        number = int(self.node_id)
        return ProcessFacts(1000 + number, (QemuProcess(VmId("vm"), 2000 + number, "running"),) if number == 1 else ())

    def vm_details(self, group_id: GroupId) -> VmDetails | None:
        """What was set, off to begin with; every node knows, since only the owner is asked."""
        log = self._world.directory / f"{self.node_name}.serial"
        return replace(self._world.vm(group_id), serial_log=str(log))

    def subscribe_progress(self, group_id: GroupId, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back at each step."""
        self._world.listeners.append(callback)
        return lambda: self._world.listeners.remove(callback)

    async def migrate(self, resource_id: ResourceId, destination: str | None, *, cancel: bool) -> None:
        """Start or cancel a migration."""
        snapshot = await self.database.snapshot()
        group_id = snapshot.resources[resource_id].group_id
        details = self._world.vm(group_id)
        if cancel:
            if not details.progress.state.is_cancellable:
                raise RefusalError(Status.ERROR_INVALID_STATE, "there is no migration that can be cancelled")
            self._set_progress(group_id, replace(details.progress, state=MigrationState.CANCELED))
            return
        if details.vm_state is not VmState.RUNNING:
            raise RefusalError(Status.ERROR_INVALID_STATE, "the VM does not run; start it first")
        others = (node for node in snapshot.nodes.values() if node.id != self.node_id)
        to = snapshot.node(destination) if destination else next(others)
        self._set_progress(group_id, replace(self._world.steps[0], source=self.node_name, destination=to.name))
        self.later(self._copy(group_id, to.id, to.name))

    async def _copy(self, group_id: GroupId, to: NodeId, to_name: str) -> None:
        for step in self._world.steps:
            if self._world.vm(group_id).progress.state is MigrationState.CANCELED:
                return
            self._set_progress(group_id, replace(step, source=self.node_name, destination=to_name))
            await self._pause()
        await self._give(group_id, to)
        self._set_progress(group_id, MigrationProgress(MigrationState.NO_MIGRATION, 100, phase="done"))

    def _set_progress(self, group_id: GroupId, progress: MigrationProgress) -> None:
        self._world.vms[group_id] = replace(self._world.vm(group_id), progress=progress)
        self._world.tell()

    def _vm_state(self, group_id: GroupId, needed: VmState, new: VmState) -> None:
        details = self._world.vm(group_id)
        if details.vm_state is not needed:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"the VM is {details.vm_state.name.lower()}")
        self._world.vms[group_id] = replace(details, vm_state=new)

    async def _give(self, group_id: GroupId, to: NodeId) -> None:
        current = await self.database.get_ownership(group_id)
        await self.database.change_ownership(group_id, current, Ownership(to, current.value.epoch + 1))

    async def _pause(self) -> None:
        """Take the world's pace, also one that it was given meanwhile."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            left = began + self._world.pace - loop.time()
            if left <= 0.0:
                return
            await asyncio.sleep(min(left, 0.05))

    def later(self, action: Coroutine[None, None, None]) -> None:
        """Do something a moment from now."""

        async def put_off() -> None:
            await self._pause()
            await action

        task = asyncio.create_task(put_off())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def wait_later(self) -> None:
        """Wait for what was put off."""
        await asyncio.gather(*self._later)


async def start_fake_cluster(directory: Path, nodes: int = 2) -> FakeWorld:
    """Start the nodes and write the ``cluster.json`` by which clients find them."""
    data, world = MemoryData(), FakeWorld(directory)
    database = ClusterDatabase(MemoryStore(data))
    await database.create_cluster("pocket")
    for number in range(1, nodes + 1):
        node_id = await database.add_node(f"node{number}")
        world.nodes[node_id] = FakeNode(world, node_id, f"node{number}", data)
        await world.nodes[node_id].face.start()
    listed = [
        {"id": node.node_id, "name": node.node_name, "http": str(directory / f"{node.node_name}.sock")}
        for node in world.nodes.values()
    ]
    (directory / "cluster.json").write_text(json.dumps({"version": 1, "name": "pocket", "nodes": listed}))
    return world


@contextmanager
def running_fake_cluster(directory: Path, nodes: int = 2) -> Iterator[FakeWorld]:
    """The same in a thread, for callers that block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fake cluster")
    thread.start()
    try:
        world = asyncio.run_coroutine_threadsafe(start_fake_cluster(directory, nodes), loop).result(PATIENCE)
        try:
            yield world
        finally:
            asyncio.run_coroutine_threadsafe(stop_fake_cluster(world), loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def stop_fake_cluster(world: FakeWorld) -> None:
    """Stop the nodes."""
    await asyncio.gather(*(node.face.stop() for node in world.nodes.values()))
    await asyncio.gather(*(node.wait_later() for node in world.nodes.values()))
