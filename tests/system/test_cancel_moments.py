"""CANCEL at random moments of real moves, from before they begin until after they are over.

Whatever the moment is: the guest never stops counting, one QEMU is left, on the source if CANCEL was answered 0 and on
the destination if it was too late, the answer comes within a second, and nothing is left behind.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from tests.system.fault_sight import Found, Sight
from tests.system.leftovers import look
from tests.system.pocket_cluster import PocketCluster, pocket_cluster
from tests.system.soak import Rounds, soaking
from tests.system.start_cancel_rig import cancel, start
from tests.waiting import slowness

from quorate.client.functions import OpenCluster, OpenClusterResource
from quorate.clusapi.json_types import json_text
from quorate.clusapi.states import MigrationState
from quorate.hypervisor.serial_watch import SerialWatch

MOMENTS: Final = 200 if soaking() else 20
ROUNDS: Final = Rounds("cancel-moments", MOMENTS)
ANSWER: Final = 1.0
"""Seconds within which CANCEL must be answered."""
LONGER: Final = 1.2
"""The moments reach so far beyond the end of a move that was left alone, in its lengths."""
BEATS: Final = 5
"""Counts after which a guest is known to live on: a twentieth of a second."""
SPARE_FILES: Final = 6
"""Open files by which the daemons may differ between two looks: connections that come and go."""
NODES: Final = ("node1", "node2")
MIB: Final = 1 << 20
GUESTS: Final = {
    "calm": {"fill_bytes": 64 * MIB, "dirty_bytes": 4 * MIB, "dirty_bytes_per_second": 8 * MIB},
    "busy": {"fill_bytes": 96 * MIB, "dirty_bytes": 64 * MIB, "dirty_bytes_per_second": 400 * MIB},
}


@dataclass(slots=True)
class Moved:
    """A guest, and what is known of its moves."""

    name: str
    vm_id: str
    watch: SerialWatch
    length: float = 0.0
    """Seconds that its last move took which was left alone."""


class Moves:
    """Guests that are moved to and fro between two nodes."""

    def __init__(self, cluster: PocketCluster) -> None:
        self.cluster = cluster
        self.handle = OpenCluster(str(cluster.directory))
        self.sight = Sight(cluster)
        self.guests: list[Moved] = []

    def create(self, name: str, guest: dict[str, int]) -> None:
        self.cluster.create_builtin(name, "192M", start=True, **guest)
        watch = SerialWatch(*(self.cluster.serial_log(name, node) for node in NODES), poll=0.004).start()
        moved = Moved(name, json_text(self.cluster.vm(name), "vm"), watch)
        self.guests.append(moved)
        assert watch.wait_beats(BEATS, 60)

    def look(self, guest: Moved) -> Found:
        return self.sight.look(guest.name, guest.vm_id)

    def begin(self, guest: Moved) -> tuple[object, str, str]:
        """Start a move to the other node; the handle of the VM, where it is, and where it goes."""
        source = self.look(guest).owner
        destination = next(node for node in NODES if node != source)
        vm = OpenClusterResource(self.handle, f"Virtual Machine {guest.name}")
        assert start(vm, destination) == 0
        return vm, source, destination

    def wait_settled(self, guest: Moved) -> Found:
        self.cluster.wait(lambda: self.look(guest).is_settled, 30, f"{guest.name} has settled: {self.look(guest)}")
        return self.look(guest)

    def leave_alone(self, guest: Moved) -> None:
        """Move it, and note how long that takes."""
        began = time.monotonic()
        _, _, destination = self.begin(guest)
        self.cluster.wait(
            lambda: self.look(guest).owner == destination and self.look(guest).is_settled, 60, f"{guest.name} moves"
        )
        guest.length = time.monotonic() - began

    def close(self) -> None:
        for guest in self.guests:
            guest.watch.stop()
        self.sight.close()


@pytest.fixture
def moves(tmp_path: Path) -> Iterator[Moves]:
    with pocket_cluster(tmp_path, len(NODES), lease=60) as cluster:
        made = Moves(cluster)
        try:
            for name, guest in GUESTS.items():
                made.create(name, guest)
            yield made
        finally:
            made.close()


def cancel_at(moves: Moves, guest: Moved, moment: float) -> str:
    """Start a move, cancel it after so many seconds, and check what came out; says in which state it was cancelled."""
    began = time.monotonic()
    vm, source, destination = moves.begin(guest)
    time.sleep(max(0.0, began + moment - time.monotonic()))
    asked = time.monotonic()
    status = cancel(vm)
    took = time.monotonic() - asked
    where = f"{guest.name}, cancelled {moment:.3f} s after the start of a move of {guest.length:.3f} s: {status}"
    assert status in (0, 5023), where
    assert took <= ANSWER * slowness(), f"{where} after {took:.2f} s"
    found = moves.wait_settled(guest)
    expected = (source, MigrationState.CANCELED) if status == 0 else (destination, MigrationState.NO_MIGRATION)
    assert (found.owner, found.migration_state) == expected, f"{where}: {found}"
    assert guest.watch.wait_beats(BEATS, 60, moves.cluster.serial_log(guest.name, found.owner)), where
    report = guest.watch.report()
    assert report.continuous, f"{where}: {report}"
    return "cancelled" if status == 0 else "too late"


@pytest.mark.soak
def test_cancel_at_any_moment_leaves_one_guest_and_nothing_else(moves: Moves) -> None:
    for guest in moves.guests:
        moves.leave_alone(guest)
    before = look(moves.cluster)
    came_out: Counter[str] = Counter()
    for number in range(MOMENTS):
        if soaking() and ROUNDS.is_done(number):
            continue
        chance = ROUNDS.random(number)
        print(f"moment {number + 1} of {MOMENTS}, QUORATE_SOAK_SEED={ROUNDS.seed(0)}")
        guest = chance.choice(moves.guests)
        # Each moment has its own part of the whole length, so that all of it is tried however few there are.
        share = (number + chance.random()) / MOMENTS
        came_out[cancel_at(moves, guest, share * LONGER * guest.length)] += 1
        if soaking():
            ROUNDS.note_done(number)
    print(dict(came_out))
    assert soaking() or came_out["cancelled"], "the earliest moment came too late"
    after = look(moves.cluster)
    assert after.processes == before.processes
    assert sum(after.descriptors.values()) <= sum(before.descriptors.values()) + SPARE_FILES, after.descriptors


@pytest.mark.soak
def test_cancel_while_another_move_is_cancelled(moves: Moves) -> None:
    """Two moves at a time, of which one waits in the queue for the other's place."""
    for guest in moves.guests:
        moves.leave_alone(guest)
    for number in range(MOMENTS // 10):
        chance = random.Random(ROUNDS.seed(number))
        print(f"pair {number + 1}, QUORATE_SOAK_SEED={ROUNDS.seed(0)}")
        begun = [(guest, *moves.begin(guest)) for guest in chance.sample(moves.guests, 2)]
        time.sleep(chance.random() * LONGER * begun[0][0].length)
        answers = {guest.name: cancel(vm) for guest, vm, _, _ in chance.sample(begun, 2)}
        for guest, _, source, destination in begun:
            found = moves.wait_settled(guest)
            status = answers[guest.name]
            assert found.owner == (source if status == 0 else destination), f"{guest.name}, {status}: {found}"
            assert guest.watch.wait_beats(BEATS, 60)
            assert guest.watch.report().continuous
