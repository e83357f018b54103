"""Events by time, kind and number, and how the old ones go."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Snapshot
from quorate.database.event_spans import covering_prefixes, milliseconds, milliseconds_of
from quorate.database.events import EventQuery
from quorate.database.memory import MemoryData, MemoryStore

NOW = datetime.now(UTC)


def event(name: str, ago: timedelta, kind: EventKind = EventKind.VM_STATE) -> EventRecord:
    return EventRecord.of(
        kind, time=NOW - ago, node=NodeId("1"), object_id=name, object_name=name, sentence=f"about {name}"
    )


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


def with_events(body: Callable[[ClusterDatabase], Awaitable[None]], *events: EventRecord) -> None:
    async def run() -> None:
        database = ClusterDatabase(MemoryStore(MemoryData()))
        for one in events:
            await database.append_events([one])
        await body(database)

    asyncio.run(run())


STORY = (
    event("a", hours(900)),
    event("b", hours(100), EventKind.VM_FAILED),
    event("c", hours(30)),
    event("d", hours(3), EventKind.VM_FAILED),
    event("e", hours(0.5)),
    event("f", hours(0.1)),
)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (EventQuery(limit=2), "ef"),
        (EventQuery(limit=3), "def"),
        (EventQuery(limit=50), "abcdef"),
        (EventQuery(limit=0), ""),
        (EventQuery(since=NOW - hours(31)), "cdef"),
        (EventQuery(since=NOW - hours(30)), "cdef"),
        (EventQuery(since=NOW - hours(200), until=NOW - hours(3)), "bc"),
        (EventQuery(since=NOW - hours(200), limit=1), "b"),
        (EventQuery(until=NOW - hours(1), limit=2), "cd"),
        (EventQuery(after=0, limit=2), "ab"),
        (EventQuery(after=4), "ef"),
        (EventQuery(after=2, since=NOW - hours(200)), "cdef"),
        (EventQuery(limit=1, fits=lambda found: found.kind == "vm.failed"), "d"),
        (EventQuery(limit=5, fits=lambda found: found.kind == "vm.failed"), "bd"),
        (EventQuery(since=NOW + hours(1)), ""),
    ],
)
def test_events_are_found_by_time_and_kind(query: EventQuery, names: str) -> None:
    async def body(database: ClusterDatabase) -> None:
        found = await database.select_events(query)
        assert "".join(one.object_name for one in found) == names
        assert all(one.sequence for one in found)

    with_events(body, *STORY)


def test_old_events_go_by_age_and_by_number() -> None:
    async def body(database: ClusterDatabase) -> None:
        assert await database.prune_events(100, NOW - timedelta(days=30)) == 1
        assert await database.prune_events(3, NOW - timedelta(days=30)) == 2
        assert "".join(one.object_name for one in await database.events()) == "def"
        assert await database.prune_events(3, NOW - timedelta(days=30)) == 0
        assert await database.prune_events(1) == 2
        assert "".join(one.object_name for one in await database.events()) == "f"

    with_events(body, *STORY)


class CountingStore(MemoryStore):
    """Knows the most records that were read at once."""

    most = 0

    async def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        found = await super().range(*prefixes, after=after)
        self.most = max(self.most, len(found.records))
        return found


def test_a_storm_of_events_is_counted_in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate.database.events._COUNTED_AT_ONCE", 20)

    async def run() -> None:
        store = CountingStore(MemoryData())
        database = ClusterDatabase(store)
        await database.append_events([event("old", hours(500)), event("gone", hours(900))])
        storm = [event(str(number), timedelta(seconds=number)) for number in range(1000, 0, -1)]
        for start in range(0, len(storm), 100):
            await database.append_events(storm[start : start + 100])
        await database.append_events([event("of a clock that is ahead", hours(-1))])
        store.most = 0
        assert await database.prune_events(900, NOW - timedelta(days=30)) == 1 + 102
        assert store.most < 300, "a minute of them at first, and what the digits of the moment round it to"
        left = {one.object_name for one in await database.events()}
        assert left == {"of a clock that is ahead", *(one.object_name for one in storm)} - {
            str(number) for number in range(1000, 899, -1)
        }

    asyncio.run(run())


def test_many_events_go_in_small_transactions() -> None:
    async def body(database: ClusterDatabase) -> None:
        before = (await database.store.range(keys.EVENTS)).revision
        assert await database.prune_events(10) == 390
        assert (await database.store.range(keys.EVENTS)).revision == before + 4
        assert len(await database.events()) == 10

    with_events(body, *(event("x", hours(number / 10)) for number in range(400, 0, -1)))


MOMENTS = st.integers(0, 10**13 - 1)


@given(MOMENTS, st.one_of(st.none(), MOMENTS), st.sampled_from([1, 2, 10, 64]), MOMENTS)
def test_prefixes_cover_a_span_once(since: int, until: int | None, at_most: int, moment: int) -> None:
    prefixes = covering_prefixes(since, until, at_most)
    assert len(prefixes) <= max(1, at_most)
    assert list(prefixes) == sorted(prefixes)
    key = keys.event(datetime.fromtimestamp(0, UTC), NodeId("1"), 0)
    key = key.replace("0000000000000", f"{moment:013d}", 1)
    assert milliseconds_of(key) == moment
    hits = sum(key.startswith(prefix) for prefix in prefixes)
    assert hits <= 1
    if since <= moment and (until is None or moment < until):
        assert hits == 1


def test_a_span_of_some_hours_is_read_without_much_around_it() -> None:
    now = milliseconds(datetime(2026, 11, 22, 12, tzinfo=UTC))
    prefixes = covering_prefixes(now - 7_200_000, now)
    low = min(int(prefix.removeprefix(keys.EVENTS).ljust(13, "0")) for prefix in prefixes)
    assert now - 7_200_000 - low < 2_000
