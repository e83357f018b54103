"""Commands on a part of the registry, carried out on what was read of it: pure, so that a transaction can be planned.

The tree holds the keys that the commands need, as they were read. What it has become is written by one transaction
which compares everything that was looked at, so that all of it happens or nothing.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.registry_batch import BatchCommand, RegistryCommand
from quorate.clusapi.status import Status
from quorate.database import keys, registry_rules
from quorate.database.contract import Record
from quorate.database.plan import Plan
from quorate.database.registry_data import decode_data, encode_data
from quorate.database.values import KeyRecord, RegistryValue, check_value_name

MAX_ANSWER: Final = 1 << 22
"""Bytes of all values that a read batch tells."""
NO_COMMAND: Final = 0xFFFFFFFF
"""The number of the command that failed, where none did or it was not a command's fault."""

_OF_VALUES: Final = frozenset({RegistryCommand.SET_VALUE, RegistryCommand.DELETE_VALUE})
_OF_KEYS: Final = frozenset(
    {
        RegistryCommand.CREATE_KEY,
        RegistryCommand.DELETE_KEY,
        RegistryCommand.CONDITION_KEY_EXISTS,
        RegistryCommand.CONDITION_KEY_NOT_EXISTS,
    }
)
_CONDITIONS: Final = frozenset(range(RegistryCommand.CONDITION_EXISTS, RegistryCommand.CONDITION_KEY_NOT_EXISTS + 1))


@dataclass(frozen=True, slots=True)
class Edits:
    """What commands have changed: paths of keys, and values as (path, name)."""

    created: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    set_values: tuple[tuple[str, str], ...] = ()
    deleted_values: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.created or self.deleted or self.set_values or self.deleted_values)


class CommandFailed(Exception):
    """A command did not succeed: which one, and why."""

    def __init__(self, number: int, error: ClusterError) -> None:
        super().__init__(number, error)
        self.number = number
        self.error = error


def join(path: str, below: str) -> str:
    """The path of a key below another one; an empty name is that key itself."""
    return f"{path}\\{below}" if path and below else path or below


def lineage(path: str, base: str = keys.CLUSTER) -> list[str]:
    """The paths from one key down to another. Raises CallerError for what is no path."""
    keys.registry_key(path)
    names = keys.split_path(path)
    return ["\\".join(names[:depth]) for depth in range(len(keys.split_path(base)), len(names) + 1)]


def paths_of(base: str, commands: Iterable[BatchCommand]) -> tuple[list[str], list[str]]:
    """Which keys the commands of a batch look at, and of which everything below is needed.

    Raises CommandFailed for names that cannot be keys.
    """
    paths, subtrees = [base], []
    for number, command in enumerate(commands):
        if command.command not in _OF_KEYS:
            continue
        path = join(base, command.name)
        try:
            paths += lineage(path, base)
        except ClusterError as error:
            raise CommandFailed(number, error) from error
        if command.command == RegistryCommand.DELETE_KEY:
            subtrees.append(path)
            paths.append(_parent(path))
    return paths, subtrees


def paths_of_reads(base: str, commands: Iterable[BatchCommand]) -> list[str]:
    """Which keys the commands of a read batch look at; what cannot be a key is none."""
    named = (join(base, command.name) for command in commands if command.command == RegistryCommand.READ_KEY)
    return list(dict.fromkeys((base, *filter(_is_path, named))))


def _is_path(path: str) -> bool:
    try:
        keys.registry_key(path)
    except CallerError:
        return False
    return True


