"""The network that memory takes between machines on two: by order, around a cut, and never an excluded one."""

from collections.abc import Iterator

import pytest
from tests.system.machines.fabric import why_not
from tests.system.machines.machine_cluster import NODES, MachineCluster, machines

from quorate.clusapi.json_types import JsonObject, json_int, json_object, json_objects, json_text, json_texts

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


class Lab:
    """The cluster, one virtual machine in it, and the names of the two networks by what their addresses begin with."""

    def __init__(self, cluster: MachineCluster) -> None:
        self.cluster = cluster
        cluster.wait(lambda: len(self._networks()) == 2, 60, "both networks are found by all")
        self.lan, self.san = (self._networks()[prefix] for prefix in cluster.fabric.networks)
        cluster.create_builtin("web1", "64M")

    def _networks(self) -> dict[str, str]:
        found = self.cluster.call("ListNetworks").objects("networks")
        return {
            json_texts(one, "subnets")[0].removesuffix(".0/24"): json_text(one, "name")
            for one in found
            if len(json_objects(one, "interfaces")) == len(NODES)
        }

    def wish(self, order: str = "", excluded: str = "") -> None:
        wishes = (f"MigrationNetworkOrder={order}", f"MigrationExcludeNetworks={excluded}")
        self.cluster.quorate("node1", "--cluster", self.cluster.directory, "type", "set", "Virtual Machine", *wishes)

    def move(self) -> str:
        """Move it to the other of two nodes; by which network its memory went, as both faces show it."""
        source = self.cluster.owner("web1")
        destination = "node2" if source == "node1" else "node1"
        self.cluster.quorate("node1", "--cluster", self.cluster.directory, "vm", "migrate", "web1", "--to", destination)
        self.cluster.wait(lambda: self.cluster.owner("web1") == destination, 60, "it has moved")
        self.cluster.wait(lambda: self.cluster.migration_state("web1") == 0, 30, "the migration is over")
        said = json_text(json_object(self.cluster.vm("web1"), "migration"), "transport")
        assert "TLS" in said
        return said.rpartition(" by ")[2]

    def finding(self) -> JsonObject:
        """What the preflight says of the way to the other node."""
        destination = "node2" if self.cluster.owner("web1") == "node1" else "node1"
        (node,) = self.cluster.call("AssessMove", vm="web1", destination=destination).objects("nodes")
        return next(one for one in json_objects(node, "findings") if json_text(one, "rule") == "migration network")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with machines(tmp_path_factory.mktemp("networks") / "cluster", etcd_on_nodes=True) as cluster:
        yield Lab(cluster)


@pytest.fixture(autouse=True)
def well(lab: Lab) -> Iterator[None]:
    yield
    for machine in lab.cluster.fabric.machines.values():
        machine.heal()


def test_memory_takes_the_first_network_by_metric_or_by_the_order(lab: Lab) -> None:
    assert lab.move() == lab.lan
    lab.wish(order=lab.san)
    assert json_text(lab.finding(), "measured").startswith(f"{lab.san}, {lab.cluster.fabric.networks[1]}.")
    assert lab.move() == lab.san
    lab.wish(excluded=lab.lan)
    assert lab.move() == lab.san


def test_where_the_first_network_is_cut_the_next_is_taken_and_it_is_said(lab: Lab) -> None:
    lab.wish(order=f"{lab.san};{lab.lan}")
    fabric = lab.cluster.fabric
    fabric["node1"].cut(fabric["node2"].address(1))
    finding = lab.finding()
    assert json_text(finding, "measured").startswith(f"{lab.lan}, ")
    assert lab.move() == lab.lan


def test_an_excluded_network_is_never_used(lab: Lab) -> None:
    lab.wish(excluded=f"{lab.san};{lab.lan}")
    finding = lab.finding()
    assert (json_int(finding, "status"), json_text(finding, "measured")) == (5035, "none left")
    before = lab.cluster.owner("web1")
    with pytest.raises(AssertionError, match="MigrationExcludeNetworks"):
        lab.move()
    assert lab.cluster.owner("web1") == before
    lab.wish()
    assert lab.move() == lab.lan
