"""Operations on the cluster registry: what is read and set here is what the properties of objects are.

A caller needs what the operation needs, and the rights that the key's security descriptor gives it
(:mod:`quorate.server.registry_rights`). What a registry call changes is an event, with the names of keys and values but
never with data.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from quorate.clusapi.errors import CallerError, ClusterError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_values import Values
from quorate.clusapi.registry_batch import BatchCommand, RegistryCommand, parse_batch, write_batch
from quorate.clusapi.security_descriptors import (
    KeyAccess,
    SecurityDescriptor,
    SecurityInformation,
)
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.registry import Registry, RegistryKey, ValueChanges
from quorate.database.registry_data import decode_data, encode_data
from quorate.database.registry_tree import NO_COMMAND, CommandFailed, Edits, join
from quorate.database.values import RegistryValue
from quorate.server import registry_checks
from quorate.server.call import Call, done
from quorate.server.registry_rights import KeyRights

_NEW: Final = 1
_OPENED: Final = 2
_PARTS: Final = SecurityInformation.OWNER | SecurityInformation.GROUP | SecurityInformation.DACL
_BESIDES: Final = 0x02000000 | 0x00100000 | 0x00000300  # maximum allowed, synchronize, views of 32 and 64 bits
_FILETIME_EPOCH: Final = datetime(1601, 1, 1, tzinfo=UTC)


# --- Keys ----------------------------------------------------------------------------------------------------------


async def open_key(call: Call) -> Values:
    """Find a key; CallerError 5 when it does not give the rights that are asked for."""
    path = call.inputs.text("key")
    wanted = call.inputs.optional_number("access") or 0
    key = await KeyRights(call).key(path, wanted & ~_BESIDES)
    return Values({"key": _spelled(path, key)})


async def create_key(call: Call) -> Values:
    """Open a key, or make it with its ancestors."""
    path = call.inputs.text("key")
    registry = _registry(call)
    if await registry.exists(path):
        return Values({"key": _spelled(path, await registry.open(path)), "disposition": _OPENED})
    await KeyRights(call).check_create(path)
    key, is_new = await registry.create(path, events=_events(call))
    return Values({"key": _spelled(path, key), "disposition": _NEW if is_new else _OPENED})


async def delete_key(call: Call) -> Values:
    """Delete a key that has no subkeys."""
    path = call.inputs.text("key")
    await KeyRights(call).key(path, KeyAccess.DELETE)
    await _registry(call).delete(path, events=_events(call))
    return done()


async def enum_key(call: Call) -> Values:
    """The keys directly below."""
    path = call.inputs.text("key")
    await KeyRights(call).key(path, KeyAccess.ENUMERATE_SUB_KEYS)
    children = await _registry(call).children(path)
    return Values({"keys": tuple(_child(key) for key in children)})


async def query_info(call: Call) -> Values:
    """How many subkeys and values there are, and how long they are; lengths of names in UTF-16 units."""
    path = call.inputs.text("key")
    rights = KeyRights(call)
    key, children = await rights.key(path, KeyAccess.QUERY_VALUE), await _registry(call).children(path)
    return Values(
        {
            "subkeys": len(children),
            "max_subkey_length": max((_units(child.name) for child in children), default=0),
            "values": len(key.values),
            "max_value_name_length": max(map(_units, key.values), default=0),
            "max_value_length": max((len(encode_data(value)) for value in key.values.values()), default=0),
            "security_length": len((await rights.descriptor(path)).encode()),
            "last_write": filetime(key.written),
        }
    )


# --- Values --------------------------------------------------------------------------------------------------------


async def enum_value(call: Call) -> Values:
    """All values."""
    key = await KeyRights(call).key(call.inputs.text("key"), KeyAccess.QUERY_VALUE)
    values: list[JsonObject] = [
        {"name": name, "type": int(value.type), "data": base64.b64encode(encode_data(value)).decode()}
        for name, value in key.values.items()
    ]
    return Values({"values": tuple(values)})


async def query_value(call: Call) -> Values:
    """One value."""
    path, name = call.inputs.text("key"), call.inputs.text("name")
    key = await KeyRights(call).key(path, KeyAccess.QUERY_VALUE)
    value = key.value(name)
    return Values({"type": int(value.type), "data": encode_data(value)})


async def set_value(call: Call) -> Values:
    """Set a value."""
    path, name = call.inputs.text("key"), call.inputs.text("name")
    value = decode_data(call.inputs.number("type"), call.inputs.data("data"))
    await KeyRights(call).key(path, KeyAccess.SET_VALUE)
    _check_values(call, path, {name: value})
    await _registry(call).set_value(path, name, value, events=_events(call))
    return done()


async def delete_value(call: Call) -> Values:
    """Remove a value."""
    path, name = call.inputs.text("key"), call.inputs.text("name")
    await KeyRights(call).key(path, KeyAccess.SET_VALUE)
    _check_values(call, path, {name: None})
    await _registry(call).delete_value(path, name, events=_events(call))
    return done()


def _check_values(call: Call, path: str, changes: ValueChanges) -> None:
    """Refuse values that properties may not have. Raises CallerError: 5, 13, 87."""
    for name, value in changes.items():
        registry_checks.check_value(call.snapshot, path, name, value)
    if path == keys.CLUSTER:
        registry_checks.check_cluster(call.snapshot, changes, call.services.shortest_lease)


# --- Batches -------------------------------------------------------------------------------------------------------


async def execute_batch(call: Call) -> Values:
    """Change several keys and values, all or none; a command that does not succeed is told by its number."""
    base = call.inputs.text("key")
    commands = parse_batch(call.inputs.data("batch"))
    try:
        await _check_batch(call, base, commands)
        await _registry(call).execute(base, commands, events=_events(call))
    except CommandFailed as failed:
        error = failed.error
        return Values({"status": int(error.status), "failed_command": failed.number, "sentence": error.sentence})
    return Values({"status": 0, "failed_command": NO_COMMAND})


async def execute_read_batch(call: Call) -> Values:
    """Read several values as they were at one moment; what may not be read answers 5 by itself."""
    base = call.inputs.text("key")
    commands = parse_batch(call.inputs.data("batch"))
    rights = KeyRights(call)
    await rights.key(base, KeyAccess.QUERY_VALUE)
    answers, current = [], base
    for command, answer in zip(commands, await _registry(call).read(base, commands), strict=True):
        if answer.command == RegistryCommand.READ_KEY:
            current = join(base, command.name)
        if answer.command == RegistryCommand.READ_VALUE and not await rights.may_read(current):
            answer = BatchCommand(RegistryCommand.READ_ERROR, command.name, Status.ERROR_ACCESS_DENIED)
        answers.append(answer)
    return Values({"output": write_batch(answers)})


async def _check_batch(call: Call, base: str, commands: Sequence[BatchCommand]) -> None:
    """Refuse what its keys give no right to, and values that properties may not have.

    Raises CommandFailed, CallerError 2 for the base.
    """
    await _registry(call).open(base)
    rights, current = KeyRights(call), base
    of_cluster: dict[str, RegistryValue | None] = {}
    for number, command in enumerate(commands):
        path = join(base, command.name)
        try:
            if command.command == RegistryCommand.CREATE_KEY:
                current = path
                await rights.check_create(path)
            elif command.command == RegistryCommand.DELETE_KEY:
                if await rights.nearest(path) == path:
                    await rights.key(path, KeyAccess.DELETE)
            elif command.command in (RegistryCommand.SET_VALUE, RegistryCommand.DELETE_VALUE):
                if await rights.nearest(current) == current:
                    await rights.key(current, KeyAccess.SET_VALUE)
                is_set = command.command == RegistryCommand.SET_VALUE
                value = decode_data(command.type, command.data) if is_set else None
                if current == keys.CLUSTER:  # its values must go together
                    of_cluster[command.name] = value
                    _check_values(call, current, of_cluster)
                else:
                    _check_values(call, current, {command.name: value})
        except ClusterError as error:
            raise CommandFailed(number, error) from error


# --- Security ------------------------------------------------------------------------------------------------------


async def get_security(call: Call) -> Values:
    """The descriptor that holds for a key."""
    parts = _security_parts(call)
    rights, path = KeyRights(call), call.inputs.text("key")
    await rights.key(path, KeyAccess.READ_CONTROL)
    return Values({"descriptor": (await rights.descriptor(path)).only(parts).encode()})


async def set_security(call: Call) -> Values:
    """Set parts of a key's descriptor; what it had by inheritance becomes its own with it."""
    path, parts = call.inputs.text("key"), _security_parts(call)
    given = SecurityDescriptor.decode(call.inputs.data("descriptor"))
    wanted = KeyAccess.WRITE_DAC if parts & SecurityInformation.DACL else KeyAccess.NONE
    rights = KeyRights(call)
    await rights.key(path, wanted)  # an administrator may always take ownership
    descriptor = (await rights.descriptor(path)).with_parts(given, parts)
    await _registry(call).set_security(path, descriptor.encode(), events=_security_event(call, path))
    return done()


