"""Functions on the cluster registry: keys, values, batches.

A key is opened from the cluster's or an object's key. Data of values is bytes, as the registry has it; names are
compared without regard to case.
"""
# ruff: noqa: N802 - ClusAPI's own names

import base64
from typing import Final

from quorate.client.capi.handles import (
    ClusterHandle,
    GroupHandle,
    Handle,
    NetInterfaceHandle,
    NetworkHandle,
    NodeHandle,
    ResourceHandle,
    answer_or,
    close,
    flags_of,
    status_of,
    text_of,
    valid,
)
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject, json_int, json_text
from quorate.clusapi.registry_batch import BatchCommand, RegistryCommand, parse_batch, write_batch
from quorate.clusapi.status import Status

__all__ = [
    "ClusterRegBatchAddCommand",
    "ClusterRegCloseBatch",
    "ClusterRegCloseKey",
    "ClusterRegCloseReadBatch",
    "ClusterRegCreateBatch",
    "ClusterRegCreateKey",
    "ClusterRegCreateReadBatch",
    "ClusterRegDeleteKey",
    "ClusterRegDeleteValue",
    "ClusterRegEnumKey",
    "ClusterRegEnumValue",
    "ClusterRegGetKeySecurity",
    "ClusterRegOpenKey",
    "ClusterRegQueryInfoKey",
    "ClusterRegQueryValue",
    "ClusterRegReadBatchAddCommand",
    "ClusterRegSetKeySecurity",
    "ClusterRegSetValue",
    "GetClusterGroupKey",
    "GetClusterKey",
    "GetClusterNetInterfaceKey",
    "GetClusterNetworkKey",
    "GetClusterNodeKey",
    "GetClusterResourceKey",
    "GetClusterResourceTypeKey",
]

_WRITE_BITS: Final = 0x2 | 0x4 | 0x20 | 0x10000 | 0x40000 | 0x80000 | 0x40000000 | 0x10000000 | 0x02000000
"""KEY_SET_VALUE, KEY_CREATE_SUB_KEY, KEY_CREATE_LINK, DELETE, WRITE_DAC, WRITE_OWNER, the generic rights to write."""
_NO_COMMAND: Final = 0xFFFFFFFF


class KeyHandle(Handle):
    """HKEY; its id is the path of the key."""

    kind = "HKEY"


class BatchHandle(Handle):
    """HREGBATCH or HREGREADBATCH: the commands so far, for a key."""

    kind = "HREGBATCH"

    def __init__(self, key: KeyHandle) -> None:
        """Begin with none."""
        super().__init__(key.client(), key.object_id(), key.object_id(), full_access=key.has_full_access())
        self.commands: list[BatchCommand] = []


# --- Keys ----------------------------------------------------------------------------------------------------------


def GetClusterKey(cluster: object, sam_desired: int) -> KeyHandle:
    """Open the root of the registry. Raises ClusterError."""
    return _open(valid(cluster, ClusterHandle), "", sam_desired)


def GetClusterGroupKey(group: object, sam_desired: int) -> KeyHandle:
    """Open the key of a group. Raises ClusterError."""
    handle = valid(group, GroupHandle)
    return _open(handle, f"Groups\\{handle.object_id()}", sam_desired)


def GetClusterResourceKey(resource: object, sam_desired: int) -> KeyHandle:
    """Open the key of a resource. Raises ClusterError."""
    handle = valid(resource, ResourceHandle)
    return _open(handle, f"Resources\\{handle.object_id()}", sam_desired)


def GetClusterNodeKey(node: object, sam_desired: int) -> KeyHandle:
    """Open the key of a node. Raises ClusterError."""
    handle = valid(node, NodeHandle)
    return _open(handle, f"Nodes\\{handle.object_id()}", sam_desired)


def GetClusterNetworkKey(network: object, sam_desired: int) -> KeyHandle:
    """Open the key of a network. Raises ClusterError."""
    handle = valid(network, NetworkHandle)
    return _open(handle, f"Networks\\{handle.object_id()}", sam_desired)


def GetClusterNetInterfaceKey(net_interface: object, sam_desired: int) -> KeyHandle:
    """Open the key of a network interface. Raises ClusterError."""
    handle = valid(net_interface, NetInterfaceHandle)
    return _open(handle, f"NetworkInterfaces\\{handle.object_id()}", sam_desired)


