"""How long guests are away when something dies: three nodes and three members of etcd, seen from outside.

The machines are network namespaces (tests/system/machines), which need root. A guest counts on its serial port; a
moment is when its line was seen. Deaths are SIGKILL to everything on a machine.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Final

from tests.system.machines import fabric
from tests.system.machines.machine_cluster import NODES, MachineCluster, machines

from bench import machine
from bench.guests import MIB, Workload
from bench.raw import RawMigrations
from bench.small import Figure
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.json_types import json_int
from quorate.clusapi.states import NodeState
from quorate.cluster.lease import MARGIN
from quorate.hypervisor.definition import BuiltinGuest
from quorate.hypervisor.pinned import Pinned
from quorate.hypervisor.serial_watch import SerialWatch
from quorate.service.keeper import DAEMON_LOCK, lock_is_held

BEAT_HZ: Final = 100
GUEST: Final = Workload("failover", "64 MB, counts", 64 * MIB, BuiltinGuest(beat_hz=BEAT_HZ))
RESTART_DELAY: Final = 0.5
"""RestartDelay of a resource, seconds, unless it was changed."""
LEASE: Final = 5.0
SILENCE: Final = 3.0
"""Seconds for which etcd is frozen."""
AFTER: Final = 4.0
"""Seconds for which a guest is listened to after the disturbance; nearly a lease."""
STANDSTILL: Final = 100.0
"""Milliseconds without a beat that count as the guest having stood: far more than a busy machine makes of it, far less
than any stop and start takes."""
_HEARD: Final = 50
_PATIENCE: Final = 60.0


@dataclass(slots=True)
class Failovers:
    """What was measured, and what went wrong."""

    figures: tuple[Figure, ...] = ()
    busy: list[float] = field(default_factory=list)
    """Share of the machine that others used before each round."""
    failures: list[str] = field(default_factory=list)


def why_not() -> str | None:
    """Say why there can be no such measurement on this machine; None when there can."""
    return fabric.why_not()


def measure(directory: Path, pinned: Pinned, rounds: int, patience: float) -> Failovers:
    """Measure everything, each several times; ``patience``: seconds to wait for a quiet machine before each."""
    boots = [_boot(directory / f"boot{number}", pinned) for number in range(rounds)]
    found = Failovers()
    with machines(directory / "machines") as cluster:
        bench = _Bench(cluster, found, rounds, patience, sorted(boots)[len(boots) // 2])
        found.figures = (
            Figure("boot", "a guest's own start: from its first instruction to its first beat", "s", tuple(boots)),
            *(figure for figure in bench.measure() if figure.values),
        )
    return found


def _boot(directory: Path, pinned: Pinned) -> float:
    """The guest's own time to its first beat, with a QEMU that is there and has done everything else."""
    with (
        RawMigrations(GUEST, pinned, directory / "vm", directory / "rt").waiting() as side,
        SerialWatch(side.log) as watch,
    ):
        began = time.monotonic()
        side.qmp.execute("cont")
        if not watch.wait_beats(1, _PATIENCE):
            raise TimeoutError("the guest is not heard")
        return watch.lines[0].at - began


