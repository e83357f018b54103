"""Backup and restore of a whole database, on SQLite: with the commands' own functions."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Compare, Delete, Outcome, Put, StoreUnavailable, Write
from quorate.database.member_records import EvictedNode
from quorate.database.members import Eviction
from quorate.database.records import Lease
from quorate.database.sqlite import SqliteStore
from quorate.database.values import KeyRecord
from quorate.service import backup
from quorate.service.backup import back_up, find_configuration, read_file, restore

T = TypeVar("T")
NODE1, NODE2 = NodeId("1"), NodeId("2")


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """A pocket cluster's node, and its database with a VM."""
    path = tmp_path / "pocket" / "nodes" / "1" / "node.toml"
    path.parent.mkdir(parents=True)
    path.write_text(
        'node = "1"\ndatabase = "../../cluster.sqlite"\nstate = "."\nsaved = "saved"\nruntime = "/run/q/1"\n'
        "storage_roots = []\n"
    )

    async def make(database: ClusterDatabase) -> None:
        await database.create_cluster("prod")
        assert [await database.add_node(name) for name in ("alpha", "beta")] == [NODE1, NODE2]
        await database.create_virtual_machine("web1", "{}", NODE2, persistent_state=True)

    on(path, make)
    return path


def on(configuration: Path, work: Callable[[ClusterDatabase], Awaitable[T]]) -> T:
    async def main() -> T:
        store = SqliteStore(configuration.parents[2] / "cluster.sqlite")
        try:
            return await work(ClusterDatabase(store))
        finally:
            await store.close()

    return asyncio.run(main())


def dump(configuration: Path) -> dict[str, bytes]:
    async def read(database: ClusterDatabase) -> dict[str, bytes]:
        return {record.key: record.value for record in (await database.store.range("")).records}

    return on(configuration, read)


def refused(call: Callable[[], object]) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        call()
    return caught.value


async def change_a_lot(database: ClusterDatabase) -> None:
    await database.rename_cluster("later")
    await database.add_node("gamma")
    await database.create_virtual_machine("web2", "{}", NODE1)
    group = (await database.snapshot()).group("web1").id
    await database.delete_group(group)
    for first in (0, 100, 200):  # more than fits into one transaction
        paths = [f"Extra\\{number}" for number in range(first, first + 100)]
        writes = [Put(keys.registry_key(path), KeyRecord(path).encode()) for path in paths]
        await database.store.transact([], writes)


