"""How fast a live migration is, in ratios to what QEMU does by itself, and how soon a guest is back; ``make bench``.

Raw QMP migrations and ours of the same guests take turns in one run, so that whatever else the machine does hits all of
them. Last comes the comparison of the simulator with QEMU (`agreement.py`), which has a page of its own. Exit code 0:
every target was reached; 1: not every one, or something went wrong.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.system.pocket_cluster import PocketCluster, pocket_cluster

from bench import agreement, failover, machine, report, small, wire
from bench.guests import WORKLOADS, Workload, pin
from bench.measured import Migration
from bench.ours import NODES, WAY, OurMigrations
from bench.raw import WAYS, RawMigrations
from quorate.clusapi.errors import ClusterError
from quorate.hypervisor.pinned import Pinned

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENT: Final = ROOT / "docs" / "benchmarks.md"
RECORDS: Final = ROOT / "build" / "bench"
RUNS: Final = 5
QUICK_RUNS: Final = 1
ROUNDS: Final = 3
"""How often each thing dies."""
FAILOVER: Final = "failover"
PATIENCE: Final = 20.0
"""Seconds that a run waits for a quiet moment; then it goes on all the same, and says how busy the machine was."""
TIMES: Final = 10
"""How often each call is made for the small figures."""
BLOCKS: Final = 7
"""How many blocks of calls over the wire are made of each kind."""
WIRE: Final = "wire"
AGREEMENT: Final = "agreement"
REST: Final = 20.0
QUICK_REST: Final = 5.0
"""Seconds for which the daemons are watched at rest."""

Way = Callable[[int, float], Migration]


def main() -> int:
    """Run the benchmark."""
    arguments = _arguments(sys.argv[1:])
    if arguments.only == AGREEMENT:
        return 0 if agreement.run() else 1
    workloads = [workload for workload in WORKLOADS if arguments.only in (None, workload.name)]
    patience = 0.0 if arguments.quick else PATIENCE
    with tempfile.TemporaryDirectory(prefix="qb-") as name:
        directory = Path(name)
        pinned = {workload: pin(workload, directory / "accelerator") for workload in (*workloads, failover.GUEST)}
        examined = machine.examine(pinned[failover.GUEST].accelerator.value)
        figures: tuple[small.Figure, ...] = ()
        made: list[Migration] = []
        failures: list[str] = []
        if workloads:
            with pocket_cluster(directory / "cluster", len(NODES)) as cluster:
                rest = QUICK_REST if arguments.quick else REST
                figures = () if arguments.only else small.measure(cluster, times=TIMES, rest=rest)
                plan = _Plan(cluster, directory, arguments.runs, patience)
                for workload in workloads:
                    plan.measure(workload, pinned[workload])
            made, failures = plan.made, plan.failures
        failovers = failover.Failovers()
        if arguments.only in (None, FAILOVER):
            failovers = _failovers(
                directory, pinned[failover.GUEST], QUICK_RUNS if arguments.quick else ROUNDS, patience
            )
        calls: tuple[small.Figure, ...] = ()
        if arguments.only in (None, WIRE):
            calls = wire.measure(directory / "wire", QUICK_RUNS if arguments.quick else BLOCKS, patience)
    command = shlex.join(["python", "-m", "bench.run", *sys.argv[1:]])
    results = report.Results(command, examined, tuple(made), tuple(failures), figures, failovers, calls)
    code = _tell(results, for_document=not (arguments.only or arguments.quick))
    return code if arguments.only or arguments.quick or agreement.run() else 1


def _failovers(directory: Path, pinned: Pinned, rounds: int, patience: float) -> failover.Failovers:
    reason = failover.why_not()
    if reason is not None:
        print(f"no failover is measured: {reason}", flush=True)
        return failover.Failovers()
    return failover.measure(directory, pinned, rounds, patience)


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.run", description="Measure live migrations against raw QMP, and failovers."
    )
    parser.add_argument("--runs", type=int, metavar="N", help=f"migrations of each guest in each way (default {RUNS})")
    only = [*(workload.name for workload in WORKLOADS), FAILOVER, WIRE, AGREEMENT]
    parts = "the migrations of one guest, the failovers, the wire, or the simulator against QEMU"
    parser.add_argument("--only", choices=only, help=parts)
    parser.add_argument("--quick", action="store_true", help="once each, at once; the document stays as it is")
    found = parser.parse_args(given)
    found.runs = found.runs or (QUICK_RUNS if found.quick else RUNS)
    return found


class _Plan:
    """Makes the migrations in turns and keeps what came of them."""

    def __init__(self, cluster: PocketCluster, directory: Path, runs: int, patience: float) -> None:
        self._cluster = cluster
        self._directory = directory
        self._runs = runs
        self._patience = patience
        self.made: list[Migration] = []
        self.failures: list[str] = []

    def measure(self, workload: Workload, pinned: Pinned) -> None:
        """Migrate one guest again and again: raw, ours, raw, ours…"""
        ours = OurMigrations(self._cluster, workload)
        ours.create()
        raw = RawMigrations(workload, pinned, self._directory / "raw", self._directory / "rt")
        ways: dict[str, Way] = {way: lambda number, busy, way=way: raw.run(way, number, busy) for way in WAYS}  # type: ignore[misc]
        ways[WAY] = ours.run
        for number in range(1, self._runs + 1):
            for way, migrate in ways.items():
                self._once(workload, way, number, migrate)

    def _once(self, workload: Workload, way: str, number: int, migrate: Way) -> None:
        busy = machine.wait_quiet(self._patience)
        try:
            migration = migrate(number, busy)
        except (ClusterError, AssertionError, OSError, RuntimeError) as error:
            self.failures.append(f"{workload.name} {way} #{number}: {error}")
            print(f"{self.failures[-1].splitlines()[0]}", flush=True)
            return
        self.made.append(migration)
        print(report.line(migration), flush=True)


def _tell(results: report.Results, *, for_document: bool) -> int:
    figures = report.markdown(results)
    print("\n" + figures)
    print(f"JSON lines: {report.write_records(RECORDS, report.records(results)).relative_to(ROOT)}")
    if for_document:
        report.rewrite(DOCUMENT, figures)
        print(f"written into {DOCUMENT.relative_to(ROOT)}")
    return 0 if all(verdict.is_met for verdict in results.verdicts()) else 1


if __name__ == "__main__":
    sys.exit(main())
