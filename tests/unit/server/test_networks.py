"""Networks and interfaces as programs see them: operations, control codes, and the functions of ClusAPI."""

from collections.abc import Iterator

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster
from tests.unit.server.networks import make_networks, say_reach

from quorate.client import functions as capi
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.json_types import JsonObject, json_text
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    Value,
    pack_property_list,
    parse_multi_sz,
    parse_property_formats,
    parse_property_list,
    parse_sz,
)
from quorate.hosting.property_table import PropertyDefinition
from quorate.server.properties.network import NETWORK_COMMON
from quorate.server.properties.network_interface import NETWORK_INTERFACE_COMMON

D, SZ = PropertyFormat.DWORD, PropertyFormat.SZ
NET, IF = 0x05, 0x06
ENUM, GET_RO, GET, SET, VALIDATE, FORMATS = 0x51, 0x55, 0x59, 0x40005E, 0x61, 0x65
LAN, SAN, ETH0 = "Cluster Network 1", "Cluster Network 2", "node1 - eth0"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[capi.ClusterHandle]:
    """For what leaves the networks as they are."""
    with running_fake_cluster(tmp_path_factory.mktemp("networks"), 2) as world:
        make_networks(world)
        yield capi.OpenCluster(str(world.directory))


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path_factory.mktemp("networks"), 2) as world:
        make_networks(world)
        yield world


@pytest.fixture
def fresh(world: FakeWorld) -> capi.ClusterHandle:
    """For what changes them."""
    return capi.OpenCluster(str(world.directory))


def control(cluster: capi.ClusterHandle, code: int, data: bytes | None = None) -> tuple[int, bytes, int]:
    if code >> 24 == NET:
        return capi.ClusterNetworkControl(capi.OpenClusterNetwork(cluster, LAN), None, code, data)
    return capi.ClusterNetInterfaceControl(capi.OpenClusterNetInterface(cluster, ETH0), None, code, data)


def values(cluster: capi.ClusterHandle, kind: int, code: int) -> dict[str, Value]:
    status, output, _ = control(cluster, kind << 24 | code)
    assert status == 0
    return {item.name: item.value for item in parse_property_list(output)}


def put(cluster: capi.ClusterHandle, kind: int, *items: tuple[str, PropertyFormat, Value], code: int = SET) -> int:
    return control(cluster, kind << 24 | code, pack_property_list(PropertyList.of(items)))[0]


def newest(cluster: capi.ClusterHandle) -> JsonObject:
    return cluster.call("GetEvents", limit=1).objects("events")[0]


# --- Finding, enumerating, states ----------------------------------------------------------------------------------


def test_a_network_is_found_by_name_and_by_id(cluster: capi.ClusterHandle) -> None:
    network = capi.OpenClusterNetwork(cluster, LAN.upper())
    status, id_ = capi.GetClusterNetworkId(network)
    assert (status, len(id_)) == (0, 36)
    assert capi.GetClusterNetworkState(capi.OpenClusterNetwork(cluster, id_)) == capi.ClusterNetworkUp
    assert capi.CloseClusterNetwork(network) is True
    assert capi.GetClusterNetworkState(network) == capi.ClusterNetworkStateUnknown
    assert capi.GetLastError() == 6
    with pytest.raises(ClusterError) as missing:
        capi.OpenClusterNetwork(cluster, "nowhere")
    assert (missing.value.status, LAN in missing.value.sentence) == (5045, True)


def test_an_interface_is_found_by_name_and_by_node_and_network(cluster: capi.ClusterHandle) -> None:
    assert capi.GetClusterNetInterface(cluster, "node2", SAN) == (0, "node2 - eth1")
    assert capi.GetClusterNetInterface(cluster, "node9", SAN) == (5042, "")
    assert capi.GetClusterNetInterface(cluster, "node2", "nowhere") == (5045, "")
    interface = capi.OpenClusterNetInterface(cluster, "NODE2 - eth1")
    assert capi.GetClusterNetInterfaceState(interface) == capi.ClusterNetInterfaceUp
    assert capi.CloseClusterNetInterface(interface) is True
    with pytest.raises(ClusterError) as missing:
        capi.OpenClusterNetInterface(cluster, "node1 - eth9")
    assert missing.value.status == 5047


