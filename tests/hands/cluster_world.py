"""Several nodes in one process: real engine, store in memory, fake hypervisors; leases and machines die at a word.

What is not real: a lease runs out only on a node that the test has killed or cut off, however slow the machine is;
nobody needs a guard, and peers call each other directly. A node that dies loses its store, its peers and its machines
at one moment; the others may end its lease `DURATION` + `MARGIN` later.
"""

import asyncio
import inspect
import json
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupId, NodeId, ResourceId, VmId
from quorate.clusapi.json_types import JsonObject, json_text
from quorate.clusapi.states import GroupStatus, NodeState, NodeStatus, ResourceState, VmState
from quorate.cluster.observer import EndVerdict
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase, VirtualMachineIds
from quorate.database.contract import Compare, Outcome, Put, StoreUnavailable, Write
from quorate.database.memory import MemoryData, MemoryStore
from quorate.database.records import Lease, NodeFacts, RunState
from quorate.database.values import RegistryValue
from quorate.engine.cluster_clock import ClusterClock
from quorate.engine.context import EngineContext
from quorate.engine.coordinator import Coordinator
from quorate.engine.groups import Groups
from quorate.engine.guard import GuardLink
from quorate.engine.guard_file import boottime
from quorate.engine.journal import Journals
from quorate.engine.lease import LeaseKeeper
from quorate.engine.migrations import Migrations
from quorate.engine.paths import NodePaths
from quorate.engine.pictures import MEMORY_CONFIGURED, MEMORY_TOTAL, Pictures
from quorate.engine.recovery import recover
from quorate.engine.view import ClusterView
from quorate.hosting.host import Host
from quorate.hosting.registry_properties import RegistryProperties
from quorate.hypervisor.definition import complete_definition
from quorate.hypervisor.definition_json import definition_to_json, parse_definition
from quorate.hypervisor.fake import FakeHypervisor, FakeMachine, FakeWorld
from quorate.peers.client import Peers, PeerUnreachable
from quorate.peers.messages import Assess, GiverQuestion, OfSession, Prepare
from quorate.resources.network_name import NetworkName
from quorate.resources.virtual_machine import VirtualMachine
from quorate.resources.virtual_machine_configuration import VirtualMachineConfiguration

DELAY = 0.05
DURATION = 0.25
MARGIN = 0.1
MIB = 1 << 20
PATIENCE = 60.0


class Leash(MemoryStore):
    """One node's store, which the test can silence."""

    silent = False

    async def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        if self.silent:
            raise StoreUnavailable("the test has silenced the database")
        return await super().transact(compares, writes)


class StubLease:
    """A lease that the loop renews; it has the face of `LeaseKeeper` that the engine uses."""

    def __init__(self, node: "SimNode") -> None:
        self.incarnation = str(uuid.uuid4())
        self._node = node
        self._key = keys.lease(node.id)
        self._store = node.store
        self._sequence = 0

    @property
    def is_held(self) -> bool:
        lost = self._node.lost_at
        return lost is None or boottime() < lost + DURATION

    @property
    def may_run(self) -> bool:
        return self.is_held

    async def renew(self) -> None:
        found = await self._store.get(self._key)
        old = None if found is None else Lease.decode(found.value)
        if old is not None and old.ended and old.incarnation == self.incarnation:
            self.incarnation = str(uuid.uuid4())
        self._sequence = max(self._sequence, 0 if old is None else old.sequence) + 1
        lease = Lease(self.incarnation, self._sequence, DURATION)
        compare = Compare(self._key, 0 if found is None else found.revision)
        await self._store.transact((compare,), (Put(self._key, lease.encode()),))


