"""How fast a live migration is, in ratios to what QEMU does by itself; ``make bench``.

Raw QMP migrations and ours of the same guests take turns in one run, so that whatever else the machine does hits all of
them. Exit code 0: every target was reached; 1: not every one; 2: something could not be measured.
"""

import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench import machine, report, small
from bench.guests import WORKLOADS, Workload, pin
from bench.measured import Migration
from bench.ours import WAY, OurMigrations
from bench.raw import WAYS, RawMigrations
from quorate.clusapi.errors import ClusterError
from tests.system.pocket_cluster import PocketCluster, pocket_cluster

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENT: Final = ROOT / "docs" / "benchmarks.md"
RECORDS: Final = ROOT / "build" / "bench"
RUNS: Final = 5
QUICK_RUNS: Final = 1
PATIENCE: Final = 20.0
"""Seconds that a run waits for a quiet moment of the machine; then it goes on all the same, and says how busy it was."""
TIMES: Final = 10
REST: Final = 20.0
"""Seconds for which the daemons are watched at rest."""
QUICK_REST: Final = 5.0

Run = Callable[[int, float], Migration]


def main() -> int:
    """Run the benchmark."""
    arguments = _arguments(sys.argv[1:])
    runs = arguments.runs or (QUICK_RUNS if arguments.quick else RUNS)
    workloads = [w for w in WORKLOADS if arguments.only in (None, w.name)]
    patience = 0.0 if arguments.quick else PATIENCE
    with _directory() as directory, pocket_cluster(directory / "cluster", len(small_nodes())) as cluster:
        figures = () if arguments.only else small.measure(cluster, times=TIMES, rest=QUICK_REST if arguments.quick else REST)
        pinned = pin(workloads[0], directory / "accelerator")
        examined = machine.examine(pinned.accelerator.value)
        made, failures = _migrations(cluster, directory, workloads, runs, patience)
    command = shlex.join(["python", "-m", "bench.run", *sys.argv[1:]])
    results = report.Results(command, examined, tuple(made), tuple(failures), figures)
    return _tell(results, is_whole=arguments.only is None and not arguments.quick)