def entries(enum: capi.EnumHandle) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    while (entry := capi.ClusterEnum(enum, len(found)))[0] == 0:
        found.append(entry[1:])
    return found


def test_networks_and_interfaces_are_enumerated(cluster: capi.ClusterHandle) -> None:
    assert entries(capi.ClusterOpenEnum(cluster, capi.CLUSTER_ENUM_NETWORK)) == [(0x10, LAN), (0x10, SAN)]
    interfaces = entries(capi.ClusterOpenEnum(cluster, capi.CLUSTER_ENUM_NETINTERFACE))
    assert interfaces == [(0x20, f"node{n} - eth{m}") for n in (1, 2) for m in (0, 1)]
    network = capi.OpenClusterNetwork(cluster, SAN)
    enum = capi.ClusterNetworkOpenEnum(network, capi.CLUSTER_NETWORK_ENUM_ALL)
    assert capi.ClusterNetworkGetEnumCount(enum) == 2
    assert capi.ClusterNetworkEnum(enum, 0) == (0, 1, "node1 - eth1")
    assert capi.ClusterNetworkEnum(enum, 2) == (259, 0, "")
    assert capi.ClusterNetworkCloseEnum(enum) == 0
    of_node = capi.ClusterNodeOpenEnum(capi.OpenClusterNode(cluster, "node2"), 1)
    assert capi.ClusterNodeEnum(of_node, 1) == (0, 1, "node2 - eth1")
    of_both = capi.ClusterNetInterfaceOpenEnum(cluster, "node1", SAN)
    assert capi.ClusterNetInterfaceEnum(of_both, 0) == (0, "node1 - eth1")
    assert capi.ClusterNetInterfaceEnum(of_both, 1) == (259, "")
    assert capi.ClusterNetInterfaceCloseEnum(of_both) == 0


def test_networks_between_nodes_are_enumerated_in_order_of_preference(fresh: capi.ClusterHandle) -> None:
    internal = pack_property_list(PropertyList.of([("Role", D, 1)]))
    assert capi.ClusterNetworkControl(capi.OpenClusterNetwork(fresh, SAN), None, NET << 24 | SET, internal)[0] == 0
    enum = capi.ClusterOpenEnum(fresh, capi.CLUSTER_ENUM_INTERNAL_NETWORK)
    assert entries(enum) == [(0x80000000, SAN), (0x80000000, LAN)]


def test_the_states_are_computed_when_they_are_asked_for(world: FakeWorld, fresh: capi.ClusterHandle) -> None:
    say_reach(world, "1", links={"eth1": False})
    interface = capi.OpenClusterNetInterface(fresh, "node1 - eth1")
    assert capi.GetClusterNetInterfaceState(interface) == capi.ClusterNetInterfaceFailed
    san = capi.OpenClusterNetwork(fresh, SAN)
    assert capi.GetClusterNetworkState(san) == capi.ClusterNetworkPartitioned
    world.down.add(next(iter(world.nodes)))
    assert capi.GetClusterNetInterfaceState(interface) == capi.ClusterNetInterfaceUnavailable
    assert capi.GetClusterNetworkState(san) == capi.ClusterNetworkUp
    (_, shown) = fresh.call("GetStatus").objects("networks")
    assert (shown["state_name"], shown["subnets"]) == ("UP", ["10.1.0.0/24"])


# --- Control codes -------------------------------------------------------------------------------------------------


