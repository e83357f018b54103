"""Frames on a TCP connection, for both ends."""

import asyncio
from contextlib import suppress
from typing import Final

from quorate.dcerpc.errors import ConnectionLost, ProtocolError
from quorate.dcerpc.pdu import HEADER_SIZE, Frame, frame_size, parse_frame

CLOSE_PATIENCE: Final = 1.0
BUFFER: Final = 256 * 1024
"""Bytes that wait for a reader before the connection is told to be slower."""


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """Read one frame; None when the other side has closed between two of them.

    Raises:
        ConnectionLost: the connection broke, or ended within a frame.
        ProtocolError: what came is no frame.
    """
    try:
        header = await reader.readexactly(HEADER_SIZE)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ConnectionLost("the connection ended within a frame") from error
        return None
    except OSError as error:
        raise ConnectionLost(f"the connection broke: {error}") from error
    size = frame_size(header)
    try:
        rest = await reader.readexactly(size - HEADER_SIZE)
    except (asyncio.IncompleteReadError, OSError) as error:
        raise ConnectionLost("the connection ended within a frame") from error
    return parse_frame(header + rest)


async def close_stream(writer: asyncio.StreamWriter) -> None:
    """Close a connection, by force where the other side does not take part."""
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_PATIENCE):
            await writer.wait_closed()
            return
    writer.transport.abort()


def agreed_size(offered: int, own: int, smallest: int) -> int:
    """The fragment size of one direction. Raises ProtocolError when less is offered than everybody must take."""
    if offered < smallest:
        raise ProtocolError(f"fragments of {offered} bytes at most; {smallest} must be possible")
    return min(offered, own)
