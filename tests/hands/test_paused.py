"""A guest that its user has paused stays paused, with its memory: moved, not moved after all, and found again."""

import asyncio
from dataclasses import replace

import pytest
from tests.hands.cluster_world import SimNode, World, cluster_test
from tests.hands.test_drain import NOW, drain, is_at, resume

from quorate.clusapi.errors import FaultError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import GroupMoveFlags, ResourceState, VmResdllContext, VmState
from quorate.clusapi.status import Status
from quorate.cluster.moves import DrainStage
from quorate.database import keys
from quorate.database.cluster_database import VirtualMachineIds
from quorate.database.contract import Put, StoreUnavailable
from quorate.hypervisor.fake import FakeInstance

BEATS = 3


async def paused(world: World, one: SimNode, name: str = "web1") -> tuple[VirtualMachineIds, int]:
    """A guest that has counted for a while and was paused; how far it has come."""
    vm = await world.vm(name, one)
    machine = one.machine(vm.vm_id)
    assert machine is not None
    await world.until(lambda: machine.count > BEATS)
    await one.migrations.pause(vm.group)
    assert world.runs_on(vm) is None
    return vm, machine.count


async def move(node: SimNode, vm: VirtualMachineIds, to: NodeId, how: VmResdllContext | None = None) -> None:
    assert await node.groups.move(vm.group, to, GroupMoveFlags(0), how) is Status.ERROR_IO_PENDING


async def is_paused(world: World, node: SimNode, vm: VirtualMachineIds, count: int) -> bool:
    """It is that node's, online and paused, with the memory that it had; no processor of it runs anywhere."""
    run = await world.run(vm.group)
    assert run.vm is not None
    machine = node.machine(vm.vm_id)
    there = await world.is_owner(node, vm) and machine is not None and not machine.is_gone
    if not (there and run.vm.vm_state == VmState.PAUSED):
        return False
    assert machine is not None
    assert world.runs_on(vm) is None
    assert machine.count == count
    assert run.vm.saved_image is None, "it is resumed from its memory and never from the file again"
    return set((await world.states(vm.group)).values()) == {ResourceState.ONLINE}


async def check_goes_on(world: World, node: SimNode, vm: VirtualMachineIds, count: int) -> None:
    """Resumed, it counts on from where it was."""
    await node.migrations.resume(vm.group)
    machine = node.machine(vm.vm_id)
    assert machine is not None
    await world.until(lambda: machine.count > count)
    assert world.runs_on(vm) == node.id


@pytest.mark.parametrize("how", [None, VmResdllContext.SAVE, VmResdllContext.LIVE_MIGRATION])
def test_one_that_is_moved_arrives_paused_and_with_its_memory(how: VmResdllContext | None) -> None:
    @cluster_test
    async def body(world: World) -> None:
        one, two = await world.form(1024, 1024)
        vm, count = await paused(world, one)
        await move(one, vm, two.id, how)
        await world.until(lambda: is_paused(world, two, vm, count))
        assert one.machine(vm.vm_id) is None or one.machine(vm.vm_id).is_gone  # type: ignore[union-attr]
        await check_goes_on(world, two, vm, count)
        await move(two, vm, one.id, VmResdllContext.SAVE)
        await world.until(lambda: world.runs_on(vm) == one.id)  # what ran when it was saved runs again
        await world.until(lambda: world.has_state(vm, VmState.RUNNING))

    body()