def test_codes_tell_names_ids_node_and_network(cluster: capi.ClusterHandle) -> None:
    assert parse_sz(control(cluster, capi.CLUSCTL_NETWORK_GET_NAME)[1]) == LAN
    assert parse_sz(control(cluster, capi.CLUSCTL_NETINTERFACE_GET_NAME)[1]) == ETH0
    assert len(parse_sz(control(cluster, capi.CLUSCTL_NETINTERFACE_GET_ID)[1])) == 36
    assert parse_sz(control(cluster, capi.CLUSCTL_NETINTERFACE_GET_NODE)[1]) == "node1"
    assert parse_sz(control(cluster, capi.CLUSCTL_NETINTERFACE_GET_NETWORK)[1]) == LAN
    assert control(cluster, capi.CLUSCTL_NETWORK_GET_FLAGS) == (0, bytes(4), 4)
    assert control(cluster, capi.CLUSCTL_NETINTERFACE_GET_CHARACTERISTICS) == (0, bytes(4), 4)
    for unknown in (0x05000000, 0x05000031, 0x0500008D, 0x06000000, 0x0600008D):
        assert control(cluster, unknown)[0] == 1
    handle = capi.OpenClusterNetwork(cluster, LAN)
    assert capi.ClusterNetworkControl(handle, None, capi.CLUSCTL_NETINTERFACE_GET_NAME)[0] == 1


def test_the_common_properties_of_a_network(cluster: capi.ClusterHandle) -> None:
    assert values(cluster, NET, GET_RO) == {
        "Address": "10.0.0.0",
        "AddressMask": "255.255.255.0",
        "IPv4Addresses": ("10.0.0.0",),
        "IPv4PrefixLengths": ("24",),
        "IPv6Addresses": (),
        "IPv6PrefixLengths": (),
    }
    assert values(cluster, NET, GET) == {
        "AdminExtensions": (),
        "AutoMetric": 1,
        "Description": "",
        "Metric": 70_240,
        "Name": LAN,
        "Role": 3,
    }


def test_the_common_properties_of_an_interface(cluster: capi.ClusterHandle) -> None:
    assert values(cluster, IF, GET_RO) == {
        "Adapter": "eth0",
        "AdapterId": "02:00:00:00:01:00",
        "Address": "10.0.0.1",
        "DhcpEnabled": 0,
        "IPv4Addresses": ("10.0.0.1",),
        "IPv6Addresses": (),
        "Name": ETH0,
        "Network": LAN,
        "Node": "node1",
    }
    assert values(cluster, IF, GET) == {"AdminExtensions": (), "Description": ""}
    assert put(cluster, IF, ("Description", SZ, "the left one")) == 0
    assert values(cluster, IF, GET)["Description"] == "the left one"
    assert (newest(cluster)["kind"], newest(cluster)["change"]) == ("netinterface.property", 0x8000000)


ROWS = [
    *((NET, row) for row in NETWORK_COMMON.definitions),
    *((IF, row) for row in NETWORK_INTERFACE_COMMON.definitions),
]


def test_every_property_has_a_format_and_the_read_only_ones_stay(cluster: capi.ClusterHandle) -> None:
    for kind, row in ROWS:
        assert parse_property_formats(control(cluster, kind << 24 | FORMATS)[1])[row.name] is row.format
        assert row.name in parse_multi_sz(control(cluster, kind << 24 | ENUM)[1])
        wrong: tuple[PropertyFormat, Value] = (D, 0) if row.format is not D else (SZ, "0")
        if row.read_only:
            assert put(cluster, kind, (row.name, row.format, row.default)) == 87, row.name
        else:
            assert put(cluster, kind, (row.name, *wrong)) == 13, row.name
            assert put(cluster, kind, (row.name, *wrong), code=VALIDATE) == 13, row.name


@pytest.mark.parametrize(("row", "number"), [("Role", 4), ("Metric", 0), ("Metric", 0x10000000), ("AutoMetric", 2)])
def test_numbers_out_of_range_are_refused(cluster: capi.ClusterHandle, row: str, number: int) -> None:
    before = values(cluster, NET, GET)
    assert put(cluster, NET, (row, D, number)) == 13
    assert values(cluster, NET, GET) == before


