"""What one daemon sees of the cluster: production's `engine/view.py` in a simulated world.

What is not worth acting on (a lease that goes on) is taken in when somebody looks, with the time at which it came.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import GroupId, NodeId
from quorate.cluster.lease import MARGIN
from quorate.cluster.observer import Sighting
from quorate.database.records import Lease, Versioned
from quorate.database.snapshot import ClusterSnapshot
from quorate.simulator.kernel import Act, Kernel, Life, Timer
from quorate.simulator.store import Commit, SharedStore, Way

RETRY: Final = 0.5
"""Seconds after which a watch that broke begins anew."""


class View:
    """The newest state of the cluster that a daemon has seen, and since when each lease stands as it does."""

    def __init__(
        self, kernel: Kernel, life: Life, shared: SharedStore, way: Way, clock: Callable[[float], float]
    ) -> None:
        """See what there is; ``clock`` gives the node's CLOCK_BOOTTIME at a moment of true time."""
        self._kernel = kernel
        self._life = life
        self._shared = shared
        self._way = way
        self._clock = clock
        self._base = shared.head()
        self._leases: dict[NodeId, Versioned[Lease]] | None = None
        self._snapshot: ClusterSnapshot | None = self._base
        self._revision = self._base.revision
        at = clock(kernel.now)
        self.sightings = {node: Sighting(lease.revision, at) for node, lease in self._base.leases.items()}
        self._queue: deque[tuple[float, Commit]] = deque()
        self._not_before = 0.0
        self._is_broken = False
        self.pause = 0.0
        """Seconds between two moments at which anybody is told that there is something new."""
        self._told_at = 0.0
        self.lease_news = 0
        """Grows whenever a lease is seen that is new."""
        self._wake: Timer | None = None
        self._callbacks: list[Act] = []
        self.cares: Callable[[tuple[GroupId, ...]], bool] = lambda groups: True
        """Tells whether a change of these groups, and of nothing else, is worth acting on here."""
        self._touched: set[GroupId] | None = None
        self._is_of_groups = False

    def subscribe(self, callback: Act) -> None:
        """Call back when there is something new to act on."""
        self._callbacks.append(callback)

    def take_touched(self) -> set[GroupId] | None:
        """Give the groups of which something has come since this was asked last; None: any."""
        self.catch_up()
        touched, self._touched = self._touched, set()
        return touched

    @property
    def is_of_groups(self) -> bool:
        """Tell whether all that has come since `take_is_of_groups` is about groups, and nothing else."""
        return self._is_of_groups

    def take_is_of_groups(self) -> bool:
        """Tell whether all that has come since this was asked last is about groups, and nothing else."""
        of_groups, self._is_of_groups = self._is_of_groups, True
        return of_groups

    @property
    def snapshot(self) -> ClusterSnapshot:
        """The newest snapshot."""
        if self._queue and self._queue[0][0] <= self._kernel.now:
            self.catch_up()
        if self._snapshot is None:
            assert self._leases is not None, "only leases come without a snapshot"
            self._snapshot = replace(self._base, revision=self._revision, leases=self._leases)
        return self._snapshot

    @property
    def revision(self) -> int:
        """Its revision."""
        self.catch_up()
        return self._revision

    # --- news --------------------------------------------------------------------------------------------------------

    def offer(self, commit: Commit) -> None:
        """Something was written: it comes here after a while, if the watch works."""
        if self._is_broken or not self._way.carries_news:
            self._is_broken = True
            return
        self._expect(commit)

    def begin_anew(self) -> None:
        """The way to the database works again: read everything, and follow from there."""
        if self._is_broken:
            self._life.later(RETRY, self._read)

    def _read(self) -> None:
        if self._is_broken and self._way.carries_news:
            self._is_broken = False
            head = self._shared.head()
            self._expect(Commit(head.revision, head, None, is_news=True, groups=None))

    def _expect(self, commit: Commit) -> None:
        last = self._queue[-1][0] if self._queue else 0.0
        arrival = max(last, self._kernel.now + self._way.latency())
        self._queue.append((arrival, commit))
        if self._is_news(commit) or self._is_return(commit, arrival):
            self._wake_at(arrival)

    def _is_news(self, commit: Commit) -> bool:
        return commit.is_news and (not commit.groups or self.cares(commit.groups))

    def _is_return(self, commit: Commit, arrival: float) -> bool:
        """Tell whether a lease goes on that this view had taken for silent."""
        if commit.lease is None:
            return False
        node, lease = commit.lease
        seen = self.sightings.get(node)
        return seen is None or self._clock(arrival) - seen.at > lease.value.duration + MARGIN

    def _wake_at(self, arrival: float) -> None:
        if self.pause:
            arrival = max(arrival, self._told_at + self.pause)
        if self._wake is None or self._wake.at > arrival:
            if self._wake is not None:
                self._wake.cancel()
            self._wake = self._kernel.at(arrival, self._tell, self._life)

    def _tell(self) -> None:
        self._wake, self._told_at = None, self._kernel.now
        self.catch_up()
        for arrival, commit in self._coming():
            if self._is_news(commit):
                self._wake_at(arrival)
                break
        for callback in self._callbacks:
            callback()

    def _coming(self) -> Iterable[tuple[float, Commit]]:
        """What was written and has not come yet, with the time at which it comes."""
        return self._queue

    @property
    def is_settled(self) -> bool:
        """Tell whether everything that was written has come."""
        self.catch_up()
        return not self._is_broken and not self._queue

    def shift(self, seconds: float) -> None:
        """Let so much of the node's time pass in which every lease that has not ended was renewed as ever."""
        leases = self.snapshot.leases
        for node, sighting in self.sightings.items():
            if not leases[node].value.ended:
                self.sightings[node] = Sighting(sighting.revision, sighting.at + seconds)

    def slept(self) -> None:
        """The daemon has stood still: what came meanwhile is seen now, not when it came."""
        self._not_before = self._kernel.now

    def catch_up(self) -> None:
        """Take in what has come by now."""
        queue, now = self._queue, self._kernel.now
        while queue and queue[0][0] <= now:
            arrival, commit = queue.popleft()
            if commit.revision > self._revision:
                self._take(max(arrival, self._not_before), commit)

    def _take(self, at: float, commit: Commit) -> None:
        self._revision = commit.revision
        if not commit.is_of_groups:
            self._is_of_groups = False
        if commit.snapshot is None:
            assert commit.lease is not None, "it is one of the two"
            node, lease = commit.lease
            if self._leases is None:
                self._leases = dict(self._base.leases)
            self._leases[node] = lease
            self.lease_news += 1
            self._snapshot = None
            self.sightings[node] = Sighting(lease.revision, self._clock(at))
            return
        if commit.groups is None:
            self._touched = None
        elif self._touched is not None:
            self._touched.update(commit.groups)
        is_about_leases = commit.snapshot.leases is not self._base.leases or self._leases is not None
        self._base = self._snapshot = commit.snapshot
        self._leases = None
        if commit.snapshot.revision != commit.revision:
            self._leases, self._snapshot = dict(self._base.leases), None
        if is_about_leases and not commit.groups:  # else it is about no lease
            self.lease_news += 1
            self._look_at_all(self._clock(at))

    def _look_at_all(self, at: float) -> None:
        seen, leases = self.sightings, self._base.leases
        for node, lease in leases.items():
            known = seen.get(node)
            if known is None or known.revision != lease.revision:
                seen[node] = Sighting(lease.revision, at)
        for gone in [node for node in seen if node not in leases]:
            del seen[gone]
