"""Which image may run, and on which node: what the engine does when a record, or a daemon, is gone (I2, I5)."""

import asyncio
from dataclasses import replace

import pytest
from tests.hands.cluster_world import SimNode, World, cluster_test

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import GroupId
from quorate.clusapi.states import ResourceState, VmState
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.cluster_database import VirtualMachineIds
from quorate.database.contract import Compare, Put, StoreUnavailable
from quorate.database.records import Ownership, RunState


async def _write_run(world: World, vm: VirtualMachineIds, run: RunState) -> None:
    await world.admin.store.transact((), (Put(keys.run(vm.group), run.encode()),))


@cluster_test
async def test_a_restored_guest_that_has_not_run_yet_runs_only_when_its_image_is_off_the_record(world: World) -> None:
    (one,) = await world.form(1024)
    vm = await world.vm("vm", one)
    machine = one.machine(vm.vm_id)
    assert machine is not None
    await one.stop()
    machine.stop()  # as the daemon leaves it that dies when the file was read, before it could write that down
    run = await world.run(vm.group)
    assert run.vm is not None
    saved = replace(run.vm, vm_state=int(VmState.STARTING), saved_image=machine.image, saved_path="/saved")
    await _write_run(world, vm, replace(run, vm=saved))

    fresh = SimNode(world, one.id, one.memory)
    world.nodes[one.id] = fresh
    with pytest.MonkeyPatch.context() as patch:

        async def silence(*arguments: object, **options: object) -> int:
            raise StoreUnavailable("the test has silenced the database")

        patch.setattr(fresh.database, "write_run_state", silence)
        starting = asyncio.create_task(fresh.start())
        await asyncio.sleep(0.5)
        assert world.runs_on(vm) is None
    await starting
    await world.until(lambda: world.runs_on(vm) == one.id)
    run = await world.run(vm.group)
    assert run.vm is not None
    assert run.vm.saved_image is None
    await world.until(lambda: world.coordinator() is not None)


@cluster_test
async def test_what_the_record_gives_to_another_node_is_ended_though_the_host_does_not_let_go(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("vm", one)
    machine = one.machine(vm.vm_id)
    assert machine is not None
    detach = one.host.detach_group

    async def refuse(group: GroupId, *, end: bool = False) -> None:
        raise RefusalError(Status.ERROR_INVALID_STATE, "not now")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one.host, "detach_group", refuse)
        old, run = await world.admin.get_ownership(vm.group), await world.run(vm.group)
        new = Ownership(two.id, old.value.epoch + 1, None)
        await world.admin.change_ownership(vm.group, old, new, replace(run, persistent_state=False, vm=None))
        await world.until(lambda: machine.is_gone)
    await detach(vm.group, end=True)


@cluster_test
async def test_a_group_that_was_elsewhere_between_two_looks_is_taken_on_anew(world: World) -> None:
    one, _ = await world.form(1024, 1024)
    vm = await world.vm("vm", one)
    machine = one.machine(vm.vm_id)
    assert machine is not None
    old, run = await world.admin.get_ownership(vm.group), await world.run(vm.group)
    # In one write, what a cold start on the other node and its end there have left behind.
    home = Ownership(one.id, old.value.epoch + 2, None)
    assert run.vm is not None
    off = replace(run, persistent_state=True, vm=replace(run.vm, vm_state=int(VmState.OFF)))
    off = replace(off, resource_states=dict.fromkeys(run.resource_states, int(ResourceState.OFFLINE)))
    writes = (Put(keys.ownership(vm.group), home.encode()), Put(keys.run(vm.group), off.encode()))
    assert (await world.admin.store.transact((Compare(keys.ownership(vm.group), old.revision),), writes)).succeeded
    await world.until(lambda: machine.is_gone)
    await world.until(lambda: world.runs_on(vm) == one.id)
    assert one.machine(vm.vm_id) is not machine
    await world.until(lambda: world.has_state(vm, VmState.RUNNING))
    assert (await world.admin.get_ownership(vm.group)).value.epoch > home.epoch
