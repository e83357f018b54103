"""What a node tells of itself, as events: the database was silent, the guard was not there, the daemon was stopped.

An administrator who looks the next morning must find why a node's machines ended, or why they nearly did. What is told
of the database can be told only when it speaks again; nothing is decided by any of it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from quorate.clusapi.events import EventKind
from quorate.engine.context import EngineContext
from quorate.engine.guard_file import boottime
from quorate.engine.host_news import HostNews

LOOK: Final = 0.5
"""Seconds between two looks."""
FAREWELL: Final = 1.0
"""Seconds that a stop waits at most for its event to be written."""
WITHOUT_GUARD: Final = 1.5
"""Seconds without a guard that are worth an event: it is replaced within one."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How things stand at a look."""

    hears_database: bool
    """The database has answered a renewal lately."""
    may_run: bool
    """What runs here may go on, by the lease or by promises."""
    has_guard: bool


@dataclass(frozen=True, slots=True)
class News:
    """One thing to tell."""

    kind: EventKind
    sentence: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Watched:
    """What is going on; times are those of CLOCK_BOOTTIME. None: all is well."""

    silent_since: float | None = None
    has_lapsed: bool = False
    """Meanwhile nothing was left by which anything might run here."""
    unguarded_since: float | None = None

    def looked(self, name: str, sight: Sight, now: float) -> tuple["Watched", tuple[News, ...]]:
        """Take in a look at the node ``name``; give what is over by now, and so can be told."""
        new, news = self, []
        if not sight.hears_database:
            since = now if self.silent_since is None else self.silent_since
            new = replace(new, silent_since=since, has_lapsed=self.has_lapsed or not sight.may_run)
        elif self.silent_since is not None:
            seconds = now - self.silent_since
            how = (
                "its lease ran out meanwhile, and what ran here was ended"
                if self.has_lapsed
                else "what ran here went on"
            )
            sentence = f"{name} had no answer from the database for {seconds:.1f} s; {how}"
            news.append(News(EventKind.NODE_DATABASE, sentence, seconds))
            new = replace(new, silent_since=None, has_lapsed=False)
        if not sight.has_guard:
            new = replace(new, unguarded_since=now if self.unguarded_since is None else self.unguarded_since)
        elif self.unguarded_since is not None:
            seconds = now - self.unguarded_since
            if seconds >= WITHOUT_GUARD:
                sentence = f"{name} was without a guard for {seconds:.1f} s; nothing was started meanwhile"
                news.append(News(EventKind.NODE_GUARD, sentence, seconds))
            new = replace(new, unguarded_since=None)
        return new, tuple(news)


class NodeWatch:
    """Looks at this node's own lease and guard, and tells what was wrong with them."""

    def __init__(self, context: EngineContext, news: HostNews, has_guard: Callable[[], bool]) -> None:
        """Watch node ``context.node``; ``news`` writes what is told."""
        self._context = context
        self._news = news
        self._has_guard = has_guard
        self._watched = Watched()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look, again and again."""
        self._task = asyncio.create_task(self._keep_looking(), name="the node is watched")

    async def close(self, vms: int) -> None:
        """Look no more, and tell that the daemon is stopped in order while ``vms`` virtual machines run."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        name = self._context.node_name
        left = "nothing runs here"
        if vms:
            left = f"its virtual machines ({vms}) go on until its lease is over, unless it is started again before"
        self._news.tell_of_node(EventKind.NODE_STOPPED, f"the daemon of {name} was stopped in order; {left}")
        await self._news.flush(FAREWELL)

    async def _keep_looking(self) -> None:
        while True:
            lease = self._context.lease
            sight = Sight(lease.is_writable, lease.may_run, self._has_guard())
            self._watched, news = self._watched.looked(self._context.node_name, sight, boottime())
            for one in news:
                self._news.tell_of_node(one.kind, one.sentence, {"seconds": round(one.seconds, 1)})
            await asyncio.sleep(LOOK)