def test_a_metric_that_is_set_is_no_longer_chosen_by_the_cluster(fresh: capi.ClusterHandle) -> None:
    assert put(fresh, NET, ("Metric", D, 5)) == 0
    assert (values(fresh, NET, GET)["Metric"], values(fresh, NET, GET)["AutoMetric"]) == (5, 0)
    assert newest(fresh)["sentence"] == f'Metric of "{LAN}" was set'
    assert put(fresh, NET, ("AutoMetric", D, 1)) == 0
    assert (values(fresh, NET, GET)["Metric"], values(fresh, NET, GET)["AutoMetric"]) == (70_240, 1)
    assert put(fresh, NET, ("Metric", D, 9), ("AutoMetric", D, 0)) == 0
    assert put(fresh, NET, ("Metric", D, 7), ("AutoMetric", D, 1)) == 87


def test_the_last_network_between_the_nodes_keeps_its_role(fresh: capi.ClusterHandle) -> None:
    assert put(fresh, NET, ("Role", D, 0), ("Description", SZ, "x")) == 0
    san = capi.OpenClusterNetwork(fresh, SAN)
    data = pack_property_list(PropertyList.of([("Role", D, 2), ("Description", SZ, "y")]))
    before = newest(fresh)
    assert capi.ClusterNetworkControl(san, None, NET << 24 | SET, data)[0] == 5066
    assert newest(fresh) == before, "nothing is changed by a list of which one is refused"


def test_a_network_is_renamed(fresh: capi.ClusterHandle) -> None:
    network = capi.OpenClusterNetwork(fresh, LAN)
    assert capi.SetClusterNetworkName(network, "LAN") == 0
    assert newest(fresh)["sentence"] == f'network "{LAN}" is "LAN" now'
    assert capi.SetClusterNetworkName(network, SAN) == 5010
    assert capi.SetClusterNetworkName(network, " x") == 123
    assert capi.SetClusterNetworkName(network, "LAN") == 0
    assert parse_sz(capi.ClusterNetworkControl(network, None, capi.CLUSCTL_NETWORK_GET_NAME)[1]) == "LAN"
    named = pack_property_list(PropertyList.of([("Name", SZ, LAN), ("Description", SZ, "first")]))
    assert capi.ClusterNetworkControl(network, None, NET << 24 | SET, named)[0] == 0
    assert values(fresh, NET, GET)["Description"] == "first"
    assert values(fresh, IF, GET_RO)["Network"] == LAN


def test_a_reader_changes_nothing(cluster: capi.ClusterHandle) -> None:
    reading = capi.OpenClusterNetworkEx(cluster, LAN, capi.CLUSAPI_READ_ACCESS)
    assert capi.SetClusterNetworkName(reading, "x") == 5
    data = pack_property_list(PropertyList.of([("Role", D, 1)]))
    assert capi.ClusterNetworkControl(reading, None, NET << 24 | SET, data)[0] == 5
    assert capi.ClusterNetworkControl(reading, None, NET << 24 | GET)[0] == 0
    interface = capi.OpenClusterNetInterfaceEx(cluster, ETH0, capi.CLUSAPI_READ_ACCESS)
    assert capi.ClusterNetInterfaceControl(interface, None, IF << 24 | SET, data)[0] == 5
    for wrong in (reading, interface, None, "x"):
        assert capi.GetClusterNetworkId(wrong)[0] == (0 if wrong is reading else 6)
        assert capi.CloseClusterNetInterface(wrong) is (wrong is interface)


def test_private_properties_are_stored_and_never_checked(cluster: capi.ClusterHandle) -> None:
    for kind in (NET, IF):
        assert put(cluster, kind, ("Ours", D, 7), code=0x400086) == 0
        assert values(cluster, kind, 0x81) == {"Ours": 7}
    assert json_text(newest(cluster), "object_name") == ETH0


def test_the_table_says_what_the_pages_say() -> None:
    def limits(row: PropertyDefinition | None) -> tuple[Value, int, int | None]:
        assert row is not None
        return row.default, row.minimum, row.maximum

    assert limits(NETWORK_COMMON.find("Metric")) == (100, 1, 0x0FFFFFFF)
    assert limits(NETWORK_COMMON.find("Role")) == (3, 0, 3)
    assert limits(NETWORK_COMMON.find("AutoMetric")) == (1, 0, 1)
    assert limits(NETWORK_INTERFACE_COMMON.find("DhcpEnabled")) == (0, 0, 1)
