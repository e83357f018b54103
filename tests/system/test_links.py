"""Moves of memory over a real link between two machines: slow, lossy, pulled, silent, cut for memory or for all.

The machines are network namespaces. The database is on a network of its own, so that leases go on while the link
between the nodes is down. What has to come out is the table of failures: the guest goes on at one place, with its
memory, and the other end keeps nothing; what broke is noticed within two seconds and said.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import pytest
from tests.system.machines.fabric import why_not
from tests.system.machines.guests import LIMIT, Guest, Points, Turn, epoch, guest_of
from tests.system.machines.machine_cluster import PEERS_PORT, MachineCluster, machines
from tests.system.soak import soaking
from tests.waiting import slowness

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.json_types import json_int, json_object, json_text
from quorate.clusapi.states import MigrationState, NodeState, VmState
from quorate.clusapi.status import Status
from quorate.engine.fault_points import VARIABLE, Point

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

SOURCE: Final = "node1"
DESTINATION: Final = "node2"
LINK: Final = 1
"""The network on which the nodes speak to each other and send memory; the database is on network 0."""
SLOW: Final = 100_000_000
USUAL: Final = 1_000_000_000
"""Bits per second."""
MIB: Final = 1 << 20
AWAY: Final = 8.0
"""Seconds for which a link is down that comes back."""
NOTICED: Final = 2.0
"""Seconds after which a break must be known, and acted upon."""
LATE: Final = 0.25
"""Seconds that the log may be behind on a machine with nothing else to do."""
LEASE, LONG_LEASE = 5, 60
"""Seconds that leases last: as usual, and where none may run out because the machine is busy."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCluster]:
    directory = tmp_path_factory.mktemp("links")
    points = Points(directory / "points")
    environment = {VARIABLE: str(points.directory)}
    nodes, members = (SOURCE, DESTINATION), ("etcd1",)
    with machines(
        directory / "cluster", environment=environment, nodes=nodes, members=members, peers_network=LINK
    ) as made:
        made.quorate(SOURCE, "--cluster", made.directory, "cluster", "set", "MaximumParallelMigrations=4")
        made.keep_memory_on(LINK)
        made.set_lease(LONG_LEASE)
        yield made


@pytest.fixture
def points(cluster: MachineCluster) -> Iterator[Points]:
    made = Points(cluster.directory.parent / "points")
    yield made
    made.release()


@pytest.fixture(autouse=True)
def whole(cluster: MachineCluster, points: Points) -> Iterator[None]:
    """Leave everything mended, with links as fast as they can be."""
    yield
    points.release()
    for node in cluster.nodes:
        cluster.machine(node).unlimit(LINK)
    cluster.make_whole()


# --- what is done to links -----------------------------------------------------------------------------------------


def limit(cluster: MachineCluster, bits_per_second: int) -> None:
    for node in cluster.nodes:
        cluster.machine(node).limit(bits_per_second, LINK)


def cut(cluster: MachineCluster, how: str) -> float:
    """Cut the link; the time of day at which that was done."""
    other = cluster.machine(DESTINATION).address(LINK)
    match how:
        case "pulled":
            cluster.machine(SOURCE).unplug(LINK)
        case "silent":
            cluster.machine(SOURCE).cut(other)
        case "memory alone":
            cluster.machine(SOURCE).cut_but(other, PEERS_PORT)
        case "large packets of memory":
            cluster.machine(SOURCE).cut_but(other, PEERS_PORT, SMALL)
        case _:
            cluster.machine(SOURCE).cut()
    return epoch()


# --- what is looked at ---------------------------------------------------------------------------------------------


def move(guest: Guest) -> None:
    guest.cluster.client_of(SOURCE).call("MoveGroup", group=guest.name, destination=DESTINATION, full_access=True)


def under_way(guest: Guest) -> tuple[MigrationState, int]:
    """The state of its move as the source has it, and how many percent are across."""
    found = guest.cluster.client_of(SOURCE).call("GetVirtualMachine", vm=guest.name).as_json()
    migration = json_object(json_object(found, "virtual_machine"), "migration")
    return MigrationState(json_int(migration, "migration_state")), json_int(migration, "percent")


def wait_copying(guest: Guest) -> None:
    """Wait until memory flows."""

    def flows() -> bool:
        state, percent = under_way(guest)
        return state is MigrationState.DATA_TRANSFER and percent > 0

    guest.cluster.wait(flows, 60, f"{guest.name} is being copied")


def first_trouble(guest: Guest, since: float) -> Turn:
    """What the source did first that has a reason, after a moment."""

    def found() -> list[Turn]:
        return [turn for turn in guest.turns(SOURCE, since) if turn.reason]

    guest.cluster.wait(lambda: bool(found()), LIMIT, f"the source of {guest.name} notices")
    return found()[0]


