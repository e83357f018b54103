"""The event log in the database: every event is a record, its sequence is the revision that wrote it.

Events that were written by one transaction share a sequence; pages never split them.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from quorate.clusapi.events import EventRecord
from quorate.database import keys
from quorate.database.contract import Delete, Record, Store
from quorate.database.event_spans import covering_prefixes, milliseconds, milliseconds_of
from quorate.database.plan import Plan

_WINDOWS: Final = (timedelta(hours=1), timedelta(days=1), timedelta(days=7))
"""How far back the newest events are looked for, before everything is read."""
_DECODED_AT_ONCE: Final = 500
_PRUNED_AT_ONCE: Final = 100
_COUNTED_AT_ONCE: Final = 4000
_SHORTEST_SPAN: Final = 60_000  # milliseconds: that is where counting begins
_LONGEST_SPAN: Final = 10**8  # a little more than a day


def _everything(_: EventRecord) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events are asked for.

    With ``after`` or ``since`` (inclusive) the oldest that fit, else the newest. ``until`` is exclusive. About
    ``limit`` of them: those of one sequence come together.
    """

    after: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None
    fits: Callable[[EventRecord], bool] = _everything


class EventLog:
    """Reads and writes events. One per process: it numbers the events that this process writes."""

    def __init__(self, store: Store) -> None:
        """Keep the events in this store."""
        self._store = store
        self._numbers = count()

    def add(self, plan: Plan, events: Iterable[EventRecord]) -> None:
        """Let a transaction write events too."""
        for event in events:
            plan.put(keys.event(event.time, event.node, next(self._numbers)), event.encode())

    async def append(self, events: Sequence[EventRecord]) -> int:
        """Write events on their own; returns their sequence."""
        plan = Plan()
        self.add(plan, events)
        return (await plan.commit(self._store)).revision

    async def select(self, query: EventQuery) -> tuple[EventRecord, ...]:
        """The events that were asked for, oldest first."""
        if query.after is None and query.since is None:
            return await self._newest(query)
        events = await self._fitting(query, query.since)
        if query.limit is not None and len(events) > query.limit > 0:
            last = events[query.limit - 1].sequence
            events = [event for event in events if event.sequence <= last]
        return tuple(events)

    async def after(self, sequence: int, limit: int | None = None) -> tuple[EventRecord, ...]:
        """The oldest events after a sequence, about ``limit`` of them."""
        return await self.select(EventQuery(after=sequence, limit=limit))

    async def latest(self, limit: int) -> tuple[EventRecord, ...]:
        """The newest events, oldest first."""
        return await self.select(EventQuery(limit=limit))

    async def watch(self, after: int) -> AsyncGenerator[tuple[EventRecord, ...], None]:
        """Events after a sequence, as they are written; those of one sequence come together. Raises Compacted."""
        async with aclosing(self._store.watch(keys.EVENTS, after)) as batches:
            async for batch in batches:
                written = tuple(
                    EventRecord.decode(change.value).stored_at(change.revision)
                    for change in batch
                    if change.value is not None
                )
                if written:
                    yield written

    async def prune(self, keep: int, before: datetime | None = None) -> int:
        """Delete the events of before a moment, and of the others all but the newest ``keep``; returns how many went.

        A hundred go at a time, and not much more than some thousand are read at once.
        """
        cutoff = 0 if before is None else milliseconds(before)
        old = await self._keys(0, cutoff) if cutoff else []
        old += await self._surplus(cutoff, keep)
        for start in range(0, len(old), _PRUNED_AT_ONCE):
            await self._store.transact([], [Delete(key) for _, key in old[start : start + _PRUNED_AT_ONCE]])
        return len(old)

    async def _newest(self, query: EventQuery) -> tuple[EventRecord, ...]:
        """Look at ever longer spans of time; a node whose clock is far behind shows only once all is read."""
        limit = query.limit or 0
        end = datetime.now(UTC) if query.until is None else query.until
        for window in (*_WINDOWS, None) if limit > 0 else ():
            events = await self._fitting(query, None if window is None else end - window)
            if len(events) >= limit or window is None:
                return tuple(events[-limit:])
        return ()

    async def _fitting(self, query: EventQuery, since: datetime | None) -> list[EventRecord]:
        low = 0 if since is None else milliseconds(since)
        high = None if query.until is None else milliseconds(query.until) + 1
        prefixes = (keys.EVENTS,) if not low and high is None else covering_prefixes(low, high)
        snapshot = await self._store.range(*prefixes, after=query.after or 0)
        events: list[EventRecord] = []
        for number, record in enumerate(sorted(snapshot.records, key=lambda record: (record.revision, record.key))):
            if number % _DECODED_AT_ONCE == _DECODED_AT_ONCE - 1:
                await asyncio.sleep(0)  # a hundred thousand of them take a second: others want the loop too
            event = _event(record)
            is_early = since is not None and event.time < since
            if not is_early and (query.until is None or event.time < query.until) and query.fits(event):
                events.append(event)
        return events

    async def _surplus(self, since: int, keep: int) -> list[tuple[int, str]]:
        """The oldest events of those since a moment, as far as there are more than ``keep``.

        Read from the newest back, in spans that are shorter where there are many: reading a key reads its event, too,
        and a storm of them would be in memory at once.
        """
        if not since:
            found = await self._keys(since, None)
            return sorted(found)[: max(0, len(found) - keep)]
        found, span, high = [], _SHORTEST_SPAN, None
        low = milliseconds(datetime.now(UTC))
        while high is None or low > since:
            low = max(since, low - span)
            part = await self._keys(low, high)
            found += part
            high = low
            if len(part) > _COUNTED_AT_ONCE:
                span = max(span // 2, 1)
            elif len(part) < _COUNTED_AT_ONCE // 2:
                span = min(span * 2, _LONGEST_SPAN)
        return sorted(found)[: max(0, len(found) - keep)]

    async def _keys(self, since: int, until: int | None) -> list[tuple[int, str]]:
        """The sequence and the key of every event of a span."""
        snapshot = await self._store.range(*covering_prefixes(since, until))
        return [
            (record.revision, record.key)
            for record in snapshot.records
            if milliseconds_of(record.key) >= since and (until is None or milliseconds_of(record.key) < until)
        ]


def _event(record: Record) -> EventRecord:
    return EventRecord.decode(record.value).stored_at(record.revision)
