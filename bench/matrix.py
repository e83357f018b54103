"""The matrix: every guest is moved by raw QMP with its defaults, by raw QMP tuned, and by quorate, in turns."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from tests.system.pocket_cluster import PocketCluster

from bench import comparison, machine
from bench.guests import Workload
from bench.measured import Migration
from bench.ours import WAY, OurMigrations
from bench.raw import DEFAULTS, WAYS, RawMigrations
from quorate.clusapi.errors import ClusterError
from quorate.hypervisor.pinned import Pinned

RUNS: Final = 10
DEFAULT_RUNS: Final = 3
"""How often each guest is moved with QEMU's defaults: many of these moves never end, and wait until they are cut."""
QUIET_BUDGET: Final = 240.0
"""Seconds that a whole run waits for a quiet machine at most."""

_Way = Callable[[int, float], Migration]


@dataclass(slots=True)
class Matrix:
    """What was measured, and what went wrong."""

    made: list[Migration] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """Makes the migrations and keeps what came of them."""

    cluster: PocketCluster
    directory: Path
    runs: int
    patience: float
    """Seconds to wait for a quiet machine before each migration."""
    found: Matrix = field(default_factory=Matrix)
    _waited: float = 0.0

    def measure(self, pinned: Mapping[Workload, Pinned], workloads: Sequence[Workload]) -> Matrix:
        """Migrate each guest again and again: defaults, tuned, ours, defaults, tuned, ours…"""
        for workload in workloads:
            ours = OurMigrations(self.cluster, workload)
            ours.create()
            raw = RawMigrations(workload, pinned[workload], self.directory / "raw", self.directory / "rt")
            ways: dict[str, _Way] = {way: partial(raw.run, way) for way in WAYS}
            ways[WAY] = ours.run
            for number in range(1, self.runs + 1):
                for way, migrate in ways.items():
                    if way != DEFAULTS or number <= DEFAULT_RUNS:
                        self._once(workload, way, number, migrate)
        return self.found

    def _once(self, workload: Workload, way: str, number: int, migrate: _Way) -> None:
        began = time.monotonic()
        busy = machine.wait_quiet(min(self.patience, QUIET_BUDGET - self._waited))
        self._waited += time.monotonic() - began
        try:
            migration = migrate(number, busy)
        except (ClusterError, AssertionError, OSError, RuntimeError) as error:
            self.found.failures.append(f"{workload.name} {way} #{number}: {error}")
            print(f"{self.found.failures[-1].splitlines()[0]}", flush=True)
            return
        self.found.made.append(migration)
        print(comparison.line(migration), flush=True)
