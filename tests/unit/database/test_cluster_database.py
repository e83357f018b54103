import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.waiting import PATIENCE

from quorate.clusapi.dependencies import NO_DEPENDENCY
from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import GroupId, ImageId, NodeId, ResourceId
from quorate.clusapi.resource_types import STANDARD_TYPES
from quorate.clusapi.states import GroupType, NodeStatus
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase, ConflictingOwnership
from quorate.database.contract import Compare, Delete, Put
from quorate.database.group_configuration import GroupConfiguration
from quorate.database.memory import MemoryData, MemoryStore
from quorate.database.records import Lease, NodeFacts, Ownership, RunState, Versioned
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.values import RegistryValue

NODE1, NODE2 = NodeId("1"), NodeId("2")


def with_cluster(body: Callable[[ClusterDatabase], Awaitable[None]], data: MemoryData | None = None) -> MemoryData:
    """Run a test on a cluster of two nodes."""
    store = MemoryStore(data)

    async def main() -> None:
        database = ClusterDatabase(store)
        await database.create_cluster("demo")
        assert [await database.add_node("node1"), await database.add_node("Node2")] == ["1", "2"]
        async with asyncio.timeout(PATIENCE):
            await body(database)

    asyncio.run(main())
    return store.data


async def status_of(call: Awaitable[object]) -> Status:
    with pytest.raises(ClusterError) as caught:
        await call
    return caught.value.status


def event(sentence: str, milliseconds: int = 0) -> EventRecord:
    return EventRecord.of(
        EventKind.VM_STATE,
        time=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds),
        node=NODE1,
        object_id="x",
        object_name="x",
        sentence=sentence,
    )


# --- The cluster and its nodes -------------------------------------------------------------------------------------


def test_an_empty_database_holds_no_cluster() -> None:
    async def main() -> None:
        database = ClusterDatabase(MemoryStore())
        assert not await database.is_created()
        assert await status_of(database.snapshot()) == Status.ERROR_CLUSTER_NOT_INSTALLED
        assert await status_of(database.add_node("n")) == Status.ERROR_CLUSTER_NOT_INSTALLED

    asyncio.run(main())


def test_a_new_cluster_has_what_every_cluster_has() -> None:
    async def body(database: ClusterDatabase) -> None:
        assert await database.is_created()
        assert await status_of(database.create_cluster("again")) == Status.ERROR_OBJECT_ALREADY_EXISTS
        snapshot = await database.snapshot()
        assert snapshot.cluster.name == "demo"
        assert len(snapshot.cluster.instance_id) == 36
        core = snapshot.group("cluster group")
        assert core.group_type == GroupType.CORE_CLUSTER
        assert snapshot.owner_of(core.id) == NODE1
        assert snapshot.ownership[core.id].value.epoch == 1
        assert {*snapshot.resource_types} == {*STANDARD_TYPES}
        name = snapshot.resource("cluster name")
        assert (name.id, name.group_id, name.type) == (snapshot.cluster.name_resource, core.id, "Network Name")
        assert name.parameters.text("Name") == "demo"
        assert snapshot.is_bare(core)
        assert snapshot.resource_type("VIRTUAL MACHINE").properties.number("IsAlivePollInterval") == 60_000

    with_cluster(body)