class RegistryTree:
    """Keys of the registry, by their keys in the store: as read, and as they are to become."""

    def __init__(self, records: Mapping[str, Record | None]) -> None:
        """Begin with what was read; None was looked for and is not there."""
        self._read = records
        self._keys = {
            key: None if record is None else KeyRecord.decode(record.value) for key, record in records.items()
        }
        self._written: dict[str, None] = {}
        self._created: list[str] = []
        self._deleted: list[str] = []
        self._set: list[tuple[str, str]] = []
        self._unset: list[tuple[str, str]] = []

    @property
    def edits(self) -> Edits:
        """What has been changed so far."""
        return Edits(tuple(self._created), tuple(self._deleted), tuple(self._set), tuple(self._unset))

    def key(self, path: str) -> KeyRecord | None:
        """A key as it is now."""
        return self._keys[keys.registry_key(path)]

    def below(self, path: str) -> list[str]:
        """The names of the keys directly below a key of which everything below was read."""
        prefix = keys.registry_key(path) + "/"
        found = self._keys.items()
        return [
            key.name
            for own, key in found
            if key is not None and own.startswith(prefix) and "/" not in own[len(prefix) :]
        ]

    def create(self, path: str) -> None:
        """Open a key, and make it and its ancestors if they are missing. Raises CallerError ERROR_ACCESS_DENIED."""
        missing: list[str] = []
        above = path
        while (found := self.key(above)) is None:
            registry_rules.check_key(above)
            missing.append(above)
            if above == keys.CLUSTER:
                break
            above = _parent(above)
        if missing and found is not None:
            self._write(above, found)  # so that nobody deletes it as empty meanwhile
        for new in reversed(missing):
            self._write(new, KeyRecord(new.rpartition("\\")[2]))
            self._created.append(new)

    def delete(self, path: str) -> None:
        """Delete a key with everything below. Raises CallerError ERROR_ACCESS_DENIED for an object's or the root."""
        if path == keys.CLUSTER:
            raise CallerError(Status.ERROR_ACCESS_DENIED, "the root of the cluster registry cannot be deleted")
        registry_rules.check_key(path)
        own = keys.registry_key(path)
        if self._keys[own] is None:
            return
        for key in [key for key, found in self._keys.items() if found is not None and key.startswith(f"{own}/")]:
            self._keys[key] = None
            self._written[key] = None
        self._write(path, None)
        self._deleted.append(path)
        if (above := self.key(_parent(path))) is not None:
            self._write(_parent(path), above)

    def set_value(self, path: str, name: str, value: RegistryValue | None) -> None:
        """Set or remove a value of a key that is there. Raises CallerError."""
        check_value_name(name)
        registry_rules.check_value(path, name)
        key = self.key(path)
        if key is None:
            raise CallerError(Status.ERROR_FILE_NOT_FOUND, f"the cluster registry has no key {path!r}")
        if value is None and name not in key.values:
            return
        self._write(path, replace(key, values=key.values.changed({name: value})))
        (self._unset if value is None else self._set).append((path, name))

    def set_security(self, path: str, descriptor: str) -> None:
        """Set the security descriptor of a key that is there, as its record holds it."""
        key = self.key(path)
        assert key is not None  # who sets it has opened the key
        self._write(path, replace(key, extra={**key.extra, SECURITY: descriptor}))

    def plan(self) -> Plan:
        """The transaction that makes the tree what it has become, if it still is what was read."""
        planned = Plan()
        for key, record in self._read.items():
            planned.compares[key] = record.revision if record is not None else 0
        for key in self._written:
            found = self._keys[key]
            if found is not None:
                planned.writes[key] = replace(found, written=None).encode()
            elif self._read.get(key) is not None:
                planned.writes[key] = None
        return planned

    def _write(self, path: str, key: KeyRecord | None) -> None:
        self._keys[keys.registry_key(path)] = key
        self._written[keys.registry_key(path)] = None


def _parent(path: str) -> str:
    return path.rpartition("\\")[0]


SECURITY: Final = "security"
"""The field of a key's record that holds its own security descriptor, in base64; unknown to older versions, kept by
them."""


def security_of(key: KeyRecord) -> bytes | None:
    """The security descriptor of a key's own, if it has one. Raises FaultError when it is damaged."""
    text = key.extra.get(SECURITY)
    if text is None:
        return None
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError as error:
        sentence = f"the security descriptor of the registry key {key.name!r} is damaged: {error}"
        raise FaultError(Status.ERROR_CLUSTER_CANT_DESERIALIZE_DATA, sentence) from error


def execute(tree: RegistryTree, base: str, commands: Sequence[BatchCommand]) -> None:
    """Carry out commands of a batch, in order. Raises CommandFailed; the tree is worth nothing then."""
    current: str | None = base
    for number, command in enumerate(commands):
        try:
            current = _execute(tree, base, current, command)
        except ClusterError as error:
            raise CommandFailed(number, error) from error


