"""The embedded engine: several processes on one machine share a SQLite file.

::

    loop ──▶ writer thread ──▶ own connection ──commit──▶ file
      │                             └──after the commit──▶ datagram to every watching process (signals.py)
      ├────▶ reader thread ──▶ own connection; also moves the WAL into the file from time to time
      ├────▶ commit sight: has anything been committed since the last answer? asked on the loop itself
      └◀──── feed thread ──▶ own connection; datagram or slow poll ──▶ reads the log of changes once, for all watches

Nothing here blocks the loop, and nothing waits for ever: a call that gets no answer in time raises StoreUnavailable.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final, TypeVar

from quorate.clusapi.errors import FaultError
from quorate.database.contract import (
    Change,
    Compare,
    Outcome,
    Record,
    Snapshot,
    StoreUnavailable,
    Write,
    check_key,
    check_transaction,
)
from quorate.database.feed import ChangeFeed, FeedSource
from quorate.database.signals import SignalDirectory
from quorate.database.sqlite_file import KEEP_REVISIONS, ChangeLog, CommitSight, SqliteFile

T = TypeVar("T")

BUSY_WAIT: Final = 2.0
ANSWER_WAIT: Final = 5.0
POLL: Final = 1.0
CHECKPOINT_EVERY: Final = 500  # revisions


def default_signals(path: Path) -> Path:
    """Where the watchers of a database have their sockets unless told otherwise: beside the file."""
    return path.with_name(path.name + ".signals")


class SqliteStore:
    """A node's store in a SQLite file. Belongs to the loop that first uses it."""

    def __init__(
        self,
        path: Path,
        signals: Path | None = None,
        *,
        busy_wait: float = BUSY_WAIT,
        answer_wait: float = ANSWER_WAIT,
        poll: float | None = POLL,
        keep: int = KEEP_REVISIONS,
    ) -> None:
        """Use the file, which is made at first use; ``signals`` is the directory for the watchers' sockets.

        ``busy_wait`` bounds the wait for other processes' transactions and ``answer_wait`` any call; ``poll`` is how
        often watches look without being told (None: never); ``keep`` revisions of changes are kept for watchers.
        """
        self._path = path
        self._directory = SignalDirectory(default_signals(path) if signals is None else signals)
        self._write_file = SqliteFile(path, busy_wait, keep)
        self._read_file = SqliteFile(path, busy_wait, keep)
        self._sight = CommitSight(path)
        self._known: tuple[int | None, int] = (None, 0)
        """What the sight told, and a revision that was read after it did."""
        self._writer = ThreadPoolExecutor(1, "quorate-database-writer")
        self._reader = ThreadPoolExecutor(1, "quorate-database-reader")
        self._busy_wait = busy_wait
        self._answer_wait = answer_wait
        self._poll = poll
        self._feed: ChangeFeed | None = None
        self._closed = False
        self._checkpointed: int | None = None  # the revision at the last checkpoint

    async def open(self) -> None:
        """Open the file now, to hear early what is wrong with it. Raises FaultError."""
        await self._run(self._reader, self._read_file.revision)

    async def get(self, key: str) -> Record | None:
        """Read one record."""
        check_key(key)
        return await self._run(self._reader, lambda: self._read_file.get(key))

    async def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        """Read all records under the prefixes at one revision.

        The question for the revision alone is asked with every call of every client: as long as nobody has committed
        anything it costs no thread.
        """
        if prefixes:
            return await self._run(self._reader, lambda: self._read_file.range(prefixes, after))
        self._check_open()
        seen, revision = self._known
        if seen is None or seen != self._sight.look():
            self._known = await self._run(self._reader, self._look_and_read)
            revision = self._known[1]
        return Snapshot(revision, ())

    async def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        """Write everything if every compare holds."""
        check_transaction(compares, writes)
        outcome = await self._run(self._writer, lambda: _transact(self._write_file, self._directory, compares, writes))
        self._on_revision(outcome.revision)
        return outcome

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[tuple[Change, ...], None]:
        """Tell the changes under a prefix after a revision."""
        self._check_open()
        if self._feed is None:
            file = SqliteFile(self._path, self._busy_wait)
            source = FeedSource(file, self._directory, self._poll, self._changes, self._on_revision)
            self._feed = ChangeFeed(source)
        async with aclosing(self._feed.watch(prefix, after)) as batches:
            async for batch in batches:
                yield batch

    async def close(self) -> None:
        """End all watches and close the connections, after the transactions that were sent."""
        if self._closed:
            return
        self._closed = True
        if self._feed is not None:
            await self._feed.close(self._answer_wait)
        loop = asyncio.get_running_loop()
        closing = (
            loop.run_in_executor(self._writer, self._write_file.close),
            loop.run_in_executor(self._reader, self._close_reader),
        )
        self._writer.shutdown(wait=False)
        self._reader.shutdown(wait=False)
        await asyncio.wait(closing, timeout=self._answer_wait)
        self._directory.close()

    # --- Parts -----------------------------------------------------------------------------------------------------

    def _look_and_read(self) -> tuple[int | None, int]:
        """In this order: a commit between the two makes the answer newer than what was seen, never older."""
        self._sight.open()
        seen = self._sight.look()
        return seen, self._read_file.revision()

    def _close_reader(self) -> None:
        self._sight.close()
        self._read_file.close()

    async def _changes(self, after: int) -> ChangeLog:
        return await self._run(self._reader, lambda: self._read_file.changes(after))

    def _on_revision(self, revision: int) -> None:
        """Move the WAL into the file from time to time, where no transaction waits for it."""
        if self._checkpointed is None:
            self._checkpointed = revision
        elif revision - self._checkpointed >= CHECKPOINT_EVERY and not self._closed:
            self._checkpointed = revision
            self._reader.submit(_checkpoint, self._read_file)

    async def _run(self, executor: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        self._check_open()
        try:
            async with asyncio.timeout(self._answer_wait):
                return await asyncio.get_running_loop().run_in_executor(executor, call)
        except TimeoutError:
            sentence = f"the cluster database {self._path} gave no answer within {self._answer_wait:g} s"
            raise StoreUnavailable(sentence) from None

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")


class SqliteBlockingStore:
    """The store without asyncio, on a connection of its own; for one thread, such as the one that renews the lease."""

    def __init__(self, path: Path, signals: Path | None = None, *, busy_wait: float = BUSY_WAIT) -> None:
        """Use the file, which is made at first use; ``busy_wait`` bounds the wait for others' transactions."""
        self._directory = SignalDirectory(default_signals(path) if signals is None else signals)
        self._file = SqliteFile(path, busy_wait)
        self._closed = False

    def get(self, key: str) -> Record | None:
        """Read one record."""
        self._check_open()
        return self._file.get(key)

    def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        """Read all records under the prefixes at one revision."""
        self._check_open()
        return self._file.range(prefixes, after)

    def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        """Write everything if every compare holds."""
        self._check_open()
        return _transact(self._file, self._directory, compares, writes)

    def close(self) -> None:
        """Close the connection."""
        self._closed = True
        self._file.close()
        self._directory.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")


def _transact(
    file: SqliteFile, directory: SignalDirectory, compares: Sequence[Compare], writes: Sequence[Write]
) -> Outcome:
    outcome, changed = file.transact(compares, writes)
    if changed:
        directory.notify()
    return outcome


def _checkpoint(file: SqliteFile) -> None:
    with suppress(FaultError):  # a database that is in trouble says so at the next call
        file.checkpoint()
