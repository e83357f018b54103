"""What the tests of START and CANCEL share: one cluster with a gate before QEMU, and ClusAPI's functions in short."""

import asyncio
import json
import os
import random
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from tests.system.pocket_cluster import PocketCluster, pocket_cluster
from tests.system.qemu_gate import QemuGate
from tests.waiting import slowness

from quorate.client.functions import (
    CLUSCTL_CLUSTER_SET_COMMON_PROPERTIES,
    CLUSCTL_GROUP_GET_RO_COMMON_PROPERTIES,
    CLUSCTL_GROUP_SET_COMMON_PROPERTIES,
    CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTIES,
    CLUSCTL_RESOURCE_GET_RO_PRIVATE_PROPERTIES,
    CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES,
    CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION,
    CLUSCTL_RESOURCE_VM_START_MIGRATION,
    AddClusterResourceNode,
    ClusterControl,
    ClusterGroupControl,
    ClusterHandle,
    ClusterResourceControl,
    GetClusterNodeState,
    NodeState,
    OpenCluster,
    OpenClusterGroup,
    OpenClusterNode,
    OpenClusterResource,
    RemoveClusterResourceNode,
    ResourceHandle,
    ResumeClusterNode,
)
from quorate.clusapi.events import EventRecord
from quorate.clusapi.json_types import JsonValue, json_int, json_object, json_text
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    Value,
    pack_property_list,
    parse_property_list,
)
from quorate.clusapi.states import MigrationState, VmState
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Change, Record
from quorate.database.records import Ownership, RunState
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.sqlite import SqliteBlockingStore, SqliteStore
from quorate.database.sqlite_file import SqliteFile
from quorate.database.values import RegistryValue
from quorate.hypervisor.pinned import Pinned

HOST, NODES, PASSWORD = "127.0.0.1", 3, "long enough, and Secret"
VM_RECORDS = (keys.REGISTRY, keys.OWNERSHIP, keys.RUN, keys.EVENTS)
"""Everything in the database but the nodes' leases and addresses."""


def sz(text: str) -> bytes:
    """A text as START wants its destination."""
    return f"{text}\0".encode("utf-16-le")


def one_number(key: str, number: int) -> bytes:
    """A property list that holds one DWORD."""
    return pack_property_list(PropertyList.of([(key, PropertyFormat.DWORD, number)]))


def start(vm: object, destination: str | bytes | None, host: object = None) -> int:
    """START_MIGRATION; a text is the destination's name, bytes are the input buffer as it is, None is NULL."""
    buffer = sz(destination) if isinstance(destination, str) else destination
    return ClusterResourceControl(vm, host, CLUSCTL_RESOURCE_VM_START_MIGRATION, buffer)[0]


def cancel(vm: object, host: object = None) -> int:
    """CANCEL_MIGRATION."""
    return ClusterResourceControl(vm, host, CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION)[0]


@contextmanager
def over_the_wire(place: Path) -> Iterator[tuple[PocketCluster, str]]:
    """A pocket cluster that speaks MS-CMRP at ports of its own, and the address of its nodes there."""
    ports = _free_ports(NODES)
    with (
        pocket_cluster(place / "cluster", NODES, f"{HOST}:{ports[0]}", lease=60) as cluster,
        pytest.MonkeyPatch.context() as patch,
    ):
        cluster.call("AddUserAccount", name="alice", role="full", password=PASSWORD)
        (place / "password").write_text(PASSWORD, encoding="utf-8")
        patch.setenv("QUORATE_USER", "alice")
        patch.setenv("QUORATE_PASSWORD_FILE", str(place / "password"))
        yield cluster, ",".join(f"ncacn_ip_tcp:{HOST}[{port}]" for port in ports)


def _free_ports(count: int) -> range:
    """Ports that follow each other and that nobody has."""
    for _ in range(100):
        first = random.randrange(20000, 30000)  # below those that the system gives away
        try:
            with ExitStack() as stack:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server((HOST, port)))
        except OSError:
            continue
        return range(first, first + count)
    raise AssertionError("no ports are free")


