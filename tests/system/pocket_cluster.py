"""A real pocket cluster for a test: its own directory, its own processes, all of them ended by pid afterwards."""

import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.system.cluster_under_test import ClusterUnderTest

from quorate.client.blocking import BlockingClient
from quorate.clusapi.json_types import json_int, json_objects, json_text
from quorate.service import pocket
from quorate.service.pocket_files import configured


class PocketCluster(ClusterUnderTest):
    """What a test does with a pocket cluster, and what it looks at from outside."""

    def __init__(self, directory: Path, nodes: int = 3, mscmrp: str | None = None) -> None:
        super().__init__(directory)
        self.nodes = nodes
        self.mscmrp = mscmrp

    def start(self) -> None:
        pocket.start(self.directory, self.nodes, self.mscmrp)
        self.client = BlockingClient.at(str(self.directory))

    def serial_log(self, name: str, node: str) -> Path:
        """The serial log that a node keeps, or would keep, of a VM."""
        vm_id = json_text(self.vm(name), "vm")
        return self.directory / "nodes" / node.removeprefix("node") / "vms" / f"{vm_id}.serial.log"

    # --- processes -------------------------------------------------------------------------------------------------

    def daemon_pid(self, node: str) -> int:
        lock = self.directory / "nodes" / node.removeprefix("node") / "daemon.lock"
        return int(lock.read_text(encoding="ascii") or "0")

    def keeper_pid(self) -> int:
        keeper = self.directory / "keeper.json"
        return int(json.loads(keeper.read_text(encoding="ascii"))["pid"])

    def guard_pid(self, node: str) -> int:
        """The guard of a node, found from outside; 0 when there is none."""
        return next(iter(self.guard_pids(node)), 0)

    def guard_pids(self, *nodes: str) -> dict[int, str]:
        """Every guard of these nodes that lives, found from outside: pid and node."""
        return _guards({node: self.runtime(node) for node in nodes})

    def runtime(self, node: str) -> Path:
        """The directory of a node's sockets and journals."""
        found = json.loads((self.directory / "cluster.json").read_text(encoding="utf-8"))
        return next(Path(n["http"]).parent for n in found["nodes"] if n["name"] == node)

    def qemu_pids(self, node: str | None = None) -> dict[int, str]:
        """Every QEMU of this cluster that lives, found from outside: pid and the node whose directory it uses."""
        markers = {
            f"node{number}": f"{self.directory}/nodes/{number}/".encode()
            for number in range(1, self.nodes + 1)
            if node in (None, f"node{number}")
        }
        return {pid: where for pid, words in _qemus().items() for where, marker in markers.items() if marker in words}

    def restart_daemons(self) -> None:
        """Have every daemon end in order and come up again, as after a change of its configuration."""
        before = {f"node{number}": self.daemon_pid(f"node{number}") for number in range(1, self.nodes + 1)}
        for pid in before.values():
            os.kill(pid, signal.SIGTERM)

        def answers(node: str) -> bool:
            facts = self.client_of(node).call("GetNodeReport", node=node).json("processes")
            return json_int(facts, "daemon_pid") not in (0, before[node])

        for node in before:
            self.wait(lambda node=node: answers(node), 30, f"{node} is back")  # type: ignore[misc]

    def runtimes(self) -> list[Path]:
        return [self.runtime(f"node{number}") for number in range(1, self.nodes + 1)]

    @contextmanager
    def daemon_stands_still(self, node: str) -> Iterator[None]:
        """Have a daemon stand still, stopped between two of its writes.

        One that is stopped within a write keeps the database locked. That is another fault: nobody can write, and one
        node cannot be asked for a promise, so that every guard acts.
        """
        while True:
            with stands_still(self.daemon_pid(node)):
                if self._is_writable():
                    yield
                    return
            time.sleep(0.01)

    def _is_writable(self) -> bool:
        path = self.directory / "cluster.sqlite"
        with closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.execute("ROLLBACK")
        return True

    # --- ending ----------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """End every process of this cluster by pid, whatever state it is in."""
        keeper = self.directory / "keeper.json"
        if keeper.exists() and keeper.stat().st_size:
            self._kill_ours(int(json.loads(keeper.read_text())["pid"]))  # first, as it would start daemons again
        for lock in self.directory.glob("nodes/*/daemon.lock"):
            self._kill_ours(self.daemon_pid(lock.parent.name))
        for pid in self.qemu_pids():
            _kill(pid)
        # Also those of nodes that were evicted.
        runtimes = {str(node.id): node.runtime for node in configured(self.directory)}
        for pid in _guards(runtimes):
            _kill(pid)
        for place in {runtime.parent for runtime in runtimes.values()}:
            shutil.rmtree(place, ignore_errors=True)

    def _kill_ours(self, pid: int) -> None:
        """Kill a process that a file of this cluster names, if it is indeed one of this cluster's."""
        if pid and str(self.directory).encode() in _command_line(pid):
            _kill(pid)


@contextmanager
def pocket_cluster(
    directory: Path, nodes: int = 3, mscmrp: str | None = None, *, lease: int | None = None
) -> Iterator[PocketCluster]:
    """A cluster that is up, and is gone afterwards whatever happens.

    ``lease``: how many seconds the leases last, for tests in which none may run out because the machine is busy.
    """
    cluster = PocketCluster(directory, nodes, mscmrp)
    try:
        cluster.start()
        cluster.trust_all()
        if lease is not None:
            cluster.set_lease(lease)
        yield cluster
    finally:
        cluster.end()


@contextmanager
def held(pid: int) -> Iterator[int]:
    """A pidfd of a process."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def stands_still(pid: int) -> Iterator[None]:
    """Have a process stand still; what does not stop within ten seconds is an error."""
    with held(pid) as process:
        try:
            signal.pidfd_send_signal(process, signal.SIGSTOP)
            deadline = time.monotonic() + 60.0
            while state_of(pid) not in "TX":
                assert time.monotonic() < deadline, f"{pid} does not stop"
                time.sleep(0.002)
            yield
        finally:
            with suppress(ProcessLookupError):  # ended meanwhile, as it may be
                signal.pidfd_send_signal(process, signal.SIGCONT)


def state_of(pid: int) -> str:
    """The state letter of a process; X when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _qemus() -> dict[int, bytes]:
    """Every QEMU of this machine that lives, with the words of its command line."""
    found = {pid: _command_line(pid) for pid in _pids()}
    return {pid: words for pid, words in found.items() if b"qemu-system" in words.split(b"\0")[0]}


def _guards(runtimes: Mapping[str, Path]) -> dict[int, str]:
    marks = {node: f"\0quorate.service.guard\0{runtime}\0".encode() for node, runtime in runtimes.items()}
    found = {pid: _command_line(pid) for pid in _pids()}
    return {pid: node for pid, words in found.items() for node, mark in marks.items() if mark in words}


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


__all__ = ["PocketCluster", "held", "json_objects", "pocket_cluster", "stands_still", "state_of"]
