import asyncio

import pytest

from quorate.clusapi.errors import CallerError
from quorate.clusapi.property_lists import PropertyFormat, PropertyValue, Value
from quorate.clusapi.states import GroupType
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.memory import MemoryStore
from quorate.hosting.contract import PropertyScope, ResourceProperties, TypeProperties
from quorate.hosting.registry_properties import RegistryProperties

VALUES: dict[PropertyFormat, Value] = {
    PropertyFormat.DWORD: 0xFFFFFFFF,
    PropertyFormat.SZ: "a",
    PropertyFormat.EXPAND_SZ: "%a%",
    PropertyFormat.MULTI_SZ: ("a", "b"),
    PropertyFormat.ULARGE_INTEGER: 1 << 63,
    PropertyFormat.BINARY: b"\0\1",
}


def test_properties_are_kept_in_the_cluster_database() -> None:
    async def main() -> None:
        store = MemoryStore()
        database = ClusterDatabase(store)
        await database.create_cluster("c")
        node = await database.add_node("node1")
        group = await database.create_group("g", GroupType.GENERIC_SCRIPT, node)
        resource = await database.create_resource("r", "Generic Script", group)
        properties = RegistryProperties(database)
        private = ResourceProperties(resource, PropertyScope.PRIVATE)
        wanted = {format_.name: PropertyValue.of(format_, value) for format_, value in VALUES.items()}
        await properties.write(private, wanted)
        assert await properties.read(private) == wanted
        await properties.write(private, {"SZ": None})
        assert "SZ" not in await properties.read(private)
        with pytest.raises(CallerError) as refused:
            await properties.write(private, {"L": PropertyValue.of(PropertyFormat.LONG, -1)})
        assert refused.value.status == Status.ERROR_INVALID_DATA
        common = ResourceProperties(resource, PropertyScope.COMMON)
        name = PropertyValue.of(PropertyFormat.SZ, "other")
        await properties.write(common, {"name": name, "Description": name})
        assert (await database.snapshot()).resource("other").properties.text("Description") == "other"
        of_type = TypeProperties("Generic Script", PropertyScope.PRIVATE)
        assert await properties.read(of_type) == {}
        await properties.write(of_type, {"P": name})
        assert await properties.read(of_type) == {"P": name}
        await store.close()

    asyncio.run(main())
