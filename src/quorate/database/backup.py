"""A backup of the cluster database, as a text: all records at one revision.

One JSON object a line: a head that says what it is, the records in order of their keys, and an end with the SHA-256 of
all lines before it. What lives for moments only is left out (leases, addresses, tokens, the coordinator), and so are
events: a backup brings the configuration back, not the past. The cluster's secrets are in it.

A backup is older than what came after it, so that nothing may be continued that it tells of. What is restored has
ownership with epochs far beyond all that were ever written and without images: every virtual machine that is wanted
online starts from its disks (I5). Numbers that were given meanwhile are never given again.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, json_int, json_text
from quorate.clusapi.states import ResourceState, VmState
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.contract import Snapshot
from quorate.database.failover_records import FailoverState
from quorate.database.levels import level_of
from quorate.database.member_records import EvictedNode, StoreAccess, write_time
from quorate.database.records import SCHEMA, Counter, Lease, Ownership, RunState
from quorate.database.values import KeyRecord

FORMAT: Final = 1
EPOCH_STEP: Final = 1_000_000
"""Added to every epoch: more than a group can have changed hands since any backup."""
NUMBER_STEP: Final = 16
"""Added to every counter: more nodes than can have joined since the backup, where the database of then is lost."""
RESTORED_LEASE: Final = 5.0
RESTORED: Final = "restored"
"""The incarnation of a lease of a node that has not been up since the restore."""
LEFT_OUT: Final = (
    *(keys.LEASES, keys.NODE_FACTS, keys.TOKENS, keys.EVENTS, keys.COORDINATOR, keys.FENCED),
    keys.MIGRATIONS,
    *(keys.MOVES, keys.DRAINS, keys.QUEUE),  # what was under way is over, and the cluster's time begins anew
)

Records = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """What the head says."""

    cluster: str
    instance_id: str
    level: int
    revision: int
    time: str
    records: int
    program: str


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was read and is whole."""

    facts: BackupFacts
    records: Records


# --- The text --------------------------------------------------------------------------------------------------------


def write_backup(snapshot: Snapshot, program: str, now: datetime) -> tuple[BackupFacts, bytes]:
    """Write all records of a store that holds a cluster."""
    records = [record for record in snapshot.records if not record.key.startswith(LEFT_OUT)]
    root = next(record for record in records if record.key == keys.registry_key(keys.CLUSTER))
    values = KeyRecord.decode(root.value).values
    facts = BackupFacts(
        cluster=values.text("ClusterName"),
        instance_id=values.text("ClusterInstanceID"),
        level=level_of(values),
        revision=snapshot.revision,
        time=write_time(now),
        records=len(records),
        program=program,
    )
    head: JsonObject = {
        "quorate_backup": FORMAT,
        "schema": SCHEMA,
        "cluster": facts.cluster,
        "instance_id": facts.instance_id,
        "level": facts.level,
        "revision": str(facts.revision),
        "time": facts.time,
        "records": facts.records,
        "program": facts.program,
    }
    lines = [_line(head), *(_line({"key": record.key, **_value(record.value)}) for record in records)]
    body = b"".join(lines)
    return facts, body + _line({"end": True, "sha256": hashlib.sha256(body).hexdigest()})


def read_backup(data: bytes) -> Backup:
    """Read a backup. Raises FaultError 5087 when it is none or not whole, 5904 when a newer program wrote it."""
    body, _, last = data.rstrip(b"\n").rpartition(b"\n")
    end = _object(last)
    body += b"\n"
    if end.get("end") is not True or json_text(end, "sha256") != hashlib.sha256(body).hexdigest():
        raise _corrupt("it is not whole: its checksum does not fit")
    lines = iter(body.splitlines())
    head = _object(next(lines, b""))
    version = json_int(head, "quorate_backup")
    if version < 1:
        raise _corrupt("it has no head of a backup")
    if version > FORMAT or json_int(head, "schema") > SCHEMA:
        raise FaultError(Status.ERROR_CLUSTER_OLD_VERSION, "the backup was written by a newer Quorate: install that")
    records = dict(_records(lines))
    facts = BackupFacts(
        cluster=json_text(head, "cluster"),
        instance_id=json_text(head, "instance_id"),
        level=json_int(head, "level"),
        revision=json_int(head, "revision"),
        time=json_text(head, "time"),
        records=json_int(head, "records"),
        program=json_text(head, "program"),
    )
    if len(records) != facts.records or keys.SCHEMA not in records:
        raise _corrupt(f"it has {len(records)} records, and says that it has {facts.records}")
    return Backup(facts, records)


