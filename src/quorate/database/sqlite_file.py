"""One connection to the database file: the SQL of the sqlite engine, blocking, for one thread at a time.

::

    meta     name, value             schema (version of these tables), revision, compacted (changes up to it are gone)
    records  key, value, revision    what stands now
    changes  revision, key, value    what was written, for watchers; value NULL: deleted

The file is in WAL mode with synchronous=FULL: an answered transaction is on the disk. Checkpoints are left to
``checkpoint()``, which the store calls after it has answered, so that no transaction waits for one.
"""

import os
import sqlite3
import stat
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.database.contract import (
    Change,
    Compacted,
    Compare,
    Outcome,
    Put,
    Record,
    Snapshot,
    StoreUnavailable,
    Write,
    check_key,
    check_transaction,
    prefix_end,
)

SCHEMA: Final = 1
APPLICATION_ID: Final = 0x51554F52  # "QUOR": tells our files from other programs'
KEEP_REVISIONS: Final = 10_000
PRUNE_EVERY: Final = 500
CHECKPOINT_PAGES: Final = 1000
CHECKPOINT_PAGES_AT_LATEST: Final = 8000  # SQLite's own doing, inside a transaction, if nobody called checkpoint()

_TABLES: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE records (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL)",
    "CREATE TABLE changes (revision INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, PRIMARY KEY (revision, key))",
    f"INSERT INTO meta VALUES ('schema', {SCHEMA}), ('revision', 0), ('compacted', 0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
)

# One statement sees one state of the database: first the three rows of meta, which are before every revision.
_CHANGES: Final = (
    "SELECT key, value, revision FROM ("
    "SELECT name AS key, NULL AS value, value AS revision, 0 AS place FROM meta"
    " UNION ALL SELECT key, value, revision, revision FROM changes WHERE revision > ?"
    ") ORDER BY place, key"
)


@dataclass(frozen=True, slots=True)
class ChangeLog:
    """Changes after a revision, one batch per revision, up to ``revision``."""

    revision: int
    batches: tuple[tuple[Change, ...], ...]


