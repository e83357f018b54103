"""Drains and the queue of moves with the engine's own hands: several nodes, a store in memory, fake machines."""

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest
from tests.hands.cluster_world import SimNode, World, cluster_test

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import (
    GroupMoveFlags,
    GroupStatus,
    MigrationState,
    NodePauseFlags,
    NodeResumeFailbackType,
    NodeStatus,
    VmState,
)
from quorate.cluster.moves import DrainStage
from quorate.database.cluster_database import VirtualMachineIds
from quorate.database.values import RegistryValue
from quorate.engine.draining import Draining

DWORD = RegistryValue.dword
REMAIN = NodePauseFlags.REMAIN_ON_PAUSED_NODE_ON_MOVE_ERROR
STAY = NodeResumeFailbackType.DO_NOT_FAIL_BACK
NOW = NodeResumeFailbackType.FAIL_BACK_IMMEDIATELY


def nothing(sentence: str) -> Sequence[EventRecord]:
    return ()


async def drain(by: SimNode, node: SimNode, flags: NodePauseFlags = REMAIN, target: NodeId | None = None) -> None:
    await Draining(by.context, by.clock.now).drain(node.id, target, flags, nothing)


async def resume(by: SimNode, node: SimNode, failback: NodeResumeFailbackType = STAY) -> None:
    await Draining(by.context, by.clock.now).resume(node.id, failback, nothing)


async def stage(world: World, node: SimNode) -> DrainStage | None:
    found = (await world.admin.snapshot()).drains.get(node.id)
    return None if found is None else DrainStage(found.value.stage)


async def is_at(world: World, node: SimNode, wanted: DrainStage | None) -> bool:
    return await stage(world, node) is wanted


def all_run_on(world: World, vms: Sequence[VirtualMachineIds], *nodes: SimNode) -> bool:
    return all(world.runs_on(vm) in {node.id for node in nodes} for vm in vms)


# --- a node is drained ---------------------------------------------------------------------------------------------


@cluster_test
async def test_everything_leaves_a_drained_node_live_and_comes_back_when_it_is_resumed(world: World) -> None:
    one, two, three = await world.form(2048, 1024, 1024)
    vms = [await world.vm(f"vm{number}", one) for number in range(5)]
    off = await world.vm("off", one, start=False)
    here = await world.vm("here", two)
    pids = {vm.vm_id: one.machine(vm.vm_id) for vm in vms}
    await drain(two, one)
    await world.until(lambda: is_at(world, one, DrainStage.COMPLETED))
    assert all_run_on(world, vms, two, three)
    assert not one.groups.holdings.owned
    assert await world.owner(off.group) != one.id
    assert all(machine is not None and machine.is_gone for machine in pids.values())
    snapshot = await world.admin.snapshot()
    info = snapshot.node(one.id)
    assert (info.paused, info.status) == (True, NodeStatus.DRAIN_COMPLETED)
    assert (info.properties.number("NodeDrainStatus"), info.properties.number("NodeDrainTarget")) == (2, 0xFFFFFFFF)
    for vm in vms:
        assert {event.kind for event in await world.admin.events() if event.object_id == vm.group} >= {
            "migration.started",
            "migration.completed",
        }
    await world.until(lambda: not two.view.snapshot.moves)

    await resume(three, one, NOW)
    await world.until(lambda: is_at(world, one, None))
    assert all_run_on(world, vms, one)
    assert await world.owner(off.group) == one.id
    assert world.runs_on(here) == two.id
    info = (await world.admin.snapshot()).node(one.id)
    assert (info.paused, info.status, info.properties.number("NodeDrainStatus")) == (False, NodeStatus.NORMAL, 0)


@cluster_test
async def test_a_drain_moves_as_many_at_a_time_as_are_allowed_and_the_others_wait_in_the_queue(world: World) -> None:
    one, two, three = await world.form(2048, 1024, 1024, properties={"MaximumParallelMigrations": DWORD(2)})
    vms = [
        await world.vm(f"vm{number}", one, group={"Priority": DWORD(3000 if number > 5 else 2000)})
        for number in range(8)
    ]
    seen: list[int] = []
    order: list[str] = []

    def watch(snapshot: object) -> None:
        for vm in vms:
            if vm.group in one.migrations.outgoing and vm.group not in order:
                order.append(vm.group)
        seen.append(len(one.migrations.outgoing))

    one.view.subscribe(watch)
    await drain(one, one)
    await world.until(lambda: is_at(world, one, DrainStage.COMPLETED))
    assert all_run_on(world, vms, two, three)
    assert max(seen) == 2
    assert set(order[:2]) == {vms[6].group, vms[7].group}, "high priority goes first"


