"""Following one migration to its end, whatever node tells of it: pure, so that both kinds of client share it."""

from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from quorate.clusapi.errors import FaultError
from quorate.clusapi.json_types import JsonObject, json_text
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState
from quorate.clusapi.status import Status

PATIENCE: Final = 30.0  # seconds without news (a daemon that restarts) before following gives up
RETRY_AFTER: Final = 0.2


def progress_target(vm: str) -> str:
    """The path of a VM's progress stream."""
    return f"/v1/migrations/{quote(vm, safe='')}/progress"


def silent(vm: str) -> FaultError:
    """The error of streams that end again and again without telling how the migration went."""
    return FaultError(
        Status.RPC_S_CALL_FAILED, f"no node tells how the migration of {vm} goes; it may still go on: look at the VM"
    )


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """How a migration ended."""

    state: MigrationState
    node: str  # where the VM is now
    source: str
    destination: str
    failure_reason: int
    sentence: str

    @property
    def ok(self) -> bool:
        """Answer whether the VM is at its destination."""
        return self.state is MigrationState.NO_MIGRATION


class Follower:
    """Takes what streams tell; percent never runs backwards, and the end is recognised.

    A session that was seen and is gone without an end of its own is over, too: another one follows it.
    """

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._percent = 0
        self._last: MigrationProgress | None = None
        self.result: MigrationResult | None = None

    def take(self, part: JsonObject) -> MigrationProgress:
        """Take one look at the migration and give it as a person should see it."""
        seen = MigrationProgress.from_json(part)
        last = self._last
        if last is not None and not seen.destination:  # the new owner may not know where it came from
            seen = replace(seen, source=last.source, destination=last.destination)
        if seen.state is MigrationState.NO_MIGRATION:
            seen = replace(seen, percent=100)
        self._percent = max(self._percent, seen.percent)
        shown = replace(seen, percent=self._percent)
        self._last = shown
        if not seen.is_running:
            self.result = MigrationResult(
                state=seen.state,
                node=json_text(part, "node"),
                source=shown.source,
                destination=shown.destination,
                failure_reason=seen.failure_reason,
                sentence=seen.sentence,
            )
        return shown
