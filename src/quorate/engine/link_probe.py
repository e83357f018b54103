"""What the way that memory would take carries: a node takes in bytes for a moment, and says how fast they came.

The address is the one at which the node's QEMUs wait for memory, on a port that the kernel gives. What comes in is
counted and thrown away. The taker measures: what a sender's sockets have taken has not arrived. A trial lasts half a
second at most; while memory of another virtual machine goes over the same way none is made.
"""

import asyncio
import json
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_float, json_int, json_text

SECONDS: Final = 0.4
"""For which bytes are sent."""
MOST_BYTES: Final = 256 << 20
OPEN_FOR: Final = 4.0
PATIENCE: Final = 3.0
FRESH: Final = 10.0
"""Seconds for which what was measured serves whoever asks again."""
PYTHON_LIMIT: Final = 400e6
"""Bytes per second up to which a trial between two machines measures the link."""
_PIECE: Final = 1 << 18
_WARM_UP: Final = 1 << 20
"""Bytes that come before the clock begins: the first ones find empty buckets and windows."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured of one way, and when (seconds of the monotonic clock)."""

    bytes_per_second: float
    at: float
    of_link: bool = True
    """It is the link that was measured, and not the two programs that tried it."""


class Sink:
    """Takes in what one visitor sends."""

    def __init__(self) -> None:
        """Be closed until `open`."""
        self._over = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def open(self, host: str | None, directory: Path) -> dict[str, JsonValue]:
        """Listen at an address of this node, or without one by a socket below ``directory``; tell where."""
        try:
            if host is None:
                self._path = directory / f"{secrets.token_hex(4)}.p"
                self._server = await asyncio.start_unix_server(self._take, self._path)
                return {"path": str(self._path)}
            self._server = await asyncio.start_server(self._take, host, 0)
            return {"host": host, "port": self._server.sockets[0].getsockname()[1]}
        except OSError as error:
            return {"trouble": error.strerror or str(error)}

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken, began, counted = 0, 0.0, 0
        with suppress(OSError):
            while taken < MOST_BYTES and (piece := await reader.read(1 << 20)):
                taken += len(piece)
                if not began:
                    began = time.monotonic() if taken >= _WARM_UP else 0.0
                else:
                    counted += len(piece)
            took = time.monotonic() - began
            writer.write(json.dumps({"bytes": counted, "seconds": took if began else 0.0}).encode() + b"\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        self._over.set()

    async def keep(self) -> None:
        """Keep it open until somebody has sent, or for `OPEN_FOR`."""
        if self._server is None:
            return
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(OPEN_FOR):
                    await self._over.wait()
        finally:
            self._server.close()
            if self._path is not None:
                self._path.unlink(missing_ok=True)


async def try_speed(sink: JsonObject) -> tuple[float | None, str]:
    """Send to a sink for a moment: bytes per second, or None and why they are not known."""
    if trouble := json_text(sink, "trouble"):
        return None, trouble
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await _send(sink)
    except TimeoutError:
        return None, f"the trial was not over within {PATIENCE:g} s"
    except (OSError, ValueError) as error:
        return None, str(error) or "nobody said how fast it was"
    seconds = json_float(answer, "seconds")
    return (json_int(answer, "bytes") / seconds, "") if seconds > 0 else (None, "too little came across")


async def _send(sink: JsonObject) -> JsonObject:
    if path := json_text(sink, "path"):
        reader, writer = await asyncio.open_unix_connection(path)
    else:
        reader, writer = await asyncio.open_connection(json_text(sink, "host"), json_int(sink, "port"))
    piece, sent, until = bytes(_PIECE), 0, time.monotonic() + SECONDS
    try:
        while sent + _PIECE < MOST_BYTES and time.monotonic() < until:
            writer.write(piece)
            sent += _PIECE
            await writer.drain()
        writer.write_eof()
        answer: JsonObject = json.loads(await reader.readline())
        return answer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class KnownSpeeds:
    """What this node has measured of the ways to other nodes."""

    def __init__(self) -> None:
        """Know nothing."""
        self._known: dict[NodeId, Speed] = {}

    def learn(self, node: NodeId, bytes_per_second: float, *, between_machines: bool) -> None:
        """Remember a trial; on one machine there is no link, and both ends share its processors."""
        of_link = between_machines and bytes_per_second <= PYTHON_LIMIT
        self._known[node] = Speed(bytes_per_second, time.monotonic(), of_link)

    def of(self, node: NodeId, younger_than: float = float("inf")) -> Speed | None:
        """Give what was measured last of the way to a node; None: nothing, or not lately."""
        found = self._known.get(node)
        return found if found is not None and time.monotonic() - found.at < younger_than else None
