"""The sqlite engine within one process; the contract suite has the rest."""

import asyncio
import shutil
import socket
import sqlite3
import stat
import threading
import time
from contextlib import aclosing, closing
from pathlib import Path

import pytest
from tests.waiting import PATIENCE

from quorate.clusapi.errors import FaultError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import ImageId, NodeId
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Compare, Put, StoreUnavailable
from quorate.database.records import Lease, Ownership, VmRunState
from quorate.database.sqlite import SqliteBlockingStore, SqliteStore
from quorate.database.sqlite_file import PRUNE_EVERY, SCHEMA, CommitSight, SqliteFile
from quorate.database.values import RegistryValue

DATA = Path(__file__).parents[2] / "data"


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "cluster" / "database.sqlite"

    async def body() -> None:
        store = SqliteStore(path)
        await store.transact([], [Put("a", b"")])
        async with aclosing(store.watch("", 0)) as changes:
            await anext(changes)
            while not list(path.with_name("database.sqlite.signals").iterdir()):  # noqa: ASYNC110 - of the file system
                await asyncio.sleep(0.001)
            modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
        await store.close()
        assert modes == {
            "database.sqlite": 0o600,
            "database.sqlite-wal": 0o600,
            "database.sqlite-shm": 0o600,
            "database.sqlite.signals": 0o700,
        }

    asyncio.run(body())
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not list(path.with_name("database.sqlite.signals").iterdir()), "a socket was left behind"


def test_a_commit_of_anybody_else_is_seen_at_once(tmp_path: Path) -> None:
    path = tmp_path / "database.sqlite"
    sight, blocking = CommitSight(path), SqliteBlockingStore(path)
    assert sight.look() is None, "not open yet"
    sight.open()
    before = sight.look()
    assert before is not None and sight.look() == before
    assert not blocking.transact([Compare("a", 7)], [Put("a", b"")]).succeeded
    assert sight.look() == before, "nothing was committed"
    blocking.transact([], [Put("a", b"")])
    assert sight.look() != before
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    seen = sight.look()
    blocking.transact([], [Put("a", b"b")])
    assert sight.look() != seen, "seen in a log that begins anew, too"
    sight.close()
    blocking.close()


def test_the_revision_is_known_without_the_reader_while_nobody_commits(tmp_path: Path) -> None:
    async def body() -> None:
        store, release = SqliteStore(tmp_path / "database.sqlite"), threading.Event()
        revision = (await store.transact([], [Put("a", b"")])).revision
        assert (await store.range()).revision == revision
        busy = asyncio.create_task(store._run(store._reader, release.wait))
        await asyncio.sleep(0)
        assert (await store.range()).revision == revision and not busy.done()
        await store.transact([], [Put("a", b"b")])
        question = asyncio.create_task(store.range())
        await asyncio.sleep(0)
        assert not question.done(), "now the reader has to say it"
        release.set()
        assert (await question).revision == revision + 1
        await busy
        await store.close()

    asyncio.run(body())


@pytest.mark.parametrize("chosen", [False, True], ids=["beside the file", "chosen"])
def test_watches_work_however_long_the_path_is(tmp_path: Path, chosen: bool) -> None:
    deep = tmp_path.joinpath(*["d" * 60] * 3)
    deep.mkdir(parents=True)
    signals = tmp_path / "s" if chosen else None

    async def body() -> None:
        store = SqliteStore(deep / "database.sqlite", signals, poll=None)
        blocking = SqliteBlockingStore(deep / "database.sqlite", signals)
        async with asyncio.timeout(PATIENCE), aclosing(store.watch("", 0)) as changes:
            for number in range(3):
                blocking.transact([], [Put("a", str(number).encode())])
                assert (await anext(changes))[0].revision == number + 1
        blocking.close()
        await store.close()

    asyncio.run(body())
    assert (tmp_path / "s").exists() == chosen


def test_the_slow_poll_finds_what_no_datagram_told(tmp_path: Path) -> None:
    async def body() -> None:
        store = SqliteStore(tmp_path / "d.sqlite", poll=0.05)
        silent = SqliteFile(tmp_path / "d.sqlite", 1.0)  # writes without telling anybody
        async with asyncio.timeout(PATIENCE), aclosing(store.watch("", 0)) as changes:
            for number in range(3):
                silent.transact([], [Put("a", str(number).encode())])
                assert (await anext(changes))[0].revision == number + 1
        silent.close()
        await store.close()

    asyncio.run(body())


def test_sockets_of_the_dead_are_removed_and_other_files_are_left_alone(tmp_path: Path) -> None:
    signals = tmp_path / "signals"
    signals.mkdir(mode=0o700)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as dead:
        dead.bind(str(signals / "999999-dead.signal"))
    (signals / "notes.txt").write_text("not a socket")
    store = SqliteBlockingStore(tmp_path / "d.sqlite", signals)
    store.transact([], [Put("a", b"")])
    store.close()
    assert [entry.name for entry in signals.iterdir()] == ["notes.txt"]


def test_a_directory_of_sockets_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    signals = tmp_path / "signals"
    signals.mkdir(mode=0o755)

    async def body() -> None:
        store = SqliteStore(tmp_path / "d.sqlite", signals)
        await store.transact([], [Put("a", b"")])
        with pytest.raises(StoreUnavailable, match="0700"):
            async for _ in store.watch("", 1):
                pass
        await store.close()

    asyncio.run(body())


