"""What kills machines, daemons, guards, links and databases, done to real ones; looked at from outside.

After every fault: never two copies of a guest at one time, and every virtual machine that can run runs again.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.system.machines.fabric import why_not
from tests.system.machines.guests import BEATS, LIMIT, Guest, Points, guest_of
from tests.system.machines.machine_cluster import MEMBERS, NODES, MachineCluster, machines
from tests.waiting import slowness

from quorate.clusapi.states import MigrationState, NodeState, VmState
from quorate.engine.fault_points import VARIABLE, Point

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

LEASE = 5
"""Seconds, the cluster's default."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCluster]:
    directory = tmp_path_factory.mktemp("machines")
    points = Points(directory / "points")
    with machines(directory / "cluster", environment={VARIABLE: str(points.directory)}) as made:
        yield made


@pytest.fixture
def points(cluster: MachineCluster) -> Points:
    return Points(cluster.directory.parent / "points")


@pytest.fixture(autouse=True)
def whole(cluster: MachineCluster, points: Points) -> Iterator[None]:
    """Begin with everything up, and leave it so whatever happened."""
    cluster.make_whole()
    yield
    points.release()


@pytest.fixture
def guest_on(cluster: MachineCluster) -> Iterator[Callable[[str, str], Guest]]:
    """Make guests that count on a node of choice; they are deleted afterwards."""
    made: list[str] = []
    with ExitStack() as stack:

        def make(name: str, node: str) -> Guest:
            made.append(name)
            return stack.enter_context(guest_of(cluster, name, node))

        yield make
    cluster.make_whole()
    for name in made:
        cluster.remove_vm(name)


Make = Callable[[str, str], Guest]


# --- nodes and processes that die --------------------------------------------------------------------------------


def test_a_node_dies_and_its_guest_runs_on_another(cluster: MachineCluster, guest_on: Make) -> None:
    guest = guest_on("dies", "node3")
    began = time.monotonic()
    cluster.machine("node3").kill_everything()
    again = guest.wait_runs("node1", "node2", since=began)
    assert again - began < LIMIT
    guest.check_one()
    assert cluster.owner("dies") != "node3"
    assert cluster.node_state("node3") is NodeState.DOWN
    cluster.start_daemon("node3")
    cluster.wait_up("node3")
    assert not cluster.qemu_pids("node3")


def test_a_daemon_dies_and_nobody_notices(cluster: MachineCluster, guest_on: Make) -> None:
    guest = guest_on("orphan", "node2")
    qemus = cluster.qemu_pids("node2")
    cluster.set_lease(60)  # so that it is back in time on a machine that is busy with something else
    try:
        cluster.signal_daemon("node2", signal.SIGKILL)
        cluster.start_daemon("node2")
        cluster.wait_up("node2")
        assert guest.watch.wait_beats(BEATS, LIMIT)
        assert cluster.qemu_pids("node2") == qemus
        assert cluster.owner("orphan") == "node2"
        guest.check_never_stopped()
    finally:
        cluster.set_lease(LEASE)


def test_a_guard_dies_and_is_back(cluster: MachineCluster, guest_on: Make) -> None:
    guest = guest_on("guarded", "node2")
    (old,) = cluster.guard_pids("node2")
    began = time.monotonic()
    os.kill(old, signal.SIGKILL)
    cluster.wait(lambda: bool(set(cluster.guard_pids("node2")) - {old}), LIMIT, "another guard stands there")
    assert time.monotonic() - began < 1.0 * slowness()
    assert guest.watch.wait_beats(BEATS, LIMIT)
    guest.check_never_stopped()