@cluster_test
async def test_what_fits_nowhere_stays_and_runs_and_the_drain_says_so(world: World) -> None:
    one, two = await world.form(2048, 256)
    small = await world.vm("small", one, 200)
    large = await world.vm("large", one, 512)
    await drain(two, one)
    await world.until(lambda: is_at(world, one, DrainStage.FAILED))
    assert (world.runs_on(small), world.runs_on(large)) == (two.id, one.id)
    (told,) = await world.events("node1 is not drained")
    assert "large: no other node can take large: node2 has 56 MiB free of 256 MiB" in told.sentence
    assert (await world.admin.snapshot()).node(one.id).status == NodeStatus.DRAIN_FAILED
    # Room appears: the same drain is asked for again, and goes through.
    three = await world.add(1024)
    await drain(two, one)
    await world.until(lambda: is_at(world, one, DrainStage.COMPLETED))
    assert world.runs_on(large) == three.id


@cluster_test
async def test_without_the_flag_nothing_stays_what_fits_nowhere_is_saved_and_waits_elsewhere(world: World) -> None:
    one, two = await world.form(2048, 256)
    large = await world.vm("large", one, 512)
    await drain(two, one, NodePauseFlags.NONE)
    await world.until(lambda: is_at(world, one, DrainStage.COMPLETED))
    assert world.runs_on(large) is None
    assert await world.owner(large.group) == two.id
    assert await world.has_state(large, VmState.SAVED)
    assert await world.has_bits(large, GroupStatus.PHYSICAL_RESOURCES_LACKING)
    await resume(two, one, NOW)
    await world.until(lambda: world.runs_on(large) == one.id)


@cluster_test
async def test_low_priority_is_saved_and_restored_elsewhere(world: World) -> None:
    one, two = await world.form(1024, 1024)
    low = await world.vm("low", one, group={"Priority": DWORD(1000)})
    await drain(one, one)
    await world.until(lambda: world.runs_on(low) == two.id)
    kinds = [event.kind for event in await world.admin.events() if event.object_id == low.group]
    assert "migration.started" not in kinds
    await world.until(lambda: is_at(world, one, DrainStage.COMPLETED))


@cluster_test
async def test_a_target_takes_everything_and_must_be_up(world: World) -> None:
    one, two, _ = await world.form(1024, 1024, 4096)
    vms = [await world.vm(f"vm{number}", one) for number in range(3)]
    with pytest.raises(CallerError, match="cannot be drained to itself"):
        await drain(one, one, target=one.id)
    await Draining(one.context, one.clock.now).pause(two.id, nothing)
    await world.until(lambda: one.view.snapshot.nodes[two.id].paused)
    with pytest.raises(RefusalError, match="node2 is paused, and everything is to go there") as refused:
        await drain(one, one, target=two.id)
    assert refused.value.status == 5005
    await resume(one, two)
    await drain(one, one, target=two.id)
    with pytest.raises(RefusalError, match="is being drained already") as refused:
        await drain(one, one)
    assert refused.value.status == 5962
    await world.until(lambda: is_at(world, one, DrainStage.COMPLETED))
    assert all_run_on(world, vms, two)
    assert (await world.admin.snapshot()).node(one.id).properties.number("NodeDrainTarget") == 2


@cluster_test
async def test_resuming_stops_a_drain_and_what_has_gone_comes_back(world: World) -> None:
    one, two = await world.form(2048, 2048)
    vms = [await world.vm(f"vm{number}", one) for number in range(6)]
    await drain(one, one)
    await world.until(lambda: any(world.runs_on(vm) == two.id for vm in vms))
    await resume(two, one, NOW)
    await world.until(lambda: is_at(world, one, None))
    await world.until(lambda: all_run_on(world, vms, one))
    await world.until(lambda: not one.view.snapshot.moves)
    assert (await world.admin.snapshot()).node(one.id).status == NodeStatus.NORMAL


