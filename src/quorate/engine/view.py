"""What this node sees of the cluster: the newest snapshot, and since when each lease has not moved."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import structlog

from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState
from quorate.cluster.observer import Sighting, Sightings, node_state
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import StoreUnavailable
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.guard_file import boottime
from quorate.engine.lease import lease_to_brain

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
        self._sightings = Sightings()
        self._node_state: Callable[[NodeId], NodeState] = self._plain_node_state
        self._callbacks: list[Callable[[ClusterSnapshot], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._first = asyncio.Event()

    @property
    def snapshot(self) -> ClusterSnapshot:
        """The newest snapshot that this node has seen."""
        assert self._snapshot is not None, "the view is used before it was started"
        return self._snapshot

    @property
    def revision(self) -> int:
        """The revision of the newest snapshot, 0 before the first. May be asked by any thread."""
        return 0 if self._snapshot is None else self._snapshot.revision

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
        """The state of a node: as the membership judges it, or by its lease as this view saw it move."""
        return self._node_state(node)

    def judge_by(self, node_state: Callable[[NodeId], NodeState]) -> None:
        """Let the membership say what state a node is in: it knows whether the silence is this node's own."""
        self._node_state = node_state

    def sighting(self, node: NodeId) -> Sighting | None:
        """Since when the lease of a node has stood as it stands in the newest snapshot; None: it has none."""
        return self._sightings.of.get(node)

    def _plain_node_state(self, node: NodeId) -> NodeState:
        info, lease, sighting = self.snapshot.nodes.get(node), self.snapshot.leases.get(node), self.sighting(node)
        if info is None:
            return NodeState.UNKNOWN
        if lease is None or sighting is None:
            return NodeState.DOWN
        return node_state(lease_to_brain(lease.value), sighting.at, boottime(), paused=info.paused)

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
        if self._snapshot is not None and snapshot.revision < self._snapshot.revision:
            # What was said of this view (`Lease.seen`) must stay true: it never goes back.
            _log.warning("an older state of the database was read", revision=snapshot.revision, newest=self.revision)
            return
        revisions = {node: lease.revision for node, lease in snapshot.leases.items()}
        self._sightings = self._sightings.seen(revisions, boottime())
        self._snapshot = snapshot
        self._first.set()
        for callback in tuple(self._callbacks):
            try:
                callback(snapshot)
            except Exception:  # noqa: BLE001 - one listener that breaks must not blind the others
                _log.exception(
                    "a listener of the view broke", listener=getattr(callback, "__qualname__", repr(callback))
                )
