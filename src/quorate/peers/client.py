"""The calling end: one connection per node, many requests on it at a time, a deadline on each.

Between machines a connection can be dead without anybody telling (a cut cable, a machine that has lost its power). A
call that gets no answer in time is how that is noticed: its connection is given no new call, and the next call connects
anew.
"""

import asyncio
import itertools
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from quorate.clusapi.addresses import TCP, UNIX, tcp_place
from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.status import Status
from quorate.peers.tls import NodeTls, presented, tune_connection
from quorate.peers.wire import BrokenConnection, pack_frame, read_frame, unpack_error

CONNECT_TIMEOUT: Final = 1.0
"""Seconds for a connection between machines, the handshake included."""
_CLOSED: Final = "the other node closed the connection"
_CLOSED_AT_ONCE: Final = (
    "it closed the connection without a word: it takes this node's certificate for expired or for that of another "
    "cluster, or it is going down"
)


class PeerUnreachable(FaultError):
    """The node's daemon cannot be reached, or did not answer in time. Whether it acted is not known."""

    def __init__(self, sentence: str) -> None:
        """Say what was tried."""
        super().__init__(Status.RPC_S_SERVER_UNAVAILABLE, sentence)


class Peers:
    """Calls to the other nodes."""

    def __init__(self, address_of: Callable[[NodeId], str | None], tls: NodeTls | None = None) -> None:
        """``address_of`` tells where a node listens ("unix:/path", "tcp:HOST:PORT"), None while nobody knows.

        ``tls`` is what this node shows to nodes on other machines.
        """
        self._address_of = address_of
        self._tls = tls
        self._links: dict[NodeId, _Link] = {}
        self._retired: set[_Link] = set()

    async def call(self, node: NodeId, kind: str, body: JsonObject, timeout: float) -> JsonObject:
        """Ask a node; its answer, or its refusal as the ClusterError that it was.

        Raises:
            PeerUnreachable: no connection, not the node that was meant, or no answer within ``timeout`` seconds.
        """
        link = self._link(node)
        try:
            async with asyncio.timeout(timeout):
                return await link.call(kind, body)
        except TimeoutError as error:
            if link.is_remote:
                self._retire(link)
            raise PeerUnreachable(f"node {node} did not answer {kind!r} within {timeout:g} s") from error
        except (BrokenConnection, OSError) as error:
            link.close()
            raise PeerUnreachable(f"node {node} cannot be reached: {_words(error)}") from error

    async def close(self) -> None:
        """Close every connection."""
        links = [*self._links.values(), *self._retired]
        self._links.clear()
        self._retired.clear()
        for link in links:
            link.close()
        await asyncio.gather(*(link.wait_closed() for link in links))

    def _link(self, node: NodeId) -> "_Link":
        address = self._address_of(node)
        if address is None or not address.startswith((UNIX, TCP)):
            raise PeerUnreachable(f"node {node} has not said where it can be reached")
        link = self._links.get(node)
        if link is None or not link.is_usable(address):
            if link is not None:
                self._retire(link)
            link = self._links[node] = _Link(node, address, self._tls)
        return link

    def _retire(self, link: "_Link") -> None:
        """Give a connection no new call. Those under way may yet be answered; the last one closes it."""
        if link.retire():
            self._retired.discard(link)
        else:
            self._retired = {old for old in self._retired if not old.is_closed} | {link}


class _Link:
    """One connection to one node, made at the first call."""

    def __init__(self, node: NodeId, address: str, tls: NodeTls | None) -> None:
        self._node = node
        self._address = address
        self._tls = tls
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[JsonObject]] = {}
        self._opening = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._answered = False
        self._retired = False
        self._closed = False

    @property
    def is_remote(self) -> bool:
        """Tell whether it leads over a network, where a dead connection looks like a silent one."""
        return self._address.startswith(TCP)

    @property
    def is_closed(self) -> bool:
        """Tell whether it is over."""
        return self._closed

    def is_usable(self, address: str) -> bool:
        """Tell whether calls to this address may go through this connection."""
        return self._address == address and not self._closed and not self._retired

    def retire(self) -> bool:
        """Take no new call; closed at once when none is under way, else by the last one. Answers whether closed."""
        self._retired = True
        if not self._waiting:
            self.close()
        return self._closed

    async def call(self, kind: str, body: JsonObject) -> JsonObject:
        async with self._opening:
            if self._closed:
                raise BrokenConnection("the connection could not be made")
            if self._writer is None:
                reader = await self._open()
                self._reading = asyncio.create_task(self._read(reader))
        assert self._writer is not None
        number = next(self._ids)
        answer: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._writer.write(pack_frame({"id": number, "kind": kind, "body": body}))
            await self._writer.drain()
            return await answer
        finally:
            self._waiting.pop(number, None)
            if self._retired and not self._waiting:
                self.close()

    async def _open(self) -> asyncio.StreamReader:
        """Connect; a failure closes the link, so that who waits for it does not try the same once more."""
        try:
            if not self.is_remote:
                reader, self._writer = await asyncio.open_unix_connection(self._address.removeprefix(UNIX))
                return reader
            return await self._open_tls()
        except (OSError, BrokenConnection):
            self._closed = True
            raise

    async def _open_tls(self) -> asyncio.StreamReader:
        place = tcp_place(self._address)
        if self._tls is None:
            raise BrokenConnection("this node has no certificates, and other machines are reached with them alone")
        with suppress(ClusterError):  # renewed files that do not serve: the old ones may still do
            self._tls.refresh()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                reader, writer = await asyncio.open_connection(place.host, place.port, ssl=self._tls.peers_client)
        except TimeoutError as error:
            raise BrokenConnection(f"no connection to {place} within {CONNECT_TIMEOUT:g} s") from error
        reason = self._tls.why_not_node(presented(writer.get_extra_info("peercert")), self._node)
        if reason:
            writer.transport.abort()
            raise BrokenConnection(f"who answers at {place} is not node {self._node}: {reason}")
        tune_connection(writer.get_extra_info("socket"))
        self._writer = writer
        return reader

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while (message := await read_frame(reader)) is not None:
                self._settle(message)
            # In TLS 1.3 a client learns only by reading that its certificate was refused, and asyncio ends such a
            # connection without the alert that would say so.
            self._fail(BrokenConnection(_CLOSED if self._answered or not self.is_remote else _CLOSED_AT_ONCE))
        except BrokenConnection as error:
            self._fail(error)

    def _settle(self, message: dict[str, JsonValue]) -> None:
        self._answered = True
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
        if self._writer is None:
            return
        if self.is_remote:
            self._writer.transport.abort()  # a farewell to a dead machine would be waited for
        else:
            self._writer.close()

    def close(self) -> None:
        """Drop the connection; calls under way fail."""
        if self._reading is not None:
            self._reading.cancel()
        self._fail(BrokenConnection("the connection was closed"))

    async def wait_closed(self) -> None:
        """Wait until the system has been given back what the connection held."""
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            with suppress(OSError):
                await self._writer.wait_closed()


def _words(error: OSError | BrokenConnection) -> str:
    if isinstance(error, BrokenConnection):
        return error.sentence
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return error.strerror or str(error)
