"""The contract of a store: one suite for every engine.

An engine joins by one more entry in ``ENGINES``: how to open stores on one and the same data, and how to make it forget
old changes.
"""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.contract.etcd_cluster import EtcdCluster
from tests.waiting import PATIENCE

from quorate.database.contract import (
    MAX_OPERATIONS,
    MAX_TRANSACTION_SIZE,
    MAX_VALUE_LENGTH,
    BlockingStore,
    Change,
    Compacted,
    Compare,
    Delete,
    Outcome,
    Put,
    Record,
    Store,
    StoreUnavailable,
    Write,
)
from quorate.database.etcd.blocking import EtcdBlockingStore
from quorate.database.etcd.maintenance import EtcdMaintenance
from quorate.database.etcd.store import EtcdStore
from quorate.database.memory import MemoryBlockingStore, MemoryData, MemoryStore
from quorate.database.sqlite import SqliteBlockingStore, SqliteStore
from quorate.database.sqlite_file import PRUNE_EVERY


@dataclass
class Engine:
    """One set of data and the stores that were opened on it."""

    new_store: Callable[[], Store]
    new_blocking: Callable[[], BlockingStore]
    forget: Callable[[Store], Awaitable[None]]
    opened: list[Store] = field(default_factory=list)
    blocking: list[BlockingStore] = field(default_factory=list)

    def open(self) -> Store:
        store = self.new_store()
        self.opened.append(store)
        return store

    def open_blocking(self) -> BlockingStore:
        store = self.new_blocking()
        self.blocking.append(store)
        return store


async def write_many(store: Store, count: int) -> None:
    for number in range(count):
        await store.transact([], [Put("filler", str(number).encode())])


def memory_engine(_: pytest.FixtureRequest) -> Engine:
    data = MemoryData(keep=50)
    return Engine(lambda: MemoryStore(data), lambda: MemoryBlockingStore(data), lambda store: write_many(store, 60))


def sqlite_engine(request: pytest.FixtureRequest) -> Engine:
    path: Path = request.getfixturevalue("tmp_path") / "cluster" / "database.sqlite"
    return Engine(
        lambda: SqliteStore(path, keep=50),
        lambda: SqliteBlockingStore(path),
        lambda store: write_many(store, PRUNE_EVERY + 60),
    )


def etcd_engine(request: pytest.FixtureRequest) -> Engine:
    cluster: EtcdCluster = request.getfixturevalue("etcd")
    settings = cluster.settings(cluster.new_prefix())

    async def forget(store: Store) -> None:
        await write_many(store, 60)
        assert isinstance(store, EtcdStore)
        await EtcdMaintenance(store).compact((await store.range("")).revision)

    return Engine(lambda: EtcdStore(settings), lambda: EtcdBlockingStore(settings), forget)


ENGINES: dict[str, Callable[[pytest.FixtureRequest], Engine]] = {
    "memory": memory_engine,
    "sqlite": sqlite_engine,
    "etcd": etcd_engine,
}


@asynccontextmanager
async def closing_all(engine: Engine) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for store in engine.opened:
            await store.close()
        for blocking in engine.blocking:
            blocking.close()


def scenario(test: Callable[[Engine], Coroutine[None, None, None]]) -> Callable[[pytest.FixtureRequest, str], None]:
    """Run a coroutine on every engine, bounded in time, and close what it opened."""

    @pytest.mark.parametrize("name", ENGINES)
    def run(request: pytest.FixtureRequest, name: str) -> None:
        async def body() -> None:
            engine = ENGINES[name](request)
            async with closing_all(engine), asyncio.timeout(PATIENCE):
                await test(engine)

        asyncio.run(body())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def first(store: Store, prefix: str, after: int, batches: int) -> list[tuple[Change, ...]]:
    """The first batches of a watch."""
    found: list[tuple[Change, ...]] = []
    async with aclosing(store.watch(prefix, after)) as changes:
        async for batch in changes:
            found.append(batch)
            if len(found) == batches:
                break
    return found


