"""Starting a node's guard where systemd does not, and standing in for one that is not there in time."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from quorate.engine.guard import EndAll, StartGuard
from quorate.engine.guard_file import boottime
from quorate.service.guard_qemus import Qemus
from quorate.service.keeper import open_log

GUARD_MODULE: Final = "quorate.service.guard"
GUARD_LOG: Final = "guard.log"


def guard_starter(state: Path, runtime: Path, watchdog: Path | None) -> StartGuard:
    """Make the function that starts a guard, which lives on without the daemon and writes its log to ``state``."""
    options = [] if watchdog is None else ["--watchdog", str(watchdog)]

    def start() -> subprocess.Popen[bytes]:
        with open_log(state / GUARD_LOG) as log:
            return subprocess.Popen(
                [sys.executable, "-m", GUARD_MODULE, str(runtime), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    return start


def guard_stand_in(runtime: Path) -> EndAll:
    """Make the function with which the daemon does the guard's work: it kills the QEMUs of this directory."""
    log = structlog.get_logger("guard")
    qemus = Qemus(runtime, lambda sentence: log.warning("the guard's work", sentence=sentence))

    def end_all() -> Sequence[str]:
        now = boottime()
        qemus.look(now)
        ended = [str(qemu) for qemu in qemus.kill(now)]
        qemus.wait(0.0)
        return ended

    return end_all