class _Guest:
    """One guest under watch on every node."""

    def __init__(self, cluster: MachineCluster, name: str, node: str) -> None:
        self._cluster = cluster
        self.name = name
        cluster.call("CreateVirtualMachine", name=name, definition={**GUEST.to_json(), "name": name}, node=node)
        vm_id = cluster.vm_id(name)
        self.logs = {cluster.serial_log(vm_id, where): where for where in NODES}
        self.watch = SerialWatch(*self.logs)

    def start(self) -> None:
        self.watch.start()
        self._cluster.call("OnlineGroup", group=self.name)
        self.hear()

    def hear(self) -> None:
        """Listen until it has counted on for half a second."""
        if not self.watch.wait_beats(_HEARD, _PATIENCE):
            raise TimeoutError(f"{self.name} is not heard{self._cluster.last_words()}")

    def beats(self) -> list[tuple[float, int, str]]:
        """Every beat so far: when, which, and on which node."""
        return [(line.at, line.count, self.logs[line.source]) for line in self.watch.lines if line.count is not None]

    def away(self, since: float) -> float:
        """Seconds from its last beat before it began anew to its first one then."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            beats = self.beats()
            for (before, _, _), (after, count, _) in pairwise(beats):
                if after > since and count == 1:
                    return after - before
            time.sleep(0.005)
        raise TimeoutError(f"{self.name} did not come back{self._cluster.last_words()}")

    def longest_gap(self, since: float, until: float) -> float:
        """Milliseconds of its longest silence between these moments, in which it must have lived on."""
        report = self.watch.report(since)
        if not report.continuous:
            raise RuntimeError(f"{self.name} did not live on: {report}")
        times = [at for at, _, _ in self.beats() if since <= at <= until]
        return max(after - before for before, after in pairwise(times)) * 1000


class _Bench:
    """The rounds."""

    def __init__(self, cluster: MachineCluster, found: Failovers, rounds: int, patience: float, boot: float) -> None:
        self._cluster = cluster
        self._found = found
        self._rounds = rounds
        self._patience = patience
        self._boot = boot

    def measure(self) -> Iterator[Figure]:
        """Everything, one after the other."""
        lease, boot = LEASE + MARGIN, "without the guest's own start"
        yield self._figure(
            "restart", f"QEMU killed → runs again on its node, {boot}", "s", RESTART_DELAY + 0.5, self._restart
        )
        yield self._figure("failover", f"node dead → runs on another, {boot}", "s", lease + 1.0, self._node_dies)
        yield self._figure(
            "failover with etcd's leader", f"node and etcd's leader dead → runs on another, {boot}", "s", 9.0,
            self._node_and_leader_die,
        )  # fmt: skip
        yield self._figure(
            "calm", f"longest silence of a guest in {SILENCE + AFTER:g} s while nothing happens", "ms", None, self._calm
        )
        sentence = f"longest silence of a guest while etcd is silent for {SILENCE:g} s, and after"
        yield self._figure("etcd silent", sentence, "ms", STANDSTILL, self._etcd_is_silent)
        ups: list[float] = []
        sentence = "longest silence of a guest while its daemon is killed and started anew"
        yield self._figure("daemon restarted", sentence, "ms", STANDSTILL, lambda n: self._daemon_restarts(n, ups))
        yield Figure("daemon start", "a daemon's start, from its process to Up", "s", tuple(ups), 2.0)

    def _figure(self, name: str, sentence: str, unit: str, limit: float | None, once: Callable[[int], float]) -> Figure:
        values = []
        for number in range(self._rounds):
            busy = machine.wait_quiet(self._patience)
            self._found.busy.append(busy)
            try:
                values.append(once(number))
                print(f"{name} #{number + 1}: {values[-1]:.3f} {unit} (busy {busy:.0%})", flush=True)
            except (ClusterError, AssertionError, OSError, RuntimeError) as error:
                self._found.failures.append(f"{name} #{number + 1}: {error}")
                print(self._found.failures[-1].splitlines()[0], flush=True)
        return Figure(name, sentence, unit, tuple(values), limit)

    @contextmanager
    def _guest(self, name: str, node: str) -> Iterator[_Guest]:
        guest = _Guest(self._cluster, name, node)
        try:
            guest.start()
            yield guest
        finally:
            guest.watch.stop()
            self._cluster.make_whole()
            self._cluster.remove_vm(name)

    def _restart(self, number: int) -> float:
        node = NODES[number % len(NODES)]
        with self._guest(f"restart{number}", node) as guest:
            pid = json_int(self._cluster.vm(guest.name), "pid")
            killed = time.monotonic()
            self._cluster.machine(node).signal((pid,), SIGKILL)
            away = guest.away(killed)
            if self._cluster.owner(guest.name) != node:
                raise RuntimeError(f"{guest.name} left its node")
            return away - self._boot

    def _node_dies(self, number: int, *, with_leader: bool = False) -> float:
        node = NODES[number % len(NODES)]
        with self._guest(f"{'both' if with_leader else 'node'}{number}", node) as guest:
            leader = self._cluster.etcd.leader() if with_leader else None
            killed = time.monotonic()
            self._cluster.machine(node).kill_everything()
            if leader is not None:
                leader.kill()
            away = guest.away(killed)
            if guest.beats()[-1][2] == node:
                raise RuntimeError(f"{guest.name} is where it was")
            return away - self._boot

    def _node_and_leader_die(self, number: int) -> float:
        return self._node_dies(number, with_leader=True)

    def _calm(self, number: int) -> float:
        with self._guest(f"calm{number}", NODES[number % len(NODES)]) as guest:
            began = time.monotonic()
            time.sleep(SILENCE + AFTER)
            return guest.longest_gap(began, time.monotonic())

    def _etcd_is_silent(self, number: int) -> float:
        members = self._cluster.etcd.members
        with self._guest(f"silent{number}", NODES[number % len(NODES)]) as guest:
            began = time.monotonic()
            for member in members:
                member.freeze()
            try:
                time.sleep(SILENCE)
            finally:
                for member in members:
                    member.thaw()
            time.sleep(AFTER)
            return guest.longest_gap(began, time.monotonic())

    def _daemon_restarts(self, number: int, ups: list[float]) -> float:
        cluster, node = self._cluster, NODES[number % len(NODES)]
        with self._guest(f"daemon{number}", node) as guest:
            pid = json_int(cluster.vm(guest.name), "pid")
            began = time.monotonic()
            cluster.signal_daemon(node, SIGKILL if number % 2 else SIGTERM)
            lock = cluster.state(node) / DAEMON_LOCK
            cluster.wait(lambda: not lock_is_held(lock), _PATIENCE, f"the daemon of {node} has ended")
            started = time.monotonic()
            cluster.start_daemon(node)
            cluster.wait(lambda: cluster.node_state(node, node) is NodeState.UP, _PATIENCE, f"{node} is up")
            ups.append(time.monotonic() - started)
            time.sleep(AFTER)
            if json_int(cluster.vm(guest.name), "pid") != pid:
                raise RuntimeError(f"{guest.name} has another QEMU than before")
            return guest.longest_gap(began, time.monotonic())
