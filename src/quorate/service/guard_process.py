"""Starting a node's guard where systemd does not."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from quorate.engine.guard import StartGuard
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
