"""The database is silent for all nodes: what runs goes on by promises, and ends in time where one cannot be asked.

Somebody else holds the database's write lock, as a backup program that hangs would: no renewal is answered.
"""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.system.pocket_cluster import PocketCluster, pocket_cluster
from tests.waiting import slowness

from quorate.clusapi.json_types import json_int
from quorate.engine.guard import LATE
from quorate.hypervisor.serial_watch import SerialWatch

LEASE = 5.0
MARGIN = 0.5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocketCluster]:
    with pocket_cluster(tmp_path_factory.mktemp("promises"), nodes=2) as found:
        found.create_builtin("web1", "64M")
        yield found


@contextmanager
def silence(cluster: PocketCluster) -> Iterator[None]:
    """Hold the write lock of the database."""
    path = next(Path(cluster.directory).glob("*.sqlite"))
    with closing(sqlite3.connect(path, timeout=10.0, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def incarnations(cluster: PocketCluster) -> list[str]:
    """The incarnations of all leases, as they stand in the file."""
    path = next(Path(cluster.directory).glob("*.sqlite"))
    with closing(sqlite3.connect(path, timeout=10.0)) as connection:
        rows = connection.execute(
            "SELECT json_extract(value, '$.incarnation') FROM records WHERE key LIKE 'private/leases/%' ORDER BY key"
        )
        return [row[0] for row in rows]


def lateness(cluster: PocketCluster, pid: int) -> float:
    """Seconds past the deadline at which QEMU ``pid`` was killed, by the guard, or, where that was late, by the daemon.

    Both kill first and tell it after.
    """
    node = cluster.directory / "nodes" / "1"

    def told() -> list[str]:
        by_guard = re.findall(rf"QEMU {pid}\): .* was over ([0-9.]+) s ago", (node / "guard.log").read_text())
        stood_in = "no guard has ended it in time" in (node / "daemon.log").read_text()
        return by_guard or ([str(LATE)] if stood_in else [])

    cluster.wait(lambda: bool(told()), 10, "it was told who ended it")
    return float(told()[0])


def test_a_silence_longer_than_two_leases_stops_no_virtual_machine(cluster: PocketCluster) -> None:
    before, pid = incarnations(cluster), json_int(cluster.vm("web1"), "pid")
    with SerialWatch(cluster.serial_log("web1", "node1"), from_end=True) as watch:
        assert watch.wait_beats(5, 60)
        with silence(cluster):
            time.sleep(2 * LEASE + 2.0)  # the time itself is what is tried
            assert watch.wait_beats(5, 60)
            assert cluster.qemu_pids("node1") == {pid: "node1"}
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous
    cluster.wait(lambda: cluster.call("GetNodeState", node="node2").number("state") == 0, 10, "node2 is up again")
    assert incarnations(cluster) == before and json_int(cluster.vm("web1"), "pid") == pid


def test_where_one_node_cannot_be_asked_the_guard_ends_it_in_time(cluster: PocketCluster) -> None:
    pid = json_int(cluster.vm("web1"), "pid")
    since = time.monotonic()
    with cluster.daemon_stands_still("node2"), silence(cluster):
        cluster.wait(lambda: pid not in cluster.qemu_pids("node1"), LEASE + MARGIN, "the guard has ended it")
        assert time.monotonic() - since > LEASE - 1.5
    assert lateness(cluster, pid) < MARGIN * slowness()
    cluster.wait(lambda: len(cluster.qemu_pids()) == 1, 30, "web1 runs again, once")
