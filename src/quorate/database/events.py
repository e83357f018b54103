"""The event log in the database: every event is a record, its sequence is the revision that wrote it.

Events that were written by one transaction share a sequence; pages never split them.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from itertools import count

from quorate.clusapi.events import EventRecord
from quorate.database import keys
from quorate.database.contract import MAX_OPERATIONS, Delete, Record, Store
from quorate.database.plan import Plan


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

    async def after(self, sequence: int, limit: int | None = None) -> tuple[EventRecord, ...]:
        """The oldest events after a sequence, about ``limit`` of them: those of one sequence come together."""
        records = await self._records(sequence)
        if limit is not None and len(records) > limit > 0:
            last = records[limit - 1].revision
            records = [record for record in records if record.revision <= last]
        return tuple(map(_event, records))

    async def latest(self, limit: int) -> tuple[EventRecord, ...]:
        """The newest events, oldest first."""
        return tuple(map(_event, (await self._records(0))[-limit:])) if limit > 0 else ()

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

    async def prune(self, keep: int) -> int:
        """Delete all but the newest ``keep`` events; returns how many went."""
        records = await self._records(0)
        old = records[: max(0, len(records) - keep)]
        for start in range(0, len(old), MAX_OPERATIONS):
            await self._store.transact([], [Delete(record.key) for record in old[start : start + MAX_OPERATIONS]])
        return len(old)

    async def _records(self, after: int) -> list[Record]:
        snapshot = await self._store.range(keys.EVENTS, after=after)
        return sorted(snapshot.records, key=lambda record: (record.revision, record.key))


def _event(record: Record) -> EventRecord:
    return EventRecord.decode(record.value).stored_at(record.revision)