class Rig:
    """A pocket cluster under test."""

    def __init__(self, cluster: PocketCluster, gate: QemuGate, address: str | None = None) -> None:
        self.cluster = cluster
        self.gate = gate
        self.address = address or str(cluster.directory)
        self.handle: ClusterHandle = OpenCluster(self.address)

    # --- virtual machines ------------------------------------------------------------------------------------------

    def vm(self, name: str) -> ResourceHandle:
        return OpenClusterResource(self.handle, f"Virtual Machine {name}")

    def properties(self, name: str) -> Mapping[str, Value]:
        """The private properties of a VM, through the functions; asked again while the VM changes hands."""
        found: dict[str, Value] = {}

        def read() -> bool:
            for code in (CLUSCTL_RESOURCE_GET_RO_PRIVATE_PROPERTIES, CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTIES):
                status, output, _ = ClusterResourceControl(self.vm(name), None, code)
                if status:
                    return False
                found.update((item.name, item.value) for item in parse_property_list(output))
            return True

        self.cluster.wait(read, 10, f"the private properties of {name}")
        return found

    def migration_state(self, name: str) -> MigrationState:
        number = self.properties(name)["MigrationState"]
        assert isinstance(number, int)
        return MigrationState(number)

    def set_property(self, name: str, key: str, number: int) -> int:
        """Set a private property of a VM that is a number."""
        code, data = CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES, one_number(key, number)
        return ClusterResourceControl(self.vm(name), None, code, data)[0]

    def reset_migration_state(self, name: str) -> int:
        return self.set_property(name, "MigrationState", MigrationState.NO_MIGRATION)

    def status_information(self, name: str) -> Value:
        group = OpenClusterGroup(self.handle, name)
        status, output, _ = ClusterGroupControl(group, None, CLUSCTL_GROUP_GET_RO_COMMON_PROPERTIES)
        assert status == 0
        return next(item.value for item in parse_property_list(output) if item.name == "StatusInformation")

    def wait_state(self, name: str, *states: MigrationState, timeout: float = 60.0) -> None:
        def is_there() -> bool:
            state = self.migration_state(name)
            unexpected = state is MigrationState.FAILURE and state not in states
            assert not unexpected, json_object(self.cluster.vm(name), "migration")
            return state in states

        self.cluster.wait(is_there, timeout, f"{name} is in {states}")

    def wait_moved(self, name: str, node: str, timeout: float = 60.0) -> None:
        """Wait until a VM has arrived and the migration is over."""
        cluster = self.cluster

        def has_moved() -> bool:
            facts = cluster.vm(name)
            progress = MigrationProgress.from_json(json_object(facts, "migration"))
            assert progress.state is not MigrationState.FAILURE, progress.sentence
            return json_text(facts, "node") == node and progress.state is MigrationState.NO_MIGRATION

        cluster.wait(has_moved, timeout, f"{name} is on {node}")
        self.wait_state(name, MigrationState.NO_MIGRATION)

    def at_home(self, name: str, home: str = "node1") -> ResourceHandle:
        """A VM that runs on its node and is not being migrated, whatever an earlier test left."""
        cluster, under_way = self.cluster, (MigrationState.SETUP, MigrationState.DATA_TRANSFER, MigrationState.MOVE)
        self.gate.open()
        cluster.wait(lambda: not self.gate.holds(), 10, "nothing waits at the gate")
        cluster.wait(lambda: self.migration_state(name) not in under_way, 30, f"{name} is not being migrated")
        if cluster.vm_state(name) is VmState.PAUSED:
            cluster.call("ResumeVirtualMachine", vm=name)
        if cluster.vm_state(name) is not VmState.RUNNING:
            cluster.call("OnlineGroup", group=name)
            cluster.wait(lambda: cluster.vm_state(name) is VmState.RUNNING, 20, f"{name} runs")
        for _ in range(3):  # a machine that is very busy may fail one
            if cluster.owner(name) == home:
                break
            assert start(self.vm(name), home) == 0
            cluster.wait(lambda: self.migration_state(name) not in under_way, 30, f"{name} has moved or not")
        assert cluster.owner(name) == home, cluster.last_words()
        return self.vm(name)

    # --- what is written -------------------------------------------------------------------------------------------

    @property
    def database(self) -> Path:
        return self.cluster.directory / "cluster.sqlite"

    def written(self) -> Mapping[str, int]:
        """The revision of every record of the cluster and its VMs, and of every event but those of the audit."""
        with closing(SqliteBlockingStore(self.database)) as store:
            records = store.range(*VM_RECORDS).records
            return {record.key: record.revision for record in records if not _is_of_audit(record)}

    def _quiet(self) -> tuple[Mapping[str, int], Mapping[int, str]]:
        """What is written, and which QEMUs there are, once nothing more comes of what was done before."""
        looks: list[tuple[Mapping[str, int], Mapping[int, str]]] = []

        def is_quiet() -> bool:
            looks.append((self.written(), self.cluster.qemu_pids()))
            time.sleep(0.05 * slowness())
            return len(looks) >= 3 and looks[-1] == looks[-2] == looks[-3]

        self.cluster.wait(is_quiet, 10, "everything that was done is written")
        return looks[-1]

    @contextmanager
    def nothing_changes(self) -> Iterator[None]:
        """Check that the database is not written meanwhile, and that no QEMU comes or goes."""
        before, processes = self._quiet()
        yield
        after = self.written()
        assert after == before, {key for key in {*before, *after} if before.get(key) != after.get(key)}
        assert self.cluster.qemu_pids() == processes

    def refusals(self, attempts: Mapping[str, Callable[[], int]]) -> dict[str, int]:
        """Try several calls that should be refused, and give what each answers; nothing may change."""
        with self.nothing_changes():
            return {what: attempt() for what, attempt in attempts.items()}

    def revision(self) -> int:
        with closing(SqliteFile(self.database, 2.0)) as file:
            return file.revision()

    def hands_and_states(self, name: str, after: int) -> list[tuple[str, int]]:
        """What was written of (owner, MigrationState) after a revision, one entry per difference."""
        group = self.snapshot().group(name).id
        with closing(SqliteFile(self.database, 2.0)) as file:
            changes = [change for batch in file.changes(after).batches for change in batch]
        return _hands_and_states(changes, keys.ownership(group), keys.run(group))

    def edit(self, change: Callable[[ClusterDatabase], Awaitable[object]]) -> None:
        """Change the database as an administrator's tool would."""

        async def work() -> None:
            store = SqliteStore(self.database)
            try:
                await change(ClusterDatabase(store))
            finally:
                await store.close()

        asyncio.run(work())

    def snapshot(self) -> ClusterSnapshot:
        found: list[ClusterSnapshot] = []

        async def read(database: ClusterDatabase) -> None:
            found.append(await database.snapshot())

        self.edit(read)
        return found[0]

    # --- circumstances ---------------------------------------------------------------------------------------------

    @contextmanager
    def values(self, path: str, values: Mapping[str, RegistryValue | None]) -> Iterator[None]:
        """Set values of a registry key for a while."""
        before: dict[str, RegistryValue | None] = {}

        async def put(database: ClusterDatabase) -> None:
            now = (await database.registry.open(path)).values
            before.update({name: now.get(name) for name in values})
            await database.set_values(path, values)

        self.edit(put)
        try:
            yield
        finally:
            self.edit(lambda database: database.set_values(path, before))

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        group = OpenClusterGroup(self.handle, name)

        def lock(number: int) -> int:
            code, data = CLUSCTL_GROUP_SET_COMMON_PROPERTIES, one_number("LockedFromMoving", number)
            return ClusterGroupControl(group, None, code, data)[0]

        assert lock(1) == 0
        try:
            yield
        finally:
            assert lock(0) == 0

    def isolated(self, node: str) -> AbstractContextManager[None]:
        path = keys.node_path(self.snapshot().node(node).id)
        return self.values(path, {"StatusInformation": RegistryValue.dword(1)})

    @contextmanager
    def possible_owners(self, name: str, *nodes: str) -> Iterator[None]:
        vm = self.vm(name)
        names = [f"node{number}" for number in range(1, self.cluster.nodes + 1)]
        others = [OpenClusterNode(self.handle, node) for node in names if node not in nodes]
        assert [RemoveClusterResourceNode(vm, node) for node in others] == [0] * len(others)
        try:
            yield
        finally:
            assert [AddClusterResourceNode(vm, node) for node in others] == [0] * len(others)

    def pinned(self, name: str, change: Callable[[Pinned], Pinned]) -> AbstractContextManager[None]:
        """Have a VM look as if its first start had been on another kind of host."""
        return self._changed(name, "Pinned", lambda text: change(Pinned.from_json(text)).to_json())

    def defined(self, name: str, key: str, value: JsonValue) -> AbstractContextManager[None]:
        """Have a VM's definition say something else in one key."""
        return self._changed(name, "Definition", lambda text: json.dumps({**json.loads(text), key: value}))

    def _changed(self, name: str, parameter: str, change: Callable[[str], str]) -> AbstractContextManager[None]:
        configuration = self.snapshot().resource(f"Virtual Machine Configuration {name}")
        text = RegistryValue.sz(change(configuration.parameters.text(parameter)))
        return self.values(keys.parameters_path(configuration.id), {parameter: text})

    @contextmanager
    def at_once(self, migrations: int) -> Iterator[None]:
        """Allow so many migrations of a node at the same time."""

        def allow(number: int) -> int:
            code, data = CLUSCTL_CLUSTER_SET_COMMON_PROPERTIES, one_number("MaximumParallelMigrations", number)
            return ClusterControl(self.handle, OpenClusterNode(self.handle, "node1"), code, data)[0]

        assert allow(migrations) == 0
        try:
            yield
        finally:
            assert allow(1) == 0

    @contextmanager
    def paused_node(self, name: str) -> Iterator[None]:
        node = OpenClusterNode(self.handle, name)
        self.cluster.call("PauseNode", node=name)
        self.cluster.wait(lambda: GetClusterNodeState(node) == NodeState.PAUSED, 5, f"{name} is paused")
        try:
            yield
        finally:
            assert ResumeClusterNode(node) == 0
            self.cluster.wait(lambda: self._is_up_everywhere(name), 5, f"{name} is up")

    def _is_up_everywhere(self, name: str) -> bool:
        """Every node has heard that a node is up again."""
        states = [
            self.cluster.client_of(f"node{number}").call("GetNodeState", node=name).number("state")
            for number in range(1, self.cluster.nodes + 1)
        ]
        return states == [int(NodeState.UP)] * self.cluster.nodes

    # --- nodes -----------------------------------------------------------------------------------------------------

    def configure(self, texts: Mapping[str, str]) -> None:
        """Add to the configurations of nodes and restart their daemons."""
        before = {node: self.cluster.daemon_pid(node) for node in texts}
        for node, text in texts.items():
            path = self.cluster.directory / "nodes" / node.removeprefix("node") / "node.toml"
            path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
            os.kill(before[node], signal.SIGTERM)
        for node, pid in before.items():
            self.cluster.wait(lambda node=node, pid=pid: self._answers(node, pid), 20, f"{node} is back")  # type: ignore[misc]

    def _answers(self, node: str, other_than: int) -> bool:
        facts = self.cluster.client_of(node).call("GetNodeReport", node=node).json("processes")
        return json_int(facts, "daemon_pid") not in (0, other_than)

    def phases(self, node: str) -> list[str]:
        """The phases that a node's source side has gone through, as its log tells."""
        log = self.cluster.directory / "nodes" / node.removeprefix("node") / "daemon.log"
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        return [line["phase"] for line in lines if line.get("event") == "migration" and "phase" in line]


def _is_of_audit(record: Record) -> bool:
    return record.key.startswith(keys.EVENTS) and EventRecord.decode(record.value).kind.startswith("audit.")


def _hands_and_states(changes: list[Change], ownership: str, run: str) -> list[tuple[str, int]]:
    seen: list[tuple[str, int]] = []
    holder, state = "", -1
    for revision in sorted({change.revision for change in changes}):
        for change in (c for c in changes if c.revision == revision and c.value is not None):
            assert change.value is not None
            if change.key == ownership:
                holder = Ownership.decode(change.value).holder
            elif change.key == run:
                vm = RunState.decode(change.value).vm
                state = -1 if vm is None else vm.migration_state
        if (holder, state) != (seen[-1] if seen else ("", -1)):
            seen.append((holder, state))
    return seen


def measured(call: Callable[[object, str], int], vm: object, destination: str) -> tuple[int, float]:
    """A status and how many milliseconds it took."""
    begun = time.perf_counter()
    status = call(vm, destination)
    return status, (time.perf_counter() - begun) * 1000
