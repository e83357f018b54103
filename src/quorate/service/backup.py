"""`quorate cluster backup` and `restore`: on the database itself, by a node's configuration, with or without daemons.

A restore happens while no node is up. The record that says that there is a cluster (private/schema) goes first and
comes back last: a restore that breaks off leaves no cluster, and is simply done again.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import quorate
from quorate.client.address import ENVIRONMENT, cluster_place
from quorate.clusapi.errors import CallerError, FaultError, RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.clusapi.versions import PROGRAM_LEVELS
from quorate.cluster.lease import MARGIN
from quorate.database import keys
from quorate.database.backup import Backup, BackupFacts, live_leases, plan_restore, read_backup, write_backup
from quorate.database.contract import Compare, Delete, Put, Snapshot, Store, Write
from quorate.database.etcd.settings import EtcdSettings
from quorate.database.levels import check_level
from quorate.database.member_records import StoreAccess
from quorate.database.values import KeyRecord
from quorate.peers.identity import write_private
from quorate.service.configuration import NodeConfiguration, read_configuration
from quorate.service.installation import account_name
from quorate.service.machine import DEFAULT_STATE, NODE_FILE
from quorate.service.stores import open_stores

_ETC: Final = Path("/etc/quorate") / NODE_FILE
_BATCH: Final = 100
"""Records of one transaction; the store takes 128."""
_BATCH_BYTES: Final = 512 * 1024
"""etcd takes requests of 1.5 MiB."""

Tell = Callable[[str], None]
"""Says to people what is waited for."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was brought back."""

    facts: BackupFacts
    groups: int


def find_configuration(given: Path | None, cluster: str | None) -> Path:
    """A configuration that leads to the database of the cluster that commands speak with; or the given one.

    Raises CallerError 2.
    """
    place = cluster_place(cluster)
    of_machine = () if cluster or os.environ.get(ENVIRONMENT) else (_ETC, DEFAULT_STATE / NODE_FILE)
    known = [*sorted(place.glob("nodes/*/node.toml")), place / NODE_FILE, *of_machine]
    for path in known if given is None else [given]:
        if path.is_file():
            return path
    raise CallerError(
        Status.ERROR_FILE_NOT_FOUND,
        f"no configuration of a node is at {given or place}: run this on a node, or name its file with --config",
    )


def back_up(configuration: Path, file: Path) -> BackupFacts:
    """Write the database to a file that is not there yet, for its owner's eyes alone. Raises ClusterError."""
    if file.exists():
        raise CallerError(Status.ERROR_ALREADY_EXISTS, f"{file} is there already: choose another name")
    facts, data = asyncio.run(_read(read_configuration(configuration)))
    try:
        write_private(file, data)
    except OSError as error:
        raise FaultError(Status.ERROR_IO_DEVICE, f"{file} cannot be written: {error.strerror}") from error
    return facts


async def _read(configuration: NodeConfiguration) -> tuple[BackupFacts, bytes]:
    store = (await open_stores(configuration.database)).store
    try:
        snapshot = await store.range("")
    finally:
        await store.close()
    if not any(record.key == keys.SCHEMA for record in snapshot.records):
        raise RefusalError(Status.ERROR_CLUSTER_NOT_INSTALLED, "this database holds no cluster: nothing to back up")
    return write_backup(snapshot, quorate.__version__, datetime.now(UTC))


def read_file(file: Path) -> Backup:
    """Read a backup and check that this program can restore it. Raises ClusterError."""
    try:
        backup = read_backup(file.read_bytes())
    except OSError as error:
        raise CallerError(Status.ERROR_FILE_NOT_FOUND, f"{file} cannot be read: {error.strerror}") from error
    check_level(PROGRAM_LEVELS, backup.facts.level, "this program")
    return backup


def restore(configuration: Path, backup: Backup, tell: Tell) -> Restored:
    """Bring a backup back. Raises RefusalError 5056 when a node is up, CallerError 5048 for another cluster."""
    return asyncio.run(_restore(read_configuration(configuration), backup, tell))


async def _restore(configuration: NodeConfiguration, backup: Backup, tell: Tell) -> Restored:
    database = configuration.database
    store = (await open_stores(database)).store
    try:
        etcd = database if isinstance(database, EtcdSettings) else None
        await restore_store(store, backup, configuration.node, etcd, tell)
    finally:
        await store.close()
    groups = sum(key.startswith(keys.OWNERSHIP) for key in backup.records)
    return Restored(backup.facts, groups)


