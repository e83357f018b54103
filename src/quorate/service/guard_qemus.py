"""The QEMUs that a guard watches: those of the run files in its node's runtime directory, each held by pidfd.

Of the standard library alone, as all of the guard. A QEMU is held from the moment its run file is seen, so that nothing
has to be opened when it is to be killed; it stays held when its run file goes, until the process has ended.
"""

import errno
import json
import os
import select
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from quorate.engine.guard_file import start_ticks

RUN_FILES: Final = ".run"
RUN_FILE_SCHEMA: Final = 1
"""The one of `quorate.hypervisor.qemu.process.RunFile`, which writes them."""
NET: Final = 1.0
"""Seconds after which the directory is read even if it does not look changed."""
SEARCH: Final = 0.2
"""Seconds between two searches for a QEMU that was perhaps started, and whose pid is not noted."""
_NO_PROCESS: Final = (errno.ESRCH, errno.EINVAL, errno.ENOENT)  # gone, or the thread of another process by now
_EXITING: Final = 0x4  # PF_EXITING, of the flags in /proc/<pid>/stat: such a thread runs no program any more

Tell = Callable[[str], None]


class Note(NamedTuple):
    """What a run file says."""

    vm_id: str
    name: str
    pid: int
    """0: perhaps started."""
    ticks: int
    argv: tuple[str, ...]


class Qemu:
    """One that is held."""

    def __init__(self, vm_id: str, name: str, pid: int, ticks: int, pidfd: int) -> None:
        self.vm_id = vm_id
        self.name = name
        self.pid = pid
        self.ticks = ticks
        self.pidfd = pidfd
        self.killed_at: float | None = None
        """CLOCK_BOOTTIME of the first SIGKILL."""

    def __str__(self) -> str:
        return f"{self.name} ({self.vm_id}, QEMU {self.pid})"

    def may_run(self) -> bool:
        """Tell whether one of its threads may still run: one that has been killed may be held up in the kernel."""
        with suppress(OSError):
            for task in os.listdir(f"/proc/{self.pid}/task"):  # noqa: PTH208 - a Path for each would cost more
                with suppress(OSError):
                    fields = Path(f"/proc/{self.pid}/task/{task}/stat").read_bytes().rpartition(b")")[2].split()
                    if fields[0] not in (b"Z", b"X") and not int(fields[6]) & _EXITING:
                        return True
        return False