def check_noticed(guest: Guest, since: float) -> None:
    """Check that the source knew in time, and said why: no byte goes across, no word comes, its QEMU hangs on it."""
    turn = first_trouble(guest, since)
    print(f"{guest.name}: {turn.before} -> {turn.after} {turn.at - since:.2f} s after the cut: {turn.reason}")
    assert turn.at - since <= NOTICED + LATE * slowness(), turn


def wait_settled(guest: Guest, *, tidy: bool = True) -> str:
    """Wait until it runs at one place and, if `tidy`, nothing of it lies elsewhere; the node."""
    cluster = guest.cluster

    def settled() -> bool:
        nodes = guest.qemus()
        if len(nodes) != 1:
            return False
        found = cluster.client_of(nodes[0]).call("GetVirtualMachine", vm=guest.name).as_json()
        facts = json_object(found, "virtual_machine")
        migration = MigrationState(json_int(json_object(facts, "migration"), "migration_state"))
        rests = not migration.is_under_way and VmState(json_int(facts, "vm_state")) is VmState.RUNNING
        return rests and json_text(facts, "node") == nodes[0] and not (tidy and guest.left_over(nodes[0]))

    cluster.wait(settled, LIMIT, f"{guest.name} has settled")
    return guest.qemus()[0]


def check_lives(guest: Guest, node: str, since: float) -> None:
    """Check that it counts on a node, that there was never another one, and that its memory is as it was."""
    guest.wait_runs(node, since=since)
    guest.check_one()
    report = guest.watch.report()
    assert report.continuous, report


@contextmanager
def guests(cluster: MachineCluster, **wanted: dict[str, int]) -> Iterator[dict[str, Guest]]:
    """Guests of these names on the source, with what they have besides; deleted at the end."""
    try:
        with ExitStack() as stack:
            yield {
                name: stack.enter_context(guest_of(cluster, name, SOURCE, "256M" if facts else "64M", **facts))
                for name, facts in wanted.items()
            }
    finally:
        cluster.make_whole()
        for name in wanted:
            cluster.remove_vm(name)


SMALL: Final = 700
"""Bytes of a packet that holds what a client begins to shake hands with, and not the certificate that answers it."""

COPYING: Final = {"fill_bytes": 160 * MIB}
"""A guest whose memory takes many seconds over a slow link."""


# --- the tests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", (USUAL, *((SLOW, 10 * USUAL) if soaking() else ())))
@pytest.mark.parametrize("loss", (0.01, *((0.0, 0.003) if soaking() else ())))
@pytest.mark.soak
def test_a_guest_moves_over_a_link_that_loses_packets(cluster: MachineCluster, rate: int, loss: float) -> None:
    size = 128 * MIB if rate > SLOW else 48 * MIB
    busy = {"fill_bytes": size, "dirty_bytes": 4 * MIB, "dirty_bytes_per_second": 2 * MIB}
    with guests(cluster, lossy=busy) as made:
        guest = made["lossy"]
        limit(cluster, rate)
        for node in cluster.nodes:
            cluster.machine(node).lose(loss, LINK)
        began = time.monotonic()
        move(guest)
        cluster.wait(lambda: guest.qemus() == [DESTINATION], 60, "the guest has moved")
        took = time.monotonic() - began
        lost = sum(cluster.machine(node).lost() for node in cluster.nodes)
        assert wait_settled(guest) == DESTINATION
        print(f"{size >> 20} MiB at {rate / 1e6:.0f} Mb/s with {loss:.1%} lost ({lost} packets): {took:.1f} s")
        assert bool(lost) == bool(loss)
        check_lives(guest, DESTINATION, began)


@pytest.mark.parametrize(("how", "away"), (("pulled", AWAY), ("silent", None)))
def test_the_link_breaks_under_moves_in_three_phases(
    cluster: MachineCluster, points: Points, how: str, away: float | None
) -> None:
    """One is being prepared, one is being copied, one is handed over: all at the same time.

    While a link stays down the destination keeps a note of what it dropped, as it cannot ask what became of it.
    """
    with guests(cluster, given={}, copying=COPYING, preparing={}) as made:
        given, copying, preparing = made["given"], made["copying"], made["preparing"]
        limit(cluster, SLOW)
        reached = points.hold(SOURCE, Point.GIVEN)
        move(given)
        cluster.wait(reached.exists, LIMIT, "one is handed over")
        move(copying)
        wait_copying(copying)
        reached = points.hold(DESTINATION, Point.PREPARING)
        move(preparing)
        cluster.wait(reached.exists, LIMIT, "one is being prepared")
        assert under_way(copying)[0] is MigrationState.DATA_TRANSFER
        since, began = cut(cluster, how), time.monotonic()
        points.release()
        check_noticed(preparing, since)
        check_noticed(copying, since)
        if away is not None:
            time.sleep(max(0.0, began + away - time.monotonic()))
            cluster.machine(SOURCE).heal()
        where = {name: wait_settled(guest, tidy=False) for name, guest in made.items()}
        assert where == {"given": DESTINATION, "copying": SOURCE, "preparing": SOURCE}
        print(f"settled after {time.monotonic() - began:.1f} s")
        for name, guest in made.items():
            check_lives(guest, where[name], began)
        copying.check_never_stopped()
        preparing.check_never_stopped()
        assert all(cluster.node_state(node) is NodeState.UP for node in cluster.nodes), (
            "the database saw them all along"
        )
        cluster.machine(SOURCE).heal()
        assert {name: wait_settled(guest) for name, guest in made.items()} == where
        check_moves_again(preparing)