class StubMembership:
    """Judges by what the test has done to the nodes."""

    def __init__(self, node: "SimNode") -> None:
        self._node = node
        self.refuses: set[NodeId] = set()
        """Nodes whose lease this node may never end."""
        self.patient = False
        """Nobody is down before his lease has been ended."""

    def node_state(self, node: NodeId) -> NodeState:
        snapshot = self._node.view.snapshot
        lease, info = snapshot.leases.get(node), snapshot.nodes.get(node)
        over = self._over_at(node)
        if lease is None or info is None or lease.value.ended or (over is not None and boottime() > over):
            return NodeState.UP if self.patient and lease is not None and not lease.value.ended else NodeState.DOWN
        return NodeState.PAUSED if info.paused else NodeState.UP

    def node_status(self, node: NodeId) -> NodeStatus:
        return NodeStatus.NORMAL

    def may_end(self, node: NodeId, *, fenced: bool = False) -> EndVerdict:
        over = self._over_at(node)
        name = self._node.view.snapshot.nodes[node].name
        if fenced:
            return EndVerdict(True, None, f"{name} is proven to be off")
        if node in self.refuses:
            return EndVerdict(False, None, "the test forbids it")
        if over is None:
            return EndVerdict(False, None, f"{name} renews its lease")
        return EndVerdict(boottime() >= over, over, f"{name} was silent for longer than its lease of {DURATION} s")

    def is_writable(self) -> bool:
        return self._node.lost_at is None and not self._node.store.silent

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def _over_at(self, node: NodeId) -> float | None:
        lost = self._node.world.nodes[node].lost_at
        return None if lost is None else lost + DURATION + MARGIN


class StubPeers:
    """Calls that reach the other node's handler directly."""

    def __init__(self, world: "World", me: NodeId) -> None:
        self._world = world
        self._me = me

    async def call(self, node: NodeId, kind: str, body: JsonObject, timeout: float) -> JsonObject:
        found = self._world.nodes.get(node)
        await asyncio.sleep(0)
        if found is None or not found.is_alive or not self._world.nodes[self._me].is_alive:
            raise PeerUnreachable(f"node {node} is dead")
        async with asyncio.timeout(timeout):
            return await found.answer(kind, body)


class StubGuard:
    async def wait_live(self, doing: str, patience: float = 0.0) -> None:
        return None


class SimNode:
    """One node: as `service.node` wires it, as far as the engine goes."""

    def __init__(self, world: "World", node: NodeId, memory: int) -> None:
        self.world = world
        self.id = node
        self.is_alive = False
        self.lost_at: float | None = None
        """When its last renewal was answered, of a node that was killed or cut off."""
        self.store = Leash(world.data)
        self.database = ClusterDatabase(self.store)
        self.hypervisor = FakeHypervisor(world.machines, memory_total=64 << 30)
        self.memory = self.said_memory = memory
        self.paths = NodePaths(
            world.directory / node / "state", world.directory / node / "run", world.directory / "saved"
        )
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> "SimNode":
        self.paths.create()
        self.lease = StubLease(self)
        await self.lease.renew()
        self.view = ClusterView(self.database, self.id)
        await self.view.start()
        self.membership = StubMembership(self)
        self.context = EngineContext(
            node=self.id,
            node_name=self.view.snapshot.nodes[self.id].name,
            database=self.database,
            hypervisor=self.hypervisor,
            view=self.view,
            lease=cast(LeaseKeeper, self.lease),
            guard=cast(GuardLink, StubGuard()),
            peers=cast(Peers, StubPeers(self.world, self.id)),
            journals=Journals(self.paths.runtime),
            paths=self.paths,
        )
        self.is_alive = True
        self._spawn(self._renew())
        clock = self.clock = ClusterClock(self.view)
        self.pictures = Pictures(self.id, self.view, self.membership, clock)
        self.migrations = Migrations(self.context, self.memory)
        self.migrations.prepare_sessions()
        self.groups = Groups(self.context, self.migrations, self.pictures.current, clock, self.membership.is_writable)
        self.host = Host(
            (VirtualMachine(self.migrations), VirtualMachineConfiguration(self.migrations), NetworkName()),
            RegistryProperties(self.database),
            self.groups,
            on_state_changed=self.groups.on_state_changed,
            on_failed=self.groups.on_failed,
        )
        self.groups.bind(self.host)
        await recover(self.context, self.migrations, self.groups)
        self.groups.start()
        said = {MEMORY_TOTAL: str(64 << 30), MEMORY_CONFIGURED: str(self.said_memory)}
        facts = NodeFacts("", "", 0, "0", said)
        await self.database.write_node_facts(self.id, facts)
        self.coordinator = Coordinator(self.context, self.membership, self.pictures.current)
        self.coordinator.start()
        return self

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _renew(self) -> None:
        while self.is_alive:
            with suppress(StoreUnavailable):
                await self.lease.renew()
            self.act_as_guard()
            await asyncio.sleep(DELAY)

    def cut_off(self) -> None:
        """The database answers this node no more; what runs there is ended when its lease is over."""
        self.store.silent = True
        self.lost_at = boottime()

    def silence(self) -> None:
        """The database does not answer this node for a while, shorter than its lease."""
        self.store.silent = True

    def speak(self) -> None:
        """It answers again."""
        self.store.silent = False

    async def reconnect(self) -> None:
        """The database answers again; the node goes on as another incarnation if its lease was ended."""
        self.store.silent = False
        await self.lease.renew()
        self.lost_at = None

    def act_as_guard(self) -> None:
        """End what runs here when the lease is over (I2)."""
        if not self.lease.is_held:
            self.world.machines.end_all(self.paths.vm)

    async def answer(self, kind: str, body: JsonObject) -> JsonObject:
        match kind:
            case "assess":
                return await self.migrations.on_assess(Assess.from_json(body))
            case "sink":
                return await self.migrations.on_sink(json_text(body, "address"))
            case "prepare":
                await self.migrations.on_prepare(Prepare.from_json(body))
                return {}
            case "giver":
                return {"word": self.migrations.on_giver(GiverQuestion.from_json(body)).value}
            case _:
                return self.migrations.on_message(kind, OfSession.from_json(body))

    def machine(self, vm_id: VmId) -> FakeMachine | None:
        return self.world.machines.machine(self.paths.vm, vm_id)

    async def die(self) -> None:
        """Lose power: at one moment nothing of it answers, writes or runs any more."""
        self.is_alive = False
        self.lost_at = boottime()
        await self.store.close()
        for vm in self.migrations.all():
            if vm.instance is not None:
                await vm.instance.release()
        self.world.machines.end_all(self.paths.vm)
        await self._close()

    async def stop(self) -> None:
        """End the daemon in order; its machines live on."""
        self.is_alive = False
        self.lost_at = boottime()
        await self._close(release=True)
        await self.store.close()

    async def _close(self, *, release: bool = False) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await self.coordinator.close()
        await self.groups.close()
        await self.host.close()
        await self.migrations.close()
        for leaving in self.migrations.outgoing.values():
            leaving._drop_effects()  # no daemon, no session
        for arriving in self.migrations.incoming.values():
            arriving._drop_effects()
        if release:
            for vm in self.migrations.all():
                if vm.instance is not None:
                    await vm.instance.release()
        await self.view.close()


