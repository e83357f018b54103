"""Guests of a cluster of machines under watch, and the points of their migrations at which its daemons are held."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from tests.system.machines.machine_cluster import MachineCluster
from tests.system.machines.observer import lives, two_copies
from tests.waiting import slowness

from quorate.clusapi.identity import VmId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.engine.fault_points import Point
from quorate.hypervisor.contract import VmPaths
from quorate.hypervisor.serial_watch import SerialWatch

LIMIT: Final = 120.0
"""Seconds within which everything must have settled; a failover takes six or seven."""
BEATS: Final = 50
"""Counts after which a guest is known to run: half a second."""


class Points:
    """The points at which daemons are held; their environment names the directory (`fault_points.VARIABLE`)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def hold(self, node: str, point: Point) -> Path:
        """Hold a daemon at a point; the file that appears when it has come there."""
        reached = self.directory / f"{node}.{point.value}.reached"
        reached.unlink(missing_ok=True)
        (self.directory / f"{node}.{point.value}.hold").touch()
        return reached

    def release(self, node: str = "*") -> None:
        """Let the daemons pass where they are held."""
        for path in self.directory.glob(f"{node}.*"):
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Turn:
    """A change of phase that a daemon has written into its log."""

    at: float
    """Seconds since the epoch."""
    side: str
    """migration: the source's, incoming: the destination's."""
    before: str
    after: str
    reason: str


class Guest:
    """One guest under watch on every machine."""

    def __init__(self, cluster: MachineCluster, name: str, watch: SerialWatch) -> None:
        self.cluster = cluster
        self.name = name
        self.watch = watch
        self.vm_id = cluster.vm_id(name)

    def wait_runs(self, *nodes: str, since: float) -> float:
        """Wait until it counts on one of these machines; the moment of its first word there."""
        logs = {self.cluster.serial_log(self.vm_id, node) for node in nodes}

        def beats() -> list[float]:
            return [x.at for x in self.watch.lines if x.count is not None and x.source in logs and x.at > since]

        self.cluster.wait(lambda: len(beats()) >= BEATS, LIMIT, f"{self.name} counts on {' or '.join(nodes)}")
        return beats()[0]

    def last_word(self, node: str) -> float:
        log = self.cluster.serial_log(self.vm_id, node)
        return max((line.at for line in self.watch.lines if line.source == log), default=0.0)

    def check_one(self) -> None:
        told = two_copies(self.watch.lines)
        assert not told, f"two copies of {self.name} ran: {told}\n{lives(self.watch.lines)}"

    def check_never_stopped(self, longest: float = 1.0) -> None:
        report = self.watch.report()
        assert report.continuous, f"{self.name} did not live on: {report}"
        assert report.longest_gap < longest * slowness(), f"{self.name} stood still for {report.longest_gap:.2f} s"

    def turns(self, node: str, since: float = 0.0) -> tuple[Turn, ...]:
        """The phases that its migrations have gone through on a node, from a moment of time.time() on."""
        found = []
        for line in (self.cluster.state(node) / "daemon.log").read_text(errors="replace").splitlines():
            told: dict[str, JsonValue] = json.loads(line) if line.startswith("{") else {}
            if told.get("vm") != self.name or " -> " not in str(told.get("phase")):
                continue
            at = datetime.fromisoformat(str(told["timestamp"])).timestamp()
            before, _, after = str(told["phase"]).partition(" -> ")
            if at >= since:
                found.append(Turn(at, str(told["event"]), before, after, str(told["reason"])))
        return tuple(found)

    def left_over(self, owner: str) -> list[str]:
        """What of it lies where it is not: files that only a migration, or a QEMU that is not there, would need."""
        found: list[str] = []
        for node in self.cluster.nodes:
            runtime = self.cluster.runtime(node)
            found += [f"{node}: {path.name}" for path in runtime.glob(f"{self.vm_id}*.journal")]
            if node != owner:
                paths, vm_id = VmPaths(self.cluster.state(node) / "vms", runtime), VmId(self.vm_id)
                sockets = (paths.control_socket(vm_id), paths.migration_socket(vm_id), paths.agent_socket(vm_id))
                files = (*sockets, *runtime.glob(f"{self.vm_id}.*"), paths.rom(vm_id))
                found += [f"{node}: {path.name}" for path in files if path.exists()]
        return found

    def qemus(self) -> list[str]:
        """The nodes on which it has a QEMU."""
        return [node for node in self.cluster.nodes for _ in self.cluster.fabric[node].pids_of("qemu", self.vm_id)]


@contextmanager
def guest_of(cluster: MachineCluster, name: str, node: str, memory: str = "64M", **guest: int) -> Iterator[Guest]:
    """A guest that counts on a node of choice; whoever asked for it deletes it."""
    built: JsonObject = {"kind": "builtin", "dirty_bytes": 4 << 20, **guest}
    definition: JsonObject = {"name": name, "memory": memory, "guest": built}
    cluster.call("CreateVirtualMachine", name=name, definition=definition, node=node)
    logs = (cluster.serial_log(cluster.vm_id(name), where) for where in cluster.nodes)
    with SerialWatch(*logs, poll=0.002) as watch:
        cluster.call("OnlineGroup", group=name)
        made = Guest(cluster, name, watch)
        made.wait_runs(node, since=0.0)
        yield made


def epoch() -> float:
    """The time of day, as the logs have it."""
    return time.time()