def test_a_daemon_stands_still_past_its_lease(cluster: MachineCluster, guest_on: Make) -> None:
    guest = guest_on("frozen", "node2")
    began = time.monotonic()
    cluster.signal_daemon("node2", signal.SIGSTOP)
    try:
        again = guest.wait_runs("node1", "node3", since=began)
        assert not cluster.qemu_pids("node2"), "the guard has not killed what ran there"
        assert guest.last_word("node2") < again, "it was started elsewhere before it was dead"
    finally:
        cluster.signal_daemon("node2", signal.SIGCONT)
    cluster.wait_up("node2")
    assert guest.watch.wait_beats(BEATS, LIMIT)
    guest.check_one()
    assert not cluster.qemu_pids("node2")


# --- cables that are pulled --------------------------------------------------------------------------------------


def test_a_node_is_cut_off_from_all(cluster: MachineCluster, guest_on: Make) -> None:
    guest = guest_on("lonely", "node2")
    began = time.monotonic()
    cluster.machine("node2").cut()
    again = guest.wait_runs("node1", "node3", since=began)
    assert guest.last_word("node2") < again
    assert not cluster.qemu_pids("node2")
    cluster.machine("node2").heal()
    cluster.wait_up("node2")
    guest.check_one()


def test_a_node_is_cut_off_from_the_database_only(cluster: MachineCluster, guest_on: Make) -> None:
    """The others can write, so they promise nothing: its guard acts, and they take over."""
    guest = guest_on("halfway", "node2")
    began = time.monotonic()
    cluster.machine("node2").cut(*(cluster.fabric[member].address() for member in MEMBERS))
    again = guest.wait_runs("node1", "node3", since=began)
    assert guest.last_word("node2") < again
    cluster.machine("node2").heal()
    cluster.wait_up("node2")
    guest.check_one()


PHASES: dict[str, tuple[tuple[str, Point], ...]] = {
    "preparing": (("node2", Point.PREPARING),),
    "pre-copy": (("node1", Point.PRE_COPY),),
    "stopped": (("node1", Point.STOPPED),),
    "given": (("node1", Point.GIVEN),),
    "yours sent": (("node1", Point.YOURS_SENT),),
    "marked": (("node2", Point.MARKED),),
}


@pytest.mark.parametrize("phase", PHASES)
def test_the_link_is_cut_in_a_phase_of_a_migration(
    cluster: MachineCluster, points: Points, guest_on: Make, phase: str
) -> None:
    """Both ends still reach the database; the guest goes on at one of them."""
    name = f"cut-{phase.replace(' ', '-')}"
    guest = guest_on(name, "node1")
    reached = [points.hold(node, point) for node, point in PHASES[phase]]
    cluster.call("MoveGroup", group=name, destination="node2")
    cluster.wait(lambda: all(path.exists() for path in reached), LIMIT, f"the migration comes to {phase}")
    cluster.machine("node1").cut(cluster.machine("node2").address())
    points.release()
    began = time.monotonic()
    time.sleep(6.0)  # longer than every patience but that of dropping a guest
    cluster.machine("node1").heal()

    def settled() -> bool:
        states = (MigrationState.NO_MIGRATION, MigrationState.CANCELED, MigrationState.FAILURE)
        one = len(cluster.qemu_pids("node1")) + len(cluster.qemu_pids("node2")) == 1
        return one and cluster.vm_state(name) is VmState.RUNNING and cluster.migration_state(name) in states

    cluster.wait(settled, LIMIT, f"{name} has settled")
    guest.wait_runs(cluster.owner(name), since=began)
    guest.check_one()
    report = guest.watch.report()
    assert report.continuous, f"it was not moved with its memory, and did not stay: {report}"


# --- the database ------------------------------------------------------------------------------------------------


def test_all_of_etcd_is_away_for_a_minute_and_no_guest_stops(cluster: MachineCluster, guest_on: Make) -> None:
    guests = [guest_on(f"calm{node[-1]}", node) for node in NODES]
    for member in cluster.etcd.members:
        member.kill()
    began = time.monotonic()
    while time.monotonic() - began < 60.0:
        assert all(guest.watch.wait_beats(1, 5.0 * slowness()) for guest in guests), "a guest fell silent"
    for member in cluster.etcd.members:
        member.start()
    cluster.etcd.wait_healthy()
    cluster.wait_up()
    for guest in guests:
        assert guest.watch.wait_beats(BEATS, LIMIT)
        guest.check_never_stopped()


