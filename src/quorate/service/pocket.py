"""The pocket cluster: several nodes on one machine, without root, in one directory (`pocket_files`)."""

import asyncio
import json
import os
import sys
from itertools import islice
from pathlib import Path
from typing import Final

from quorate.client.address import CLUSTER_FILE, default_directory
from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import json_int, json_objects, json_text
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.sqlite import SqliteStore
from quorate.service.configuration import MscmrpSettings, read_configuration
from quorate.service.keeper import KEEPER_LOG, OFF_MARK, PATIENCE, open_log
from quorate.service.pocket_files import configure, configured, make_private, remove_runtime, write_cluster_file
from quorate.service.pocket_mscmrp import check_free, of_node, parse_mscmrp, write_mscmrp
from quorate.service.pocket_processes import (
    QemuProcess,
    daemon_pids,
    end_processes,
    guard_pids,
    is_up,
    keeper_pid,
    kill_qemus,
    qemu_processes,
    wait_for,
)
from quorate.service.pocket_rest import Tell, rest

__all__ = ["DEFAULT_NODES", "default_directory", "end", "is_up", "mscmrp_places", "start", "stop"]

START_TIMEOUT: Final = 30.0
KEEPER_PATIENCE: Final = PATIENCE + 20.0
"""Seconds that the keeper has to end: its daemons have PATIENCE."""
DEFAULT_NODES: Final = 3
MAXIMUM_NODES: Final = 16


def start(
    directory: Path, nodes: int | None = None, mscmrp: str | None = None, *, endpoint_mapper: bool = False
) -> int:
    """Start the cluster, making it first if it is not there; return its number of nodes when every one answers.

    Without a number it has the nodes that it has, or three. ``mscmrp`` is "HOST:PORT" at which the first node speaks
    MS-CMRP, the others at the ports that follow, or "off"; left out, it is as it was.

    Raises:
        CallerError: 87, a number of nodes that cannot be, or fewer than there are; no such place for MS-CMRP.
        RefusalError: 5010, it is up, and would need more nodes; 1056, it is up and speaks MS-CMRP somewhere else.
        FaultError: 1117, an address for MS-CMRP cannot be had.
        FaultError: it did not come up; what its daemons said is in the message.
    """
    if nodes is not None and not 1 <= nodes <= MAXIMUM_NODES:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"nodes: {nodes} is not between 1 and {MAXIMUM_NODES}")
    if mscmrp is None and endpoint_mapper:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "--endpoint-mapper tells where MS-CMRP is: give --mscmrp too")
    first = None if mscmrp is None else parse_mscmrp(mscmrp, endpoint_mapper=endpoint_mapper)
    directory = directory.absolute()
    make_private(directory)
    members = asyncio.run(_members(directory, nodes))
    places = {name: configure(directory, id_) for id_, name in members.items()}
    if mscmrp is not None:
        _speak_mscmrp(directory, tuple(members), first)
    write_cluster_file(directory, places)
    if not is_up(directory):
        check_free(mscmrp_places(directory).values())
    for id_ in members:
        (directory / "nodes" / id_ / OFF_MARK).unlink(missing_ok=True)
    if keeper_pid(directory) is None:
        _start_keeper(directory)
    _wait_for_nodes(directory, set(members.values()))
    return len(members)


def stop(directory: Path, tell: Tell = lambda sentence: None) -> tuple[QemuProcess, ...]:
    """Take the cluster down: virtual machines go off as their OfflineAction says, then the daemons and guards end.

    What is wanted online stays wanted: the next start brings it back. Of nodes that do not answer, nobody can save the
    virtual machines, and none may run on without a daemon that keeps its node's lease: those that still run are ended
    and returned, and the next start starts them from their disks.

    Raises:
        FaultError: a virtual machine did not go off although its node answers; nothing was ended then.
    """
    directory = directory.absolute()
    if (directory / CLUSTER_FILE).exists() and is_up(directory):
        asyncio.run(rest(directory, tell))
    _end_keeper_and_daemons(directory)
    lost = qemu_processes(configured(directory))
    _end_qemus_and_guards(directory)
    return lost


def end(directory: Path) -> None:
    """End every process of the cluster at once: what guests had in memory is lost."""
    directory = directory.absolute()
    _end_keeper_and_daemons(directory)
    _end_qemus_and_guards(directory)


