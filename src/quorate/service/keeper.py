"""The keeper of a pocket cluster: starts the nodes' daemons, and starts them again when they die.

On a real node this is systemd's work. The keeper knows nothing of clusters and imports nothing of them, so that it
costs little and has little to fail on. When it is killed the daemons go on; the next keeper finds them by the lock that
each of them holds, and waits for it before it starts another. A daemon that dies again and again is started ever later.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PAUSE = 0.2
"""Seconds between two looks at the daemons, and before one that has died for the first time is started again."""
LONGEST_PAUSE = 5.0
"""Seconds before one is started again that has died many times; the pause doubles from death to death."""
STEADY = 3.0
"""Seconds after which a daemon has come up, and its earlier deaths are forgotten: one that could do its work is wanted
back before its lease is over, however often it dies."""
PATIENCE = 10.0
"""Seconds that a daemon has to go down by itself."""
LOCK_PATIENCE = 0.5
"""Seconds for which a lock may be held by somebody who only looks whether it is held."""
LONGEST_LOG = 16 << 20
"""Bytes beyond which a log is put aside, as NAME.1, before something is added to it."""
KEEPER_FILE = "keeper.json"
KEEPER_LOG = "keeper.log"
DAEMON_LOCK = "daemon.lock"
OFF_MARK = "off"
"""A node with this file in its directory is switched off: the keeper starts no daemon of it."""
NOT_A_MEMBER = 4
"""The exit code of a daemon whose node is in the cluster no more: it is not started again."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When a daemon that has died is started again."""

    pause: float = 0.0
    due: float = 0.0

    def after_death(self, began: float, now: float) -> "Pace":
        """Go on after a death at `now` of a daemon that was started at `began`."""
        again = self.pause > 0.0 and now - began < STEADY
        pause = min(2 * self.pause, LONGEST_PAUSE) if again else PAUSE
        return Pace(pause, now + pause)


@dataclass(frozen=True, slots=True)
class _Daemon:
    process: subprocess.Popen[bytes]
    began: float


class Keeper:
    """Keeps the daemons of one directory."""

    def __init__(self, directory: Path) -> None:
        """Keep every node that has a configuration there."""
        self._log = directory / KEEPER_LOG
        self._nodes = sorted(directory.glob("nodes/*/node.toml"))
        self._daemons: dict[Path, _Daemon] = {}
        self._paces: dict[Path, Pace] = {node: Pace() for node in self._nodes}
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
        if daemon is not None and daemon.process.poll() is None:
            return
        now = time.monotonic()
        if daemon is not None:
            pace = self._paces[node] = self._paces[node].after_death(daemon.began, now)
            del self._daemons[node]
            if daemon.process.returncode == NOT_A_MEMBER:
                self._paces[node] = Pace(due=float("inf"))
                self._say(f"node {node.parent.name} is in the cluster no more: its daemon is not started again")
                return
            self._say(f"node {node.parent.name}: {_end_of(daemon, now)}, started again in {pace.pause:.1f} s")
        off = (node.parent / OFF_MARK).exists()
        if off or now < self._paces[node].due or lock_is_held(node.parent / DAEMON_LOCK):
            return
        with open_log(node.parent / "daemon.log") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "quorate.service.daemon", str(node)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._daemons[node] = _Daemon(process, now)

    def _say(self, sentence: str) -> None:
        with suppress(OSError), open_log(self._log) as log:  # a full disk ends no keeper
            log.write(f"{sentence}\n".encode())

    def _end(self) -> None:
        children = [daemon.process for daemon in self._daemons.values()]
        pids = {child.pid for child in children}
        pids |= {pid for node in self._nodes if (pid := daemon_pid(node.parent)) is not None}
        for pid in pids:
            _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and any(lock_is_held(node.parent / DAEMON_LOCK) for node in self._nodes):
            for child in children:
                child.poll()
            time.sleep(0.05)
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()


def _end_of(daemon: _Daemon, now: float) -> str:
    return f"the daemon ended with {daemon.process.returncode} after {now - daemon.began:.1f} s"


def open_log(path: Path) -> IO[bytes]:
    """Open a log to add to it; one that has grown long is put aside first."""
    if path.exists() and path.stat().st_size > LONGEST_LOG:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")


def take_lock(file: IO[str]) -> bool:
    """Lock a file for as long as this process lives; False when another process holds it."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def lock_is_held(path: Path) -> bool:
    """Answer whether a process holds the lock of this file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def daemon_pid(place: Path) -> int | None:
    """The pid of the daemon that holds the lock of the node in this directory; None when none does."""
    lock = place / DAEMON_LOCK
    if not lock_is_held(lock):
        return None
    text = lock.read_text(encoding="ascii").strip()
    # Between its lock and its note, the note is that of an earlier daemon: the pid may be anybody's by now.
    return int(text) if text.isdigit() and b"quorate.service.daemon" in command_line(int(text)) else None


def command_line(pid: int) -> bytes:
    """The words of a process's command line, each ended by NUL; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def main() -> int:
    """Keep the pocket cluster in the directory that the command line names."""
    directory = Path(sys.argv[1])
    with (directory / KEEPER_FILE).open("a+", encoding="ascii") as file:
        if not take_lock(file):
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
