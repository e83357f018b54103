"""A node dies whose lease is long: an agent that switches it off, or a person's word, brings its VMs back sooner."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.pocket_cluster import PocketCluster, pocket_cluster
from tests.system.shell import Shell
from tests.unit.server.agents import FakeAgent

from quorate.clusapi.json_types import json_text
from quorate.clusapi.states import VmState
from quorate.hypervisor.serial_watch import SerialWatch
from quorate.service.pocket_power import power_off

LEASE = 90
"""Seconds: far more than the test takes, so that it is never the lease's end that helps."""
LIMIT = 90.0
REFUSED = 1


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocketCluster]:
    with pocket_cluster(tmp_path_factory.mktemp("fencing"), nodes=3) as found:
        agents = found.directory / "agents"
        FakeAgent(agents)
        for path in found.directory.glob("nodes/*/node.toml"):
            path.write_text(f'fence_directory = "{agents}"\n{path.read_text(encoding="utf-8")}', encoding="utf-8")
        pids = {node: found.daemon_pid(node) for node in ("node1", "node2", "node3")}
        found.restart_daemons()
        assert all(found.daemon_pid(node) != pid for node, pid in pids.items())
        found.set_lease(LEASE)
        yield found


@pytest.fixture
def shell(cluster: PocketCluster, tmp_path: Path) -> Shell:
    return Shell(tmp_path, cluster.directory)


def _die(cluster: PocketCluster, name: str) -> str:
    """Cut the power of the node that runs a virtual machine; answers which."""
    node = cluster.owner(name)
    power_off(cluster.directory, node.removeprefix("node"))
    return node


def _lives_on(cluster: PocketCluster, name: str, dead: str) -> bool:
    return cluster.owner(name) != dead and cluster.vm_state(name) is VmState.RUNNING


def test_first_an_agent_and_then_a_persons_word_end_the_wait(cluster: PocketCluster, shell: Shell) -> None:
    """One test, as a second node is over the budget because of the first."""
    agent = FakeAgent(cluster.directory / "agents")
    cluster.create_builtin("web1", "64M")
    for node in ("node1", "node2", "node3"):
        shell.run("node", "fence", node, "--agent", agent.NAME, "--option", f"plug={node}")
    assert "works, power on" in shell.run("node", "fence-test", "node2", "--on", "node3").out
    shell.run("cluster", "set", "FenceAfter=2")
    logs = [cluster.serial_log("web1", node) for node in ("node1", "node2", "node3")]
    with SerialWatch(*logs, from_end=True) as watch:
        assert watch.wait_beats(5, LIMIT)
        first = _die(cluster, "web1")
        cluster.wait(lambda: _lives_on(cluster, "web1", first), LIMIT, "the agent has switched it off: web1 runs")
        assert agent.power(first) == "off"
        assert watch.wait_beats(5, LIMIT)
        second = _die(cluster, "web1")

        def held() -> bool:
            events = cluster.call("GetEvents", limit=50).objects("events")
            return any(e["kind"] == "node.fence_held" and e["object_name"] == second for e in events)

        cluster.wait(held, LIMIT, "a second node of three is over the budget")
        assert "action=off" not in agent.told()[agent.told().index("action=off") + 1 :]
        assert not cluster.qemu_pids()
        shell.run("node", "confirm-off", second, "--yes")
        cluster.wait(lambda: _lives_on(cluster, "web1", second), LIMIT, "a person has said so: web1 runs")
        assert watch.wait_beats(5, LIMIT)
    assert not watch.report().interleaved
    last = cluster.owner("web1")
    assert "it is not off" in shell.run("node", "confirm-off", last, "--yes", code=REFUSED).err
    words = [json_text(event, "sentence") for event in cluster.call("GetEvents", limit=200).objects("events")]
    assert any(f"{first} is fenced: fence_fake has switched it off" in sentence for sentence in words)
    assert any(f"says that {second} is switched off" in sentence for sentence in words)
