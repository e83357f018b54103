"""The small figures: how long the cluster's own doings take, and what a daemon costs at rest."""

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.system.pocket_cluster import PocketCluster

from bench.measured import median
from bench.ours import NODES
from quorate.client.functions import ClusterResourceControl, OpenCluster, OpenClusterResource
from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.clusapi.states import MigrationState
from quorate.database.cluster_database import ClusterDatabase, ConflictingOwnership
from quorate.database.sqlite import SqliteStore

_VM: Final = "bench-small"
_SETTLING: Final = 3.0
"""Seconds that the daemons have to come to rest."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One small figure: what was measured, several times, and what it must stay below, or reach."""

    name: str
    sentence: str
    unit: str
    values: tuple[float, ...]
    limit: float | None = None
    more_is_better: bool = False
    """The limit is what it must reach."""

    @property
    def median(self) -> float:
        """Give the middle value."""
        return median(self.values)

    @property
    def worst(self) -> float:
        """Give the highest value, or the lowest where more is better."""
        return min(self.values) if self.more_is_better else max(self.values)

    @property
    def is_met(self) -> bool | None:
        """Answer whether the median is on the right side of the limit; None where there is none."""
        if self.limit is None:
            return None
        return self.median >= self.limit if self.more_is_better else self.median < self.limit

    @property
    def target(self) -> str:
        """Tell the limit in words; nothing where there is none."""
        if self.limit is None:
            return ""
        return f"{'at least' if self.more_is_better else 'below'} {self.limit:g} {self.unit}"


def measure(cluster: PocketCluster, *, times: int, rest: float) -> tuple[Figure, ...]:
    """Measure everything on a cluster that is up and has nothing else to do; ``rest``: seconds of watching it rest."""
    at_rest = _at_rest(cluster, rest)
    return (*at_rest, _status(cluster, times), _start(cluster, times), _cas(cluster.directory, times))


def _status(cluster: PocketCluster, times: int) -> Figure:
    """``quorate status`` as a person has it: from the start of the interpreter to its end."""
    command = [str(Path(sys.executable).with_name("quorate")), "--cluster", str(cluster.directory), "status"]

    def once() -> float:
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return (time.monotonic() - began) * 1000

    once()  # the files are in the page cache from now on
    sentence = "`quorate status`, interpreter included"
    return Figure("status", sentence, "ms", tuple(once() for _ in range(times)), 300.0)


def _start(cluster: PocketCluster, times: int) -> Figure:
    """The call that starts a migration; each migration is waited for before the next."""
    cluster.create_builtin(_VM, memory="64M")
    resource = OpenClusterResource(OpenCluster(str(cluster.directory)), f"Virtual Machine {_VM}")
    values = []
    for _ in range(times):
        destination = NODES[1 - NODES.index(cluster.owner(_VM))]
        name = f"{destination}\0".encode("utf-16-le")
        began = time.monotonic()
        status, _, _ = ClusterResourceControl(resource, None, CLUSCTL_RESOURCE_VM_START_MIGRATION, name)
        values.append((time.monotonic() - began) * 1000)
        if status:
            raise RuntimeError(f"START_MIGRATION answered {status}")
        cluster.wait(lambda to=destination: _has_moved(cluster, to), 30, f"{_VM} is on {destination}")  # type: ignore[misc]
    cluster.call("DeleteVirtualMachine", vm=_VM, turn_off=True)
    return Figure("start", "the call START_MIGRATION", "ms", tuple(values), 50.0)


def _has_moved(cluster: PocketCluster, destination: str) -> bool:
    return cluster.owner(_VM) == destination and cluster.migration_state(_VM) == MigrationState.NO_MIGRATION


def _cas(directory: Path, times: int) -> Figure:
    """One compare-and-swap of an ownership record in a database file of its own, on the disk when it is answered."""
    values = asyncio.run(_cas_values(directory / "bench.sqlite", times))
    return Figure("cas", "a compare-and-swap of ownership, durable (SQLite)", "ms", values)


async def _cas_values(path: Path, times: int) -> tuple[float, ...]:
    store = SqliteStore(path)
    try:
        database = ClusterDatabase(store)
        await database.create_cluster("bench")
        node = await database.add_node("node1")
        ids = await database.create_virtual_machine(_VM, "{}", node)
        values = []
        for _ in range(times):
            before = await database.get_ownership(ids.group)
            after = replace(before.value, epoch=before.value.epoch + 1)
            began = time.monotonic()
            answer = await database.change_ownership(ids.group, before, after)
            values.append((time.monotonic() - began) * 1000)
            if isinstance(answer, ConflictingOwnership):
                raise RuntimeError("nobody else writes here")
        return tuple(values)
    finally:
        await store.close()


def _at_rest(cluster: PocketCluster, seconds: float) -> tuple[Figure, Figure]:
    """What each daemon holds and uses while nothing happens."""
    time.sleep(_SETTLING)
    pids = [cluster.daemon_pid(node) for node in (f"node{number}" for number in range(1, cluster.nodes + 1))]
    before = [_cpu_seconds(pid) for pid in pids]
    time.sleep(seconds)
    shares = [(_cpu_seconds(pid) - used) / seconds * 100 for pid, used in zip(pids, before, strict=True)]
    memory = [_resident(pid) / 1e6 for pid in pids]
    return (
        Figure("memory", "resident memory of a daemon at rest", "MB", tuple(memory), 80.0),
        Figure("cpu", "share of a core that a daemon uses at rest", "%", tuple(shares), 1.0),
    )


def _cpu_seconds(pid: int) -> float:
    """CPU time of the process so far, its own and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
