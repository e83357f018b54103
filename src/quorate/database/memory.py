"""The store in memory: for tests and for simulated worlds. Obeys the whole contract except that it forgets at exit.

Several stores may share one ``MemoryData``, as several nodes share one database.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence

from quorate.database.contract import (
    Change,
    Compacted,
    Compare,
    Outcome,
    Put,
    Record,
    Snapshot,
    StoreUnavailable,
    Write,
    check_key,
    check_transaction,
)
from quorate.database.maintenance import StoreStatus


class MemoryData:
    """The records, the revision and the newest changes; safe to use from several threads."""

    def __init__(self, keep: int = 10_000) -> None:
        """Keep the changes of the last ``keep`` revisions for watchers."""
        self.revision = 0
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._log: deque[tuple[Change, ...]] = deque(maxlen=keep)  # one batch per revision, without gaps
        self._listeners: list[Callable[[], None]] = []

    def get(self, key: str) -> Record | None:
        """Read one record."""
        with self._lock:
            return self._records.get(key)

    def range(self, prefixes: Sequence[str], after: int) -> Snapshot:
        """Read what lies under the prefixes."""
        with self._lock:
            found = sorted(
                (record.key, record)
                for record in self._records.values()
                if record.revision > after and record.key.startswith(tuple(prefixes))
            )
            return Snapshot(self.revision, tuple(record for _, record in found))

    def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        """Compare and write."""
        check_transaction(compares, writes)
        with self._lock:
            stands = tuple(self._records.get(compare.key) for compare in compares)
            for compare, record in zip(compares, stands, strict=True):
                if (record.revision if record else 0) != compare.revision:
                    return Outcome(False, self.revision, stands)
            changes = self._apply(writes)
            outcome = Outcome(True, self.revision)
            listeners = tuple(self._listeners) if changes else ()
        for listener in listeners:
            listener()
        return outcome

    def _apply(self, writes: Sequence[Write]) -> tuple[Change, ...]:
        revision = self.revision + 1
        changes = []
        for write in sorted(writes, key=lambda write: write.key):
            if isinstance(write, Put):
                self._records[write.key] = Record(write.key, write.value, revision)
                changes.append(Change(write.key, write.value, revision))
            elif self._records.pop(write.key, None) is not None:
                changes.append(Change(write.key, None, revision))
        if changes:
            self.revision = revision
            self._log.append(tuple(changes))
        return tuple(changes)

    def changes(self, after: int) -> tuple[tuple[Change, ...], ...]:
        """The changes after a revision, one batch per revision. Raises Compacted."""
        with self._lock:
            oldest = self.revision - len(self._log)
            if after < oldest:
                raise Compacted(f"changes up to revision {oldest} are gone, those after {after} were asked for")
            return tuple(self._log[index] for index in range(after - oldest, len(self._log)))

    def compact(self, revision: int) -> None:
        """Forget the changes up to a revision. ValueError: it is still to come."""
        with self._lock:
            if revision > self.revision:
                raise ValueError(f"revision {revision} is still to come: the store is at {self.revision}")
            while self._log and self._log[0][0].revision <= revision:
                self._log.popleft()

    def size(self) -> int:
        """Bytes of all keys and values that stand now."""
        with self._lock:
            return sum(len(record.key) + len(record.value) for record in self._records.values())

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` after every change, from the thread that made it; returns how to stop that."""
        with self._lock:
            self._listeners.append(listener)

        def stop() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return stop


class MemoryStore:
    """One node's store in memory."""

    def __init__(self, data: MemoryData | None = None) -> None:
        """Share ``data`` with other stores, or begin with an empty one."""
        self.data = MemoryData() if data is None else data
        self._closed = False
        self._wakers: set[Callable[[], None]] = set()

    async def get(self, key: str) -> Record | None:
        """Read one record."""
        check_key(key)
        self._check_open()
        return self.data.get(key)

    async def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        """Read all records under the prefixes at one revision."""
        self._check_open()
        return self.data.range(prefixes, after)

    async def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        """Write everything if every compare holds."""
        check_transaction(compares, writes)
        self._check_open()
        return self.data.transact(compares, writes)

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[tuple[Change, ...], None]:
        """Tell the changes under a prefix after a revision."""
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

        self._check_open()
        stop = self.data.listen(wake)
        self._wakers.add(wake)
        try:
            while not self._closed:
                news.clear()
                for batch in self.data.changes(after) if self.data.revision > after else ():
                    after = batch[0].revision
                    wanted = tuple(change for change in batch if change.key.startswith(prefix))
                    if wanted:
                        yield wanted
                    if self._closed:
                        return
                await news.wait()
        finally:
            self._wakers.discard(wake)
            stop()

    async def close(self) -> None:
        """End all watches."""
        self._closed = True
        for wake in tuple(self._wakers):
            wake()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")


class MemoryBlockingStore:
    """The blocking face of the store in memory."""

    def __init__(self, data: MemoryData) -> None:
        """Share the data of a ``MemoryStore``."""
        self._data = data
        self._closed = False

    def get(self, key: str) -> Record | None:
        """Read one record."""
        check_key(key)
        self._check_open()
        return self._data.get(key)

    def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        """Read all records under the prefixes at one revision."""
        self._check_open()
        return self._data.range(prefixes, after)

    def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        """Write everything if every compare holds."""
        check_transaction(compares, writes)
        self._check_open()
        return self._data.transact(compares, writes)

    def close(self) -> None:
        """Let go of the data."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")


class MemoryMaintenance:
    """Looks after data in memory."""

    def __init__(self, data: MemoryData) -> None:
        """Look after the data of a ``MemoryStore``."""
        self._data = data

    async def status(self) -> StoreStatus:
        """Look."""
        size = self._data.size()
        return StoreStatus(self._data.revision, size, size, quota_bytes=None, alarms=(), members=())

    async def compact(self, revision: int) -> None:
        """Forget the changes up to a revision."""
        self._data.compact(revision)

    async def defragment(self) -> None:
        """Nothing to give back."""