def check_moves_again(guest: Guest) -> None:
    """Check that a move succeeds now that the link is well."""
    move(guest)
    cluster = guest.cluster
    cluster.wait(lambda: guest.qemus() == [DESTINATION], 60, f"{guest.name} moves after all")
    assert wait_settled(guest) == DESTINATION
    guest.check_one()
    assert guest.watch.report().continuous


def test_the_way_of_memory_alone_breaks_under_a_copy(cluster: MachineCluster) -> None:
    """The daemons hear each other, and the QEMUs do not."""
    with guests(cluster, copying=COPYING) as made:
        copying = made["copying"]
        limit(cluster, SLOW)
        move(copying)
        wait_copying(copying)
        since, began = cut(cluster, "memory alone"), time.monotonic()
        check_noticed(copying, since)
        assert wait_settled(copying) == SOURCE
        print(f"settled after {time.monotonic() - began:.1f} s")
        check_lives(copying, SOURCE, began)
        copying.check_never_stopped()


def test_the_way_of_memory_swallows_large_packets(cluster: MachineCluster, points: Points) -> None:
    """A wrong MTU: a connection is made, and the handshake waits for what never comes, in QEMU's main loop.

    The preflight finds it. One that comes just after it does not cost the guest more than the time to notice.
    """
    with guests(cluster, shaking={}) as made:
        shaking = made["shaking"]
        reached = points.hold(DESTINATION, Point.PREPARING)
        move(shaking)
        cluster.wait(reached.exists, LIMIT, "the destination listens")
        since, began = cut(cluster, "large packets of memory"), time.monotonic()
        points.release()
        turn = first_trouble(shaking, since)
        print(f"{turn.before} -> {turn.after}: {turn.reason}")
        assert wait_settled(shaking) == SOURCE
        print(f"settled after {time.monotonic() - began:.1f} s")
        check_lives(shaking, SOURCE, began)
        shaking.check_never_stopped(2 * NOTICED)
        with pytest.raises(RefusalError, match="not get across") as refused:
            move(shaking)
        assert refused.value.status is Status.ERROR_NETWORK_NOT_AVAILABLE
        cluster.machine(SOURCE).heal()
        check_moves_again(shaking)


def test_the_way_of_memory_alone_breaks_when_the_guest_is_stopped(cluster: MachineCluster, points: Points) -> None:
    """Its daemon answers, so it is given away; the rest never arrives, and it is taken back with its memory."""
    with guests(cluster, stopping={}) as made:
        stopping = made["stopping"]
        reached = points.hold(SOURCE, Point.PRE_COPY)
        move(stopping)
        cluster.wait(reached.exists, LIMIT, "memory flows")
        time.sleep(0.5)  # until all of it is across: nobody may look how far it is
        since, began = cut(cluster, "memory alone"), time.monotonic()
        points.release()
        assert wait_settled(stopping) == SOURCE
        check_lives(stopping, SOURCE, began)
        print(f"settled after {time.monotonic() - began:.1f} s")
        assert "taking back" in [turn.after for turn in stopping.turns(SOURCE, since)]
        assert "did not get across" in first_trouble(stopping, since).reason
        stopping.check_never_stopped(2 * NOTICED)


def test_a_node_that_is_cut_off_from_all_during_a_move_runs_nothing(cluster: MachineCluster) -> None:
    """The destination takes over when the lease of the source is over, and not before its guard has acted."""
    with guests(cluster, copying=COPYING) as made:
        copying = made["copying"]
        cluster.set_lease(LEASE)
        limit(cluster, SLOW)
        move(copying)
        wait_copying(copying)
        since, began = cut(cluster, "all"), time.monotonic()
        check_noticed(copying, since)
        again = copying.wait_runs(DESTINATION, since=began)
        assert not cluster.qemu_pids(SOURCE)
        assert copying.last_word(SOURCE) < again, "it was started elsewhere before it was dead"
        cluster.machine(SOURCE).heal()
        cluster.wait_up()
        assert cluster.node_state(SOURCE) is NodeState.UP
        assert wait_settled(copying) == DESTINATION
        copying.check_one()
        cluster.set_lease(LONG_LEASE)