class Qemus:
    """All of them."""

    def __init__(self, runtime: Path, tell: Tell) -> None:
        """Hold none until `look`."""
        self._runtime = runtime
        self._tell = tell
        self._held: dict[int, Qemu] = {}
        self._poll = select.poll()
        self._seen: dict[str, tuple[int, int]] = {}
        self._unsure: dict[str, Note] = {}
        self._stamp: int | None = None
        self._again = True
        self._due = 0.0
        self._search_due = 0.0

    def __bool__(self) -> bool:
        """Tell whether one is held."""
        return bool(self._held)

    def may_run(self) -> bool:
        """Tell whether a virtual CPU may still run."""
        return any(qemu.killed_at is None or qemu.may_run() for qemu in self._held.values())

    def survivors(self) -> tuple[Qemu, ...]:
        """Those that were killed and have not ended."""
        return tuple(qemu for qemu in self._held.values() if qemu.killed_at is not None)

    # --- finding ---------------------------------------------------------------------------------------------------

    def look(self, now: float, *, thoroughly: bool = False) -> None:
        """Hold those that have appeared; what has not changed costs one question to the system."""
        try:
            stamp = self._runtime.stat().st_mtime_ns
        except OSError:
            stamp = None
        if thoroughly or self._again or stamp != self._stamp or now >= self._due:
            # Two changes within one tick of the kernel's clock have the same stamp: a change is looked at twice.
            self._again = stamp != self._stamp
            self._stamp = stamp
            self._due = now + NET
            self._scan()
        if self._unsure and (thoroughly or now >= self._search_due):
            self._search_due = now + SEARCH
            self._search()

    def _scan(self) -> None:
        found: dict[str, tuple[int, int]] = {}
        try:
            with os.scandir(self._runtime) as entries:
                for entry in entries:
                    if entry.name.endswith(RUN_FILES):
                        with suppress(FileNotFoundError):
                            state = entry.stat(follow_symlinks=False)
                            found[entry.name] = (state.st_ino, state.st_mtime_ns)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._tell(f"{self._runtime} cannot be read: {error.strerror}; what is held already stays guarded")
            return
        changed = [name for name, which in found.items() if self._seen.get(name) != which]
        self._unsure = {name: note for name, note in self._unsure.items() if name in found}
        self._seen = found
        for name in changed:
            self._take_in(name)

    def _take_in(self, name: str) -> None:
        self._unsure.pop(name, None)
        try:
            note = read_note(self._runtime / name)
            if note.pid:
                self._hold(note, note.pid, note.ticks)
            else:
                self._unsure[name] = note
                self._search_due = 0.0
        except FileNotFoundError:
            del self._seen[name]
        except OSError as error:
            del self._seen[name]  # such as no descriptor left in the system: it is tried again
            self._tell(f"{self._runtime / name} cannot be seen to now: {error.strerror}")
        except (ValueError, KeyError, TypeError) as error:
            self._tell(f"{self._runtime / name} is not understood ({error}): what it stands for is not guarded")

    def _search(self) -> None:
        """Look for those that were started by a daemon that had no time to note their pids."""
        pids = find_by_arguments([note.argv for note in self._unsure.values()])
        for name, note in tuple(self._unsure.items()):
            pid = pids.get(note.argv)
            ticks = start_ticks(pid) if pid is not None else None
            if pid is not None and ticks is not None:
                with suppress(OSError):  # it is searched for again
                    self._hold(note, pid, ticks)
                    del self._unsure[name]

    def _hold(self, note: Note, pid: int, ticks: int) -> None:
        """Hold a process if it is still the one that was noted. Raises OSError when that cannot be told."""
        if pid in self._held and self._held[pid].ticks == ticks:
            return
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno in _NO_PROCESS:
                return
            raise
        found = start_ticks(pid)
        if found != ticks:
            is_gone = found is not None or is_over(pidfd)
            os.close(pidfd)
            if is_gone:
                return
            raise OSError(errno.EAGAIN, f"process {pid} cannot be looked at")
        if is_over(pidfd):
            os.close(pidfd)
            return
        self._held[pid] = Qemu(note.vm_id, note.name, pid, ticks, pidfd)
        self._poll.register(pidfd, select.POLLIN)

    # --- killing ---------------------------------------------------------------------------------------------------

    def kill(self, now: float) -> list[Qemu]:
        """Send SIGKILL to every one, whatever it is doing; answers those that had not been sent it before."""
        fresh = []
        for qemu in self._held.values():
            try:
                signal.pidfd_send_signal(qemu.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has ended, and is seen to have in a moment
            except OSError as error:
                if qemu.killed_at is None:
                    self._tell(f"{qemu} cannot be killed: {error.strerror}")
            if qemu.killed_at is None:
                qemu.killed_at = now
                fresh.append(qemu)
        return fresh

    def wait(self, seconds: float) -> list[Qemu]:
        """Sleep so long, or until one has ended; those that have are held no longer, and answered."""
        events = self._poll.poll(max(0, round(seconds * 1000 + 0.5)))
        ended = []
        if events:
            over = {descriptor for descriptor, _ in events}
            for pid, qemu in tuple(self._held.items()):
                if qemu.pidfd in over:
                    self._poll.unregister(qemu.pidfd)
                    os.close(qemu.pidfd)
                    del self._held[pid]
                    ended.append(qemu)
        return ended


def read_note(path: Path) -> Note:
    """Read a run file; raises OSError, ValueError, KeyError and TypeError."""
    fields = json.loads(path.read_bytes())
    if fields["schema"] != RUN_FILE_SCHEMA:
        raise ValueError(f"schema {fields['schema']}, not {RUN_FILE_SCHEMA}")
    argv = tuple(map(str, fields["argv"]))
    return Note(str(fields["vm_id"]), name_of(argv), int(fields["pid"]), int(fields["start_ticks"]), argv)


def name_of(argv: Sequence[str]) -> str:
    """Find the virtual machine's name in a command line, where commas are doubled."""
    with suppress(ValueError, IndexError):
        value = argv[argv.index("-name") + 1].removeprefix("guest=").removesuffix(",debug-threads=on")
        return value.replace(",,", ",")
    return "a virtual machine"


def find_by_arguments(wanted: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    """Find the processes that were started with exactly these arguments."""
    lines = {b"\0".join(os.fsencode(word) for word in argv) + b"\0": argv for argv in wanted}
    found = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a Path for each process would cost more
        if entry.isdigit():
            with suppress(OSError):
                argv = lines.get(Path(f"/proc/{entry}/cmdline").read_bytes())
                if argv is not None:
                    found[argv] = int(entry)
    return found


def is_over(pidfd: int) -> bool:
    """Tell whether a process has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
