"""A backup as a text, and what is restored of it: nothing that was running may go on."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import ImageId, NodeId, ResourceId
from quorate.clusapi.states import ResourceState, VmState
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.backup import EPOCH_STEP, NUMBER_STEP, Backup, plan_restore, read_backup, write_backup
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Put, Snapshot
from quorate.database.member_records import EvictedNode, StoreAccess
from quorate.database.memory import MemoryStore
from quorate.database.records import Counter, Lease, NodeFacts, Ownership, RunState, VmRunState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NODE1, NODE2 = NodeId("1"), NodeId("2")
SAVED = ImageId("saved image")


async def running(store: MemoryStore) -> None:
    """A cluster of two nodes with a running VM and a saved one, and all that lives for moments only."""
    database = ClusterDatabase(store)
    await database.create_cluster("prod")
    assert [await database.add_node(name) for name in ("alpha", "beta")] == [NODE1, NODE2]
    for name, vm in (
        ("web1", VmRunState(int(VmState.RUNNING), 2, 0, sentence="moving")),
        ("db1", VmRunState(int(VmState.SAVED), saved_image=SAVED, saved_path="/saved/db1")),
    ):
        ids = await database.create_virtual_machine(name, "{}", NODE2)
        old = await database.get_ownership(ids.group)
        image = vm.saved_image or ImageId("running image")
        new = Ownership(NODE2, 2, image, ImageId("paused image"), NODE1)
        states = {ids.vm_resource: int(ResourceState.ONLINE), ResourceId("x"): int(ResourceState.ONLINE_PENDING)}
        await database.change_ownership(ids.group, old, new, RunState(True, NODE2, states, vm))
    await database.write_node_facts(NODE1, NodeFacts("unix:/h", "unix:/p", 1, "0.1.0"))
    access = StoreAccess(("https://old:2379",), "quorate/prod/", "ca", "certificate", "key")
    await store.transact(
        [],
        [
            Put(keys.lease(NODE1), Lease("i", 41, 5.0).encode()),
            Put(keys.token("t"), b"{}"),
            Put(keys.COORDINATOR, b"{}"),
            Put(keys.STORE_ACCESS, access.encode()),
            Put("private/binary", b"\xff\0"),
        ],
    )


def snapshot() -> Snapshot:
    async def main() -> Snapshot:
        store = MemoryStore()
        await running(store)
        return await store.range("")

    return asyncio.run(main())


@pytest.fixture(scope="module")
def before() -> Snapshot:
    return snapshot()


@pytest.fixture(scope="module")
def text(before: Snapshot) -> bytes:
    return write_backup(before, "0.1.0", NOW)[1]


def records(of: Snapshot) -> dict[str, bytes]:
    return {record.key: record.value for record in of.records}


def decoded(planned: Mapping[str, bytes], prefix: str) -> list[bytes]:
    return [value for key, value in planned.items() if key.startswith(prefix)]


def test_a_backup_holds_every_record_but_what_lives_for_moments(before: Snapshot, text: bytes) -> None:
    backup = read_backup(text)
    left_out = ("private/leases/", "private/nodes/", "private/tokens/", "private/events/", "private/coordinator")
    assert dict(backup.records) == {k: v for k, v in records(before).items() if not k.startswith(left_out)}
    facts = backup.facts
    assert (facts.cluster, facts.revision, facts.time) == ("prod", before.revision, "2026-01-02T03:04:05Z")
    assert all(isinstance(json.loads(line), dict) for line in text.splitlines())


def test_a_backup_that_is_not_whole_is_noticed(text: bytes) -> None:
    lines = text.splitlines(keepends=True)
    spoiled = [b"", b"\n", b"hello", lines[-1], text[:-2], b"".join(lines[:-1]), b"".join([lines[0], *lines[2:]])]
    spoiled += [text.replace(b"beta", b"gama", 1), text.replace(b'"records":', b'"recordz":', 1), lines[0] * 2]
    for data in spoiled:
        with pytest.raises(FaultError) as caught:
            read_backup(data)
        assert caught.value.status == Status.ERROR_DATABASE_BACKUP_CORRUPT


def test_nothing_that_a_backup_tells_of_may_go_on(before: Snapshot, text: bytes) -> None:
    planned = plan_restore(read_backup(text), {}, None, NOW)
    for value in decoded(planned, keys.OWNERSHIP):
        ownership = Ownership.decode(value)
        assert ownership.epoch > EPOCH_STEP
        assert (ownership.image, ownership.giver_image, ownership.giver) == (None, None, None)
    states = [RunState.decode(value) for value in decoded(planned, keys.RUN)]
    assert all(run.persistent_state for run in states), "what is wanted online stays wanted"
    vms = [run.vm for run in states if run.vm is not None]
    assert len(vms) == 2
    assert {(vm.vm_state, vm.migration_state, vm.saved_image, vm.saved_path) for vm in vms} == {
        (int(VmState.OFF), 0, None, None)
    }
    assert {state for run in states for state in run.resource_states.values()} == {int(ResourceState.OFFLINE)}
    assert {Lease.decode(value).ended for value in decoded(planned, keys.LEASES)} == {True}
    assert Counter.decode(planned[keys.counter("nodes")]).last == 2 + NUMBER_STEP
    registry = {key: value for key, value in records(before).items() if key.startswith(keys.REGISTRY)}
    assert {key: value for key, value in planned.items() if key.startswith(keys.REGISTRY)} == registry


def test_epochs_and_numbers_rise_beyond_those_that_were_given_since(before: Snapshot, text: bytes) -> None:
    current = records(before)
    group = next(key for key in current if key.startswith(keys.OWNERSHIP))
    current[group] = Ownership(NODE1, 7_000_000).encode()
    current[keys.counter("nodes")] = Counter(70).encode()
    planned = plan_restore(read_backup(text), current, None, NOW)
    assert Ownership.decode(planned[group]).epoch == 7_000_000 + EPOCH_STEP
    assert Counter.decode(planned[keys.counter("nodes")]).last == 70 + NUMBER_STEP
    assert Lease.decode(planned[keys.lease(NODE1)]).sequence == 42, "a daemon finds its lease ended"


def test_evictions_are_not_undone_and_later_nodes_are_evicted() -> None:
    async def main() -> tuple[bytes, dict[str, bytes]]:
        store = MemoryStore()
        await running(store)
        old = write_backup(await store.range(""), "0.1.0", NOW)[1]
        await ClusterDatabase(store).add_node("gamma")
        note = EvictedNode("alpha", NOW, "root")
        await store.transact([], [Put(keys.evicted(NODE1), note.encode())])
        return old, records(await store.range(""))

    old, current = asyncio.run(main())
    planned = plan_restore(read_backup(old), current, None, NOW)
    assert planned[keys.evicted(NODE1)] == current[keys.evicted(NODE1)]
    assert keys.registry_key(keys.node_path(NODE1)) not in planned
    assert EvictedNode.decode(planned[keys.evicted(NodeId("3"))]).name == "gamma"


def test_etcd_may_be_somewhere_else_by_now(text: bytes) -> None:
    access = StoreAccess(("https://new:2379",), "quorate/other/")
    planned = plan_restore(read_backup(text), {}, access, NOW)
    restored = StoreAccess.decode(planned[keys.STORE_ACCESS])
    assert restored == replace(access, ca="ca", certificate="certificate", key="key")


def test_a_backup_of_a_newer_program_is_refused(before: Snapshot, text: bytes) -> None:
    lines = text.replace(b'"quorate_backup":1', b'"quorate_backup":2').splitlines(keepends=True)[:-1]
    body = b"".join(lines)
    end = json.dumps({"end": True, "sha256": hashlib.sha256(body).hexdigest()}).encode()
    with pytest.raises(FaultError) as caught:
        read_backup(body + end + b"\n")
    assert caught.value.status == Status.ERROR_CLUSTER_OLD_VERSION


def test_a_backup_survives_reading(text: bytes) -> None:
    assert isinstance(read_backup(text), Backup)
    assert read_backup(text) == read_backup(text + b"\n")
