"""One following of the database for all notification ports of a node; it lives as long as there is a port."""

import asyncio
from contextlib import aclosing
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.notifications import STATES, Notice, ObjectType
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.snapshot_builder import SnapshotBuilder
from quorate.server.notices import NoticeMaker
from quorate.server.notification_ports import NotifyPort, Port, Wish
from quorate.server.notification_shares import Shares

_log = structlog.get_logger("notifications")
_RETRY: Final = 0.5
_U32: Final = 0xFFFFFFFF


class NotificationHub:
    """Tells ports what happens. Belongs to one loop."""

    def __init__(self, database: ClusterDatabase) -> None:
        """Follow nothing yet."""
        self._database = database
        self._ports: set[Port] = set()
        self._shares = Shares()
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._revision = 0
        self._begun = 0
        self._states: dict[tuple[ObjectType, str], int] = {}

    @property
    def ports(self) -> int:
        """How many ports are open."""
        return len(self._ports)

    @property
    def sequence(self) -> int:
        """The moment, as a number that never falls but for its 32 bits."""
        return self._revision & _U32

    async def open(self, port: Port, user: str) -> None:
        """Tell a user's port all that happens from now on. Raises RefusalError 1450 when there are too many."""
        self._shares.enter(port, user)
        self._ports.add(port)
        if self._task is None or self._task.done():  # done: by a mistake of its own, which asyncio has logged
            self._ready.clear()
            work = self._follow(is_gap=self._task is not None)
            self._task = asyncio.create_task(work, name="notifications")
        try:
            await self._ready.wait()
        except asyncio.CancelledError:
            await self.close(port)
            raise

    async def close(self, port: Port) -> None:
        """End a port's calls, and tell it nothing more."""
        port.close()
        self._shares.leave(port)
        self._ports.discard(port)
        if not self._ports and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait({task})

    def add(self, port: NotifyPort, wish: Wish) -> None:
        """Let a port hear of something. Raises RefusalError 1450 when its user wants to hear of too much."""
        self._shares.check_wish(port)
        port.add(wish)

    def has_changed(self, object_type: ObjectType, id_: str, since: int) -> bool:
        """Answer whether an object's state may have changed since a ``sequence``: it has, or nobody knows."""
        if since < (self._begun & _U32) or since > self.sequence:
            return True
        return (self._states.get((object_type, id_), 0) & _U32) > since

    async def _follow(self, *, is_gap: bool) -> None:
        while True:
            try:
                await self._follow_once(is_gap=is_gap)
            except ClusterError as error:  # the database is silent, its log is too short, or it is being restored
                _log.warning("notifications were interrupted", reason=error.sentence)
            is_gap = True
            self._ready.set()
            await asyncio.sleep(_RETRY)

    async def _follow_once(self, *, is_gap: bool) -> None:
        store = self._database.store
        maker = NoticeMaker(await store.range(*SnapshotBuilder.PREFIXES))
        self._begun = self._revision = maker.revision
        self._states.clear()
        self._ready.set()
        if is_gap:
            for port in tuple(self._ports):
                port.on_gap(self.sequence)
        async with aclosing(store.watch("", maker.revision)) as batches:
            async for batch in batches:
                news = maker.apply(batch)
                self._revision = maker.revision
                for notice in news.notices:
                    self._note(notice)
                if news.notices or news.keys:
                    for port in tuple(self._ports):
                        port.on_news(news, self.sequence)

    def _note(self, notice: Notice) -> None:
        """Remember when a state has changed, for clients that come back."""
        if notice.change & STATES:
            self._states[notice.object_type, notice.id] = self._revision