@cluster_test
async def test_the_next_coordinator_goes_on_with_a_drain(world: World) -> None:
    one, two, three = await world.form(2048, 2048, 2048)
    vms = [await world.vm(f"vm{number}", two) for number in range(6)]
    coordinator = world.coordinator()
    assert coordinator is one
    await drain(two, two)
    await world.until(lambda: any(world.runs_on(vm) != two.id for vm in vms))
    assert any(world.runs_on(vm) == two.id for vm in vms)
    await one.die()
    await world.until(lambda: is_at(world, two, DrainStage.COMPLETED))
    await world.until(lambda: all_run_on(world, vms, three))


@cluster_test
async def test_a_node_that_goes_down_while_it_is_drained_leaves_the_rest_to_failover(world: World) -> None:
    one, two, three = await world.form(2048, 2048, 2048)
    vms = [await world.vm(f"vm{number}", three) for number in range(6)]
    await drain(two, three)
    await world.until(lambda: any(world.runs_on(vm) not in (three.id, None) for vm in vms))
    await three.die()
    await world.until(lambda: all_run_on(world, vms, one, two))
    await world.until(lambda: is_at(world, three, DrainStage.COMPLETED))
    await world.until(lambda: not one.view.snapshot.moves)
    with pytest.raises(RefusalError, match="node3 is down: nothing can be moved off it") as refused:
        await drain(one, three)
    assert refused.value.status == 5050


@cluster_test
async def test_the_daemon_of_the_drained_node_is_started_anew_and_the_drain_goes_on(world: World) -> None:
    one, two = await world.form(2048, 2048)
    vms = [await world.vm(f"vm{number}", two) for number in range(5)]
    await drain(one, two)
    await world.until(lambda: any(world.runs_on(vm) == one.id for vm in vms))
    await two.stop()
    two = await world.again(two)
    await world.until(lambda: is_at(world, two, DrainStage.COMPLETED))
    assert all_run_on(world, vms, one)


@cluster_test
async def test_a_locked_group_stays_and_is_named(world: World) -> None:
    one, _ = await world.form(1024, 1024)
    locked = await world.vm("locked", one, group={"LockedFromMoving": DWORD(1)})
    await drain(one, one, NodePauseFlags.NONE)
    await world.until(lambda: is_at(world, one, DrainStage.FAILED))
    assert world.runs_on(locked) == one.id
    assert await world.events("locked: it is locked from moving (LockedFromMoving 1)")
    await resume(one, one)
    assert await is_at(world, one, None)


@cluster_test
async def test_by_policy_only_those_go_home_whose_policy_says_so(world: World) -> None:
    one, two = await world.form(1024, 1024)
    home = await world.vm("home", one, group={"AutoFailbackType": DWORD(1)})
    await world.admin.set_preferred_owners(home.group, [one.id])
    other = await world.vm("other", one)
    await drain(one, one)
    await world.until(lambda: is_at(world, one, DrainStage.COMPLETED))
    assert all_run_on(world, [home, other], two)
    await resume(one, one, NodeResumeFailbackType.FAIL_BACK_PER_POLICY)
    await world.until(lambda: world.runs_on(home) == one.id)
    await world.until(lambda: is_at(world, one, None))
    assert world.runs_on(other) == two.id


