"""The registry: the part of the cluster database that ClusAPI's registry calls may see and set.

Keys are named by paths with backslashes, without regard to case; nothing outside ``cluster/`` can be named. Every
change is one transaction, planned on what was read and planned anew when somebody else was quicker.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from quorate.clusapi.errors import CallerError, ClusterError, RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.registry_batch import BatchCommand
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.contract import MAX_OPERATIONS, MAX_VALUE_LENGTH, Compare, Put, Record, Store
from quorate.database.events import EventLog
from quorate.database.plan import ATTEMPTS
from quorate.database.registry_tree import (
    CommandFailed,
    Edits,
    RegistryTree,
    execute,
    lineage,
    paths_of,
    paths_of_reads,
    read,
    security_of,
)
from quorate.database.values import KeyRecord, RegistryValue, RegistryValues, check_value_name

ValueChanges = Mapping[str, RegistryValue | None]
"""Values to write by name; None removes a value."""
EventsOf = Callable[[Edits], Sequence[EventRecord]]
"""The events of what a call has changed: they are written in the same transaction."""


def _no_events(_: Edits) -> Sequence[EventRecord]:
    return ()


@dataclass(frozen=True, slots=True)
class RegistryKey:
    """A key as it stood at a revision: ``name`` is its last name as it was spelled ("" for the root).

    ``written`` is None where an older version wrote it; ``security`` is its own security descriptor, if it has one.
    """

    path: str
    name: str
    values: RegistryValues
    revision: int
    written: datetime | None = None
    security: bytes | None = None

    def value(self, name: str) -> RegistryValue:
        """One of its values. Raises CallerError ERROR_FILE_NOT_FOUND."""
        found = self.values.get(name)
        if found is None:
            raise CallerError(Status.ERROR_FILE_NOT_FOUND, f"the key {self.path!r} has no value {name!r}")
        return found


class Registry:
    """The registry tree of a store, as registry calls may use it (see registry_rules.py for what they may not)."""

    def __init__(self, store: Store, log: EventLog) -> None:
        """Look at the store through the registry; events go to the log."""
        self._store = store
        self._log = log

    # --- Reading ---------------------------------------------------------------------------------------------------

    async def open(self, path: str) -> RegistryKey:
        """Read a key with its values. Raises CallerError ERROR_FILE_NOT_FOUND."""
        record = await self._store.get(keys.registry_key(path))
        if record is None:
            raise _not_found(path)
        return _opened(path, record)

    async def exists(self, path: str) -> bool:
        """Answer whether there is such a key."""
        return await self._store.get(keys.registry_key(path)) is not None

    async def lineage(self, path: str) -> tuple[RegistryKey, ...]:
        """A key and its ancestors, the root first. Raises CallerError ERROR_FILE_NOT_FOUND for the key itself."""
        own = await self.open(path)
        found = [(above, await self._store.get(keys.registry_key(above))) for above in lineage(path)[:-1]]
        return (*(_opened(above, record) for above, record in found if record is not None), own)

    async def children(self, path: str) -> tuple[RegistryKey, ...]:
        """The keys directly below, in order of their folded names. Raises CallerError ERROR_FILE_NOT_FOUND."""
        key = keys.registry_key(path)
        prefix = key if key == keys.REGISTRY else key + "/"
        snapshot = await self._store.range(prefix)
        if not snapshot.records and not await self.exists(path):
            raise _not_found(path)
        direct = (one for one in snapshot.records if one.key != prefix and "/" not in one.key[len(prefix) :])
        return tuple(_opened(path, record) for record in direct)

    async def read(self, base: str, commands: Sequence[BatchCommand]) -> tuple[BatchCommand, ...]:
        """Answer a batch of reads, all at one moment; no answer is an error of its own.

        Raises CallerError ERROR_FILE_NOT_FOUND when there is no key ``base``.
        """
        paths = paths_of_reads(base, commands)
        if len(paths) > MAX_OPERATIONS:
            sentence = (
                f"{len(paths)} keys would be read at one moment, {MAX_OPERATIONS} may: read them in smaller steps"
            )
            raise RefusalError(Status.ERROR_CLUSTER_MAXNUM_OF_RESOURCES_EXCEEDED, sentence)
        for _ in range(ATTEMPTS):
            records = await self._records(paths)
            tree = RegistryTree(records)
            if len(records) > 1 and not (await tree.plan().commit(self._store)).succeeded:
                continue
            if tree.key(base) is None:
                raise _not_found(base)
            return read(tree, base, commands)
        raise _too_fast()

    # --- Changing --------------------------------------------------------------------------------------------------

    async def create(self, path: str, *, events: EventsOf = _no_events) -> tuple[RegistryKey, bool]:
        """Open a key, making it and its ancestors if they are missing; tells whether the key itself is new.

        Raises CallerError ERROR_ACCESS_DENIED for the key of an object.
        """

        def change(tree: RegistryTree) -> None:
            tree.create(path)

        edits = await self._change(lineage(path), (), change, events)
        return await self.open(path), path in edits.created

    async def delete(self, path: str, *, events: EventsOf = _no_events) -> None:
        """Delete a key that has no subkeys.

        Raises CallerError ERROR_FILE_NOT_FOUND, ERROR_ACCESS_DENIED (the root, or an object's), RefusalError
        ERROR_DIR_NOT_EMPTY (it has subkeys).
        """

        def change(tree: RegistryTree) -> None:
            if tree.key(path) is None:
                raise _not_found(path)
            if children := tree.below(path):
                sentence = f"the key {path!r} has subkeys ({children[0]!r}, …): delete them first"
                raise RefusalError(Status.ERROR_DIR_NOT_EMPTY, sentence)
            tree.delete(path)

        await self._change(lineage(path), [path], change, events)

    async def set_value(self, path: str, name: str, value: RegistryValue, *, events: EventsOf = _no_events) -> None:
        """Write one value. Raises CallerError: ERROR_FILE_NOT_FOUND for the key, ERROR_ACCESS_DENIED by the rules."""
        await self._change([path], (), lambda tree: tree.set_value(path, name, value), events)

    async def delete_value(self, path: str, name: str, *, events: EventsOf = _no_events) -> None:
        """Remove one value. Raises CallerError: ERROR_FILE_NOT_FOUND for the key or the value, ERROR_ACCESS_DENIED."""

        def change(tree: RegistryTree) -> None:
            key = tree.key(path)
            if key is None or name not in key.values:
                raise CallerError(Status.ERROR_FILE_NOT_FOUND, f"there is no key {path!r} with a value {name!r}")
            tree.set_value(path, name, None)

        await self._change([path], (), change, events)

    async def set_security(self, path: str, descriptor: bytes, *, events: EventsOf = _no_events) -> None:
        """Give a key a security descriptor of its own. Raises CallerError ERROR_FILE_NOT_FOUND."""

        def change(tree: RegistryTree) -> None:
            if tree.key(path) is None:
                raise _not_found(path)
            tree.set_security(path, base64.b64encode(descriptor).decode())

        await self._change([path], (), change, events)

    async def execute(self, base: str, commands: Sequence[BatchCommand], *, events: EventsOf = _no_events) -> None:
        """Carry out a batch of changes, all or none.

        Raises CommandFailed with the number of the command that did not succeed, CallerError ERROR_FILE_NOT_FOUND when
        there is no key ``base``.
        """
        paths, subtrees = paths_of(base, commands)

        def change(tree: RegistryTree) -> None:
            if tree.key(base) is None:
                raise _not_found(base)
            execute(tree, base, commands)

        await self._change(paths, subtrees, change, events)

    async def _change(
        self, paths: Sequence[str], subtrees: Sequence[str], change: Callable[[RegistryTree], None], events: EventsOf
    ) -> Edits:
        """Read keys, and all that is below ``subtrees``; change them, and write that.

        What was read key by key was so at no one moment, perhaps. So a change that it does not allow is refused only
        when all of it still stands, by the same compares with which a change is written.
        """
        for _ in range(ATTEMPTS):
            tree = RegistryTree(await self._records(paths, subtrees))
            failure: ClusterError | CommandFailed | None = None
            planned = tree.plan()
            try:
                change(tree)
            except (ClusterError, CommandFailed) as error:
                failure = error
            else:
                planned = tree.plan()
                if planned.writes:
                    self._log.add(planned, events(tree.edits))
            if (await planned.commit(self._store)).succeeded:
                if failure is not None:
                    raise failure
                return tree.edits
        raise _too_fast()

    async def _records(self, paths: Sequence[str], subtrees: Sequence[str] = ()) -> dict[str, Record | None]:
        found: dict[str, Record | None] = {}
        for subtree in subtrees:
            for record in (await self._store.range(keys.registry_key(subtree) + "/")).records:
                found[record.key] = record
        for key in dict.fromkeys(map(keys.registry_key, paths)):
            found[key] = await self._store.get(key)
        return found


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
    return RegistryKey(path, key.name, key.values, record.revision, key.written, security_of(key))


def _not_found(path: str) -> CallerError:
    return CallerError(Status.ERROR_FILE_NOT_FOUND, f"the cluster database has no key {path!r}")


def _too_fast() -> RefusalError:
    return RefusalError(Status.ERROR_RETRY, "the cluster registry is changing too fast; try again")
