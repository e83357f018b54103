"""Operations on the cluster registry. A key is opened from the root by its path, and closed again."""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast

from quorate.client.mscmrp.session import Outputs, Performer, Session, refusal
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_values import Values
from quorate.clusapi.property_lists import parse_sz
from quorate.clusapi.status import Status
from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp import registry_methods as m
from quorate.mscmrp.shapes import HandleIn, HandleNameIn
from quorate.mscmrp.types import SecurityDescriptor

KEY_READ: Final = 0x20019
KEY_WRITE: Final = 0x20006
WRITE_SECURITY: Final = 0xC0000
"""WRITE_DAC and WRITE_OWNER."""
_ROOM: Final = 4096
_NO_COMMAND: Final = 0xFFFFFFFF
_U32: Final = 0xFFFFFFFF


@asynccontextmanager
async def _opened(session: Session, path: str, sam: int = KEY_READ) -> AsyncIterator[ContextHandle]:
    """Open a key by its path; "" is the root. Raises CallerError 2 when it is not there."""
    asked = m.GetRootKeyIn(KEY_READ if path else sam)
    root = (await session.call(m.GET_ROOT_KEY, asked, "the root key")).handle
    async with session.closing(m.CLOSE_KEY, root):
        if not path:
            yield root
            return
        key = (await session.call(m.OPEN_KEY, m.OpenKeyIn(root, path, sam), _about(path))).handle
        async with session.closing(m.CLOSE_KEY, key):
            yield key


def _about(path: str) -> str:
    return f'key "{path}"'


# --- Keys ----------------------------------------------------------------------------------------------------------


async def open_key(session: Session, inputs: Values) -> Outputs:
    """Find a key."""
    path, access = inputs.text("key"), inputs.optional_number("access")
    async with _opened(session, path, KEY_READ if access is None else access):
        return {"key": path}


async def create_key(session: Session, inputs: Values) -> Outputs:
    """Find a key, and make it if it is not there."""
    path = inputs.text("key")
    session.has_asked_for_change = True
    async with _opened(session, "", KEY_READ | KEY_WRITE) as root:
        made = await session.call(m.CREATE_KEY, m.CreateKeyIn(root, path, 0, KEY_READ), _about(path))
        async with session.closing(m.CLOSE_KEY, made.handle):
            return {"key": path, "disposition": made.disposition}


async def delete_key(session: Session, inputs: Values) -> Outputs:
    """Delete a key that has no keys below."""
    path = inputs.text("key")
    async with _opened(session, "", KEY_READ | KEY_WRITE) as root:
        return await session.change(m.DELETE_KEY, HandleNameIn(root, path), _about(path))


async def enum_key(session: Session, inputs: Values) -> Outputs:
    """The keys directly below one."""
    path = inputs.text("key")
    found: list[JsonObject] = []
    async with _opened(session, path) as key:
        while (told := await session.ask(m.ENUM_KEY, m.EnumKeyIn(key, len(found)))).status == 0:
            found.append({"name": told.name or "", "last_write": str(told.last_write_time)})
    _expect_end(told.status, path)
    return {"keys": tuple(found)}


async def query_info(session: Session, inputs: Values) -> Outputs:
    """How much is in a key."""
    path = inputs.text("key")
    async with _opened(session, path) as key:
        told = await session.call(m.QUERY_INFO_KEY, HandleIn(key), _about(path))
    return {
        "subkeys": told.sub_keys,
        "max_subkey_length": told.max_sub_key_length,
        "values": told.values,
        "max_value_name_length": told.max_value_name_length,
        "max_value_length": told.max_value_length,
        "security_length": told.security_descriptor_size,
        "last_write": told.last_write_time,
    }


async def get_security(session: Session, inputs: Values) -> Outputs:
    """The security descriptor of a key."""
    path, parts = inputs.text("key"), inputs.number("security_information")
    async with _opened(session, path) as key:
        told = await session.ask(m.GET_KEY_SECURITY, m.KeySecurityIn(key, parts, SecurityDescriptor.room_for(_ROOM)))
        needed = told.security_descriptor.room
        if told.status == Status.ERROR_INSUFFICIENT_BUFFER and needed > _ROOM:
            asked = m.KeySecurityIn(key, parts, SecurityDescriptor.room_for(needed))
            told = await session.ask(m.GET_KEY_SECURITY, asked)
    if told.status:
        raise refusal(told.status, _about(path))
    return {"descriptor": told.security_descriptor.descriptor or b""}


