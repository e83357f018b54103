"""The methods on keys and values of the cluster registry.

A handle of a key is its path; the operations do the rest. What a client may do with a handle is what it opened it for.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.errors import CallerError, ClusterError
from quorate.clusapi.json_types import JsonObject, json_int, json_text
from quorate.clusapi.status import Status
from quorate.database.registry_tree import NO_COMMAND, join
from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp import registry_methods as methods
from quorate.mscmrp.registry_methods import (
    CreateKeyIn,
    CreateKeyOut,
    EnumKeyIn,
    EnumKeyOut,
    EnumValueIn,
    EnumValueOut,
    ExecuteBatchIn,
    ExecuteBatchOut,
    ExecuteReadBatchExIn,
    ExecuteReadBatchOut,
    GetKeySecurityOut,
    GetRootKeyIn,
    KeySecurityIn,
    OpenKeyIn,
    QueryInfoKeyOut,
    QueryValueIn,
    QueryValueOut,
    SetValueIn,
)
from quorate.mscmrp.shapes import HandleIn, HandleNameIn, OpenOut, StatusOut
from quorate.mscmrp.types import SecurityDescriptor
from quorate.server.mscmrp.access import granted_key
from quorate.server.mscmrp.binding import Handler, answer, handlers
from quorate.server.mscmrp.calls import Inputs, WireCall
from quorate.server.mscmrp.handles import OpenObject
from quorate.server.mscmrp.patterns import closes, status_out

_NON_VOLATILE: Final = 0
_READ_FLAGS: Final = 0x2  # CLUSREG_DATABASE_ISOLATE_READ: every read batch is isolated here


@dataclass(frozen=True, slots=True)
class OpenKey(OpenObject):
    """A handle of a key of the registry; its id is the path, its name too."""


def _key(path: str, desired: int, wire: WireCall) -> OpenKey:
    return OpenKey(granted_key(desired, wire.caller), path, path)


# --- Keys ----------------------------------------------------------------------------------------------------------


async def get_root(wire: WireCall, inputs: GetRootKeyIn) -> OpenOut:
    """Open the root."""
    return OpenOut(handle=await _open(wire, "", inputs.sam_desired))


async def open_key(wire: WireCall, inputs: OpenKeyIn) -> OpenOut:
    """Open a key below an open one; no name is that key again."""
    it = wire.find(inputs.handle, OpenKey)
    return OpenOut(handle=await _open(wire, join(it.id, inputs.sub_key), inputs.sam_desired))


async def create_key(wire: WireCall, inputs: CreateKeyIn) -> CreateKeyOut:
    """Open a key below an open one, and make it if it is not there."""
    it = wire.find(inputs.handle, OpenKey)
    if inputs.options != _NON_VOLATILE:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            f"options {inputs.options}: keys that do not last are not kept, only 0 is taken",
        )
    path = join(it.id, inputs.sub_key)
    key = _key(path, inputs.sam_desired, wire)
    made = await wire.ask("CreateKey", {"key": path}, it)
    await wire.ask("OpenKey", {"key": path, "access": inputs.sam_desired})
    return CreateKeyOut(made.number("disposition"), handle=wire.open(key))


async def _open(wire: WireCall, path: str, desired: int) -> ContextHandle:
    key = _key(path, desired, wire)
    await wire.ask("OpenKey", {"key": path, "access": desired})
    return wire.open(key)


async def delete_key(wire: WireCall, inputs: HandleNameIn) -> StatusOut:
    """Delete a key below an open one."""
    it = wire.find(inputs.handle, OpenKey)
    return status_out(await wire.ask("DeleteKey", {"key": join(it.id, inputs.name)}, it))


async def enum_key(wire: WireCall, inputs: EnumKeyIn) -> EnumKeyOut:
    """The nth key below."""
    it = wire.find(inputs.handle, OpenKey)
    found = _nth((await wire.ask("EnumKey", {"key": it.id}, it)).objects("keys"), inputs.index)
    return EnumKeyOut(json_text(found, "name"), int(json_text(found, "last_write")))


async def query_info(wire: WireCall, inputs: HandleIn) -> QueryInfoKeyOut:
    """How much is in a key."""
    it = wire.find(inputs.handle, OpenKey)
    told = await wire.ask("QueryInfoKey", {"key": it.id}, it)
    return QueryInfoKeyOut(
        sub_keys=told.number("subkeys"),
        max_sub_key_length=told.number("max_subkey_length"),
        values=told.number("values"),
        max_value_name_length=told.number("max_value_name_length"),
        max_value_length=told.number("max_value_length"),
        security_descriptor_size=told.number("security_length"),
        last_write_time=told.number("last_write"),
    )


async def get_security(wire: WireCall, inputs: KeySecurityIn) -> GetKeySecurityOut:
    """Parts of the descriptor, if there is room for it: else 122, and how much it needs."""
    it = wire.find(inputs.handle, OpenKey)
    asked: Inputs = {"key": it.id, "security_information": inputs.security_information}
    descriptor = (await wire.ask("GetKeySecurity", asked, it)).data("descriptor")
    if len(descriptor) > inputs.security_descriptor.room:
        needed = SecurityDescriptor.room_for(len(descriptor))
        return GetKeySecurityOut(needed, status=Status.ERROR_INSUFFICIENT_BUFFER)
    return GetKeySecurityOut(SecurityDescriptor.of(descriptor))


async def set_security(wire: WireCall, inputs: KeySecurityIn) -> StatusOut:
    """Set parts of the descriptor."""
    it = wire.find(inputs.handle, OpenKey)
    asked: Inputs = {
        "key": it.id,
        "security_information": inputs.security_information,
        "descriptor": inputs.security_descriptor.descriptor or b"",
    }
    return status_out(await wire.ask("SetKeySecurity", asked, it))


# --- Values --------------------------------------------------------------------------------------------------------


async def set_value(wire: WireCall, inputs: SetValueIn) -> StatusOut:
    """Set a value."""
    it = wire.find(inputs.handle, OpenKey)
    asked: Inputs = {"key": it.id, "name": inputs.name, "type": inputs.type, "data": inputs.data}
    return status_out(await wire.ask("SetValue", asked, it))


async def delete_value(wire: WireCall, inputs: HandleNameIn) -> StatusOut:
    """Remove a value."""
    it = wire.find(inputs.handle, OpenKey)
    return status_out(await wire.ask("DeleteValue", {"key": it.id, "name": inputs.name}, it))


async def query_value(wire: WireCall, inputs: QueryValueIn) -> QueryValueOut:
    """A value, if there is room for it: else 234, and how much it needs."""
    it = wire.find(inputs.handle, OpenKey)
    told = await wire.ask("QueryValue", {"key": it.id, "name": inputs.name}, it)
    data = told.data("data")
    if len(data) > inputs.room:
        return QueryValueOut(told.number("type"), b"", len(data), status=Status.ERROR_MORE_DATA)
    return QueryValueOut(told.number("type"), data, len(data))


async def enum_value(wire: WireCall, inputs: EnumValueIn) -> EnumValueOut:
    """The nth value, if there is room for it: else 234, and how much it needs."""
    it = wire.find(inputs.handle, OpenKey)
    found = _nth((await wire.ask("EnumValue", {"key": it.id}, it)).objects("values"), inputs.index)
    name, type_, data = json_text(found, "name"), json_int(found, "type"), base64.b64decode(json_text(found, "data"))
    if len(data) > inputs.room:
        return EnumValueOut(name, type_, b"", total_size=len(data), status=Status.ERROR_MORE_DATA)
    return EnumValueOut(name, type_, data, total_size=len(data))


def _nth(found: tuple[JsonObject, ...], index: int) -> JsonObject:
    if index >= len(found):
        raise CallerError(Status.ERROR_NO_MORE_ITEMS, f"there is no number {index}: there are {len(found)}")
    return found[index]


# --- Batches of changes and reads ----------------------------------------------------------------------------------


async def execute_batch(wire: WireCall, inputs: ExecuteBatchIn) -> ExecuteBatchOut:
    """Change several keys and values, all or none; -1 is told where it was no command's fault."""
    it = wire.find(inputs.handle, OpenKey)
    try:
        told = await wire.ask("ExecuteBatch", {"key": it.id, "batch": inputs.data}, it)
    except ClusterError as error:
        return ExecuteBatchOut(-1, status=error.status)
    failed = told.number("failed_command")
    return ExecuteBatchOut(-1 if failed == NO_COMMAND else failed, status=told.number("status"))


