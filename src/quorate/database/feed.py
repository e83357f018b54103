"""One reading of the log of changes for all watches of a process.

A thread waits for a datagram or the slow poll and reads what is new, once; the loop wakes only when there is something
to tell. The newest batches are kept at hand. A watch that is further behind than these reads the log by itself, so that
nothing is ever dropped and nothing grows without bound.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.database.contract import Change, Compacted, StoreUnavailable
from quorate.database.signals import SignalDirectory, SignalSocket
from quorate.database.sqlite_file import ChangeLog, SqliteFile

_AT_HAND: Final = 512  # batches
_RETRY: Final = 0.5

Batch = tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class FeedSource:
    """Where the feed reads: ``file`` is a connection of the feed's own, ``read`` asks the store's reader thread."""

    file: SqliteFile
    directory: SignalDirectory
    poll: float | None  # how often to look without being told; None: never
    read: Callable[[int], Awaitable[ChangeLog]]
    on_revision: Callable[[int], None]


class ChangeFeed:
    """The changes of a store as they happen. Belongs to the running loop."""

    def __init__(self, source: FeedSource) -> None:
        """Start the thread."""
        self._source = source
        self._loop = asyncio.get_running_loop()
        # The loop's part:
        self._failure: str | None = None  # why the thread cannot read
        self._batches: deque[Batch] = deque()  # every batch in (base, position]
        self._base: int | None = None  # None: the thread has not begun
        self._position = 0
        self._moved = asyncio.Event()  # set, and replaced, whenever one of the above changes
        # The thread's part:
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._socket: SignalSocket | None = None
        self._thread = threading.Thread(target=self._run, name="quorate-database-feed", daemon=True)
        self._thread.start()

    # --- On the loop -----------------------------------------------------------------------------------------------

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        """The changes under a prefix after a revision; see ``Store.watch``."""
        while not self._closed.is_set():
            moved = self._moved
            if self._base is None or after < self._base:
                log = await self._source.read(after)
                batches, position = log.batches, log.revision
            else:
                batches, position = self._at_hand(after), self._position
            for batch in batches:
                wanted = tuple(change for change in batch if change.key.startswith(prefix))
                if wanted and not self._closed.is_set():
                    yield wanted
            after = max(after, position)
            await moved.wait()
            if self._failure is not None and not self._closed.is_set():
                raise StoreUnavailable(self._failure)

    async def close(self, wait: float) -> None:
        """End all watches and the thread; it is left to itself if it hangs longer than ``wait``."""
        self._closed.set()
        with self._lock:
            if self._socket is not None:
                self._socket.interrupt()
        self._move()
        await asyncio.to_thread(self._thread.join, wait)

    def _at_hand(self, after: int) -> tuple[Batch, ...]:
        newest = takewhile(lambda batch: batch[0].revision > after, reversed(self._batches))
        return tuple(newest)[::-1]

    def _begin(self, revision: int) -> None:
        """What is at hand begins here; watches that are further behind read the log, which tells them if it is gone."""
        self._base = self._position = revision
        self._batches.clear()
        self._failure = None
        self._move()

    def _take(self, log: ChangeLog) -> None:
        self._batches.extend(log.batches)
        while len(self._batches) > _AT_HAND:
            self._base = self._batches.popleft()[0].revision
        self._position = log.revision
        self._source.on_revision(log.revision)
        self._move()

    def _fail(self, sentence: str) -> None:
        self._failure = sentence
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    # --- In the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with suppress(RuntimeError), closing(self._source.file):  # RuntimeError: the loop has ended
            while not self._closed.is_set():
                try:
                    self._follow()
                except Compacted:
                    continue  # begin anew at what is there now
                except (FaultError, OSError) as error:
                    sentence = f"changes of the cluster database cannot be heard of: {error}"
                    self._loop.call_soon_threadsafe(self._fail, sentence)
                    self._closed.wait(_RETRY)

    def _follow(self) -> None:
        """Read whatever is new, until something fails or the feed is closed."""
        socket = self._source.directory.listen()
        with self._lock:
            self._socket = socket
        try:
            position = self._source.file.revision()
            self._loop.call_soon_threadsafe(self._begin, position)
            while not self._closed.is_set():
                log = self._source.file.changes(position)
                if log.revision > position:
                    position = log.revision
                    self._loop.call_soon_threadsafe(self._take, log)
                socket.wait(self._source.poll)
        finally:
            with self._lock:
                self._socket = None
            socket.close()
