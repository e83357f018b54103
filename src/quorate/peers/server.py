"""The listening end: answers the other nodes, each request in a task of its own.

On a socket of this machine whoever can open it is a node: the file system sees to that. Over TCP a connection belongs
to the node that its certificate names, and is served as long as that node is in the cluster. Who shows no certificate
is a stranger: it may ask to be let in (`ADMISSION_KINDS`), and is told nothing else.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from quorate.clusapi.addresses import TCP, UNIX, HostPort
from quorate.clusapi.errors import CallerError, ClusterError, FaultError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.status import Status
from quorate.peers.admission_messages import ADMISSION_KINDS
from quorate.peers.tls import HANDSHAKE_TIMEOUT, NodeTls, Presented, presented, tune_connection
from quorate.peers.wire import BrokenConnection, pack_error, pack_frame, read_frame

Handler = Callable[[NodeId | None, str, JsonObject], Awaitable[JsonObject]]
"""Answers a request of a kind; raises ClusterError to refuse it. The node is the one that its certificate has proven to
be the sender; None on a socket of this machine."""

NAMES_SENDER: Final = {"prepare": "source", "promise": "node"}
"""The kinds of messages whose body names their sender, and where: nobody speaks in another node's name."""
CLOSE_PATIENCE: Final = 1.0
STRANGER_PATIENCE: Final = 10.0
"""Seconds that a stranger has for a message, so that nobody keeps a place by being slow."""
STRANGER_FRAME: Final = 64 * 1024
"""Bytes that a stranger's message may have."""

_log = structlog.get_logger("peers")


@dataclass(frozen=True, slots=True)
class TlsDoor:
    """Where and for whom to listen over TCP."""

    place: HostPort
    """This node's own address; port 0 is any free one."""
    tls: NodeTls
    is_member: Callable[[NodeId], bool]
    """Tells whether a node is in the cluster: asked at every request, so that an evicted one is refused at once."""


