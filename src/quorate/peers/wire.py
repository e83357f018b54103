"""The frames between two nodes: a length (4 bytes, big-endian) and one JSON object in UTF-8.

    request   {"v": 1, "id": 7, "kind": "yours", "body": {...}}
    answer    {"v": 1, "id": 7, "body": {...}}
    refusal   {"v": 1, "id": 7, "error": {"status": 5023, "sentence": "..."}}

Fields that a reader does not know are left alone, so that a newer node may say more.
"""

import asyncio
import json
from typing import Final

from quorate.clusapi.errors import ClusterError, FaultError, error_from_status
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.status import Status

VERSION: Final = 1
MAX_FRAME: Final = 16 * 1024 * 1024
"""Bytes; the largest are the answers to forwarded control codes."""


class BrokenConnection(FaultError):
    """The other node went away in the middle of something: it is not known whether it acted."""

    def __init__(self, sentence: str) -> None:
        """Say what was seen."""
        super().__init__(Status.RPC_S_CALL_FAILED, sentence)


async def read_frame(reader: asyncio.StreamReader, limit: int = MAX_FRAME) -> dict[str, JsonValue] | None:
    """Read one frame of at most ``limit`` bytes; None when the other side has closed between two frames.

    Raises:
        BrokenConnection: closed within a frame, or not a frame of ours.
    """
    try:
        head = await reader.readexactly(4)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise BrokenConnection("the connection ended within a frame") from error
        return None
    except OSError as error:
        raise BrokenConnection(f"the connection broke: {error}") from error
    size = int.from_bytes(head, "big")
    if size > limit:
        raise BrokenConnection(f"a frame of {size} bytes is over the limit of {limit}")
    try:
        message = json.loads(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, OSError) as error:
        raise BrokenConnection("the connection ended within a frame") from error
    except ValueError as error:
        raise BrokenConnection(f"a frame is not JSON: {error}") from error
    if not isinstance(message, dict) or message.get("v") != VERSION:
        raise BrokenConnection("a frame is not of a version that this node speaks")
    return message


def pack_frame(message: JsonObject) -> bytes:
    """Make the bytes of a frame."""
    data = json.dumps({"v": VERSION, **message}, separators=(",", ":")).encode()
    return len(data).to_bytes(4, "big") + data


def pack_error(error: ClusterError) -> dict[str, JsonValue]:
    """Write a refusal for the other node."""
    return {"status": int(error.status), "sentence": error.sentence}


def unpack_error(value: JsonValue) -> ClusterError:
    """Rebuild what ``pack_error`` wrote."""
    if not isinstance(value, dict):
        return FaultError(Status.ERROR_INVALID_DATA, "the other node refused without saying why")
    status, sentence = value.get("status"), value.get("sentence")
    if not isinstance(status, int) or not isinstance(sentence, str):
        return FaultError(Status.ERROR_INVALID_DATA, "the other node refused without saying why")
    return error_from_status(status, sentence)
