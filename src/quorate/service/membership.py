"""Whether this node may take part: it is asked at the start, and watched from then on."""

import asyncio

import structlog

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import StoreUnavailable
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.view import ClusterView

PAUSE = 0.5
"""Seconds before a database that did not answer is asked again."""

_log = structlog.get_logger("membership")


async def take_part(database: ClusterDatabase, node: NodeId) -> None:
    """Note which functional levels this program knows; wait for the database as long as it takes.

    Raises:
        RefusalError: 5052, the node is not in the cluster, or no more; 5904 or 5075, the cluster's functional level is
            none that this program knows.
    """
    told = False
    while True:
        try:
            return await database.members.note_levels(node)
        except StoreUnavailable as error:
            if not told:
                _log.warning("the node waits for the database", sentence=error.sentence)
            told = True
            await asyncio.sleep(PAUSE)


class EvictionWatch:
    """Notices that this node is in the cluster no more."""

    def __init__(self, database: ClusterDatabase, view: ClusterView, node: NodeId) -> None:
        """Watch a view that has been started."""
        self._database = database
        self._node = node
        self._gone = asyncio.Event()
        self._on_view(view.snapshot)
        self._unsubscribe = view.subscribe(self._on_view)

    async def wait(self) -> RefusalError:
        """Wait until the node was evicted; what is to be said then."""
        await self._gone.wait()
        self._unsubscribe()
        try:
            return await self._database.members.not_a_member(self._node)
        except StoreUnavailable:
            sentence = f"node {self._node} was evicted from the cluster"
            return RefusalError(Status.ERROR_CLUSTER_NODE_NOT_MEMBER, sentence)

    def _on_view(self, snapshot: ClusterSnapshot) -> None:
        if self._node not in snapshot.nodes:
            self._gone.set()
