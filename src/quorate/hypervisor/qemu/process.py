"""A QEMU process: started in a session of its own, known by pidfd, found again after the daemon restarted.

A QEMU outlives the daemon: it has no pipe to it, its lock on the VM is an inherited open file, and a small run file
says how to find it. A pid that the system has given to somebody else is never touched: the start time that the kernel
tells must be the one in the run file, and from then on the process is held by a pidfd.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import select
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import VmId
from quorate.clusapi.status import Status
from quorate.hypervisor.whole_files import made_beside

RUN_FILE_SCHEMA: Final = 1
_NO_PROCESS: Final = (errno.ESRCH, errno.EINVAL, errno.ENOENT)  # the latter two: it is a thread of another one now


@dataclass(frozen=True, slots=True)
class RunFile:
    """What is known of a started QEMU; ``pid`` 0 is written before the start and means: perhaps started."""

    vm_id: str
    image: str
    pid: int
    start_ticks: int  # field 22 of /proc/<pid>/stat
    started_at: float
    qemu_version: tuple[int, int, int]
    argv: tuple[str, ...]
    control_socket: str
    serial_log: str
    incoming: bool
    sends_to: str = ""
    """The address that its memory was last sent to."""

    def write(self, path: Path) -> None:
        """Replace the file in one step; raises OSError."""
        with made_beside(path) as new:
            new.write_text(json.dumps({"schema": RUN_FILE_SCHEMA, **asdict(self)}))

    @classmethod
    def read(cls, path: Path) -> RunFile | None:
        """Read it; None if there is none, or one that this version does not understand.

        Raises OSError when it cannot be read: that does not mean that there is none.
        """
        try:
            fields = json.loads(path.read_text())
            if fields.pop("schema") != RUN_FILE_SCHEMA:
                return None
            major, minor, micro = fields.pop("qemu_version")
            return cls(**{**fields, "argv": tuple(fields["argv"])}, qemu_version=(major, minor, micro))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


class VmLock:
    """The lock of one VM on this node, as an open file that a QEMU inherits and holds until it ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self.descriptor = descriptor

    @classmethod
    def take(cls, path: Path, vm_id: VmId) -> VmLock:
        """Take the lock; raises RefusalError 5023 if an instance of the VM lives here, and OSError."""
        lock = cls.try_take(path)
        if lock is None:
            raise RefusalError(
                Status.ERROR_INVALID_STATE,
                f"the virtual machine {vm_id} already has a process on this node; it holds the lock {path}",
            )
        return lock

    @classmethod
    def try_take(cls, path: Path) -> VmLock | None:
        """Take the lock, or return None if somebody has it; raises OSError."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return cls(path, descriptor)
            except FileNotFoundError:
                pass  # its last holder removed it between our open and our lock: once more
            except BlockingIOError:
                os.close(descriptor)
                return None
            os.close(descriptor)

    def hand_over(self) -> None:
        """Close our descriptor; the process that inherited it keeps the lock."""
        os.close(self.descriptor)

    def discard(self) -> None:
        """Give the lock up and remove its file, which is safe because we hold it."""
        try:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)


def listening_socket(path: Path) -> socket.socket:
    """Make the unix socket that QEMU takes commands on; a connection can be made before QEMU is ready."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener


def spawn(argv: Sequence[str], log: Path, inherited: Sequence[int]) -> int:
    """Start ``argv`` in a session of its own and return its pid.

    Standard input is /dev/null, output goes to ``log``, of our open files it gets only ``inherited``, under the same
    numbers. Raises OSError.
    """
    actions: list[tuple[int, int, str, int, int] | tuple[int, int, int] | tuple[int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        *((os.POSIX_SPAWN_DUP2, descriptor, descriptor) for descriptor in inherited),  # onto itself: not closed by exec
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable() - {*inherited}),
    ]
    assert all(descriptor > 2 for descriptor in inherited)
    default = [signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    return os.posix_spawn(
        argv[0], [*argv], os.environ, file_actions=actions, setsid=True, setsigmask=[], setsigdef=default
    )


def _inheritable() -> set[int]:
    """Find the files that our own parent left to us and that exec would hand on, such as the end of a pipeline."""
    found = set()
    for descriptor in (int(entry.name) for entry in Path("/proc/self/fd").iterdir()):
        with suppress(OSError):  # the listing's own descriptor is closed by now
            if descriptor > 2 and os.get_inheritable(descriptor):
                found.add(descriptor)
    return found


class ProcessHandle:
    """A process held by pidfd: killing it can never hit another one, and its end is noticed by the event loop."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._gone = asyncio.Event()
        self._on_exit: Callable[[int | None], None] | None = None

    @classmethod
    def of_child(cls, pid: int) -> ProcessHandle:
        """Hold the child that was just started; it cannot have been reaped yet. One that cannot be held is ended."""
        try:
            return cls(pid, os.pidfd_open(pid))
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    @classmethod
    def find(cls, pid: int, start_ticks: int) -> ProcessHandle | None:
        """Hold the process ``pid`` if it is still the one that started at ``start_ticks``, and not a zombie.

        Raises OSError when that cannot be told.
        """
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno in _NO_PROCESS:
                return None
            raise
        if start_time(pid) != start_ticks or _is_readable(pidfd):
            os.close(pidfd)
            return None
        return cls(pid, pidfd)

    @property
    def is_gone(self) -> bool:
        """Answer whether the process has ended."""
        return self._gone.is_set() or (self._pidfd >= 0 and _is_readable(self._pidfd))

    def watch(self, on_exit: Callable[[int | None], None]) -> None:
        """Have ``on_exit`` called once, on this event loop, with the exit code when the process has ended."""
        self._on_exit = on_exit
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    def _ended(self) -> None:
        code = self._reap()
        self.close()
        self._gone.set()
        if self._on_exit is not None:
            self._on_exit(code)

    def _reap(self) -> int | None:
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return None  # adopted: somebody else's child
        if result is None:
            return None
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status

    async def wait_gone(self) -> None:
        """Wait until the process has ended; it must be watched."""
        await self._gone.wait()

    def kill(self) -> None:
        """End it at once."""
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Stop watching and let go; the process is not touched."""
        if self._pidfd >= 0:
            with suppress(RuntimeError):  # outside of a loop nothing is watched
                asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def start_time(pid: int) -> int | None:
    """Tell when a process started, in the kernel's ticks since boot; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def owner_of(pid: int) -> tuple[int, int]:
    """Tell under which account (uid and gid) a process works; our own if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return os.geteuid(), os.getegid()
    fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in status.splitlines())}
    return int(fields["Uid"][1]), int(fields["Gid"][1])  # the second is the effective one


def find_by_arguments(argv: Sequence[str]) -> int | None:
    """Find the process that was started with exactly these arguments.

    For the daemon that died between starting a QEMU and noting its pid.
    """
    wanted = b"\0".join(os.fsencode(argument) for argument in argv) + b"\0"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if (entry / "cmdline").read_bytes() == wanted:
                    return int(entry.name)
    return None


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
