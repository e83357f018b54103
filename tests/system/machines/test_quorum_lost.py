"""The members of etcd live on the nodes: when two of three machines die, nobody can decide anything any more.

The third may not know whether the others live: what runs there is ended in time, nothing is doubled, and it says so.
When a second machine is back there is a majority again, and every guest runs again.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.machines.fabric import why_not
from tests.system.machines.machine_cluster import NODES, MachineCluster, machines
from tests.system.machines.observer import lives, two_copies

from quorate.clusapi.json_types import JsonObject, json_object, json_text
from quorate.hypervisor.serial_watch import SerialWatch

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

LIMIT = 120.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[MachineCluster]:
    with machines(tmp_path / "cluster", etcd_on_nodes=True) as made:
        yield made


def test_two_machines_of_three_take_the_quorum_with_them(cluster: MachineCluster) -> None:
    watches = {}
    for node in NODES:
        name = f"on-{node}"
        definition: JsonObject = {"name": name, "memory": "64M", "guest": {"kind": "builtin"}}
        cluster.call("CreateVirtualMachine", name=name, definition=definition, node=node)
        logs = [cluster.serial_log(cluster.vm_id(name), where) for where in NODES]
        watches[name] = SerialWatch(*logs, poll=0.002).start()
        cluster.call("OnlineGroup", group=name)
    try:
        assert all(watch.wait_beats(50, LIMIT) for watch in watches.values())
        _lose(cluster, "node1", "node2")
        cluster.wait(lambda: not cluster.qemu_pids("node3"), LIMIT, "what runs on node3 is ended")
        time.sleep(5.0)  # and nothing is started by anybody
        assert not cluster.qemu_pids("node3")
        seen = json_object(cluster.client_of("node3").call("GetStatus").as_json(), "cluster")
        assert "the database does not answer node3" in json_text(seen, "database")
        assert "nothing may run here" in json_text(seen, "database")
        began = time.monotonic()
        cluster.etcd.members[0].start()
        cluster.start_daemon("node1")
        for name, watch in watches.items():
            again = lambda watch=watch: any(x.at > began and x.count is not None for x in watch.lines)  # noqa: E731
            cluster.wait(again, LIMIT, f"{name} runs again")
        assert all(watch.wait_beats(50, LIMIT) for watch in watches.values())
        cluster.etcd.members[1].start()
        cluster.start_daemon("node2")
        cluster.wait_up()
    finally:
        for watch in watches.values():
            watch.stop()
    for name, watch in watches.items():
        told = two_copies(watch.lines)
        assert not told, f"two copies of {name} ran: {told}\n{lives(watch.lines)}"


def _lose(cluster: MachineCluster, *nodes: str) -> None:
    for node in nodes:
        cluster.machine(node).kill_everything()  # its member of etcd too
    for member in cluster.etcd.members:
        if not member.is_running:
            member.kill()  # reaped
