"""`quorate why-not` and `quorate migrations` on real nodes with a real QEMU: refusals that were really provoked."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.system.pocket_cluster import PocketCluster
from tests.system.shell import Shell
from tests.waiting import slowness

from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, json_float, json_int, json_objects, json_text
from quorate.service.pocket_files import configure, make_private

REFUSED = 1


@dataclass(frozen=True, slots=True)
class Desk:
    """A shell, a cluster whose nodes differ, and the directories that two of them call "images"."""

    shell: Shell
    cluster: PocketCluster
    images: Path
    others: Path

    def asked(self, node: str) -> JsonObject:
        """What AssessMove says of the node."""
        (found,) = self.cluster.call("AssessMove", vm="web1", destination=node).objects("nodes")
        return found

    def refusals(self, node: str) -> dict[str, int]:
        findings = json_objects(self.asked(node), "findings")
        return {json_text(one, "rule"): json_int(one, "status") for one in findings if json_int(one, "status")}

    def refused(self, node: str) -> str:
        """The sentence of a refusal, after it was compared with that of a migration that is really asked for."""
        asked = self.asked(node)
        destination = f"{node}\0".encode("utf-16-le")
        code, resource = CLUSCTL_RESOURCE_VM_START_MIGRATION, json_text(self.cluster.vm("web1"), "vm_resource")
        answer = self.cluster.call("ResourceControl", resource=resource, control_code=code, in_buffer=destination)
        assert (answer.number("status"), answer.text("sentence")) == (asked["status"], asked["sentence"])
        assert self.cluster.owner("web1") == "node1"
        return json_text(asked, "sentence")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    place = tmp_path_factory.mktemp("desk")
    images, others = place / "images", place / "others"
    images.mkdir()
    others.mkdir()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", images / "web1.qcow2", "16M"], check=True)
    cluster = PocketCluster(place / "cluster", 4)
    try:
        make_private(cluster.directory)
        for number, directory, memory in ((1, images, 2048), (2, images, 2048), (3, others, 2048), (4, images, 32)):
            made = configure(cluster.directory, NodeId(str(number)))
            with (made.state / "node.toml").open("a", encoding="utf-8") as file:
                file.write(f"memory = {memory}\nstorages = {{ images = {json.dumps(str(directory))} }}\n")
        cluster.start()
        cluster.trust_all()
        cluster.set_lease(60)
        disk: JsonObject = {"volume": "web1.qcow2", "storage": "images"}
        definition: JsonObject = {"memory": "64M", "guest": {"kind": "builtin"}, "disks": [disk]}
        cluster.call("CreateVirtualMachine", name="web1", definition=definition, node="node1")
        shell = Shell(place, cluster.directory)
        shell.run("vm", "start", "web1")
        desk = Desk(shell, cluster, images, others)
        cluster.wait(lambda: knows_features(desk), 30, "the nodes have found out what their guests can have")
        yield desk
    finally:
        cluster.end()


def knows_features(desk: Desk) -> bool:
    findings = json_objects(desk.asked("node2"), "findings")
    return any(one["rule"] == "CPU features" and one["verdict"] == "ok" for one in findings)


def test_where_it_can_go_every_rule_holds(desk: Desk) -> None:
    by_rule = {json_text(one, "rule"): one for one in json_objects(desk.asked("node2"), "findings")}
    assert {json_text(one, "verdict") for one in by_rule.values()} == {"ok"}
    assert "the same file" in json_text(by_rule["disks"], "measured"), "by the lock that QEMU has on it"
    assert json_text(by_rule["migration network"], "measured").startswith("a socket of this machine in")
    assert "64 MiB needed" in json_text(by_rule["memory for virtual machines"], "measured")


def test_a_disk_that_is_not_there_and_one_that_is_another(desk: Desk) -> None:
    missing = desk.others / "web1.qcow2"
    assert desk.refusals("node3") == {"disks": 5953}
    assert desk.refused("node3") == f"node3: web1 needs {missing}, which this host does not have"
    shutil.copyfile(desk.images / "web1.qcow2", missing)
    assert desk.refusals("node3") == {"disks": 5953}
    assert f"{missing} of this host is not the disk that web1 has: inode" in desk.refused("node3")
    missing.unlink()


def test_too_little_memory(desk: Desk) -> None:
    assert desk.refusals("node4") == {"memory for virtual machines": 5957}
    assert "node4 has 32 MiB free of 32 MiB" in desk.refused("node4")
    shown = desk.shell.run("why-not", "web1", "node4", code=REFUSED).out
    assert "START would answer 5957" in shown
    assert "memory for virtual machines   refuses   32 MiB of 32 MiB" in shown
    refusal = desk.shell.refusal("vm", "migrate", "web1", "--to", "node4", code=REFUSED)
    assert (refusal["status"], refusal["sentence"]) == (5957, desk.asked("node4")["sentence"])


def test_a_node_that_is_paused_and_one_that_may_not_own_it(desk: Desk) -> None:
    desk.shell.run("node", "pause", "node2")
    resource = json_text(desk.cluster.vm("web1"), "vm_resource")
    assert desk.refusals("node2") == {"not paused": 5070}
    assert "node2 is paused" in desk.refused("node2")
    desk.cluster.call("RemoveResourceNode", resource=resource, node="node2")
    assert desk.refusals("node2") == {"not paused": 5070, "possible owner": 5071}, "all of them, not the first"
    desk.shell.run("node", "resume", "node2")
    assert "not a possible owner" in desk.refused("node2")
    desk.cluster.call("AddResourceNode", resource=resource, node="node2")
    matrix = desk.shell.run("why-not", "web1")
    told = {line.split()[0]: line.split()[1] for line in matrix.out.splitlines() if line.strip().startswith("node")}
    assert told == {"node2": "yes", "node3": "no", "node4": "no"}


def test_a_move_is_remembered_with_the_gap_that_both_ends_have_seen(desk: Desk) -> None:
    desk.shell.run("vm", "migrate", "web1", "--to", "node2")

    def is_told() -> bool:
        found = desk.cluster.call("ListMigrations", vm="web1").objects("migrations")
        return len(found) == 1 and found[0]["gap_ms"] is not None

    desk.cluster.wait(is_told, 20, "both nodes have written the migration down")
    (found,) = json_objects(desk.shell.json("migrations", "--vm", "web1"), "migrations")
    assert (found["source"], found["destination"], found["result"]) == ("node1", "node2", "moved")
    assert found["asked_by"]
    stopped, running = moment(desk, 1, "migration figures", "stop sent"), moment(desk, 2, "arrival figures", "running")
    # Of one machine's two nodes the clocks are one, so that the real gap is known.
    assert json_float(found, "gap_ms") == pytest.approx((running - stopped) * 1000, abs=15 * slowness())
    assert 0 < json_float(found, "gap_ms") < json_float(found, "seconds") * 1000
    assert json_text(found, "ended")[:19].replace("T", " ") in desk.shell.run("migrations").out


def moment(desk: Desk, node: int, event: str, name: str) -> float:
    """A moment of the only migration, as a daemon has logged it."""
    log = (desk.cluster.directory / "nodes" / str(node) / "daemon.log").read_text(encoding="utf-8")
    (told,) = [json.loads(line) for line in log.splitlines() if f'"{event}"' in line]
    return float(told["moments"][name])
