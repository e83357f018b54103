"""Guests leave a node together over one slow link, while the coordinator is killed: no more at a time than may."""

import os
import signal
from pathlib import Path
from typing import Final

import pytest
from tests.system.machines.fabric import why_not
from tests.system.machines.link_drain import DESTINATION, SOURCE, arrived, begin, crowd, finish
from tests.system.machines.machine_cluster import machines
from tests.system.soak import soaking

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

GUESTS: Final = 16 if soaking() else 6
AT_A_TIME: Final = 2
RATE: Final = 100_000_000
"""Bits per second."""
MIB: Final = 1 << 20


@pytest.mark.soak
def test_the_queue_survives_its_coordinator_and_lets_no_more_move_than_may(tmp_path: Path) -> None:
    nodes = (SOURCE, DESTINATION)
    with machines(tmp_path / "cluster", nodes=nodes, members=("etcd1",), peers_network=1) as cluster:
        cluster.keep_memory_on(1)
        cluster.set_lease(60)  # so that it is back in time on a machine that is busy with something else
        cluster.quorate(
            SOURCE, "--cluster", cluster.directory, "cluster", "set", f"MaximumParallelMigrations={AT_A_TIME}"
        )
        with crowd(cluster, GUESTS, "64M", fill_bytes=12 * MIB) as guests:
            for node in nodes:
                cluster.machine(node).limit(RATE, 1)
            began = begin(cluster)
            cluster.wait(lambda: arrived(cluster, guests) >= 1, 120, "one has arrived")
            coordinator = cluster.coordinator()
            assert arrived(cluster, guests) < GUESTS, "the drain was over before anybody could be killed"
            os.kill(cluster.daemon_pid(coordinator), signal.SIGKILL)
            cluster.start_daemon(coordinator, after_the_last=True)
            cluster.wait(lambda: cluster.answers(coordinator), 60, "it is back, and paused as before")
            drained = finish(cluster, guests, began)
            assert drained.at_a_time <= AT_A_TIME
            for guest in guests:
                guest.wait_runs(DESTINATION, since=began)
                guest.check_one()
                report = guest.watch.report()
                assert report.continuous, report
