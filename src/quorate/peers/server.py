"""The listening end: answers the other nodes, each request in a task of its own."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status
from quorate.peers.wire import BrokenConnection, pack_error, pack_frame, read_frame

Handler = Callable[[str, JsonObject], Awaitable[JsonObject]]
"""Answers a request of a kind; raises ClusterError to refuse it."""

_log = structlog.get_logger("peers")


class PeerServer:
    """Serves the peers' socket of one node. Files are readable by their owner only; the directory too."""

    def __init__(self, path: Path, handler: Handler) -> None:
        """Listen at ``path`` (at most 107 bytes) once started."""
        self._path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen; a socket that a killed daemon left is replaced."""
        self._path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, path=str(self._path))
        finally:
            os.umask(old)

    async def close(self) -> None:
        """Stop listening and drop every request under way."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (message := await read_frame(reader)) is not None:
                self._spawn(self._answer(message, writer))
        except BrokenConnection as error:
            _log.debug("a peer's connection broke", sentence=error.sentence)
        except asyncio.CancelledError:
            return  # closing; asyncio's own protocol would take the cancellation for a failure
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, message: JsonObject, writer: asyncio.StreamWriter) -> None:
        kind, body = message.get("kind"), message.get("body")
        answer: JsonObject
        try:
            if not isinstance(kind, str) or not isinstance(body, dict):
                raise FaultError(Status.ERROR_INVALID_DATA, "a request without a kind or a body")
            answer = {"id": message.get("id"), "body": await self._handler(kind, body)}
        except ClusterError as error:
            answer = {"id": message.get("id"), "error": pack_error(error)}
        except Exception as error:  # noqa: BLE001 - the supervisor of requests: one bad request must not end the connection
            _log.exception("a peer's request failed", kind=kind)
            fault = FaultError(Status.ERROR_INTERNAL_ERROR, f"{type(error).__name__} in {kind}: {error}")
            answer = {"id": message.get("id"), "error": pack_error(fault)}
        try:
            writer.write(pack_frame(answer))
            await writer.drain()
        except OSError:
            _log.debug("a peer went away before its answer", kind=kind)
