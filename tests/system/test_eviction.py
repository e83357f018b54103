"""A node of a pocket cluster is evicted, and the cluster is brought back from a backup: real daemons, a real guest."""

from pathlib import Path

import pytest
from tests.system.pocket_cluster import PocketCluster, pocket_cluster

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.json_types import json_objects, json_text
from quorate.clusapi.states import VmState
from quorate.clusapi.status import Status
from quorate.database.backup import EPOCH_STEP
from quorate.service import backup, pocket


def names(cluster: PocketCluster) -> list[str]:
    return [json_text(node, "name") for node in json_objects(cluster.call("ListNodes").as_json(), "nodes")]


def test_an_evicted_node_ends_and_a_backup_brings_the_guest_back_cold(tmp_path: Path) -> None:
    with pocket_cluster(tmp_path / "pocket", 2) as cluster:
        cluster.create_builtin("web1")
        owner = cluster.owner("web1")
        other = next(name for name in names(cluster) if name != owner)
        with pytest.raises(RefusalError) as refused:
            cluster.call("EvictNode", node=owner)
        assert refused.value.status == Status.ERROR_CANT_EVICT_ACTIVE_NODE
        configuration = backup.find_configuration(None, str(cluster.directory))
        backup.back_up(configuration, tmp_path / "backup")
        with pytest.raises(RefusalError) as refused:
            backup.restore(configuration, backup.read_file(tmp_path / "backup"), lambda _: None)
        assert refused.value.status == Status.ERROR_CLUSTER_NODE_UP

        cluster.call("EvictNode", node=other)
        assert names(cluster) == [owner]
        place = cluster.directory / "nodes" / other.removeprefix("node")
        log = cluster.directory / "keeper.log"
        cluster.wait(lambda: "its daemon is not started again" in log.read_text(), 20, "the keeper lets it be")
        assert "was evicted from the cluster" in (place / "daemon.log").read_text()
        assert cluster.vm_state("web1") is VmState.RUNNING

        pocket.end(cluster.directory)
        restored = backup.restore(configuration, backup.read_file(tmp_path / "backup"), lambda _: None)
        assert restored.groups == 2
        with pytest.raises(CallerError):
            backup.back_up(configuration, tmp_path / "backup")
        pocket.start(cluster.directory)
        assert names(cluster) == [owner], "a restore lets nobody in again"
        cluster.wait(lambda: cluster.vm_state("web1") is VmState.RUNNING, 60, "the guest starts from its disks")
        assert int(str(cluster.vm("web1")["epoch"])) > EPOCH_STEP
