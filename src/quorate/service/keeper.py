"""The keeper of a pocket cluster: starts the nodes' daemons, and starts them again when they die.

On a real node this is systemd's work. The keeper knows nothing of clusters and imports nothing of them, so that it
costs little and has little to fail on. When it is killed the daemons go on; the next keeper finds them by the lock that
each of them holds, and waits for it before it starts another.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PAUSE = 0.2
"""Seconds between two looks at the daemons, and before a dead one is started again."""
PATIENCE = 10.0
"""Seconds that a daemon has to go down by itself."""
DAEMON_LOCK = "daemon.lock"


class Keeper:
    """Keeps the daemons of one directory."""

    def __init__(self, directory: Path) -> None:
        """Keep every node that has a configuration there."""
        self._nodes = sorted(directory.glob("nodes/*/node.toml"))
        self._daemons: dict[Path, subprocess.Popen[bytes]] = {}
        self._ending = False

    def run(self) -> None:
        """Keep them until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        while not self._ending:
            for node in self._nodes:
                self._keep(node)
            time.sleep(PAUSE)
        self._end()

    def _on_signal(self, number: int, frame: object) -> None:
        self._ending = True

    def _keep(self, node: Path) -> None:
        daemon = self._daemons.get(node)
        if daemon is not None and daemon.poll() is None:
            return
        if daemon is not None:
            print(f"the daemon of node {node.parent.name} ended with {daemon.returncode}", flush=True)
            del self._daemons[node]
            return  # started again at the next look
        if _is_locked(node.parent / DAEMON_LOCK):
            return
        with (node.parent / "daemon.log").open("ab") as log:
            self._daemons[node] = subprocess.Popen(
                [sys.executable, "-m", "quorate.service.daemon", str(node)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self) -> None:
        pids = [daemon.pid for daemon in self._daemons.values()]
        pids += [pid for node in self._nodes if (pid := _foreign_daemon(node, pids)) is not None]
        for pid in pids:
            _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and any(_is_locked(node.parent / DAEMON_LOCK) for node in self._nodes):
            for daemon in self._daemons.values():
                daemon.poll()
            time.sleep(0.05)
        for daemon in self._daemons.values():
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()


def _foreign_daemon(node: Path, known: list[int]) -> int | None:
    """The pid of a daemon that an earlier keeper started."""
    lock = node.parent / DAEMON_LOCK
    if not _is_locked(lock):
        return None
    text = lock.read_text(encoding="ascii").strip()
    return int(text) if text.isdigit() and int(text) not in known else None


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def main() -> int:
    """Keep the pocket cluster in the directory that the command line names."""
    directory = Path(sys.argv[1])
    with (directory / "keeper.json").open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another keeper keeps this cluster", file=sys.stderr)
            return 1
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid()}, file)
        file.flush()
        Keeper(directory).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
