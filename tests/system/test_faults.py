"""Every fault in every phase of a live migration, as docs/faults.md has them, on real processes.

The cells are independent and mostly wait, so that several clusters work on them at a time. `-k` chooses cells.
"""

import os
import queue
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.system.fault_lab import LIMIT, SOURCE, Lab, lab
from tests.system.fault_table import PHASES, Cell, read_cells
from tests.system.soak import Rounds, soaking

from quorate.clusapi.json_types import json_int
from quorate.clusapi.states import VmState
from quorate.hypervisor.serial_watch import SerialWatch

REPETITIONS = 3 if soaking() else 1
LANES = int(os.environ.get("QUORATE_FAULT_LANES", "6"))
"""Clusters at work at a time."""
PATIENCE = 1800.0
CELLS = read_cells()
ROUNDS = Rounds("faults", REPETITIONS * len(CELLS))
SIDES = ("source", "destination")

Job: TypeAlias = tuple[Cell, int]
"""A cell, and which of its rounds."""


def number_of(cell: Cell, round_: int) -> int:
    """A repetition of a cell as a round of the soak."""
    return round_ * len(CELLS) + CELLS.index(cell)


def is_done(cell: Cell, round_: int) -> bool:
    """Answer whether an earlier call of the soak came through it."""
    return soaking() and ROUNDS.is_done(number_of(cell, round_))


class Bench:
    """Works on cells in several clusters; each cell's result is there to be waited for."""

    def __init__(self, directory: Path, jobs: list[Job]) -> None:
        self._directory = directory
        self._queue: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._ending = threading.Event()
        self.results: dict[Job, Future[None]] = {job: Future() for job in jobs}
        for job in jobs:
            self._queue.put(job)
        self._lanes = [threading.Thread(target=self._work, args=(n,), name=f"lane {n}") for n in range(LANES)]

    def start(self) -> None:
        for lane in self._lanes:
            lane.start()

    def stop(self) -> None:
        self._ending.set()
        for lane in self._lanes:
            lane.join()

    def _work(self, number: int) -> None:
        """Take cells until none is left; after a failure go on with a cluster that has seen nothing."""
        attempt = 0
        while not self._ending.is_set() and not self._queue.empty():
            attempt += 1
            try:
                with lab(self._directory / f"{number}-{attempt}") as here:
                    self._work_in(here)
            except BaseException as error:  # noqa: BLE001 - no cluster: somebody has to tell it
                for job in self._jobs():
                    self.results[job].set_exception(error)
                    break

    def _work_in(self, here: Lab) -> None:
        for job in self._jobs():
            try:
                here.run(job[0], str(job[0]))
            except BaseException as error:  # noqa: BLE001 - told to the test that waits for it
                self.results[job].set_exception(error)
                return
            self.results[job].set_result(None)

    def _jobs(self) -> Iterator[Job]:
        while not self._ending.is_set():
            try:
                yield self._queue.get_nowait()
            except queue.Empty:
                return


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    chosen = [
        (cell, round_)
        for item in request.session.items
        if item.path == request.path and isinstance(item, pytest.Function) and hasattr(item, "callspec")
        for cell, round_ in ((item.callspec.params["cell"], item.callspec.params["round_"]),)
        if isinstance(cell, Cell) and isinstance(round_, int) and not is_done(cell, round_)
    ]
    made = Bench(tmp_path_factory.mktemp("faults"), chosen)
    made.start()
    yield made
    made.stop()


def test_the_document_names_an_outcome_for_every_fault_in_every_phase() -> None:
    faults = [(s, side, v, False) for s in ("kill -9", "SIGSTOP") for side in SIDES for v in ("QEMU", "daemon")]
    faults += [("kill -9", side, "guard", False) for side in SIDES] + [("power cut", s, "node", False) for s in SIDES]
    faults += [("kill -9", "source", "daemon", True), ("silence", "cluster", "database", False)]
    found = {(cell.signal, cell.side, cell.victim, cell.away, cell.phase) for cell in CELLS}
    assert found == {(*fault, phase) for fault in faults for phase in PHASES}
    assert len(found) == len(CELLS)


@pytest.mark.soak
@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("round_", range(REPETITIONS))
def test_what_comes_out_is_what_was_expected(bench: Bench, cell: Cell, round_: int) -> None:
    if is_done(cell, round_):
        pytest.skip(f"done by an earlier call: {ROUNDS.path}")
    bench.results[cell, round_].result(PATIENCE)
    if soaking():
        ROUNDS.note_done(number_of(cell, round_))


def test_a_mute_qemu_does_not_keep_its_node_from_coming_back(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        cluster = here.cluster
        mute, other = "mute", "other"
        for name in (mute, other):
            cluster.create_builtin(name, "64M")
        cluster.set_lease(60)
        pid = here.qemu_of(mute, SOURCE)
        os.kill(pid, signal.SIGSTOP)
        try:
            os.kill(cluster.daemon_pid(SOURCE), signal.SIGKILL)
            here.wait_for_daemons()
            cluster.call("OfflineGroup", group=other)
            cluster.wait(lambda: cluster.vm_state(other) is VmState.SAVED, LIMIT, f"{other} is saved")
            assert here.qemu_of(mute, SOURCE) == pid, "nothing is concluded from silence"
        finally:
            os.kill(pid, signal.SIGCONT)
        with SerialWatch(cluster.serial_log(mute, SOURCE)) as watch:
            cluster.wait(lambda: json_int(cluster.vm(mute), "pid") == pid, LIMIT, f"{mute} is adopted")
            assert watch.wait_beats(20, LIMIT)
            assert watch.report().continuous
