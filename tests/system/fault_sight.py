"""What is to be seen of one virtual machine from outside: in the database, among the processes, on the disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.system.pocket_cluster import PocketCluster

from quorate.clusapi.identity import VmId
from quorate.clusapi.states import MigrationState, VmState
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.snapshot_builder import SnapshotBuilder
from quorate.database.sqlite import SqliteBlockingStore
from quorate.hypervisor.contract import VmPaths

SETTLED = (MigrationState.NO_MIGRATION, MigrationState.CANCELED, MigrationState.FAILURE)


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be seen from outside, at one moment."""

    owner: str
    given: bool
    migration_state: MigrationState
    sentence: str
    failed_over: bool
    """A coordinator has given it to the node where it is, as its owner was dead."""
    vm_state: VmState
    status_information: int
    """What its group waits for, in bits."""
    qemus: tuple[str, ...]
    """The nodes that have a QEMU of the virtual machine."""
    guards: tuple[str, ...]
    """The nodes that have a guard; one with two stands here twice."""
    nodes: tuple[str, ...]
    """All nodes."""
    left_over: tuple[str, ...]
    """Files that only a migration, or a QEMU that is not there, would need."""

    @property
    def is_settled(self) -> bool:
        return (
            not self.given
            and self.migration_state in SETTLED
            and self.vm_state is VmState.RUNNING
            and not self.status_information
            and self.qemus == (self.owner,)
            and self.guards == self.nodes
            and not self.left_over
        )


class Sight:
    """Looks at a cluster."""

    def __init__(self, cluster: PocketCluster) -> None:
        self.cluster = cluster
        self._nodes = tuple(f"node{number}" for number in range(1, cluster.nodes + 1))
        self._database = SqliteBlockingStore(cluster.directory / "cluster.sqlite")

    def close(self) -> None:
        self._database.close()

    def look(self, name: str, vm_id: str) -> Found:
        snapshot = self._snapshot()
        group = snapshot.group(name).id
        ownership, run = snapshot.ownership[group].value, snapshot.run[group].value
        assert run.vm is not None
        owner = snapshot.nodes[ownership.holder].name
        return Found(
            owner=owner,
            given=ownership.giver is not None,
            migration_state=MigrationState(run.vm.migration_state),
            sentence=run.vm.sentence,
            failed_over=run.failover.away,
            vm_state=VmState(run.vm.vm_state),
            status_information=run.status_information,
            qemus=tuple(self.qemus(vm_id).values()),
            guards=tuple(sorted(self.cluster.guard_pids(*self._nodes).values())),
            nodes=self._nodes,
            left_over=tuple(self._left_over(vm_id, owner)),
        )

    def is_given(self, name: str) -> bool:
        snapshot = self._snapshot()
        return snapshot.ownership[snapshot.group(name).id].value.giver is not None

    def _snapshot(self) -> ClusterSnapshot:
        return SnapshotBuilder(self._database.range(*SnapshotBuilder.PREFIXES)).build()

    def qemus(self, vm_id: str) -> dict[int, str]:
        marker = vm_id.encode()
        return {
            pid: node
            for pid, node in sorted(self.cluster.qemu_pids().items(), key=lambda found: found[1])
            if marker in _command_line(pid)
        }

    def qemu(self, vm_id: str, node: str) -> int:
        """The pid of a virtual machine's QEMU on a node."""
        return next(pid for pid, where in self.qemus(vm_id).items() if where == node)

    def _left_over(self, vm_id: str, owner: str) -> Iterator[str]:
        for node in self._nodes:
            runtime = self.cluster.runtime(node)
            yield from (path.name for path in runtime.glob("*.journal"))
            if node != owner:
                state = self.cluster.directory / "nodes" / node.removeprefix("node") / "vms"
                paths, vm = VmPaths(state, runtime), VmId(vm_id)
                sockets = (paths.control_socket(vm), paths.migration_socket(vm), paths.agent_socket(vm))
                yield from (f"{node}: {path.name}" for path in sockets if path.exists())
                yield from (f"{node}: {path.name}" for path in runtime.glob(f"{vm_id}.*"))
                yield from (f"{node}: {path.name}" for path in state.glob(f"{vm_id}.rom"))


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
