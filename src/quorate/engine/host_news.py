"""What the host of resources tells, as events: resources that fail, and monitor processes that hang, end and return.

What the node tells of itself goes the same way (node_watch.py).

Nothing depends on these events; a silent database is told when it speaks again, of as many as were kept.
"""

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.states import ResourceState
from quorate.database.contract import StoreUnavailable
from quorate.engine.context import EngineContext
from quorate.hosting.contract import ResourceFailure
from quorate.hosting.monitor_pool import MonitorNews, MonitorNewsKind

KEPT: Final = 1000
"""Events that wait for a silent database; older ones are in the node's log only."""
LATER: Final = 1.0
"""Seconds between two tries."""

_KINDS: Final = {
    MonitorNewsKind.HUNG: EventKind.MONITOR_HUNG,
    MonitorNewsKind.LOST: EventKind.MONITOR_LOST,
    MonitorNewsKind.STARTED: EventKind.MONITOR_STARTED,
}
_log = structlog.get_logger("resources")


class HostNews:
    """Writes the host's news into the event log, in order, without making anybody wait."""

    def __init__(self, context: EngineContext) -> None:
        """Have nothing to tell yet."""
        self._context = context
        self._waiting: deque[EventRecord] = deque(maxlen=KEPT)
        self._writing: asyncio.Task[None] | None = None

    def on_failed(self, failure: ResourceFailure) -> None:
        """A resource that was to be online has failed."""
        _log.warning("a resource has failed", resource=failure.name, sentence=failure.sentence)
        after: JsonValue = {"state": int(ResourceState.FAILED), "status": int(failure.status)}
        self._tell(EventKind.RESOURCE_FAILED, failure.resource_id, failure.name, failure.sentence, after)

    def on_monitor_news(self, news: MonitorNews) -> None:
        """Something happened to a monitor process of this node; the sentence names the resources."""
        after: JsonValue = {"pid": news.pid, "resource": news.resource}
        self._tell(_KINDS[news.kind], self._context.node, self._context.node_name, news.sentence, after)

    def tell_of_node(self, kind: EventKind, sentence: str, after: JsonValue = None) -> None:
        """Something happened to this node."""
        _log.warning(sentence)
        self._tell(kind, self._context.node, self._context.node_name, sentence, after)

    async def flush(self, patience: float) -> None:
        """Wait until all is written, ``patience`` seconds at most."""
        if self._writing is not None:
            await asyncio.wait((self._writing,), timeout=patience)

    async def close(self) -> None:
        """Write no more."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    def _tell(self, kind: EventKind, object_id: str, object_name: str, sentence: str, after: JsonValue) -> None:
        event = EventRecord.of(
            kind,
            time=datetime.now(UTC),
            node=self._context.node,
            object_id=object_id,
            object_name=object_name,
            sentence=sentence,
            after=after,
            actor=f"node {self._context.node}",
        )
        self._waiting.append(event)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="the host's news")

    async def _write(self) -> None:
        while self._waiting:
            events = tuple(self._waiting)
            try:
                await self._context.database.append_events(events)
            except StoreUnavailable:
                await asyncio.sleep(LATER)
                continue
            except ClusterError as error:
                _log.warning("news of the host was not written", sentence=error.sentence)
            for event in events:
                if self._waiting and self._waiting[0] is event:  # not pushed out meanwhile
                    self._waiting.popleft()
