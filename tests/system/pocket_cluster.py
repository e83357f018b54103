"""A real pocket cluster for a test: its own directory, its own processes, all of them ended by pid afterwards."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.json_types import JsonObject, json_int, json_object, json_objects, json_text
from quorate.clusapi.operation_values import FieldValue, Values
from quorate.clusapi.states import VmState
from quorate.service import pocket


class PocketCluster:
    """What a test does with a pocket cluster, and what it looks at from outside."""

    def __init__(self, directory: Path, nodes: int = 3) -> None:
        self.directory = directory
        self.nodes = nodes
        self.client = BlockingClient(())

    def start(self) -> None:
        pocket.start(self.directory, self.nodes)
        self.client = BlockingClient.at(str(self.directory))

    def client_of(self, node: str) -> BlockingClient:
        """A client that speaks with this node only."""
        return BlockingClient(tuple(n for n in self.client.nodes if n.name == node))

    def call(self, operation: str, **inputs: FieldValue) -> Values:
        return self.client.call(operation, full_access=True, **inputs)

    # --- virtual machines ------------------------------------------------------------------------------------------

    def create_vm(self, name: str, definition: JsonObject, *, start: bool = True) -> None:
        self.call("CreateVirtualMachine", name=name, definition=definition)
        if start:
            self.call("OnlineGroup", group=name)
            self.wait(lambda: self.vm_state(name) is VmState.RUNNING, 60, f"{name} runs")

    def create_builtin(self, name: str, memory: str = "128M", *, start: bool = True, **guest: int) -> None:
        """A VM of the built-in guest; ``guest``: beat_hz, fill_bytes, dirty_bytes, dirty_bytes_per_second."""
        self.create_vm(name, {"name": name, "memory": memory, "guest": {"kind": "builtin", **guest}}, start=start)

    def vm(self, name: str) -> JsonObject:
        return json_object(self.call("GetVirtualMachine", vm=name).as_json(), "virtual_machine")

    def vm_state(self, name: str) -> VmState:
        return VmState(json_int(self.vm(name), "vm_state"))

    def owner(self, name: str) -> str:
        return json_text(self.vm(name), "node")

    def migration_state(self, name: str) -> int:
        return json_int(json_object(self.vm(name), "migration"), "migration_state")

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

    # --- waiting and ending ----------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait for a condition; refusals and faults on the way count as "not yet"."""
        deadline = time.monotonic() + timeout
        last: ClusterError | None = None
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except ClusterError as error:
                last = error
            time.sleep(0.02)
        raise AssertionError(f"not within {timeout:.0f} s: {what}" + (f" ({last})" if last else "") + self.last_words())

    def last_words(self) -> str:
        lines = []
        for log in sorted(self.directory.glob("nodes/*/daemon.log")):
            lines += [f"\nnode{log.parent.name}: {line}" for line in log.read_text(errors="replace").splitlines()[-25:]]
        return "".join(lines)

    def end(self) -> None:
        """End every process of this cluster by pid, whatever state it is in."""
        keeper = self.directory / "keeper.json"
        if keeper.exists() and keeper.stat().st_size:
            self._kill_ours(int(json.loads(keeper.read_text())["pid"]))  # first, as it would start daemons again
        for lock in self.directory.glob("nodes/*/daemon.lock"):
            self._kill_ours(self.daemon_pid(lock.parent.name))
        for pid in self.qemu_pids():
            _kill(pid)
        if (self.directory / "cluster.json").exists():
            shutil.rmtree(self.runtime("node1").parent, ignore_errors=True)

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


def _qemus() -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if b"qemu-system" in _command_line(pid).split(b"\0")[0]]


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