async def execute_read_batch(wire: WireCall, inputs: ExecuteBatchIn) -> ExecuteReadBatchOut:
    """Read several values."""
    it = wire.find(inputs.handle, OpenKey)
    return ExecuteReadBatchOut(
        (await wire.ask("ExecuteReadBatch", {"key": it.id, "batch": inputs.data}, it)).data("output")
    )


async def execute_read_batch_ex(wire: WireCall, inputs: ExecuteReadBatchExIn) -> ExecuteReadBatchOut:
    """Read several values; all of them as they were at one moment, whether that is asked for or not."""
    if inputs.flags & ~_READ_FLAGS:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"flags {inputs.flags:#x} of a read batch mean nothing")
    return await execute_read_batch(wire, ExecuteBatchIn(inputs.handle, data=inputs.data))


HANDLERS: Final[Mapping[int, Handler]] = handlers(
    answer(methods.GET_ROOT_KEY, get_root),
    answer(methods.CREATE_KEY, create_key),
    answer(methods.OPEN_KEY, open_key),
    answer(methods.ENUM_KEY, enum_key),
    answer(methods.SET_VALUE, set_value),
    answer(methods.DELETE_VALUE, delete_value),
    answer(methods.QUERY_VALUE, query_value),
    answer(methods.DELETE_KEY, delete_key),
    answer(methods.ENUM_VALUE, enum_value),
    answer(methods.CLOSE_KEY, closes(OpenKey)),
    answer(methods.QUERY_INFO_KEY, query_info),
    answer(methods.SET_KEY_SECURITY, set_security),
    answer(methods.GET_KEY_SECURITY, get_security),
    answer(methods.EXECUTE_BATCH, execute_batch),
    answer(methods.EXECUTE_READ_BATCH, execute_read_batch),
    answer(methods.EXECUTE_READ_BATCH_EX, execute_read_batch_ex),
)
