"""The guard beside a real daemon and real QEMUs; what it does by itself is in tests/contract/test_guard.py."""

import os
import re
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.system.pocket_cluster import PocketCluster, held, pocket_cluster, stands_still
from tests.waiting import slowness

from quorate.clusapi.errors import FaultError
from quorate.clusapi.json_types import json_int, json_text
from quorate.clusapi.states import VmState
from quorate.clusapi.status import Status
from quorate.engine.guard_file import GUARD_FILE, GuardFile, boottime
from quorate.hypervisor.serial_watch import SerialWatch
from quorate.service.guard_watchdog import MARGIN

LIMIT = 120.0
LATE = 0.1
"""Seconds after the deadline within which the guard acts."""
NODES = ("node1", "node2")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocketCluster]:
    with pocket_cluster(tmp_path_factory.mktemp("guard"), nodes=2) as found:
        found.create_builtin("web1", "64M")
        yield found


def _kill(pid: int) -> None:
    with held(pid) as victim:
        signal.pidfd_send_signal(victim, signal.SIGKILL)
        assert select.select((victim,), (), (), LIMIT)[0], f"{pid} survives SIGKILL"


def _log(cluster: PocketCluster, node: str) -> str:
    return (cluster.directory / "nodes" / node.removeprefix("node") / "guard.log").read_text(encoding="utf-8")


def _logs(cluster: PocketCluster, name: str) -> list[Path]:
    return [cluster.serial_log(name, node) for node in NODES]


def _runs_once(cluster: PocketCluster, *names: str) -> bool:
    """Tell whether each of these runs, on its owner and nowhere else."""
    for name in names:
        facts = cluster.vm(name)
        if json_int(facts, "vm_state") != VmState.RUNNING or not json_int(facts, "pid"):
            return False
        vm_id = json_text(facts, "vm").encode()
        command_lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in cluster.qemu_pids()}
        found = [pid for pid, words in command_lines.items() if vm_id in words]
        if found != [json_int(facts, "pid")]:
            return False
    return True


@contextmanager
def _file(cluster: PocketCluster, node: str) -> Iterator[GuardFile]:
    file = GuardFile(cluster.runtime(node) / GUARD_FILE)
    try:
        yield file
    finally:
        file.close()


def test_a_daemon_that_stands_still_past_its_lease_loses_its_vms_in_time_and_nothing_runs_twice(
    cluster: PocketCluster,
) -> None:
    """One runs, one is paused, and the QEMU of one stands still as the daemon does."""
    names = ("runs", "paused", "stands")
    for name in names:
        cluster.create_builtin(name, "64M")
        assert cluster.owner(name) == "node1"
    cluster.call("PauseVirtualMachine", vm="paused")
    pids = {name: json_int(cluster.vm(name), "pid") for name in names}
    logs = _logs(cluster, "runs")
    with SerialWatch(*logs, from_end=True) as watch, held(pids["runs"]) as running:
        assert watch.wait_beats(5, LIMIT)
        os.kill(pids["stands"], signal.SIGSTOP)
        with cluster.daemon_stands_still("node1"), _file(cluster, "node1") as file:
            word = file.word()
            assert word is not None
            assert select.select((running,), (), (), LIMIT)[0], "the guard has not acted"
            ended = boottime()
            print(f"ended {ended - word.deadline:.4f} s after the deadline")
            assert file.word() == word, "the daemon stands still"
            assert word.deadline <= ended < word.deadline + MARGIN * slowness()
            cluster.wait(lambda: not cluster.qemu_pids("node1"), LIMIT, "every other is gone too")
            ends = [f"QEMU {pid}) has ended" for pid in pids.values()]
            cluster.wait(lambda: all(end in _log(cluster, "node1") for end in ends), LIMIT, "the guard says so")
            log = _log(cluster, "node1")
            for name, pid in pids.items():
                late = re.search(rf"killed {name} \(.*, QEMU {pid}\): .* was over ([0-9.]+) s ago", log)
                assert late is not None, log
                assert float(late[1]) < LATE * slowness()
        cluster.wait(lambda: _runs_once(cluster, "runs", "stands", "web1"), LIMIT, "all are started from their disks")
        assert watch.wait_beats(20, LIMIT)
    assert not watch.report().interleaved
    assert any(line.count == 1 for line in watch.lines), "it has begun anew"
    for name in names:
        cluster.call("OfflineGroup", group=name)
        delete = lambda name=name: cluster.call("DeleteVirtualMachine", vm=name) is not None  # noqa: E731
        cluster.wait(delete, LIMIT, f"{name} is off, and is deleted")


