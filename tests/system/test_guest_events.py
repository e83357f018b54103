"""What a guest does by itself while it is moved, with real QEMU: it shuts down, starts anew, or crashes.

The guest is a Linux that obeys what is written on its disk, so that the moment is the test's. Its source's daemon is
held where memory flows, or its destination's where the guest runs there and the source has not heard of it.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from tests.system.linux_guest import ACTOR, LinuxGuest, build_guest
from tests.system.machines.guests import Points
from tests.system.pocket_cluster import PocketCluster, pocket_cluster

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.json_types import json_int, json_text
from quorate.clusapi.states import MigrationState, ResourceState, VmState
from quorate.clusapi.status import Status
from quorate.engine.fault_points import VARIABLE, Point
from quorate.hypervisor.serial_watch import SerialWatch

OFF, ANEW, CRASH = b"o", b"r", b"p"
SECTOR: Final = 512
DISK: Final = 1 << 20
BEATS: Final = 20


@dataclass(frozen=True, slots=True)
class Actor:
    """A guest that does to itself what it is told."""

    cluster: PocketCluster
    name: str
    disk: Path
    watch: SerialWatch

    def tell(self, order: bytes) -> None:
        """Have it done within a few hundredths of a second."""
        with self.disk.open("r+b") as disk:
            disk.write(order)

    def starts(self) -> int:
        """How often it has begun to count."""
        return sum(line.count == 1 for line in self.watch.lines)

    def wait_beats(self, node: str) -> None:
        assert self.watch.wait_beats(BEATS, 120, self.cluster.serial_log(self.name, node)), self.watch.report()

    def move(self, destination: str) -> None:
        self.cluster.call("MoveGroup", group=self.name, destination=destination)

    def ends_without_daemon(self, order: bytes, node: str) -> None:
        """Have it end itself where nobody hears of it: the daemon is dead by then, and another one comes."""
        silent = self.cluster.serial_log(self.name, node)
        with self.cluster.daemon_stands_still(node):
            dead = self.cluster.daemon_pid(node)
            self.tell(order)
            self.cluster.wait(lambda: not self.watch.wait_beats(1, 1.0, silent), 60, "it counts no more")
            os.kill(dead, signal.SIGKILL)
        self.cluster.wait(lambda: self.cluster.daemon_pid(node) not in (0, dead), 60, f"{node} has another daemon")

    def migration(self) -> MigrationState:
        return MigrationState(self.cluster.migration_state(self.name))

    def wait(self, what: str, **wanted: object) -> None:
        """Wait until all of this is so: node, vm, resource, migration, and on which nodes it has a QEMU."""

        def seen() -> dict[str, object]:
            vm = self.cluster.vm(self.name)
            return {
                "node": json_text(vm, "node"),
                "vm": VmState(json_int(vm, "vm_state")),
                "resource": ResourceState(json_int(vm, "resource_state")),
                "migration": self.migration(),
                "qemus": sorted(self.cluster.qemu_pids().values()),
            }

        self.cluster.wait(lambda: {**seen(), **wanted} == seen(), 60, f"{self.name} {what}: {wanted}")


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> LinuxGuest:
    return build_guest(tmp_path_factory.mktemp("actor"), ACTOR)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Points:
    return Points(tmp_path_factory.mktemp("points") / "points")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, points: Points) -> Iterator[PocketCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(points.directory))
        with pocket_cluster(tmp_path_factory.mktemp("events"), 2, lease=60) as made:
            yield made


@pytest.fixture
def actor(cluster: PocketCluster, guest: LinuxGuest, points: Points, tmp_path: Path) -> Iterator[Actor]:
    """One that counts on node1, and is gone afterwards."""
    disk, name = tmp_path / "orders.raw", "actor"
    disk.write_bytes(bytes(DISK))
    cluster.create_vm(name, guest.definition(name, disk, "128M", "raw"))
    with SerialWatch(*(cluster.serial_log(name, node) for node in ("node1", "node2"))) as watch:
        made = Actor(cluster, name, disk, watch)
        made.wait_beats("node1")
        yield made
    points.release()
    cluster.call("DeleteVirtualMachine", vm=name, turn_off=True)
    cluster.wait(lambda: not cluster.qemu_pids(), 30, "no QEMU is left")


def begin(actor: Actor, points: Points, node: str, point: Point) -> None:
    """Move it to node2, as far as a point of the move."""
    reached = points.hold(node, point)
    actor.move("node2")
    actor.cluster.wait(reached.exists, 60, f"{point.value} is reached")


# --- while memory is copied ----------------------------------------------------------------------------------------


def test_one_that_shuts_down_while_it_is_copied_is_off_where_it_was(actor: Actor, points: Points) -> None:
    begin(actor, points, "node1", Point.PRE_COPY)
    assert actor.migration() is MigrationState.DATA_TRANSFER
    actor.tell(OFF)
    actor.wait(
        "is off and offline where it was, and its move has failed",
        node="node1",
        vm=VmState.OFF,
        resource=ResourceState.OFFLINE,
        migration=MigrationState.FAILURE,
        qemus=[],
    )
    assert actor.starts() == 1


def test_one_that_crashes_while_it_is_copied_is_started_again_where_it_was(actor: Actor, points: Points) -> None:
    begin(actor, points, "node1", Point.PRE_COPY)
    actor.tell(CRASH)
    points.release()
    actor.cluster.wait(lambda: actor.starts() == 2, 60, "it is started again")
    actor.wait("runs where it was", node="node1", vm=VmState.RUNNING, resource=ResourceState.ONLINE, qemus=["node1"])
    assert not actor.migration().is_under_way
    actor.wait_beats("node1")


def test_one_that_starts_anew_while_it_is_copied_is_copied_on(actor: Actor, points: Points) -> None:
    begin(actor, points, "node1", Point.PRE_COPY)
    (before,) = actor.cluster.qemu_pids("node1")
    actor.tell(ANEW)
    actor.cluster.wait(lambda: actor.starts() == 2, 60, "it has started anew")
    assert actor.migration() is MigrationState.DATA_TRANSFER
    assert list(actor.cluster.qemu_pids("node1")) == [before], "its process is the same"
    points.release()
    done = {"vm": VmState.RUNNING, "migration": MigrationState.NO_MIGRATION, "qemus": ["node2"]}
    actor.wait("has moved", node="node2", **done)
    actor.wait_beats("node2")
    assert actor.starts() == 2
    assert not any(line.text.startswith(b"BAD") for line in actor.watch.lines)


def test_a_user_who_pauses_it_meanwhile_is_told_to_wait_or_cancel_and_it_moves_on(actor: Actor, points: Points) -> None:
    begin(actor, points, "node1", Point.PRE_COPY)
    for operation in ("PauseVirtualMachine", "ResumeVirtualMachine"):
        with pytest.raises(RefusalError) as refused:
            actor.cluster.call(operation, vm=actor.name)
        assert refused.value.status is Status.ERROR_INVALID_STATE
    points.release()
    actor.wait("has moved", node="node2", vm=VmState.RUNNING, qemus=["node2"])
    actor.cluster.call("PauseVirtualMachine", vm=actor.name)
    actor.wait("is paused", vm=VmState.PAUSED)
    actor.cluster.call("ResumeVirtualMachine", vm=actor.name)
    actor.wait_beats("node2")


# --- when it runs at its destination, and the move is not over -----------------------------------------------------


def test_one_that_shuts_down_as_soon_as_it_has_arrived_is_off_there(actor: Actor, points: Points) -> None:
    begin(actor, points, "node2", Point.MARKED)
    actor.wait_beats("node2")
    actor.tell(OFF)
    silent = actor.cluster.serial_log(actor.name, "node2")
    actor.cluster.wait(lambda: not actor.watch.wait_beats(1, 1.0, silent), 60, "it counts no more")
    points.release()
    actor.wait("is off there", node="node2", vm=VmState.OFF, resource=ResourceState.OFFLINE, qemus=[])
    assert actor.starts() == 1


def test_one_that_crashes_as_soon_as_it_has_arrived_is_started_again_there(actor: Actor, points: Points) -> None:
    begin(actor, points, "node2", Point.MARKED)
    actor.wait_beats("node2")
    actor.tell(CRASH)
    silent = actor.cluster.serial_log(actor.name, "node2")
    actor.cluster.wait(lambda: not actor.watch.wait_beats(1, 1.0, silent), 60, "it counts no more")
    points.release()
    actor.cluster.wait(lambda: actor.starts() == 2, 60, "it is started again")
    actor.wait("runs there", node="node2", vm=VmState.RUNNING, resource=ResourceState.ONLINE, qemus=["node2"])


# --- while no daemon is there ----------------------------------------------------------------------------------------


def test_one_that_shuts_down_while_its_source_has_no_daemon_is_off_where_it_was(actor: Actor, points: Points) -> None:
    begin(actor, points, "node1", Point.PRE_COPY)
    actor.ends_without_daemon(OFF, "node1")
    points.release()
    check_end(actor, "node1", OFF)
    assert not actor.migration().is_under_way


@pytest.mark.parametrize("order", [OFF, CRASH], ids=["off", "crash"])
def test_one_that_ends_where_it_has_arrived_while_no_daemon_is_there(
    actor: Actor, points: Points, order: bytes
) -> None:
    begin(actor, points, "node2", Point.MARKED)
    actor.wait_beats("node2")
    actor.ends_without_daemon(order, "node2")
    points.release()
    check_end(actor, "node2", order)


def check_end(actor: Actor, node: str, order: bytes) -> None:
    """One that has shut down is off, and one that has crashed is started again; once, and there."""
    if order == OFF:
        actor.wait("is off there", node=node, vm=VmState.OFF, resource=ResourceState.OFFLINE, qemus=[])
        assert actor.starts() == 1
        return
    actor.cluster.wait(lambda: actor.starts() == 2, 60, "it is started again")
    actor.wait("runs there", node=node, vm=VmState.RUNNING, resource=ResourceState.ONLINE, qemus=[node])
    actor.wait_beats(node)