async def restore_store(store: Store, backup: Backup, node: NodeId, etcd: EtcdSettings | None, tell: Tell) -> None:
    """Bring a backup back into a store; it is done on this node. Raises ClusterError."""
    snapshot = await store.range("")
    _check_cluster(snapshot, backup)
    await _wait_for_silence(store, snapshot, tell)
    snapshot = await store.range("")
    current = {record.key: record.value for record in snapshot.records}
    access = None if etcd is None else StoreAccess(etcd.endpoints, etcd.prefix)
    planned = plan_restore(backup, current, access, datetime.now(UTC))
    schema = planned.pop(keys.SCHEMA)
    await _begin(store, snapshot)
    for batch in _batches(current, planned):
        await store.transact((), batch)
    await _finish(store, schema, backup.facts, node)


def _check_cluster(snapshot: Snapshot, backup: Backup) -> None:
    root = next((record for record in snapshot.records if record.key == keys.registry_key(keys.CLUSTER)), None)
    if root is None:
        return
    values = KeyRecord.decode(root.value).values
    if values.text("ClusterInstanceID") != backup.facts.instance_id:
        raise CallerError(
            Status.ERROR_CLUSTER_INVALID_REQUEST,
            f"the database holds another cluster, {values.text('ClusterName')!r}; the backup is of "
            f"{backup.facts.cluster!r}: restore it below another prefix",
        )


async def _wait_for_silence(store: Store, snapshot: Snapshot, tell: Tell) -> None:
    """Make sure that no node is up: no lease moves for as long as one lasts. Raises RefusalError 5056."""
    before = live_leases((record.key, record.value) for record in snapshot.records)
    if not before:
        return
    seconds = max(lease.duration for lease in before.values()) + MARGIN
    tell(f"looking for {seconds:.1f} s whether a node is up")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        await asyncio.sleep(min(0.25, max(0.0, deadline - time.monotonic())))
        now = live_leases((record.key, record.value) for record in (await store.range(keys.LEASES)).records)
        moved = [node for node, lease in now.items() if before.get(node) != lease]
        if moved:
            raise _is_up(snapshot, moved)


def _is_up(snapshot: Snapshot, nodes: list[NodeId]) -> RefusalError:
    records = {record.key: record.value for record in snapshot.records}
    names = []
    for node in nodes:
        record = records.get(keys.registry_key(keys.node_path(node)))
        names.append(f"node {node}" if record is None else KeyRecord.decode(record).values.text("NodeName"))
    return RefusalError(
        Status.ERROR_CLUSTER_NODE_UP,
        f"{', '.join(sorted(names))} {'is' if len(names) == 1 else 'are'} up: stop every node's daemon and its virtual "
        "machines first; nothing was changed",
    )


async def _begin(store: Store, snapshot: Snapshot) -> None:
    """Take the cluster away, while no lease has moved. Raises RefusalError 5056."""
    leases = [record for record in snapshot.records if record.key.startswith(keys.LEASES)]
    compares = [Compare(record.key, record.revision) for record in leases[:_BATCH]]
    if not (await store.transact(compares, (Delete(keys.SCHEMA),))).succeeded:
        raise RefusalError(
            Status.ERROR_CLUSTER_NODE_UP, "a node came up in this moment: stop its daemon first; nothing was changed"
        )


def _batches(current: Mapping[str, bytes], planned: Mapping[str, bytes]) -> Iterator[list[Write]]:
    kept = (keys.EVENTS, keys.SCHEMA)
    writes: list[Write] = [Delete(key) for key in current if key not in planned and not key.startswith(kept)]
    writes += [Put(key, value) for key, value in planned.items() if current.get(key) != value]
    batch: list[Write] = []
    size = 0
    for write in writes:
        length = len(write.value) if isinstance(write, Put) else 0
        if batch and (len(batch) == _BATCH or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(write)
        size += length
    if batch:
        yield batch


async def _finish(store: Store, schema: bytes, facts: BackupFacts, node: NodeId) -> None:
    """Give the cluster back, with the event that tells of it."""
    now = datetime.now(UTC)
    event = EventRecord.of(
        EventKind.CLUSTER_RESTORED,
        time=now,
        node=node,
        object_id=facts.instance_id,
        object_name=facts.cluster,
        sentence=f"the cluster {facts.cluster} was restored from the backup of {facts.time}: all machines start cold",
        actor=account_name(),
    )
    compares = (Compare(keys.SCHEMA, 0),)
    await store.transact(compares, (Put(keys.SCHEMA, schema), Put(keys.event(now, node, 0), event.encode())))
