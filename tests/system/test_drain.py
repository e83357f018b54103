"""A drain on real processes: everything leaves a node while it runs, and comes back."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

from tests.system.pocket_cluster import PocketCluster, pocket_cluster
from tests.system.shell import Shell

from quorate.client.functions import OpenCluster, OpenClusterNode, PauseClusterNodeEx, ResumeClusterNodeEx
from quorate.clusapi.json_types import JsonObject, json_object, json_objects, json_text
from quorate.hypervisor.serial_watch import SerialWatch

VMS = ("web1", "web2", "web3")
REMAIN = 1
FAIL_BACK_IMMEDIATELY = 1


def node(cluster: PocketCluster, name: str) -> JsonObject:
    nodes = cluster.call("ListNodes").objects("nodes")
    return next(one for one in nodes if json_text(one, "name") == name)


def drain_of(cluster: PocketCluster, name: str) -> JsonObject:
    return json_object(node(cluster, name), "drain")


def test_three_guests_leave_a_drained_node_and_come_back_and_none_of_them_notices(tmp_path: Path) -> None:
    with pocket_cluster(tmp_path, lease=60) as cluster, ExitStack() as stack:
        for name in VMS:
            cluster.create_builtin(name, "64M")
        assert {cluster.owner(name) for name in VMS} == {"node1"}
        logs = {name: [cluster.serial_log(name, f"node{n}") for n in (1, 2, 3)] for name in VMS}
        watches = {name: stack.enter_context(SerialWatch(*logs[name])) for name in VMS}
        shell = Shell(tmp_path, tmp_path)

        assert "node1 is drained" in shell.run("node", "drain", "node1", "--wait").out
        assert "node1" not in {cluster.owner(name) for name in VMS}
        cluster.wait(lambda: "node1" not in cluster.qemu_pids().values(), 10, "node1 has no QEMU any more")
        shown = node(cluster, "node1")
        assert shown["state_name"] == "PAUSED"
        assert shown["status_names"] == ["DRAIN_COMPLETED"]
        assert shown["groups"] == 0

        shell.run("node", "resume", "node1", "--failback")
        cluster.wait(lambda: {cluster.owner(name) for name in VMS} == {"node1"}, 60, "all are back on node1")
        cluster.wait(lambda: not drain_of(cluster, "node1"), 10, "the drain is forgotten")
        cluster.wait(lambda: set(cluster.qemu_pids().values()) == {"node1"}, 10, "only node1 has QEMUs")
        for name, watch in watches.items():
            seen = watch.report().last or 0
            cluster.wait(lambda w=watch, s=seen: (w.report().last or 0) > s + 50, 10, f"{name} counts on")  # type: ignore[misc]
            report = watch.report()
            assert report.continuous, (name, report)
            assert len(report.turns) == 3, (name, report)
            assert report.turns[0] == report.turns[2]


def test_a_drain_outlives_the_daemon_that_runs_it(tmp_path: Path) -> None:
    with pocket_cluster(tmp_path) as cluster:
        cluster.set_lease(20)
        for name in VMS:
            cluster.create_builtin(name, "512M", fill_bytes=256 << 20)
        handle = OpenCluster(str(tmp_path))
        one = OpenClusterNode(handle, "node1")
        assert PauseClusterNodeEx(one, True, REMAIN) == 0
        assert PauseClusterNodeEx(one, True, REMAIN) == 5962
        cluster.wait(lambda: bool(json_objects(node(cluster, "node1"), "qemu")), 20, "node1 tells of its QEMUs")
        cluster.wait(lambda: any(cluster.owner(name) != "node1" for name in VMS), 60, "the first one has left")
        killed = cluster.daemon_pid("node1")  # the first node of a cluster coordinates it, and is drained itself
        os.kill(killed, signal.SIGKILL)
        cluster.wait(lambda: drain_of(cluster, "node1").get("stage") == "completed", 120, "the drain is completed")
        assert cluster.daemon_pid("node1") != killed
        assert "node1" not in {cluster.owner(name) for name in VMS}
        cluster.wait(lambda: len(cluster.qemu_pids()) == len(VMS), 20, "every guest has one QEMU")
        assert "node1" not in cluster.qemu_pids().values()
        assert ResumeClusterNodeEx(one, FAIL_BACK_IMMEDIATELY) == 0
        cluster.wait(lambda: {cluster.owner(name) for name in VMS} == {"node1"}, 90, "all are back on node1")