@cluster_test
async def test_what_a_person_cancels_stays_and_the_drain_says_so(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("vm", one)
    other = await world.vm("other", one)
    world.machines.bandwidth = 4e6
    await drain(one, one)
    await world.until(lambda: len(one.migrations.outgoing) == 1)
    first = next(iter(one.migrations.outgoing))
    waits = other.group if first == vm.group else vm.group
    await world.until(lambda: one.migrations.queue.waiting(waits) is not None)
    with pytest.raises(RefusalError) as refused:
        await one.migrations.start_migration(waits, "node2")
    assert refused.value.status == 5023
    with pytest.raises(RefusalError) as refused:
        await one.groups.move(waits, two.id, GroupMoveFlags.NONE, None)
    assert refused.value.status == 5959
    await one.migrations.cancel_migration(waits)
    await one.migrations.cancel_migration(first)
    await world.until(lambda: is_at(world, one, DrainStage.FAILED))
    assert all_run_on(world, [vm, other], one)
    assert await world.events("node1 is not drained: 2 groups stay", "somebody has cancelled its move")


@cluster_test
async def test_a_destination_that_refuses_is_not_tried_first_again(world: World) -> None:
    one, two, three = await world.form(1024, 4096, 2048)
    vm = await world.vm("vm", one)
    two.migrations.admission._configured = 1 << 20  # it has promised its memory, and the database does not know yet
    await drain(one, one)
    await world.until(lambda: world.runs_on(vm) == three.id)
    await world.until(lambda: is_at(world, one, DrainStage.COMPLETED))
    assert await world.owner(vm.group) == three.id


# --- the queue -----------------------------------------------------------------------------------------------------


async def migration_state(world: World, vm: VirtualMachineIds) -> MigrationState:
    run = await world.run(vm.group)
    assert run.vm is not None
    return MigrationState(run.vm.migration_state)


async def shows(world: World, vm: VirtualMachineIds, state: MigrationState) -> bool:
    return await migration_state(world, vm) is state


@cluster_test
async def test_a_node_s_moves_in_and_out_count_together_and_the_next_one_waits(world: World) -> None:
    one, two, three = await world.form(1024, 1024, 1024)
    first, second = await world.vm("first", one), await world.vm("second", two)
    await one.migrations.start_migration(first.group, "node2")
    await two.migrations.start_migration(second.group, "node3")
    entry = two.migrations.queue.waiting(second.group)
    assert entry is not None
    assert await migration_state(world, second) is MigrationState.SETUP
    with pytest.raises(RefusalError) as refused:
        await two.migrations.start_migration(second.group, "node1")
    assert refused.value.status == 5023
    await world.until(lambda: (world.runs_on(first), world.runs_on(second)) == (two.id, three.id))
    await world.until(lambda: not one.view.snapshot.moves)


@cluster_test
async def test_what_waits_is_cancelled_and_shows_it(world: World) -> None:
    one, *_ = await world.form(1024, 1024, 1024)
    first, second = await world.vm("first", one), await world.vm("second", one)
    world.machines.bandwidth = 2e6
    await one.migrations.start_migration(first.group, "node2")
    await one.migrations.start_migration(second.group, "node3")
    assert one.migrations.queue.waiting(second.group) is not None
    await one.migrations.cancel_migration(second.group)
    assert await migration_state(world, second) is MigrationState.CANCELED
    assert one.migrations.queue.find(second.group) is None
    await one.migrations.cancel_migration(first.group)
    assert (world.runs_on(first), world.runs_on(second)) == (one.id, one.id)
    await world.until(lambda: not one.view.snapshot.moves)


@cluster_test
async def test_the_queue_outlives_the_daemon_of_who_waits_in_it(world: World) -> None:
    one, two, three = await world.form(1024, 1024, 1024)
    first, second = await world.vm("first", one), await world.vm("second", two)
    world.machines.bandwidth = 2e7
    await one.migrations.start_migration(first.group, "node2")
    await two.migrations.start_migration(second.group, "node3")
    assert two.migrations.queue.waiting(second.group) is not None
    await two.stop()
    two = await world.again(two)
    assert await migration_state(world, second) is MigrationState.SETUP
    await world.until(lambda: world.runs_on(second) == three.id)
    await world.until(partial(shows, world, second, MigrationState.NO_MIGRATION))


@cluster_test
async def test_many_moves_that_are_asked_for_at_once_never_exceed_the_limits(world: World) -> None:
    nodes = await world.form(4096, 4096, 4096, 4096)
    vms = [(node, await world.vm(f"vm{node.id}{number}", node)) for node in nodes for number in range(3)]
    most: dict[NodeId, int] = {node.id: 0 for node in nodes}

    def count(snapshot: object) -> None:
        for node in nodes:
            taken = len(node.migrations.outgoing) + len(node.migrations.incoming)
            most[node.id] = max(most[node.id], taken)

    nodes[0].view.subscribe(count)

    async def start(node: SimNode, vm: VirtualMachineIds) -> None:
        other = nodes[int(node.id) % len(nodes)]
        await node.migrations.start_migration(vm.group, other.context.node_name)

    await asyncio.gather(*(start(node, vm) for node, vm in vms))
    await world.until(lambda: all(world.runs_on(vm) == nodes[int(node.id) % len(nodes)].id for node, vm in vms))
    await world.until(lambda: not nodes[0].view.snapshot.moves)
    assert max(most.values()) <= 2, "one out, and one that has arrived and is being let go over there"
