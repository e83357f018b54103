"""Whether the simulator tells what QEMU does: six guests are moved over a link of 1 Gb/s, and each move is forecast.

    .venv/bin/python -m bench.agreement                 # some four minutes; writes docs/simulator-agreement.md
    .venv/bin/python -m bench.agreement --only fast     # one guest; the page stays as it is

The nodes are machines that are network namespaces (tests/system/machines); between them is one link for everything,
limited by the kernel (`limited_link.py`). The engine moves the guest. Just before, the speed of the link is measured
with a plain TCP connection, and how fast the guest writes by its beats: it writes so many pages per beat. With these
figures, and no others, the simulator plays the same move. A move that was disturbed is made again. Exit code 0: every
guest agrees; 1: not every one, or something went wrong.
"""

import argparse
import os
import select
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.system.machines.machine_cluster import MachineCluster, machines

from bench import agreement_report, forecast, limited_link, machine
from bench.forecast import Move
from bench.guests import MIB, Workload, pin
from bench.ours import figures_in
from quorate.client.functions import ClusterResourceControl, OpenCluster, OpenClusterResource
from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.json_types import JsonObject, json_int, json_object, json_text
from quorate.clusapi.states import MigrationState
from quorate.hypervisor.definition import BuiltinGuest
from quorate.hypervisor.guest_model import GuestModel
from quorate.hypervisor.serial_watch import Line, SerialWatch

BEAT_HZ: Final = 250
SOURCE, DESTINATION = "node1", "node2"
LISTEN: Final = 2.0
"""Seconds over which the guest's writing is measured before the move."""
LISTEN_ON: Final = 0.3
TRIES: Final = 3
BUDGET: Final = 270.0
"""Seconds after which nothing is tried again."""
SAME_BEAT: Final = 0.02
"""By what share the guest may beat otherwise during the move than before, or else it was disturbed."""
SAME_LINK: Final = 0.05
"""The same of the link's speed after the move and before it."""
PREFERRED: Final = -10
"""The niceness of what measures."""
_LOOK: Final = 0.1
_LOOK_SOON: Final = 0.01
_PATIENCE: Final = 120.0
_PAGE: Final = 4096


@dataclass(frozen=True, slots=True)
class Case:
    """A guest that is moved."""

    workload: Workload
    counts: bool = True
    """Its passes are judged: it writes so much that a pass is one."""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.workload.name

    @property
    def bytes_per_beat(self) -> float:
        """What it writes at each beat, as `hypervisor/builtin_guest.py` reckons."""
        guest = self.workload.guest
        return round(guest.dirty_bytes_per_second * 65536 / (_PAGE * guest.beat_hz)) * _PAGE / 65536

    def model(self, beats_per_second: float) -> GuestModel:
        """Give the guest as a migration sees it."""
        guest, memory = self.workload.guest, self.workload.memory_bytes
        zero = memory - guest.fill_bytes - guest.dirty_bytes
        return GuestModel(memory, zero, guest.dirty_bytes, self.bytes_per_beat * beats_per_second)


def _case(name: str, memory: int, filled: int, written: int, rate: int, *, counts: bool = True) -> Case:
    """Make a case of so many MiB: of memory, filled and left alone, written to; at so many MB/s."""
    guest = BuiltinGuest(
        beat_hz=BEAT_HZ,
        fill_bytes=filled * MIB,
        dirty_bytes=written * MIB,
        dirty_bytes_per_second=rate * 1_000_000,
    )
    does = f"{written} MiB of it rewritten at {rate} MB/s" if rate else "nothing written"
    return Case(Workload(name, f"{memory} MiB, {filled + written} MiB filled, {does}", memory * MIB, guest), counts)


