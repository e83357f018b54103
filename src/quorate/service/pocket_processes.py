"""The processes of a pocket cluster, as the operating system and their own locks show them."""

import fcntl
import json
import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.clusapi.json_types import json_int
from quorate.clusapi.status import Status
from quorate.service.guard_process import GUARD_MODULE
from quorate.service.keeper import KEEPER_FILE, command_line, daemon_pid
from quorate.service.pocket_files import PocketNode

_KILLED: Final = 5.0
"""Seconds within which a process is gone after SIGKILL."""


@dataclass(frozen=True, slots=True)
class QemuProcess:
    """A QEMU of a pocket cluster that lives."""

    pid: int
    node: str
    """The number of the node whose directories it uses."""

    def __str__(self) -> str:
        return f"{self.pid} of node {self.node}"


def is_up(directory: Path) -> bool:
    """Tell whether anything of the cluster lives but its virtual machines: the keeper, or a daemon."""
    return keeper_pid(directory) is not None or bool(daemon_pids(directory))


def keeper_pid(directory: Path) -> int | None:
    """The pid of the keeper that lives; it holds a lock on its file as long as it does."""
    path = directory / KEEPER_FILE
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return json_int(json.loads(file.read() or b"{}"), "pid") or None
            return None
    except (FileNotFoundError, ValueError):
        return None


def daemon_pids(directory: Path) -> tuple[int, ...]:
    """The pids of the daemons that live, whoever started them."""
    found = (daemon_pid(place) for place in directory.glob("nodes/*"))
    return tuple(pid for pid in found if pid is not None)


def guard_pids(nodes: Iterable[PocketNode]) -> tuple[int, ...]:
    """The pids of these nodes' guards, whoever started them."""
    marks = [b"\0".join((b"", GUARD_MODULE.encode(), os.fsencode(node.runtime), b"")) for node in nodes]
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return tuple(pid for pid in pids if any(mark in command_line(pid) for mark in marks))


def qemu_processes(nodes: Iterable[PocketNode]) -> tuple[QemuProcess, ...]:
    """Every QEMU that uses a directory of one of these nodes: its own, or the one of its sockets."""
    places = [(node.id, _mark(node.state), _mark(node.runtime)) for node in nodes]
    found = []
    for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        words = command_line(pid)
        if b"qemu" in words.partition(b"\0")[0].rpartition(b"/")[2]:
            found += [QemuProcess(pid, id_) for id_, *marks in places if any(mark.search(words) for mark in marks)]
    return tuple(found)


def _mark(place: Path) -> re.Pattern[bytes]:
    """A directory as it begins a path in a command line of QEMU, which wants commas doubled in most places."""
    plain = os.fsencode(place)
    both = b"|".join(re.escape(spelling) for spelling in (plain, plain.replace(b",", b",,")))
    return re.compile(rb"[\0=:\"](?:" + both + rb")/")


def end_processes(pids: Iterable[int], patience: float) -> None:
    """End processes: SIGTERM, and SIGKILL for those that live on after this many seconds."""
    with ExitStack() as stack:
        handles = {pid: handle for pid in pids if (handle := _hold(pid, stack)) is not None}
        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, _KILLED)):
            for handle in handles.values():
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
            deadline = time.monotonic() + seconds
            while handles and (left := deadline - time.monotonic()) > 0:
                gone = select.select([*handles.values()], (), (), left)[0]
                handles = {pid: handle for pid, handle in handles.items() if handle not in gone}
        if handles:
            raise FaultError(Status.ERROR_TIMEOUT, f"processes survive SIGKILL: {', '.join(map(str, handles))}")


def kill_qemus(nodes: Iterable[PocketNode]) -> None:
    """End every QEMU of these nodes at once: what their guests had in memory is lost."""
    nodes = tuple(nodes)
    with ExitStack() as stack:
        handles = {qemu.pid: _hold(qemu.pid, stack) for qemu in qemu_processes(nodes)}
        for pid in {qemu.pid for qemu in qemu_processes(nodes)} & {*handles}:  # held: it is nobody else by now
            if (handle := handles[pid]) is not None:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
    wait_for(lambda: not qemu_processes(nodes), _KILLED, "a QEMU survives SIGKILL")


def _hold(pid: int, stack: ExitStack) -> int | None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    stack.callback(os.close, handle)
    return handle


def wait_for(condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
    """Wait for a condition; raises FaultError 1460 when it does not come true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise FaultError(Status.ERROR_TIMEOUT, f"{otherwise} within {timeout:.0f} s")
        time.sleep(0.05)
