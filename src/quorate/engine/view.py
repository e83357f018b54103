"""What this node sees of the cluster: the newest snapshot, and since when each lease has not moved."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

import structlog

from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import StoreUnavailable
from quorate.database.snapshot import ClusterSnapshot

LEASE_MARGIN = 0.5
"""Seconds that an observer adds to a lease: more than clocks drift apart within one."""

RETRY = 0.5
"""Seconds before the database is followed anew after it fell silent."""

_log = structlog.get_logger("view")


class ClusterView:
    """Follows the database. One per daemon; everybody who waits for a change of the cluster subscribes here."""

    def __init__(self, database: ClusterDatabase, me: NodeId) -> None:
        """See nothing until `start`."""
        self._database = database
        self._me = me
        self._snapshot: ClusterSnapshot | None = None
        self._seen: dict[NodeId, tuple[int, float]] = {}
        self._callbacks: list[Callable[[ClusterSnapshot], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._first = asyncio.Event()

    @property
    def snapshot(self) -> ClusterSnapshot:
        """The newest snapshot that this node has seen."""
        assert self._snapshot is not None, "the view is used before it was started"
        return self._snapshot

    async def start(self) -> None:
        """Begin to follow; return when the first snapshot is there."""
        self._task = asyncio.create_task(self._follow())
        await self._first.wait()

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def subscribe(self, callback: Callable[[ClusterSnapshot], None]) -> Callable[[], None]:
        """Call back after every change; returns the unsubscription."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def node_state(self, node: NodeId) -> NodeState:
        """The state of a node, by its lease as this node saw it move, and by the pause mark."""
        info = self.snapshot.nodes.get(node)
        if info is None:
            return NodeState.UNKNOWN
        lease = self.snapshot.leases.get(node)
        if lease is None:
            return NodeState.DOWN
        _, since = self._seen.get(node, (0, time.monotonic()))
        if time.monotonic() - since > lease.value.duration + LEASE_MARGIN:
            return NodeState.DOWN
        return NodeState.PAUSED if info.paused else NodeState.UP

    async def _follow(self) -> None:
        while True:
            try:
                async with aclosing(self._database.follow()) as snapshots:
                    async for snapshot in snapshots:
                        self._take(snapshot)
                return
            except StoreUnavailable as error:
                _log.warning("the database does not answer", sentence=error.sentence)
            except Exception:  # noqa: BLE001 - the supervisor of the view: without it the node would be blind for good
                _log.exception("following the database broke; it begins anew")
            await asyncio.sleep(RETRY)

    def _take(self, snapshot: ClusterSnapshot) -> None:
        for node, lease in snapshot.leases.items():
            if self._seen.get(node, (-1, 0.0))[0] != lease.value.sequence:
                self._seen[node] = (lease.value.sequence, time.monotonic())
        self._snapshot = snapshot
        self._first.set()
        for callback in tuple(self._callbacks):
            try:
                callback(snapshot)
            except Exception:  # noqa: BLE001 - one listener that breaks must not blind the others
                _log.exception(
                    "a listener of the view broke", listener=getattr(callback, "__qualname__", repr(callback))
                )