def test_another_writers_transaction_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"

    async def body() -> None:
        store = SqliteStore(path, busy_wait=0.2)
        await store.transact([], [Put("a", b"1")])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.005)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable, match="locked"):
                await store.transact([], [Put("a", b"2")])
            assert time.monotonic() - begun > 0.15
            assert ticks > 1, "the loop was blocked"
            assert await store.get("a") is not None, "readers do not wait for writers"
            ticking.cancel()
            other.execute("ROLLBACK")
        assert (await store.transact([], [Put("a", b"3")])).succeeded
        await store.close()

    asyncio.run(body())


def test_a_call_without_an_answer_ends_in_time(tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"

    async def body() -> None:
        store = SqliteStore(path, busy_wait=PATIENCE, answer_wait=PATIENCE)
        await store.transact([], [Put("a", b"1")])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            store._answer_wait = 0.1
            with pytest.raises(StoreUnavailable, match="no answer within"):
                await store.transact([], [Put("a", b"landed after all")])
            store._answer_wait = PATIENCE
            other.execute("ROLLBACK")
        record = await store.get("a")
        while record is not None and record.value == b"1":  # what was not answered may still land (rule R1)
            await asyncio.sleep(0.01)
            record = await store.get("a")
        await store.close()

    asyncio.run(asyncio.wait_for(body(), PATIENCE))


def test_old_changes_are_pruned(tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"
    file = SqliteFile(path, 1.0, keep=20)
    for number in range(PRUNE_EVERY + 5):
        file.transact([], [Put("a", str(number).encode())])
    file.close()
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM changes").fetchone()
    assert count == 25


def test_a_file_of_another_program_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    before = path.read_bytes()
    with pytest.raises(FaultError, match="not a cluster database") as caught:
        SqliteBlockingStore(path).get("a")
    assert caught.value.status == Status.ERROR_NOT_REGISTRY_FILE
    assert path.read_bytes() == before
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        SqliteBlockingStore(path).get("a")


def test_a_newer_schema_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"
    SqliteBlockingStore(path).get("a")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (SCHEMA + 1,))
        connection.commit()

    async def body() -> None:
        store = SqliteStore(path)
        with pytest.raises(FaultError, match="upgrade") as caught:
            await store.open()
        assert not isinstance(caught.value, StoreUnavailable)
        with pytest.raises(FaultError, match="upgrade"):
            await store.transact([], [Put("a", b"")])
        await store.close()

    asyncio.run(body())


def test_a_cluster_of_a_newer_layout_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        store = SqliteStore(tmp_path / "d.sqlite")
        await store.transact([], [Put(keys.SCHEMA, b'{"version":2}')])
        with pytest.raises(FaultError, match="upgrade"):
            await ClusterDatabase(store).snapshot()
        await store.close()

    asyncio.run(body())


def test_the_database_of_version_1_is_understood_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "database.sqlite"
    shutil.copy(DATA / "database-v1.sqlite", path)

    async def body() -> None:
        store = SqliteStore(path)
        database = ClusterDatabase(store)
        snapshot = await database.snapshot()
        assert snapshot.cluster.name == "demo"
        assert snapshot.cluster.properties.number("SameSubnetDelay") == 1000
        assert [(node.id, node.name) for node in snapshot.nodes.values()] == [("1", "node1"), ("2", "Node2")]
        group = snapshot.group("WEB1")
        assert (group.group_type, group.preferred_owners) == (111, ("2", "1"))
        expected = Ownership(NodeId("2"), 2, ImageId("image-2"), ImageId("image-1"), NodeId("1"))
        assert snapshot.ownership[group.id].value == expected
        run = snapshot.run[group.id].value
        assert run.vm == VmRunState(32769, 5, 0x80004005, ImageId("image-3"), "/saved/web1", "it failed once")
        assert (run.persistent_state, run.default_owner, run.status_information) == (True, "2", 4)
        vm, configuration = snapshot.vm_resource(group.id), snapshot.vm_configuration(group.id)
        assert vm is not None
        assert configuration is not None
        assert run.resource_states == {vm.id: 2, configuration.id: 2}
        assert vm.dependencies == (configuration.id,)
        assert configuration.parameters.text("Definition") == '{"version":1}'
        assert vm.vm_id == configuration.vm_id
        assert vm.parameters["OfflineAction"] == RegistryValue.dword(0xFFFFFFFF)
        assert vm.parameters["Wide"] == RegistryValue.qword(0xFFFFFFFFFFFFFFFF)
        assert vm.parameters["Text"] == RegistryValue.sz("grüße")
        assert vm.parameters["Path"] == RegistryValue.expand_sz("%HOME%")
        assert vm.parameters["List"] == RegistryValue.multi_sz("one", "two")
        assert vm.parameters["Bytes"] == RegistryValue.binary(b"\0\1\2\xff")
        assert snapshot.leases[NodeId("1")].value == Lease("incarnation-1", 42, 5.0)
        facts = snapshot.facts[NodeId("1")].value
        assert (facts.pid, facts.hypervisor) == (4711, {"kind": "qemu", "cores": 2})
        (event,) = await database.events()
        assert (event.kind, event.object_id) == (EventKind.VM_CREATED, "web1")
        assert event.sequence == 6
        assert await database.add_node("node3") == "3"
        with pytest.raises(Exception, match="taken"):
            await database.add_node("NODE2")
        await store.close()

    asyncio.run(body())
