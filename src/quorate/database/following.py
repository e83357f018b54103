"""The cluster as one watch has told it so far: so that reading the cluster need not mean reading all of its records.

A reader asks the store for its revision, which is a linearizable read of nothing, and waits until the watch has come
so far: what was answered to anybody before is then there. Whoever asks while a question is under way shares the next
one, so that a hundred readers at a time cost two questions.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from quorate.database.contract import Change, Snapshot, Store
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.snapshot_builder import SnapshotBuilder
from quorate.database.values import RegistryValues

STILL: Final = 0.1
"""Seconds without news after which a revision is not waited for any more: it may be a stranger's in the same etcd."""
PATIENCE: Final = 0.1
"""Seconds that a question waits for the end of the one before it."""


class Follower:
    """Takes what a watch tells, batch by batch."""

    def __init__(self, records: Snapshot) -> None:
        """Begin with what is there. Raises RefusalError: no cluster; FaultError: it cannot be understood."""
        self._builder = SnapshotBuilder(records)
        self._moved = asyncio.Event()  # set, and replaced, with every batch
        self.seen = self._builder.build()
        """The cluster at the last change that showed in it."""
        self._newest = self.seen

    @property
    def revision(self) -> int:
        """How far the watch has come."""
        return self._builder.revision

    @property
    def snapshot(self) -> ClusterSnapshot:
        """The cluster at that revision."""
        if self._newest.revision != self.revision:
            self._newest = replace(self.seen, revision=self.revision)
        return self._newest

    def key_values(self, path: str) -> RegistryValues:
        """The values of a registry key at that revision; none when there is no such key."""
        return self._builder.key_values(path)

    def apply(self, batch: Iterable[Change]) -> bool:
        """Take a batch; answers whether it shows in the snapshot."""
        shows = self._builder.apply(batch)
        if shows:
            self.seen = self._newest = self._builder.build()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        return shows

    async def reach(self, revision: int) -> bool:
        """Wait until the watch has come to a revision; answers False when it stands still before."""
        while self.revision < revision:
            try:
                async with asyncio.timeout(STILL):
                    await self._moved.wait()
            except TimeoutError:
                return False
        return True


class Revisions:
    """Asks a store for its revision on behalf of many."""

    def __init__(self, store: Store) -> None:
        """Ask nothing yet."""
        self._store = store
        self._asking: asyncio.Future[None] | None = None
        """Done when the question that was asked last is answered; None when it is."""
        self._next: asyncio.Task[int] | None = None

    async def now(self) -> int:
        """The revision at this moment or a later one. Raises StoreUnavailable."""
        if self._asking is None:
            return await self._ask()
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._asking), name="the store's revision")
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())  # heard, if nobody waits
        return await asyncio.shield(self._next)

    async def _ask_after(self, asking: asyncio.Future[None]) -> int:
        await asyncio.wait((asking,), timeout=PATIENCE)
        self._next = None  # who comes from now on waits for another one
        return await self._ask()

    async def _ask(self) -> int:
        asking = self._asking = asyncio.get_running_loop().create_future()
        try:
            return (await self._store.range()).revision
        finally:
            asking.set_result(None)
            if self._asking is asking:
                self._asking = None
