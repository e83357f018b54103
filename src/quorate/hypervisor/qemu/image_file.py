"""A memory image on its way to or from a file: how far it is, and whether it moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.hypervisor.contract import Progress

_REPORT_EVERY: Final = 0.5

T = TypeVar("T")


async def see_through(
    work: Awaitable[T], look: Callable[[], int], report: Progress | None, patience: float | None = None
) -> T:
    """Wait for ``work`` and keep ``report`` told of the bytes that ``look`` counts, whether QEMU answers or not.

    Raises FaultError ERROR_TIMEOUT when there have been no more of them for ``patience`` seconds.
    """
    task = asyncio.ensure_future(work)
    seen, since = -1, time.monotonic()
    try:
        while not task.done():
            done, now = look(), time.monotonic()
            if done != seen:
                seen, since = done, now
            elif patience is not None and now - since > patience:
                raise FaultError(Status.ERROR_TIMEOUT, f"the memory image stood still for {patience:g} s")
            if report is not None:
                report(done)
            await asyncio.wait({task}, timeout=_REPORT_EVERY)
        return task.result()
    finally:
        task.cancel()


class Reading:
    """How far another process has read a file that we have open too."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self._pid = pid
        self._name = Path(f"/proc/self/fd/{descriptor}").readlink()
        self._position = 0

    def bytes_read(self) -> int:
        """Tell how far it was when it could last be seen."""
        with suppress(OSError):  # it has ended, or is not ours to look into
            for entry in Path(f"/proc/{self._pid}/fd").iterdir():
                if entry.readlink() == self._name:
                    self._position = max(self._position, _position(self._pid, entry.name))
        return self._position


def _position(pid: int, descriptor: str) -> int:
    first, _, _ = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().partition("\n")
    return int(first.removeprefix("pos:"))
