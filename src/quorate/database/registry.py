"""The registry: the part of the cluster database that ClusAPI's registry calls may see and set.

Keys are named by paths with backslashes, without regard to case; nothing outside ``cluster/`` can be named. Every
change of one key is atomic.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.contract import MAX_VALUE_LENGTH, Compare, Delete, Put, Record, Store, Write
from quorate.database.values import KeyRecord, RegistryValue, RegistryValues, check_value_name

ValueChanges = Mapping[str, RegistryValue | None]
"""Values to write by name; None removes a value."""


@dataclass(frozen=True, slots=True)
class RegistryKey:
    """A key as it stood at a revision: ``name`` is its last name as it was spelled ("" for the root)."""

    path: str
    name: str
    values: RegistryValues
    revision: int


class Registry:
    """The registry tree of a store."""

    def __init__(self, store: Store) -> None:
        """Look at the store through the registry."""
        self._store = store

    async def open(self, path: str) -> RegistryKey:
        """Read a key with its values. Raises CallerError ERROR_FILE_NOT_FOUND."""
        record = await self._record(path)
        if record is None:
            raise _not_found(path)
        return _opened(path, record)

    async def exists(self, path: str) -> bool:
        """Answer whether there is such a key."""
        return await self._record(path) is not None

    async def create(self, path: str) -> tuple[RegistryKey, bool]:
        """Open a key, making it and its ancestors if they are missing; tells whether the key itself is new."""
        names = keys.split_path(path)
        while True:
            compares: list[Compare] = []
            writes: list[Write] = []
            for depth in range(len(names) + 1):
                key_path = "\\".join(names[:depth])
                record = await self._record(key_path)
                key = keys.registry_key(key_path)
                compares.append(Compare(key, record.revision if record else 0))
                if record is None:
                    writes.append(Put(key, KeyRecord(names[depth - 1] if depth else "").encode()))
                elif depth == len(names):
                    return _opened(path, record), False
                else:
                    parent = Put(key, record.value)
            if len(writes) <= len(names):  # touch the parent, so that nobody deletes it as empty meanwhile
                writes.append(parent)
            outcome = await self._store.transact(compares, writes)
            if outcome.succeeded:
                return RegistryKey(path, names[-1] if names else "", RegistryValues(), outcome.revision), True

    async def delete(self, path: str) -> None:
        """Delete a key that has no subkeys.

        Raises CallerError ERROR_FILE_NOT_FOUND, RefusalError ERROR_DIR_NOT_EMPTY (it has subkeys) or
        ERROR_ACCESS_DENIED (it is the root).
        """
        if not keys.split_path(path):
            raise RefusalError(Status.ERROR_ACCESS_DENIED, "the root of the cluster database cannot be deleted")
        while True:
            record = await self._record(path)
            if record is None:
                raise _not_found(path)
            if children := await self.subkeys(path):
                raise RefusalError(
                    Status.ERROR_DIR_NOT_EMPTY, f"the key {path!r} has subkeys ({children[0]!r}, …): delete them first"
                )
            outcome = await self._store.transact([Compare(record.key, record.revision)], [Delete(record.key)])
            if outcome.succeeded:
                return

    async def subkeys(self, path: str) -> tuple[str, ...]:
        """The names of the keys directly below, as spelled, in order. Raises CallerError ERROR_FILE_NOT_FOUND."""
        key = keys.registry_key(path)
        prefix = key if key == keys.REGISTRY else key + "/"
        snapshot = await self._store.range(prefix)
        if not snapshot.records and not await self.exists(path):
            raise _not_found(path)
        return tuple(
            KeyRecord.decode(record.value).name
            for record in snapshot.records
            if record.key != prefix and "/" not in record.key[len(prefix) :]
        )

    async def value(self, path: str, name: str) -> RegistryValue:
        """Read one value. Raises CallerError ERROR_FILE_NOT_FOUND for the key or the value."""
        key = await self.open(path)
        try:
            return key.values[name]
        except KeyError:
            raise CallerError(Status.ERROR_FILE_NOT_FOUND, f"the key {path!r} has no value {name!r}") from None

    async def set_value(self, path: str, name: str, value: RegistryValue) -> None:
        """Write one value. Raises CallerError ERROR_FILE_NOT_FOUND for the key."""
        await self.apply_values(path, {name: value})

    async def delete_value(self, path: str, name: str) -> None:
        """Remove one value. Raises CallerError ERROR_FILE_NOT_FOUND for the key or the value."""
        await self.value(path, name)
        await self.apply_values(path, {name: None})

    async def apply_values(self, path: str, changes: ValueChanges, *, expected: int | None = None) -> int:
        """Change several values of a key at once, all or none; returns the key's new revision.

        With ``expected`` only while the key stands at that revision: else RefusalError ERROR_RETRY. Raises
        CallerError ERROR_FILE_NOT_FOUND for the key.
        """
        while True:
            record = await self._record(path)
            compare, write = plan_values(path, record, changes, expected)
            outcome = await self._store.transact([compare], [write])
            if outcome.succeeded:
                return outcome.revision

    async def _record(self, path: str) -> Record | None:
        return await self._store.get(keys.registry_key(path))


def plan_values(path: str, record: Record | None, changes: ValueChanges, expected: int | None) -> tuple[Compare, Put]:
    """What a transaction must hold to change values of the key that ``record`` was read from.

    Raises CallerError ERROR_FILE_NOT_FOUND and, when ``expected`` has passed, RefusalError ERROR_RETRY.
    """
    if record is None:
        raise _not_found(path)
    if expected is not None and record.revision != expected:
        raise RefusalError(
            Status.ERROR_RETRY,
            f"the key {path!r} was changed by somebody else (revision {record.revision}, expected {expected})",
        )
    for name in changes:
        check_value_name(name)
    key = KeyRecord.decode(record.value)
    data = KeyRecord(key.name, key.values.changed(changes), key.extra).encode()
    if len(data) > MAX_VALUE_LENGTH:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            f"the values of the key {path!r} would have {len(data)} bytes; {MAX_VALUE_LENGTH} fit",
        )
    return Compare(record.key, record.revision), Put(record.key, data)


def _opened(path: str, record: Record) -> RegistryKey:
    key = KeyRecord.decode(record.value)
    return RegistryKey(path, key.name, key.values, record.revision)


def _not_found(path: str) -> CallerError:
    return CallerError(Status.ERROR_FILE_NOT_FOUND, f"the cluster database has no key {path!r}")
