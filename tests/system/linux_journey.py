"""A Linux guest on its way through a cluster: sent by the C-shaped functions, looked at from outside after each hop."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType

from tests.system.leftovers import Belongings, look
from tests.system.linux_guest import LinuxGuest, OnDisk, Said, Transcript, make_disk, read_disk
from tests.system.pocket_cluster import PocketCluster

from quorate.client.functions import (
    ClusterResourceControl,
    OfflineClusterResourceEx,
    OpenCluster,
    OpenClusterResource,
)
from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.clusapi.json_types import json_int, json_object
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list
from quorate.clusapi.states import MigrationState, VmResdllContext, VmState
from quorate.clusapi.status import Status
from quorate.hypervisor.serial_watch import SerialWatch

MOVE_TIMEOUT = 240.0
ALIVE_TIMEOUT = 240.0
DESCRIPTORS_OF_A_VM = 6
"""Open files more than at rest that a daemon may have: QMP, pidfd, connections of clients and peers that are kept."""
_WATCH_EVERY = 0.002
_LOOK_EVERY = 0.03


@dataclass(frozen=True, slots=True)
class Hop:
    """One migration, as a stranger saw it."""

    source: str
    destination: str
    total: float  # seconds from START to MigrationState 0 on the destination
    gap: float  # the longest silence of the guest in that time, by our clock

    def __str__(self) -> str:
        return f"{self.source} to {self.destination} in {self.total:.2f} s, silent for {self.gap * 1000:.0f} ms"


class Journey:
    """One VM with a Linux guest that writes; it begins on node1."""

    name = "recorder"

    def __init__(self, cluster: PocketCluster, guest: LinuxGuest, directory: Path, memory: str = "256M") -> None:
        self.cluster = cluster
        self.node = "node1"
        self._disk = make_disk(directory / "disk.qcow2")
        self._work = directory
        self._transcript = Transcript()
        self._at_rest = look(cluster)
        cluster.create_vm(self.name, guest.definition(self.name, self._disk, memory))
        nodes = [f"node{number}" for number in range(1, cluster.nodes + 1)]
        self._logs = {node: cluster.serial_log(self.name, node) for node in nodes}
        self._watch = SerialWatch(*self._logs.values(), poll=_WATCH_EVERY)
        self.resource = OpenClusterResource(OpenCluster(str(cluster.directory)), f"Virtual Machine {self.name}")
        self._transcript.follow(self._logs[self.node])

    def __enter__(self) -> "Journey":
        self._watch.start()
        try:
            self.wait_alive()
            self._of_a_vm = look(self.cluster).of(self.node) - self._at_rest.of(self.node)
        except BaseException:
            self._watch.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.stop()

    # --- moving ----------------------------------------------------------------------------------------------------

    def hop(self, destination: str, *, at_once: bool = False) -> Hop:
        """Send it to another node, and see it live there. ``at_once``: ask until the cluster agrees."""
        epoch, before = self._read_epoch(), self._transcript.durable_here()
        source, begun = self.node, time.monotonic()
        status = self._start(destination)
        while at_once and status == Status.ERROR_INVALID_STATE and time.monotonic() < begun + MOVE_TIMEOUT:
            time.sleep(0.005)
            status = self._start(destination)
        assert status == 0, f"START answered {status}"
        self._wait(lambda: self._has_moved(destination), f"it is on {destination}")
        total = time.monotonic() - begun
        if at_once:
            self._arrived(destination, epoch)
            return Hop(source, destination, total, self._longest_silence(begun))
        self._wait(lambda: set(self.cluster.qemu_pids().values()) == {destination}, "only the destination has a QEMU")
        assert len(self.cluster.qemu_pids()) == 1
        self._arrived(destination, epoch)
        self.wait_alive(above=before)
        return Hop(source, destination, total, self._longest_silence(begun))

    def _start(self, destination: str) -> int:
        buffer = f"{destination}\0".encode("utf-16-le")
        status, _, _ = ClusterResourceControl(self.resource, None, CLUSCTL_RESOURCE_VM_START_MIGRATION, buffer)
        return status

    def _has_moved(self, destination: str) -> bool:
        time.sleep(_LOOK_EVERY)  # looking costs the nodes a little each time
        vm = self.cluster.vm(self.name)
        state = MigrationState(json_int(json_object(vm, "migration"), "migration_state"))
        assert state is not MigrationState.FAILURE, f"{vm['migration']}{self.cluster.last_words()}"
        return vm["node"] == destination and state is MigrationState.NO_MIGRATION

    def _arrived(self, destination: str, before: int) -> None:
        self.node = destination
        self._wait(lambda: destination in self.cluster.qemu_pids().values(), f"{destination} has a QEMU")
        epoch = self._read_epoch()
        assert epoch == before + 2, f"a move raises the epoch twice, not from {before} to {epoch}"
        self._transcript.follow(self._logs[destination])

    def power_cut(self) -> None:
        """Kill its QEMU; the cluster starts it again from its disk."""
        (pid,) = self.cluster.qemu_pids()
        os.kill(pid, signal.SIGKILL)
        self._wait(lambda: pid not in self.cluster.qemu_pids(), "its QEMU is gone")
        self._transcript.follow(self._logs[self.node], cut=True)
        self._wait(lambda: self.cluster.vm_state(self.name) is VmState.RUNNING, "it is started again")

    @contextmanager
    def disk_in_use(self) -> Iterator[None]:
        """Hold QEMU's own lock on the disk, as somebody else would."""
        command = ("qemu-io", "-f", "qcow2", self._disk)
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert holder.stdin is not None
            assert holder.stdout is not None
            holder.stdin.write(b"length\n")
            holder.stdin.flush()
            assert holder.stdout.read(1), "it has opened the disk"
            yield
        finally:
            holder.kill()
            holder.communicate()

    # --- what must hold --------------------------------------------------------------------------------------------

    def wait_alive(self, records: int = 1, above: int = 0) -> None:
        """Wait until it has reported so many further records from the node where it is."""
        wanted = max(self._transcript.durable_here(), above) + records
        what = f"the guest goes on writing on {self.node}: record {wanted}"
        try:
            self.cluster.wait(lambda: self._transcript.durable_here() >= wanted, ALIVE_TIMEOUT, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\nthe guest said: {self._transcript.text()[-500:]!r}") from error

    def check_nothing_left_behind(self) -> None:
        """Nothing is there but what belongs to one running VM on its node, and the cluster itself."""
        seen: list[str] = []

        def clean() -> bool:
            seen[:] = self._surplus(look(self.cluster), {self.node: self._of_a_vm})
            return not seen

        try:
            self._wait(clean, "nothing is left behind", 5.0)
        except AssertionError as error:
            raise AssertionError(f"left behind: {seen}") from error

    def _surplus(self, now: Belongings, allowed: dict[str, frozenset[str]]) -> list[str]:
        found = []
        for node, files in now.files.items():
            wanted = self._at_rest.of(node) | allowed.get(node, frozenset())
            found += [f"{node}: {name}" for name in sorted(files - wanted)]
            found += [f"{node}: {name} is missing" for name in sorted(wanted - files)]
        if len(now.processes) != len(self._at_rest.processes):
            found.append(f"processes: {now.processes}, and at first {self._at_rest.processes}")
        for node, descriptors in now.descriptors.items():
            if descriptors > self._at_rest.descriptors[node] + DESCRIPTORS_OF_A_VM:
                found.append(f"{node}: {descriptors} open files, {self._at_rest.descriptors[node]} at rest")
        return found

    def saved_files(self) -> list[Path]:
        """The files of saved memory."""
        return sorted((self.cluster.directory / "saved").iterdir())

    def end(self) -> tuple[Said, OnDisk]:
        """Turn it off, see that it is gone, and hold the disk against what the guest said."""
        turn_off = PropertyList.of([("Virtual Machine", PropertyFormat.DWORD, int(VmResdllContext.TURN_OFF))])
        status = OfflineClusterResourceEx(self.resource, 0, pack_property_list(turn_off))
        assert status in (Status.ERROR_SUCCESS, Status.ERROR_IO_PENDING), status
        self._wait(lambda: self.cluster.vm_state(self.name) is VmState.OFF, "it is off")
        assert not self.cluster.qemu_pids(), "a virtual machine that is off has no process"
        assert not (left := self._surplus(look(self.cluster), {})), left
        said, on_disk = self._transcript.said(), read_disk(self._disk, self._work)
        assert on_disk.records >= said.durable, f"{said.durable} were durable, {on_disk.records} are on the disk"
        assert on_disk.runs == said.runs, f"the disk was written by {on_disk.runs}, and these spoke: {said.runs}"
        return said, on_disk

    # --- looking ---------------------------------------------------------------------------------------------------

    def _longest_silence(self, since: float) -> float:
        moments = [line.at for line in self._watch.lines if line.at >= since]
        return max((after - before for before, after in pairwise(moments)), default=0.0)

    def _read_epoch(self) -> int:
        return json_int(self.cluster.vm(self.name), "epoch")

    def _wait(self, condition: Callable[[], bool], what: str, timeout: float = MOVE_TIMEOUT) -> None:
        self.cluster.wait(condition, timeout, what)