def test_etcd_is_silent_for_three_seconds_and_no_guest_stops(cluster: MachineCluster, guest_on: Make) -> None:
    guest = guest_on("hiccup", "node1")
    for member in cluster.etcd.members:
        member.freeze()
    try:
        time.sleep(3.0)
    finally:
        for member in cluster.etcd.members:
            member.thaw()
    assert guest.watch.wait_beats(4 * BEATS, LIMIT)
    cluster.wait_up()
    guest.check_never_stopped()


def test_the_leader_of_etcd_dies_together_with_a_node(cluster: MachineCluster, guest_on: Make) -> None:
    guest = guest_on("both", "node2")
    leader = cluster.etcd.leader()
    began = time.monotonic()
    cluster.machine("node2").kill_everything()
    leader.kill()
    guest.wait_runs("node1", "node3", since=began)
    guest.check_one()


# --- several at once ---------------------------------------------------------------------------------------------


def test_two_nodes_of_three_die_and_all_runs_on_the_third(cluster: MachineCluster, guest_on: Make) -> None:
    guests = [guest_on(f"crowd{node[-1]}", node) for node in NODES]
    began = time.monotonic()
    for node in ("node1", "node2"):
        cluster.machine(node).kill_everything()
    for guest in guests[:2]:
        guest.wait_runs("node3", since=began)
    for guest in guests:
        guest.check_one()
    guests[2].check_never_stopped()


def test_the_coordinator_dies_during_a_failover(cluster: MachineCluster, guest_on: Make) -> None:
    coordinator = cluster.coordinator()
    victim, other = (node for node in NODES if node != coordinator)
    guest, second = guest_on("relay", victim), guest_on("stays", other)
    began = time.monotonic()
    cluster.machine(victim).kill_everything()
    cluster.wait(lambda: cluster.node_state(victim, other) is NodeState.DOWN, LIMIT, f"{victim} is seen down")
    cluster.machine(coordinator).kill_everything()
    guest.wait_runs(other, coordinator, since=began)
    cluster.wait(lambda: cluster.coordinator() == other, LIMIT, f"{other} coordinates")
    cluster.wait(lambda: cluster.owner("relay") == other, LIMIT, f"relay is on {other}")
    guest.wait_runs(other, since=began)
    guest.check_one()
    second.check_never_stopped()


# --- clocks ------------------------------------------------------------------------------------------------------


def test_a_daemons_clock_is_set_back_an_hour(cluster: MachineCluster, guest_on: Make) -> None:
    """No decision hangs on the time of day."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed")
    clock = cluster.directory / "clock"
    clock.write_text("+0\n")
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    cluster.environment["node2"] = faked
    try:
        cluster.signal_daemon("node2", signal.SIGTERM)
        cluster.start_daemon("node2", after_the_last=True)
        cluster.wait_up("node2")
        guest, other = guest_on("clocked", "node2"), guest_on("witness", "node1")
        clock.write_text("-1h\n")
        began = time.monotonic()
        while time.monotonic() - began < 8.0:  # longer than a lease and its margin
            assert guest.watch.wait_beats(1, 5.0 * slowness()) and other.watch.wait_beats(1, 5.0 * slowness())
        assert cluster.node_state("node2", "node1") is NodeState.UP
        cluster.machine("node1").kill_everything()
        other.wait_runs("node2", "node3", since=began)
        guest.check_never_stopped()
        other.check_one()
    finally:
        del cluster.environment["node2"]
        cluster.signal_daemon("node2", signal.SIGTERM)
        cluster.start_daemon("node2", after_the_last=True)
