"""What has changed in the registry, told as notices and as a batch; pure.

A change is what a transaction has made of a key: of two writes of one value within it only the last one shows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from quorate.clusapi.notifications import Notice, ObjectType, RegistryFlag
from quorate.clusapi.registry_batch import BatchCommand, RegistryCommand
from quorate.clusapi.security_descriptors import DEFAULT_DESCRIPTOR, KeyAccess, effective
from quorate.database import keys
from quorate.database.registry_data import encode_data
from quorate.database.registry_tree import SECURITY, security_of
from quorate.database.snapshot_builder import SnapshotBuilder
from quorate.database.values import KeyRecord


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A key as it was and as it is now; None: it was not there, or is no longer. ``path`` is as spelled.

    ``security`` are the security descriptors of the key itself and of those above it, None where one has none.
    """

    path: str
    before: KeyRecord | None
    after: KeyRecord | None
    security: tuple[bytes | None, ...] = ()

    def is_readable(self, sids: frozenset[bytes]) -> bool:
        """Answer whether somebody with these SIDs may read its values."""
        if not any(self.security):
            return DEFAULT_DESCRIPTOR.grants(sids, KeyAccess.QUERY_VALUE)
        return effective(self.security[0], self.security[1:]).grants(sids, KeyAccess.QUERY_VALUE)

    @property
    def changed_values(self) -> tuple[str, ...]:
        """The names of the values that are other ones now, or there no longer."""
        before = {} if self.before is None else self.before.values
        after = {} if self.after is None else self.after.values
        gone = (name for name in before if name not in after)
        return (*gone, *(name for name in after if before.get(name) != after[name]))


def spelled(builder: SnapshotBuilder, key: str) -> str:
    """The path of a registry key, from its key in the store."""
    parts = key.removeprefix(keys.REGISTRY).split("/") if key != keys.REGISTRY else []
    names: list[str] = []
    for depth, part in enumerate(parts, 1):
        found = builder.key(keys.REGISTRY + "/".join(parts[:depth]))
        names.append(unquote(part) if found is None else found.name)
    return "\\".join(names)


def descriptors(builder: SnapshotBuilder, key: str) -> tuple[bytes | None, ...]:
    """The security descriptors of a registry key and of those above it, from its key in the store."""
    parts = key.removeprefix(keys.REGISTRY).split("/") if key != keys.REGISTRY else []
    lineage = (builder.key(keys.REGISTRY + "/".join(parts[:depth])) for depth in range(len(parts), -1, -1))
    return tuple(None if one is None else security_of(one) for one in lineage)


def is_at_or_below(path: str, top: str) -> bool:
    """Answer whether a key is another one or lies below it, without regard to case."""
    own, other = path.casefold(), top.casefold()
    return own == other or not other or own.startswith(f"{other}\\")


def of_registry(changes: Iterable[KeyChange]) -> Iterator[Notice]:
    """NAME of a key's parent for a key that is new or gone, and VALUE and ATTRIBUTES of the key itself."""
    for change in changes:
        if change.before is None or change.after is None:
            yield _notice(RegistryFlag.NAME, change.path.rpartition("\\")[0], change.path)
        if change.before is None and change.after is not None and not change.after.values:
            continue
        if change.after is None:
            continue
        if change.changed_values:
            yield _notice(RegistryFlag.VALUE, change.path, change.path)
        if change.before is not None and change.before.extra.get(SECURITY) != change.after.extra.get(SECURITY):
            yield _notice(RegistryFlag.ATTRIBUTES, change.path, change.path)


def _notice(flag: RegistryFlag, target: str, path: str) -> Notice:
    return Notice(ObjectType.REGISTRY, flag, target, path, path)


def batch_of(top: str, changes: Sequence[KeyChange]) -> tuple[BatchCommand, ...]:
    """The changes at and below a key as commands that would make them; before a value the data that it had."""
    commands: list[BatchCommand] = []
    current = top.casefold()
    gone: list[str] = []
    for change in sorted(changes, key=lambda one: one.path.casefold()):
        if not is_at_or_below(change.path, top):
            continue
        name = change.path[len(top) :].removeprefix("\\")
        if change.after is None:
            if not any(is_at_or_below(change.path, above) for above in gone):
                commands.append(BatchCommand(RegistryCommand.DELETE_KEY, name))
                gone.append(change.path)
                current = "\0"  # no key
            continue
        if change.before is None or (change.changed_values and current != change.path.casefold()):
            commands.append(BatchCommand(RegistryCommand.CREATE_KEY, name))
            current = change.path.casefold()
        commands += _value_commands(change)
    return tuple(commands)


def _value_commands(change: KeyChange) -> Iterator[BatchCommand]:
    for name in change.changed_values:
        before = None if change.before is None else change.before.values.get(name)
        after = None if change.after is None else change.after.values.get(name)
        if before is not None:
            yield BatchCommand(RegistryCommand.VALUE_DELETED, name, before.type, encode_data(before))
        if after is not None:
            yield BatchCommand(RegistryCommand.SET_VALUE, name, after.type, encode_data(after))
        else:
            yield BatchCommand(RegistryCommand.DELETE_VALUE, name)