async def until_waiting() -> None:
    """Let tasks that were just made come to where they wait."""
    for _ in range(3):
        await asyncio.sleep(0.01)


# --- Reading and writing -------------------------------------------------------------------------------------------


@scenario
async def test_an_empty_store_is_at_revision_zero(engine: Engine) -> None:
    store = engine.open()
    assert await store.get("a") is None
    snapshot = await store.range("")
    assert (snapshot.revision, snapshot.records) == (0, ())


@scenario
async def test_every_transaction_that_changes_something_raises_the_revision_by_one(engine: Engine) -> None:
    store = engine.open()
    assert await store.transact([], [Put("a", b"1"), Put("b", b"2")]) == Outcome(True, 1)
    assert await store.transact([], [Put("b", b"2")]) == Outcome(True, 2)
    assert (await store.range("")).records == (Record("a", b"1", 1), Record("b", b"2", 2))


@scenario
async def test_a_transaction_that_changes_nothing_leaves_the_revision(engine: Engine) -> None:
    store = engine.open()
    await store.transact([], [Put("a", b"1")])
    assert await store.transact([], []) == Outcome(True, 1)
    assert await store.transact([Compare("a", 1)], []) == Outcome(True, 1)
    assert await store.transact([], [Delete("missing")]) == Outcome(True, 1)
    assert await store.transact([Compare("a", 7)], [Put("a", b"2")]) == Outcome(False, 1, (Record("a", b"1", 1),))