def GetClusterResourceTypeKey(cluster: object, type_name: str, sam_desired: int) -> KeyHandle:
    """Open the key of a resource type. Raises ClusterError."""
    return _open(valid(cluster, ClusterHandle), f"ResourceTypes\\{text_of(type_name)}", sam_desired)


def ClusterRegOpenKey(key: object, sub_key: str, sam_desired: int) -> KeyHandle:
    """Open a key below another one; "" is that key again. Raises ClusterError 2 when there is none."""
    handle = valid(key, KeyHandle)
    return _open(handle, _below(handle, sub_key), sam_desired)


def ClusterRegCreateKey(key: object, sub_key: str, options: int, sam_desired: int) -> tuple[KeyHandle, int]:
    """(key, disposition): 1, it is new, 2, it was there. Raises ClusterError; only 0 is known as options."""
    handle = valid(key, KeyHandle)
    if flags_of(options):
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"options {options}: every key is kept until it is deleted")
    made = handle.call("CreateKey", key=_below(handle, sub_key))
    return _handle(handle, made.text("key"), flags_of(sam_desired)), made.number("disposition")


def ClusterRegCloseKey(key: object) -> int:
    """Close the handle; 6 when it is none."""
    return 0 if close(key, KeyHandle) else int(Status.ERROR_INVALID_HANDLE)


def ClusterRegDeleteKey(key: object, sub_key: str) -> int:
    """Delete a key below another one; 145 when it has subkeys."""

    def delete() -> int:
        handle = valid(key, KeyHandle)
        return handle.call("DeleteKey", key=_below(handle, sub_key)).number("status")

    return status_of(delete)


def ClusterRegEnumKey(key: object, index: int) -> tuple[int, str, int]:
    """(status, name, last write as a FILETIME) of the nth key below; 259 at the end."""

    def ask() -> tuple[int, str, int]:
        handle = valid(key, KeyHandle)
        found = _nth(handle.call("EnumKey", key=handle.object_id()).objects("keys"), index)
        return 0, json_text(found, "name"), int(json_text(found, "last_write"))

    return answer_or(ask, lambda status: (status, "", 0))


def ClusterRegQueryInfoKey(key: object) -> tuple[int, int, int, int, int, int, int, int]:
    """(status, subkeys, longest name of them, values, longest name, longest data, size of the descriptor, FILETIME)."""

    def ask() -> tuple[int, int, int, int, int, int, int, int]:
        handle = valid(key, KeyHandle)
        told = handle.call("QueryInfoKey", key=handle.object_id())
        return (
            0,
            told.number("subkeys"),
            told.number("max_subkey_length"),
            told.number("values"),
            told.number("max_value_name_length"),
            told.number("max_value_length"),
            told.number("security_length"),
            told.number("last_write"),
        )

    return answer_or(ask, lambda status: (status, 0, 0, 0, 0, 0, 0, 0))


def ClusterRegGetKeySecurity(key: object, requested_information: int) -> tuple[int, bytes]:
    """(status, self-relative security descriptor): owner 1, group 2, DACL 4."""

    def ask() -> tuple[int, bytes]:
        handle = valid(key, KeyHandle)
        parts = flags_of(requested_information)
        told = handle.call("GetKeySecurity", key=handle.object_id(), security_information=parts)
        return 0, told.data("descriptor")

    return answer_or(ask, lambda status: (status, b""))


def ClusterRegSetKeySecurity(key: object, security_information: int, descriptor: bytes) -> int:
    """Set parts of the security descriptor."""

    def change() -> int:
        handle = valid(key, KeyHandle)
        parts = flags_of(security_information)
        asked = handle.call(
            "SetKeySecurity", key=handle.object_id(), security_information=parts, descriptor=bytes(descriptor)
        )
        return asked.number("status")

    return status_of(change)


# --- Values --------------------------------------------------------------------------------------------------------


def ClusterRegSetValue(key: object, value_name: str, type_: int, data: bytes) -> int:
    """Set a value; 87 when the data does not fit the type."""

    def change() -> int:
        handle = valid(key, KeyHandle)
        name = text_of(value_name)
        asked = handle.call("SetValue", key=handle.object_id(), name=name, type=flags_of(type_), data=bytes(data))
        return asked.number("status")

    return status_of(change)


def ClusterRegDeleteValue(key: object, value_name: str) -> int:
    """Remove a value; 2 when it is not there."""

    def change() -> int:
        handle = valid(key, KeyHandle)
        return handle.call("DeleteValue", key=handle.object_id(), name=text_of(value_name)).number("status")

    return status_of(change)


