"""What the ownership change costs where etcd keeps it: three nodes and three members, each a network namespace.

On SQLite the matrix shows it (`matrix.py`). Here one of its guests is moved, over TCP and encrypted; what the ownership
change adds to the gap does not depend on how memory gets across.
"""

from pathlib import Path
from typing import Final

from tests.system.machines import fabric
from tests.system.machines.machine_cluster import machines

from bench import comparison, machine
from bench.guests import WORKLOADS, Workload
from bench.matrix import Matrix
from bench.ours import OurMigrations
from quorate.clusapi.errors import ClusterError

MOVED: Final[Workload] = next(one for one in WORKLOADS if one.name == "256M-50")


def measure(directory: Path, runs: int, patience: float) -> Matrix:
    """Move the guest so many times; nothing where this machine can have no such cluster."""
    found = Matrix()
    reason = fabric.why_not()
    if reason is not None:
        print(f"the ownership change is not measured on etcd: {reason}", flush=True)
        return found
    with machines(directory) as cluster:
        ours = OurMigrations(cluster, MOVED)
        ours.create()
        for number in range(1, runs + 1):
            try:
                made = ours.run(number, machine.wait_quiet(patience))
            except (ClusterError, AssertionError, OSError, RuntimeError) as error:
                found.failures.append(f"{MOVED.name} on etcd #{number}: {error}")
                print(found.failures[-1].splitlines()[0], flush=True)
                continue
            found.made.append(made)
            print(f"etcd {comparison.line(made)}", flush=True)
    return found