def test_a_cluster_comes_back_as_it_was(configuration: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    facts = back_up(configuration, file)
    assert (facts.cluster, facts.records) == ("prod", len(file.read_bytes().splitlines()) - 2)
    assert file.stat().st_mode & 0o777 == 0o600
    on(configuration, change_a_lot)
    restored = restore(configuration, read_file(file), lambda _: None)
    assert restored.groups == 2

    async def look(database: ClusterDatabase) -> None:
        snapshot = await database.snapshot()
        assert snapshot.cluster.name == "prod"
        assert [node.name for node in snapshot.nodes.values()] == ["alpha", "beta"]
        assert {group.name for group in snapshot.groups.values()} == {"Cluster Group", "web1"}
        assert snapshot.ownership[snapshot.group("web1").id].value.epoch == 1_000_001
        assert (await database.store.range(keys.registry_key("Extra"))).records == ()
        assert int(await database.add_node("delta")) > 3
        event = (await database.events())[-1]
        assert event.kind == "cluster.restored"
        assert event.sentence.startswith("the cluster prod was restored from the backup of ")

    on(configuration, look)


def test_a_cluster_comes_back_into_an_empty_store(configuration: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    back_up(configuration, file)
    (configuration.parents[2] / "cluster.sqlite").unlink()
    restore(configuration, read_file(file), lambda _: None)

    async def look(database: ClusterDatabase) -> None:
        assert (await database.snapshot()).group("web1").is_virtual_machine

    on(configuration, look)


def test_a_node_that_is_up_stands_against_a_restore(
    configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, told = tmp_path / "backup", list[str]()
    back_up(configuration, file)

    async def renew(database: ClusterDatabase, sequence: int = 1) -> None:
        await database.store.transact([], [Put(keys.lease(NODE2), Lease("i", sequence, 1.0).encode())])

    on(configuration, renew)
    wanted = file.read_bytes()

    async def renew_later(seconds: float) -> None:
        monkeypatch.setattr(asyncio, "sleep", sleep)
        store = SqliteStore(configuration.parents[2] / "cluster.sqlite")
        await renew(ClusterDatabase(store), 2)
        await store.close()

    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", renew_later)
    error = refused(lambda: restore(configuration, read_file(file), told.append))
    assert (type(error), error.status) == (RefusalError, Status.ERROR_CLUSTER_NODE_UP)
    assert "beta is up" in error.sentence
    assert told == ["looking for 1.5 s whether a node is up"]
    assert file.read_bytes() == wanted
    assert keys.SCHEMA in dump(configuration)


def test_a_lease_that_does_not_move_is_of_a_node_that_is_down(configuration: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    back_up(configuration, file)

    async def lapse(database: ClusterDatabase) -> None:
        leases = {NODE1: Lease("i", 5, 0.1), NODE2: Lease("i", 5, 60.0, ended=True)}
        await database.store.transact([], [Put(keys.lease(node), lease.encode()) for node, lease in leases.items()])

    on(configuration, lapse)
    restore(configuration, read_file(file), lambda _: None)

    async def look(database: ClusterDatabase) -> None:
        leases = (await database.snapshot()).leases
        assert {(lease.value.sequence, lease.value.ended) for lease in leases.values()} == {(6, True)}

    on(configuration, look)


def test_a_restore_that_breaks_off_leaves_no_cluster_and_is_done_again(
    configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "backup"
    back_up(configuration, file)
    on(configuration, change_a_lot)
    transact, calls = SqliteStore.transact, list[int]()

    async def breaking(store: SqliteStore, compares: list[Compare], writes: list[Write]) -> Outcome:
        calls.append(len(writes))
        if len(calls) == 3:
            raise StoreUnavailable("cut off")
        return await transact(store, compares, writes)

    with monkeypatch.context() as patched:
        patched.setattr(SqliteStore, "transact", breaking)
        assert isinstance(refused(lambda: restore(configuration, read_file(file), lambda _: None)), FaultError)
    assert max(calls) <= 128

    async def look(database: ClusterDatabase) -> None:
        assert not await database.is_created()
        error = await refusal(database.snapshot())
        assert error.status == Status.ERROR_CLUSTER_NOT_INSTALLED

    async def refusal(call: Awaitable[object]) -> ClusterError:
        with pytest.raises(ClusterError) as caught:
            await call
        return caught.value

    on(configuration, look)
    restore(configuration, read_file(file), lambda _: None)
    assert {"prod"} == {on(configuration, name_of)}


async def name_of(database: ClusterDatabase) -> str:
    return (await database.snapshot()).cluster.name


def test_another_clusters_database_is_left_alone(configuration: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    back_up(configuration, file)
    (configuration.parents[2] / "cluster.sqlite").unlink()

    async def make_another(database: ClusterDatabase) -> None:
        await database.create_cluster("other")

    on(configuration, make_another)
    before = dump(configuration)
    error = refused(lambda: restore(configuration, read_file(file), lambda _: None))
    assert error.status == Status.ERROR_CLUSTER_INVALID_REQUEST
    assert "holds another cluster, 'other'" in error.sentence
    assert dump(configuration) == before


def test_what_is_wrong_with_files_is_told(configuration: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    file.write_text("not mine to write over")
    error = refused(lambda: back_up(configuration, file))
    assert (type(error), error.status) == (CallerError, Status.ERROR_ALREADY_EXISTS)
    assert file.read_text() == "not mine to write over"
    assert refused(lambda: read_file(file)).status == Status.ERROR_DATABASE_BACKUP_CORRUPT
    assert refused(lambda: read_file(tmp_path / "nothing")).status == Status.ERROR_FILE_NOT_FOUND
    assert refused(lambda: back_up(configuration, tmp_path / "no" / "where")).status == Status.ERROR_IO_DEVICE


def test_an_empty_database_has_nothing_to_back_up(configuration: Path, tmp_path: Path) -> None:
    async def clear(database: ClusterDatabase) -> None:
        await database.store.transact([], [Delete(keys.SCHEMA)])

    on(configuration, clear)
    assert refused(lambda: back_up(configuration, tmp_path / "b")).status == Status.ERROR_CLUSTER_NOT_INSTALLED
    assert not (tmp_path / "b").exists()


def test_the_configuration_is_found_where_clusters_live(configuration: Path, tmp_path: Path) -> None:
    assert find_configuration(None, str(tmp_path / "pocket")) == configuration
    assert find_configuration(configuration, None) == configuration
    machine = tmp_path / "machine"
    machine.mkdir()
    (machine / "node.toml").touch()
    assert find_configuration(None, str(machine)) == machine / "node.toml"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("QUORATE_CLUSTER", str(machine))
        assert find_configuration(None, None) == machine / "node.toml"
        patched.delenv("QUORATE_CLUSTER")
        patched.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        patched.setattr(backup, "DEFAULT_STATE", machine)
        assert find_configuration(None, None) == machine / "node.toml"
        pocket = tmp_path / "state" / "quorate" / "pocket" / "nodes" / "1"
        pocket.mkdir(parents=True)
        (pocket / "node.toml").touch()
        assert find_configuration(None, None) == pocket / "node.toml", "as every other command would choose"
    assert refused(lambda: find_configuration(tmp_path / "no", None)).status == Status.ERROR_FILE_NOT_FOUND
    assert refused(lambda: find_configuration(None, str(tmp_path / "no"))).status == Status.ERROR_FILE_NOT_FOUND


def test_an_eviction_is_not_undone_by_a_restore(configuration: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    back_up(configuration, file)

    async def evict(database: ClusterDatabase) -> None:
        group = (await database.snapshot()).group("web1").id
        await database.delete_group(group)
        closed_at = await database.members.close_doors(NODE2)
        await database.members.evict(Eviction(NODE2, EvictedNode("beta", datetime.now(UTC), "root"), NODE1, closed_at))

    on(configuration, evict)
    restore(configuration, read_file(file), lambda _: None)
    left = dump(configuration)
    assert keys.evicted(NODE2) in left
    assert [key for key in left if key.endswith(("/2", "/beta"))] == [keys.evicted(NODE2)]

    async def look(database: ClusterDatabase) -> None:
        snapshot = await database.snapshot()
        assert list(snapshot.nodes) == list(snapshot.leases) == [NODE1]
        assert snapshot.owner_of(snapshot.group("web1").id) == NODE1

    on(configuration, look)
