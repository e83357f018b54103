"""Batches of registry commands: many writes or reads at once, and what a batch port tells of writes.

A batch is a u32 version, 1, and commands, all little-endian: u32 command, u32 type of the value, u32 size of the name
in bytes with its NUL, the name in UTF-16LE, u32 size of the data, the data, and padding to an even offset.

Source: [MS-CMRP] 2.2.3.17 CLUSTER_REG_BATCH_UPDATE, 2.2.3.17.1 BATCH_UPDATE_COMMAND; header CLUSTER_REG_COMMAND.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status

MAX_COMMANDS: Final = 4096
"""Commands of one batch that are read."""
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<III")
_SIZE: Final = struct.Struct("<I")


class RegistryCommand(IntEnum):
    """What a command of a batch does or tells (CLUSREG_…)."""

    SET_VALUE = 1
    CREATE_KEY = 2  # or open it; values that follow are this key's
    DELETE_KEY = 3  # with everything below; no value may follow until the next CREATE_KEY
    DELETE_VALUE = 4
    SET_KEY_SECURITY = 5
    VALUE_DELETED = 6  # told by batch ports only: the data that a value had before
    READ_KEY = 7  # values that follow are this key's
    READ_VALUE = 8
    READ_ERROR = 9  # told by read batches only: the type is a status
    CONTROL_COMMAND = 10
    CONDITION_EXISTS = 11
    CONDITION_NOT_EXISTS = 12
    CONDITION_IS_EQUAL = 13
    CONDITION_IS_NOT_EQUAL = 14
    CONDITION_IS_GREATER_THAN = 15
    CONDITION_IS_LESS_THAN = 16
    CONDITION_KEY_EXISTS = 17
    CONDITION_KEY_NOT_EXISTS = 18


@dataclass(frozen=True, slots=True)
class BatchCommand:
    """One command: its number (one of RegistryCommand), the name of a key or value, and the value's type and data."""

    command: int
    name: str
    type: int = 0
    data: bytes = b""


def write_batch(commands: Iterable[BatchCommand]) -> bytes:
    """Write a batch."""
    parts = [_SIZE.pack(_VERSION)]
    for one in commands:
        name = f"{one.name}\0".encode("utf-16-le", "surrogatepass")
        parts.append(_HEAD.pack(one.command, one.type, len(name)) + name)
        parts.append(_SIZE.pack(len(one.data)) + one.data + bytes(len(one.data) % 2))
    return b"".join(parts)


def parse_batch(data: bytes) -> tuple[BatchCommand, ...]:
    """Read a batch. Raises CallerError ERROR_INVALID_PARAMETER when it is none."""
    if len(data) < _SIZE.size or _SIZE.unpack_from(data)[0] != _VERSION:
        raise _malformed(0, f"it does not begin with the version {_VERSION}")
    commands: list[BatchCommand] = []
    at = _SIZE.size
    while at < len(data):
        if len(commands) == MAX_COMMANDS:
            raise _malformed(at, f"it has more than {MAX_COMMANDS} commands")
        command, at = _parse_command(data, at)
        commands.append(command)
    return tuple(commands)


def _parse_command(data: bytes, start: int) -> tuple[BatchCommand, int]:
    head, at = _take(data, start, _HEAD.size)
    command, type_, name_size = _HEAD.unpack(head)
    raw_name, at = _take(data, at, name_size)
    raw_size, at = _take(data, at, _SIZE.size)
    value, at = _take(data, at, _SIZE.unpack(raw_size)[0])
    if at % 2 and at < len(data):
        at += 1
    try:
        name = raw_name.decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise _malformed(start, "a name is not UTF-16") from error
    if not name.endswith("\0"):
        raise _malformed(start, "a name has no NUL at its end")
    return BatchCommand(command, name[: name.index("\0")], type_, value), at


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size > len(data) - at:
        raise _malformed(at, f"{size} bytes should follow, {len(data) - at} do")
    return data[at : at + size], at + size


def _malformed(offset: int, reason: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, f"no batch of registry commands: offset {offset}: {reason}")
