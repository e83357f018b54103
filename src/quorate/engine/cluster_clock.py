"""The cluster's time on this node: what the coordinator noted last, and counted on from there on CLOCK_BOOTTIME.

It means the same on every node to within the note's age at a restart (a minute), and no wall clock can move it. What
counts failovers within hours, lapses and quarantines is written in it.
"""

from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.guard_file import boottime
from quorate.engine.view import ClusterView


class ClusterClock:
    """Reads the cluster's time."""

    def __init__(self, view: ClusterView) -> None:
        """Follow the coordinator's record; the view has been started."""
        self._revision = 0
        self._noted = 0.0
        self._seen_at = boottime()
        view.subscribe(self._on_snapshot)
        self._on_snapshot(view.snapshot)

    def now(self) -> float:
        """Seconds for which the cluster has had a coordinator; 0 in a cluster that never had one."""
        if self._revision == 0:
            return 0.0
        return self._noted + boottime() - self._seen_at

    def _on_snapshot(self, snapshot: ClusterSnapshot) -> None:
        record = snapshot.coordinator
        if record is None or record.revision == self._revision:
            return
        # The note was made before it was seen: by the newest reckoning the time never goes back.
        self._noted = max(record.value.clock, self.now() if self._revision else 0.0)
        self._revision, self._seen_at = record.revision, boottime()
