"""Networks between machines that are network namespaces: found by the nodes themselves, and probed over real cables."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.system.machines.fabric import Fabric, Machine, why_not

from quorate.clusapi.identity import NetworkId
from quorate.clusapi.states import NetworkInterfaceState, NetworkState, NodeState
from quorate.cluster.network_states import NetworkFinding
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.sqlite import SqliteStore
from quorate.engine.network_picture import network_findings

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

NODES: Final = ("n1", "n2", "n3")
PORT: Final = 7444
LIMIT: Final = 60.0
"""Seconds within which a change must show; three missed probes take four."""
PROGRAM: Final = Path(__file__).with_name("network_node.py")
LAN, SAN = "10.77.0.0/24", "10.77.1.0/24"


class Lab:
    """Three machines on two networks, and the database that they share as a file."""

    def __init__(self, fabric: Fabric, directory: Path) -> None:
        self.fabric = fabric
        self.file = directory / "cluster.sqlite"
        self.log = directory / "nodes.log"
        self._processes: list[subprocess.Popen[bytes]] = []

    async def _make(self) -> None:
        store = SqliteStore(self.file)
        database = ClusterDatabase(store)
        await database.create_cluster("lab")
        for name in NODES:
            await database.add_node(name)
        await store.close()

    def start(self) -> None:
        asyncio.run(self._make())
        for number, name in enumerate(NODES, start=1):
            machine = self.fabric[name]
            command = [sys.executable, PROGRAM, self.file, str(number), f"tcp:{machine.address()}:{PORT}"]
            self._processes.append(machine.spawn(list(map(str, command)), self.log))

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def snapshot(self) -> ClusterSnapshot:
        async def read() -> ClusterSnapshot:
            store = SqliteStore(self.file)
            try:
                return await ClusterDatabase(store).snapshot()
            finally:
                await store.close()

        return asyncio.run(read())

    def findings(self) -> dict[str, NetworkFinding]:
        """Every network by its first subnet."""
        snapshot = self.snapshot()
        found = network_findings(snapshot, lambda _: NodeState.UP)
        return {snapshot.networks[NetworkId(id_)].subnets[0]: finding for id_, finding in found.items()}

    def states(self, subnet: str) -> dict[str, NetworkInterfaceState]:
        """The states of the interfaces on a network, by node."""
        snapshot, finding = self.snapshot(), self.findings()[subnet]
        return {
            snapshot.nodes[snapshot.network_interfaces[id_].node].name: one.state
            for id_, one in finding.interfaces.items()
        }

    def is_judged(self) -> bool:
        """Answer whether every node has said of every other whether it reaches it."""
        snapshot = self.snapshot()
        said = [reach for record in snapshot.reach.values() for reach in record.value.interfaces.values()]
        return len(said) == 6 and all(len(reach.reached | reach.missed) == 2 for reach in said)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + LIMIT
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not within {LIMIT:g} s: {what}\n{self.findings()}\n{self.log.read_text()[-4000:]}"
                )
            time.sleep(0.1)

    def wait_states(self, subnet: str, **states: NetworkInterfaceState) -> None:
        self.wait(lambda: self.states(subnet) == states, f"{subnet}: {states}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Fabric(NODES) as fabric:
        lab = Lab(fabric, tmp_path_factory.mktemp("networks"))
        try:
            lab.start()
            lab.wait(lambda: len(lab.snapshot().network_interfaces) == 6, "every node has found both networks")
            lab.wait(lab.is_judged, "every node reaches every other on both")
            yield lab
        finally:
            lab.end()


@pytest.fixture(autouse=True)
def well(lab: Lab) -> Iterator[None]:
    yield
    for machine in lab.fabric.machines.values():
        machine.heal()


UP, FAILED, UNREACHABLE = (
    NetworkInterfaceState.UP,
    NetworkInterfaceState.FAILED,
    NetworkInterfaceState.UNREACHABLE,
)


def ip(machine: Machine, *words: str) -> None:
    assert machine.run(["ip", *words]).returncode == 0


def test_each_subnet_is_one_network_with_an_interface_of_every_node(lab: Lab) -> None:
    snapshot = lab.snapshot()
    shown = {
        network.subnets: sorted(i.name for i in snapshot.network_interfaces.values() if i.network == network.id)
        for network in snapshot.networks.values()
    }
    assert shown == {
        (LAN,): ["n1 - eth0", "n2 - eth0", "n3 - eth0"],
        (SAN,): ["n1 - eth1", "n2 - eth1", "n3 - eth1"],
    }
    assert sorted(network.name for network in snapshot.networks.values()) == ["Cluster Network 1", "Cluster Network 2"]
    assert {network: found.state for network, found in lab.findings().items()} == {
        LAN: NetworkState.UP,
        SAN: NetworkState.UP,
    }


def test_well_networks_write_nothing(lab: Lab) -> None:
    before = lab.snapshot().revision
    time.sleep(3.0)  # three probes of every node: what must not happen has no event to wait for
    assert lab.snapshot().revision == before


def test_a_silent_cut_makes_one_unreachable_on_that_network_alone(lab: Lab) -> None:
    cut = lab.fabric["n3"]
    cut.cut(lab.fabric["n1"].address(1), lab.fabric["n2"].address(1))
    lab.wait_states(SAN, n1=UP, n2=UP, n3=UNREACHABLE)
    assert lab.findings()[SAN].state is NetworkState.PARTITIONED
    assert lab.findings()[SAN].sentence == "nobody reaches n3"
    assert lab.findings()[LAN].state is NetworkState.UP
    cut.heal()
    lab.wait_states(SAN, n1=UP, n2=UP, n3=UP)
    assert lab.findings()[SAN].state is NetworkState.UP


def test_a_broken_path_between_two_shows_on_both(lab: Lab) -> None:
    lab.fabric["n1"].cut(lab.fabric["n2"].address(1))
    lab.wait_states(SAN, n1=UNREACHABLE, n2=UNREACHABLE, n3=UP)
    lab.fabric["n1"].heal()
    lab.wait_states(SAN, n1=UP, n2=UP, n3=UP)


def test_a_cable_that_is_out_fails_its_interface_at_once(lab: Lab) -> None:
    switch = f"{lab.fabric.prefix}sw"
    machine = lab.fabric["n2"]
    ip(machine, "-n", switch, "link", "set", "p2n1", "down")
    lab.wait_states(SAN, n1=UP, n2=FAILED, n3=UP)
    assert lab.findings()[SAN].sentence == "the link of n2 is down"
    ip(machine, "-n", switch, "link", "set", "p2n1", "up")
    lab.wait_states(SAN, n1=UP, n2=UP, n3=UP)


def test_an_address_that_is_lost_fails_the_interface_and_another_one_is_taken_up(lab: Lab) -> None:
    machine = lab.fabric["n2"]
    ip(machine, "addr", "del", f"{machine.address(1)}/24", "dev", "eth1")
    lab.wait_states(SAN, n1=UP, n2=FAILED, n3=UP)
    ip(machine, "addr", "add", "10.77.1.42/24", "dev", "eth1")
    lab.wait_states(SAN, n1=UP, n2=UP, n3=UP)
    snapshot = lab.snapshot()
    found = next(one for one in snapshot.network_interfaces.values() if one.name == "n2 - eth1")
    assert found.addresses == ("10.77.1.42/24",)
    ip(machine, "addr", "del", "10.77.1.42/24", "dev", "eth1")
    ip(machine, "addr", "add", f"{machine.address(1)}/24", "dev", "eth1")
    lab.wait_states(SAN, n1=UP, n2=UP, n3=UP)


def test_a_bridge_that_takes_an_adapters_address_over_keeps_its_interface(lab: Lab) -> None:
    machine = lab.fabric["n3"]
    before = next(one.id for one in lab.snapshot().network_interfaces.values() if one.name == "n3 - eth1")
    address = f"{machine.address(1)}/24"
    for words in (
        ("link", "add", "br0", "type", "bridge"),
        ("addr", "del", address, "dev", "eth1"),
        ("link", "set", "eth1", "master", "br0"),
        ("link", "set", "br0", "up"),
        ("addr", "add", address, "dev", "br0"),
    ):
        ip(machine, *words)
    lab.wait(
        lambda: {i.name for i in lab.snapshot().network_interfaces.values() if i.id == before} == {"n3 - br0"},
        "the bridge is the interface",
    )
    lab.wait_states(SAN, n1=UP, n2=UP, n3=UP)
    assert len(lab.snapshot().network_interfaces) == 6


def test_a_new_subnet_becomes_a_network_and_is_one_for_all_who_have_it(lab: Lab) -> None:
    switch = ("-n", f"{lab.fabric.prefix}sw")
    ip(lab.fabric["n1"], *switch, "link", "add", "br9", "type", "bridge")
    ip(lab.fabric["n1"], *switch, "link", "set", "br9", "up")
    for number, name in enumerate(NODES, start=1):
        machine = lab.fabric[name]
        ends = (f"p{number}n9", "type", "veth", "peer", "name", "eth9", "netns", machine.namespace)
        ip(machine, *switch, "link", "add", *ends)
        ip(machine, *switch, "link", "set", f"p{number}n9", "master", "br9", "up")
        ip(machine, "addr", "add", f"10.78.0.{number}/24", "dev", "eth9")
        ip(machine, "link", "set", "eth9", "up")
    lab.wait(lambda: len(lab.snapshot().network_interfaces) == 9, "each node has found it")
    lab.wait_states("10.78.0.0/24", n1=UP, n2=UP, n3=UP)
    assert len(lab.snapshot().networks) == 3
