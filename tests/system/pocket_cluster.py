"""A real pocket cluster for a test: its own directory, its own processes, all of them ended by pid afterwards."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.cluster_under_test import ClusterUnderTest

from quorate.client.blocking import BlockingClient
from quorate.clusapi.json_types import json_objects, json_text
from quorate.service import pocket
from quorate.service.pocket_files import configured


class PocketCluster(ClusterUnderTest):
    """What a test does with a pocket cluster, and what it looks at from outside."""

    def __init__(self, directory: Path, nodes: int = 3) -> None:
        super().__init__(directory)
        self.nodes = nodes

    def start(self) -> None:
        pocket.start(self.directory, self.nodes)
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
        return next(iter(self._guards(self.runtime(node))), 0)

    def _guards(self, *runtimes: Path) -> list[int]:
        marks = [f"\0quorate.service.guard\0{runtime}\0".encode() for runtime in runtimes]
        return [pid for pid in _pids() if any(mark in _command_line(pid) for mark in marks)]

    def runtime(self, node: str) -> Path:
        """The directory of a node's sockets and journals."""
        found = json.loads((self.directory / "cluster.json").read_text(encoding="utf-8"))
        return next(Path(n["http"]).parent for n in found["nodes"] if n["name"] == node)

    def qemu_pids(self, node: str | None = None) -> dict[int, str]:
        """Every QEMU of this cluster that lives, found from outside: pid and the node whose directory it uses."""
        found = {}
        for number in range(1, self.nodes + 1):
            if node in (None, f"node{number}"):
                marker = f"{self.directory}/nodes/{number}/".encode()
                found.update({pid: f"node{number}" for pid in _qemus() if marker in _command_line(pid)})
        return found

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
        runtimes = [node.runtime for node in configured(self.directory)]  # of nodes that were evicted, too
        for pid in self._guards(*runtimes):
            _kill(pid)
        for place in {runtime.parent for runtime in runtimes}:
            shutil.rmtree(place, ignore_errors=True)

    def _kill_ours(self, pid: int) -> None:
        """Kill a process that a file of this cluster names, if it is indeed one of this cluster's."""
        if pid and str(self.directory).encode() in _command_line(pid):
            _kill(pid)


@contextmanager
def pocket_cluster(directory: Path, nodes: int = 3) -> Iterator[PocketCluster]:
    """A cluster that is up, and is gone afterwards whatever happens."""
    cluster = PocketCluster(directory, nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _qemus() -> list[int]:
    return [pid for pid in _pids() if b"qemu-system" in _command_line(pid).split(b"\0")[0]]


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


__all__ = ["PocketCluster", "json_objects", "pocket_cluster"]
