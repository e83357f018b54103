"""The two kinds of client, over MS-CMRP instead of HTTP."""

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import aclosing
from queue import SimpleQueue
from typing import Final, TypeVar

from quorate.client import wire
from quorate.client.account import Account
from quorate.client.address import NodeAddress
from quorate.client.asynchronous import AsyncClient
from quorate.client.blocking import BlockingClient
from quorate.client.mscmrp.link import Link
from quorate.client.mscmrp.notifications import notifications
from quorate.client.mscmrp.performers import PERFORMERS, reason
from quorate.client.mscmrp.places import Place, parse_places
from quorate.client.mscmrp.session import Session
from quorate.client.mscmrp.streams import event_filters, follow_migration, followed_machine
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_types import Operation
from quorate.clusapi.operation_values import FieldValue, Values, inputs_from_json, inputs_to_json
from quorate.clusapi.operations import OPERATIONS, needs_full_access
from quorate.clusapi.status import Status
from quorate.dcerpc.errors import ConnectionLost, ProtocolError, SecurityError

T = TypeVar("T")
Part = tuple[str, JsonObject]
_BROKEN: Final = (ConnectionLost, ProtocolError, SecurityError)


class WireClient(AsyncClient):
    """A cluster, by way of whichever of its servers answers."""

    def __init__(self, places: tuple[Place, ...], account: Account, *, full_access: bool = True) -> None:
        """Reach these servers, the first that answers first; without full access changes are refused (status 5)."""
        super().__init__(addresses_of(places), full_access=full_access)
        self._link = Link(places, account)
        self._is_full = full_access
        self._account = account

    async def close(self) -> None:
        """End the connection."""
        await self._link.close()

    async def call(self, name: str, /, **inputs: FieldValue) -> Values:
        """Carry out an operation. Raises ClusterError; after 1726 it is not known whether a change happened."""
        return await self.carry_out(name, inputs, full_access=self._is_full)

    async def carry_out(self, name: str, inputs: dict[str, FieldValue], *, full_access: bool) -> Values:
        """The same, with the access of a handle."""
        operation = OPERATIONS.get(name)
        if operation is None:
            raise CallerError(Status.ERROR_CALL_NOT_IMPLEMENTED, f'there is no operation "{name}"')
        checked = inputs_from_json(operation, inputs_to_json(operation, Values(inputs)))
        _check_access(operation, checked, full_access)
        performer = PERFORMERS.get(name)
        if performer is None:
            raise CallerError(Status.ERROR_CALL_NOT_IMPLEMENTED, reason(name))
        last: Exception | None = None
        for _ in range(len(self._link.places) + 1):
            session = Session(await self._link.connected())
            try:
                return Values(await performer(session, checked))
            except _BROKEN as error:
                await self._link.leave(session.client)
                last = error
                if session.has_asked_for_change:
                    raise wire.broken(f"{error.sentence}; it is not known whether it was done") from error
        raise wire.unreachable(f"the servers break the connection again and again: {last}") from last

    async def stream(self, target: str) -> AsyncGenerator[Part, None]:
        """Follow a migration, or events, until it ends. Raises ClusterError when it does not begin or breaks."""
        machine = followed_machine(target)
        if machine is not None:

            async def call(name: str, inputs: dict[str, str]) -> Values:
                return await self.call(name, **inputs)

            async with aclosing(follow_migration(machine, call)) as parts:
                async for part in parts:
                    yield part
            return
        filters = event_filters(target)
        link = Link(self._link.places, self._account)  # of its own: the call that waits must hold up no other
        try:
            session = Session(await link.connected())
            async with aclosing(notifications(session, filters)) as events:
                async for event in events:
                    yield "event", event
        except _BROKEN as error:
            raise wire.broken(f"the stream broke: {error.sentence}") from error
        finally:
            await link.close()


class BlockingWireClient(BlockingClient):
    """The same with calls that block, from any thread; an event loop of its own makes them."""

    def __init__(self, places: tuple[Place, ...], account: Account) -> None:
        """Reach these servers, the first that answers first."""
        super().__init__(addresses_of(places))
        self._loop = asyncio.new_event_loop()
        self._client = WireClient(places, account)
        thread = threading.Thread(target=self._loop.run_forever, name="ms-cmrp", daemon=True)
        thread.start()
        self._end = weakref.finalize(self, _end, self._loop, self._client, thread)

    @classmethod
    def reaching(cls, address: str, account: Account) -> "BlockingWireClient":
        """Find the servers of an address. Raises CallerError 87."""
        return cls(parse_places(address), account)

    def close(self) -> None:
        """End the connection and the thread; at the end of the process this happens by itself."""
        self._end()

    def call(self, name: str, /, *, full_access: bool = True, **inputs: FieldValue) -> Values:
        """Carry out an operation. Raises ClusterError; after 1726 it is not known whether a change happened."""
        return self._wait(self._client.carry_out(name, inputs, full_access=full_access))

    def stream(self, target: str) -> Iterator[Part]:
        """Follow a migration, or events, until it ends. Raises ClusterError when it does not begin or breaks."""
        parts: SimpleQueue[Part | None] = SimpleQueue()
        is_over = threading.Event()
        following = self._wait(self._begin_following(target, parts, is_over))
        try:
            while (part := parts.get()) is not None:
                yield part
            following.result()
        finally:
            self._loop.call_soon_threadsafe(following.cancel)  # for who leaves early; else it has no effect
            is_over.wait()

    async def _begin_following(
        self, target: str, parts: SimpleQueue[Part | None], is_over: threading.Event
    ) -> asyncio.Task[None]:
        """Have the parts of a stream handed over, and None at its end, however it ends."""

        async def follow() -> None:
            async with aclosing(self._client.stream(target)) as stream:
                async for part in stream:
                    parts.put(part)

        def on_end(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                task.exception()  # who has left does not ask for it
            parts.put(None)
            is_over.set()

        task = asyncio.create_task(follow())
        task.add_done_callback(on_end)
        return task

    def _wait(self, made: Coroutine[object, object, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(made, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # somebody has pressed Ctrl-C; it has no effect on what has ended
            raise


def addresses_of(places: tuple[Place, ...]) -> tuple[NodeAddress, ...]:
    """The servers as addresses of nodes."""
    return tuple(NodeAddress("", str(place)) for place in places)


def _check_access(operation: Operation, inputs: Values, full_access: bool) -> None:
    code = inputs.optional_number("control_code") if operation.input("control_code") else None
    if not full_access and needs_full_access(operation, code):
        raise CallerError(
            Status.ERROR_ACCESS_DENIED,
            f"{operation.name} needs full access; this connection or handle has read access only",
        )


def _end(loop: asyncio.AbstractEventLoop, client: WireClient, thread: threading.Thread) -> None:
    asyncio.run_coroutine_threadsafe(client.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
