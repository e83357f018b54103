"""What people read of a group that does not run though it is wanted to."""

import asyncio
from dataclasses import replace

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import GroupStatus, NodeState
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Put
from quorate.database.failover_records import FailoverState
from quorate.database.memory import MemoryStore
from quorate.database.records import Lease, RunState
from quorate.database.snapshot import ClusterSnapshot
from quorate.server.standstill import Standstill, standstill

UP = {NodeId("1"): NodeState.UP}
DOWN = {NodeId("1"): NodeState.DOWN}


def cluster(run: RunState, *, ended: bool = False) -> tuple[ClusterSnapshot, GroupId]:
    async def make() -> tuple[ClusterSnapshot, GroupId]:
        store = MemoryStore()
        database = ClusterDatabase(store)
        await database.create_cluster("c")
        node = await database.add_node("node1")
        vm = await database.create_virtual_machine("web1", "{}", node)
        await store.transact((), (Put(keys.lease(node), Lease("i", 1, 5.0, ended=ended).encode()),))
        before = await database.get_run_state(vm.group)
        changed = replace(
            before.value,
            persistent_state=run.persistent_state,
            status_information=run.status_information,
            failover=run.failover,
        )
        await database.write_run_state(vm.group, await database.get_ownership(vm.group), changed)
        return await database.snapshot(), vm.group

    return asyncio.run(make())


WANTED = RunState(persistent_state=True)


def test_a_group_where_it_should_be_has_nothing_to_say() -> None:
    snapshot, group = cluster(WANTED)
    assert standstill(snapshot, UP, group, {}) == Standstill()


def test_a_virtual_machine_of_a_dead_node_is_lost_and_will_be_started_elsewhere() -> None:
    snapshot, group = cluster(WANTED)
    found = standstill(snapshot, DOWN, group, {})
    assert found.word == "lost"
    assert found.sentence.startswith("node1 is down; it is started elsewhere as soon as")
    snapshot, group = cluster(WANTED, ended=True)
    assert "about to be started elsewhere" in standstill(snapshot, DOWN, group, {}).sentence


def test_one_that_nobody_can_take_over_says_why() -> None:
    snapshot, group = cluster(WANTED, ended=True)
    reason = "node2 is not a possible owner"
    assert standstill(snapshot, DOWN, group, {group: reason}) == Standstill("lost", reason)


def test_one_that_nobody_wants_is_not_lost() -> None:
    snapshot, group = cluster(RunState())
    assert standstill(snapshot, DOWN, group, {}) == Standstill("", "node1, which has it, is down")


def test_parked_and_given_up_groups_show_the_deciding_sentence() -> None:
    said = FailoverState(sentence="node1 has 1 MiB free")
    snapshot, group = cluster(
        RunState(True, status_information=int(GroupStatus.PHYSICAL_RESOURCES_LACKING), failover=said)
    )
    assert standstill(snapshot, UP, group, {}) == Standstill("waits for memory", "node1 has 1 MiB free")
    snapshot, group = cluster(RunState(True, failover=replace(said, failed_at=1.0)))
    assert standstill(snapshot, UP, group, {}).word == "given up"
