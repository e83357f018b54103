"""What a guest does by itself while it is copied: it shuts down, crashes, or starts anew; how long it is announced."""

import asyncio

import pytest
from tests.hands.cluster_world import SimNode, World, cluster_test

from quorate.clusapi.states import MigrationState, VmState
from quorate.database.cluster_database import VirtualMachineIds
from quorate.hypervisor.fake import FakeInstance, FakeMachine


async def copied(world: World) -> tuple[SimNode, SimNode, VirtualMachineIds, FakeMachine]:
    """Two nodes, and a guest that is being copied from the first to the second, slowly."""
    one, two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)
    world.machines.bandwidth = 1e6
    await one.migrations.start_migration(vm.group, "node2")
    await world.until(lambda: one.migrations.get(vm.group).progress.state is MigrationState.DATA_TRANSFER)
    machine = one.machine(vm.vm_id)
    assert machine is not None
    return one, two, vm, machine


async def over(world: World, one: SimNode, two: SimNode, vm: VirtualMachineIds) -> None:
    """The migration has come to nothing, which is remembered, and nothing of it is left."""
    await world.until(lambda: vm.group not in one.migrations.outgoing)
    await world.until(lambda: not two.migrations.incoming)
    await world.until(lambda: two.machine(vm.vm_id) is None)
    await world.until(lambda: not one.view.snapshot.moves)

    async def is_remembered() -> bool:
        return bool(await world.admin.migrations.select())

    await world.until(is_remembered)
    (past,) = await world.admin.migrations.select()
    assert past.result == "lost", "there is nothing any more that could be moved"
    assert await world.owner(vm.group) == one.id


@cluster_test
async def test_a_guest_that_shuts_itself_down_while_it_is_copied_is_off_where_it_was(world: World) -> None:
    one, two, vm, machine = await copied(world)
    machine.power_off()
    await over(world, one, two, vm)
    await world.until(lambda: one.machine(vm.vm_id) is None)
    assert world.runs_on(vm) is None
    assert await world.has_state(vm, VmState.OFF)


@cluster_test
async def test_a_guest_that_crashes_while_it_is_copied_is_started_again_where_it_was(world: World) -> None:
    one, two, vm, machine = await copied(world)
    machine.panic()
    await over(world, one, two, vm)
    await world.until(lambda: one.machine(vm.vm_id) not in (None, machine) and world.runs_on(vm) == one.id)


@cluster_test
async def test_a_guest_that_starts_anew_while_it_is_copied_is_copied_on(world: World) -> None:
    one, two, vm, machine = await copied(world)
    machine.reset()
    await world.until(lambda: world.runs_on(vm) == two.id)
    await world.until(lambda: vm.group not in one.migrations.outgoing)
    assert await world.owner(vm.group) == two.id
    assert one.machine(vm.vm_id) is None


@cluster_test
async def test_a_guest_that_has_arrived_is_announced_until_somebody_sends_to_it(world: World) -> None:
    one, two = await world.form(1024, 1024)
    card = {"kind": "tap", "target": "tap0", "mac": "52:54:00:12:34:56"}
    vm = await world.vm("web1", one, nics=(card, {"kind": "user"}))
    told: list[object] = []
    seen = asyncio.Event()
    with pytest.MonkeyPatch.context() as patch:
        announce = FakeInstance.announce

        async def count(self: FakeInstance) -> None:
            told.append(self)
            await announce(self)

        async def listen(self: FakeInstance, addresses: frozenset[str], seconds: float) -> frozenset[str]:
            assert addresses == {card["mac"]}, "nobody can send to a card of a private network"
            if len(told) < 3:
                return frozenset()
            seen.set()
            return addresses

        patch.setattr(FakeInstance, "announce", count)
        patch.setattr(FakeInstance, "heard", listen)
        await one.migrations.start_migration(vm.group, "node2")
        await world.until(seen.is_set)
        await world.until(lambda: not any("announcements" in task.get_name() for task in two.migrations._tasks))
    assert len(told) == 3
