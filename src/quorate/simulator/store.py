"""The simulated database: one store for all nodes, and what stands between it and each of them.

The records, the transactions and the snapshots are production's own. A snapshot is made once and shared by all nodes
that have come so far; a renewed lease does not make one, as there are so many of them.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final, TypeVar

from quorate.clusapi.identity import GroupId, NodeId
from quorate.database import keys
from quorate.database.contract import (
    Change,
    Compare,
    Outcome,
    Record,
    Snapshot,
    StoreUnavailable,
    Write,
)
from quorate.database.memory import MemoryData
from quorate.database.records import Lease, Versioned
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.snapshot_builder import SnapshotBuilder
from quorate.simulator.dice import Dice
from quorate.simulator.kernel import Act, Future, Kernel, Life

T = TypeVar("T")

LATENCY: Final = (0.0005, 0.004)
"""Seconds for one way between a node and the database."""
SLOW: Final = 0.9
"""Seconds that one way takes at most while the database is slow."""
LATE: Final = 12.0
"""Seconds after which a write that had no answer may still land."""
TIMEOUT: Final = 2.0
"""Seconds after which a call counts as unanswered."""


@lru_cache(maxsize=64)
def lease_of(value: bytes) -> Lease:
    """Read a lease; who looks at one that was just written looks at the same bytes."""
    return Lease.decode(value)


class Mode(Enum):
    """What a node's way to the database does."""

    OK = "ok"
    LOST = "lost"
    """Nothing arrives."""
    SILENT = "silent"
    """It is lost, or lands late."""
    MUTE = "mute"
    """It lands, and nobody hears of it."""
    SLOW = "slow"
    DEAF = "deaf"
    """Everything works but the watch."""


_CARRIES_NO_NEWS: Final = (Mode.LOST, Mode.SILENT, Mode.DEAF)


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction has changed."""

    revision: int
    snapshot: ClusterSnapshot | None
    """The cluster after it; None: it was a lease, and nothing else."""
    lease: tuple[NodeId, Versioned[Lease]] | None
    is_news: bool
    """Somebody may have to act on it: it is more than a lease that goes on."""
    groups: tuple[GroupId, ...] | None = ()
    """The groups that it is about; None: any."""

    @property
    def is_of_groups(self) -> bool:
        """Tell whether it is about groups and nothing else, or a lease that goes on."""
        return not self.is_news or bool(self.groups)


class SharedStore:
    """The store itself. Everything in it happens at once."""

    def __init__(self) -> None:
        """Be empty."""
        self.data = MemoryData(keep=64)
        self.transactions = 0
        """How many have arrived."""
        self.on_change: Callable[[Change], None] = lambda change: None
        """Called with every change of an ownership record or a lease, when it has landed."""
        self.on_commit: Callable[[Commit], None] = lambda commit: None
        self._builder: SnapshotBuilder | None = None
        self._head: ClusterSnapshot | None = None
        self._leases: dict[str, Versioned[Lease]] = {}
        self._unbuilt: dict[str, Change] = {}

    def open(self) -> None:
        """Begin to make snapshots: the cluster was created."""
        prefixes = SnapshotBuilder.PREFIXES
        self._builder = SnapshotBuilder(self.data.range(prefixes, 0))
        self._head = self._builder.build()

    def head(self) -> ClusterSnapshot:
        """The cluster as it is."""
        assert self._builder is not None and self._head is not None, "it is opened before it is read"
        if self._unbuilt:
            self._builder.apply(self._unbuilt.values())
            self._unbuilt.clear()
            self._head = self._builder.build()
        return self._head

    def lease(self, node: NodeId) -> Versioned[Lease] | None:
        """A node's lease."""
        return self._leases.get(keys.lease(node))

    def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        """Compare and write, and tell everybody."""
        self.transactions += 1
        before = self.data.revision
        outcome = self.data.transact(compares, writes)
        if outcome.revision > before and self._builder is not None:
            for batch in self.data.changes(before):
                self._publish(batch)
        return outcome

    def _publish(self, batch: tuple[Change, ...]) -> None:
        for change in batch:  # first: who is told next asks who owns what
            if change.key.startswith((keys.OWNERSHIP, keys.LEASES)):
                self.on_change(change)
        if len(batch) == 1 and batch[0].key.startswith(keys.LEASES):
            self.on_commit(self._of_lease(batch[0]))
        else:
            self.on_commit(self._of_everything(batch))

    def _of_lease(self, change: Change) -> Commit:
        old, new = self._leases.get(change.key), self._take_lease(change)
        self._unbuilt[change.key] = change
        if new is None:
            return self._of_everything((change,))
        node = NodeId(change.key.removeprefix(keys.LEASES))
        goes_on = old is not None and (old.value.incarnation, old.value.ended, old.value.joining) == (
            new.value.incarnation,
            new.value.ended,
            new.value.joining,
        )
        return Commit(change.revision, None, (node, new), is_news=not goes_on)

    def _take_lease(self, change: Change) -> Versioned[Lease] | None:
        if change.value is None:
            self._leases.pop(change.key, None)
            return None
        new = self._leases[change.key] = Versioned(lease_of(change.value), change.revision)
        return new

    def _of_everything(self, batch: tuple[Change, ...]) -> Commit:
        assert self._builder is not None, "it is opened before anything is told"
        for change in batch:
            if change.key.startswith(keys.LEASES):
                self._take_lease(change)
                self._unbuilt.pop(change.key, None)
        shows = self._builder.apply(batch)
        if shows or self._unbuilt:
            self._builder.apply(self._unbuilt.values())
            self._unbuilt.clear()
            self._head = self._builder.build()
        return Commit(batch[0].revision, self._head, None, is_news=shows, groups=_groups_of(batch))


