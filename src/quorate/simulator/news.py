"""What was written, kept once for all who see it: how daemons see a world in which nobody's watch breaks.

A write costs what it is worth to those who act on it, and not a place in a queue of each node's own. News take as long
to a node as at first, each time: they come in the order in which they were written in any case.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Final

from quorate.database.snapshot import ClusterSnapshot
from quorate.simulator.kernel import Kernel, Life
from quorate.simulator.store import Commit, SharedStore, Way
from quorate.simulator.view import View

MANY: Final = 4096
"""So many commits are kept before those are looked for that everybody has seen."""


class News:
    """The commits that not everybody has seen yet, with the times at which they were made."""

    def __init__(self) -> None:
        """Keep none."""
        self.commits: list[tuple[float, Commit]] = []
        self.first = 0
        """The number of the first one that is kept, counted from the world's beginning."""
        self._check_at = MANY

    @property
    def end(self) -> int:
        """The number of the next one."""
        return self.first + len(self.commits)

    def add(self, at: float, commit: Commit, views: Collection[View]) -> None:
        """Keep a commit until all of these have seen it."""
        self.commits.append((at, commit))
        if len(self.commits) >= self._check_at:
            seen = min((view.seen for view in views if isinstance(view, CalmView) and view.is_alive), default=self.end)
            del self.commits[: seen - self.first]
            self.first = seen
            self._check_at = len(self.commits) + MANY


class CalmView(View):
    """The view of a daemon to which all news come."""

    def __init__(
        self, kernel: Kernel, life: Life, shared: SharedStore, way: Way, clock: Callable[[float], float], news: News
    ) -> None:
        """See what there is, and what comes in ``news`` from now on."""
        super().__init__(kernel, life, shared, way, clock)
        self._news = news
        self._late = way.latency()
        self.seen = news.end
        """The number of the first commit that it has not seen."""

    @property
    def is_alive(self) -> bool:
        """Tell whether anybody looks at it."""
        return self._life.is_alive

    def offer(self, commit: Commit) -> None:
        """Something was written that may be worth acting on."""
        if self._is_news(commit):
            self._wake_at(self._kernel.now + self._late)

    @property
    def snapshot(self) -> ClusterSnapshot:
        """The newest snapshot."""
        self.catch_up()
        return super().snapshot

    @property
    def is_settled(self) -> bool:
        """Tell whether everything that was written has come."""
        self.catch_up()
        return self.seen == self._news.end

    def catch_up(self) -> None:
        """Take in what has come by now."""
        commits, now, late = self._news.commits, self._kernel.now, self._late
        index = self.seen - self._news.first
        while index < len(commits) and commits[index][0] + late <= now:
            at, commit = commits[index]
            index += 1
            self.seen += 1
            if commit.revision > self._revision:
                self._take(at + late, commit)

    def _coming(self) -> Iterator[tuple[float, Commit]]:
        commits = self._news.commits
        for index in range(self.seen - self._news.first, len(commits)):
            at, commit = commits[index]
            yield at + self._late, commit
