"""Networks in the database: written by whoever finds them first, once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import NetworkId, NetworkInterfaceId, NodeId
from quorate.clusapi.states import NetworkRole
from quorate.clusapi.versions import PROGRAM_LEVELS, RECORD_VERSIONS
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.memory import MemoryData, MemoryStore
from quorate.database.network_objects import (
    Announced,
    InterfaceReach,
    Reach,
    address_values,
    subnet_values,
)
from quorate.database.network_records import NetworkChanges
from quorate.database.plan import Values
from quorate.database.values import RegistryValue

ONE, TWO = NodeId("1"), NodeId("2")
LAN, ETH0 = NetworkId("lan"), NetworkInterfaceId("eth0")


def with_database(body: Callable[[ClusterDatabase], Awaitable[None]]) -> None:
    async def run() -> None:
        database = ClusterDatabase(MemoryStore(MemoryData()))
        await database.create_cluster("lab")
        await database.add_node("node1")
        await database.add_node("node2")
        await body(database)

    asyncio.run(run())


def network(name: str, *subnets: str) -> tuple[tuple[str, ...], Values]:
    values = {"Name": RegistryValue.sz(name), "Role": RegistryValue.dword(3), "Metric": RegistryValue.dword(7)}
    return subnets, {**values, **{key: value for key, value in subnet_values(subnets).items() if value is not None}}


def interface(name: str, node: NodeId, on: NetworkId, *addresses: str) -> Values:
    values = {
        "Name": RegistryValue.sz(name),
        "Node": RegistryValue.sz(node),
        "Network": RegistryValue.sz(on),
        "Adapter": RegistryValue.sz("eth0"),
    }
    return {**values, **{key: value for key, value in address_values(addresses).items() if value is not None}}


def first_changes() -> NetworkChanges:
    return NetworkChanges(
        new_networks={LAN: network("Cluster Network 1", "10.0.0.0/24", "fd00::/64")},
        new_interfaces={ETH0: interface("node1 - eth0", ONE, LAN, "10.0.0.1/24", "fd00::1/64")},
    )


async def apply(database: ClusterDatabase, changes: NetworkChanges, node: NodeId = ONE) -> bool:
    return await database.networks.apply(node, await database.snapshot(), changes, ())


def test_a_network_and_its_interface_show_in_the_snapshot_and_the_registry() -> None:
    async def body(database: ClusterDatabase) -> None:
        assert await apply(database, first_changes())
        snapshot = await database.snapshot()
        lan = snapshot.networks[LAN]
        assert (lan.name, lan.role, lan.metric) == ("Cluster Network 1", NetworkRole.INTERNAL_AND_CLIENT, 7)
        assert (lan.auto_metric, lan.subnets) == (True, ("10.0.0.0/24", "fd00::/64"))
        eth0 = snapshot.network_interfaces[ETH0]
        assert (eth0.node, eth0.network, eth0.address) == (ONE, LAN, "10.0.0.1")
        assert eth0.addresses == ("10.0.0.1/24", "fd00::1/64")
        key = await database.registry.open(keys.network_path(LAN))
        assert (key.values.text("Address"), key.values.text("AddressMask")) == ("10.0.0.0", "255.255.255.0")
        assert key.values.texts("IPv6PrefixLengths") == ("64",)
        assert snapshot.find_network("CLUSTER network 1") == lan
        assert snapshot.find_network_interface("NODE1 - ETH0") == eth0

    with_database(body)


def test_of_two_nodes_that_find_a_network_at_once_one_writes_it() -> None:
    async def body(database: ClusterDatabase) -> None:
        before = await database.snapshot()
        other = NetworkId("other")
        second = NetworkChanges(
            new_networks={other: network("Cluster Network 1", "10.0.0.0/24")},
            new_interfaces={NetworkInterfaceId("i2"): interface("node2 - eth0", TWO, other, "10.0.0.2/24")},
        )
        renamed = NetworkChanges(new_networks={other: network("Another name", "10.0.0.0/24")})
        results = await asyncio.gather(
            database.networks.apply(ONE, before, first_changes(), ()),
            database.networks.apply(TWO, before, second, ()),
        )
        assert sorted(results) == [False, True]
        assert not await database.networks.apply(TWO, before, renamed, ()), "the subnet is claimed, whatever the name"
        assert len((await database.snapshot()).networks) == 1

    with_database(body)


def test_a_network_is_not_removed_while_an_interface_comes_to_it() -> None:
    async def body(database: ClusterDatabase) -> None:
        await apply(database, first_changes())
        seen = await database.snapshot()
        comes = NetworkChanges(
            new_interfaces={NetworkInterfaceId("i2"): interface("node2 - eth0", TWO, LAN, "10.0.0.2/24")}
        )
        assert await database.networks.apply(TWO, seen, comes, ())
        goes = NetworkChanges(removed_interfaces=[ETH0], removed_networks=[LAN])
        assert not await database.networks.apply(ONE, seen, goes, ())
        assert len((await database.snapshot()).network_interfaces) == 2

    with_database(body)


def test_what_is_removed_leaves_its_names_and_subnets_free() -> None:
    async def body(database: ClusterDatabase) -> None:
        await apply(database, first_changes())
        assert await apply(database, NetworkChanges(removed_interfaces=[ETH0], removed_networks=[LAN]))
        snapshot = await database.snapshot()
        assert (dict(snapshot.networks), dict(snapshot.network_interfaces)) == ({}, {})
        assert await apply(database, first_changes())

    with_database(body)


def test_a_changed_interface_can_have_another_name_network_and_address() -> None:
    async def body(database: ClusterDatabase) -> None:
        await apply(database, first_changes())
        san = NetworkId("san")
        changes = NetworkChanges(
            new_networks={san: network("Cluster Network 2", "10.1.0.0/24")},
            changed_interfaces={ETH0: interface("node1 - br0", ONE, san, "10.1.0.1/24")},
        )
        assert await apply(database, changes)
        eth0 = (await database.snapshot()).network_interfaces[ETH0]
        assert (eth0.name, eth0.network, eth0.address) == ("node1 - br0", san, "10.1.0.1")
        assert await apply(database, NetworkChanges(removed_networks=[LAN]))

    with_database(body)


def test_a_network_grows_by_subnets_that_no_other_has() -> None:
    async def body(database: ClusterDatabase) -> None:
        await apply(database, first_changes())
        subnets = ("10.0.0.0/24", "fd00::/64", "10.7.0.0/16")
        grown = NetworkChanges(grown_networks={LAN: (subnets, subnet_values(subnets))})
        assert await apply(database, grown)
        assert (await database.snapshot()).networks[LAN].subnets == ("10.0.0.0/24", "10.7.0.0/16", "fd00::/64")
        other = NetworkChanges(new_networks={NetworkId("x"): network("Other", "10.7.0.0/16")})
        assert not await apply(database, other)

    with_database(body)


def test_a_node_that_left_writes_nothing() -> None:
    async def body(database: ClusterDatabase) -> None:
        before = await database.snapshot()
        record = await database.store.get(keys.registry_key(keys.node_path(ONE)))
        assert record is not None
        await database.set_node_paused(ONE, True)
        assert not await database.networks.apply(ONE, before, first_changes(), ()), "its key has changed: look again"
        assert not await database.networks.write_reach(NodeId("9"), Reach())

    with_database(body)


def test_renaming_a_network_keeps_names_unique() -> None:
    async def body(database: ClusterDatabase) -> None:
        await apply(database, first_changes())
        await apply(database, NetworkChanges(new_networks={NetworkId("san"): network("SAN", "10.1.0.0/24")}))
        await database.networks.configure(LAN, lambda *_: {}, name="LAN")
        assert (await database.snapshot()).networks[LAN].name == "LAN"
        with pytest.raises(CallerError) as taken:
            await database.networks.configure(LAN, lambda *_: {}, name="san")
        assert taken.value.status == 5010
        with pytest.raises(CallerError) as missing:
            await database.networks.configure(NetworkId("no"), lambda *_: {}, name="x")
        assert missing.value.status == 5045
        await database.networks.configure(LAN, lambda *_: {}, name="lan")
        assert (await database.snapshot()).networks[LAN].name == "lan"

    with_database(body)


def test_what_nodes_reach_survives_the_database() -> None:
    async def body(database: ClusterDatabase) -> None:
        reach = Reach({ETH0: InterfaceReach(True, frozenset({TWO}), frozenset({NodeId("3")}))})
        assert await database.networks.write_reach(ONE, reach)
        assert (await database.snapshot()).reach[ONE].value == reach
        assert Reach.decode(b'{"interfaces":{},"later":1,"version":1}').extra == {"later": 1}

    with_database(body)


def test_what_was_announced_is_announced_once() -> None:
    async def body(database: ClusterDatabase) -> None:
        before = await database.networks.announced()
        assert (before.value, before.revision) == (Announced(), 0)
        after = Announced({LAN: 2}, {ETH0: 1}, ("full",))
        assert await database.networks.announce(before, after, ())
        assert not await database.networks.announce(before, after, ())
        assert (await database.networks.announced()).value == after

    with_database(body)


def test_the_records_are_listed_in_the_version_in_which_they_are_written() -> None:
    versions = RECORD_VERSIONS[PROGRAM_LEVELS.highest]
    assert (versions["reach"], versions["announced"]) == (Reach.VERSION, Announced.VERSION)
