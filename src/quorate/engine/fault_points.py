"""Where a test may hold a daemon, at an exact point of a migration, to do something terrible to somebody meanwhile.

The environment variable QUORATE_FAULT_POINTS names a directory. A daemon that comes to a point writes
`NODE.POINT.reached` there and goes no further on this path while `NODE.POINT.hold` exists; everything else of it goes
on. Without the variable none of this happens, and a point costs one comparison.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from enum import Enum
from pathlib import Path
from typing import Final, TypeAlias

VARIABLE: Final = "QUORATE_FAULT_POINTS"
_POLL: Final = 0.005

Spawn: TypeAlias = Callable[[Coroutine[object, object, None]], None]
"""Begins a task."""


class Point(Enum):
    """A point of a migration; in the order in which they are passed."""

    PREPARING = "preparing"
    """Destination: its QEMU listens, the source has not been told."""
    PRE_COPY = "pre-copy"
    """Source: memory flows, the guest runs."""
    STOPPED = "stopped"
    """Source: `stop` was answered; the brain has not heard of it."""
    COMPLETED = "completed"
    """Source: its QEMU says that everything is across; the brain has not heard of it."""
    CAS_SENT = "cas sent"
    """Source: the gift is in the database; the brain has not heard the answer."""
    GIVEN = "given"
    """Source: given and all across; `yours` is about to be noted."""
    YOURS_SENT = "yours sent"
    """Source: `yours` is noted and on its way; the destination has not heard it."""
    YOURS_HEARD = "yours heard"
    """Source: the destination has answered `yours`."""
    LOADED = "loaded"
    """Destination: its QEMU says that everything has arrived; the brain has not heard of it."""
    MARKED = "marked"
    """Destination: the guest runs and the mark is in the database; the brain has not heard the answer."""
    ENDING = "ending"
    """Source: it is about to end its QEMU."""
    TAKING_OVER = "taking over"
    """Coordinator: a dead node's group is about to be given to another one. Not of a migration."""


class FaultPoints:
    """The points of one node."""

    def __init__(self, node: str) -> None:
        """Be disabled unless the environment says otherwise."""
        directory = os.environ.get(VARIABLE)
        self._directory = Path(directory) if directory else None
        self._node = node

    async def reach(self, point: Point) -> None:
        """Come to a point; return when it may be passed."""
        if self._directory is None:
            return
        self._path(point, "reached").touch()
        while self._path(point, "hold").exists():  # noqa: ASYNC110 - another process takes it away
            await asyncio.sleep(_POLL)

    def then(
        self, point: Point, act: Callable[[], None], spawn: Callable[[Coroutine[object, object, None]], None]
    ) -> None:
        """Act once a point may be passed: now, if nobody holds it."""
        if self._directory is None:
            act()
        else:
            spawn(self._reach_then(point, act))

    async def _reach_then(self, point: Point, act: Callable[[], None]) -> None:
        await self.reach(point)
        act()

    def _path(self, point: Point, what: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{self._node}.{point.value}.{what}"
