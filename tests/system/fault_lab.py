"""Does one fault in one phase to a real migration, and looks from outside what came out."""

import os
import select
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Lock

from tests.system.fault_sight import Found, Sight
from tests.system.fault_table import Cell
from tests.system.machines.observer import lives, two_copies
from tests.system.pocket_cluster import PocketCluster, held, stands_still, state_of

from quorate.clusapi.json_types import json_int, json_objects, json_text
from quorate.clusapi.states import MigrationState, NodeState
from quorate.engine.fault_points import VARIABLE, Point
from quorate.hypervisor.serial_watch import SerialWatch
from quorate.service.pocket_power import power_off, power_on

SOURCE, DESTINATION = "node1", "node2"
FROZEN = 8.0
"""Seconds that a SIGSTOP, a silence or a power cut lasts: longer than a lease, its margin, a start elsewhere, and all
patience but that of dropping a guest."""
LEASE, LONG_LEASE = 5, 60
"""Seconds that leases last: as usual, and where none is to be over on however busy a machine."""
LOOK = 0.2
"""Seconds between two looks at what has come out: each costs the machine a little, and many look at a time."""
LIMIT = 120.0
"""Seconds within which everything must have settled; it takes two or three."""
GUEST: dict[str, int] = {"dirty_bytes": 4 << 20, "dirty_bytes_per_second": 8 << 20, "fill_bytes": 8 << 20}
BEATS_AFTER = 30

HELD: dict[str, tuple[tuple[str, Point], ...]] = {
    "preparing": ((DESTINATION, Point.PREPARING),),
    "pre-copy": ((SOURCE, Point.PRE_COPY),),
    "stopped": ((SOURCE, Point.STOPPED),),
    "cas sent": ((SOURCE, Point.CAS_SENT),),
    "given": ((SOURCE, Point.GIVEN),),
    "yours sent": ((SOURCE, Point.YOURS_SENT),),
    "loaded": ((DESTINATION, Point.LOADED),),
    "marked": ((DESTINATION, Point.MARKED), (SOURCE, Point.ENDING)),
}
"""Where the daemons are held in each phase."""
PASSED: dict[str, tuple[tuple[str, Point], ...]] = {
    "stopped": ((SOURCE, Point.COMPLETED), (DESTINATION, Point.LOADED)),
    "cas sent": ((SOURCE, Point.COMPLETED), (DESTINATION, Point.LOADED)),
    "given": ((DESTINATION, Point.LOADED),),
    "yours sent": ((DESTINATION, Point.LOADED),),
    "loaded": ((SOURCE, Point.YOURS_HEARD),),
}
"""What must have happened besides, so that a phase is the same each time."""
RACES = ("cas sent", "given")
"""The phases in which a source's daemon that comes back and a destination that claims may overtake each other."""

_environment = Lock()


