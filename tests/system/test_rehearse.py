"""A rehearsal tells of a real cluster what then happens in it, and changes nothing."""

from pathlib import Path

from tests.system.pocket_cluster import PocketCluster, pocket_cluster
from tests.system.shell import Shell

from quorate.clusapi.json_types import JsonObject, json_objects, json_text

VMS = ("web1", "web2", "web3")


def arrivals(cluster: PocketCluster) -> list[str]:
    """Which virtual machines have completed a migration, in this order."""
    events = cluster.call("GetEvents", kind="migration.completed", after=0, limit=1000).objects("events")
    return [json_text(one, "object_name").removeprefix("Virtual Machine ") for one in events]


def owners(cluster: PocketCluster) -> dict[str, str]:
    return {name: cluster.owner(name) for name in VMS}


def moves(told: JsonObject) -> list[tuple[str, str, str]]:
    return [
        (json_text(one, "vm"), json_text(one, "source"), json_text(one, "destination"))
        for one in json_objects(told, "moves")
    ]


def test_what_a_rehearsed_drain_tells_is_what_the_drain_does(tmp_path: Path) -> None:
    with pocket_cluster(tmp_path, lease=60) as cluster:
        cluster.create_builtin("web1", "64M")
        cluster.create_builtin("web3", "96M")
        # Not across within one pass, so that its rates are measured.
        cluster.create_builtin(
            "web2", "512M", fill_bytes=256 << 20, dirty_bytes=64 << 20, dirty_bytes_per_second=60 << 20
        )
        shell = Shell(tmp_path, tmp_path)
        before = (owners(cluster), cluster.qemu_pids())

        told = shell.json("rehearse", "drain", "node1")
        assert told["all_well"] is True
        assert [vm for vm, source, _ in moves(told) if source == "node1"] == ["web2", "web3", "web1"]
        assert all(one["how"] == "live" and one["arrived"] for one in json_objects(told, "moves"))
        assert "no migration of theirs was measured" in str(told["assumed"])
        assert (owners(cluster), cluster.qemu_pids()) == before, "nothing has changed"
        assert {one["state_name"] for one in cluster.call("ListNodes").objects("nodes")} == {"UP"}

        shell.run("node", "drain", "node1", "--wait")
        assert owners(cluster) == {vm: destination for vm, _, destination in moves(told)}
        assert arrivals(cluster) == [vm for vm, _, _ in moves(told)]

        again = shell.json("rehearse", "drain", "node2")
        assert not any(destination == "node1" for _, _, destination in moves(again)), "node1 is paused"
        assert "no room is kept for the loss of one more node: without node3" in str(again["remarks"])
        assert "as in their last migrations: web2" in str(again["assumed"]), "now there is something to go by"


def test_a_rehearsed_loss_tells_what_would_not_run(tmp_path: Path) -> None:
    with pocket_cluster(tmp_path, lease=60) as cluster:
        cluster.create_builtin("web1", "64M")
        cluster.create_builtin("bound", "64M")
        shell = Shell(tmp_path, tmp_path)
        for resource in ("Virtual Machine bound", "Virtual Machine Configuration bound"):
            for node in ("2", "3"):
                cluster.call("RemoveResourceNode", resource=resource, node=node)
        told = shell.json("rehearse", "lose", "node1", code=1)
        lost = {json_text(one, "vm"): one for one in json_objects(told, "moves")}
        assert lost["web1"]["arrived"] is True and lost["web1"]["destination"] in ("node2", "node3")
        assert lost["bound"]["arrived"] is False
        (trouble,) = json_objects(told, "troubles")
        assert (trouble["what"], trouble["vm"]) == ("does not run", "bound")
        assert cluster.owner("web1") == "node1"
        assert len(cluster.qemu_pids()) == 2

        page = shell.run("rehearse", "lose", "node1", code=1).out
        assert "If node1 was lost" in page and "bound does not run any more" in page
        refused = shell.refusal("rehearse", "lose", "node1,node2,node3", code=2)
        assert refused["status"] == 87
