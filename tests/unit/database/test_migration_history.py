"""The live migrations that are over: two ends tell of each, and whoever reads puts that together."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import GroupId, SessionId
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Put
from quorate.database.memory import MemoryStore
from quorate.database.migration_history import KEPT, Arrival, Departure, MigrationHistory, Result

NOW = datetime(2026, 11, 22, 10, 0, 0, 123000, UTC)
ONE, TWO, THREE = SessionId("one"), SessionId("two"), SessionId("three")
LEFT = Departure(
    group=GroupId("g"),
    vm="web1",
    source="node1",
    destination="node2",
    asked_by="alice",
    ended=NOW,
    result=Result.MOVED.value,
    sentence="",
    mode="pre-copy, 2 channels",
    transferred=1 << 30,
    passes=3,
    started=NOW - timedelta(seconds=2),
    seconds=1.9,
    stood=0.030,
)
ARRIVED = Arrival(GroupId("g"), "web1", "node1", "node2", NOW, 0.0052)


def with_history(body: Callable[[MigrationHistory, MemoryStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = MemoryStore()
        await body(ClusterDatabase(store).migrations, store)

    asyncio.run(main())


def test_records_survive_the_store() -> None:
    for departure in (LEFT, replace(LEFT, started=None, seconds=None, stood=None, forecast={"seconds": 2.5})):
        assert Departure.decode(departure.encode()) == departure
    for arrival in (ARRIVED, replace(ARRIVED, stood=None)):
        assert Arrival.decode(arrival.encode()) == arrival


@pytest.mark.parametrize(
    ("good", "bad"),
    [(b"}", b""), (b'"passes":3', b'"passes":"3"'), (b"2026-11-22T10:00:00.123Z", b"yesterday"), (b".123Z", b".123")],
)
def test_a_damaged_record_is_a_fault(good: bytes, bad: bytes) -> None:
    data = LEFT.encode()
    assert good in data
    with pytest.raises(FaultError):
        Departure.decode(data.replace(good, bad))


def test_what_both_ends_have_told_is_one_migration() -> None:
    async def body(history: MigrationHistory, store: MemoryStore) -> None:
        await history.add_arrival(ONE, ARRIVED)
        await history.add_departure(ONE, LEFT)
        (found,) = await history.select()
        shown = found.to_json()
        assert (found.result, found.sequence) == ("moved", 1)
        assert (shown["vm"], shown["source"], shown["destination"], shown["asked_by"]) == (
            *("web1", "node1", "node2"),
            "alice",
        )
        assert (shown["gap_ms"], shown["seconds"], shown["bytes"], shown["passes"]) == (35.2, 1.9, str(1 << 30), 3)
        assert (shown["started"], shown["ended"]) == ("2026-11-22T09:59:58.123Z", "2026-11-22T10:00:00.123Z")
        assert shown["forecast"] is None

    with_history(body)


def test_what_one_end_has_told_is_shown_as_far_as_it_goes() -> None:
    async def body(history: MigrationHistory, store: MemoryStore) -> None:
        await history.add_departure(ONE, LEFT)
        await history.add_arrival(TWO, ARRIVED)
        failed = replace(LEFT, result=Result.FAILED.value, sentence="it broke", stood=0.2)
        await history.add_departure(THREE, failed)
        unknown, only_arrived, back = await history.select()
        assert (unknown.result, unknown.gap) == ("moved", None), "nobody knows when the guest ran again"
        assert (only_arrived.result, only_arrived.gap, only_arrived.to_json()["seconds"]) == ("moved", None, None)
        assert "did not see" in str(only_arrived.to_json()["sentence"])
        assert (back.result, back.gap, back.to_json()["sentence"]) == ("failed", 0.2, "it broke")

    with_history(body)


def test_a_guest_that_runs_at_the_destination_was_moved_whatever_the_source_believes() -> None:
    async def body(history: MigrationHistory, store: MemoryStore) -> None:
        await history.add_departure(ONE, replace(LEFT, result=Result.OVERTAKEN.value))
        await history.add_arrival(ONE, ARRIVED)
        (found,) = await history.select()
        assert found.result == "moved"

    with_history(body)


def test_pages_go_on_where_the_last_one_ended() -> None:
    async def body(history: MigrationHistory, store: MemoryStore) -> None:
        for number in range(10):
            ended = NOW + timedelta(minutes=number)
            await history.add_departure(SessionId(f"s{number}"), replace(LEFT, vm=f"vm{number % 2}", ended=ended))
        everything = [found.session for found in await history.select()]
        assert everything == [f"s{number}" for number in range(10)]
        assert [found.session for found in await history.select(limit=3)] == ["s7", "s8", "s9"], "the newest"
        pages: list[str] = []
        after = 0
        while page := await history.select(after=after, limit=4):
            pages += [found.session for found in page]
            after = page[-1].sequence
        assert pages == everything
        since = await history.select(since=NOW + timedelta(minutes=6), limit=2)
        assert [found.session for found in since] == ["s6", "s7"], "the oldest"
        of_one = await history.select(fits=lambda found: found.vm == "vm1", limit=2)
        assert [found.session for found in of_one] == ["s7", "s9"]

    with_history(body)


def test_what_is_old_or_too_much_is_forgotten_with_both_its_records() -> None:
    async def body(history: MigrationHistory, store: MemoryStore) -> None:
        for number in range(8):
            ended = NOW + timedelta(days=number)
            await history.add_departure(SessionId(f"s{number}"), replace(LEFT, ended=ended))
            await history.add_arrival(SessionId(f"s{number}"), replace(ARRIVED, ended=ended))
        assert await history.prune(NOW + timedelta(days=3)) == 3
        assert await history.prune(NOW + timedelta(days=3), keep=2) == 3
        assert await history.prune(NOW + timedelta(days=3), keep=2) == 0
        assert [found.session for found in await history.select()] == ["s6", "s7"]
        assert len((await store.range(keys.MIGRATIONS)).records) == 4

    with_history(body)


def test_a_thousand_are_kept() -> None:
    async def body(history: MigrationHistory, store: MemoryStore) -> None:
        departure = LEFT.encode()
        for start in range(0, KEPT + 50, 50):
            puts = [Put(keys.migration(SessionId(f"s{start + n:05}"), "left"), departure) for n in range(50)]
            await store.transact([], puts)
        assert await history.prune(NOW - timedelta(days=30)) == 50
        assert len(await history.select()) == KEPT == 1000

    with_history(body)
