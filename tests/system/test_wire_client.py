"""Our own client over MS-CMRP, on a real cluster: the command line as a person types it, and the objects of asyncio."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.system.shell import COMMAND
from tests.system.wire_cluster import FIRST_PORT, HOST, PASSWORD, READER, USER, WireCluster, why_no_wire, wire_cluster

from quorate.clusapi.json_types import JsonObject, json_objects, json_text
from quorate.clusapi.states import GroupState, NodeState, VmState

pytestmark = pytest.mark.skipif(why_no_wire() is not None, reason=str(why_no_wire()))

PROGRAM = """
import asyncio, json, sys
from quorate.client import connect

async def main(address, user, password):
    async with connect(address, user, password) as cluster:
        machine = await cluster.virtual_machine("web1")
        migration = await machine.start_migration("node3")
        result = await migration.result()
        status = await cluster.status()
        print(json.dumps({"ok": result.ok, "node": result.node, "state": (await machine.resource.state()).name,
                          "machines": [item["node"] for item in status["virtual_machines"]]}))

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass(slots=True)
class Remote:
    """Somebody who has an address, a name and a password, and no file of the cluster."""

    cluster: WireCluster
    place: Path
    address: str = f"ncacn_ip_tcp:{HOST}[{FIRST_PORT}]"
    user: str = USER
    password: str = PASSWORD

    def run(self, *arguments: str, code: int = 0) -> str:
        """Type a command."""
        file = self.place / "password"
        file.write_text(f"{self.password}\n")
        options = ["--cluster", self.address, "--user", self.user, "--password-file", str(file)]
        done = self.cluster.machine.run([*COMMAND, *options, *arguments])
        assert done.returncode == code, (arguments, done.stdout, done.stderr, self.cluster.last_words())
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> JsonObject:
        """Type a command, and read the object that it prints."""
        found = json.loads(self.run(*arguments, "--json"))
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireCluster]:
    with wire_cluster(tmp_path_factory.mktemp("pc")) as running:
        running.create_builtin("web1", "64M", start=False)
        yield running


@pytest.fixture
def remote(cluster: WireCluster, tmp_path: Path) -> Remote:
    return Remote(cluster, tmp_path)


def test_a_machine_is_started_migrated_and_stopped(cluster: WireCluster, remote: Remote) -> None:
    remote.run("vm", "start", "web1")
    assert cluster.vm_state("web1") is VmState.RUNNING
    source = cluster.owner("web1")
    target = "node2" if source != "node2" else "node1"
    assert f"runs on {target}" in remote.run("vm", "migrate", "web1", "--to", target)
    assert (cluster.owner("web1"), cluster.vm_state("web1")) == (target, VmState.RUNNING)
    shown = remote.json("vm", "show", "web1")
    real = cluster.vm("web1")
    told = ("name", "vm", "group", "vm_resource", "configuration_resource", "node", "vm_state", "definition")
    assert {name: shown[name] for name in told} == {name: real[name] for name in told}
    remote.run("vm", "cancel", "web1", code=1)
    remote.run("vm", "stop", "web1", "--action", "turn-off")
    assert cluster.vm_state("web1") is VmState.OFF
    remote.run("vm", "start", "web1")


def test_the_status_is_what_the_nodes_show_themselves(cluster: WireCluster, remote: Remote) -> None:
    over_wire, over_http = remote.json("status"), cluster.call("GetStatus").as_json()
    for part, names in {
        "nodes": ("id", "name", "state", "status", "groups"),
        "groups": ("id", "name", "type", "state", "node_id"),
        "virtual_machines": ("name", "vm", "node_id", "resource_state", "vm_state"),
    }.items():
        seen = [
            [[item[name] for name in names] for item in json_objects(told, part)] for told in (over_wire, over_http)
        ]
        assert seen[0] == seen[1]
        assert seen[0]


def test_the_endpoint_mapper_is_asked_where_no_port_is_given(remote: Remote) -> None:
    remote.address = f"ncacn_ip_tcp:{HOST}"
    assert json_text(remote.json("cluster", "show"), "name") == "pocket"


def test_nodes_and_groups_are_worked_on(cluster: WireCluster, remote: Remote) -> None:
    remote.run("node", "pause", "node1")
    assert NodeState(cluster.call("GetNodeState", node="node1").number("state")) is NodeState.PAUSED
    remote.run("node", "resume", "node1")
    remote.run("group", "create", "office")
    assert GroupState(cluster.call("GetGroupState", group="office").number("state")) is GroupState.OFFLINE
    remote.run("group", "set", "office", "Description=a group of ours")
    assert "a group of ours" in remote.run("group", "show", "office")
    remote.run("group", "rename", "office", "home")
    remote.run("group", "delete", "home")
    remote.run("group", "show", "home", code=2)


def test_the_objects_of_asyncio_migrate_and_wait(cluster: WireCluster, remote: Remote) -> None:
    cluster.wait(lambda: cluster.vm_state("web1") is VmState.RUNNING, 60, "web1 runs")
    done = cluster.machine.run([sys.executable, "-c", PROGRAM, remote.address, USER, PASSWORD])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"ok": True, "node": "node3", "state": "ONLINE", "machines": ["node3"]}
    assert cluster.owner("web1") == "node3"


def test_events_are_followed(cluster: WireCluster, remote: Remote) -> None:
    log = remote.place / "events"
    (remote.place / "password").write_text(PASSWORD)
    options = ["--cluster", remote.address, "--user", USER, "--password-file", str(remote.place / "password")]
    follower = cluster.machine.spawn([*COMMAND, *options, "events", "--follow", "--kind", "group", "--json"], log)
    try:
        made = 0

        def is_told() -> bool:  # when the port is ready is not to be seen from outside
            nonlocal made
            made += 1
            cluster.call("CreateGroup", name=f"news{made}")
            return '"group.added"' in log.read_text()

        cluster.wait(is_told, 60, "a new group is told")
    finally:
        follower.terminate()
        follower.wait()
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert {event["kind"].partition(".")[0] for event in told} == {"group"}
    assert any(event["object_name"].startswith("news") for event in told)


def test_who_may_only_read_changes_nothing(cluster: WireCluster, remote: Remote) -> None:
    remote.user = READER
    assert "web1" in remote.run("vm", "list")
    for change in (["vm", "stop", "web1"], ["node", "pause", "node1"], ["group", "create", "other"]):
        assert "ERROR_ACCESS_DENIED" in remote.run(*change, code=2)
    assert cluster.vm_state("web1") is VmState.RUNNING


def test_a_wrong_password_lets_nobody_in(remote: Remote) -> None:
    remote.user, remote.password = "nobody", "wrong"
    assert "ERROR_LOGON_FAILURE" in remote.run("status", code=2)


def test_what_the_protocol_cannot_say_is_120(remote: Remote) -> None:
    for command in (["vm", "pause", "web1"], ["validate"], ["user", "list"], ["events"]):
        assert "ERROR_CALL_NOT_IMPLEMENTED" in remote.run(*command, code=2)


def test_another_node_answers_where_one_does_not(remote: Remote) -> None:
    remote.address = f"ncacn_ip_tcp:{HOST}[1],ncacn_ip_tcp:{HOST}[{FIRST_PORT + 1}]"
    assert json_text(remote.json("cluster", "show"), "name") == "pocket"
    remote.address = f"ncacn_ip_tcp:{HOST}[1]"
    assert "RPC_S_SERVER_UNAVAILABLE" in remote.run("status", code=3)