def _security_parts(call: Call) -> int:
    parts = call.inputs.number("security_information")
    if parts & ~_PARTS & 0x0FFFFFFF:
        raise CallerError(
            Status.ERROR_PRIVILEGE_NOT_HELD,
            f"security information 0x{parts:X}: only owner (1), group (2) and DACL (4) of a key are kept, no SACL",
        )
    if not parts & _PARTS:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "security information names no part of a descriptor")
    return parts & _PARTS


# --- Parts ---------------------------------------------------------------------------------------------------------


def filetime(moment: datetime | None) -> int:
    """A moment as a FILETIME: 100 ns ticks since 1601 in UTC; 0 for none."""
    return 0 if moment is None else (moment - _FILETIME_EPOCH) // timedelta(microseconds=1) * 10


def _registry(call: Call) -> Registry:
    return call.services.database.registry


def _spelled(path: str, key: RegistryKey) -> str:
    return join(path.rpartition("\\")[0], key.name) if path else ""


def _child(key: RegistryKey) -> JsonObject:
    return {"name": key.name, "last_write": str(filetime(key.written))}


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _events(call: Call) -> Callable[[Edits], Sequence[EventRecord]]:
    """One event for the keys and one for the values that a call has changed."""

    def event(kind: EventKind, about: str, did: Mapping[str, Sequence[str]]) -> EventRecord:
        what = " and ".join(f"{verb} {_listed(names)}" for verb, names in did.items() if names)
        after: JsonObject = {verb: list(names) for verb, names in did.items()}
        return call.event(kind, about, about, f"the registry: {what}", after)

    def of(edits: Edits) -> Sequence[EventRecord]:
        events: list[EventRecord] = []
        if paths := (*edits.created, *edits.deleted):
            events.append(event(EventKind.REGISTRY_KEY, paths[0], {"made": edits.created, "deleted": edits.deleted}))
        if values := (*edits.set_values, *edits.deleted_values):
            did = {"set": edits.set_values, "removed": edits.deleted_values}
            named = {verb: [join(*one) for one in found] for verb, found in did.items()}
            events.append(event(EventKind.REGISTRY_VALUE, values[0][0], named))
        return events

    return of


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _security_event(call: Call, path: str) -> Callable[[Edits], Sequence[EventRecord]]:
    event = call.event(EventKind.REGISTRY_SECURITY, path, path, f'the registry: new security descriptor of "{path}"')
    return lambda _: (event,)
