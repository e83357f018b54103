"""What a guest does by itself while it is copied: it shuts down, crashes, or starts anew; how long it is announced."""

import asyncio

import pytest
from tests.hands.cluster_world import SimNode, World, cluster_test

from quorate.clusapi.states import MigrationState, ResourceState, VmState
from quorate.database.cluster_database import VirtualMachineIds
from quorate.engine.incoming_session import IncomingSession
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


# --- while no daemon is there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_crashed", [False, True])
def test_a_source_that_comes_back_finds_that_its_guest_has_ended(has_crashed: bool) -> None:
    @cluster_test
    async def body(world: World) -> None:
        one, two, vm, machine = await copied(world)
        await one.stop()
        end(machine, has_crashed)
        again = await world.again(one)
        await over(world, again, two, vm)
        await check_end(world, again, vm, machine, has_crashed)

    body()


@pytest.mark.parametrize("has_crashed", [False, True])
def test_a_destination_that_comes_back_finds_that_its_guest_has_ended_there(has_crashed: bool) -> None:
    @cluster_test
    async def body(world: World) -> None:
        one, two = await world.form(1024, 1024)
        vm = await world.vm("web1", one)
        with pytest.MonkeyPatch.context() as patch:

            async def is_not_written(*arguments: object) -> None:
                return None

            patch.setattr(IncomingSession, "_send_cas", is_not_written)
            await one.migrations.start_migration(vm.group, "node2")
            await world.until(lambda: world.runs_on(vm) == two.id)
            machine = two.machine(vm.vm_id)
            assert machine is not None
            await two.stop()
        end(machine, has_crashed)
        again = await world.again(two)
        await world.until(lambda: not again.migrations.incoming)
        assert await world.owner(vm.group) == two.id
        await world.until(lambda: one.machine(vm.vm_id) is None)
        await check_end(world, again, vm, machine, has_crashed)

    body()


def end(machine: FakeMachine, has_crashed: bool) -> None:
    if has_crashed:
        machine.panic()
    else:
        machine.power_off()


async def check_end(
    world: World, node: SimNode, vm: VirtualMachineIds, machine: FakeMachine, has_crashed: bool
) -> None:
    """One that has crashed is started again, and one that has shut itself down is off; its QEMU is ended."""
    await world.until(lambda: machine.is_gone)
    if has_crashed:
        await world.until(lambda: world.runs_on(vm) == node.id)
        return
    await world.until(lambda: world.has_state(vm, VmState.OFF))

    async def is_offline() -> bool:
        return (await world.states(vm.group))[vm.vm_resource] is ResourceState.OFFLINE

    await world.until(is_offline)
    assert world.runs_on(vm) is None