class PeerServer:
    """Serves the peers' door of one node."""

    def __init__(self, where: Path | TlsDoor, handler: Handler) -> None:
        """Listen there once started.

        A path has at most 107 bytes; its file, and the directory, can be opened by their owner only.
        """
        self._where = where
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0

    @property
    def address(self) -> str:
        """Where the other nodes reach it, as a node's facts say it."""
        if isinstance(self._where, Path):
            return f"{UNIX}{self._where}"
        return f"{TCP}{HostPort(self._where.place.host, self._port)}"

    async def start(self) -> None:
        """Begin to listen; a socket that a killed daemon left is replaced.

        Raises:
            FaultError: 1117, the address is taken or not this machine's.
        """
        try:
            self._server = await (
                self._start_unix(self._where) if isinstance(self._where, Path) else self._start_tls(self._where)
            )
        except OSError as error:
            what = f"the other nodes' door cannot be opened at {self.address.removeprefix(TCP)}"
            raise FaultError(Status.ERROR_IO_DEVICE, f"{what}: {error.strerror or error}") from error

    async def _start_unix(self, path: Path) -> asyncio.Server:
        self._remove_socket()
        old = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(self._serve, path=str(path))
        finally:
            os.umask(old)

    async def _start_tls(self, door: TlsDoor) -> asyncio.Server:
        self._port = door.place.port
        server = await asyncio.start_server(
            self._serve,
            door.place.host,
            door.place.port,
            ssl=door.tls.peers_server,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            ssl_shutdown_timeout=CLOSE_PATIENCE,
            reuse_address=True,
        )
        self._port = server.sockets[0].getsockname()[1]
        return server

    async def close(self) -> None:
        """Stop listening and drop every request under way."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._remove_socket()

    def _remove_socket(self) -> None:
        if isinstance(self._where, Path):
            self._where.unlink(missing_ok=True)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        shown = presented(writer.get_extra_info("peercert"))
        if isinstance(self._where, TlsDoor):
            tune_connection(writer.get_extra_info("socket"))
        try:
            while (message := await self._next(reader, shown)) is not None:
                if refusal := self._refusal(shown, message.get("kind")):
                    await self._refuse(message, refusal, writer)
                    return
                if shown is None and isinstance(self._where, TlsDoor):
                    await self._answer(shown, message, writer)  # a stranger gets one thing at a time
                else:
                    self._spawn(self._answer(shown, message, writer))
        except BrokenConnection as error:
            _log.debug("a peer's connection broke", sentence=error.sentence)
        except asyncio.CancelledError:
            return  # closing; asyncio's own protocol would take the cancellation for a failure
        finally:
            self._tasks.discard(task)
            await _end(writer)

    async def _next(self, reader: asyncio.StreamReader, shown: Presented | None) -> dict[str, JsonValue] | None:
        """The next message; None when there is none to come."""
        if isinstance(self._where, Path) or shown is not None:
            return await read_frame(reader)
        try:
            async with asyncio.timeout(STRANGER_PATIENCE):
                return await read_frame(reader, STRANGER_FRAME)
        except TimeoutError as error:
            raise BrokenConnection(f"a stranger said nothing for {STRANGER_PATIENCE:g} s") from error

    def _refusal(self, shown: Presented | None, kind: JsonValue) -> str:
        """Say why whoever shows this certificate gets no answer to this kind of message; empty: it does."""
        door = self._where
        if isinstance(door, Path) or (shown is None and isinstance(kind, str) and kind in ADMISSION_KINDS):
            return ""
        if reason := door.tls.why_not_node(shown):
            return f"this door is for nodes of the cluster: {reason}"
        assert shown is not None
        if not door.is_member(NodeId(shown.subject)):
            return f"node {shown.subject} is not in the cluster: it was evicted, or never joined"
        return ""

    async def _refuse(self, message: JsonObject, reason: str, writer: asyncio.StreamWriter) -> None:
        _log.warning("a peer was refused", sentence=reason)
        error = CallerError(Status.ERROR_ACCESS_DENIED, reason)
        await _send(writer, {"id": message.get("id"), "error": pack_error(error)})

    async def _answer(self, shown: Presented | None, message: JsonObject, writer: asyncio.StreamWriter) -> None:
        kind, body = message.get("kind"), message.get("body")
        answer: JsonObject
        try:
            if not isinstance(kind, str) or not isinstance(body, dict):
                raise FaultError(Status.ERROR_INVALID_DATA, "a request without a kind or a body")
            sender = self._sender(shown, kind, body)
            answer = {"id": message.get("id"), "body": await self._handler(sender, kind, body)}
        except ClusterError as error:
            answer = {"id": message.get("id"), "error": pack_error(error)}
        except Exception as error:  # noqa: BLE001 - the supervisor of requests: one bad request must not end the connection
            _log.exception("a peer's request failed", kind=kind)
            fault = FaultError(Status.ERROR_INTERNAL_ERROR, f"{type(error).__name__} in {kind}: {error}")
            answer = {"id": message.get("id"), "error": pack_error(fault)}
        if not await _send(writer, answer):
            _log.debug("a peer went away before its answer", kind=kind)

    def _sender(self, shown: Presented | None, kind: str, body: JsonObject) -> NodeId | None:
        """Who sends a message. Raises CallerError 5 when its body names somebody else."""
        if isinstance(self._where, Path) or shown is None:
            return None
        named = body.get(NAMES_SENDER.get(kind, ""), shown.subject)
        if named != shown.subject:
            sentence = f"node {shown.subject} sent a message {kind!r} in the name of node {named!s:.20}"
            _log.warning("a peer was refused", sentence=sentence)
            raise CallerError(Status.ERROR_ACCESS_DENIED, sentence)
        return NodeId(shown.subject)


async def _send(writer: asyncio.StreamWriter, answer: JsonObject) -> bool:
    """Send an answer; False when nobody is there to take it."""
    try:
        writer.write(pack_frame(answer))
        await writer.drain()
    except OSError:
        return False
    return True


async def _end(writer: asyncio.StreamWriter) -> None:
    """Close a connection, by force where the other side does not take part."""
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_PATIENCE):
            await writer.wait_closed()
            return
    writer.transport.abort()
