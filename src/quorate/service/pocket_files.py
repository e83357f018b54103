"""The files of a pocket cluster. Where a node's sockets are is written down once, and kept whatever changes around it.

DIR/cluster.sqlite        the cluster database of all its nodes
DIR/cluster.json          where its nodes answer, for clients
DIR/keeper.json           the keeper, which starts the daemons and starts them again when they die
DIR/saved/                saved virtual machines
DIR/nodes/1/              node1: node.toml, daemon.log, guard.log, vms/
/run/…/1/                 node1's sockets, journals and what it shares with its guard, in a short directory made for DIR
"""

import hashlib
import json
import os
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from quorate.client.address import CLUSTER_FILE
from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.service.configuration import NodeConfiguration, read_configuration


@dataclass(frozen=True, slots=True)
class PocketNode:
    """One node of a pocket cluster, and its directories."""

    id: NodeId
    state: Path
    runtime: Path


def make_private(directory: Path) -> None:
    """Make the cluster's directory, which nobody else may enter."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = directory.stat()
    if found.st_uid != os.getuid():
        raise CallerError(Status.ERROR_ACCESS_DENIED, f"{directory} belongs to another account")
    if stat.S_IMODE(found.st_mode) & 0o077:
        directory.chmod(0o700)


def configure(directory: Path, node: NodeId) -> PocketNode:
    """Make a node's directories and its configuration; one that is there already is kept, and says where they are.

    Raises:
        CallerError: 87, somebody has written a configuration that is none.
        FaultError: 5, a directory cannot be made, or others may enter it.
    """
    place = directory / "nodes" / node
    place.parent.mkdir(exist_ok=True, mode=0o700)
    place.mkdir(exist_ok=True, mode=0o700)
    path = place / "node.toml"
    if not path.exists():
        (directory / "scripts").mkdir(exist_ok=True, mode=0o700)
        new = path.with_suffix(".new")
        new.write_text(_configuration(_choose_runtime(directory), node), encoding="utf-8")
        new.replace(path)
    configuration = read_configuration(path)
    _make_again(directory, path, configuration)
    return PocketNode(node, configuration.state, configuration.runtime)


def configured(directory: Path) -> tuple[PocketNode, ...]:
    """The nodes as they were configured; of one whose configuration cannot be read, the directories known anyhow."""
    found = []
    for path in sorted(directory.glob("nodes/*/node.toml")):
        node = NodeId(path.parent.name)
        try:
            configuration = read_configuration(path)
        except CallerError:
            found.append(PocketNode(node, path.parent, path.parent))
        else:
            found.append(PocketNode(node, configuration.state, configuration.runtime))
    return tuple(found)


def write_cluster_file(directory: Path, members: dict[str, PocketNode]) -> None:
    """Tell clients where the nodes answer; the members are named."""
    nodes = [{"id": node.id, "name": name, "http": str(node.runtime / "http")} for name, node in members.items()]
    new = directory / f"{CLUSTER_FILE}.new"
    new.write_text(json.dumps({"version": 1, "name": "pocket", "nodes": nodes}, indent=2) + "\n", encoding="utf-8")
    new.replace(directory / CLUSTER_FILE)


def remove_runtime(directory: Path) -> None:
    """Remove sockets and notes of processes that are gone; a directory that somebody else has chosen is left alone."""
    for node in configured(directory):
        if _is_ours(directory, node.runtime):
            shutil.rmtree(node.runtime, ignore_errors=True)
            with suppress(OSError):  # another node's is still there
                node.runtime.parent.rmdir()


# --- the short directory for sockets ---------------------------------------------------------------------------------


def _choose_runtime(directory: Path) -> Path:
    """Choose the short directory for sockets that belongs to this place, and to nobody else."""
    uid = os.getuid()
    given = os.environ.get("XDG_RUNTIME_DIR")
    bases = [Path(given) / "quorate"] if given and len(given) < 32 else []
    bases += [Path("/run/quorate")] if uid == 0 else []
    bases += [Path(f"/tmp/quorate-{uid}")]
    for base in bases:
        try:
            base.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if _is_private(base):
            return base / _short_name(directory)
    raise FaultError(Status.ERROR_ACCESS_DENIED, f"no private directory for sockets can be made under {bases}")


def _make_again(directory: Path, path: Path, configuration: NodeConfiguration) -> None:
    """Make what a restart of the machine takes away: the directory for sockets, and those above it."""
    runtime = configuration.runtime
    ours = (runtime.parent.parent, runtime.parent) if _is_ours(directory, runtime) else ()
    for place in (*ours, runtime):
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise FaultError(
                Status.ERROR_ACCESS_DENIED,
                f"{path}: runtime: {place} cannot be made: {error.strerror}; make it possible, or name another place",
            ) from error
        if not _is_private(place):
            raise FaultError(
                Status.ERROR_ACCESS_DENIED,
                f"{path}: runtime: {place} is not a directory that this account has for itself; name another place",
            )
    if configuration.accelerator_cache is not None:
        configuration.accelerator_cache.parent.mkdir(parents=True, exist_ok=True, mode=0o700)


def _is_ours(directory: Path, runtime: Path) -> bool:
    """Tell whether `_choose_runtime` has chosen the directory of a node: only then others may be near it."""
    return runtime.parent.name == _short_name(directory)


def _is_private(place: Path) -> bool:
    found = place.lstat()
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return mine and not stat.S_IMODE(found.st_mode) & 0o077


def _short_name(directory: Path) -> str:
    return hashlib.sha256(str(directory).encode()).hexdigest()[:10]


def _configuration(runtime: Path, node: NodeId) -> str:
    lines = [
        "# A node of a pocket cluster. Its virtual machines may use any disk that this account may use:",
        "# narrow storage_roots to keep them to some directories.",
        f"node = {json.dumps(node)}",
        'database = "../../cluster.sqlite"',
        'state = "."',
        'saved = "../../saved"',
        f"runtime = {json.dumps(str(runtime / node))}",
        # Beside all pocket clusters of this account: KVM is tried once, not once for each node.
        f"accelerator_cache = {json.dumps(str(runtime.parent / 'accelerator.json'))}",
        'storage_roots = ["/"]',
        'scripts_directory = "../../scripts"',
    ]
    return "\n".join(lines) + "\n"