def _line(value: JsonObject) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _value(value: bytes) -> JsonObject:
    try:
        return {"value": value.decode("ascii")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _records(lines: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
    for line in lines:
        item = _object(line)
        if encoded := json_text(item, "base64"):
            yield json_text(item, "key"), base64.b64decode(encoded)
        else:
            yield json_text(item, "key"), json_text(item, "value").encode()


def _object(line: bytes) -> JsonObject:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise _corrupt("a line of it is not JSON") from error
    if not isinstance(value, dict):
        raise _corrupt("a line of it is no JSON object")
    return value


def _corrupt(reason: str) -> FaultError:
    return FaultError(Status.ERROR_DATABASE_BACKUP_CORRUPT, f"this is no backup that can be restored: {reason}")


# --- What is restored ------------------------------------------------------------------------------------------------


def plan_restore(backup: Backup, current: Records, access: StoreAccess | None, now: datetime) -> dict[str, bytes]:
    """The records that the database shall have, but for events, which stay as they are.

    ``current`` is what stands there now; ``access`` is how etcd is reached now, None where it does not matter.
    """
    planned = dict(backup.records)
    for key, value in backup.records.items():
        if key.startswith(keys.OWNERSHIP):
            planned[key] = _cold_ownership(value, current.get(key))
        elif key.startswith(keys.RUN):
            planned[key] = _cold_run(value)
        elif key.startswith(keys.COUNTERS):
            planned[key] = _raised(value, current.get(key))
    planned = {key: value for key, value in planned.items() if not key.startswith(keys.LEAVING)}
    planned.update({key: value for key, value in current.items() if key.startswith(keys.EVICTED)})
    nodes = _nodes(backup.records)
    _leave_out_evicted(planned, nodes)
    for node in nodes:
        planned[keys.lease(node)] = _ended_lease(current.get(keys.lease(node)))
    for node, name in _nodes(current).items():
        if keys.registry_key(keys.node_path(node)) not in planned:
            planned.setdefault(keys.evicted(node), EvictedNode(name, now, "a restore of an older backup").encode())
    if access is not None and keys.STORE_ACCESS in planned:
        known = StoreAccess.decode(planned[keys.STORE_ACCESS])
        planned[keys.STORE_ACCESS] = replace(known, endpoints=access.endpoints, prefix=access.prefix).encode()
    return planned


def _nodes(records: Records) -> dict[NodeId, str]:
    """The nodes that some records know, with their names."""
    prefix = keys.registry_key(keys.NODES) + "/"
    paths = [key for key in records if key.startswith(prefix) and "/" not in key[len(prefix) :]]
    found = (KeyRecord.decode(records[key]) for key in paths)
    return {NodeId(key.name): key.values.text("NodeName") for key in found}


def _leave_out_evicted(planned: dict[str, bytes], nodes: dict[NodeId, str]) -> None:
    """Take out, of the records and the nodes, who was evicted after the backup: a restore lets nobody in again."""
    evicted = [node for node in nodes if keys.evicted(node) in planned]
    heir = next((node for node in sorted(nodes, key=int) if node not in evicted), None)
    if heir is None:
        return  # without a node there is no cluster
    for node in evicted:
        path = keys.registry_key(keys.node_path(node))
        gone = (path, keys.name_index("node", nodes.pop(node)), keys.admission(node))
        for key in [key for key in planned if key in gone or key.startswith(f"{path}/")]:
            del planned[key]
    for key in [key for key in planned if key.startswith(keys.OWNERSHIP)]:
        ownership = Ownership.decode(planned[key])
        if ownership.holder in evicted:
            planned[key] = replace(ownership, holder=heir).encode()


def _cold_ownership(value: bytes, current: bytes | None) -> bytes:
    old = Ownership.decode(value)
    epochs = (old.epoch, 0 if current is None else Ownership.decode(current).epoch)
    cold = replace(old, epoch=max(epochs) + EPOCH_STEP, image=None, giver_image=None, giver=None)
    return cold.encode()


def _cold_run(value: bytes) -> bytes:
    """Wanted online or not stays; all else is as after every machine was turned off."""
    run = RunState.decode(value)
    vm = run.vm and replace(
        run.vm,
        vm_state=int(VmState.OFF),
        migration_state=0,
        migration_failure_reason=0,
        migration_progress=0,
        saved_image=None,
        saved_path=None,
        paused=False,
        sentence="restored from a backup",
    )
    states = dict.fromkeys(run.resource_states, int(ResourceState.OFFLINE))
    return replace(run, vm=vm, resource_states=states, status_information=0, failover=FailoverState()).encode()


def _raised(value: bytes, current: bytes | None) -> bytes:
    old = Counter.decode(value)
    return replace(
        old, last=max(old.last, 0 if current is None else Counter.decode(current).last) + NUMBER_STEP
    ).encode()


def _ended_lease(current: bytes | None) -> bytes:
    """Every node is down as a fact, and begins anew."""
    sequence = 0 if current is None else Lease.decode(current).sequence
    return Lease(RESTORED, sequence + 1, RESTORED_LEASE, ended=True).encode()


def live_leases(records: Iterable[tuple[str, bytes]]) -> dict[NodeId, Lease]:
    """The leases among some records that nobody has ended."""
    leases = (
        (NodeId(key.removeprefix(keys.LEASES)), Lease.decode(value))
        for key, value in records
        if key.startswith(keys.LEASES)
    )
    return {node: lease for node, lease in leases if not lease.ended}