def _execute(tree: RegistryTree, base: str, current: str | None, command: BatchCommand) -> str | None:
    """Carry out one command; answers which key the next values belong to."""
    path = join(base, command.name)
    if command.command == RegistryCommand.CREATE_KEY:
        tree.create(path)
        return path
    if command.command == RegistryCommand.DELETE_KEY:
        tree.delete(path)
        return None
    if command.command in (RegistryCommand.CONDITION_KEY_EXISTS, RegistryCommand.CONDITION_KEY_NOT_EXISTS):
        wanted = command.command == RegistryCommand.CONDITION_KEY_EXISTS
        _expect((tree.key(path) is not None) == wanted, command)
        return current
    if command.command not in _OF_VALUES | _CONDITIONS:
        raise _refused(f"command {command.command} does not belong into a batch of changes")
    if current is None:
        raise _refused(f"the value {command.name!r} belongs to no key: a key was deleted before and none opened since")
    if command.command in _CONDITIONS:
        key = tree.key(current)
        _check_condition(None if key is None else key.values.get(command.name), command)
    elif command.command == RegistryCommand.SET_VALUE:
        tree.set_value(current, command.name, decode_data(command.type, command.data))
    else:
        tree.set_value(current, command.name, None)
    return current


def _check_condition(found: RegistryValue | None, command: BatchCommand) -> None:
    if command.command == RegistryCommand.CONDITION_EXISTS:
        return _expect(found is not None, command)
    if command.command == RegistryCommand.CONDITION_NOT_EXISTS:
        return _expect(found is None, command)
    given = decode_data(command.type, command.data)
    if command.command == RegistryCommand.CONDITION_IS_EQUAL:
        return _expect(found == given, command)
    if command.command == RegistryCommand.CONDITION_IS_NOT_EQUAL:
        return _expect(found != given, command)
    if found is None or not isinstance(found.data, int) or not isinstance(given.data, int):
        raise _refused(f"the value {command.name!r} is no number, or not there: it is neither greater nor less")
    is_greater = command.command == RegistryCommand.CONDITION_IS_GREATER_THAN
    return _expect(found.data > given.data if is_greater else found.data < given.data, command)


def _expect(holds: bool, command: BatchCommand) -> None:
    if not holds:
        name = RegistryCommand(command.command).name.lower()
        raise RefusalError(
            Status.ERROR_CLUSTER_DATABASE_UPDATE_CONDITION_FAILED,
            f"the batch was not carried out: {name} does not hold of {command.name!r}",
        )


def read(tree: RegistryTree, base: str, commands: Sequence[BatchCommand]) -> tuple[BatchCommand, ...]:
    """Answer the commands of a read batch: for each one a value, or why there is none.

    Names of keys are relative to ``base``, as ClusterRegReadBatchAddCommand has it; [MS-CMRP] 3.1.4.2.141 says so too,
    but in its table it says that they are relative to the key before.

    Raises RefusalError ERROR_NO_SYSTEM_RESOURCES when the values are larger than MAX_ANSWER: a short batch may ask for
    a large value again and again.
    """
    answers: list[BatchCommand] = []
    current, size = base, 0
    for command in commands:
        if command.command == RegistryCommand.READ_KEY:
            current = join(base, command.name)
        key = tree.key(current) if _is_path(current) else None
        if command.command != RegistryCommand.READ_KEY:
            answers.append(answer := _read_value(key, command))
            size += len(answer.data)
            if size > MAX_ANSWER:
                sentence = f"the values of a read batch may have {MAX_ANSWER} bytes, and these have more: read fewer"
                raise RefusalError(Status.ERROR_NO_SYSTEM_RESOURCES, sentence)
        elif key is None:
            answers.append(BatchCommand(RegistryCommand.READ_ERROR, command.name, Status.ERROR_FILE_NOT_FOUND))
        else:
            answers.append(BatchCommand(RegistryCommand.READ_KEY, command.name))
    return tuple(answers)


def _read_value(key: KeyRecord | None, command: BatchCommand) -> BatchCommand:
    if command.command != RegistryCommand.READ_VALUE:
        status = Status.ERROR_INVALID_PARAMETER
    elif key is None or (value := key.values.get(command.name)) is None:
        status = Status.ERROR_FILE_NOT_FOUND
    else:
        return BatchCommand(RegistryCommand.READ_VALUE, command.name, value.type, encode_data(value))
    return BatchCommand(RegistryCommand.READ_ERROR, command.name, status)


def _refused(sentence: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