class SqliteFile:
    """A connection. Opens the file at first use; may change threads but serves one at a time."""

    def __init__(self, path: Path, busy_wait: float, keep: int = KEEP_REVISIONS) -> None:
        """Wait ``busy_wait`` seconds for other writers; keep the changes of ``keep`` revisions for watchers."""
        self._path = path
        self._busy_wait = busy_wait
        self._keep = keep
        self._connection: sqlite3.Connection | None = None

    def get(self, key: str) -> Record | None:
        """Read one record."""
        check_key(key)
        with self._guarded("reading") as connection:
            return _record(connection, key)

    def range(self, prefixes: Sequence[str], after: int) -> Snapshot:
        """Read what lies under the prefixes, at one revision."""
        records: dict[str, Record] = {}
        if not prefixes:  # a question for the revision alone, which is asked all the time
            return Snapshot(self.revision(), ())
        with self._guarded("reading") as connection, _reading(connection):
            revision = _meta(connection, "revision")
            for prefix in prefixes:
                rows = connection.execute(
                    "SELECT key, value, revision FROM records WHERE key >= ? AND key < ? AND revision > ?",
                    (prefix, prefix_end(prefix), after),
                )
                records.update((row[0], Record(*row)) for row in rows)
        return Snapshot(revision, tuple(records[key] for key in sorted(records)))

    def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> tuple[Outcome, bool]:
        """Compare and write; tells also whether anything changed."""
        check_transaction(compares, writes)
        with self._guarded("writing") as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                outcome, changed = self._transact(connection, compares, writes)
                connection.execute("COMMIT" if changed else "ROLLBACK")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        return outcome, changed

    def _transact(
        self, connection: sqlite3.Connection, compares: Sequence[Compare], writes: Sequence[Write]
    ) -> tuple[Outcome, bool]:
        revision = _meta(connection, "revision")
        stands = tuple(_record(connection, compare.key) for compare in compares)
        for compare, record in zip(compares, stands, strict=True):
            if (record.revision if record else 0) != compare.revision:
                return Outcome(False, revision, stands), False
        next_, changed = revision + 1, False
        for write in writes:
            value = write.value if isinstance(write, Put) else None
            if value is not None:
                connection.execute(
                    "INSERT INTO records VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3",
                    (write.key, value, next_),
                )
            elif connection.execute("DELETE FROM records WHERE key = ?", (write.key,)).rowcount == 0:
                continue
            connection.execute("INSERT INTO changes VALUES (?, ?, ?)", (next_, write.key, value))
            changed = True
        if not changed:
            return Outcome(True, revision), False
        connection.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (next_,))
        if next_ % PRUNE_EVERY == 0 and next_ > self._keep:
            connection.execute("DELETE FROM changes WHERE revision <= ?", (next_ - self._keep,))
            connection.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (next_ - self._keep,))
        return Outcome(True, next_), True

    def revision(self) -> int:
        """The revision now."""
        with self._guarded("reading") as connection:
            return _meta(connection, "revision")

    def changes(self, after: int) -> ChangeLog:
        """All changes after a revision. Raises Compacted."""
        with self._guarded("reading") as connection:
            rows = connection.execute(_CHANGES, (after,)).fetchall()
        meta = {name: value for name, _, value in rows[:3]}
        if after < meta["compacted"]:
            sentence = f"changes up to revision {meta['compacted']} are gone, those after {after} were asked for"
            raise Compacted(sentence)
        batches = groupby((Change(*row) for row in rows[3:]), key=lambda change: change.revision)
        return ChangeLog(meta["revision"], tuple(tuple(batch) for _, batch in batches))

    def checkpoint(self) -> None:
        """Move what the WAL holds into the file, as far as that disturbs nobody."""
        with self._guarded("writing") as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def compact(self, revision: int) -> None:
        """Forget the changes up to a revision. ValueError: it is still to come."""
        with self._guarded("compacting") as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                now = _meta(connection, "revision")
                if revision > now:
                    raise ValueError(f"revision {revision} is still to come: the store is at {now}")
                if revision > _meta(connection, "compacted"):
                    connection.execute("DELETE FROM changes WHERE revision <= ?", (revision,))
                    connection.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (revision,))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def sizes(self) -> tuple[int, int]:
        """Bytes that the file takes with what was not moved into it yet, and those of its pages that hold something."""
        with self._guarded("reading") as connection:
            pages, free, page = (
                int(connection.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        log = self._path.with_name(self._path.name + "-wal")
        size = self._path.stat().st_size + (log.stat().st_size if log.exists() else 0)
        return size, (pages - free) * page

    def vacuum(self) -> None:
        """Write the file anew without its free pages."""
        with self._guarded("defragmenting") as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the connection; it would open again at the next use."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _guarded(self, doing: str) -> Generator[sqlite3.Connection, None, None]:
        """Hand out the connection and say what went wrong in the contract's words."""
        try:
            if self._connection is None:
                self._connection = _open(self._path, self._busy_wait)
            yield self._connection
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(
                f"the cluster database {self._path} did not answer while {doing}: {error}"
            ) from error


class CommitSight:
    """Sees whether anything was committed since it last looked: quick enough for the loop, and it waits for nobody.

    SQLite keeps a mark of the last commit in memory that all processes with the file open share, and answers from there
    (`PRAGMA data_version`: it changes with each commit of any other connection). Nothing is read from the disk.
    """

    def __init__(self, path: Path) -> None:
        """Look at nothing yet."""
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, which may take its time. Raises what opening raises: StoreUnavailable, FaultError."""
        if self._connection is None:
            try:
                self._connection = _open(self._path, 0.0)
            except (sqlite3.Error, OSError) as error:
                sentence = f"the cluster database {self._path} did not answer while opening: {error}"
                raise StoreUnavailable(sentence) from error

    def look(self) -> int | None:
        """Give a number that stays the same as long as nobody commits; None when it cannot be told at once."""
        if self._connection is None:
            return None
        with suppress(sqlite3.Error):
            return int(
                self._connection.execute("PRAGMA data_version").fetchall()[0][0]
            )  # to its end: no read stays open
        return None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _open(path: Path, busy_wait: float) -> sqlite3.Connection:
    """Open the file, making it if it is missing. Raises FaultError when it is not ours or newer than this program."""
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(
        FileExistsError
    ):  # made without opening it: closing a descriptor would drop this process's locks on it
        os.mknod(path, 0o600 | stat.S_IFREG)  # SQLite gives its side files the same mode
    connection = sqlite3.connect(path, timeout=busy_wait, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path, time.monotonic() + busy_wait)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, deadline: float) -> None:
    is_prepared = _is_prepared(connection, path)  # before anything is changed in a file that may not be ours
    while True:  # SQLite does not wait for others when the journal mode changes
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES_AT_LATEST}").fetchall()
    if not is_prepared:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not _is_prepared(connection, path):  # somebody else may have been quicker
                for statement in _TABLES:
                    connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _is_prepared(connection: sqlite3.Connection, path: Path) -> bool:
    """Answer whether the tables are there; refuse with FaultError what this program cannot serve."""
    with closing(connection.execute("SELECT count(*) FROM sqlite_master")) as cursor:
        if cursor.fetchone()[0] == 0:
            return False
    with closing(connection.execute("PRAGMA application_id")) as cursor:
        if cursor.fetchone()[0] != APPLICATION_ID:
            raise FaultError(Status.ERROR_NOT_REGISTRY_FILE, f"{path} is not a cluster database of Quorate")
    schema = _meta(connection, "schema")
    if schema > SCHEMA:
        raise FaultError(
            Status.ERROR_CLUSTER_OLD_VERSION,
            f"the cluster database {path} has schema {schema}, made by a newer Quorate; this one knows schemas up to"
            f" {SCHEMA}: upgrade it",
        )
    return True


@contextmanager
def _reading(connection: sqlite3.Connection) -> Generator[None, None, None]:
    """Let several reads see one state."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def _meta(connection: sqlite3.Connection, name: str) -> int:
    with closing(connection.execute("SELECT value FROM meta WHERE name = ?", (name,))) as cursor:
        return int(cursor.fetchone()[0])


def _record(connection: sqlite3.Connection, key: str) -> Record | None:
    with closing(connection.execute("SELECT key, value, revision FROM records WHERE key = ?", (key,))) as cursor:
        row = cursor.fetchone()
    return None if row is None else Record(*row)