def test_a_killed_daemon_that_is_back_in_time_finds_its_vm_unharmed(cluster: PocketCluster) -> None:
    cluster.set_lease(60)
    cluster.wait(lambda: _runs_once(cluster, "web1"), LIMIT, "web1 runs")
    node = cluster.owner("web1")
    daemon, guard, pid = cluster.daemon_pid(node), cluster.guard_pid(node), json_int(cluster.vm("web1"), "pid")
    killed = _log(cluster, node).count("killed ")
    with SerialWatch(*_logs(cluster, "web1"), from_end=True) as watch:
        _kill(daemon)
        with _file(cluster, node) as file:
            word = file.word()
            assert word is not None
            cluster.wait(lambda: file.word() != word, LIMIT, "another daemon renews the lease")
        cluster.wait(lambda: json_int(cluster.vm("web1"), "pid") == pid, LIMIT, "it is adopted")
        assert watch.wait_beats(20, LIMIT)
    assert watch.report().continuous
    assert cluster.guard_pid(node) == guard, "the guard goes on without a daemon"
    assert _log(cluster, node).count("killed ") == killed


def _replaced(cluster: PocketCluster, node: str, before: int) -> None:
    began = time.monotonic()
    with _file(cluster, node) as file:
        cluster.wait(lambda: cluster.guard_pid(node) not in (0, before) and file.is_locked(), LIMIT, "another guard")
    print(f"another guard after {time.monotonic() - began:.2f} s")


def test_a_killed_guard_is_back_and_nobody_notices(cluster: PocketCluster) -> None:
    cluster.set_lease(60)
    cluster.wait(lambda: _runs_once(cluster, "web1"), LIMIT, "web1 runs")
    node = cluster.owner("web1")
    guard = cluster.guard_pid(node)
    with SerialWatch(*_logs(cluster, "web1"), from_end=True) as watch:
        _kill(guard)
        _replaced(cluster, node, guard)
        assert watch.wait_beats(20, LIMIT)
    assert watch.report().continuous


def test_a_guard_that_stands_still_is_replaced(cluster: PocketCluster) -> None:
    cluster.set_lease(60)
    cluster.wait(lambda: _runs_once(cluster, "web1"), LIMIT, "web1 runs")
    node = cluster.owner("web1")
    guard = cluster.guard_pid(node)
    with SerialWatch(*_logs(cluster, "web1"), from_end=True) as watch, stands_still(guard):
        with held(guard) as frozen:
            assert select.select((frozen,), (), (), LIMIT)[0], "it holds the lock, and is killed for that"
        _replaced(cluster, node, guard)
        assert watch.wait_beats(20, LIMIT)
    assert watch.report().continuous


def test_daemon_and_guard_killed_together_are_both_back(cluster: PocketCluster) -> None:
    cluster.set_lease(60)
    cluster.wait(lambda: _runs_once(cluster, "web1"), LIMIT, "web1 runs")
    node, pid = cluster.owner("web1"), json_int(cluster.vm("web1"), "pid")
    guard = cluster.guard_pid(node)
    with SerialWatch(*_logs(cluster, "web1"), from_end=True) as watch:
        _kill(cluster.daemon_pid(node))
        _kill(guard)
        _replaced(cluster, node, guard)
        cluster.wait(lambda: json_int(cluster.vm("web1"), "pid") == pid, LIMIT, "it is adopted")
        assert watch.wait_beats(20, LIMIT)
    assert watch.report().continuous


def test_nothing_is_started_or_resumed_without_a_guard(cluster: PocketCluster) -> None:
    cluster.create_builtin("late", "64M", start=False)
    node = cluster.owner("late")
    cluster.create_builtin("pausing", "64M")
    assert cluster.owner("pausing") == node
    cluster.call("PauseVirtualMachine", vm="pausing")
    with _file(cluster, node) as file:
        while not file.try_lock():  # nobody else can be the guard, and nobody is
            _kill(cluster.guard_pid(node))
        before = cluster.qemu_pids(node)
        with pytest.raises(FaultError, match="the node's guard has just been started") as fault:
            cluster.call("ResumeVirtualMachine", vm="pausing")
        assert fault.value.status is Status.ERROR_SERVICE_NOT_ACTIVE
        assert cluster.vm_state("pausing") is VmState.PAUSED
        cluster.call("OnlineGroup", group="late")
        cluster.wait(lambda: "the node's guard" in json_text(cluster.vm("late"), "sentence"), LIMIT, "it is refused")
        assert cluster.vm_state("late") is VmState.OFF
        assert cluster.qemu_pids(node) == before
    cluster.wait(lambda: cluster.guard_pid(node) != 0, LIMIT, "another guard")
    cluster.call("ResumeVirtualMachine", vm="pausing")
    cluster.call("OnlineGroup", group="late")
    cluster.wait(lambda: _runs_once(cluster, "late", "pausing"), LIMIT, "both run")
