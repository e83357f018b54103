"""Two hundred virtual machines on three real daemons: a node dies, and the two others hold all of them.

The machines are the fake driver's, so that only the cluster itself is tried. Together they are exactly as large as two
nodes. Judged by every write of the database, as a stranger saw it, and by what the guests wrote.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import pytest
from tests.system.machines.fabric import why_not
from tests.system.machines.machine_cluster import NODES, MachineCluster, machines
from tests.system.machines.record_log import RecordLog
from tests.waiting import slowness

from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import GroupId, NodeId, VmId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.states import GroupStatus, ResourceState, VmState
from quorate.cluster.picture import PARKED
from quorate.database import keys
from quorate.database.contract import Change
from quorate.database.records import Lease, Ownership, RunState

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

COUNT: Final = 200
MIB: Final = 64
"""Memory of each, so that one node has just room for half of them."""
NODE_MIB: Final = COUNT // 2 * MIB
BOUND: Final = 5.0
"""Seconds from the end of a lease until everything that it held runs elsewhere."""
CALLERS: Final = 8
LIMIT: Final = 120.0


@dataclass
class Ledger:
    """What the records say of the virtual machines, as they are written one after the other."""

    owners: dict[GroupId, NodeId] = field(default_factory=dict)
    runs: dict[GroupId, RunState] = field(default_factory=dict)
    most: dict[NodeId, int] = field(default_factory=dict)
    """Most MiB that a node had promised at one moment."""
    ended_at: dict[NodeId, float] = field(default_factory=dict)
    """When the lease of a node was ended last, by the event that tells of it."""
    all_run_at: float = 0.0
    """When the last of them was seen running, while they all do."""
    _promised: dict[NodeId, int] = field(default_factory=dict)
    _dead: set[NodeId] = field(default_factory=set)
    _running: int = 0

    def take(self, at: float, changes: tuple[Change, ...]) -> None:
        """Take what one revision has changed."""
        for change in changes:
            if change.value is None:
                continue
            if change.key.startswith(keys.OWNERSHIP):
                self._take_group(GroupId(change.key.removeprefix(keys.OWNERSHIP)), Ownership.decode(change.value))
            elif change.key.startswith(keys.RUN):
                self._take_group(GroupId(change.key.removeprefix(keys.RUN)), RunState.decode(change.value))
            elif change.key.startswith(keys.LEASES):
                node = NodeId(change.key.removeprefix(keys.LEASES))
                self._dead = self._dead | {node} if Lease.decode(change.value).ended else self._dead - {node}
            elif change.key.startswith(keys.EVENTS):
                event = EventRecord.decode(change.value)
                if event.kind == EventKind.NODE_STATE and event.after == "down":
                    self.ended_at[NodeId(event.object_id)] = event.time.timestamp()
        for node, much in self._promised.items():
            self.most[node] = max(self.most.get(node, 0), much)
        if self._running < COUNT or self._dead & set(self.owners.values()):
            self.all_run_at = 0.0
        elif not self.all_run_at:
            self.all_run_at = at

    def _take_group(self, group: GroupId, record: Ownership | RunState) -> None:
        self._count(group, -1)
        if isinstance(record, Ownership):
            self.owners[group] = record.holder
        elif record.vm is not None:
            self.runs[group] = record
        self._count(group, 1)

    def _count(self, group: GroupId, sign: int) -> None:
        run, owner = self.runs.get(group), self.owners.get(group)
        if run is None or owner is None or run.vm is None:
            return
        if _occupies(run):
            self._promised[owner] = self._promised.get(owner, 0) + sign * MIB
        if run.vm.vm_state == VmState.RUNNING:
            self._running += sign

    def where(self) -> dict[GroupId, NodeId]:
        """Where each of them is."""
        return {group: self.owners[group] for group in self.runs}


def _occupies(run: RunState) -> bool:
    """Tell whether its owner must keep room for it: it runs, or will as soon as it may."""
    states = [ResourceState(state) for state in run.resource_states.values()]
    runs = any(state is ResourceState.ONLINE or state.is_pending for state in states)
    return runs or (run.persistent_state and not GroupStatus(run.status_information) & PARKED)


class Many:
    """The cluster with all of them, and what is known of it from outside."""

    def __init__(self, cluster: MachineCluster, log: RecordLog) -> None:
        self.cluster = cluster
        self.ledger = Ledger()
        self._log = log
        self._vms: dict[GroupId, VmId] = {}

    def look(self) -> Ledger:
        """Read what was written since the last look."""
        for written in self._log.news():
            self.ledger.take(written.at, written.changes)
        return self.ledger

    def prefer(self) -> None:
        """Let the cluster come before whatever else this machine does: the bound is the cluster's alone."""
        for machine in self.cluster.fabric.machines.values():
            machine.prefer()

    def make(self) -> None:
        """Make them, a third on each node, and start them."""
        self.prefer()
        clients = [self.cluster.client_of(node) for node in NODES]

        def create(number: int) -> tuple[GroupId, VmId]:
            name, node = f"vm{number:03}", number % len(NODES)
            definition: JsonObject = {"name": name, "memory": f"{MIB}M", "guest": {"kind": "builtin"}}
            made = clients[node].call("CreateVirtualMachine", name=name, definition=definition, node=NODES[node])
            return GroupId(made.text("group")), VmId(made.text("vm"))

        with ThreadPoolExecutor(CALLERS) as pool:
            began = time.monotonic()
            self._vms = dict(pool.map(create, range(COUNT)))
            made = time.monotonic()
            for _ in pool.map(self._start, range(COUNT)):
                pass
        self.cluster.wait(lambda: self.look().all_run_at > 0.0, LIMIT, "all run")
        print(f"\n{(made - began) / COUNT * 1000:.1f} ms for each to be made, ", end="")
        print(f"{(time.monotonic() - made) / COUNT * 1000:.1f} ms to be started")

    def _start(self, number: int) -> None:
        name, client = f"vm{number:03}", self.cluster.client_of(NODES[number % len(NODES)])
        self.cluster.wait(lambda: bool(client.call("OnlineGroup", group=name)), LIMIT, f"{name} is being started")

    def lose(self, victim: str) -> float:
        """Pull the plug of a node; seconds from the end of its lease until all run on the two others."""
        cluster, node = self.cluster, NodeId(victim.removeprefix("node"))
        lost = sum(owner == node for owner in self.look().where().values())
        self.ledger.most.clear()
        began = time.time()
        cluster.machine(victim).kill_everything()

        def all_live() -> bool:
            ledger = self.look()
            return ledger.ended_at.get(node, 0.0) > began and ledger.all_run_at > 0.0

        cluster.wait(all_live, LIMIT, f"all run without {victim}")
        took, after = self.ledger.all_run_at - self.ledger.ended_at[node], self.ledger.ended_at[node] - began
        print(f"{lost} lost with {victim}: lease ended after {after:.2f} s, all ran {took:.2f} s later, ", end="")
        print(f"most MiB promised: {self.ledger.most}")
        assert node not in self.ledger.where().values()
        assert max(self.ledger.most.values()) <= NODE_MIB, f"more memory was promised than there is: {self.ledger.most}"
        self._check_guests()
        return took

    def _check_guests(self) -> None:
        """Every guest writes on the node that the records name, and every face of the cluster says so."""
        since, where = time.time(), self.ledger.where()

        def speaks(group: GroupId, node: NodeId) -> bool:
            log = self.cluster.serial_log(self._vms[group], f"node{node}")
            return log.exists() and log.stat().st_mtime > since

        self.cluster.wait(lambda: all(speaks(group, where[group]) for group in self._vms), LIMIT, "every guest speaks")
        for client in (self.cluster.client_of(f"node{node}") for node in set(where.values())):
            listed = client.call("ListVirtualMachines").objects("virtual_machines")
            assert {str(vm["group"]): vm["node_id"] for vm in listed} == where
            assert all(vm["vm_state"] == VmState.RUNNING for vm in listed)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Many]:
    settings = ('driver = "fake"', f"memory = {NODE_MIB}")
    with machines(tmp_path_factory.mktemp("many") / "cluster", settings=settings) as cluster:
        configuration = cluster.state("node1") / "node.toml"
        with RecordLog(cluster.machine("etcd1"), configuration, cluster.directory) as log:
            made = Many(cluster, log)
            made.make()
            yield made


def test_a_node_dies_and_two_hold_all(many: Many) -> None:
    cluster = many.cluster
    victim = next(node for node in NODES if node != cluster.coordinator())
    try:
        took = many.lose(victim)
    finally:
        cluster.start_daemon(victim)
        cluster.wait_up(victim)
        many.prefer()
    assert took <= BOUND * slowness()


def test_the_coordinator_dies_with_half_of_all(many: Many) -> None:
    """One of the two others is full by now: the one that came back takes everything."""
    assert many.lose(many.cluster.coordinator()) <= BOUND * slowness()
