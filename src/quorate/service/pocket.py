"""The pocket cluster: several nodes on one machine, without root, in one directory.

DIR/cluster.sqlite        the cluster database of all its nodes
DIR/cluster.json          where its nodes answer, for clients
DIR/keeper.json           the keeper, which starts the daemons and starts them again when they die
DIR/saved/                saved virtual machines
DIR/nodes/1/              node1: node.toml, daemon.log, vms/
/run/…/1/                 node1's sockets and journals, in a short directory made for DIR
"""

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quorate.client.address import CLUSTER_FILE, default_directory
from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, json_int, json_objects, json_text
from quorate.clusapi.states import VmState
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.sqlite import SqliteStore

__all__ = ["default_directory", "is_up", "start", "stop"]

START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 240.0
"""Seconds that virtual machines have to go off: as long as the slowest way, a guest's own shutdown, may take."""
KEEPER_FILE: Final = "keeper.json"
DO_NOT_UPDATE_PERSISTENT_STATE: Final = 4
MAXIMUM_NODES: Final = 16


@dataclass(frozen=True, slots=True)
class PocketNode:
    """One node of a pocket cluster."""

    id: NodeId
    name: str


def is_up(directory: Path) -> bool:
    """Tell whether the cluster's keeper lives."""
    return _keeper_pid(directory) is not None


def start(directory: Path, nodes: int) -> None:
    """Start the cluster, making it first if it is not there; return when every node answers.

    Raises:
        CallerError: 87, a number of nodes that cannot be.
        RefusalError: 5010, it is up with another number of nodes.
        FaultError: it did not come up; what its daemons said is in the message.
    """
    if not 1 <= nodes <= MAXIMUM_NODES:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"nodes: {nodes} is not between 1 and {MAXIMUM_NODES}")
    directory = directory.absolute()
    _make_private(directory)
    members = asyncio.run(_members(directory, nodes))
    if len(members) != nodes and is_up(directory):
        raise RefusalError(
            Status.ERROR_OBJECT_ALREADY_EXISTS,
            f"the pocket cluster in {directory} is up with {len(members)} nodes; take it down first",
        )
    runtime = _runtime_directory(directory)
    for node in members:
        _configure(directory, runtime, node)
    _write_cluster_file(directory, runtime, members)
    if not is_up(directory):
        _start_keeper(directory)
    _wait_for_nodes(directory, members)


def stop(directory: Path) -> None:
    """Take the cluster down: virtual machines go off as their OfflineAction says, then the daemons end.

    What is wanted online stays wanted: the next start brings it back.

    Raises:
        FaultError: a virtual machine did not go off; nothing was ended then.
    """
    directory = directory.absolute()
    if (directory / CLUSTER_FILE).exists() and is_up(directory):
        _stop_virtual_machines(directory)
    pid = _keeper_pid(directory)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    _wait(lambda: _keeper_pid(directory) is None, 30.0, "the keeper of the pocket cluster did not end")
    # Sockets and notes of processes that are gone; the next start makes the directory anew.
    shutil.rmtree(_runtime_directory(directory), ignore_errors=True)


# --- making it -----------------------------------------------------------------------------------------------------


async def _members(directory: Path, nodes: int) -> tuple[PocketNode, ...]:
    """Create what is missing of the cluster in its database, and give its nodes."""
    store = SqliteStore(directory / "cluster.sqlite")
    try:
        database = ClusterDatabase(store)
        if not await database.is_created():
            await database.create_cluster("pocket")
        known = (await database.snapshot()).nodes
        for number in range(len(known) + 1, nodes + 1):
            await database.add_node(f"node{number}")
        known = (await database.snapshot()).nodes
        return tuple(PocketNode(node.id, node.name) for node in known.values())
    finally:
        await store.close()


