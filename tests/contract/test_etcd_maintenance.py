"""What the store's maintenance does on every engine, and that an etcd that is compacted stays small."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing, closing
from pathlib import Path

import pytest
from tests.contract.etcd_cluster import EtcdCluster, Place
from tests.waiting import PATIENCE

from quorate.database.contract import Compacted, Delete, Put, Store, StoreUnavailable
from quorate.database.etcd.maintenance import EtcdMaintenance
from quorate.database.etcd.store import EtcdStore
from quorate.database.maintenance import StoreMaintenance, StoreStatus
from quorate.database.memory import MemoryMaintenance, MemoryStore
from quorate.database.sqlite import SqliteStore
from quorate.database.sqlite_maintenance import SqliteMaintenance

Opened = tuple[Store, StoreMaintenance]


def memory(_: pytest.FixtureRequest) -> Opened:
    store = MemoryStore()
    return store, MemoryMaintenance(store.data)


def sqlite(request: pytest.FixtureRequest) -> Opened:
    path: Path = request.getfixturevalue("tmp_path") / "database.sqlite"
    return SqliteStore(path), SqliteMaintenance(path)


def etcd_(request: pytest.FixtureRequest) -> Opened:
    cluster: EtcdCluster = request.getfixturevalue("etcd")
    store = EtcdStore(cluster.settings(cluster.new_prefix()))
    return store, EtcdMaintenance(store)


def on_every_engine(
    test: Callable[[Store, StoreMaintenance], Coroutine[None, None, None]],
) -> Callable[[pytest.FixtureRequest, Callable[[pytest.FixtureRequest], Opened]], None]:
    @pytest.mark.parametrize("engine", [memory, sqlite, etcd_])
    def run(request: pytest.FixtureRequest, engine: Callable[[pytest.FixtureRequest], Opened]) -> None:
        async def body() -> None:
            store, maintenance = engine(request)
            try:
                async with asyncio.timeout(PATIENCE):
                    await test(store, maintenance)
            finally:
                await store.close()

        asyncio.run(body())

    run.__name__ = test.__name__
    return run


@on_every_engine
async def test_compacting_forgets_changes_and_keeps_what_stands(store: Store, maintenance: StoreMaintenance) -> None:
    for number in range(20):
        await store.transact([], [Put(f"k{number % 3}", str(number).encode())])
    before = (await store.range("")).records
    await maintenance.compact(15)
    await maintenance.compact(10)  # forgotten already
    assert (await store.range("")).records == before
    for after in (0, 14):
        async with aclosing(store.watch("", after)) as batches:
            with pytest.raises(Compacted):
                await anext(batches)
    async with aclosing(store.watch("", 15)) as batches:
        assert [(await anext(batches))[0].revision for _ in range(5)] == [16, 17, 18, 19, 20]


@on_every_engine
async def test_compacting_keeps_the_deletion_that_comes_right_after(
    store: Store, maintenance: StoreMaintenance
) -> None:
    await store.transact([], [Put("a", b"1")])
    await store.transact([], [Delete("a")])
    await store.transact([], [Put("b", b"1")])
    await maintenance.compact(1)
    async with aclosing(store.watch("", 1)) as batches:
        assert [(await anext(batches))[0].key for _ in range(2)] == ["a", "b"]
    await maintenance.compact(2)
    async with aclosing(store.watch("", 1)) as batches:
        with pytest.raises(Compacted):
            await anext(batches)
    async with aclosing(store.watch("", 2)) as batches:
        assert (await anext(batches))[0].key == "b"


@on_every_engine
async def test_a_revision_that_is_still_to_come_is_not_compacted(store: Store, maintenance: StoreMaintenance) -> None:
    await store.transact([], [Put("a", b"1")])
    await maintenance.compact(0)
    with pytest.raises(ValueError, match="still to come"):
        await maintenance.compact(5)


@on_every_engine
async def test_the_status_tells_revision_and_sizes(store: Store, maintenance: StoreMaintenance) -> None:
    await store.transact([], [Put("a", b"x" * 100_000)])
    status = await maintenance.status()
    assert status.revision == 1
    assert status.in_use_bytes >= 100_000
    assert status.size_bytes >= status.in_use_bytes
    assert status.alarms == ()
    await maintenance.defragment()
    assert (await store.range("")).revision == 1


def test_a_sqlite_file_shrinks_when_it_is_defragmented(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "database.sqlite"
        store, maintenance = SqliteStore(path), SqliteMaintenance(path)
        for _ in range(10):
            await store.transact([], [Put("a", bytes(500_000))])
        grown = await maintenance.status()
        await maintenance.compact(grown.revision)
        compacted = await maintenance.status()
        await maintenance.defragment()
        small = await maintenance.status()
        await store.close()
        assert compacted.in_use_bytes < grown.in_use_bytes / 4
        assert small.size_bytes < grown.size_bytes / 4
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM changes").fetchone() == (0,)

    asyncio.run(scenario())


def test_members_are_told_healthy_or_not(etcd: EtcdCluster) -> None:
    async def scenario() -> None:
        store = EtcdStore(etcd.settings(etcd.new_prefix()))
        maintenance = EtcdMaintenance(store)
        well = await maintenance.status()
        assert [member.name for member in well.members] == ["etcd1", "etcd2", "etcd3"]
        assert [member.address for member in well.members] == list(etcd.endpoints)
        assert all(member.is_healthy for member in well.members)
        assert sum(member.is_leader for member in well.members) == 1
        assert well.quota_bytes == 2 << 30  # etcd's default
        frozen = next(member for member in etcd.members if member is not etcd.leader())
        frozen.freeze()
        try:
            sick = await maintenance.status()
        finally:
            frozen.thaw()
        assert [member.is_healthy for member in sick.members] == [member is not frozen for member in etcd.members]
        assert "no answer in time" in {member.sentence for member in sick.members}
        await store.close()

    asyncio.run(scenario())


# --- Many revisions ------------------------------------------------------------------------------------------------

SOAK = os.environ.get("QUORATE_SOAK") == "1"
REVISIONS = 100_000 if SOAK else 10_000
KEEP = 2_000
CONCURRENCY = 64
VALUE = bytes(1000)


@pytest.mark.soak
def test_an_etcd_that_is_compacted_stays_small(tmp_path: Path) -> None:
    """With a quota far below what all revisions take: without compaction it raises its alarm and refuses writes."""
    quota = 32 << 20 if SOAK else 8 << 20
    options = [f"--quota-backend-bytes={quota}", "--snapshot-count=5000"]
    with EtcdCluster(tmp_path, [Place()], options=options) as cluster:
        sizes = asyncio.run(_write_and_compact(cluster, quota))
    written = REVISIONS * len(VALUE)
    print(f"{REVISIONS} revisions, {written >> 20} MiB of values; size at most {max(sizes) / (1 << 20):.1f} MiB")
    assert written > quota
    assert max(sizes) < quota


async def _write_and_compact(cluster: EtcdCluster, quota: int) -> list[int]:
    store = EtcdStore(cluster.settings())
    maintenance = EtcdMaintenance(store)
    began = time.monotonic()
    sizes = []
    try:
        for begin in range(0, REVISIONS, KEEP):

            async def write(number: int, count: int = KEEP // CONCURRENCY + 1) -> None:
                for _ in range(count):
                    await store.transact([], [Put(f"w/{number}", VALUE)])

            await asyncio.gather(*(write(number) for number in range(CONCURRENCY)))
            status: StoreStatus = await maintenance.status()
            assert status.quota_bytes == quota
            assert status.alarms == ()
            assert status.revision > begin
            sizes.append(status.size_bytes)
            await maintenance.compact(status.revision - 100)
        status = await maintenance.status()
        assert status.revision >= REVISIONS
        assert len((await store.range("w/")).records) == CONCURRENCY
        print(f"{status.revision / (time.monotonic() - began):.0f} transactions a second")
    finally:
        await store.close()
    return sizes


def test_an_etcd_that_runs_full_says_so_and_what_helps(tmp_path: Path) -> None:
    async def scenario(cluster: EtcdCluster) -> None:
        store = EtcdStore(cluster.settings())
        maintenance = EtcdMaintenance(store)
        try:
            with pytest.raises(StoreUnavailable, match="reached its quota"):
                while True:  # etcd looks at its size ten times a second
                    await store.transact([], [Put("a", bytes(100_000))])
            (alarm,) = (await maintenance.status()).alarms
            assert "member etcd1" in alarm and "alarm disarm" in alarm
            assert (await store.get("a")) is not None
        finally:
            await store.close()

    with EtcdCluster(tmp_path, [Place()], options=["--quota-backend-bytes=4194304"]) as cluster:
        asyncio.run(asyncio.wait_for(scenario(cluster), 60))
