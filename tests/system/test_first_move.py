"""The main job on real processes: one call, and the guest lives on elsewhere."""

from pathlib import Path

from tests.system.pocket_cluster import pocket_cluster

from quorate.client.functions import ClusterResourceControl, OpenCluster, OpenClusterResource
from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.hypervisor.serial_watch import SerialWatch


def test_a_running_guest_moves_to_another_node_on_one_call_and_counts_on(tmp_path: Path) -> None:
    with pocket_cluster(tmp_path, lease=60) as cluster:
        cluster.create_builtin("web1", "64M")
        logs = [cluster.serial_log("web1", node) for node in ("node1", "node2")]
        with SerialWatch(*logs) as watch:
            resource = OpenClusterResource(OpenCluster(str(tmp_path)), "Virtual Machine web1")
            destination = "node2\0".encode("utf-16-le")
            status, _, _ = ClusterResourceControl(resource, None, CLUSCTL_RESOURCE_VM_START_MIGRATION, destination)
            assert status == 0
            cluster.wait(lambda: cluster.owner("web1") == "node2", 30, "web1 is on node2")
            cluster.wait(lambda: cluster.migration_state("web1") == 0, 10, "the migration is over")
            cluster.wait(lambda: set(cluster.qemu_pids().values()) == {"node2"}, 10, "only node2 has a QEMU")
            moved_at = watch.report().last or 0
            cluster.wait(lambda: (watch.report().last or 0) > moved_at + 50, 10, "the guest counts on")
            report = watch.report()
        assert report.continuous, report
        assert [path.parts[-3] for path in report.turns] == ["1", "2"]