async def set_security(session: Session, inputs: Values) -> Outputs:
    """Set parts of the security descriptor of a key."""
    path = inputs.text("key")
    descriptor = SecurityDescriptor.of(inputs.data("descriptor"))
    async with _opened(session, path, KEY_READ | KEY_WRITE | WRITE_SECURITY) as key:
        asked = m.KeySecurityIn(key, inputs.number("security_information"), descriptor)
        return await session.change(m.SET_KEY_SECURITY, asked, _about(path))


# --- Values --------------------------------------------------------------------------------------------------------


async def enum_value(session: Session, inputs: Values) -> Outputs:
    """The values of a key."""
    path = inputs.text("key")
    found: list[JsonObject] = []
    async with _opened(session, path) as key:
        while (told := await _value_at(session, key, len(found))).status == 0:
            data = base64.b64encode(told.data).decode("ascii")
            found.append({"name": told.name or "", "type": told.type, "data": data})
    _expect_end(told.status, path)
    return {"values": tuple(found)}


async def _value_at(session: Session, key: ContextHandle, index: int) -> m.EnumValueOut:
    told = await session.ask(m.ENUM_VALUE, m.EnumValueIn(key, index, _ROOM))
    if told.status == Status.ERROR_MORE_DATA and told.total_size > _ROOM:
        told = await session.ask(m.ENUM_VALUE, m.EnumValueIn(key, index, told.total_size))
    return told


async def query_value(session: Session, inputs: Values) -> Outputs:
    """One value."""
    path, name = inputs.text("key"), inputs.text("name")
    async with _opened(session, path) as key:
        told = await session.ask(m.QUERY_VALUE, m.QueryValueIn(key, name, _ROOM))
        if told.status == Status.ERROR_MORE_DATA and told.required > _ROOM:
            told = await session.ask(m.QUERY_VALUE, m.QueryValueIn(key, name, told.required))
    if told.status:
        raise refusal(told.status, f'value "{name}" of {_about(path)}')
    return {"type": told.type, "data": told.data[: told.required]}


async def instance_id(session: Session) -> str:
    """The id of the cluster; empty where the registry does not tell."""
    try:
        told = await query_value(session, Values({"key": "", "name": "ClusterInstanceID"}))
        return parse_sz(cast(bytes, told["data"]))
    except (CallerError, RefusalError):  # TextBufferError is one: another server's own way
        return ""


async def set_value(session: Session, inputs: Values) -> Outputs:
    """Set a value."""
    path, name = inputs.text("key"), inputs.text("name")
    async with _opened(session, path, KEY_READ | KEY_WRITE) as key:
        asked = m.SetValueIn(key, name, inputs.number("type"), inputs.data("data"))
        return await session.change(m.SET_VALUE, asked, f'value "{name}" of {_about(path)}')


async def delete_value(session: Session, inputs: Values) -> Outputs:
    """Remove a value."""
    path, name = inputs.text("key"), inputs.text("name")
    async with _opened(session, path, KEY_READ | KEY_WRITE) as key:
        return await session.change(m.DELETE_VALUE, HandleNameIn(key, name), f'value "{name}" of {_about(path)}')


# --- Batches -------------------------------------------------------------------------------------------------------


async def execute_batch(session: Session, inputs: Values) -> Outputs:
    """Change several keys and values, all or none; which command did not succeed is part of the answer."""
    path = inputs.text("key")
    async with _opened(session, path, KEY_READ | KEY_WRITE) as key:
        told = await session.ask(m.EXECUTE_BATCH, m.ExecuteBatchIn(key, data=inputs.data("batch")))
    failed = told.failed_command & _U32
    if told.status == 0:
        return {"status": 0, "failed_command": _NO_COMMAND}
    sentence = f"command {failed}: {Status(told.status).meaning}"
    return {"status": told.status, "failed_command": failed, "sentence": sentence}


async def execute_read_batch(session: Session, inputs: Values) -> Outputs:
    """Read several values, all as they were at one moment."""
    path = inputs.text("key")
    async with _opened(session, path) as key:
        asked = m.ExecuteBatchIn(key, data=inputs.data("batch"))
        told = await session.call(m.EXECUTE_READ_BATCH, asked, _about(path))
    return {"output": told.data or b""}


def _expect_end(status: int, path: str) -> None:
    if status != Status.ERROR_NO_MORE_ITEMS:
        raise refusal(status, _about(path))


PERFORMERS: Final[Mapping[str, Performer]] = {
    "OpenKey": open_key,
    "CreateKey": create_key,
    "DeleteKey": delete_key,
    "EnumKey": enum_key,
    "QueryInfoKey": query_info,
    "GetKeySecurity": get_security,
    "SetKeySecurity": set_security,
    "EnumValue": enum_value,
    "QueryValue": query_value,
    "SetValue": set_value,
    "DeleteValue": delete_value,
    "ExecuteBatch": execute_batch,
    "ExecuteReadBatch": execute_read_batch,
}
