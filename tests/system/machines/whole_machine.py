"""A machine of the fabric with a host name and a file system of its own, so that commands run on it as they are typed.

::

    /             an overlay: below it the machine that runs the test, read only; above it what this one has written
    /run          empty after every start
    shared        directories of the test that several machines see

The file system outlives everything that runs on the machine, as a disk outlives a power cut.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.system.machines import fabric
from tests.waiting import PATIENCE

ROOT: Final = Path(__file__).resolve().parents[3]
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Mounts everything and stays, as what keeps the file system. $1 is a directory of this machine's, $2 its name, $3 the
# directories below which something else may be mounted.
_KEEPER: Final = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for place in /proc /sys /dev $3; do mount --rbind "$place" "$1/root$place"; done
mount -t tmpfs tmpfs "$1/root/run"
for pair in $4; do
    mkdir -p "$1/root${pair#*=}"
    mount --bind "${pair%%=*}" "$1/root${pair#*=}"
done
hostname "$2"
echo ready
exec chroot "$1/root" /bin/sleep infinity
"""

_ATTEMPT: Final = """
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt
"""


def why_not() -> str | None:
    """Say why this machine cannot have machines with file systems of their own; None when it can."""
    if (reason := fabric.why_not()) is not None:
        return reason
    if missing := [tool for tool in ("unshare", "nsenter", "openssl") if shutil.which(tool) is None]:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run(["unshare", "--mount", "sh", "-c", _ATTEMPT], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no overlay can be mounted: {tried.stderr.strip()}"


class WholeMachine:
    """One such machine."""

    def __init__(self, machine: fabric.Machine, directory: Path, shared: Mapping[Path, str]) -> None:
        """Make its file system, with directories of the test's at places that are the same on several machines."""
        self.machine = machine
        self.name = machine.name
        directory.mkdir(parents=True)
        # What is mounted below / is not in an overlay of /: the project and its interpreter may be such.
        elsewhere = {str(_mount_of(Path(place))) for place in (ROOT, sys.prefix, sys.base_prefix)} - {"/"}
        pairs = [f"{source}={place}" for source, place in shared.items()]
        argv = ["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", _KEEPER, "sh"]
        argv += [str(directory), machine.name, " ".join(sorted(elsewhere)), " ".join(pairs)]
        self._keeper = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
        assert self._keeper.stdout is not None
        ready = self._keeper.stdout.readline()
        assert ready == b"ready\n", f"{machine.name} has no file system: {ready!r}"
        deadline = time.monotonic() + PATIENCE
        while Path(f"/proc/{self._keeper.pid}/comm").read_text().strip() != "sleep":
            assert time.monotonic() < deadline, f"{machine.name} has no root"
            time.sleep(0.005)

    @property
    def root(self) -> Path:
        """Its file system, seen from the test."""
        return Path(f"/proc/{self._keeper.pid}/root")

    def command(self, argv: Sequence[str]) -> list[str]:
        """What runs a command there."""
        enter = ["nsenter", f"--target={self._keeper.pid}", "--mount", "--uts", "--root"]
        environment = [f"PATH={PATH}", "HOME=/root", "USER=root", "LOGNAME=root", "TERM=dumb"]
        environment += [f"{name}={os.environ[name]}" for name in ("LANG", "PYTHONPATH") if name in os.environ]
        return [*self.machine.prefix, *enter, "env", "-i", "--chdir=/root", *environment, *argv]

    def shell(self, script: str, *, typed: str = "", timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Type lines into a shell there, until one fails; what it asks for is ``typed``."""
        argv = self.command(["bash", "-e", "-u", "-o", "pipefail", "-c", script])
        return subprocess.run(
            argv,
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout,
        )

    def spawn(self, script: str, log: Path) -> subprocess.Popen[bytes]:
        """Type a command into a second terminal there, which goes on."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self.command(["bash", "-c", f"exec {script}"]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def install(self, place: str, content: str, mode: int = 0o755) -> None:
        """Put a file there."""
        path = Path(f"{self.root}{place}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(content, encoding="utf-8")
        path.chmod(mode)

    def pull_the_plug(self) -> None:
        """Nothing runs there any more, and nothing is left in its memory."""
        self.machine.kill_everything()
        for leftover in Path(f"{self.root}/run").iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    def close(self) -> None:
        """Let the file system go; what runs there has to be ended before."""
        self._keeper.kill()
        self._keeper.wait()
        if self._keeper.stdout is not None:
            self._keeper.stdout.close()


def quoted(words: Sequence[str | Path]) -> str:
    """A command as a line for a shell."""
    return shlex.join(map(str, words))


def _mount_of(path: Path) -> Path:
    resolved = path.resolve()
    return next(place for place in (resolved, *resolved.parents) if place.is_mount())
