"""Trying the way that memory would take: a connection to where the other node's QEMUs listen.

A node that is asked opens a door for a moment, at the address at which its QEMUs wait for memory, on a port that the
kernel gives as it gives theirs. Who comes in brings more than one packet can hold, hears as much and a word, and is let
go. It proves that routes and firewalls let memory through, and packets of full size too, *before* anything of a virtual
machine is touched: over a way that swallows them a connection is made, and QEMU then waits in it.
"""

import asyncio
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from quorate.clusapi.json_types import JsonObject, JsonValue, json_int, json_text

OPEN_FOR: Final = 3.0
"""Seconds for which a door stays open."""
PATIENCE: Final = 1.0
"""Seconds that a connection may take."""
_LOAD: Final = bytes(1 << 15)
"""It fills packets of every usual size, those of a jumbo frame (9,000 bytes) too."""
_WORD: Final = b"quorate\n"
_SWALLOWED: Final = (
    f"a connection is made, but {len(_LOAD) >> 10} KiB do not get across within {PATIENCE:g} s, "
    "as where the MTU of the nodes is larger than a switch on the way can carry"
)


class Door:
    """Where one visitor may come in."""

    def __init__(self) -> None:
        """Be closed until `open`."""
        self._visited = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def open(self, host: str | None, directory: Path) -> dict[str, JsonValue]:
        """Open it at an address of this node, or without one by a socket below ``directory``; tell where it is.

        An address that cannot be listened at is told of as trouble.
        """
        try:
            if host is None:
                self._path = directory / f"{secrets.token_hex(4)}.p"
                self._server = await asyncio.start_unix_server(self._welcome, self._path)
                return {"path": str(self._path)}
            self._server = await asyncio.start_server(self._welcome, host, 0)
            return {"host": host, "port": self._server.sockets[0].getsockname()[1]}
        except OSError as error:
            return {"trouble": error.strerror or str(error), "host": host or ""}

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(OPEN_FOR):
                writer.write(_WORD + _LOAD)
                await reader.readexactly(len(_LOAD))
                await reader.read()  # until the visitor has heard it all and leaves
        await _leave(writer)
        self._visited.set()

    async def keep(self) -> None:
        """Keep it open until somebody was there, or for `OPEN_FOR`."""
        if self._server is None:
            return
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(OPEN_FOR):
                    await self._visited.wait()
        finally:
            self._server.close()
            if self._path is not None:
                self._path.unlink(missing_ok=True)


def shown(door: JsonObject) -> str:
    """Say to people where a door is; empty where no door was told of."""
    if "path" in door:
        return "a socket of this machine"
    host = json_text(door, "host")
    return f"{host} port {json_int(door, 'port')}" if json_int(door, "port") else host


async def come_in(door: JsonObject) -> tuple[float | None, str]:
    """Go through a door: how many seconds it took, or None and why it was not possible."""
    if trouble := json_text(door, "trouble"):
        return None, trouble
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await _connection(door)
    except TimeoutError:
        return None, f"no connection within {PATIENCE:g} s"
    except OSError as error:
        return None, error.strerror or str(error)
    took = clock() - began
    try:
        async with asyncio.timeout(PATIENCE):
            heard = await _hears_word(reader, writer)
    except TimeoutError:
        return None, _SWALLOWED
    finally:
        await _leave(writer)
    return (took, "") if heard else (None, "somebody else listens there")


async def _connection(door: JsonObject) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if path := json_text(door, "path"):
        return await asyncio.open_unix_connection(path)
    return await asyncio.open_connection(json_text(door, "host"), json_int(door, "port"))


async def _hears_word(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(_LOAD)
    await writer.drain()
    with suppress(asyncio.IncompleteReadError, ConnectionError):  # who does not wait for us is another one
        return (await reader.readexactly(len(_WORD) + len(_LOAD))).startswith(_WORD)
    return False


async def _leave(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever is still on its way: nobody waits for what the other end does not take."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