@scenario
async def test_values_are_any_bytes(engine: Engine) -> None:
    store = engine.open()
    big = bytes(range(256)) * (MAX_VALUE_LENGTH // 256)
    await store.transact([], [Put("empty", b""), Put("nul", b"\0\0"), Put("big", big)])
    values = [record.value for record in (await store.range("")).records]
    assert values == [big, b"", b"\0\0"]
    assert await store.get("empty") == Record("empty", b"", 1)


@scenario
async def test_a_range_is_ordered_and_holds_exactly_its_prefix(engine: Engine) -> None:
    store = engine.open()
    names = ["p", "p/", "p/b", "p/a", "p/a/x", "p0", "o/z", "p.", "P/a", "p/~", "p/ "]
    await store.transact([], [Put(name, b"") for name in names])
    assert [record.key for record in (await store.range("p/")).records] == ["p/", "p/ ", "p/a", "p/a/x", "p/b", "p/~"]
    assert [record.key for record in (await store.range("p/~")).records] == ["p/~"]
    assert [record.key for record in (await store.range("")).records] == sorted(names)
    assert (await store.range("q")).records == ()


@scenario
async def test_several_prefixes_are_read_at_one_revision_without_repetition(engine: Engine) -> None:
    store = engine.open()
    await store.transact([], [Put("a/1", b""), Put("b/1", b""), Put("c/1", b"")])
    snapshot = await store.range("c/", "a/", "a/1")
    assert [record.key for record in snapshot.records] == ["a/1", "c/1"]
    assert (await store.range()).records == ()


@scenario
async def test_a_range_can_leave_out_what_is_not_new(engine: Engine) -> None:
    store = engine.open()
    for name in "abc":
        await store.transact([], [Put(name, b"")])
    await store.transact([], [Put("a", b"again")])
    assert [record.key for record in (await store.range("", after=2)).records] == ["a", "c"]
    assert (await store.range("", after=4)).records == ()


@scenario
async def test_compares_decide_all_or_nothing(engine: Engine) -> None:
    store = engine.open()
    await store.transact([], [Put("a", b"1")])
    await store.transact([], [Put("b", b"1")])
    refused = await store.transact([Compare("a", 1), Compare("b", 1)], [Put("a", b"2"), Put("c", b"2")])
    assert refused == Outcome(False, 2, (Record("a", b"1", 1), Record("b", b"1", 2)))
    assert await store.get("c") is None
    assert (await store.transact([Compare("a", 1), Compare("b", 2)], [Put("a", b"2"), Delete("b")])).succeeded
    assert [record.key for record in (await store.range("")).records] == ["a"]


@scenario
async def test_revision_zero_says_that_the_key_must_not_exist(engine: Engine) -> None:
    store = engine.open()
    assert (await store.transact([Compare("a", 0)], [Put("a", b"1")])).succeeded
    assert await store.transact([Compare("a", 0)], [Put("a", b"2")]) == Outcome(False, 1, (Record("a", b"1", 1),))
    await store.transact([], [Delete("a")])
    assert await store.transact([Compare("a", 1)], [Put("a", b"3")]) == Outcome(False, 2, (None,))
    assert (await store.transact([Compare("a", 0)], [Put("a", b"4")])).succeeded


@scenario
async def test_what_is_no_transaction_is_refused_before_anything_happens(engine: Engine) -> None:
    store = engine.open()
    wrong: list[tuple[Sequence[Compare], Sequence[Write]]] = [
        ([], [Put("a", b""), Delete("a")]),
        ([], [Put("", b"")]),
        ([], [Put("ä", b"")]),
        ([], [Put("a\n", b"")]),
        ([Compare("a\0", 0)], []),
        ([], [Put("a", b"x" * (MAX_VALUE_LENGTH + 1))]),
        ([], [Put(f"a{number}", b"") for number in range(MAX_OPERATIONS + 1)]),
    ]
    for compares, writes in wrong:
        with pytest.raises(ValueError):
            await store.transact(compares, writes)
    assert (await store.transact([], [Put(f"a{number}", b"") for number in range(MAX_OPERATIONS)])).revision == 1


@scenario
async def test_another_store_sees_what_was_answered(engine: Engine) -> None:
    one, other, blocking = engine.open(), engine.open(), engine.open_blocking()
    assert (await one.transact([], [Put("a", b"1")])).succeeded
    assert await other.get("a") == Record("a", b"1", 1)
    assert await asyncio.to_thread(blocking.get, "a") == Record("a", b"1", 1)
    outcome = await asyncio.to_thread(blocking.transact, [Compare("a", 1)], [Put("a", b"2")])
    assert outcome == Outcome(True, 2)
    assert await one.get("a") == await other.get("a") == Record("a", b"2", 2)
    assert (await asyncio.to_thread(blocking.range, "a")).records == (Record("a", b"2", 2),)


@scenario
async def test_the_revision_is_never_older_than_an_answer_to_anybody(engine: Engine) -> None:
    one, other, blocking = engine.open(), engine.open(), engine.open_blocking()
    for number in range(1, 40):
        if number % 3:
            await (one if number % 2 else other).transact([], [Put("a", b"%d" % number)])
        else:
            await asyncio.to_thread(blocking.transact, [], [Put("a", b"%d" % number)])
        assert [(await store.range()).revision for store in (one, other, one)] == [number] * 3


@scenario
async def test_the_largest_transactions_are_taken_and_larger_ones_refused(engine: Engine) -> None:
    store = engine.open()
    keys = [f"{number:03}".ljust(MAX_TRANSACTION_SIZE // MAX_OPERATIONS // 4, "k") for number in range(MAX_OPERATIONS)]
    length = MAX_TRANSACTION_SIZE // MAX_OPERATIONS - 3 * len(keys[0])
    compares = [Compare(key, 0) for key in keys]
    assert (await store.transact(compares, [Put(key, b"x" * length) for key in keys])).succeeded
    refused = await store.transact(compares, [Put(key, b"x" * length) for key in keys])
    assert [record.value if record else b"" for record in refused.compared] == [b"x" * length] * MAX_OPERATIONS
    with pytest.raises(ValueError):
        await store.transact([], [Put("a", b"x" * MAX_VALUE_LENGTH), Put("b", b"x" * (1 << 18))])
    assert (await store.range("")).revision == 1


@scenario
async def test_many_records_are_read_at_one_revision(engine: Engine) -> None:
    store, other = engine.open(), engine.open()
    for begin in range(0, 1300, 100):
        await store.transact([], [Put(f"r/{number:04}", b"0") for number in range(begin, begin + 100)])

    async def rewrite() -> None:
        for count in range(10):
            await other.transact([], [Put("r/0000", str(count).encode()), Put("r/1299", str(count).encode())])

    writing = asyncio.create_task(rewrite())
    while not writing.done():
        await asyncio.sleep(0)
        records = (await store.range("r/")).records
        assert [record.key for record in records] == [f"r/{number:04}" for number in range(1300)]
        assert (records[0].value, records[0].revision <= 13) == (records[-1].value, records[-1].revision <= 13)
    await writing
    assert len((await store.range("r/", after=12)).records) == 101


# --- Several writers -----------------------------------------------------------------------------------------------


async def increment(store: Store, times: int) -> None:
    done = 0
    while done < times:
        record = await store.get("counter")
        number = int(record.value) if record else 0
        outcome = await store.transact(
            [Compare("counter", record.revision if record else 0)], [Put("counter", str(number + 1).encode())]
        )
        done += outcome.succeeded


@scenario
async def test_concurrent_compare_and_swap_loses_no_update(engine: Engine) -> None:
    stores = [engine.open() for _ in range(4)]
    await asyncio.gather(*(increment(store, 15) for store in stores))
    record = await stores[0].get("counter")
    assert record is not None
    assert (record.value, record.revision) == (b"60", 60)


@scenario
async def test_a_blocking_store_and_a_store_compete_fairly_for_one_record(engine: Engine) -> None:
    store, blocking = engine.open(), engine.open_blocking()

    def in_thread() -> None:
        done = 0
        while done < 20:
            record = blocking.get("counter")
            number = int(record.value) if record else 0
            compare = Compare("counter", record.revision if record else 0)
            done += blocking.transact([compare], [Put("counter", str(number + 1).encode())]).succeeded

    thread = threading.Thread(target=in_thread)
    thread.start()
    await increment(store, 20)
    await asyncio.to_thread(thread.join)
    record = await store.get("counter")
    assert record is not None
    assert record.value == b"40"


@scenario
async def test_many_transactions_at_once_get_revisions_of_their_own(engine: Engine) -> None:
    store = engine.open()
    outcomes = await asyncio.gather(*(store.transact([], [Put(f"k{n}", b"")]) for n in range(30)))
    assert sorted(outcome.revision for outcome in outcomes) == list(range(1, 31))


# --- Watching ------------------------------------------------------------------------------------------------------


@scenario
async def test_a_watch_tells_what_happened_before_it_began_and_after(engine: Engine) -> None:
    store, other = engine.open(), engine.open()
    await store.transact([], [Put("a", b"1")])
    await store.transact([], [Put("a", b"2")])
    watching = asyncio.create_task(first(other, "", 1, 3))
    await until_waiting()
    await store.transact([], [Put("b", b"3")])
    await store.transact([], [Delete("a")])
    assert await watching == [(Change("a", b"2", 2),), (Change("b", b"3", 3),), (Change("a", None, 4),)]


@scenario
async def test_a_watch_hears_its_own_stores_writes(engine: Engine) -> None:
    store = engine.open()
    watching = asyncio.create_task(first(store, "", 0, 1))
    await until_waiting()
    await store.transact([], [Put("a", b"1")])
    assert await watching == [(Change("a", b"1", 1),)]


@scenario
async def test_a_watch_hears_the_blocking_stores_writes(engine: Engine) -> None:
    store, blocking = engine.open(), engine.open_blocking()
    watching = asyncio.create_task(first(store, "", 0, 1))
    await until_waiting()
    await asyncio.to_thread(blocking.transact, [], [Put("a", b"1")])
    assert await watching == [(Change("a", b"1", 1),)]


@scenario
async def test_a_transaction_is_one_batch_ordered_by_key(engine: Engine) -> None:
    store = engine.open()
    await store.transact([], [Put("b", b"0"), Put("gone", b"0")])
    await store.transact([], [Put("c", b"1"), Delete("gone"), Delete("never"), Put("a", b"1")])
    await store.transact([], [Put("d", b"2")])
    assert await first(store, "", 1, 2) == [
        (Change("a", b"1", 2), Change("c", b"1", 2), Change("gone", None, 2)),
        (Change("d", b"2", 3),),
    ]


@scenario
async def test_a_watch_tells_only_its_prefix(engine: Engine) -> None:
    store = engine.open()
    watching = asyncio.create_task(first(store, "a/", 0, 2))
    await until_waiting()
    await store.transact([], [Put("a", b""), Put("a0", b""), Put("b/1", b"")])
    await store.transact([], [Put("a/1", b""), Put("b/1", b"")])
    await store.transact([], [Put("b/2", b"")])
    await store.transact([], [Put("a/2", b"")])
    assert await watching == [(Change("a/1", b"", 2),), (Change("a/2", b"", 4),)]


@scenario
async def test_large_transactions_are_told_whole(engine: Engine) -> None:
    store, other = engine.open(), engine.open()
    half = bytes(MAX_VALUE_LENGTH // 2)
    watching = asyncio.create_task(first(other, "", 0, 6))
    for _ in range(6):
        await store.transact([], [Put("b", half), Put("a", half), Put("c", b"")])
    told = [await watching, await first(other, "", 0, 6), await first(store, "a", 0, 6)]
    whole = [
        tuple(Change(key, value, n) for key, value in zip("abc", (half, half, b""), strict=True)) for n in range(1, 7)
    ]
    assert told == [whole, whole, [batch[:1] for batch in whole]]


@scenario
async def test_refused_and_empty_transactions_are_not_told(engine: Engine) -> None:
    store = engine.open()
    await store.transact([Compare("a", 5)], [Put("a", b"no")])
    await store.transact([], [Delete("a")])
    await store.transact([], [Put("a", b"yes")])
    assert await first(store, "", 0, 1) == [(Change("a", b"yes", 1),)]


@scenario
async def test_watches_miss_nothing_under_a_storm_of_writers(engine: Engine) -> None:
    writers = [engine.open() for _ in range(3)]
    watchers = [engine.open() for _ in range(2)]
    per_writer = 12
    expected = per_writer * len(writers)
    watching = [asyncio.create_task(first(store, "", 0, expected)) for store in (*watchers, watchers[0])]

    async def write(number: int, store: Store) -> None:
        for count in range(per_writer):
            await store.transact([], [Put(f"k/{number}", str(count).encode())])

    await asyncio.gather(*(write(number, store) for number, store in enumerate(writers)))
    told = await asyncio.gather(*watching)
    assert told[0] == told[1] == told[2]
    assert [batch[0].revision for batch in told[0]] == list(range(1, expected + 1))
    for number in range(len(writers)):
        values = [change.value for (change,) in told[0] if change.key == f"k/{number}"]
        assert values == [str(count).encode() for count in range(per_writer)]


@scenario
async def test_a_slow_watcher_gets_everything_in_order(engine: Engine) -> None:
    store, other = engine.open(), engine.open()
    seen = []
    async with aclosing(other.watch("", 0)) as changes:
        await store.transact([], [Put("a", b"0")])
        async for batch in changes:
            seen.append(batch[0].revision)
            if len(seen) == 1:
                await write_many(store, 30)  # while the watcher is busy
            if len(seen) == 31:
                break
    assert seen == list(range(1, 32))


@scenario
async def test_a_watch_from_the_future_waits_for_it(engine: Engine) -> None:
    store = engine.open()
    watching = asyncio.create_task(first(store, "", 2, 1))
    await until_waiting()
    for value in (b"1", b"2", b"3"):
        await store.transact([], [Put("a", value)])
    assert await watching == [(Change("a", b"3", 3),)]


@scenario
async def test_a_watch_from_a_revision_that_is_gone_is_refused(engine: Engine) -> None:
    store = engine.open()
    await store.transact([], [Put("a", b"1")])
    await engine.forget(store)
    with pytest.raises(Compacted):
        await first(store, "", 1, 1)
    now = (await store.range("")).revision
    await store.transact([], [Put("a", b"2")])
    assert await first(store, "", now, 1) == [(Change("a", b"2", now + 1),)]


@scenario
async def test_a_watcher_that_falls_behind_gets_everything_or_is_told(engine: Engine) -> None:
    store, other = engine.open(), engine.open()
    seen = []
    async with aclosing(other.watch("filler", 0)) as changes:
        await write_many(store, 1)
        seen.append((await anext(changes))[0].revision)
        await engine.forget(store)  # and the watcher sleeps
        last = (await store.range("")).revision
        try:
            while seen[-1] < last:
                seen.append((await anext(changes))[0].revision)
        except Compacted:
            assert last > 50
        assert seen == list(range(1, len(seen) + 1))


@scenario
async def test_a_cancelled_watcher_leaves_and_disturbs_nobody(engine: Engine) -> None:
    store = engine.open()
    staying = asyncio.create_task(first(store, "", 0, 1))
    leaving = asyncio.create_task(first(store, "", 0, 1))
    await until_waiting()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await store.transact([], [Put("a", b"1")])
    assert await staying == [(Change("a", b"1", 1),)]
    assert await first(store, "", 0, 1) == [(Change("a", b"1", 1),)]


@scenario
async def test_closing_the_store_ends_its_watches_and_no_others(engine: Engine) -> None:
    store, other = engine.open(), engine.open()
    ending = asyncio.create_task(first(store, "", 0, 5))
    staying = asyncio.create_task(first(other, "", 0, 1))
    await until_waiting()
    await store.close()
    assert await ending == []
    await other.transact([], [Put("a", b"1")])
    assert await staying == [(Change("a", b"1", 1),)]


@scenario
async def test_closing_the_store_ends_a_watch_that_has_hardly_begun(engine: Engine) -> None:
    store = engine.open()
    beginning = asyncio.create_task(first(store, "", 0, 1))
    await asyncio.sleep(0)
    await store.close()
    assert await beginning == []


# --- The end -------------------------------------------------------------------------------------------------------


@scenario
async def test_a_closed_store_gives_no_answers(engine: Engine) -> None:
    store, blocking = engine.open(), engine.open_blocking()
    await store.transact([], [Put("a", b"1")])
    await store.close()
    await store.close()
    blocking.close()
    blocking.close()
    for call in (store.get("a"), store.range(""), store.transact([], [])):
        with pytest.raises(StoreUnavailable):
            await call
    with pytest.raises(StoreUnavailable):
        await first(store, "", 0, 1)
    for blocking_call in (
        functools.partial(blocking.get, "a"),
        functools.partial(blocking.range, ""),
        functools.partial(blocking.transact, [], []),
    ):
        with pytest.raises(StoreUnavailable):
            blocking_call()
    assert await engine.open().get("a") == Record("a", b"1", 1)


@scenario
async def test_a_cancelled_transaction_leaves_the_store_working(engine: Engine) -> None:
    store = engine.open()
    sending = asyncio.create_task(store.transact([], [Put("a", b"1")]))
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await store.transact([], [Put("b", b"1")])
    assert (await store.range("b")).records[0].value == b"1"
