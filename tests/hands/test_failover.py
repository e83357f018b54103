"""Failover with the engine's own hands: several nodes, a store in memory, fake machines."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
from tests.hands.cluster_world import DURATION, MARGIN, MIB, SimNode, World, cluster_test
from tests.waiting import slowness

from quorate.clusapi.identity import GroupId
from quorate.clusapi.states import GroupStatus, MigrationState, ResourceState, VmState
from quorate.database.cluster_database import VirtualMachineIds
from quorate.database.values import RegistryValue
from quorate.engine.fault_points import VARIABLE

DWORD = RegistryValue.dword


# --- a node dies ---------------------------------------------------------------------------------------------------


@cluster_test
async def test_the_virtual_machines_of_a_dead_node_run_on_the_others(world: World) -> None:
    one, two, three = await world.form(1024, 1024, 1024)
    vms = [await world.vm(f"vm{number}", one) for number in range(6)]
    await one.die()
    await world.until(lambda: all(world.runs_on(vm) in (two.id, three.id) for vm in vms))
    assert {world.runs_on(vm) for vm in vms} == {two.id, three.id}
    for vm in vms:
        assert await world.owner(vm.group) == world.runs_on(vm)
        await world.until(partial(world.has_state, vm, VmState.RUNNING))
        await world.until(partial(world.has_no_bits, vm))
    (down,) = [event for event in await world.events("node1 is down: it was silent") if event.kind == "node.state"]
    assert down.after == "down"
    core = next(id_ for id_, info in two.view.snapshot.groups.items() if info.name == "Cluster Group")

    async def name_is_online() -> bool:
        run = await world.run(core)
        return run.status_information == 0 and set(run.resource_states.values()) == {ResourceState.ONLINE}

    await world.until(name_is_online)
    taken = await world.events("goes to", "as node1 is down")
    assert {event.object_name for event in taken} == {*(f"vm{number}" for number in range(6)), "Cluster Group"}


@cluster_test
async def test_nothing_is_taken_over_before_the_lease_has_been_ended(world: World) -> None:
    one, two, three = await world.form(1024, 1024, 1024)
    vm = await world.vm("vm", one)
    for node in (two, three):
        node.membership.refuses.add(one.id)
    await one.die()
    await asyncio.sleep(DURATION + MARGIN + 0.2)
    assert await world.owner(vm.group) == one.id
    for node in (two, three):
        node.membership.refuses.clear()
    await world.until(lambda: world.runs_on(vm) is not None)


@cluster_test
async def test_high_priority_gets_the_room_and_the_others_wait_with_the_reason_until_there_is_some(
    world: World,
) -> None:
    one, two = await world.form(1024, 400)
    low = await world.vm("low", one, 300, group={"Priority": DWORD(1000)})
    high = await world.vm("high", one, 300, group={"Priority": DWORD(3000)})
    await one.die()
    await world.until(lambda: world.runs_on(high) == two.id)
    await world.until(lambda: world.is_owner(two, low))
    run = await world.run(low.group)
    assert run.status_information == GroupStatus.PHYSICAL_RESOURCES_LACKING
    assert run.persistent_state
    assert (
        "node2 has 100 MiB free of 400 MiB for virtual machines (300 MiB taken), not 300 MiB" in run.failover.sentence
    )
    assert world.runs_on(low) is None
    back = await world.again(one)
    await world.until(lambda: world.runs_on(low) == back.id)
    run = await world.run(low.group)
    assert (run.status_information, run.failover.sentence) == (0, "")


@cluster_test
async def test_a_group_of_priority_0_gets_another_owner_and_stays_off(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("vm", one, group={"Priority": DWORD(0)})
    other = await world.vm("other", one)
    await one.die()
    await world.until(lambda: world.runs_on(other) == two.id)
    await world.until(lambda: world.is_owner(two, vm))
    assert world.runs_on(vm) is None
    assert set((await world.states(vm.group)).values()) == {ResourceState.OFFLINE}


@cluster_test
async def test_enforced_anti_affinity_keeps_the_second_one_offline(world: World) -> None:
    one, two, three = await world.form(1024, 1024, 1024, properties={"ClusterEnforcedAntiAffinity": DWORD(1)})
    apart = {"AntiAffinityClassNames": RegistryValue.multi_sz("Web")}
    first = await world.vm("first", one, group=apart)
    second = await world.vm("second", two, group=apart)
    third = await world.vm("third", three, group=apart)
    await one.die()
    await world.until(lambda: world.has_bits(first, GroupStatus.OFFLINE_DUE_TO_ANTIAFFINITY_CONFLICT))
    assert (world.runs_on(first), world.runs_on(second), world.runs_on(third)) == (None, two.id, three.id)


@cluster_test
async def test_a_saved_virtual_machine_stays_saved_and_a_migration_under_way_has_failed(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("vm", one)
    await one.host.offline_group(vm.group)
    await world.until(lambda: world.has_state(vm, VmState.SAVED))
    image = (await world.run(vm.group)).vm
    await one.die()
    await world.until(lambda: world.is_owner(two, vm))
    run = await world.run(vm.group)
    assert run.vm is not None
    assert image is not None
    assert (run.vm.vm_state, run.vm.saved_image) == (VmState.SAVED, image.saved_image)
    assert (await world.admin.get_ownership(vm.group)).value.image == image.saved_image
    await two.host.online_group(vm.group)
    await world.until(lambda: world.runs_on(vm) == two.id)


@cluster_test
async def test_a_coordinator_that_dies_during_a_failover_is_replaced_and_the_rest_follows(world: World) -> None:
    one, two, three, four = await world.form(*[2048] * 4)
    vms = [await world.vm(f"vm{number}", one) for number in range(8)]
    for node in (three, four):
        node.membership.refuses.add(one.id)  # so that node2 is the coordinator
    landed = asyncio.Event()
    whole = two.coordinator._take_over

    async def half(effect: object) -> int:
        if sum(vm.group in moved for vm in vms) >= 3:
            landed.set()
            await asyncio.sleep(60)
        revision = await whole(effect)  # type: ignore[arg-type]
        moved.add(effect.group)  # type: ignore[attr-defined]
        return revision

    moved: set[GroupId] = set()
    two.coordinator._take_over = half  # type: ignore[method-assign]
    await one.die()
    await landed.wait()
    await two.die()
    await world.until(lambda: all(world.runs_on(vm) in (three.id, four.id) for vm in vms))


@cluster_test
async def test_two_nodes_that_die_together_leave_everything_to_the_third(world: World) -> None:
    one, two, three = await world.form(1024, 1024, 1024)
    vms = [await world.vm(f"vm{number}", (one, two)[number % 2]) for number in range(6)]
    await asyncio.gather(one.die(), two.die())
    await world.until(lambda: all(world.runs_on(vm) == three.id for vm in vms))


@cluster_test
async def test_a_node_that_was_cut_off_ends_its_virtual_machines_and_lets_them_go(world: World) -> None:
    one, two, three = await world.form(1024, 1024, 1024)
    vm = await world.vm("vm", one)
    one.cut_off()
    await world.until(lambda: world.runs_on(vm) in (two.id, three.id))
    await one.reconnect()
    await world.until(lambda: vm.group not in one.groups.holdings.owned)
    assert one.machine(vm.vm_id) is None
    second = await world.vm("second", one)  # it is a member again
    assert world.runs_on(second) == one.id


@cluster_test
async def test_a_node_that_comes_back_in_time_keeps_its_virtual_machines(world: World) -> None:
    one, _ = await world.form(1024, 1024)
    vm = await world.vm("vm", one)
    machine = one.machine(vm.vm_id)
    await one.stop()
    fresh = await world.again(one)
    assert not await world.events("node1 is down")
    assert world.runs_on(vm) == fresh.id
    assert fresh.machine(vm.vm_id) is machine


# --- who may take it -----------------------------------------------------------------------------------------------


@cluster_test
async def test_a_node_that_has_less_memory_than_it_said_refuses_and_the_next_one_takes_it(world: World) -> None:
    one, two, three = await world.form(1024, 1024, 1024)
    vm = await world.vm("vm", one, 300, group={"PreferredOwners": RegistryValue.multi_sz(two.id)})
    two.migrations.admission._configured = 200 * MIB
    await one.die()
    await world.until(lambda: world.runs_on(vm) == three.id)
    (moved,) = await world.events("given to node3")
    assert "node2 has 200 MiB free of 200 MiB for virtual machines (0 MiB taken), not 300 MiB" in moved.sentence
    assert "failover 1 of 2 within 6 h, from node2 to node3" in moved.sentence
    assert [note.node for note in (await world.run(vm.group)).failover.failovers] == [two.id]


@cluster_test
async def test_a_node_never_runs_more_than_its_memory_whoever_asks(world: World) -> None:
    one, _ = await world.form(200, 1024)
    await world.vm("a", one, 64)
    await world.vm("b", one, 64)
    third = await world.vm("c", one, 100, start=False)
    await world.until(lambda: third.group in one.groups.holdings.attached)
    with pytest.raises(Exception, match="node1 has 72 MiB free of 200 MiB for virtual machines \\(128 MiB taken\\)"):
        await one.host.online_group(third.group)
    assert world.used(one) == 128 * MIB


@cluster_test
async def test_two_hundred_virtual_machines_on_three_nodes(world: World) -> None:
    nodes = one, two, three = await world.found(9000, 8000, 8000)
    for number in range(200):
        await world.vm(f"vm{number:03}", nodes[number % 3], start=False, wanted=True)
    for node in nodes:
        await node.start()
    await world.until(lambda: len(world.machines.running()) == 200, patience=80.0)
    await one.die()
    await world.until(lambda: len(world.machines.running()) == 200, patience=80.0)
    assert world.used(two) + world.used(three) == 200 * 64 * MIB
    assert max(world.used(two), world.used(three)) <= 8000 * MIB


# --- gifts under way (R8) ------------------------------------------------------------------------------------------


async def _move_until(world: World, point: str, one: SimNode, two: SimNode, directory: Path) -> VirtualMachineIds:
    """Live-migrate a VM from one node to another, and hold the source at a point."""
    vm = await world.vm("vm", one)
    hold, reached = directory / f"node1.{point}.hold", directory / f"node1.{point}.reached"
    hold.touch()
    await one.migrations.start_migration(vm.group, "node2")
    await world.until(reached.exists)
    return vm


def test_a_gift_to_a_node_that_dies_before_yours_is_taken_back_with_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    async def body(world: World) -> None:
        one, two, _ = await world.form(1024, 1024, 1024)
        vm = await _move_until(world, "completed", one, two, tmp_path)
        machine = one.machine(vm.vm_id)
        await world.until(lambda: _is_given_to(world, vm, two))
        await two.die()
        await world.until(lambda: world.runs_on(vm) == one.id)
        assert one.machine(vm.vm_id) is machine
        await world.until(lambda: world.is_owner(one, vm))
        assert await _is_ended(world, two)

    cluster_test(body)()


def test_a_gift_to_a_node_that_dies_after_yours_is_started_from_its_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    async def body(world: World) -> None:
        one, two, three = await world.form(1024, 1024, 1024)
        vm = await _move_until(world, "yours sent", one, two, tmp_path)
        machine = one.machine(vm.vm_id)
        await two.die()
        await world.until(lambda: world.runs_on(vm) in (one.id, three.id))
        assert machine is not None
        assert machine.is_gone
        assert await world.events("vm goes to", "node1 had let go")
        run = await world.run(vm.group)
        assert run.vm is not None
        assert run.vm.migration_state == MigrationState.FAILURE
        (tmp_path / "node1.yours sent.hold").unlink()

    cluster_test(body)()


def test_a_gift_whose_giver_dies_too_is_started_from_its_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    async def body(world: World) -> None:
        one, two, three = await world.form(1024, 1024, 1024)
        vm = await _move_until(world, "given", one, two, tmp_path)
        await asyncio.gather(one.die(), two.die())
        await world.until(lambda: world.runs_on(vm) == three.id)

    cluster_test(body)()


def test_a_complete_gift_whose_giver_dies_is_claimed_by_its_receiver_with_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    async def body(world: World) -> None:
        one, two, _ = await world.form(1024, 1024, 1024)
        vm = await _move_until(world, "given", one, two, tmp_path)
        loaded = two.machine(vm.vm_id)
        await one.die()
        await world.until(lambda: world.runs_on(vm) == two.id)
        assert two.machine(vm.vm_id) is loaded

    cluster_test(body)()


def test_a_virtual_machine_that_was_leaving_a_node_that_dies_is_started_elsewhere_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    async def body(world: World) -> None:
        one, two, three = await world.form(1024, 1024, 1024)
        vm = await _move_until(world, "stopped", one, two, tmp_path)
        assert await world.owner(vm.group) == one.id
        await one.die()
        await world.until(lambda: world.runs_on(vm) in (two.id, three.id), patience=4.0 * slowness())

    cluster_test(body)()


async def _is_given_to(world: World, vm: VirtualMachineIds, node: SimNode) -> bool:
    return await world.owner(vm.group) == node.id


async def _is_ended(world: World, node: SimNode) -> bool:
    lease = await world.admin.get_lease(node.id)
    return lease is not None and lease.value.ended
