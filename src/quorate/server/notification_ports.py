"""Notification ports: what their clients want to hear, and what has happened since they asked last.

A port keeps no more than ``LIMIT`` indications. What comes then is lost, and the client is told that instead: by the
first generation's flag CLUSTER_RECONNECT, the second's LOST_NOTIFICATIONS, a batch port's status 5083. It has to look
at everything again, as after a gap in what this node itself has heard.

Source: [MS-CMRP] 3.1.1.7, 3.1.1.8, 3.1.4.2.66 (an indication that is lost), 3.1.4.2.107 (ApiUnblockGetNotifyCall).
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.events import Change
from quorate.clusapi.notifications import OF_REGISTRY, ClusterFlag, Notice, ObjectType, RegistryFlag
from quorate.clusapi.registry_batch import write_batch
from quorate.clusapi.status import Status
from quorate.server.notices import News
from quorate.server.registry_notices import batch_of, is_at_or_below

T = TypeVar("T")

LIMIT: Final = 1024
"""Indications that a port keeps for its client."""
MAX_BATCHES: Final = 1 << 22
"""Bytes of batches that a batch port keeps for its client."""
MAX_WISHES: Final = 1024
"""Filters that a port takes."""


# --- What a client wants to hear -----------------------------------------------------------------------------------


class Wish(Protocol):
    """What a client has asked a port for, with the number that it gave it."""

    @property
    def key(self) -> int:
        """The client's number."""
        ...

    def fitting(self, notice: Notice) -> int:
        """The flag under which the client wants to hear of a notice; 0: it does not."""
        ...


@dataclass(frozen=True, slots=True)
class FirstWish:
    """Flags of the first generation of one object; of all objects where the type is CLUSTER.

    ``id`` is an object's id, or the path of a registry key; ``subtree`` takes in the keys below.
    """

    key: int
    filter: int
    object_type: ObjectType
    id: str = ""
    subtree: bool = False

    def fitting(self, notice: Notice) -> int:
        """The flag under which the client wants to hear of a notice; 0: it does not."""
        flag = notice.change & self.filter
        if not flag:
            return 0
        if flag & OF_REGISTRY:
            return flag if _is_watched(notice.target, self.id, subtree=self.subtree) else 0
        is_meant = self.object_type is ObjectType.CLUSTER or (
            (notice.object_type, notice.id) == (self.object_type, self.id)
        )
        return flag if is_meant else 0


@dataclass(frozen=True, slots=True)
class SecondWish:
    """Flags of the second generation of a type of object; of one object of it unless ``target`` is None."""

    key: int
    object_type: ObjectType
    flags: int
    target: str | None = None

    def fitting(self, notice: Notice) -> int:
        """The flag under which the client wants to hear of a notice; 0: it does not."""
        if notice.object_type is not self.object_type or not self.flags & notice.flag:
            return 0
        if notice.object_type is ObjectType.REGISTRY:
            subtree = bool(self.flags & RegistryFlag.SUBTREE)
            return notice.flag if _is_watched(notice.target, self.target or "", subtree=subtree) else 0
        return notice.flag if self.target in (None, notice.target) else 0


def _is_watched(path: str, top: str, *, subtree: bool) -> bool:
    return is_at_or_below(path, top) if subtree else path.casefold() == top.casefold()


# --- Ports ---------------------------------------------------------------------------------------------------------


class _Queue(Generic[T]):
    """What waits for a client; bounded. One of a kind says that something was lost."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[T] = deque()
        self._arrived = asyncio.Event()
        self._takers = 0
        self._unblocked = 0
        self._is_closed = False

    def put(self, found: T) -> bool:
        """Add something; answers False when it is full."""
        if len(self._waiting) >= self._limit:
            return False
        self._waiting.append(found)
        self._arrived.set()
        return True

    def put_instead(self, found: T) -> None:
        """Forget all that waits, for one thing that says so."""
        self._waiting.clear()
        self._waiting.append(found)
        self._arrived.set()

    @property
    def waiting(self) -> Sequence[T]:
        """What waits, in the order in which it came."""
        return self._waiting

    async def take(self, most: int) -> tuple[T, ...]:
        """Wait until there is something, and take up to so many. Raises RefusalError 259: closed, or unblocked."""
        self._takers += 1
        try:
            while not self._is_closed and not self._unblocked and not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._takers -= 1
        if self._is_closed or self._unblocked:
            self._unblocked = max(0, self._unblocked - 1)
            raise RefusalError(Status.ERROR_NO_MORE_ITEMS, "the notification port was closed, or its call unblocked")
        return tuple(self._waiting.popleft() for _ in range(min(most, len(self._waiting))))

    def unblock(self) -> None:
        """End the calls that wait; the next one where none does."""
        self._unblocked = max(1, self._takers)
        self._arrived.set()

    def close(self) -> None:
        """End every call, now and later."""
        self._is_closed = True
        self._arrived.set()


@dataclass(frozen=True, slots=True)
class Indication:
    """What is told of a notice for a wish: with the client's number, under one flag; ``sequence`` is the moment."""

    key: int
    flag: int
    notice: Notice
    sequence: int


