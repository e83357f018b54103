"""What the cluster database needs of a store: the small part of etcd's model that every engine obeys.

A store maps keys to values and counts *revisions*: one counter for the whole store, raised by one by every transaction
that changed something (by more where the engine is shared with strangers: nothing may rely on there being no gaps).
A record remembers the revision of its last write, a transaction compares revisions and writes atomically, and a watch
tells every change after a revision, in order, none lost. One contract suite (tests/contract/test_store.py) runs against
all engines.

Rules that hold for every engine:

- A key is 1 to 4096 printable ASCII characters; a value has at most 1 MiB; a transaction has at most 128 compares and
  128 writes, one write per key at most, and 1.25 MiB of keys and values, a compared key counted twice. (These are what
  an etcd takes as it comes: --max-txn-ops, --max-request-bytes.) Breaking this is a bug of the caller: ValueError.
- Answers are linearizable: a read that begins after a transaction was answered sees it.
- Deleting a key that is not there changes nothing; a transaction that changes nothing raises no revision.
- An acknowledged transaction survives a crash of the process and, where the engine has a disk, of the machine.
- Cancelling ``transact`` is like getting no answer: whether it landed is not known.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status

MAX_KEY_LENGTH: Final = 4096
MAX_VALUE_LENGTH: Final = 1 << 20
MAX_OPERATIONS: Final = 128
MAX_TRANSACTION_SIZE: Final = MAX_VALUE_LENGTH + (1 << 18)


@dataclass(frozen=True, slots=True)
class Record:
    """One key with its value; ``revision`` is the store's revision at its last write."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All records of some prefixes at one revision of the store, ordered by key."""

    revision: int
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition: the key stands at exactly this revision; 0 says that it must not exist."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Put:
    """Write a value, whether the key exists or not."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key; nothing happens when it is not there."""

    key: str


Write: TypeAlias = Put | Delete


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a transaction.

    ``revision`` is the store's revision: of this transaction if it changed something. When it did not succeed,
    nothing was written and ``compared`` tells, compare by compare, what stands there now.
    """

    succeeded: bool
    revision: int
    compared: tuple[Record | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One write that landed; ``value`` None says that the key was deleted."""

    key: str
    value: bytes | None
    revision: int


class StoreUnavailable(FaultError):
    """The store did not answer. Of a transaction it is *not* known whether it landed, now or later."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Status.ERROR_TIMEOUT, sentence)

    def __reduce__(self) -> tuple[type["StoreUnavailable"], tuple[str]]:
        return type(self), (self.sentence,)


class Compacted(FaultError):
    """A watch asked for changes that the store no longer keeps: read the records again and watch from there."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Status.ERROR_CLUSTER_DATABASE_SEQMISMATCH, sentence)

    def __reduce__(self) -> tuple[type["Compacted"], tuple[str]]:
        return type(self), (self.sentence,)


class Store(Protocol):
    """A store for asyncio: no method ever blocks the loop. Belongs to one loop."""

    async def get(self, key: str) -> Record | None:
        """Read one record. Raises StoreUnavailable."""
        ...

    async def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        """Read all records under the prefixes at one revision, in order of their keys; "" is everything.

        ``after`` leaves out records whose last write is not after that revision. Raises StoreUnavailable.
        """
        ...

    async def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        """Write everything if every compare holds, else nothing. Raises StoreUnavailable: it may or may not land."""
        ...

    def watch(self, prefix: str, after: int) -> AsyncGenerator[tuple[Change, ...], None]:
        """Tell the changes under a prefix after a revision, as they happen: one batch per revision, ordered by key.

        Ends when the store is closed. Raises Compacted when changes after ``after`` are gone, and StoreUnavailable
        when the store stops answering; then watch again from the last revision seen.
        """
        ...

    async def close(self) -> None:
        """End all watches and let go of everything; later calls raise StoreUnavailable. Idempotent."""
        ...


class BlockingStore(Protocol):
    """The same store without asyncio, with a connection of its own: for the thread that renews the lease."""

    def get(self, key: str) -> Record | None:
        """Read one record. Raises StoreUnavailable."""
        ...

    def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        """Read all records under the prefixes at one revision, in order of their keys. Raises StoreUnavailable."""
        ...

    def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        """Write everything if every compare holds, else nothing. Raises StoreUnavailable: it may or may not land."""
        ...

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        ...


def check_key(key: str) -> None:
    """Refuse what is no key with ValueError."""
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise ValueError(f"no key: {key[:80]!r}")


def check_transaction(compares: Sequence[Compare], writes: Sequence[Write]) -> None:
    """Refuse with ValueError what no engine takes."""
    if len(compares) > MAX_OPERATIONS or len(writes) > MAX_OPERATIONS:
        raise ValueError(f"a transaction has at most {MAX_OPERATIONS} compares and as many writes")
    for operation in (*compares, *writes):
        check_key(operation.key)
        if isinstance(operation, Put) and len(operation.value) > MAX_VALUE_LENGTH:
            raise ValueError(f"the value of {operation.key!r} has {len(operation.value)} bytes")
    size = sum(2 * len(compare.key) for compare in compares)
    size += sum(len(write.key) + (len(write.value) if isinstance(write, Put) else 0) for write in writes)
    if size > MAX_TRANSACTION_SIZE:
        raise ValueError(f"a transaction of {size} bytes; at most {MAX_TRANSACTION_SIZE} are taken")
    if len({write.key for write in writes}) != len(writes):
        raise ValueError("a transaction writes a key once at most")


def prefix_end(prefix: str) -> str:
    """The smallest text after every key with this prefix: keys under it are those in [prefix, end)."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\x7f"
