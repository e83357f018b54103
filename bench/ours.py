"""Migrations as quorate makes them: a cluster, START_MIGRATION, and nothing but what its users have."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.system.machines.machine_cluster import MachineCluster
from tests.system.pocket_cluster import PocketCluster

from bench.guests import Workload, touched_memory
from bench.measured import Migration, Observer, Told
from quorate.client.functions import ClusterResourceControl, OpenCluster, OpenClusterResource
from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.clusapi.json_types import JsonObject, json_int, json_object, json_text
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list
from quorate.clusapi.states import OfflineAction, VmState

WAY: Final = "quorate"
NODES: Final = ("node1", "node2")
_PATIENCE: Final = 60.0

# What the daemons call the moments, and what they are. The source's clock and the destination's are one.
_SOURCE_MOMENTS: Final = {
    "preparing": "asked",  # the destination is asked to prepare
    "transfer": "listening",  # its QEMU waits for the memory
    "stop sent": "stop sent",
    "giving": "stopped",  # `stop` was answered, ownership is being written
    "give answered": "ownership answered",
    "ending image": "marked",  # the destination's mark was seen
}
_DESTINATION_MOMENTS: Final = {
    "loaded": "loaded",
    "noting cont": "told",  # `yours` came, and all was loaded
    "starting": "cont",
    "running": "running",  # `cont` was answered
}


@dataclass(frozen=True, slots=True)
class OurMigrations:
    """Migrates a guest there and back in a cluster that is up."""

    cluster: PocketCluster | MachineCluster
    workload: Workload

    @property
    def name(self) -> str:
        """The virtual machine's name."""
        return self.workload.definition().name

    def create(self) -> None:
        """Make the virtual machine; it is off."""
        self.cluster.call("CreateVirtualMachine", name=self.name, definition=self.workload.to_json(), node=NODES[0])

    def run(self, number: int, busy: float) -> Migration:
        """Start the guest, migrate it once, turn it off."""
        with touched_memory(self.workload.memory_bytes) as free, self._running() as facts:
            source = json_text(facts, "node")
            destination = NODES[1 - NODES.index(source)]
            logs = [
                self._state(node) / "vms" / f"{json_text(facts, 'vm')}.serial.log" for node in (source, destination)
            ]
            pidfd = os.pidfd_open(json_int(facts, "pid"))
            before = {node: self._log(node).stat().st_size for node in NODES}
            resource = OpenClusterResource(OpenCluster(str(self.cluster.directory)), f"Virtual Machine {self.name}")
            try:
                with Observer(logs[0], logs[1], pidfd, busy) as observer:
                    observer.settle()
                    free()
                    observer.request()
                    where = f"{destination}\0".encode("utf-16-le")
                    status, _, _ = ClusterResourceControl(resource, None, CLUSCTL_RESOURCE_VM_START_MIGRATION, where)
                    if status:
                        raise RuntimeError(f"START_MIGRATION answered {status}")
                    return observer.result(
                        self.workload.name, WAY, number, lambda: self._told(source, destination, before)
                    )
            finally:
                os.close(pidfd)

    @contextmanager
    def _running(self) -> Iterator[JsonObject]:
        cluster = self.cluster
        cluster.call("OnlineGroup", group=self.name)
        cluster.wait(lambda: cluster.vm_state(self.name) is VmState.RUNNING, _PATIENCE, f"{self.name} runs")
        try:
            yield cluster.vm(self.name)
        finally:
            off = PropertyList.of([("Virtual Machine", PropertyFormat.DWORD, int(OfflineAction.TURN_OFF))])
            cluster.call("OfflineGroup", group=self.name, in_buffer=pack_property_list(off))
            cluster.wait(lambda: cluster.vm_state(self.name) is VmState.OFF, _PATIENCE, f"{self.name} is off")

    def _log(self, node: str) -> Path:
        return self._state(node) / "daemon.log"

    def _state(self, node: str) -> Path:
        return self.cluster.directory / "nodes" / node.removeprefix("node")

    def _told(self, source: str, destination: str, before: Mapping[str, int]) -> Told:
        """Read what both daemons say of the migration in their logs."""
        found: dict[str, JsonObject] = {}

        def both() -> bool:
            found["left"] = figures_in(self._log(source), before[source], "migration figures")
            found["arrived"] = figures_in(self._log(destination), before[destination], "arrival figures")
            return all(found.values())

        self.cluster.wait(both, _PATIENCE, "both daemons tell their figures")
        moments: dict[str, float] = {}
        for names, figures in ((_SOURCE_MOMENTS, found["left"]), (_DESTINATION_MOMENTS, found["arrived"])):
            at = json_object(figures, "moments")
            moments |= {ours: float(str(at[theirs])) for theirs, ours in names.items() if theirs in at}
        return Told(json_int(found["left"], "bytes"), json_int(found["left"], "passes"), moments)


def figures_in(log: Path, offset: int, event: str) -> JsonObject:
    """Find a line of a daemon's log after an offset; empty as long as it is not there."""
    for line in log.read_text(encoding="utf-8")[offset:].splitlines():
        with suppress(ValueError):
            found: JsonObject = json.loads(line)
            if found.get("event") == event:
                return found
    return {}