def ClusterRegQueryValue(key: object, value_name: str) -> tuple[int, int, bytes]:
    """(status, type, data) of a value; 2 when it is not there."""

    def ask() -> tuple[int, int, bytes]:
        handle = valid(key, KeyHandle)
        told = handle.call("QueryValue", key=handle.object_id(), name=text_of(value_name))
        return 0, told.number("type"), told.data("data")

    return answer_or(ask, lambda status: (status, 0, b""))


def ClusterRegEnumValue(key: object, index: int) -> tuple[int, str, int, bytes]:
    """(status, name, type, data) of the nth value; 259 at the end."""

    def ask() -> tuple[int, str, int, bytes]:
        handle = valid(key, KeyHandle)
        found = _nth(handle.call("EnumValue", key=handle.object_id()).objects("values"), index)
        data = base64.b64decode(json_text(found, "data"))
        return 0, json_text(found, "name"), json_int(found, "type"), data

    return answer_or(ask, lambda status: (status, "", 0, b""))


# --- Batches -------------------------------------------------------------------------------------------------------


def ClusterRegCreateBatch(key: object) -> BatchHandle:
    """Begin a batch of changes below a key. Raises ClusterError 6."""
    return BatchHandle(valid(key, KeyHandle))


def ClusterRegBatchAddCommand(batch: object, command: int, name: str, options: int, data: bytes = b"") -> int:
    """Add a command (CLUSREG_…); ``options`` is the type of a value. Nothing is carried out yet."""

    def add() -> int:
        given = BatchCommand(flags_of(command), text_of(name), flags_of(options), bytes(data))
        valid(batch, BatchHandle).commands.append(given)
        return 0

    return status_of(add)


def ClusterRegCloseBatch(batch: object, commit: bool) -> tuple[int, int]:
    """(status, number of the command that failed or -1): carry the batch out, all or nothing, or forget it."""

    def end() -> tuple[int, int]:
        handle = valid(batch, BatchHandle)
        handle.close()
        if not commit:
            return 0, -1
        told = handle.call("ExecuteBatch", key=handle.object_id(), batch=write_batch(handle.commands))
        failed = told.number("failed_command")
        return told.number("status"), -1 if failed == _NO_COMMAND else failed

    return answer_or(end, lambda status: (status, -1))


def ClusterRegCreateReadBatch(key: object) -> BatchHandle:
    """Begin a batch of reads below a key. Raises ClusterError 6."""
    return BatchHandle(valid(key, KeyHandle))


def ClusterRegReadBatchAddCommand(batch: object, sub_key: str, value_name: str) -> int:
    """Add a value to be read, of a key below that of the batch; "" is that key itself."""

    def add() -> int:
        commands = valid(batch, BatchHandle).commands
        commands.append(BatchCommand(RegistryCommand.READ_KEY, text_of(sub_key)))
        commands.append(BatchCommand(RegistryCommand.READ_VALUE, text_of(value_name)))
        return 0

    return status_of(add)


def ClusterRegCloseReadBatch(batch: object) -> tuple[int, tuple[BatchCommand, ...]]:
    """(status, one answer for each value that was added): all of them as they were at one moment."""

    def end() -> tuple[int, tuple[BatchCommand, ...]]:
        handle = valid(batch, BatchHandle)
        handle.close()
        told = handle.call("ExecuteReadBatch", key=handle.object_id(), batch=write_batch(handle.commands))
        return 0, parse_batch(told.data("output"))[1::2]  # every other one answers a READ_KEY

    return answer_or(end, lambda status: (status, ()))


# --- Parts ---------------------------------------------------------------------------------------------------------


def _open(parent: Handle, path: str, sam_desired: int) -> KeyHandle:
    desired = flags_of(sam_desired)
    found = parent.call("OpenKey", key=path, access=desired)
    return _handle(parent, found.text("key"), desired)


def _handle(parent: Handle, path: str, desired: int) -> KeyHandle:
    full = bool(desired & _WRITE_BITS) and parent.has_full_access()
    return KeyHandle(parent.client(), path, path or "\\", full_access=full)


def _below(key: KeyHandle, sub_key: object) -> str:
    name, path = text_of(sub_key), key.object_id()
    return f"{path}\\{name}" if path and name else path or name


def _nth(found: tuple[JsonObject, ...], index: int) -> JsonObject:
    if flags_of(index) >= len(found):
        raise CallerError(Status.ERROR_NO_MORE_ITEMS, f"there is no number {index}: there are {len(found)}")
    return found[index]