_OF_GROUPS: Final = (keys.OWNERSHIP, keys.RUN, keys.MOVES)
_OF_NO_GROUP: Final = (keys.LEASES, keys.COORDINATOR)


def _groups_of(batch: tuple[Change, ...]) -> tuple[GroupId, ...] | None:
    """The groups that a transaction is about, none if it is about leases and the role; None: it may be all of them."""
    groups: list[GroupId] = []
    for change in batch:
        key = change.key
        if key.startswith(_OF_GROUPS):
            groups.append(GroupId(key.rpartition("/")[2]))
        elif key.startswith(_OF_NO_GROUP):
            return ()
        elif key != keys.QUEUE:
            return None
    return tuple(groups)


class NodeStore:
    """The store as one daemon reaches it; obeys `quorate.database.contract.Store`."""

    def __init__(self, shared: SharedStore, way: "Way", life: Life, timeout: float = TIMEOUT) -> None:
        """Reach the store by a node's way to it."""
        self._shared = shared
        self._way = way
        self._life = life
        self._timeout = timeout

    async def get(self, key: str) -> Record | None:
        """Read one record. Raises StoreUnavailable."""
        return await self._call(lambda: self._shared.data.get(key))

    async def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        """Read all records under the prefixes. Raises StoreUnavailable."""
        return await self._call(lambda: self._shared.data.range(prefixes, after))

    async def head(self) -> ClusterSnapshot:
        """Read the whole cluster. Raises StoreUnavailable."""
        return await self._call(self._shared.head)

    async def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        """Write everything if every compare holds. Raises StoreUnavailable."""
        return await self._call(lambda: self._shared.transact(compares, writes))

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[tuple[Change, ...], None]:
        """Nobody watches here: views are fed by `view.py`."""
        raise NotImplementedError
        yield ()

    async def close(self) -> None:
        """Have nothing to let go of."""

    def call(self, act: Callable[[], T], answered: Callable[[T], None], silent: Act) -> None:
        """Let something happen in the store; then one of the two is called, if this daemon lives."""
        self._way.carry(self._life, self._timeout, act, answered, silent)

    def _call(self, act: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future(self._life.kernel)
        self._way.carry(self._life, self._timeout, act, future.set, lambda: future.fail(_silent()))
        return future


def _silent() -> StoreUnavailable:
    return StoreUnavailable("the database does not answer")


class Way:
    """One node's way to the database and back."""

    def __init__(self, kernel: Kernel, dice: Dice) -> None:
        """Work."""
        self._kernel = kernel
        self._draw = dice.draw
        self._mode = Mode.OK
        self.is_cut = False
        """The storage network is cut between the node and the database."""
        self.on_news: Act = lambda: None
        """Called when the watch works again."""
        self._late: list[Act] = []

    @property
    def mode(self) -> Mode:
        """What it does."""
        return Mode.LOST if self.is_cut else self._mode

    @property
    def own_mode(self) -> Mode:
        """What it would do if the network were not cut."""
        return self._mode

    def set(self, mode: Mode) -> None:
        """Do something else from now on."""
        was = self.carries_news
        self._mode = mode
        if self.carries_news and not was:
            self.on_news()

    def cut(self, cut: bool) -> None:
        """Be cut, or not any more."""
        was = self.carries_news
        self.is_cut = cut
        if self.carries_news and not was:
            self.on_news()

    @property
    def carries_news(self) -> bool:
        """Tell whether the watch works."""
        return self.mode not in _CARRIES_NO_NEWS

    def latency(self) -> float:
        """How long one way takes this time."""
        if self._mode is Mode.SLOW:
            return self._draw() * SLOW
        return LATENCY[0] + self._draw() * (LATENCY[1] - LATENCY[0])

    def heal(self) -> None:
        """What is on its way late lands now, or never."""
        late, self._late = self._late, []
        for act in late:
            if self._draw() < 0.5:
                act()

    def carry(
        self, life: Life, timeout: float, act: Callable[[], T], answered: Callable[[T], None], silent: Act
    ) -> None:
        """Carry a call to the store and its answer back."""
        kernel = self._kernel
        gives_up = kernel.now + timeout
        mode = self.mode

        def give_up() -> None:
            kernel.at(max(gives_up, kernel.now), silent, life)

        def arrive() -> None:
            now = self.mode
            if mode is Mode.LOST or now is Mode.LOST:
                give_up()
            elif mode is Mode.SILENT or now is Mode.SILENT:
                give_up()
                if self._draw() < 0.5:
                    self._land_late(act)
            else:
                result = act()
                if mode is Mode.MUTE or now is Mode.MUTE:
                    give_up()
                else:
                    back(result)

        def back(result: T) -> None:
            at = kernel.now + self.latency()
            if at >= gives_up:
                give_up()
                return

            def hear() -> None:
                if self.mode in (Mode.LOST, Mode.SILENT, Mode.MUTE):
                    give_up()
                else:
                    answered(result)

            kernel.at(at, hear, life)

        kernel.at(kernel.now + self.latency(), arrive)

    def _land_late(self, act: Callable[[], object]) -> None:
        def land() -> None:
            if late in self._late:
                self._late.remove(late)
                act()

        def late() -> None:
            act()

        self._late.append(late)
        self._kernel.later(self._draw() * LATE, land)
