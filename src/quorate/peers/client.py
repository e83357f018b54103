"""The calling end: one connection per node, many requests on it at a time, a deadline on each."""

import asyncio
import itertools
from collections.abc import Callable

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.status import Status
from quorate.peers.wire import BrokenConnection, pack_frame, read_frame, unpack_error


class PeerUnreachable(FaultError):
    """The node's daemon cannot be reached, or did not answer in time. Whether it acted is not known."""

    def __init__(self, sentence: str) -> None:
        """Say what was tried."""
        super().__init__(Status.RPC_S_SERVER_UNAVAILABLE, sentence)


class Peers:
    """Calls to the other nodes."""

    def __init__(self, address_of: Callable[[NodeId], str | None]) -> None:
        """``address_of`` tells where a node listens ("unix:/path"), None while nobody knows."""
        self._address_of = address_of
        self._links: dict[NodeId, _Link] = {}

    async def call(self, node: NodeId, kind: str, body: JsonObject, timeout: float) -> JsonObject:
        """Ask a node; its answer, or its refusal as the ClusterError that it was.

        Raises:
            PeerUnreachable: no connection, or no answer within ``timeout`` seconds.
        """
        address = self._address_of(node)
        if address is None or not address.startswith("unix:"):
            raise PeerUnreachable(f"node {node} has not said where it can be reached")
        link = self._links.get(node)
        if link is None or not link.is_usable(address):
            link = self._links[node] = _Link(address)
        try:
            async with asyncio.timeout(timeout):
                return await link.call(kind, body)
        except TimeoutError as error:
            raise PeerUnreachable(f"node {node} did not answer {kind!r} within {timeout:g} s") from error
        except (BrokenConnection, OSError) as error:
            link.close()
            raise PeerUnreachable(f"node {node} cannot be reached: {error}") from error

    async def close(self) -> None:
        """Close every connection."""
        for link in self._links.values():
            link.close()
        self._links.clear()


class _Link:
    """One connection to one node, made at the first call."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[JsonObject]] = {}
        self._opening = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._closed = False

    def is_usable(self, address: str) -> bool:
        """Tell whether calls to this address may go through this connection."""
        return self._address == address and not self._closed

    async def call(self, kind: str, body: JsonObject) -> JsonObject:
        async with self._opening:
            if self._writer is None:
                reader, self._writer = await asyncio.open_unix_connection(self._address.removeprefix("unix:"))
                self._reading = asyncio.create_task(self._read(reader))
        number = next(self._ids)
        answer: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._writer.write(pack_frame({"id": number, "kind": kind, "body": body}))
            await self._writer.drain()
            return await answer
        finally:
            self._waiting.pop(number, None)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while (message := await read_frame(reader)) is not None:
                self._settle(message)
            self._fail(BrokenConnection("the other node closed the connection"))
        except BrokenConnection as error:
            self._fail(error)

    def _settle(self, message: dict[str, JsonValue]) -> None:
        number = message.get("id")
        answer = self._waiting.get(number) if isinstance(number, int) else None
        if answer is None or answer.done():
            return  # its caller has given up
        body = message.get("body")
        if isinstance(body, dict):
            answer.set_result(body)
        else:
            answer.set_exception(unpack_error(message.get("error")))

    def _fail(self, error: BrokenConnection) -> None:
        self._closed = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)
        if self._writer is not None:
            self._writer.close()

    def close(self) -> None:
        """Drop the connection; calls under way fail."""
        if self._reading is not None:
            self._reading.cancel()
        self._fail(BrokenConnection("the connection was closed"))
