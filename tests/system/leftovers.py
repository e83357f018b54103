"""What a cluster has lying about: files and processes, looked at from outside.

A :class:`Belongings` is a snapshot. Serial logs are kept for people and do not count; what counts are sockets,
journals, locks, run files, half-written files, processes and the open files of the daemons.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.system.pocket_cluster import PocketCluster

_KEPT: Final = (".serial.log",)
_DATABASE: Final = "cluster.sqlite"


@dataclass(frozen=True, slots=True)
class Belongings:
    """What is there, by node."""

    files: dict[str, frozenset[str]]  # of each node, and "" for what the cluster has in common
    processes: dict[int, str]  # the daemons, the keeper, the guards, their children; zombies are told as such
    descriptors: dict[str, int] = field(compare=False)  # open files of each daemon

    def of(self, node: str) -> frozenset[str]:
        """The files of a node."""
        return self.files[node]


def look(cluster: PocketCluster) -> Belongings:
    """Look at everything of a cluster."""
    nodes = [f"node{number}" for number in range(1, cluster.nodes + 1)]
    files = {node: _files_of(cluster, node) for node in nodes}
    files[""] = frozenset(
        str(path.relative_to(cluster.directory))
        for path in cluster.directory.rglob("*")
        if path.is_file()
        and path.parts[len(cluster.directory.parts)] != "nodes"
        and not path.name.startswith(_DATABASE)
    )
    daemons = {node: cluster.daemon_pid(node) for node in nodes}
    descriptors = {node: _open_files(pid) for node, pid in daemons.items()}
    guards = {pid: f"guard of {node}" for node in nodes if (pid := cluster.guard_pid(node))}
    return Belongings(files, _processes(cluster.directory) | guards, descriptors)


def _files_of(cluster: PocketCluster, node: str) -> frozenset[str]:
    place = cluster.directory / "nodes" / node.removeprefix("node")
    runtime = cluster.runtime(node)
    found = {f"runtime/{path.relative_to(runtime)}" for path in runtime.rglob("*")}
    found |= {f"state/{path.relative_to(place)}" for path in place.rglob("*") if not path.is_dir()}
    return frozenset(name for name in found if not name.endswith(_KEPT))


def _processes(directory: Path) -> dict[int, str]:
    """Every process that names the directory, and every child of one of them, QEMUs left out."""
    found: dict[int, str] = {}
    parents: dict[int, tuple[int, str, str]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                name, _, rest = (path / "stat").read_text().partition("(")[2].rpartition(")")
                state, parent = rest.split()[:2]
                command = (path / "cmdline").read_bytes()
            except OSError:
                continue  # it has just ended
            parents[int(path.name)] = int(parent), state, name
            if str(directory).encode() in command and b"qemu-system" not in command.split(b"\0")[0]:
                found[int(path.name)] = name
    for pid, (above, state, name) in parents.items():
        if above in found and state == "Z":
            found[pid] = f"{name} (zombie)"
    return found


def _open_files(pid: int) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0


__all__ = ["Belongings", "look"]
