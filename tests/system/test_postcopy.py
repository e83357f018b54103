"""Post-copy on real processes: a guest that no link can keep up with moves, and keeps its memory through a cut link.

The machines are network namespaces; what is between them is limited, so that holding the guest's processors back does
not help.
"""

import signal
from collections.abc import Callable, Iterator

import pytest
from bench import limited_link
from tests.system.machines.fabric import Machine
from tests.system.machines.machine_cluster import MachineCluster, machines

from quorate.clusapi.json_types import json_object, json_text
from quorate.hypervisor.qemu.user_faults import why_no_postcopy
from quorate.hypervisor.serial_watch import SerialReport, SerialWatch

_REASON = limited_link.why_not() or why_no_postcopy(None)
pytestmark = pytest.mark.skipif(bool(_REASON), reason=str(_REASON))

SOURCE, DESTINATION = "node1", "node2"
MIB = 1 << 20
RATE = 100_000_000
"""Bits per second."""
GUEST: dict[str, int] = {"fill_bytes": 32 * MIB, "dirty_bytes": 48 * MIB, "dirty_bytes_per_second": 800 * MIB}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCluster]:
    with machines(
        tmp_path_factory.mktemp("postcopy") / "cluster", nodes=(SOURCE, DESTINATION), members=("etcd1",)
    ) as made:
        made.quorate(SOURCE, "--cluster", made.directory, "cluster", "set", "MigrationPostCopy=1")
        for node in (SOURCE, DESTINATION):
            for network in range(len(made.fabric.networks)):  # where one was cut, memory takes the other for a while
                made.machine(node).limit(RATE, network)
        yield made


class Guest:
    """One that writes faster than the link carries, on its way."""

    def __init__(self, cluster: MachineCluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        cluster.create_builtin(name, "128M", start=True, **GUEST)
        self.logs = [cluster.serial_log(cluster.vm_id(name), node) for node in (SOURCE, DESTINATION)]

    def migrate(self) -> None:
        self.cluster.client_of(SOURCE).call("MoveGroup", group=self.name, destination=DESTINATION, full_access=True)

    def phase(self) -> str:
        found = self.cluster.client_of(DESTINATION).call("GetVirtualMachine", vm=self.name).as_json()
        return json_text(json_object(json_object(found, "virtual_machine"), "migration"), "phase")

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        self.cluster.wait(condition, 60, f"{self.name} {what}")

    def wait_fetching(self) -> None:
        self.wait(lambda: self.cluster.owner(self.name) == DESTINATION, "is at its destination")
        self.wait(lambda: self.phase() == "fetching pages", "fetches pages")

    def wait_whole(self) -> None:
        self.wait(lambda: self.phase() == "done", "has all its pages")
        assert self.cluster.migration_state(self.name) == 0

    def qemus(self, node: str) -> tuple[int, ...]:
        machine: Machine = self.cluster.machine(node)
        return machine.pids_of("qemu-system", self.cluster.vm_id(self.name))


def intact(watch: SerialWatch, more: int = 30) -> SerialReport:
    """The guest counts on, and has found no page that was not as it had written it."""
    assert watch.wait_beats(more, 60.0), watch.report()
    report = watch.report()
    assert report.continuous and not report.other, report
    return report


def test_a_guest_that_outruns_the_link_moves_and_a_cut_link_only_delays_it(cluster: MachineCluster) -> None:
    guest = Guest(cluster, "runner")
    with SerialWatch(*guest.logs) as watch:
        assert watch.wait_beats(20, 60.0)
        guest.migrate()
        guest.wait_fetching()
        cluster.machine(SOURCE).cut(cluster.machine(DESTINATION).address())
        try:
            assert guest.qemus(SOURCE), "it has pages that are nowhere else"
            log = cluster.state(SOURCE) / "daemon.log"
            guest.wait(lambda: "serving -> reconnecting" in log.read_text(), "is cut off, which nobody tells")
            assert guest.qemus(SOURCE) and guest.qemus(DESTINATION)
        finally:
            cluster.machine(SOURCE).heal()
        guest.wait_whole()
        guest.wait(lambda: not guest.qemus(SOURCE), "is nowhere else any more")
        intact(watch)


def test_a_daemon_that_is_stopped_waits_until_its_pages_have_left(cluster: MachineCluster) -> None:
    """Its node's lease would end soon after it, and the guard would end the only QEMU that has them."""
    guest = Guest(cluster, "leaver")
    with SerialWatch(*guest.logs) as watch:
        assert watch.wait_beats(20, 60.0)
        guest.migrate()
        guest.wait_fetching()
        cluster.signal_daemon(SOURCE, signal.SIGTERM)
        guest.wait_whole()
        guest.wait(lambda: not guest.qemus(SOURCE), "is nowhere else any more")
        intact(watch)
    log = cluster.state(SOURCE) / "daemon.log"
    guest.wait(lambda: "the node is down" in log.read_text(), "has let the daemon go")
    cluster.start_daemon(SOURCE, after_the_last=True)
    cluster.wait_up(SOURCE, DESTINATION)


def test_a_source_that_dies_while_it_serves_pages_costs_the_guest_a_restart(cluster: MachineCluster) -> None:
    guest = Guest(cluster, "orphan")
    with SerialWatch(*guest.logs) as watch:
        assert watch.wait_beats(20, 60.0)
        guest.migrate()
        guest.wait_fetching()
        before = guest.qemus(DESTINATION)
        (serving,) = guest.qemus(SOURCE)
        cluster.machine(SOURCE).signal([serving], signal.SIGKILL)
        guest.wait(lambda: len(guest.qemus(DESTINATION)) == 1 and guest.qemus(DESTINATION) != before, "is started anew")
        guest.wait(lambda: cluster.vm_state("orphan").name == "RUNNING", "runs")
        assert not guest.qemus(SOURCE)
        assert cluster.owner("orphan") == DESTINATION