class NotifyPort:
    """A port of one of the two generations."""

    def __init__(self, generation: int, sids: frozenset[bytes], limit: int = LIMIT) -> None:
        """Want nothing yet. ``generation`` is 1 or 2; of keys that these SIDs may not read nothing is told."""
        self.generation = generation
        self._sids = sids
        self._queue: _Queue[Indication] = _Queue(limit)
        self._wishes: list[Wish] = []

    @property
    def wishes(self) -> int:
        """How many filters it has."""
        return len(self._wishes)

    def add(self, wish: Wish) -> None:
        """Want to hear of something from now on. Raises RefusalError 1450 when that are too many wishes."""
        if len(self._wishes) >= MAX_WISHES:
            sentence = f"a notification port takes {MAX_WISHES} filters, and this one has them"
            raise RefusalError(Status.ERROR_NO_SYSTEM_RESOURCES, sentence)
        self._wishes.append(wish)

    def on_news(self, news: News, sequence: int) -> None:
        """Keep what the client wants to hear: once for each of its wishes."""
        hidden = {change.path for change in news.keys if not change.is_readable(self._sids)}
        for notice in news.notices:
            if notice.object_type is ObjectType.REGISTRY and notice.id in hidden:
                continue
            for wish in self._wishes:
                flag = wish.fitting(notice)
                if flag and not self._keep(Indication(wish.key, flag, notice, sequence)):
                    return self.on_gap(sequence)
        return None

    def tell(self, indication: Indication) -> None:
        """Keep one indication by itself."""
        if not self._keep(indication):
            self.on_gap(indication.sequence)

    def on_gap(self, sequence: int) -> None:
        """Tell the client that something was lost, instead of what it has not heard."""
        if self._wishes:
            is_first = self.generation == 1
            flag = Change.CLUSTER_RECONNECT if is_first else ClusterFlag.LOST_NOTIFICATIONS
            lost = Notice(ObjectType.CLUSTER, ClusterFlag.LOST_NOTIFICATIONS, "", "", "")
            self._queue.put_instead(Indication(self._wishes[0].key, flag, lost, sequence))

    async def take(self, most: int) -> tuple[Indication, ...]:
        """Wait until there is something, and take up to so many. Raises RefusalError 259: closed, or unblocked."""
        return await self._queue.take(most)

    def unblock(self) -> None:
        """End the calls that wait."""
        self._queue.unblock()

    def close(self) -> None:
        """End every call."""
        self._queue.close()

    def _keep(self, indication: Indication) -> bool:
        waiting = self._queue.waiting
        if waiting and self.generation == 1 and _same(waiting[-1], indication):
            return True  # two flags of the second generation may be one of the first
        return self._queue.put(indication)


def _same(one: Indication, other: Indication) -> bool:
    return (one.key, one.flag, one.sequence, one.notice.id) == (other.key, other.flag, other.sequence, other.notice.id)


class BatchPort:
    """A port that tells the changes at and below a registry key, one batch for what was changed at once."""

    def __init__(self, path: str, sids: frozenset[bytes], limit: int = LIMIT) -> None:
        """Watch a key for somebody with these SIDs; what they may not read is not told."""
        self._path = path
        self._sids = sids
        self._queue: _Queue[bytes | None] = _Queue(limit)

    def on_news(self, news: News, sequence: int) -> None:
        """Keep what has changed at or below the key."""
        commands = batch_of(self._path, [change for change in news.keys if change.is_readable(self._sids)])
        if not commands:
            return
        batch = write_batch(commands)
        kept = sum(len(one) for one in self._queue.waiting if one is not None)
        if kept + len(batch) > MAX_BATCHES or not self._queue.put(batch):
            self.on_gap(sequence)

    def on_gap(self, sequence: int) -> None:
        """Tell the client that something was lost, instead of what it has not heard."""
        self._queue.put_instead(None)

    async def take(self) -> bytes:
        """Wait until there is a batch. Raises RefusalError: 259, closed; 5083, batches were lost."""
        (batch,) = await self._queue.take(1)
        if batch is None:
            raise RefusalError(
                Status.ERROR_CLUSTER_DATABASE_SEQMISMATCH, "changes were lost: read the key again; later ones are told"
            )
        return batch

    def close(self) -> None:
        """End every call."""
        self._queue.close()


class Port(Protocol):
    """What hears the news."""

    def on_news(self, news: News, sequence: int) -> None:
        """Something has happened."""
        ...

    def on_gap(self, sequence: int) -> None:
        """Something may have happened that nobody has heard of."""
        ...

    def close(self) -> None:
        """End every call."""
        ...
