"""The cluster as one watch has told it so far: so that reading the cluster need not mean reading all of its records.

A reader asks the store for its revision, which is a linearizable read of nothing, and waits until the watch has come
so far: what was answered to anybody before is then in the snapshot.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from quorate.database.contract import Change, Snapshot
from quorate.database.snapshot import ClusterSnapshot, SnapshotBuilder

STILL: Final = 0.1
"""Seconds without news after which a revision is not waited for any more: it may be a stranger's in the same etcd."""


class Follower:
    """Takes what a watch tells, batch by batch."""

    def __init__(self, records: Snapshot) -> None:
        """Begin with what is there. Raises RefusalError: no cluster; FaultError: it cannot be understood."""
        self._builder = SnapshotBuilder(records)
        self._moved = asyncio.Event()  # set, and replaced, with every batch
        self.snapshot = self._builder.build()
        """The cluster at the last change that showed in it."""

    @property
    def revision(self) -> int:
        """How far the watch has come."""
        return self._builder.revision

    def apply(self, batch: Iterable[Change]) -> bool:
        """Take a batch; answers whether it shows in the snapshot."""
        seen = self._builder.apply(batch)
        if seen:
            self.snapshot = self._builder.build()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        return seen

    async def reach(self, revision: int) -> ClusterSnapshot | None:
        """Wait until the watch has come to a revision, as long as it moves; None when it stands still before."""
        while self.revision < revision:
            try:
                async with asyncio.timeout(STILL):
                    await self._moved.wait()
            except TimeoutError:
                return None
        return replace(self.snapshot, revision=self.revision)
