"""A real Linux with a real disk moves to and fro, and afterwards its disk is held against what it said."""

import os
import signal
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.system.linux_guest import LinuxGuest, build_guest
from tests.system.linux_journey import Journey
from tests.system.pocket_cluster import pocket_cluster
from tests.system.soak import Rounds, soaking

from quorate.client.functions import OfflineClusterResource, OnlineClusterResource
from quorate.clusapi.json_types import json_int, json_text
from quorate.clusapi.states import ResourceState, VmState
from quorate.clusapi.status import Status

HOPS = 20
SETTLED = (Status.ERROR_SUCCESS, Status.ERROR_IO_PENDING)


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> LinuxGuest:
    return build_guest(tmp_path_factory.mktemp("guest"))


@pytest.fixture
def journey(tmp_path: Path, guest: LinuxGuest) -> Iterator[Journey]:
    """A Linux guest that writes, on node1 of three."""
    with pocket_cluster(tmp_path / "cluster", lease=60) as cluster, Journey(cluster, guest, tmp_path) as made:
        yield made


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Say figures to whoever runs the tests."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="", flush=True)

    return say


def resource_state(journey: Journey) -> ResourceState:
    return ResourceState(json_int(journey.cluster.vm(journey.name), "resource_state"))


def test_a_linux_guest_moves_to_and_fro_twenty_times_and_loses_no_record(
    journey: Journey, tell: Callable[[str], None]
) -> None:
    hops = []
    for number in range(HOPS):
        hops.append(journey.hop("node2" if number % 2 == 0 else "node1"))
        journey.check_nothing_left_behind()
    said, on_disk = journey.end()
    assert len(said.runs) == 1, "the guest was started once"
    totals, gaps = [hop.total for hop in hops], [hop.gap for hop in hops]
    tell(
        f"{HOPS} hops: {min(totals):.2f} to {max(totals):.2f} s, median {statistics.median(totals):.2f} s; silent for "
        f"{min(gaps) * 1000:.0f} to {max(gaps) * 1000:.0f} ms, median {statistics.median(gaps) * 1000:.0f} ms"
    )
    tell(
        f"{said.durable} records said to be durable, {on_disk.records} on the disk, all intact; {said.checked} re-read"
    )


def test_a_guest_can_be_sent_back_the_moment_it_has_arrived(journey: Journey) -> None:
    for destination in ("node2", "node1", "node3", "node2", "node3"):
        journey.hop(destination, at_once=True)
    journey.check_nothing_left_behind()
    said, _ = journey.end()
    assert len(said.runs) == 1, "the guest was started once"


def test_saving_and_a_killed_daemon_and_a_power_cut_lose_no_record(journey: Journey) -> None:
    cluster = journey.cluster
    journey.hop("node2")

    assert OfflineClusterResource(journey.resource) in SETTLED
    cluster.wait(lambda: cluster.vm_state(journey.name) is VmState.SAVED, 60, "it is saved")
    assert not cluster.qemu_pids(), "a saved virtual machine has no process"
    assert journey.saved_files(), "its memory is in a file"
    with journey.disk_in_use():
        assert OnlineClusterResource(journey.resource) in SETTLED
        cluster.wait(lambda: resource_state(journey) is ResourceState.FAILED, 60, "its disk is in use: not restored")
        assert "lock" in json_text(cluster.vm(journey.name), "sentence"), cluster.vm(journey.name)
    assert journey.saved_files(), "its memory is still in the file"
    assert OnlineClusterResource(journey.resource) in SETTLED
    cluster.wait(lambda: cluster.vm_state(journey.name) is VmState.RUNNING, 60, "it is restored")
    journey.wait_alive()
    assert not journey.saved_files(), "the file of a restored memory is worth nothing and is gone"
    journey.hop("node1")

    cluster.set_lease(60)
    before = cluster.daemon_pid("node1")
    os.kill(before, signal.SIGKILL)
    journey.wait_alive()
    cluster.wait(lambda: cluster.daemon_pid("node1") not in (0, before), 20, "the daemon is started again")
    cluster.wait(lambda: cluster.vm_state(journey.name) is VmState.RUNNING, 20, "the daemon has its QEMU back")
    journey.hop("node2")

    journey.power_cut()
    journey.wait_alive()
    journey.hop("node1")
    journey.check_nothing_left_behind()
    said, on_disk = journey.end()
    assert len(said.runs) == 2, "one start, and one after the power cut"
    assert on_disk.runs == said.runs


ROUNDS = Rounds("linux-guest", 10)


@pytest.mark.soak
@pytest.mark.skipif(not soaking(), reason="200 hops: make soak")
@pytest.mark.parametrize("number", range(ROUNDS.count if soaking() else 1))
def test_soak_the_guest_wanders_for_a_long_time(journey: Journey, tell: Callable[[str], None], number: int) -> None:
    if ROUNDS.is_done(number):
        pytest.skip(f"done by an earlier call: {ROUNDS.path}")
    random = ROUNDS.random(number)
    tell(f"round {number} of {ROUNDS.count}, seed {ROUNDS.seed(number)}")
    for count in range(HOPS):
        others = [node for node in ("node1", "node2", "node3") if node != journey.node]
        at_once = random.random() < 0.3
        hop = journey.hop(random.choice(others), at_once=at_once)
        tell(f"  {count}: {hop}")
        if not at_once:
            journey.check_nothing_left_behind()
            journey.wait_alive(random.randrange(1, 400))
    said, _ = journey.end()
    assert len(said.runs) == 1, "the guest was started once"
    ROUNDS.note_done(number, records=said.durable)
