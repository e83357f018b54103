"""A guest that its user has paused, with real QEMU: moved, drained, found again by new daemons, and resumed at last."""

import os
import signal
from pathlib import Path
from typing import Final

from tests.system.pocket_cluster import PocketCluster, pocket_cluster
from tests.system.shell import Shell
from tests.system.test_drain import node

from quorate.clusapi.json_types import json_int
from quorate.clusapi.states import ResourceState, VmState
from quorate.hypervisor.serial_watch import SerialWatch

MIB: Final = 1 << 20
GUEST: Final = {"fill_bytes": 48 * MIB, "dirty_bytes": 8 * MIB, "dirty_bytes_per_second": 16 * MIB}


def is_paused_on(cluster: PocketCluster, name: str) -> bool:
    vm = cluster.vm("web1")
    states = VmState(json_int(vm, "vm_state")), ResourceState(json_int(vm, "resource_state"))
    there = cluster.owner("web1") == name and set(cluster.qemu_pids().values()) == {name}
    return there and states == (VmState.PAUSED, ResourceState.ONLINE)


def test_a_paused_guest_stays_paused_wherever_it_goes_and_counts_on_when_it_is_resumed(tmp_path: Path) -> None:
    with pocket_cluster(tmp_path, 2, lease=60) as cluster:
        cluster.create_builtin("web1", "128M", start=True, **GUEST)
        shell = Shell(tmp_path, tmp_path)
        logs = [cluster.serial_log("web1", name) for name in ("node1", "node2")]
        with SerialWatch(*logs) as watch:
            assert watch.wait_beats(50, 60)
            cluster.call("PauseVirtualMachine", vm="web1")
            counted = watch.report().last

            shell.run("group", "move", "web1", "--to", "node2")
            cluster.wait(lambda: is_paused_on(cluster, "node2"), 30, "it has moved, paused")

            killed = cluster.daemon_pid("node2")
            os.kill(killed, signal.SIGKILL)
            cluster.wait(lambda: cluster.daemon_pid("node2") not in (0, killed), 30, "the daemon is back")
            cluster.wait(lambda: is_paused_on(cluster, "node2"), 30, "it is paused still")

            cluster.wait(lambda: node(cluster, "node2")["state_name"] == "UP", 30, "node2 is up again")
            shell.run("node", "drain", "node2", "--wait")
            cluster.wait(lambda: is_paused_on(cluster, "node1"), 30, "it was drained, paused")
            shell.run("node", "resume", "node2", "--failback")
            cluster.wait(lambda: is_paused_on(cluster, "node2"), 60, "it came back, paused")
            assert watch.report().last == counted, "no processor of it ran on the way"

            shell.run("vm", "resume", "web1")
            assert cluster.vm_state("web1") is VmState.RUNNING
            assert watch.wait_beats(300, 60, logs[1]), "it counts on, and looks at all of its memory meanwhile"
            report = watch.report()
            assert report.continuous, report
            assert report.turns == tuple(logs), report
        assert set(cluster.qemu_pids().values()) == {"node2"}
