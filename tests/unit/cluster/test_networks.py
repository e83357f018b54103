"""Which networks a cluster has: plans from what nodes find, and what follows when they are carried out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.identity import NetworkId, NodeId
from quorate.clusapi.states import NetworkRole
from quorate.cluster.networks import (
    FoundInterface,
    KnownInterface,
    KnownNetwork,
    NetworkPlan,
    NetworkSituation,
    auto_metric,
    plan_networks,
)

NODES = frozenset(NodeId(str(number)) for number in range(1, 5))


def found(adapter: str, *addresses: str, dhcp: bool = False) -> FoundInterface:
    return FoundInterface(adapter, f"02:00:00:00:00:{len(adapter):02x}", addresses, dhcp)


class World:
    """A database of networks into which plans are carried out."""

    def __init__(self) -> None:
        self.networks: dict[str, KnownNetwork] = {}
        self.interfaces: dict[str, KnownInterface] = {}
        self.nodes = NODES
        self.up = NODES
        self.role = NetworkRole.INTERNAL_AND_CLIENT
        self._ids = 0

    def situation(self, node: str, gone: Sequence[str] = ()) -> NetworkSituation:
        return NetworkSituation(
            node=NodeId(node),
            node_name=f"node{node}",
            nodes=self.nodes,
            up=self.up,
            networks=tuple(self.networks.values()),
            interfaces=tuple(self.interfaces.values()),
            role=self.role,
            gone=frozenset(gone),
        )

    def ids(self) -> Iterator[str]:
        while True:
            self._ids += 1
            yield f"id{self._ids}"

    def carry_out(self, plan: NetworkPlan) -> None:
        for new in (planned.what for planned in plan.new_networks):
            self.networks[new.id] = KnownNetwork(new.id, new.name, new.subnets, new.metric)
        for network in (planned.what for planned in plan.grown_networks):
            self.networks[network.id] = network
        for planned in (*plan.new_interfaces, *plan.changed_interfaces):
            self.interfaces[planned.what.id] = planned.what
        for planned in plan.removed_interfaces:
            del self.interfaces[planned.what.id]
        for planned_network in plan.removed_networks:
            del self.networks[planned_network.what.id]

    def look(self, node: str, *adapters: FoundInterface, gone: Sequence[str] = ()) -> tuple[str, ...]:
        """One node looks until nothing is left to write; what it did in sentences."""
        sentences: list[str] = []
        for _ in range(10):
            plan = plan_networks(adapters, self.situation(node, gone), self.ids())
            if plan.is_empty:
                return (*sentences, *plan.left_alone)
            self.carry_out(plan)
            for kind in (
                plan.new_networks,
                plan.grown_networks,
                plan.new_interfaces,
                plan.changed_interfaces,
                plan.removed_interfaces,
                plan.removed_networks,
            ):
                sentences += [planned.sentence for planned in kind]
        raise AssertionError(f"no end: {sentences}")

    def shown(self) -> dict[str, list[str]]:
        """Networks with the interfaces on them."""
        return {
            network.name: sorted(one.name for one in self.interfaces.values() if one.network == network.id)
            for network in sorted(self.networks.values(), key=lambda network: network.name)
        }


def test_each_subnet_becomes_one_network_with_one_interface_of_each_node() -> None:
    world = World()
    assert world.look("1", found("eth0", "10.0.0.1/24", "fd00::1/64"), found("eth1", "10.1.0.1/16")) == (
        'network "Cluster Network 1" (10.0.0.0/24, fd00::/64) was found by node1',
        'network "Cluster Network 2" (10.1.0.0/16) was found by node1',
        '"node1 - eth0" was found with 10.0.0.1/24',
        '"node1 - eth1" was found with 10.1.0.1/16',
    )
    world.look("2", found("enp3s0", "10.1.0.2/16"), found("enp2s0", "10.0.0.2/24"))
    assert world.shown() == {
        "Cluster Network 1": ["node1 - eth0", "node2 - enp2s0"],
        "Cluster Network 2": ["node1 - eth1", "node2 - enp3s0"],
    }
    metrics = [network.metric for network in world.networks.values()]
    assert metrics == [70_240, 70_256]
    assert world.look("1", found("eth0", "10.0.0.1/24", "fd00::1/64"), found("eth1", "10.1.0.1/16")) == ()


def test_a_network_that_is_known_by_ipv4_takes_on_the_ipv6_subnet_of_whoever_has_it() -> None:
    world = World()
    world.look("1", found("eth0", "10.0.0.1/24"))
    assert world.look("2", found("eth0", "10.0.0.2/24", "fd00::2/64"))[0] == (
        'network "Cluster Network 1" has the subnet fd00::/64 too: node2 has it on eth0'
    )
    world.look("3", found("eth0", "fd00::3/64"))
    assert world.shown() == {"Cluster Network 1": ["node1 - eth0", "node2 - eth0", "node3 - eth0"]}


def test_a_second_adapter_in_the_same_subnet_is_left_alone() -> None:
    world = World()
    sentences = world.look("1", found("eth10", "10.0.0.10/24"), found("eth2", "10.0.0.2/24"))
    assert world.shown() == {"Cluster Network 1": ["node1 - eth2"]}
    assert sentences[-1].startswith("eth10 is left alone: eth2 is on the same network")
    world.look("1", found("eth1", "10.0.0.1/24"), found("eth2", "10.0.0.2/24"))
    assert world.shown() == {"Cluster Network 1": ["node1 - eth2"]}, "the one that is known stays"


def test_an_address_that_another_node_has_too_is_no_network_between_them() -> None:
    world = World()
    world.look("1", found("br0", "172.30.0.1/16"))
    assert world.look("2", found("br0", "172.30.0.1/16")) == (
        'br0 is left alone: "node1 - br0" has the same address 172.30.0.1/16, so that it is no network between them',
    )
    world.up = NODES - {NodeId("1")}
    world.look("2", found("br0", "172.30.0.1/16"))
    assert world.shown() == {"Cluster Network 1": ["node1 - br0", "node2 - br0"]}, "node1 may have lost it long ago"


def test_an_adapter_that_was_renamed_or_went_under_a_bridge_keeps_its_object() -> None:
    world = World()
    world.look("1", found("eth0", "10.0.0.1/24"))
    (before,) = world.interfaces.values()
    assert world.look("1", found("eth0"), found("br0", "10.0.0.1/24")) == (
        '"node1 - eth0" is "node1 - br0" now: the addresses of its network are there',
    )
    (after,) = world.interfaces.values()
    assert (after.id, after.name, after.adapter) == (before.id, "node1 - br0", "br0")


def test_a_new_address_in_another_subnet_moves_the_interface_and_the_empty_network_goes() -> None:
    world = World()
    world.look("1", found("eth0", "10.0.0.1/24"))
    assert world.look("1", found("eth0", "10.9.0.1/24")) == (
        'network "Cluster Network 2" (10.9.0.0/24) was found by node1',
        '"node1 - eth0" has 10.9.0.1/24 now, no longer 10.0.0.1/24',
        'network "Cluster Network 1" was removed: no node has an interface on it',
    )
    assert world.shown() == {"Cluster Network 2": ["node1 - eth0"]}


def test_an_adapter_without_addresses_keeps_its_interface_until_it_has_been_gone_for_long() -> None:
    world = World()
    world.look("1", found("eth0", "10.0.0.1/24"))
    assert world.look("1", found("eth0")) == ()
    assert world.look("1") == ()
    assert world.look("1", gone=["eth0"]) == (
        '"node1 - eth0" was removed: node1 has no adapter eth0 now',
        'network "Cluster Network 1" was removed: no node has an interface on it',
    )
    assert world.shown() == {}


def test_the_interfaces_of_a_node_that_left_are_removed_by_whoever_looks() -> None:
    world = World()
    world.look("1", found("eth0", "10.0.0.1/24"))
    world.look("2", found("eth0", "10.0.0.2/24"))
    world.nodes = NODES - {NodeId("2")}
    assert world.look("1", found("eth0", "10.0.0.1/24")) == (
        '"node2 - eth0" was removed: its node has left the cluster',
    )
    assert world.shown() == {"Cluster Network 1": ["node1 - eth0"]}


def test_a_name_that_people_gave_is_not_taken_again() -> None:
    world = World()
    world.look("1", found("eth0", "10.0.0.1/24"), found("eth1", "10.1.0.1/24"))
    first = world.networks[NetworkId("id1")]
    world.networks[first.id] = replace(first, name="cluster network 3")
    world.look("1", found("eth0", "10.0.0.1/24"), found("eth1", "10.1.0.1/24"), found("eth2", "10.2.0.1/24"))
    assert sorted(world.shown()) == ["Cluster Network 1", "Cluster Network 2", "cluster network 3"]


def test_a_new_network_gets_the_clusters_default_role() -> None:
    world = World()
    world.role = NetworkRole.INTERNAL
    plan = plan_networks([found("eth0", "10.0.0.1/24")], world.situation("1"), world.ids())
    assert [(planned.what.role, planned.what.metric) for planned in plan.new_networks] == [
        (NetworkRole.INTERNAL, 40_240)
    ]


@pytest.mark.parametrize("role", list(NetworkRole))
def test_metrics_chosen_by_the_cluster_are_never_the_same(role: NetworkRole) -> None:
    taken: set[int] = set()
    for _ in range(10):
        metric = auto_metric(role, taken)
        assert metric not in taken
        taken.add(metric)
    assert auto_metric(NetworkRole.INTERNAL, ()) < auto_metric(NetworkRole.INTERNAL_AND_CLIENT, ())


_ADAPTERS = st.lists(
    st.builds(
        lambda name, subnet, host, v6: found(
            name, f"10.{subnet}.0.{host}/24", *([f"fd0{subnet}::{host}/64"] if v6 else [])
        ),
        st.sampled_from(["eth0", "eth1", "eth2", "br0"]),
        st.integers(0, 3),
        st.integers(1, 200),
        st.booleans(),
    ),
    max_size=4,
    unique_by=lambda one: one.adapter,
)


@given(st.lists(st.tuples(st.sampled_from(sorted(NODES)), _ADAPTERS), max_size=12))
def test_whatever_nodes_find_the_plan_ends_and_the_database_stays_sound(
    looks: list[tuple[NodeId, list[FoundInterface]]],
) -> None:
    world = World()
    for node, adapters in looks:
        world.look(node, *adapters)
        networks = list(world.networks.values())
        interfaces = list(world.interfaces.values())
        subnets = [subnet for network in networks for subnet in network.subnets]
        assert len(subnets) == len(set(subnets)), "a subnet belongs to one network"
        assert len({network.name.casefold() for network in networks}) == len(networks)
        assert len({interface.name for interface in interfaces}) == len(interfaces)
        places = [(interface.node, interface.network) for interface in interfaces]
        assert len(places) == len(set(places)), "a node has one interface on a network"
        assert {interface.network for interface in interfaces} == {network.id for network in networks}
