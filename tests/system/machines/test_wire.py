"""MS-CMRP on several machines: each node at its own address, the cluster's networks, and the loss of a machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.machines.machine_cluster import NODES, QUORATE, MachineCluster, machines
from tests.system.wire_cluster import PASSWORD, RPCCLIENT, USER, why_no_wire

from quorate.clusapi.json_types import json_int, json_objects, json_text
from quorate.clusapi.states import NodeState

pytestmark = pytest.mark.skipif(why_no_wire() is not None, reason=str(why_no_wire()))

PORT = 49152
SETTINGS = (f'mscmrp = {{ listen = "0.0.0.0:{PORT}", endpoint_mapper = true }}',)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[MachineCluster]:
    with machines(tmp_path / "cluster", etcd_on_nodes=True, settings=SETTINGS) as made:
        made.call("AddUserAccount", name=USER, role="full", password=PASSWORD)
        (tmp_path / "password").write_text(PASSWORD, encoding="utf-8")
        yield made


def rpcclient(cluster: MachineCluster, at: str, to: str, command: str) -> tuple[int, str]:
    """Type a command of rpcclient on one machine, about another one."""
    binding = f"ncacn_ip_tcp:{cluster.fabric[to].address()}[seal]"
    argv = [str(RPCCLIENT), "--configfile=/dev/null", binding, "-U", f"{USER}%{PASSWORD}", "-c", command]
    done = cluster.fabric[at].run(argv)
    return done.returncode, done.stdout + done.stderr


def quorate(cluster: MachineCluster, at: str, password: Path, *words: str) -> Any:
    """Type a command of ours on one machine, about the cluster at all its addresses."""
    servers = ",".join(f"ncacn_ip_tcp:{cluster.fabric[node].address()}" for node in NODES)
    environment = {"QUORATE_USER": USER, "QUORATE_PASSWORD_FILE": str(password)}
    done = cluster.fabric[at].run([QUORATE, "--cluster", servers, "--json", *words], env=environment)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_each_machine_answers_at_its_own_address(cluster: MachineCluster, tmp_path: Path) -> None:
    for at, to in (("node1", "node2"), ("node2", "node3"), ("node3", "node1"), ("node1", "node1")):
        code, said = rpcclient(cluster, at, to, "clusapi_get_cluster_name; clusapi_create_enumex 3f")
        assert (code, f"NodeName: {to}" in said) == (0, True), said
    code, said = rpcclient(cluster, "node1", "node2", "clusapi_pause_node node3")
    assert (code, "has been paused" in said) == (0, True), said
    assert cluster.node_state("node3", seen_by="node1") is NodeState.PAUSED
    code, said = rpcclient(cluster, "node2", "node1", "clusapi_resume_node node3")
    assert (code, "has been resumed" in said) == (0, True), said

    password = tmp_path / "password"

    def has_networks() -> bool:
        listed = json.dumps(quorate(cluster, "node3", password, "network", "list"))
        return "Cluster Network 1" in listed and "node3 - eth0" in listed

    cluster.wait(has_networks, 30, "the networks and their interfaces are told")

    cluster.fabric["node1"].kill_everything()
    cluster.wait(lambda: cluster.node_state("node1", seen_by="node2") is NodeState.DOWN, 30, "node1 is down")
    nodes = json_objects(quorate(cluster, "node3", password, "node", "list"), "nodes")
    states = {json_text(node, "name"): NodeState(json_int(node, "state")) for node in nodes}
    assert states == {"node1": NodeState.DOWN, "node2": NodeState.UP, "node3": NodeState.UP}
