"""Who looks after the database, what a node says of itself, and which storages every node sees."""

import asyncio
from pathlib import Path

import pytest

from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import NodeId
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Put
from quorate.database.coordination import coordinating_node
from quorate.database.failover_records import CoordinatorRecord
from quorate.database.memory import MemoryData, MemoryStore
from quorate.database.records import Lease
from quorate.database.sqlite_maintenance import SqliteMaintenance
from quorate.service.configuration import read_configuration
from quorate.service.inspection import Inspection

ONE, TWO = NodeId("1"), NodeId("2")
CONFIGURATION = """
node = "1"
database = "cluster.sqlite"
state = "state"
saved = "saved"
runtime = "/run/q"
storage_roots = ["/srv"]
{more}
[storages]
fast = "/srv/fast"
own = "own"
"""


def test_the_role_is_of_a_lease_that_goes_on() -> None:
    async def body() -> None:
        store = MemoryStore(MemoryData())
        database = ClusterDatabase(store)
        await database.create_cluster("lab")
        for name in ("node1", "node2"):
            await database.add_node(name)

        async def lease(incarnation: str, *, ended: bool = False) -> None:
            record = Lease(incarnation, 1, 5.0, ended=ended)
            await store.transact([], [Put(keys.lease(ONE), record.encode())])

        assert coordinating_node(await database.snapshot()) is None
        await store.transact([], [Put(keys.COORDINATOR, CoordinatorRecord(ONE, "a").encode())])
        assert coordinating_node(await database.snapshot()) is None, "it has no lease"
        await lease("a")
        snapshot = await database.snapshot()
        assert coordinating_node(snapshot) == ONE
        await lease("b")
        assert coordinating_node(await database.snapshot()) is None, "the role was of another life"
        await lease("a", ended=True)
        assert coordinating_node(await database.snapshot()) is None

    asyncio.run(body())


def written(directory: Path, more: str) -> Path:
    path = directory / "node.toml"
    path.write_text(CONFIGURATION.format(more=more))
    return path


def test_a_node_says_which_of_its_storages_every_node_sees(tmp_path: Path) -> None:
    configuration = read_configuration(written(tmp_path, 'shared_storages = ["fast"]'))
    inspection = Inspection(configuration, SqliteMaintenance(tmp_path / "cluster.sqlite"), lambda: True)
    health = inspection.health()
    assert [(one.name, one.path, one.shared) for one in health.storages] == [
        ("fast", "/srv/fast", True),
        ("own", str(tmp_path / "own"), False),
    ]
    assert (health.guard, health.certificate_expires, inspection.picture()) == (True, None, None)


@pytest.mark.parametrize("more", ['shared_storages = ["slow"]', 'shared_storages = "fast"'])
def test_a_storage_that_is_not_there_cannot_be_shared(tmp_path: Path, more: str) -> None:
    with pytest.raises(CallerError) as caught:
        read_configuration(written(tmp_path, more))
    assert caught.value.status == 87
    assert "shared_storages" in caught.value.sentence