def _make_private(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = directory.stat()
    if found.st_uid != os.getuid():
        raise CallerError(Status.ERROR_ACCESS_DENIED, f"{directory} belongs to another account")
    if stat.S_IMODE(found.st_mode) & 0o077:
        directory.chmod(0o700)


def _runtime_directory(directory: Path) -> Path:
    """Make the short directory for sockets that belongs to this place, and to nobody else."""
    uid = os.getuid()
    name = hashlib.sha256(str(directory).encode()).hexdigest()[:10]
    given = os.environ.get("XDG_RUNTIME_DIR")
    bases = [Path(given) / "quorate"] if given and len(given) < 32 else []
    bases += [Path("/run/quorate")] if uid == 0 else []
    bases += [Path(f"/tmp/quorate-{uid}")]
    for base in bases:
        try:
            base.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        found = base.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not stat.S_IMODE(found.st_mode) & 0o077:
            runtime = base / name
            runtime.mkdir(exist_ok=True, mode=0o700)
            return runtime
    raise FaultError(Status.ERROR_ACCESS_DENIED, f"no private directory for sockets can be made under {bases}")


def _configure(directory: Path, runtime: Path, node: PocketNode) -> None:
    """Write a node's configuration, unless somebody has written one."""
    place = directory / "nodes" / node.id
    place.parent.mkdir(exist_ok=True, mode=0o700)
    place.mkdir(exist_ok=True, mode=0o700)
    (runtime / node.id).mkdir(exist_ok=True, mode=0o700)
    path = place / "node.toml"
    if path.exists():
        return
    scripts = directory / "scripts"
    scripts.mkdir(exist_ok=True, mode=0o700)
    lines = [
        "# A node of a pocket cluster. Its virtual machines may use any disk that this account may use:",
        "# narrow storage_roots to keep them to some directories.",
        f"node = {json.dumps(node.id)}",
        'database = "../../cluster.sqlite"',
        'state = "."',
        'saved = "../../saved"',
        f"runtime = {json.dumps(str(runtime / node.id))}",
        # Beside all pocket clusters of this account: KVM is tried once, not once for each node.
        f"accelerator_cache = {json.dumps(str(runtime.parent / 'accelerator.json'))}",
        'storage_roots = ["/"]',
        'scripts_directory = "../../scripts"',
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_cluster_file(directory: Path, runtime: Path, members: tuple[PocketNode, ...]) -> None:
    nodes = [{"id": n.id, "name": n.name, "http": str(runtime / n.id / "http")} for n in members]
    text = json.dumps({"version": 1, "name": "pocket", "nodes": nodes}, indent=2)
    new = directory / f"{CLUSTER_FILE}.new"
    new.write_text(text + "\n", encoding="utf-8")
    new.replace(directory / CLUSTER_FILE)


# --- running it ----------------------------------------------------------------------------------------------------


def _start_keeper(directory: Path) -> None:
    log = os.open(directory / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "quorate.service.keeper", str(directory)],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(log)
    _wait(lambda: is_up(directory), 10.0, "the keeper of the pocket cluster did not start; see keeper.log")


def _wait_for_nodes(directory: Path, members: tuple[PocketNode, ...]) -> None:
    def all_up() -> bool:
        try:
            nodes = json_objects(BlockingClient.at(str(directory)).call("ListNodes").as_json(), "nodes")
        except ClusterError:
            return False
        up = {json_text(n, "name") for n in nodes if json_int(n, "state", -1) in (0, 2) and json_int(n, "daemon_pid")}
        return up >= {n.name for n in members}

    try:
        _wait(all_up, START_TIMEOUT, "not every node answers")
    except FaultError as error:
        raise FaultError(error.status, f"{error.sentence}\n{_last_words(directory)}") from error


def _last_words(directory: Path) -> str:
    lines = []
    for log in sorted(directory.glob("nodes/*/daemon.log")):
        text = log.read_text(encoding="utf-8", errors="replace").splitlines()
        lines += [f"{log.parent.name}: {line}" for line in text[-5:]]
    return "\n".join(lines)


def _stop_virtual_machines(directory: Path) -> None:
    client = BlockingClient.at(str(directory))
    for vm in _machines_on(client):
        try:
            client.call("OfflineResource", resource=json_text(vm, "vm_resource"), flags=DO_NOT_UPDATE_PERSISTENT_STATE)
        except RefusalError as refusal:
            raise FaultError(
                refusal.status, f"{json_text(vm, 'name')} cannot be stopped: {refusal.sentence}"
            ) from refusal
    _wait(lambda: not _machines_on(client), STOP_TIMEOUT, "not every virtual machine went off; nothing was ended")


def _machines_on(client: BlockingClient) -> tuple[JsonObject, ...]:
    machines = json_objects(client.call("ListVirtualMachines").as_json(), "virtual_machines")
    off = (VmState.OFF, VmState.SAVED)
    return tuple(vm for vm in machines if json_int(vm, "vm_state") not in off)


def _keeper_pid(directory: Path) -> int | None:
    """The pid of the keeper that lives; it holds a lock on its file as long as it does."""
    path = directory / KEEPER_FILE
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return json_int(json.loads(file.read() or b"{}"), "pid") or None
            return None
    except (FileNotFoundError, ValueError):
        return None


def _wait(condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise FaultError(Status.ERROR_TIMEOUT, f"{otherwise} within {timeout:.0f} s")
        time.sleep(0.05)