class Lab:
    """A cluster of two nodes whose daemons can be held at points of a migration."""

    def __init__(self, cluster: PocketCluster, points: Path) -> None:
        self.cluster = cluster
        self._points = points
        self._lease = LEASE
        self._sight = Sight(cluster)

    # --- one experiment --------------------------------------------------------------------------------------------

    def run(self, cell: Cell, name: str) -> None:
        """Raises AssertionError when something else comes out than the document says."""
        cluster = self.cluster
        self.wait_for_daemons()
        self._clear_points()
        self._set_lease(LEASE if _outlasts_a_lease(cell) else LONG_LEASE)
        cluster.create_vm(name, {"name": name, "memory": "64M", "guest": {"kind": "builtin", **GUEST}})
        vm_id = json_text(cluster.vm(name), "vm")
        logs = {node: cluster.serial_log(name, node) for node in (SOURCE, DESTINATION)}
        with SerialWatch(*logs.values(), poll=0.004) as watch:
            cluster.wait(lambda: watch.report().beats > BEATS_AFTER, LIMIT, "the guest counts")
            began = time.monotonic()
            for node, point in HELD[cell.phase]:
                self.hold(node, point)
            if _must_be_back_first(cell):
                self.hold(DESTINATION, Point.LOADED)
            cluster.call("MoveGroup", group=name, destination=DESTINATION)
            for node, point in (*HELD[cell.phase], *PASSED.get(cell.phase, ())):
                reached = partial(self.is_reached, node, point)
                cluster.wait(reached, LIMIT, f"{node} comes to {point.value}")
            last = watch.report().last or 0
            self._hurt(cell, name, vm_id)
            found = self._wait_settled(name, vm_id)
            log = logs[found.owner]
            beats = [line for line in watch.lines if line.count is not None]
            now = beats[-1].at
            cluster.wait(lambda: _beats_in(watch, log, now) >= BEATS_AFTER, LIMIT, f"the guest counts on {found.owner}")
            after = self._sight.look(name, vm_id)
            lines, report = watch.lines, watch.report()
        starts = sum(line.count == 1 for line in lines if line.at > began)
        outcome = _outcome(found, cold=starts > 0)
        history = "\n".join([f"the last count before was {last}", *map(str, lives(lines)), f"{found}"])
        assert after.is_settled, f"it was settled, and is not any more: {after}"
        assert outcome == cell.outcome, f"{outcome}, not {cell.outcome}: {history}"
        assert found.migration_state == _expected_state(cell), f"{outcome}: {history}"
        assert found.sentence or found.migration_state is not MigrationState.FAILURE, f"no reason is given: {history}"
        assert starts <= 1, f"it was started {starts} times: {history}"
        assert not report.interleaved, f"two copies ran: {history}"
        assert not two_copies(lines), f"two copies ran: {two_copies(lines)}: {history}"
        bad = [line for line in report.other if line.startswith(("BAD", "FAULT"))]
        assert not bad, f"memory was lost: {bad}"
        assert starts or report.continuous, f"the guest did not live on: {history}"
        self._remove(name)

    def _hurt(self, cell: Cell, name: str, vm_id: str) -> None:
        if cell.victim == "database":
            self._silence()
            return
        if cell.away:
            self._kill_for_a_while()
            return
        node = SOURCE if cell.side == "source" else DESTINATION
        if cell.victim == "node":
            self._cut_power(node)
            return
        if cell.signal == "SIGSTOP":
            with self._standing_still(cell, vm_id, node):
                self.release()
                time.sleep(FROZEN)
            return
        pid = self._pid_of(cell.victim, vm_id, node)
        with held(pid) as victim:
            signal.pidfd_send_signal(victim, signal.SIGKILL)
            assert select.select((victim,), (), (), LIMIT)[0], f"{pid} survives SIGKILL"
        if cell.victim == "QEMU":
            run_file = self.cluster.runtime(node) / f"{vm_id}.run"
            self.cluster.wait(lambda: not run_file.exists(), LIMIT, f"{node} notices that its QEMU is gone")
        if _must_be_back_first(cell):
            self.release(SOURCE)
            self.cluster.wait(lambda: not self._sight.is_given(name), LIMIT, f"{SOURCE} takes {name} back")
        self.release()

    def _standing_still(self, cell: Cell, vm_id: str, node: str) -> AbstractContextManager[None]:
        if cell.victim == "daemon":
            return self.cluster.daemon_stands_still(node)
        return stands_still(self._pid_of(cell.victim, vm_id, node))

    def _pid_of(self, victim: str, vm_id: str, node: str) -> int:
        match victim:
            case "QEMU":
                return self._sight.qemu(vm_id, node)
            case "guard":
                return self.cluster.guard_pid(node)
            case _:
                return self.cluster.daemon_pid(node)

    def _cut_power(self, node: str) -> None:
        """Kill everything of a node at once, and let it come back after a while."""
        number = node.removeprefix("node")
        power_off(self.cluster.directory, number)
        try:
            self.release()
            time.sleep(FROZEN)
        finally:
            power_on(self.cluster.directory, number)

    def _kill_for_a_while(self) -> None:
        """Kill the source's daemon, and keep the keeper from starting another."""
        with held(self.cluster.keeper_pid()) as keeper, held(self.cluster.daemon_pid(SOURCE)) as victim:
            signal.pidfd_send_signal(keeper, signal.SIGSTOP)
            try:
                self.cluster.wait(lambda: state_of(self.cluster.keeper_pid()) == "T", LIMIT, "the keeper stands still")
                signal.pidfd_send_signal(victim, signal.SIGKILL)
                assert select.select((victim,), (), (), LIMIT)[0], "the daemon survives SIGKILL"
                self.release()
                time.sleep(FROZEN)
            finally:
                signal.pidfd_send_signal(keeper, signal.SIGCONT)

    def _silence(self) -> None:
        """Keep every writer waiting, as a daemon would that was stopped within a transaction."""
        with closing(sqlite3.connect(self.cluster.directory / "cluster.sqlite", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            self.release()
            time.sleep(FROZEN)
            connection.execute("ROLLBACK")

    def _wait_settled(self, name: str, vm_id: str) -> Found:
        deadline = time.monotonic() + LIMIT
        while not (found := self._sight.look(name, vm_id)).is_settled:
            assert time.monotonic() < deadline, f"not settled within {LIMIT:.0f} s: {found}"
            time.sleep(LOOK)
        self.wait_for_daemons()
        return found

    # --- the cluster -----------------------------------------------------------------------------------------------

    def qemu_of(self, name: str, node: str) -> int:
        """The pid of a virtual machine's QEMU on a node."""
        return self._sight.qemu(json_text(self.cluster.vm(name), "vm"), node)

    def _set_lease(self, seconds: int) -> None:
        if seconds != self._lease:
            self.cluster.set_lease(seconds)
            self._lease = seconds

    def wait_for_daemons(self) -> None:
        """Every daemon answers, and sees every node up."""

        def all_up(node: str) -> bool:
            nodes = json_objects(self.cluster.client_of(node).call("ListNodes").as_json(), "nodes")
            return all(json_int(n, "state", -1) == NodeState.UP for n in nodes)

        for node in (SOURCE, DESTINATION):
            self.cluster.wait(lambda node=node: all_up(node), LIMIT, f"{node} sees every node up")  # type: ignore[misc]

    def _remove(self, name: str) -> None:
        delete = lambda: self.cluster.call("DeleteVirtualMachine", vm=name, turn_off=True) is not None  # noqa: E731
        self.cluster.wait(delete, LIMIT, f"{name} is off, and is deleted")

    def _file(self, node: str, point: Point, what: str) -> Path:
        return self._points / f"{node}.{point.value}.{what}"

    def hold(self, node: str, point: Point) -> None:
        """Hold a daemon at a point until `release`."""
        self._file(node, point, "hold").touch()

    def is_reached(self, node: str, point: Point) -> bool:
        """Answer whether a daemon has come to a point."""
        return self._file(node, point, "reached").exists()

    def release(self, node: str = "*") -> None:
        """Let the daemons pass the points at which they are held."""
        for path in self._points.glob(f"{node}.*.hold"):
            path.unlink()

    def _clear_points(self) -> None:
        for path in self._points.iterdir():
            path.unlink()

    def close(self) -> None:
        self._sight.close()


@contextmanager
def lab(directory: Path) -> Iterator[Lab]:
    """A lab whose processes are gone afterwards, whatever state they are in."""
    points = directory / "points"
    points.mkdir(parents=True)
    cluster = PocketCluster(directory / "cluster", 2)
    cluster.directory.mkdir(mode=0o700)
    try:
        with _environment:  # the daemons take it from the keeper, and the keeper from us
            os.environ[VARIABLE] = str(points)
            try:
                cluster.start()
            finally:
                del os.environ[VARIABLE]
        cluster.trust_all()
        made = Lab(cluster, points)
        try:
            yield made
        finally:
            made.close()
    finally:
        cluster.end()


def _outlasts_a_lease(cell: Cell) -> bool:
    """Tell whether a fault is to keep a daemon from renewing its lease until it is over; a busy machine is not."""
    mute = cell.signal == "SIGSTOP" and cell.victim == "daemon"
    return cell.away or mute or cell.victim in ("node", "database")


def _must_be_back_first(cell: Cell) -> bool:
    """Tell whether the source's daemon has to be back before the destination may hear that it has the guest."""
    killed = (cell.signal, cell.victim, cell.side, cell.away) == ("kill -9", "daemon", "source", False)
    return killed and cell.phase in RACES


def _outcome(found: Found, *, cold: bool) -> str:
    if cold:
        how = "failover to" if found.failed_over else "cold start on"
        return f"{how} the {'source' if found.owner == SOURCE else 'destination'}"
    return "moves" if found.owner == DESTINATION else "stays"


def _expected_state(cell: Cell) -> MigrationState:
    """A migration has failed unless its guest has arrived; after `marked` it was over before anything was lost."""
    arrived = cell.outcome in ("moves", "cold start on the destination")
    over = cell.outcome == "failover to the source" and cell.phase == "marked"
    return MigrationState.NO_MIGRATION if arrived or over else MigrationState.FAILURE


def _beats_in(watch: SerialWatch, log: Path, since: float) -> int:
    return sum(1 for line in watch.lines if line.count is not None and line.source == log and line.at > since)
