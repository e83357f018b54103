"""Finds out whether a resource that is online still works: LooksAlive often, IsAlive seldom.

IsAlive is asked at once when LooksAlive says no; only its no counts. Source: page resource-failure.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from quorate.clusapi.errors import ClusterError
from quorate.hosting.resource_type import HolderLost, TypeTraits


class Asking(Protocol):
    """Calls an entry point by its name when it is its turn."""

    def __call__(self, name: str, /) -> Awaitable[bool]:
        """Call ``looks_alive`` or ``is_alive``. Raises ClusterError."""
        ...


class Poller:
    """Polls one resource while it is online."""

    def __init__(
        self, name: str, ask: Asking, traits: Callable[[], TypeTraits], on_dead: Callable[[str], None]
    ) -> None:
        """Take how to ask, the intervals that hold at the moment, and whom to tell of a resource that does not work."""
        self._name = name
        self._ask = ask
        self._traits = traits
        self._on_dead = on_dead
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake: asyncio.Event | None = None  # of the task that counts; another's answers do not

    def begin(self, *, at_once: bool) -> None:
        """Poll from now on; ``at_once``: ask is_alive first of all."""
        self.stop()
        if self._traits().notifies_failure:
            return
        self._wake = asyncio.Event()
        task = asyncio.create_task(self._poll(self._wake, at_once=at_once), name=f"polling {self._name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Poll no more. A call that is under way is not broken off; nobody hears what it answers."""
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    def refresh(self) -> None:
        """Let new intervals hold at once."""
        if self._wake is not None:
            self.begin(at_once=False)

    async def close(self) -> None:
        """Poll no more, and break off what is under way."""
        self.stop()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _poll(self, wake: asyncio.Event, *, at_once: bool) -> None:
        clock = asyncio.get_running_loop().time
        asked = float("-inf") if at_once else clock()
        try:
            while self._wake is wake:
                if clock() - asked >= self._traits().is_alive_interval:
                    asked = clock()
                    if not await self._ask("is_alive"):
                        self._tell(wake, "is_alive says that it does not work")
                        return
                due = asked + self._traits().is_alive_interval - clock()
                if await _happens(wake, max(0.0, min(self._traits().looks_alive_interval, due))):
                    return
                if not await self._ask("looks_alive"):
                    asked = float("-inf")
        except HolderLost:
            return  # the resource is told of that by itself
        except ClusterError as error:
            self._tell(wake, error.sentence)

    def _tell(self, wake: asyncio.Event, sentence: str) -> None:
        if self._wake is wake:
            self._on_dead(sentence)


async def _happens(event: asyncio.Event, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True