def test_two_who_create_the_cluster_at_once_make_one() -> None:
    async def main() -> None:
        data = MemoryData()
        databases = [ClusterDatabase(MemoryStore(data)) for _ in range(2)]
        results = await asyncio.gather(*(d.create_cluster("c") for d in databases), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["CallerError", "NoneType"]

    asyncio.run(main())


def test_nodes_that_join_at_once_get_numbers_of_their_own() -> None:
    async def body(database: ClusterDatabase) -> None:
        numbers = await asyncio.gather(*(database.add_node(f"n{number}") for number in range(8)))
        assert sorted(numbers, key=int) == [str(number) for number in range(3, 11)]
        assert list((await database.snapshot()).nodes) == [str(number) for number in range(1, 11)]

    with_cluster(body)


def test_a_node_is_found_by_number_or_name_and_its_name_is_taken() -> None:
    async def body(database: ClusterDatabase) -> None:
        assert await status_of(database.add_node("NODE2")) == Status.ERROR_OBJECT_ALREADY_EXISTS
        snapshot = await database.snapshot()
        assert snapshot.node("nOdE2").id == snapshot.node("2").id == NODE2
        assert snapshot.find_node("3") is None
        with pytest.raises(ClusterError) as caught:
            snapshot.node("3")
        assert caught.value.status == Status.ERROR_CLUSTER_NODE_NOT_FOUND

    with_cluster(body)


def test_a_paused_node_shows_it() -> None:
    async def body(database: ClusterDatabase) -> None:
        await database.set_node_paused(NODE2, True)
        assert [node.paused for node in (await database.snapshot()).nodes.values()] == [False, True]
        await database.set_node_paused(NODE2, False)
        assert not (await database.snapshot()).node("2").paused
        assert await status_of(database.set_node_paused(NodeId("9"), True)) == Status.ERROR_CLUSTER_NODE_NOT_FOUND

    with_cluster(body)


def test_the_end_of_a_pause_ends_a_quarantine_and_nothing_else_of_the_status() -> None:
    async def body(database: ClusterDatabase) -> None:
        async def status() -> NodeStatus:
            return (await database.snapshot()).node("2").status

        both = NodeStatus.QUARANTINED | NodeStatus.AVOID_PLACEMENT
        await database.set_values(keys.node_path(NODE2), {"StatusInformation": RegistryValue.dword(int(both))})
        await database.set_node_paused(NODE2, True)
        assert await status() == both
        await database.set_node_paused(NODE2, False)
        assert await status() == NodeStatus.AVOID_PLACEMENT

    with_cluster(body)


def test_facts_and_leases_are_seen() -> None:
    async def body(database: ClusterDatabase) -> None:
        facts = NodeFacts("unix:/h", "unix:/p", 1, "0.1.0", {"kind": "fake"})
        await database.write_node_facts(NODE1, facts)
        assert await database.get_lease(NODE1) is None
        lease = Lease("i", 1, 5.0)
        outcome = await database.store.transact([], [Put(keys.lease(NODE1), lease.encode())])
        snapshot = await database.snapshot()
        assert snapshot.facts[NODE1].value == facts
        assert snapshot.leases[NODE1] == await database.get_lease(NODE1) == Versioned(lease, outcome.revision)

    with_cluster(body)


# --- Virtual machines, groups, resources ---------------------------------------------------------------------------


def test_a_virtual_machine_is_a_group_with_two_resources() -> None:
    async def body(database: ClusterDatabase) -> None:
        before = (await database.snapshot()).revision
        ids = database.new_vm_ids()
        parameters = {"OfflineAction": RegistryValue.dword(2)}
        made = await database.create_virtual_machine(
            "web1", '{"cpus":1}', NODE2, ids=ids, parameters=parameters, events=[event("made")]
        )
        assert made == ids
        snapshot = await database.snapshot()
        assert snapshot.revision == before + 1, "one transaction"
        group = snapshot.group("WEB1")
        assert group.is_virtual_machine
        vm, configuration = snapshot.resource("virtual machine WEB1"), snapshot.vm_configuration(group.id)
        assert configuration is not None
        assert configuration.name == "Virtual Machine Configuration web1"
        assert vm == snapshot.vm_resource(group.id)
        assert vm.dependencies == (configuration.id,)
        assert vm.possible_owners == (NODE1, NODE2)
        assert (vm.vm_id, configuration.vm_id) == (ids.vm_id, ids.vm_id)
        assert vm.parameters.number("OfflineAction") == 2
        assert configuration.parameters.text("Definition") == '{"cpus":1}'
        assert snapshot.ownership[group.id].value == Ownership(NODE2, 1)
        run = snapshot.run[group.id].value
        assert run.vm is not None
        assert (run.vm.vm_state, run.default_owner, run.persistent_state) == (3, NODE2, False)
        assert [group.name for group in snapshot.groups_of(NODE2)] == ["web1"]
        assert [event.sequence for event in await database.events()] == [before + 1]

    with_cluster(body)


@pytest.mark.parametrize("name", ["WEB1", "Cluster Group"])
def test_a_taken_name_creates_nothing(name: str) -> None:
    async def body(database: ClusterDatabase) -> None:
        await database.create_virtual_machine("web1", "{}", NODE1)
        before = await database.store.range("")
        assert await status_of(database.create_virtual_machine(name, "{}", NODE1)) == Status.ERROR_OBJECT_ALREADY_EXISTS
        assert await status_of(database.create_group(name, 111, NODE1)) == Status.ERROR_OBJECT_ALREADY_EXISTS
        assert await database.store.range("") == before

    with_cluster(body)


@pytest.mark.parametrize("name", ["", " a", "a\n", "x" * 256])
def test_what_is_no_name_is_refused(name: str) -> None:
    async def body(database: ClusterDatabase) -> None:
        assert await status_of(database.create_virtual_machine(name, "{}", NODE1)) == Status.ERROR_INVALID_NAME
        assert await status_of(database.create_group(name, 111, NODE1)) == Status.ERROR_INVALID_NAME

    with_cluster(body)


def test_an_unknown_owner_is_refused() -> None:
    async def body(database: ClusterDatabase) -> None:
        call = database.create_virtual_machine("web1", "{}", NodeId("7"))
        assert await status_of(call) == Status.ERROR_CLUSTER_NODE_NOT_FOUND

    with_cluster(body)


def test_deleting_a_group_leaves_nothing_and_frees_its_names() -> None:
    async def body(database: ClusterDatabase) -> None:
        before = (await database.store.range("")).records
        ids = await database.create_virtual_machine("web1", "{}", NODE1)
        await database.registry.create(keys.parameters_path(ids.vm_resource) + "\\Deeper")
        await database.delete_group(ids.group)
        assert [record.key for record in (await database.store.range("")).records] == [rec.key for rec in before]
        assert await status_of(database.delete_group(ids.group)) == Status.ERROR_GROUP_NOT_FOUND
        await database.create_virtual_machine("web1", "{}", NODE1)
        core = (await database.snapshot()).group("Cluster Group")
        assert await status_of(database.delete_group(core.id)) == Status.ERROR_CORE_RESOURCE

    with_cluster(body)


def test_a_group_is_not_deleted_under_a_new_owner() -> None:
    async def body(database: ClusterDatabase) -> None:
        ids = await database.create_virtual_machine("web1", "{}", NODE1)
        read = await database.get_ownership(ids.group)
        await database.change_ownership(ids.group, read, replace(read.value, holder=NODE2, epoch=2))
        assert await status_of(database.delete_group(ids.group, ownership=read)) == Status.ERROR_RETRY
        await database.delete_group(ids.group, ownership=await database.get_ownership(ids.group))

    with_cluster(body)


def test_renaming_moves_the_name() -> None:
    async def body(database: ClusterDatabase) -> None:
        ids = await database.create_virtual_machine("web1", "{}", NODE1)
        await database.create_virtual_machine("web2", "{}", NODE1)
        assert await status_of(database.rename_group(ids.group, "WEB2")) == Status.ERROR_OBJECT_ALREADY_EXISTS
        await database.rename_group(ids.group, "Web1")
        await database.rename_group(ids.group, "db1")
        await database.rename_resource(ids.vm_resource, "the machine")
        snapshot = await database.snapshot()
        assert snapshot.group("db1").id == ids.group
        assert snapshot.resource("The Machine").id == ids.vm_resource
        assert snapshot.find_group("web1") is None
        await database.create_group("web1", 9999, NODE1)
        await database.rename_cluster("other")
        renamed = await database.snapshot()
        assert renamed.cluster.name == renamed.resource("Cluster Name").parameters.text("Name") == "other"
        assert await status_of(database.rename_group(GroupId("no"), "x")) == Status.ERROR_GROUP_NOT_FOUND

    with_cluster(body)


def test_resources_come_and_go() -> None:
    async def body(database: ClusterDatabase) -> None:
        group = await database.create_group("scripts", GroupType.GENERIC_SCRIPT, NODE1)
        script = {"ScriptFilepath": RegistryValue.sz("x.sh")}
        one = await database.create_resource("one", "generic script", group, parameters=script)
        two = await database.create_resource(
            "two", "Generic Script", group, dependencies=[one], possible_owners=[NODE2]
        )
        snapshot = await database.snapshot()
        assert [resource.name for resource in snapshot.resources_of(group)] == ["one", "two"]
        assert snapshot.resource("one").type == "Generic Script"
        assert snapshot.resource("one").parameters.text("scriptfilepath") == "x.sh"
        assert snapshot.resource("two").possible_owners == (NODE2,)
        create = database.create_resource
        assert await status_of(create("ONE", "Generic Script", group)) == Status.ERROR_OBJECT_ALREADY_EXISTS
        assert await status_of(create("x", "No Such", group)) == Status.ERROR_CLUSTER_RESOURCE_TYPE_NOT_FOUND
        assert await status_of(create("x", "Generic Script", GroupId("no"))) == Status.ERROR_GROUP_NOT_FOUND
        unknown = create("x", "Generic Script", group, dependencies=[ResourceId("no")])
        assert await status_of(unknown) == Status.ERROR_DEPENDENCY_NOT_FOUND
        assert await status_of(database.delete_resource(one)) == Status.ERROR_DEPENDENT_RESOURCE_EXISTS
        assert await status_of(database.set_dependencies(one, two)) == Status.ERROR_CIRCULAR_DEPENDENCY
        assert await status_of(database.set_dependencies(one, one)) == Status.ERROR_CIRCULAR_DEPENDENCY
        await database.set_dependencies(two, NO_DEPENDENCY)
        await database.delete_resource(one)
        assert [resource.id for resource in (await database.snapshot()).resources_of(group)] == [two]

    with_cluster(body)


def test_two_dependencies_at_once_close_no_circle() -> None:
    async def body(database: ClusterDatabase) -> None:
        group = await database.create_group("g", GroupType.GENERIC_SCRIPT, NODE1)
        one = await database.create_resource("one", "Generic Script", group)
        two = await database.create_resource("two", "Generic Script", group)
        calls = (database.set_dependencies(one, two), database.set_dependencies(two, one))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["CallerError", "NoneType"]

    with_cluster(body)


def test_owner_lists_are_checked_and_cleared() -> None:
    async def body(database: ClusterDatabase) -> None:
        ids = await database.create_virtual_machine("web1", "{}", NODE1)
        await database.set_preferred_owners(ids.group, [NODE2, NODE1])
        await database.set_possible_owners(ids.vm_resource, [NODE1])
        snapshot = await database.snapshot()
        assert snapshot.groups[ids.group].preferred_owners == (NODE2, NODE1)
        assert snapshot.resources[ids.vm_resource].possible_owners == (NODE1,)
        bad = database.set_possible_owners(ids.vm_resource, [NodeId("7")])
        assert await status_of(bad) == Status.ERROR_CLUSTER_NODE_NOT_FOUND
        twice = database.set_preferred_owners(ids.group, [NODE1, NODE1])
        assert await status_of(twice) == Status.ERROR_OBJECT_IN_LIST
        await database.set_possible_owners(ids.vm_resource, [])
        assert (await database.snapshot()).resources[ids.vm_resource].possible_owners == ()
        await database.set_possible_owners(ids.vm_resource, None)
        assert (await database.snapshot()).resources[ids.vm_resource].possible_owners == (NODE1, NODE2)

    with_cluster(body)


def test_setting_values_and_events_is_one_transaction() -> None:
    async def body(database: ClusterDatabase) -> None:
        ids = await database.create_virtual_machine("web1", "{}", NODE1)
        path = keys.parameters_path(ids.configuration_resource)
        revision = await database.set_values(path, {"Pinned": RegistryValue.sz("{}")}, events=[event("pinned")])
        assert [(item.sequence, item.sentence) for item in await database.events()] == [(revision, "pinned")]
        late = database.set_values(path, {"Pinned": None}, expected=revision - 1, events=[event("no")])
        assert await status_of(late) == Status.ERROR_RETRY
        assert len(await database.events()) == 1
        missing = database.set_values("Groups\\no", {})
        assert await status_of(missing) == Status.ERROR_FILE_NOT_FOUND

    with_cluster(body)


# --- Ownership -----------------------------------------------------------------------------------------------------


def test_ownership_changes_by_compare_and_swap_with_run_state_and_events() -> None:
    async def body(database: ClusterDatabase) -> None:
        ids = await database.create_virtual_machine("web1", "{}", NODE1)
        read = await database.get_ownership(ids.group)
        new = Ownership(NODE2, 2, ImageId("b"), ImageId("a"), NODE1)
        run = RunState(persistent_state=True, default_owner=NODE2)
        taken = await database.change_ownership(ids.group, read, new, run, [event("moved")])
        assert taken == await database.get_ownership(ids.group)
        assert isinstance(taken, Versioned)
        assert taken.value == new
        assert (await database.get_run_state(ids.group)).value == run
        assert [item.sequence for item in await database.events()] == [taken.revision]
        late = await database.change_ownership(ids.group, read, new, RunState(), [event("no")])
        assert late == ConflictingOwnership(taken)
        assert (await database.get_run_state(ids.group)).value == run
        assert len(await database.events()) == 1
        with pytest.raises(ValueError, match="epoch"):
            await database.change_ownership(ids.group, taken, new)
        await database.delete_group(ids.group)
        gone = await database.change_ownership(ids.group, taken, replace(new, epoch=3))
        assert gone == ConflictingOwnership(None)
        assert await status_of(database.get_ownership(ids.group)) == Status.ERROR_GROUP_NOT_FOUND

    with_cluster(body)


def test_of_two_takers_one_wins() -> None:
    async def body(database: ClusterDatabase) -> None:
        ids = await database.create_virtual_machine("web1", "{}", NODE1)
        read = await database.get_ownership(ids.group)
        claims = [Ownership(node, 2) for node in (NODE1, NODE2)]
        results = await asyncio.gather(*(database.change_ownership(ids.group, read, claim) for claim in claims))
        assert sorted(type(result).__name__ for result in results) == ["ConflictingOwnership", "Versioned"]

    with_cluster(body)


def test_a_taker_provides_the_lease_that_it_judged() -> None:
    async def body(database: ClusterDatabase) -> None:
        ids = await database.create_virtual_machine("web1", "{}", NODE1)
        read = await database.get_ownership(ids.group)
        key = keys.lease(NODE1)
        judged = (await database.store.transact([], [Put(key, Lease("i", 1, 5.0).encode())])).revision
        renewed = (await database.store.transact([], [Put(key, Lease("i", 2, 5.0).encode())])).revision
        claim = Ownership(NODE2, 2)
        refused = await database.change_ownership(ids.group, read, claim, provided=[Compare(key, judged)])
        assert refused == ConflictingOwnership(read)
        taken = await database.change_ownership(ids.group, read, claim, provided=[Compare(key, renewed)])
        assert isinstance(taken, Versioned)

    with_cluster(body)


def test_the_end_of_a_lease_is_a_fact_with_its_event_and_whatever_lands_with_it() -> None:
    async def body(database: ClusterDatabase) -> None:
        key = keys.lease(NODE1)
        tomorrow = Lease("i", 1, 5.0, seen=3, extra={"of_tomorrow": 1})
        await database.store.transact([], [Put(key, tomorrow.encode())])
        judged = await database.get_lease(NODE1)
        assert judged is not None
        other = Compare(keys.SCHEMA, 0)  # which exists
        assert not await database.end_lease(NODE1, judged, [event("no")], [other])
        role = Put("private/with-it", b"{}")
        assert await database.end_lease(NODE1, judged, [event("down")], writes=[role])
        snapshot = await database.snapshot()
        ended = snapshot.leases[NODE1]
        assert ended.value == replace(tomorrow, ended=True)
        stored = await database.store.get("private/with-it")
        assert stored is not None and stored.revision == ended.revision
        assert [(item.sentence, item.sequence) for item in await database.events()] == [("down", ended.revision)]
        assert not await database.end_lease(NODE1, judged)
        with pytest.raises(ValueError, match="ended already"):
            await database.end_lease(NODE1, ended)

    with_cluster(body)


def test_a_lease_that_was_renewed_since_is_not_ended() -> None:
    async def body(database: ClusterDatabase) -> None:
        key = keys.lease(NODE1)
        await database.store.transact([], [Put(key, Lease("i", 1, 5.0).encode())])
        judged = await database.get_lease(NODE1)
        await database.store.transact([], [Put(key, Lease("i", 2, 5.0).encode())])
        assert judged is not None and not await database.end_lease(NODE1, judged)
        assert not (await database.snapshot()).leases[NODE1].value.ended

    with_cluster(body)


def test_when_a_node_was_admitted_is_known_and_never_changes() -> None:
    async def body(database: ClusterDatabase) -> None:
        before = (await database.snapshot()).admissions
        assert before.keys() == {NODE1, NODE2} and before[NODE1] < before[NODE2]
        await database.set_node_paused(NODE1, True)
        await database.note_admissions()
        assert (await database.snapshot()).admissions == before

    with_cluster(body)


def test_nodes_of_older_versions_count_as_admitted_when_it_is_first_noted() -> None:
    async def body(database: ClusterDatabase) -> None:
        known = (await database.snapshot()).admissions[NODE2]
        await database.store.transact([], [Delete(keys.admission(NODE1))])
        snapshot = await database.snapshot()
        assert snapshot.admissions.keys() == {NODE2}
        await asyncio.gather(database.note_admissions(), database.note_admissions())
        after = (await database.snapshot()).admissions
        assert after[NODE2] == known and after[NODE1] > snapshot.revision

    with_cluster(body)


def test_a_run_state_that_was_lost_never_lands_over_a_later_one() -> None:
    async def body(database: ClusterDatabase) -> None:
        ids = await database.create_virtual_machine("web1", "{}", NODE1)
        mine = await database.get_ownership(ids.group)
        known = (await database.get_run_state(ids.group)).revision
        lost = await database.write_run_state(ids.group, mine, RunState(False), over=known)
        later = await database.write_run_state(ids.group, mine, RunState(True), over=known)
        assert later > lost > known, "one whose answer was lost is written over"
        outcome = await database.store.transact(
            (Compare(keys.ownership(ids.group), mine.revision), Compare(keys.run(ids.group), known)),
            (Put(keys.run(ids.group), RunState(False).encode()),),
        )
        assert not outcome.succeeded, "what it compares with is gone for good"
        assert (await database.get_run_state(ids.group)).value == RunState(True)

    with_cluster(body)


def test_a_run_state_is_written_only_by_the_owner_of_the_moment() -> None:
    async def body(database: ClusterDatabase) -> None:
        ids = await database.create_virtual_machine("web1", "{}", NODE1)
        read = await database.get_ownership(ids.group)
        assert await database.write_run_state(ids.group, read, RunState(True), [event("on")])
        await database.change_ownership(ids.group, read, Ownership(NODE2, 2))
        assert not await database.write_run_state(ids.group, read, RunState(False), [event("no")])
        assert (await database.get_run_state(ids.group)).value == RunState(True)
        assert [item.sentence for item in await database.events()] == ["on"]

    with_cluster(body)


# --- Events and following ------------------------------------------------------------------------------------------


def test_events_are_read_in_order_in_pages_that_split_no_transaction() -> None:
    async def body(database: ClusterDatabase) -> None:
        one = await database.append_events([event("a"), event("b")])
        two = await database.append_events([event("c", -60_000)])  # a clock that went back changes no order
        assert [item.sentence for item in await database.events()] == ["a", "b", "c"]
        assert [item.sentence for item in await database.events(limit=1)] == ["a", "b"]
        assert [item.sentence for item in await database.events(after=one)] == ["c"]
        assert [item.sentence for item in await database.latest_events(2)] == ["b", "c"]
        assert await database.events(after=two) == ()
        async with aclosing(database.watch_events(0)) as batches:
            assert [item.sentence for item in await anext(batches)] == ["a", "b"]
            assert [(item.sentence, item.sequence) for item in await anext(batches)] == [("c", two)]
        assert await database.prune_events(1) == 2
        assert [item.sentence for item in await database.events()] == ["c"]

    with_cluster(body)


def test_following_tells_every_state_of_the_cluster() -> None:
    async def body(database: ClusterDatabase) -> None:
        async with aclosing(database.follow()) as snapshots:
            first = await anext(snapshots)
            ids = await database.create_virtual_machine("web1", "{}", NODE1)
            await database.append_events([event("shows in no snapshot")])
            await database.delete_group(ids.group)
            second, third = await anext(snapshots), await anext(snapshots)
        assert [snapshot.find_group("web1") is not None for snapshot in (first, second, third)] == [False, True, False]
        assert second.ownership[ids.group].value.holder == NODE1
        assert third == await database.snapshot()
        assert first.revision < second.revision < third.revision

    with_cluster(body)


def test_following_goes_on_after_falling_behind() -> None:
    async def body(database: ClusterDatabase) -> None:
        async with aclosing(database.follow()) as snapshots:
            await anext(snapshots)
            await database.rename_cluster("c0")
            await anext(snapshots)
            for number in range(10):
                await database.rename_cluster(f"c{number}")
            assert (await anext(snapshots)).cluster.name == "c9"

    with_cluster(body, MemoryData(keep=4))


def test_waiting_until_something_holds() -> None:
    async def body(database: ClusterDatabase) -> None:
        def paused(snapshot: ClusterSnapshot) -> bool:
            return snapshot.node("1").paused

        waiting = asyncio.create_task(database.wait_until(paused))
        await asyncio.sleep(0)
        await database.set_node_paused(NODE1, True)
        assert (await waiting).node("1").paused
        waiting = asyncio.create_task(database.wait_until(lambda snapshot: False))
        await asyncio.sleep(0.01)
        await database.store.close()
        with pytest.raises(FaultError):
            await waiting

    with_cluster(body)


def test_a_snapshot_that_was_handed_out_never_changes() -> None:
    async def body(database: ClusterDatabase) -> None:
        async with aclosing(database.follow()) as snapshots:
            first = await anext(snapshots)
            copies = (dict(first.nodes), dict(first.groups), dict(first.ownership), dict(first.run))
            await database.create_virtual_machine("web1", "{}", NODE1)
            await anext(snapshots)
            assert (dict(first.nodes), dict(first.groups), dict(first.ownership), dict(first.run)) == copies

    with_cluster(body)


# --- Configuration by the contract ---------------------------------------------------------------------------------


def test_a_group_is_configured_as_a_whole_and_by_its_owner() -> None:
    async def body(database: ClusterDatabase) -> None:
        group = await database.create_group("g", GroupType.GENERIC_SCRIPT, NODE1)
        ownership, run = await database.get_ownership(group), (await database.get_run_state(group)).value
        change = GroupConfiguration({"Priority": RegistryValue.dword(1)}, "h", True, NODE2)
        after = change.applied_to(run)
        await database.configure_group(group, change, run=after, ownership=ownership, events=(event("set"),))
        info = (await database.snapshot()).group("h")
        assert info.properties.number("Priority") == 1
        assert (await database.get_run_state(group)).value == replace(run, persistent_state=True, default_owner=NODE2)
        assert [found.sentence for found in await database.events()] == ["set"]
        given = await database.change_ownership(group, ownership, Ownership(NODE2, 2))
        assert isinstance(given, Versioned)
        late = GroupConfiguration({"Priority": RegistryValue.dword(2)}, "i")
        stale = database.configure_group(group, late, ownership=ownership, events=(event("never"),))
        assert await status_of(stale) == Status.ERROR_HOST_NODE_NOT_GROUP_OWNER
        taken = database.configure_group(group, GroupConfiguration(late.values, "cluster group"))
        assert await status_of(taken) == Status.ERROR_OBJECT_ALREADY_EXISTS
        assert (await database.snapshot()).group("h") == info
        assert len(await database.events()) == 1
        none = GroupConfiguration(default_owner=NodeId(""))
        assert none.applied_to(after) == replace(after, default_owner=None)

    with_cluster(body)


def test_private_properties_lie_below_their_object() -> None:
    async def body(database: ClusterDatabase) -> None:
        path = keys.node_path(NODE1)
        assert dict(await database.key_values(path, private=True)) == {}
        await database.set_parameters(path, {"A": RegistryValue.dword(1), "B": RegistryValue.sz("b")})
        await database.set_parameters(path, {"a": None})
        await database.set_parameters(keys.CLUSTER, {"C": RegistryValue.sz("c")})
        assert dict(await database.key_values(path, private=True)) == {"B": RegistryValue.sz("b")}
        assert dict(await database.key_values(keys.CLUSTER, private=True)) == {"C": RegistryValue.sz("c")}
        missing = database.set_parameters(keys.node_path(NodeId("9")), {"A": RegistryValue.dword(1)})
        assert await status_of(missing) == Status.ERROR_FILE_NOT_FOUND
        assert set((await database.snapshot()).nodes) == {NODE1, NODE2}

    with_cluster(body)


def test_possible_owners_come_and_go_one_by_one_also_at_the_same_time() -> None:
    async def body(database: ClusterDatabase) -> None:
        ids = await database.create_virtual_machine("web1", "{}", NODE1)
        third = await database.add_node("node3")
        resource = ids.vm_resource
        await asyncio.gather(*(database.remove_possible_owner(resource, node) for node in (NODE1, third)))
        assert (await database.snapshot()).resources[resource].possible_owners == (NODE2,)
        assert await status_of(database.remove_possible_owner(resource, NODE2)) == Status.ERROR_NODE_CANT_HOST_RESOURCE
        await asyncio.gather(*(database.add_possible_owner(resource, node) for node in (NODE1, third)))
        assert set((await database.snapshot()).resources[resource].possible_owners) == {NODE1, NODE2, third}
        assert await status_of(database.add_possible_owner(resource, NODE1)) == Status.ERROR_OBJECT_IN_LIST
        unknown = NodeId("9")
        assert await status_of(database.add_possible_owner(resource, unknown)) == Status.ERROR_CLUSTER_NODE_NOT_FOUND
        assert await status_of(database.remove_possible_owner(resource, unknown)) == Status.ERROR_CLUSTER_NODE_NOT_FOUND

    with_cluster(body)
