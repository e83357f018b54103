"""How fast a live migration is, in ratios to what QEMU does by itself, and how soon a guest is back; ``make bench``.

Raw QMP migrations and ours of the same guests take turns in one run, so that whatever else the machine does hits all of
them. Last comes the comparison of the simulator with QEMU (`agreement.py`), which has a page of its own. Exit code 0:
every target was reached; 1: not every one, or something went wrong.
"""

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.system.pocket_cluster import pocket_cluster

from bench import agreement, failover, machine, matrix, ownership, plot, report, small, wire
from bench.guests import WORKLOADS, Workload, pin
from bench.ours import NODES
from bench.tables import rewrite, write_records
from quorate.hypervisor.pinned import Pinned

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENT: Final = ROOT / "docs" / "benchmarks.md"
PLOT: Final = ROOT / "docs" / "benchmarks.svg"
RECORDS: Final = ROOT / "build" / "bench"
QUICK_RUNS: Final = 1
ROUNDS: Final = 3
"""How often each thing dies."""
PATIENCE: Final = 20.0
"""Seconds that a run waits for a quiet moment; then it goes on all the same, and says how busy the machine was."""
TIMES: Final = 10
"""How often each call is made for the small figures."""
BLOCKS: Final = 7
"""How many blocks of calls over the wire are made of each kind."""
MATRIX, OWNERSHIP, FAILOVER, WIRE, AGREEMENT = "matrix", "ownership", "failover", "wire", "agreement"
REST: Final = 20.0
QUICK_REST: Final = 5.0
"""Seconds for which the daemons are watched at rest."""


def main() -> int:
    """Run the benchmark."""
    arguments = _arguments(sys.argv[1:])
    only = arguments.only
    if only == AGREEMENT:
        return 0 if agreement.run() else 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qb-") as name:
        results = _measure(arguments, Path(name))
    is_whole = not (only or arguments.quick)
    code = _tell(results, for_document=is_whole)
    if is_whole and not agreement.run():
        code = 1
    print(f"it took {(time.monotonic() - began) / 60:.1f} minutes")
    return code


def _measure(arguments: argparse.Namespace, directory: Path) -> report.Results:
    only, is_quick, runs = arguments.only, arguments.quick, arguments.runs
    patience = 0.0 if is_quick else PATIENCE
    workloads = [workload for workload in WORKLOADS if only in (None, MATRIX, workload.name)]
    pinned = {workload: pin(workload, directory / "accelerator") for workload in (*workloads, failover.GUEST)}
    results = report.Results(
        command=shlex.join(["python", "-m", "bench.run", *sys.argv[1:]]),
        machine=machine.examine(pinned[failover.GUEST].accelerator.value),
    )
    if workloads:
        _measure_pocket(results, directory, pinned, workloads, arguments)
    if only in (None, OWNERSHIP):
        results.etcd = ownership.measure(directory / "etcd", runs, patience)
    rounds = QUICK_RUNS if is_quick else ROUNDS
    if only in (None, FAILOVER) and (reason := failover.why_not()) is not None:
        print(f"no failover is measured: {reason}", flush=True)
    elif only in (None, FAILOVER):
        results.failovers = failover.measure(directory, pinned[failover.GUEST], rounds, patience)
    if only in (None, WIRE):
        results.wire = wire.measure(directory / "wire", QUICK_RUNS if is_quick else BLOCKS, patience)
    return results


def _measure_pocket(
    results: report.Results,
    directory: Path,
    pinned: Mapping[Workload, Pinned],
    workloads: Sequence[Workload],
    arguments: argparse.Namespace,
) -> None:
    """Measure what a pocket cluster of two nodes shows: the small figures, and the matrix."""
    with pocket_cluster(directory / "cluster", len(NODES)) as cluster:
        if not arguments.only:
            rest = QUICK_REST if arguments.quick else REST
            results.small = small.measure(cluster, times=TIMES, rest=rest)
        plan = matrix.Plan(cluster, directory, arguments.runs, 0.0 if arguments.quick else PATIENCE)
        results.matrix = plan.measure(pinned, workloads)


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.run", description="Measure live migrations against raw QMP, and failovers."
    )
    times = f"migrations of each guest in each way (default {matrix.RUNS})"
    parser.add_argument("--runs", type=int, metavar="N", help=times)
    only = [MATRIX, *(workload.name for workload in WORKLOADS), OWNERSHIP, FAILOVER, WIRE, AGREEMENT]
    parts = (
        "all migrations, those of one guest, the ownership change on etcd, the failovers, the wire, or the simulator "
        "against QEMU; the document stays as it is"
    )
    parser.add_argument("--only", choices=only, help=parts)
    parser.add_argument("--quick", action="store_true", help="once each, at once; the document stays as it is")
    found = parser.parse_args(given)
    found.runs = found.runs or (QUICK_RUNS if found.quick else matrix.RUNS)
    return found


def _tell(results: report.Results, *, for_document: bool) -> int:
    figures, picture = report.markdown(results), plot.draw(results.compared)
    print("\n" + figures)
    kept = write_records(RECORDS, report.records(results))
    print(f"JSON lines: {kept.relative_to(ROOT)}")
    if picture:
        kept.with_suffix(".svg").write_text(picture, encoding="utf-8")
        print(f"plot: {kept.with_suffix('.svg').relative_to(ROOT)}")
    if for_document:
        rewrite(DOCUMENT, figures)
        PLOT.write_text(picture, encoding="utf-8")
        print(f"written into {DOCUMENT.relative_to(ROOT)} and {PLOT.relative_to(ROOT)}")
    return 0 if all(verdict.is_met for verdict in results.verdicts()) else 1


if __name__ == "__main__":
    sys.exit(main())
