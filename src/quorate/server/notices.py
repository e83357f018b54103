"""What has happened in the cluster, told as notices: pure, from one batch of changes of the database after the other.

What there is, how it belongs and in which state it is are compared as they were before a batch and are after it, so
that nothing is missed, whoever has written it and how. Only what no record shows is taken from the events that the
batch has written.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from quorate.clusapi.errors import CallerError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.notifications import Notice
from quorate.database import keys
from quorate.database.contract import Change, Snapshot
from quorate.database.snapshot_builder import SnapshotBuilder
from quorate.server.cluster_notices import of_events, of_objects, of_properties
from quorate.server.registry_notices import KeyChange, descriptors, of_registry, spelled


@dataclass(frozen=True, slots=True)
class News:
    """What a batch has changed."""

    notices: tuple[Notice, ...]
    keys: tuple[KeyChange, ...]


class NoticeMaker:
    """Follows the records of the database and tells what has happened."""

    def __init__(self, records: Snapshot) -> None:
        """Begin with the records of ``SnapshotBuilder.PREFIXES``. Raises RefusalError: no cluster; FaultError."""
        self._builder = SnapshotBuilder(records)
        self._seen = self._builder.build()

    @property
    def revision(self) -> int:
        """How far it has come."""
        return self._builder.revision

    def apply(self, batch: Sequence[Change]) -> News:
        """Take the changes of one revision. Raises FaultError when a record cannot be understood."""
        before = self._seen
        touched = [change.key for change in batch if change.key.startswith(keys.REGISTRY)]
        old = [
            (spelled(self._builder, key), self._builder.key(key), descriptors(self._builder, key)) for key in touched
        ]
        if self._builder.apply(batch):
            self._seen = self._builder.build()
        changes = []
        for key, (path, was, security) in zip(touched, old, strict=True):
            now = self._builder.key(key)
            if now is not None:
                path, security = spelled(self._builder, key), descriptors(self._builder, key)
            changes.append(KeyChange(path, was, now, security))
        found = (
            *of_objects(before, self._seen),
            *of_properties(self._seen, changes),
            *of_registry(changes),
            *of_events(_events(batch)),
        )
        return News(tuple(dict.fromkeys(found)), tuple(changes))


def _events(batch: Iterable[Change]) -> Iterator[EventRecord]:
    for change in batch:
        if change.value is not None and change.key.startswith(keys.EVENTS):
            try:
                yield EventRecord.decode(change.value)
            except CallerError:  # of a newer version: what it tells is not known here
                continue
