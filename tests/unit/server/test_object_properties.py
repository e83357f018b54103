"""Properties of groups, nodes and the cluster by their control codes: every row of the tables, and what is refused."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster

from quorate.client import functions as capi
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    Value,
    pack_property_list,
    parse_multi_sz,
    parse_property_formats,
    parse_property_list,
)
from quorate.database import keys
from quorate.database.snapshot import ClusterSnapshot
from quorate.hosting.property_table import PropertyDefinition, PropertyTable
from quorate.server.properties.cluster import CLUSTER_COMMON
from quorate.server.properties.group import GROUP_COMMON
from quorate.server.properties.node import NODE_COMMON

ENUM, GET_RO, GET, SET, VALIDATE, FORMATS = 0x51, 0x55, 0x59, 0x40005E, 0x61, 0x65
OF_PRIVATE = {ENUM: 0x79, GET_RO: 0x7D, GET: 0x81, SET: 0x400086, VALIDATE: 0x89, FORMATS: 0x8D}
TABLES = {ControlObject.GROUP: GROUP_COMMON, ControlObject.NODE: NODE_COMMON, ControlObject.CLUSTER: CLUSTER_COMMON}
KINDS = tuple(TABLES)
ROWS = [(kind, row) for kind, table in TABLES.items() for row in table.definitions]
COMPUTED: dict[str, Value] = {
    "Name": "web1",
    "GroupType": 111,
    "DefaultOwner": 1,
    "NodeName": "node1",
    "DynamicWeight": 1,
    "MajorVersion": 10,
    "BuildNumber": 14393,
    "NodeHighestVersion": 0xA3839,
    "NodeLowestVersion": 0xA3839,
    "ClusterFunctionalLevel": 10,
}
D, SZ = PropertyFormat.DWORD, PropertyFormat.SZ


@dataclass(frozen=True, slots=True)
class Lab:
    """A cluster of two nodes with the VM web1, and its objects as their functions see them."""

    world: FakeWorld
    cluster: capi.ClusterHandle

    def ask(
        self, kind: ControlObject, code: int, data: bytes | None = None, size: int = 65536
    ) -> tuple[int, bytes, int]:
        number = kind << 24 | code
        if kind is ControlObject.GROUP:
            return capi.ClusterGroupControl(capi.OpenClusterGroup(self.cluster, "web1"), None, number, data, size)
        if kind is ControlObject.NODE:
            return capi.ClusterNodeControl(capi.OpenClusterNode(self.cluster, "node1"), None, number, data, size)
        return capi.ClusterControl(self.cluster, None, number, data, size)

    def values(self, kind: ControlObject, code: int) -> dict[str, Value]:
        status, output, _ = self.ask(kind, code)
        assert status == 0
        return {item.name: item.value for item in parse_property_list(output)}

    def put(self, kind: ControlObject, code: int, *items: tuple[str, PropertyFormat, Value]) -> int:
        return self.ask(kind, code, pack_property_list(PropertyList.of(items)))[0]

    def events(self) -> tuple[JsonObject, ...]:
        return self.cluster.call("GetEvents", limit=1).objects("events")

    def snapshot(self) -> ClusterSnapshot:
        return asyncio.run(self.world.nodes[NodeId("1")].database.snapshot())


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    place = tmp_path_factory.mktemp("properties")
    with running_fake_cluster(place, 2) as world:
        cluster = capi.OpenCluster(str(place))
        cluster.call("CreateVirtualMachine", name="web1", definition={"memory": "64M"}, node="node1")
        yield Lab(world, cluster)


@dataclass(frozen=True, slots=True)
class Listed:
    """What an object lists, which no change of a value changes."""

    names: tuple[str, ...]
    formats: Mapping[str, PropertyFormat]
    kept: Mapping[int, frozenset[str]]
    """By the code that reads them, the names of those that can be written and of those that cannot."""


@pytest.fixture(scope="module")
def listed(lab: Lab) -> Mapping[ControlObject, Listed]:
    return {
        kind: Listed(
            tuple(parse_multi_sz(lab.ask(kind, ENUM)[1])),
            parse_property_formats(lab.ask(kind, FORMATS)[1]),
            {code: frozenset(lab.values(kind, code)) for code in (GET, GET_RO)},
        )
        for kind in KINDS
    }


def another(row: PropertyDefinition) -> Value:
    """A value that fits and is not the default."""
    if row.format is PropertyFormat.BINARY:
        return b"\0\xff"
    if row.format is PropertyFormat.MULTI_SZ:
        return ("a", "b c")
    if row.format is SZ:
        return next((choice for choice in row.choices if choice != row.default), "Überall")
    highest = limit(row) if row.maximum is None else row.maximum
    return row.minimum if row.default == highest else highest


def limit(row: PropertyDefinition) -> int:
    return (1 << (64 if row.format is PropertyFormat.ULARGE_INTEGER else 32)) - 1


def unfit(row: PropertyDefinition) -> list[int]:
    """Numbers of the right format that lie outside the limits."""
    if not isinstance(row.default, int):
        return []
    wrong = [row.minimum - 1, limit(row) if row.maximum is None else row.maximum + 1]
    return [n for n in wrong if 0 <= n <= limit(row) and not row.minimum <= n <= (row.maximum or limit(row))]


@pytest.mark.parametrize(("kind", "row"), ROWS, ids=[f"{kind.name.lower()}-{row.name}" for kind, row in ROWS])
def test_every_property(
    lab: Lab, listed: Mapping[ControlObject, Listed], kind: ControlObject, row: PropertyDefinition
) -> None:
    place, default = GET_RO if row.read_only else GET, COMPUTED.get(row.name, row.default)
    new = (row.name, row.format, another(row))
    assert lab.values(kind, place)[row.name] == default
    assert row.name not in listed[kind].kept[GET if row.read_only else GET_RO]
    assert listed[kind].formats[row.name] is row.format
    assert row.name in listed[kind].names
    if row.read_only:
        assert (lab.put(kind, VALIDATE, new), lab.put(kind, SET, new)) == (87, 87)
        assert lab.values(kind, GET_RO)[row.name] == default
        return
    other: tuple[PropertyFormat, Value] = (D, 0) if row.format is SZ else (SZ, "0")
    wrong = [(row.name, *other), *((row.name, row.format, number) for number in unfit(row))]
    before = lab.events()
    assert lab.put(kind, VALIDATE, new) == 0
    for item in wrong:
        assert (lab.put(kind, VALIDATE, item), lab.put(kind, SET, item)) == (13, 13), item
    assert lab.values(kind, GET)[row.name] == default
    assert lab.events() == before
    if row.name == "Name":
        return  # renames: below
    assert lab.put(kind, SET, (row.name.upper(), row.format, new[2])) == 0
    assert lab.values(kind, GET)[row.name] == new[2]
    (event,) = lab.events()
    assert (event["kind"], event["change"]) == (
        f"{kind.name.lower()}.property",
        {"GROUP": 0x8000, "NODE": 8, "CLUSTER": 0x40000000}[kind.name],
    )
    for number in sorted(row.also):
        assert lab.put(kind, SET, (row.name, row.format, number)) == 0
    assert lab.put(kind, SET, (row.name, row.format, default)) == 0
    assert lab.values(kind, GET)[row.name] == default


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_is_set_as_a_whole_or_not_at_all(lab: Lab, kind: ControlObject) -> None:
    before, event = lab.values(kind, GET), lab.events()
    good, read_only = ("Description", SZ, "x"), {3: "GroupType", 4: "NodeDrainStatus", 7: "FixQuorum"}[kind]
    assert lab.put(kind, SET, good, (read_only, D, 100)) == 87
    assert lab.put(kind, SET, good, ("NoSuchProperty", D, 1)) == 87
    assert lab.put(kind, SET, good, ("AdminExtensions", D, 1)) == 13
    assert (lab.values(kind, GET), lab.events()) == (before, event)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", [SET, VALIDATE, OF_PRIVATE[SET], OF_PRIVATE[VALIDATE]])
def test_malformed_input(lab: Lab, kind: ControlObject, code: int) -> None:
    event = lab.events()
    assert lab.ask(kind, code, None)[0] == 1783
    assert lab.ask(kind, code, b"")[0] == 87
    assert lab.ask(kind, code, b"\1\0\0\0")[0] == 87
    text = bytearray(pack_property_list(PropertyList.of([("Description", SZ, "ab")])))
    text[text.index(b"b\0\0\0") + 2] = 1  # the NUL at its end is gone
    assert lab.ask(kind, code, bytes(text))[0] == 13
    assert lab.ask(kind, code, bytes(4)) == (0, b"", 0), "nothing to set is set"
    assert lab.events() == event


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_does_not_fit_is_234(lab: Lab, kind: ControlObject) -> None:
    for code in (ENUM, GET_RO, GET, FORMATS):
        _, output, required = lab.ask(kind, code)
        assert required == len(output)
        assert lab.ask(kind, code, None, required - 1) == (234, b"", required)
        assert lab.ask(kind, code, None, required)[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_private_properties_are_stored_and_not_checked(lab: Lab, kind: ControlObject) -> None:
    def private(code: int) -> int:
        return OF_PRIVATE[code]

    assert lab.ask(kind, private(FORMATS))[0] == 1
    assert lab.values(kind, private(GET)) == lab.values(kind, private(GET_RO)) == {}
    items: list[tuple[str, PropertyFormat, Value]] = [
        ("Ours", D, 7),
        ("Priority", SZ, "not the common one"),
        ("Wide", PropertyFormat.ULARGE_INTEGER, 1 << 40),
        ("Many", PropertyFormat.MULTI_SZ, ("a", "b")),
        ("Raw", PropertyFormat.BINARY, b"\0"),
    ]
    assert lab.put(kind, private(VALIDATE), *items) == 0
    assert lab.values(kind, private(GET)) == {}
    assert lab.put(kind, private(SET), *items) == 0
    assert lab.values(kind, private(GET)) == {name: value for name, _, value in items}
    assert sorted(parse_multi_sz(lab.ask(kind, private(ENUM))[1])) == sorted(name for name, _, _ in items)
    assert lab.events()[0]["kind"] == f"{kind.name.lower()}.property"
    assert lab.put(kind, private(SET), ("OURS", SZ, "8")) == 0
    assert lab.values(kind, private(GET))["Ours"] == "8"
    signed = ("Signed", PropertyFormat.LONG, -1)
    assert (lab.put(kind, private(VALIDATE), signed), lab.put(kind, private(SET), signed)) == (13, 13)
    assert "Ours" not in lab.values(kind, GET)


def test_read_access_reads_and_validates_only(lab: Lab) -> None:
    reader = capi.OpenClusterEx(str(lab.world.directory), capi.CLUSAPI_READ_ACCESS)
    data = pack_property_list(PropertyList.of([("Priority", D, 1)]))
    group = capi.OpenClusterGroup(reader, "web1")
    codes = (capi.CLUSCTL_GROUP_SET_COMMON_PROPERTIES, capi.CLUSCTL_GROUP_SET_PRIVATE_PROPERTIES)
    assert [capi.ClusterGroupControl(group, None, code, data)[0] for code in codes] == [5, 5]
    assert capi.ClusterGroupControl(group, None, capi.CLUSCTL_GROUP_VALIDATE_COMMON_PROPERTIES, data)[0] == 0


def test_what_nobody_knows_is_1(lab: Lab) -> None:
    other = capi.CLUSCTL_NODE_SET_COMMON_PROPERTIES
    assert capi.ClusterGroupControl(capi.OpenClusterGroup(lab.cluster, "web1"), None, other, bytes(4))[0] == 1
    for kind in KINDS:
        assert lab.ask(kind, 0x3FFFC)[0] == 1
        assert lab.ask(kind, capi.CLUSCTL_RESOURCE_DELETE & 0xFFFFFF)[0] == 1  # internal


def test_a_changed_name_renames(lab: Lab) -> None:
    group = capi.OpenClusterGroup(lab.cluster, "web1")

    def rename(name: str, code: int = SET, *more: tuple[str, PropertyFormat, Value]) -> int:
        data = pack_property_list(PropertyList.of([("Name", SZ, name), *more]))
        return capi.ClusterGroupControl(group, None, 3 << 24 | code, data)[0]

    before = lab.events()
    assert [rename(""), rename(" x"), rename("a\nb"), rename("", VALIDATE)] == [123] * 4
    assert rename("Cluster Group", SET, ("Description", SZ, "never")) == 5010
    assert rename("web1") == 0
    assert lab.events() == before
    assert rename("web9", SET, ("Description", SZ, "renamed"), ("Priority", D, 1000)) == 0
    info = lab.snapshot().group("WEB9")
    assert (info.properties.text("Description"), info.properties.number("Priority")) == ("renamed", 1000)
    assert lab.snapshot().find_group("web1") is None
    assert rename("WEB9") == 0
    assert lab.snapshot().group("web9").name == "WEB9"
    assert rename("web1", SET, ("Description", SZ, ""), ("Priority", D, 2000)) == 0


def test_what_the_owner_keeps_is_written_with_the_rest(lab: Lab) -> None:
    def run() -> tuple[bool, str | None]:
        snapshot = lab.snapshot()
        state = snapshot.run[snapshot.group("web1").id].value
        return state.persistent_state, state.default_owner

    kind = ControlObject.GROUP
    assert lab.put(kind, SET, ("PersistentState", D, 1), ("DefaultOwner", D, 2), ("Priority", D, 3000)) == 0
    assert run() == (True, "2")
    assert lab.snapshot().group("web1").properties.number("Priority") == 3000
    assert lab.put(kind, SET, ("PersistentState", D, 0), ("DefaultOwner", D, 0xFFFFFFFF)) == 0
    assert run() == (False, None)
    assert lab.put(kind, SET, ("DefaultOwner", D, 1), ("Priority", D, 2000)) == 0


def test_an_event_says_what_was_and_what_is(lab: Lab) -> None:
    def change(locked: int, *classes: str) -> int:
        names = ("AntiAffinityClassNames", PropertyFormat.MULTI_SZ, classes)
        return lab.put(ControlObject.GROUP, SET, ("LockedFromMoving", D, locked), names)

    assert change(1, "a") == 0
    (event,) = lab.events()
    assert event["object_name"] == "web1"
    assert event["before"] == {"LockedFromMoving": 0, "AntiAffinityClassNames": []}
    assert event["after"] == {"LockedFromMoving": 1, "AntiAffinityClassNames": ["a"]}
    assert event["sentence"] == 'LockedFromMoving and AntiAffinityClassNames of "web1" were set'
    assert change(0) == 0


def test_leases_that_are_too_short_for_etcd_are_refused_before_anything_is_stored(lab: Lab) -> None:
    kind, before = ControlObject.CLUSTER, lab.events()
    node = lab.world.nodes[NodeId("1")]
    delay, least = ("SameSubnetDelay", D, 400), ("SameSubnetThreshold", D, 3)
    node.shortest_lease = 3.0
    try:
        for code in (SET, VALIDATE):
            assert [lab.put(kind, code, delay), lab.put(kind, code, ("SameSubnetDelay", D, 600), least)] == [87, 87]
        refused = lab.cluster.call("ClusterControl", control_code=kind << 24 | SET, in_buffer=packed(delay))
        assert "a lease of 2 s (SameSubnetDelay times SameSubnetThreshold) is too short" in refused.text("sentence")
        assert lab.events() == before
        assert lab.put(kind, VALIDATE, ("SameSubnetDelay", D, 600)) == 0  # 3 s
        assert lab.put(kind, VALIDATE, ("Description", SZ, "of something else")) == 0
    finally:
        node.shortest_lease = 0.0
    assert lab.put(kind, VALIDATE, delay) == 0


def packed(*items: tuple[str, PropertyFormat, Value]) -> bytes:
    return pack_property_list(PropertyList.of(items))


def test_private_properties_go_with_their_group(lab: Lab) -> None:
    group = capi.CreateClusterGroup(lab.cluster, "spare")
    data = pack_property_list(PropertyList.of([("Ours", D, 1)]))
    assert capi.ClusterGroupControl(group, None, capi.CLUSCTL_GROUP_SET_PRIVATE_PROPERTIES, data)[0] == 0
    path = keys.group_path(lab.snapshot().group("spare").id)

    def left() -> int:
        store = lab.world.nodes[NodeId("1")].database.store
        return len(asyncio.run(store.range(keys.registry_key(path))).records)

    assert left() == 2
    assert capi.DeleteClusterGroup(group) == 0
    assert left() == 0


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: "")
def test_defaults_fit_their_own_limits(table: PropertyTable) -> None:
    for row in table.definitions:
        if isinstance(row.default, int):
            highest = limit(row) if row.maximum is None else row.maximum
            assert row.minimum <= row.default <= highest or row.default in row.also or row.read_only, row.name