class Machines(FakeWorld):
    """The machines of all nodes."""

    def end_all(self, paths: object) -> None:
        for machine in list(self._machines.values()):
            if machine.request.paths == paths:
                machine.kill()

    def running(self) -> list[FakeMachine]:
        return [machine for machine in self._machines.values() if not machine.is_gone and machine.state.vcpus_run]


class World:
    """A cluster."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = MemoryData()
        self.machines = Machines(beat_hz=1)
        self.nodes: dict[NodeId, SimNode] = {}
        self.admin = ClusterDatabase(MemoryStore(self.data))

    async def form(self, *memories: int, properties: Mapping[str, RegistryValue] | None = None) -> list[SimNode]:
        """Make a cluster with a node for each number of MiB, and start them all."""
        made = await self.found(*memories, properties=properties)
        for one in made:
            await one.start()
        await self.until(lambda: self.coordinator() is not None)
        return made

    async def found(self, *memories: int, properties: Mapping[str, RegistryValue] | None = None) -> list[SimNode]:
        """Make a cluster with a node for each number of MiB; none is started."""
        await self.admin.create_cluster("test", properties=properties)
        for number, memory in enumerate(memories, start=1):
            node = await self.admin.add_node(f"node{number}")
            self.nodes[node] = SimNode(self, node, memory * MIB)
        return list(self.nodes.values())

    async def add(self, memory: int) -> SimNode:
        """Add a node of so many MiB, and start it."""
        node = await self.admin.add_node(f"node{len(self.nodes) + 1}")
        self.nodes[node] = SimNode(self, node, memory * MIB)
        return await self.nodes[node].start()

    async def again(self, node: SimNode) -> SimNode:
        """Start a node again whose daemon or machine has ended."""
        fresh = SimNode(self, node.id, node.memory)
        self.nodes[node.id] = fresh
        return await fresh.start()

    def coordinator(self) -> SimNode | None:
        for node in self.nodes.values():
            if node.is_alive and node.pictures.current().coordinator == node.id:
                return node
        return None

    async def close(self) -> None:
        for node in self.nodes.values():
            if node.is_alive:
                await node.die()

    # --- virtual machines --------------------------------------------------------------------------------------------

    async def vm(
        self,
        name: str,
        owner: SimNode,
        memory: int = 64,
        *,
        start: bool = True,
        wanted: bool = False,
        group: Mapping[str, RegistryValue] | None = None,
        resource: Mapping[str, RegistryValue] | None = None,
        parameters: Mapping[str, RegistryValue] | None = None,
        guest: JsonObject | str = "builtin",
        nics: Sequence[JsonObject] = (),
    ) -> VirtualMachineIds:
        """Make a virtual machine of so many MiB, with group, resource and private properties, and bring it online."""
        ids = self.admin.new_vm_ids()
        asked = {"name": name, "memory": memory * MIB, "guest": guest, "nics": list(nics)}
        definition = complete_definition(parse_definition(json.dumps(asked)), ids.vm_id)
        await self.admin.create_virtual_machine(
            name,
            definition_to_json(definition),
            owner.id,
            ids=ids,
            group_properties=dict(group or {}),
            persistent_state=wanted,
        )
        if resource:
            await self.admin.set_values(keys.resource_path(ids.vm_resource), dict(resource))
        if parameters:
            await self.admin.set_values(keys.parameters_path(ids.vm_resource), dict(parameters))
        if start:
            await self.until(lambda: ids.group in owner.groups.holdings.attached)
            await owner.host.online_group(ids.group)
            await self.until(lambda: self.runs_on(ids) == owner.id)
        return ids

    def runs_on(self, ids: VirtualMachineIds) -> NodeId | None:
        """Which node runs a VM, by its machines and not by anybody's words; two are a disaster."""
        found = [
            node.id
            for node in self.nodes.values()
            if (machine := node.machine(ids.vm_id)) is not None and machine.state.vcpus_run
        ]
        assert len(found) <= 1, f"{ids.vm_id} runs on nodes {found}"
        return found[0] if found else None

    async def owner(self, group: GroupId) -> NodeId:
        return (await self.admin.get_ownership(group)).value.holder

    async def run(self, group: GroupId) -> RunState:
        return (await self.admin.get_run_state(group)).value

    async def has_state(self, ids: VirtualMachineIds, state: VmState) -> bool:
        run = await self.run(ids.group)
        return run.vm is not None and run.vm.vm_state == state

    async def has_bits(self, ids: VirtualMachineIds, bits: GroupStatus) -> bool:
        return (await self.run(ids.group)).status_information & int(bits) == bits

    async def has_no_bits(self, ids: VirtualMachineIds) -> bool:
        """StatusInformation of a VM's group says that nothing keeps it from being online."""
        return (await self.run(ids.group)).status_information == 0

    async def is_owner(self, node: SimNode, ids: VirtualMachineIds) -> bool:
        """The node owns the VM, and its engine knows."""
        return await self.owner(ids.group) == node.id and ids.group in node.groups.holdings.attached

    async def states(self, group: GroupId) -> dict[ResourceId, ResourceState]:
        return {id_: ResourceState(state) for id_, state in (await self.run(group)).resource_states.items()}

    async def events(self, *words: str) -> list[EventRecord]:
        """Events whose sentence has all these words."""
        return [event for event in await self.admin.events() if all(word in event.sentence for word in words)]

    def used(self, node: SimNode) -> int:
        """Bytes that the machines of a node have, whatever they do."""
        return sum(
            machine.request.pinned.memory_bytes
            for machine in self.machines._machines.values()
            if not machine.is_gone and machine.request.paths == node.paths.vm
        )

    async def until(self, condition: Callable[[], object], patience: float = PATIENCE) -> None:
        """Wait for a condition."""
        deadline = boottime() + patience
        while True:
            answer = condition()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            assert boottime() < deadline, "what was waited for did not happen"
            await asyncio.sleep(0.005)


@asynccontextmanager
async def _world() -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(prefix="q") as directory:
        world = World(Path(directory))
        try:
            yield world
        finally:
            await world.close()


def cluster_test(body: Callable[[World], Awaitable[None]], within: float = 180.0) -> Callable[[], None]:
    """Run a test in a fresh world."""

    def test() -> None:
        async def main() -> None:
            async with asyncio.timeout(within), _world() as world:
                await body(world)

        asyncio.run(main())

    test.__name__ = getattr(body, "__name__", "test")
    test.__doc__ = body.__doc__
    return test