@cluster_test
async def test_one_that_leaves_a_drained_node_stays_paused_there_and_when_it_comes_back(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm, count = await paused(world, one)
    await drain(two, one)
    await world.until(lambda: is_at(world, one, DrainStage.COMPLETED))
    await world.until(lambda: is_paused(world, two, vm, count))
    await resume(two, one, NOW)
    await world.until(lambda: is_paused(world, one, vm, count))
    await world.until(lambda: is_at(world, one, None))
    await check_goes_on(world, one, vm, count)


@cluster_test
async def test_one_that_could_not_be_saved_stays_paused_where_it_is(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm, count = await paused(world, one)
    with pytest.MonkeyPatch.context() as patch:
        refused = asyncio.Event()

        async def refuse(*arguments: object, **options: object) -> None:
            refused.set()
            raise FaultError(Status.ERROR_GEN_FAILURE, "the disk is full")

        patch.setattr(FakeInstance, "save", refuse)
        await move(one, vm, two.id)
        await refused.wait()
        await world.until(lambda: vm.group not in one.groups._moves.moving)
    await world.until(lambda: is_paused(world, one, vm, count))
    await check_goes_on(world, one, vm, count)


@cluster_test
async def test_a_file_that_cannot_be_read_at_first_still_holds_one_that_was_paused(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm, count = await paused(world, one)
    with pytest.MonkeyPatch.context() as patch:
        failed = asyncio.Event()
        launch = two.hypervisor.launch

        async def refuse(*arguments: object, **options: object) -> None:
            failed.set()
            raise FaultError(Status.ERROR_GEN_FAILURE, "the storage does not answer")

        patch.setattr(two.hypervisor, "launch", refuse)
        await move(one, vm, two.id)
        await failed.wait()
        patch.setattr(two.hypervisor, "launch", launch)
        await world.until(lambda: _is_paused_somewhere(world, (one, two), vm, count))


async def _is_paused_somewhere(world: World, nodes: tuple[SimNode, ...], vm: VirtualMachineIds, count: int) -> bool:
    assert world.runs_on(vm) is None
    return any([await is_paused(world, node, vm, count) for node in nodes])


@pytest.mark.parametrize("left", [VmState.PAUSED, VmState.PAUSING, VmState.SAVING, VmState.STARTING])
def test_a_daemon_that_comes_back_leaves_it_paused_whatever_its_predecessor_was_doing(left: VmState) -> None:
    @cluster_test
    async def body(world: World) -> None:
        (one,) = await world.form(1024)
        vm, count = await paused(world, one)
        await one.stop()
        run = await world.run(vm.group)
        assert run.vm is not None
        machine = one.machine(vm.vm_id)
        assert machine is not None
        # STARTING: restored, and not yet written down.
        saved = (machine.image, "/saved") if left is VmState.STARTING else (None, None)
        vm_run = replace(run.vm, vm_state=int(left), saved_image=saved[0], saved_path=saved[1])
        await world.admin.store.transact((), (Put(keys.run(vm.group), replace(run, vm=vm_run).encode()),))
        again = await world.again(one)
        await world.until(lambda: is_paused(world, again, vm, count))
        await check_goes_on(world, again, vm, count)

    body()


@cluster_test
async def test_one_that_is_resumed_is_no_more_what_was_paused(world: World) -> None:
    """A daemon that ends before it could let it run: its successor does."""
    (one,) = await world.form(1024)
    vm, _ = await paused(world, one)
    await one.stop()
    run = await world.run(vm.group)
    assert run.vm is not None
    vm_run = replace(run.vm, vm_state=int(VmState.RESUMING), paused=False)
    await world.admin.store.transact((), (Put(keys.run(vm.group), replace(run, vm=vm_run).encode()),))
    again = await world.again(one)
    await world.until(lambda: world.runs_on(vm) == again.id)


@cluster_test
async def test_one_whose_node_dies_is_started_from_its_disks_as_its_memory_is_lost(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm, _ = await paused(world, one)
    await one.die()
    await world.until(lambda: world.runs_on(vm) == two.id)
    run = await world.run(vm.group)
    assert run.vm is not None
    assert not run.vm.paused


@cluster_test
async def test_what_could_not_be_paused_for_sure_can_be_resumed(world: World) -> None:
    (one,) = await world.form(1024)
    vm = await world.vm("web1", one)
    with pytest.MonkeyPatch.context() as patch:

        async def refuse(self: FakeInstance) -> None:
            raise FaultError(Status.ERROR_GEN_FAILURE, "QEMU does not answer")

        patch.setattr(FakeInstance, "stop", refuse)
        with pytest.raises(FaultError):
            await one.migrations.pause(vm.group)
    assert await world.has_state(vm, VmState.PAUSED)
    await one.migrations.resume(vm.group)
    assert world.runs_on(vm) == one.id


@cluster_test
async def test_a_pause_that_the_database_did_not_take_is_none(world: World) -> None:
    """A daemon that came after this one would let the guest run: nobody may be told that it is paused."""
    (one,) = await world.form(1024)
    vm = await world.vm("web1", one)
    one.silence()
    with pytest.raises(StoreUnavailable):
        await one.migrations.pause(vm.group)
    assert world.runs_on(vm) == one.id
    assert one.migrations.get(vm.group).state is VmState.RUNNING
    one.speak()
    await world.until(lambda: has_written(world, one, vm))
    run = await world.run(vm.group)
    assert run.vm is not None
    assert (run.vm.vm_state, run.vm.paused) == (VmState.RUNNING, False)
    await one.migrations.pause(vm.group)
    assert await world.has_state(vm, VmState.PAUSED)


async def has_written(world: World, node: SimNode, vm: VirtualMachineIds) -> bool:
    """What the node knows of the guest's state is what the database has."""
    return await world.run(vm.group) == node.migrations.get(vm.group).run


@cluster_test
async def test_one_that_is_being_paused_is_not_moved_live_and_not_saved_for_it_either(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)
    machine = one.machine(vm.vm_id)
    with pytest.MonkeyPatch.context() as patch:
        may_stop, stop = asyncio.Event(), FakeInstance.stop

        async def wait(self: FakeInstance) -> None:
            await may_stop.wait()
            await stop(self)

        patch.setattr(FakeInstance, "stop", wait)
        pausing = asyncio.ensure_future(one.migrations.pause(vm.group))
        await world.until(lambda: world.has_state(vm, VmState.PAUSING))
        with pytest.raises(RefusalError) as refused:
            await move(one, vm, two.id, VmResdllContext.LIVE_MIGRATION)
        assert refused.value.status is Status.ERROR_INVALID_STATE
        may_stop.set()
        await pausing
    assert vm.group not in one.groups._moves.moving
    assert one.machine(vm.vm_id) is machine
    assert await world.is_owner(one, vm)
