"""What an older version did not make comes into its database by itself."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from quorate.clusapi.errors import CallerError
from quorate.clusapi.resource_types import STANDARD_TYPES
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Delete, Write
from quorate.database.memory import MemoryData, MemoryStore
from quorate.database.registry import plan_values
from quorate.database.values import KeyRecord, RegistryValue


def in_old_cluster(body: Callable[[ClusterDatabase, MemoryData], Awaitable[None]]) -> None:
    """A cluster as an older version made it: three types without a DllName, no set, nothing in the core group."""

    async def main() -> None:
        data = MemoryData()
        store = MemoryStore(data)
        database = ClusterDatabase(store)
        await database.create_cluster("demo")
        await database.add_node("node1")
        snapshot = await database.snapshot()
        name = snapshot.resource("Cluster Name")
        gone = [keys.resource_path(name.id), keys.parameters_path(name.id), keys.GROUP_SETS]
        old = ("Virtual Machine", "Virtual Machine Configuration", "Generic Script")
        for type_ in STANDARD_TYPES.keys() - {*old}:
            gone += [keys.resource_type_path(type_), keys.below(keys.resource_type_path(type_))]
        writes: list[Write] = [Delete(keys.registry_key(path)) for path in gone]
        writes.append(Delete(keys.name_index("resource", name.name)))
        for path, values in (
            (keys.CLUSTER, {"ClusterNameResource": None}),
            (keys.group_path(name.group_id), {"Contains": None}),
            (keys.resource_type_path("Virtual Machine"), {"DllName": None}),
        ):
            writes.append(plan_values(path, await store.get(keys.registry_key(path)), values, None)[1])
        assert (await store.transact([], writes)).succeeded
        await body(ClusterDatabase(store), data)

    asyncio.run(main())


def test_everything_that_is_missing_is_added_once() -> None:
    async def body(database: ClusterDatabase, data: MemoryData) -> None:
        assert (await database.snapshot()).cluster.name_resource is None
        assert await database.add_standard_objects()
        snapshot = await database.snapshot()
        name = snapshot.resource("Cluster Name")
        assert snapshot.cluster.name_resource == name.id
        assert snapshot.groups[name.group_id].resources == (name.id,)
        assert name.parameters.text("Name") == "demo"
        assert {*snapshot.resource_types} == {*STANDARD_TYPES}
        assert snapshot.resource_type("Virtual Machine").properties.text("DllName") == "vmclusres.dll"
        assert snapshot.resource_type("Virtual Machine").properties.number("IsAlivePollInterval") == 60_000
        assert not await database.add_standard_objects()

    in_old_cluster(body)


def test_nodes_that_start_at_once_add_it_once() -> None:
    async def body(database: ClusterDatabase, data: MemoryData) -> None:
        nodes = [ClusterDatabase(MemoryStore(data)) for _ in range(3)]
        await asyncio.gather(*(node.add_standard_objects() for node in nodes))
        snapshot = await database.snapshot()
        assert [info.name for info in snapshot.resources.values()] == ["Cluster Name"]

    in_old_cluster(body)


def test_a_name_that_somebody_took_is_told_and_nothing_changes() -> None:
    async def body(database: ClusterDatabase, data: MemoryData) -> None:
        node = (await database.snapshot()).node("node1")
        group = await database.create_group("g", 9999, node.id)
        await database.create_resource("Cluster Name", "Virtual Machine", group)
        before = data.revision
        with pytest.raises(CallerError) as caught:
            await database.add_standard_objects()
        assert caught.value.status == 5010
        assert data.revision == before

    in_old_cluster(body)


def test_values_that_a_newer_version_added_survive() -> None:
    async def body(database: ClusterDatabase, data: MemoryData) -> None:
        await database.set_values(keys.CLUSTER, {"Newer": RegistryValue.sz("x")})
        await database.add_standard_objects()
        record = await MemoryStore(data).get(keys.registry_key(keys.CLUSTER))
        assert record is not None
        assert KeyRecord.decode(record.value).values.text("Newer") == "x"

    in_old_cluster(body)