def _end_keeper_and_daemons(directory: Path) -> None:
    keeper = keeper_pid(directory)
    if keeper is not None:
        end_processes((keeper,), KEEPER_PATIENCE)
    end_processes(daemon_pids(directory), PATIENCE)


def _end_qemus_and_guards(directory: Path) -> None:
    nodes = configured(directory)
    kill_qemus(nodes)
    end_processes(guard_pids(nodes), PATIENCE)
    remove_runtime(directory)


def _speak_mscmrp(directory: Path, nodes: tuple[NodeId, ...], first: MscmrpSettings | None) -> None:
    """Have the nodes speak MS-CMRP there; nothing is written where it is so already."""
    ordered = sorted(nodes, key=int)
    paths = [directory / "nodes" / node / "node.toml" for node in ordered]
    wanted = {path: of_node(first, index) for index, path in enumerate(paths)}
    changed = {path: settings for path, settings in wanted.items() if read_configuration(path).mscmrp != settings}
    if changed and is_up(directory):
        raise RefusalError(
            Status.ERROR_SERVICE_ALREADY_RUNNING,
            f"the pocket cluster in {directory} is up and speaks MS-CMRP elsewhere or not at all; take it down first",
        )
    for path, settings in changed.items():
        write_mscmrp(path, settings)


def mscmrp_places(directory: Path) -> dict[NodeId, MscmrpSettings]:
    """Where the nodes of a pocket cluster speak MS-CMRP, by number; of those that do."""
    nodes = json_objects(json.loads((directory / CLUSTER_FILE).read_text(encoding="utf-8")), "nodes")
    found: dict[NodeId, MscmrpSettings] = {}
    for node in sorted((json_text(node, "id") for node in nodes), key=int):
        settings = read_configuration(directory / "nodes" / node / "node.toml").mscmrp
        if settings is not None:
            found[NodeId(node)] = settings
    return found


async def _members(directory: Path, nodes: int | None) -> dict[NodeId, str]:
    """Create what is missing of the cluster in its database, and give its nodes with their names."""
    store = SqliteStore(directory / "cluster.sqlite")
    try:
        database = ClusterDatabase(store)
        if not await database.is_created():
            await database.create_cluster("pocket")
        known = (await database.snapshot()).nodes
        wanted = nodes or len(known) or DEFAULT_NODES
        if wanted < len(known):
            raise CallerError(
                Status.ERROR_INVALID_PARAMETER,
                f"nodes: the pocket cluster in {directory} has {len(known)} nodes and cannot be started with {wanted}; "
                "leave the number out",
            )
        if known and wanted > len(known) and is_up(directory):
            raise RefusalError(
                Status.ERROR_OBJECT_ALREADY_EXISTS,
                f"the pocket cluster in {directory} is up with {len(known)} nodes; take it down first",
            )
        taken = {node.name.casefold() for node in known.values()}  # of nodes that were evicted, names are free again
        free = (name for number in range(1, MAXIMUM_NODES * 2) if (name := f"node{number}") not in taken)
        for name in islice(free, wanted - len(known)):
            await database.add_node(name)
        known = (await database.snapshot()).nodes
        return {node.id: node.name for node in known.values()}
    finally:
        await store.close()


def _start_keeper(directory: Path) -> None:
    with open_log(directory / KEEPER_LOG) as log:
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "quorate.service.keeper", str(directory)],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
            ],
            setsid=True,
        )
    wait_for(
        lambda: keeper_pid(directory) is not None, 10.0, "the keeper of the pocket cluster did not start (keeper.log)"
    )


def _wait_for_nodes(directory: Path, names: set[str]) -> None:
    def all_up() -> bool:
        try:
            nodes = json_objects(BlockingClient.at(str(directory)).call("ListNodes").as_json(), "nodes")
        except ClusterError:
            return False
        up = {json_text(n, "name") for n in nodes if json_int(n, "state", -1) in (0, 2) and json_int(n, "daemon_pid")}
        return up >= names

    try:
        wait_for(all_up, START_TIMEOUT, "not every node answers")
    except FaultError as error:
        raise FaultError(error.status, f"{error.sentence}\n{_last_words(directory)}") from error


def _last_words(directory: Path) -> str:
    lines = []
    for log in sorted(directory.glob("nodes/*/daemon.log")):
        text = log.read_text(encoding="utf-8", errors="replace").splitlines()
        lines += [f"{log.parent.name}: {line}" for line in text[-5:]]
    return "\n".join(lines)
