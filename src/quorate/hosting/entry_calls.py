"""Calls of the entry points of one resource: one at a time, prepared, and timed.

Entry points are called one at a time, except terminate, which may overlap the others; a call that begins while
terminate runs waits for its end. A call is never broken off because its answer is not wanted any more: until it has
returned, or has taken longer than DeadlockTimeout, no other begins.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.status import Status
from quorate.hosting.resource_type import OpenedResource, ResourceType

T = TypeVar("T")


class EntryCalls:
    """The calls for one resource."""

    def __init__(self, type_: ResourceType, opened: Callable[[], OpenedResource], limit: Callable[[], float]) -> None:
        """Take the type, and how to learn the facts and the DeadlockTimeout (seconds) that hold at the moment."""
        self._type = type_
        self._opened = opened
        self._limit = limit
        self._one = asyncio.Lock()
        self._terminating: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Have the resource to oneself, but for terminate."""
        async with self._one:
            while self._terminating is not None and not self._terminating.done():
                await asyncio.wait((self._terminating,))
            yield

    async def enter(self, name: str, call: Callable[[], Awaitable[T]], *, patient: bool = True) -> T:
        """Call an entry point when it is its turn. Raises ClusterError, as :meth:`timed` does.

        Who is not ``patient`` does not wait for those either who wait for a monitor process that crashes all the time.
        """
        if not patient:
            await self._type.prepare(self._opened(), self._limit(), patient=False)
        async with self.turn():
            return await self.timed(name, call, patient=patient)

    def note_terminating(self, task: asyncio.Task[None]) -> asyncio.Task[None] | None:
        """Remember the task that calls terminate from now on; returns the one before, which it has to wait for."""
        earlier, self._terminating = self._terminating, task
        return earlier

    async def timed(self, name: str, call: Callable[[], Awaitable[T]], *, patient: bool = True) -> T:
        """Call an entry point within DeadlockTimeout.

        Raises what it raised; FaultError 5910 when it does not return in time, 5930 for an exception that is no
        ClusterError, and what :meth:`ResourceType.prepare` raises.
        """
        limit, resource = self._limit(), self._opened()

        async def on_hung(sentence: str) -> None:
            await self._type.on_deadlock(resource.resource_id, sentence)

        async def prepare() -> None:
            await self._type.prepare(resource, limit, patient=patient)

        await supervised(name, resource.type_name, prepare())
        return await timed_call(f"{name} of {resource.name!r}", resource.type_name, limit, call, on_hung)


async def timed_call(
    name: str,
    type_name: str,
    limit: float,
    call: Callable[[], Awaitable[T]],
    on_hung: Callable[[str], Awaitable[None]],
) -> T:
    """Call an entry point of a type within ``limit`` seconds; ``on_hung`` hears of one that does not return in time.

    Raises the ClusterError that it raised, FaultError 5930 for any other exception, 5910 when it does not return in
    time.
    """
    try:
        async with asyncio.timeout(limit):
            return await supervised(name, type_name, call())
    except TimeoutError:  # the scope's: what the call raises is a ClusterError by now
        sentence = f"{name} did not return within {limit:g} s (DeadlockTimeout)"
        await on_hung(sentence)
        raise FaultError(Status.ERROR_RESOURCE_CALL_TIMED_OUT, sentence) from None


async def supervised(name: str, type_name: str, call: Awaitable[T]) -> T:
    """Wait for a call of strangers' code. Raises ClusterError as it comes, FaultError 5930 for any other exception."""
    try:
        return await call
    except ClusterError:
        raise
    except Exception as error:  # the supervisor of types
        sentence = f"{type_name} raised {type(error).__name__} in {name}: {error}"
        raise FaultError(Status.ERROR_EXCEPTION_IN_RESOURCE_CALL, sentence) from error
