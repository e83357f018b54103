"""Looks after the cluster database: old events go, old history goes, and a store that runs full is told of.

Works on one node at a time, the coordinator; two at once do the same work twice and nothing worse.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.cluster.retention import Sample, StoreFacts, find_alarms, plan_compaction, trim_samples
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.maintenance import StoreMaintenance, StoreStatus
from quorate.engine.network_picture import SeenCluster

EVENT_RETENTION_DAYS: Final = "EventRetentionDays"
EVENT_RETENTION_COUNT: Final = "EventRetentionCount"
DEFAULT_DAYS: Final = 30
DEFAULT_COUNT: Final = 100_000
MIGRATION_DAYS: Final = 30
"""For so long a migration that is over is remembered, and never more of them than `migration_history.KEPT`."""

LOOK_EVERY: Final = 30.0
PRUNE_EVERY: Final = 600.0

_log = structlog.get_logger("maintenance")


class Maintenance:
    """The housekeeping of the cluster database, from `start` to `close`."""

    def __init__(
        self,
        node: NodeId,
        database: ClusterDatabase,
        view: SeenCluster,
        store: StoreMaintenance,
        is_coordinator: Callable[[], bool],
    ) -> None:
        """Work only while ``is_coordinator`` says so."""
        self._node = node
        self._database = database
        self._view = view
        self._store = store
        self._is_coordinator = is_coordinator
        self._samples: list[Sample] = []
        self._compacted = 0
        self._pruned: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="maintenance")

    async def close(self) -> None:
        """Stop; what is under way is dropped and done again by the next one."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            if self._is_coordinator():
                for work in (self._prune_in_time, self.compact, self.look_at_store):
                    await self._try(work)
            else:
                self._samples.clear()
            await asyncio.sleep(LOOK_EVERY)

    async def _try(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except ClusterError as error:
            _log.warning("the cluster database could not be looked after", sentence=error.sentence)
        except Exception:  # noqa: BLE001 - the supervisor of the maintenance
            _log.exception("the cluster database could not be looked after")

    async def compact(self) -> None:
        """Let the store forget the changes that nobody follows any more. Raises StoreUnavailable."""
        now = time.monotonic()
        self._samples = trim_samples((*self._samples, Sample(now, self._view.snapshot.revision)), now)
        target = plan_compaction(self._samples, now, self._compacted)
        if target is not None:
            await self._store.compact(target)
            self._compacted = target
            _log.info("the database has forgotten old changes", up_to=target)

    async def prune(self) -> None:
        """Delete events and migrations that are too old or too many. Raises StoreUnavailable."""
        properties = self._view.snapshot.cluster.properties
        days = properties.number(EVENT_RETENTION_DAYS, DEFAULT_DAYS)
        keep = properties.number(EVENT_RETENTION_COUNT, DEFAULT_COUNT)
        gone = await self._database.prune_events(keep, datetime.now(UTC) - timedelta(days=days))
        if gone:
            _log.info("old events were deleted", events=gone, days=days, keep=keep)
        forgotten = await self._database.migrations.prune(datetime.now(UTC) - timedelta(days=MIGRATION_DAYS))
        if forgotten:
            _log.info("old migrations were forgotten", migrations=forgotten, days=MIGRATION_DAYS)

    async def look_at_store(self) -> None:
        """Tell, once, what is wrong with the store, and when it is well again. Raises StoreUnavailable.

        A store that refuses writes takes no event either: it was told of before, when the store was nearly full, and
        is in the log until there is room for an event again.
        """
        found = {alarm.key: alarm for alarm in find_alarms(facts_of(await self._store.status()))}
        told = await self._database.networks.announced()
        if set(told.value.alarms) == set(found):
            return
        for alarm in found.values():
            _log.warning("the cluster database is not well", sentence=alarm.sentence)
        events = [self._event(alarm.sentence) for key, alarm in found.items() if key not in told.value.alarms]
        events += [
            self._event(f"the cluster database is well again; it said: {key}")
            for key in told.value.alarms
            if key not in found
        ]
        await self._database.networks.announce(told, replace(told.value, alarms=tuple(sorted(found))), events)

    async def _prune_in_time(self) -> None:
        now = time.monotonic()
        if self._pruned is None or now - self._pruned >= PRUNE_EVERY:
            await self.prune()
            self._pruned = now

    def _event(self, sentence: str) -> EventRecord:
        cluster = self._view.snapshot.cluster
        return EventRecord.of(
            EventKind.CLUSTER_DATABASE,
            time=datetime.now(UTC),
            node=self._node,
            object_id=cluster.instance_id,
            object_name=cluster.name,
            sentence=sentence,
            actor=f"node {self._node}",
        )


def facts_of(status: StoreStatus) -> StoreFacts:
    """A store's status as the brain has it."""
    return StoreFacts(status.size_bytes, status.in_use_bytes, status.quota_bytes, status.alarms)
