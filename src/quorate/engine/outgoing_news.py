"""What people see of a migration away from this node: its progress as it goes, and MigrationState in the database."""

from dataclasses import replace
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState
from quorate.clusapi.status import E_FAIL
from quorate.engine.fault_points import Spawn
from quorate.engine.hosted import HostedVm
from quorate.migration.convergence import Sample
from quorate.migration.outgoing import Outcome, Outgoing, Phase

_log = structlog.get_logger("migration")

_LATER_PASSES: Final = 95

PHASE_WORDS = {
    Phase.QUEUED: "waiting",
    Phase.PREPARING: "preparing",
    Phase.TRANSFER: "copying",
    Phase.CANCELLING: "cancelling",
    Phase.STOPPING: "stopping",
    Phase.GIVING: "handing over",
    Phase.GIVEN: "handing over",
    Phase.SETTLING: "settling",
    Phase.NOTING_YOURS: "handing over",
    Phase.TELLING: "handing over",
    Phase.NOTING_TAKE_BACK: "taking back",
    Phase.TAKING_BACK: "taking back",
    Phase.RESUMING: "resuming",
    Phase.SERVING: "sending pages",
    Phase.RECONNECTING: "reconnecting",
    Phase.ENDING_IMAGE: "finishing",
    Phase.ENDED: "ended",
}


class OutgoingNews:
    """Tells of one migration."""

    def __init__(self, vm: HostedVm, started: float) -> None:
        """Tell of a migration that began at ``started``."""
        self._vm = vm
        self._context = vm.context
        self._started = started

    def publish(self, before: Outgoing, brain: Outgoing, spawn: Spawn) -> None:
        """Write what a step has changed where no write of ownership carries it."""
        if brain.migration_state is MigrationState.DATA_TRANSFER and before.migration_state < brain.migration_state:
            spawn(self._write_state(brain, EventKind.MIGRATION_STATE))

    async def _write_state(self, brain: Outgoing, kind: EventKind) -> None:
        state = brain.migration_state
        sentence = f"moving to {self._context.name_of(brain.destination)}"
        event = self._context.event(kind, self._vm.group, sentence, after=int(state), cause=brain.session)
        try:
            await self._vm.set_migration(state, 0, sentence, (event,))
        except ClusterError as error:
            _log.warning("the migration's state was not written", vm=self._vm.name, sentence=error.sentence)

    def show(self, brain: Outgoing, sentence: str = "") -> None:
        """Show how far the migration has come."""
        now = self._context.now()
        self._vm.show(
            replace(
                self._vm.progress,
                state=brain.migration_state,
                percent=100 if brain.outcome is Outcome.DONE else self._vm.progress.percent,
                failure_reason=E_FAIL if brain.migration_state is MigrationState.FAILURE else 0,
                queued=brain.phase is Phase.QUEUED,
                session=brain.session,
                source=self._context.name_of(brain.me),
                destination=self._context.name_of(brain.destination),
                phase=PHASE_WORDS[brain.phase],
                elapsed=now - self._started,
                sentence=sentence or brain.reason,
            )
        )

    def show_sample(self, brain: Outgoing, sample: Sample) -> None:
        """Show QEMU's figures too."""
        percent = max(self._vm.progress.percent, percent_across(sample))
        rate = sample.bytes_per_second - sample.dirty_bytes_per_second
        self._vm.progress = replace(
            self._vm.progress,
            percent=percent,
            passes=sample.passes,
            total=sample.total,
            remaining=sample.remaining,
            rate=sample.bytes_per_second,
            dirty_rate=sample.dirty_bytes_per_second,
            time_left=sample.remaining / rate if rate > 0 else None,
        )
        self.show(brain)


def percent_across(sample: Sample) -> int:
    """Count the first pass from 0 to 94; how many more there will be nobody knows, so all of them are 95."""
    if sample.passes > 1:
        return _LATER_PASSES
    return int((_LATER_PASSES - 1) * (1.0 - sample.remaining / sample.total)) if sample.total else 0


def fresh_progress(source: str, destination: str, session: str) -> MigrationProgress:
    """Give the progress of a migration that was just accepted."""
    return MigrationProgress(
        state=MigrationState.SETUP, session=session, source=source, destination=destination, phase="waiting"
    )
