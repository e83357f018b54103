"""QEMU's words in the words of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quorate.hypervisor.contract import (
    GuestPanicked,
    GuestReset,
    GuestShutdown,
    InstanceEvent,
    MigrationChanged,
    MigrationStatus,
    PassStarted,
    RunState,
    RunStateChanged,
)

_RUN_STATES: Final = {
    "running": RunState.RUNNING,
    "suspended": RunState.RUNNING,  # asleep, and may wake by itself: treat it as running
    "prelaunch": RunState.PAUSED,
    "paused": RunState.PAUSED,
    "debug": RunState.PAUSED,
    "io-error": RunState.PAUSED,
    "internal-error": RunState.PAUSED,
    "watchdog": RunState.PAUSED,
    "inmigrate": RunState.INMIGRATE,
    "restore-vm": RunState.INMIGRATE,
    "postmigrate": RunState.POSTMIGRATE,
    "finish-migrate": RunState.SAVING,
    "save-vm": RunState.SAVING,
    "shutdown": RunState.SHUTDOWN,
    "guest-panicked": RunState.PANICKED,
}

_MIGRATION_STATUSES: Final = {
    "none": MigrationStatus.NONE,
    "setup": MigrationStatus.SETUP,
    "wait-unplug": MigrationStatus.SETUP,
    "active": MigrationStatus.ACTIVE,
    "pre-switchover": MigrationStatus.PRE_SWITCHOVER,
    "device": MigrationStatus.DEVICE,
    "postcopy-active": MigrationStatus.POSTCOPY,
    "postcopy-paused": MigrationStatus.POSTCOPY_PAUSED,
    "postcopy-recover-setup": MigrationStatus.POSTCOPY_RECOVER,
    "postcopy-recover": MigrationStatus.POSTCOPY_RECOVER,
    "completed": MigrationStatus.COMPLETED,
    "failed": MigrationStatus.FAILED,
    "cancelling": MigrationStatus.CANCELLING,
    "cancelled": MigrationStatus.CANCELLED,
}


def run_state(status: object) -> RunState:
    """Translate the status that query-status tells."""
    return _RUN_STATES.get(str(status), RunState.UNKNOWN)


def migration_status(status: object) -> MigrationStatus:
    """Translate the status that query-migrate and MIGRATION tell; absent is none."""
    return _MIGRATION_STATUSES.get(str(status), MigrationStatus.NONE)


def translate(name: str, data: Mapping[str, object]) -> InstanceEvent | None:
    """Translate one event; None for one that the contract does not know."""
    match name:
        case "STOP":
            return RunStateChanged(RunState.PAUSED)
        case "RESUME":
            return RunStateChanged(RunState.RUNNING)
        case "MIGRATION":
            return MigrationChanged(migration_status(data.get("status")))
        case "MIGRATION_PASS":
            number = data.get("pass")
            return PassStarted(number if isinstance(number, int) else 0)
        case "SHUTDOWN":
            return GuestShutdown(by_guest=data.get("guest") is True)
        case "GUEST_PANICKED":
            return GuestPanicked()
        case "RESET":
            return GuestReset()
        case _:
            return None
