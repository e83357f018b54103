"""Looking after the embedded engine's file."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from quorate.database.maintenance import StoreStatus
from quorate.database.sqlite_file import SqliteFile

T = TypeVar("T")

BUSY_WAIT: Final = 5.0
LITTLE_SPACE: Final = 64 << 20
"""Bytes free on the disk below which the status complains."""


class SqliteMaintenance:
    """Looks after a database file, over a connection of its own that is open only while it works.

    The file forgets old changes by itself (``sqlite_file.KEEP_REVISIONS``); ``compact`` does it sooner.
    """

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self._path = path
        self._lock = threading.Lock()

    async def status(self) -> StoreStatus:
        """Look. Raises StoreUnavailable."""
        revision, size, in_use = await self._run(lambda file: (file.revision(), *file.sizes()))
        return StoreStatus(revision, size, in_use, quota_bytes=None, alarms=self._alarms(), members=())

    async def compact(self, revision: int) -> None:
        """Forget the changes up to a revision. ValueError: it is still to come. Raises StoreUnavailable."""
        await self._run(lambda file: file.compact(revision))

    async def defragment(self) -> None:
        """Write the file anew without its free pages; every transaction waits meanwhile. Raises StoreUnavailable."""
        await self._run(lambda file: file.vacuum())

    async def _run(self, work: Callable[[SqliteFile], T]) -> T:
        def in_thread() -> T:
            with self._lock:
                file = SqliteFile(self._path, BUSY_WAIT)
                try:
                    return work(file)
                finally:
                    file.close()

        return await asyncio.to_thread(in_thread)

    def _alarms(self) -> tuple[str, ...]:
        disk = os.statvfs(self._path.parent)
        free = disk.f_bavail * disk.f_frsize
        if free >= LITTLE_SPACE:
            return ()
        return (f"the disk of the cluster database {self._path} has only {free >> 20} MiB free: make room",)