CASES: Final = (
    _case("small", 256, 128, 16, 10),
    _case("large", 1024, 640, 32, 3),
    _case("slow", 512, 300, 32, 20),
    _case("fast", 512, 256, 64, 60),
    _case("faster", 1024, 512, 128, 80),
    _case("too fast", 512, 256, 128, 150),
    _case("idle", 256, 128, 0, 0, counts=False),
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One move, what was measured around it, and what the simulator says of it. Rates are bytes per second."""

    name: str
    number: int
    link: float
    link_after: float
    dirtied: float
    """Bytes that the guest wrote per second before the move."""
    dirtied_during: float
    beat_ratio: float
    """How often the guest beat while it was copied, to before."""
    measured: Move
    predicted: Move
    busy: float
    """Share of the machine that others used before."""
    faults: tuple[str, ...] = ()
    """What speaks against the guest having lived on unharmed."""

    @property
    def is_disturbed(self) -> bool:
        """Tell whether the guest or the link were not what they had been measured to be."""
        other_link = abs(self.link_after / self.link - 1) > SAME_LINK
        return other_link or abs(self.beat_ratio - 1) > SAME_BEAT


@dataclass(slots=True)
class Agreement:
    """What was found."""

    attempts: list[Attempt] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def last_of(self, case: Case) -> Attempt | None:
        """Give the move that counts: the last one."""
        return next((one for one in reversed(self.attempts) if one.name == case.name), None)


def main() -> int:
    """Run it by itself."""
    parser = argparse.ArgumentParser(prog="python -m bench.agreement", description="Compare the simulator with QEMU.")
    parser.add_argument("--only", choices=[case.name for case in CASES], help="one guest; the page stays as it is")
    only = parser.parse_args().only
    cases = tuple(case for case in CASES if only in (None, case.name))
    return 0 if run(cases, for_document=only is None) else 1


def run(cases: Sequence[Case] = CASES, *, for_document: bool = True) -> bool:
    """Move every guest, tell, and write the page; answers whether all agree."""
    reason = limited_link.why_not()
    if reason is not None:
        print(f"the simulator is not compared with QEMU: {reason}", flush=True)
        return True
    with tempfile.TemporaryDirectory(prefix="qa-") as name:
        directory = Path(name)
        accelerator = pin(cases[0].workload, directory / "accelerator").accelerator.value
        examined = machine.examine(accelerator)
        with machines(directory / "machines") as cluster:
            found = measure(cluster, cases)
    return agreement_report.tell(examined, cases, found, for_document=for_document)


def measure(cluster: MachineCluster, cases: Sequence[Case]) -> Agreement:
    """Move every guest in a cluster that is up."""
    found = Agreement()
    began = time.monotonic()
    for node in (SOURCE, DESTINATION):
        limited_link.limit(cluster.machine(node))
    with _preferred():
        for case in cases:
            for number in range(1, TRIES + 1):
                if not _once(cluster, case, number, found) or time.monotonic() - began > BUDGET:
                    break
    return found


@contextmanager
def _preferred() -> Iterator[None]:
    """Come before whatever else the machine does: who hears late hears a gap that was none."""
    niceness, group = os.getpriority(os.PRIO_PROCESS, 0), Path("/proc/self/autogroup")
    before = group.read_text(encoding="ascii").split()[-1] if group.exists() else ""
    os.setpriority(os.PRIO_PROCESS, 0, PREFERRED)
    try:
        if before:
            group.write_text(str(PREFERRED), encoding="ascii")
        yield
    finally:
        if before:
            group.write_text(before, encoding="ascii")
        os.setpriority(os.PRIO_PROCESS, 0, niceness)


def _once(cluster: MachineCluster, case: Case, number: int, found: Agreement) -> bool:
    """Move a guest once; answers whether it has to be done again."""
    try:
        attempt = _Mover(cluster, case, number).move()
    except (ClusterError, AssertionError, OSError, RuntimeError) as error:
        found.failures.append(f"{case.name} #{number}: {error}")
        print(found.failures[-1].splitlines()[0], flush=True)
        return True
    found.attempts.append(attempt)
    print(agreement_report.line(attempt), flush=True)
    return attempt.is_disturbed


class _Mover:
    """Starts a guest, moves it once, and deletes it."""

    def __init__(self, cluster: MachineCluster, case: Case, number: int) -> None:
        self._cluster = cluster
        self._case = case
        self._name = f"{case.workload.definition().name.replace(' ', '-')}-{number}"
        self._number = number
        self._source = cluster.machine(SOURCE)
        self._destination = cluster.machine(DESTINATION)

    def move(self) -> Attempt:
        """Do all of it."""
        cluster, case = self._cluster, self._case
        definition = {**case.workload.to_json(), "name": self._name}
        cluster.call("CreateVirtualMachine", name=self._name, definition=definition, node=SOURCE)
        try:
            logs = [cluster.serial_log(cluster.vm_id(self._name), node) for node in (SOURCE, DESTINATION)]
            with SerialWatch(*logs) as watch:
                return self._watched(watch, logs)
        finally:
            cluster.remove_vm(self._name)

    def _watched(self, watch: SerialWatch, logs: Sequence[Path]) -> Attempt:
        cluster, case = self._cluster, self._case
        cluster.call("OnlineGroup", group=self._name)
        if not watch.wait_beats(BEAT_HZ, _PATIENCE):
            raise TimeoutError(f"{self._name} is not heard{cluster.last_words()}")
        busy = machine.busy_share()
        for one in cluster.fabric.machines.values():
            one.prefer()
        link = limited_link.measure(self._source, self._destination)
        listened = time.monotonic()
        time.sleep(LISTEN)
        before = _rate(_beats(watch, listened, time.monotonic()))
        requested, ended, moved = self._migrate()
        failure = "" if moved else json_text(self._progress(), "sentence")
        passes = self._passes(moved)
        time.sleep(LISTEN_ON)
        report = watch.report(requested)
        beats = _beats(watch, requested, time.monotonic())
        ended = max(ended, next((beat.at for beat in beats if beat.source == logs[1]), 0.0))
        during = _rate([beat for beat in beats if beat.source == logs[0]])
        gap = max(after.at - last.at for last, after in pairwise(beats)) if moved else 0.0
        checks = [
            (report.continuous, "it did not live on unharmed"),
            (moved == (report.turns[-1] == logs[1]), "it does not run where it should"),
        ]
        return Attempt(
            name=case.name,
            number=self._number,
            link=link,
            link_after=limited_link.measure(self._source, self._destination),
            dirtied=case.bytes_per_beat * before,
            dirtied_during=case.bytes_per_beat * during,
            beat_ratio=during / before,
            measured=Move(ended - requested, passes, gap, failure),
            predicted=forecast.forecast(case.model(before), link),
            busy=busy,
            faults=tuple(sentence for holds, sentence in checks if not holds),
        )

    def _migrate(self) -> tuple[float, float, bool]:
        """Ask for the move and wait for its end; give when it was asked for, when it ended, and whether it came off."""
        log = self._log()
        self._log_before = log.stat().st_size
        pidfd = os.pidfd_open(json_int(self._cluster.vm(self._name), "pid"))
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        resource = OpenClusterResource(OpenCluster(str(self._cluster.directory)), f"Virtual Machine {self._name}")
        try:
            requested = time.monotonic()
            where = f"{DESTINATION}\0".encode("utf-16-le")
            status, _, _ = ClusterResourceControl(resource, None, CLUSCTL_RESOURCE_VM_START_MIGRATION, where)
            if status:
                raise RuntimeError(f"START_MIGRATION answered {status}")
            is_copying = False
            while not poll.poll(1000 * (_LOOK if is_copying else _LOOK_SOON)):
                if not is_copying:
                    self._destination.prefer()  # the QEMU that waits there is a new one
                progress = self._progress()
                is_copying = bool(json_int(progress, "passes"))
                if json_int(progress, "migration_state") == MigrationState.FAILURE:
                    return requested, time.monotonic(), False
                if time.monotonic() - requested > _PATIENCE:
                    raise TimeoutError(f"the move does not end{self._cluster.last_words()}")
            return requested, time.monotonic(), True
        finally:
            os.close(pidfd)

    def _progress(self) -> JsonObject:
        return json_object(self._cluster.vm(self._name), "migration")

    def _log(self) -> Path:
        return self._cluster.state(SOURCE) / "daemon.log"

    def _passes(self, moved: bool) -> int:
        """Read how many passes the source's brain saw."""
        if not moved:
            return json_int(self._progress(), "passes")

        def told() -> JsonObject:
            return figures_in(self._log(), self._log_before, "migration figures")

        self._cluster.wait(lambda: bool(told()), _PATIENCE, "the daemon tells its figures")
        return json_int(told(), "passes")


def _beats(watch: SerialWatch, since: float, until: float) -> list[Line]:
    return [line for line in watch.lines if line.count is not None and since <= line.at <= until]


def _rate(beats: Sequence[Line]) -> float:
    """Give the beats per second that the guest counted."""
    if len(beats) < BEAT_HZ // 2:
        raise RuntimeError("the guest was hardly heard")
    first, last = beats[0], beats[-1]
    assert first.count is not None, "it is a beat"
    assert last.count is not None, "it is a beat"
    return (last.count - first.count) / (last.at - first.at)


if __name__ == "__main__":
    sys.exit(main())
