"""What follows when something fails: restart, failover, standing still, the retry; and the order of starts."""

import asyncio
import time
from dataclasses import replace

import pytest
from tests.hands.cluster_world import SimNode, World, cluster_test

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.states import GroupStatus, NodeState, ResourceState, RestartAction, VmState
from quorate.database import keys
from quorate.database.cluster_database import VirtualMachineIds
from quorate.database.contract import Put
from quorate.database.values import RegistryValue
from quorate.engine.group_upkeep import SHORTEST
from quorate.engine.guard_file import boottime

DWORD = RegistryValue.dword
AT_ONCE = {"RestartDelay": DWORD(0)}


def kill(node: SimNode, vm: VirtualMachineIds) -> None:
    """Let the machine of a VM die, as by SIGKILL."""
    machine = node.machine(vm.vm_id)
    assert machine is not None
    machine.kill()


async def kill_again(world: World, node: SimNode, vm: VirtualMachineIds, times: int) -> None:
    """Kill it so often, each time when it runs again on that node."""
    for _ in range(times):
        await world.until(lambda: world.runs_on(vm) == node.id)
        kill(node, vm)
        await world.until(lambda: world.runs_on(vm) is None)


# --- restart -------------------------------------------------------------------------------------------------------


@cluster_test
async def test_a_machine_that_dies_is_started_again_where_it_was_after_restart_delay(world: World) -> None:
    one, _ = await world.form(1024, 1024)
    vm = await world.vm("vm", one, resource={"RestartDelay": DWORD(200)})
    began = boottime()
    kill(one, vm)
    await world.until(lambda: world.runs_on(vm) is None)
    await world.until(lambda: world.runs_on(vm) == one.id)
    assert boottime() - began >= 0.2
    assert await world.events("Virtual Machine vm", "restart 1 of 3 within 900 s")


@cluster_test
async def test_after_the_threshold_the_group_fails_over_with_all_that_it_has(world: World) -> None:
    one, two, _ = await world.form(1024, 1024, 512)
    vm = await world.vm("vm", one, resource={**AT_ONCE, "RestartThreshold": DWORD(2)})
    await kill_again(world, one, vm, 3)
    await world.until(lambda: world.runs_on(vm) == two.id)
    (event,) = await world.events("given to node2")
    assert "2 restarts within 900 s (RestartThreshold 2)" in event.sentence
    assert "failover 1 of 2 within 6 h, from node1 to node2: node2 has most memory left" in event.sentence
    run = await world.run(vm.group)
    assert (run.persistent_state, run.failover.away, run.default_owner) == (True, True, two.id)
    await world.until(lambda: vm.group not in one.groups.holdings.owned)


@cluster_test
async def test_restart_action_1_never_leaves_the_node(world: World) -> None:
    one, _ = await world.form(1024, 1024)
    resource = {"RestartAction": DWORD(RestartAction.RESTART_NO_NOTIFY), "RestartThreshold": DWORD(1), **AT_ONCE}
    vm = await world.vm("vm", one, resource=resource)
    await kill_again(world, one, vm, 2)
    await world.until(lambda: _gave_up(world, vm))
    assert await world.owner(vm.group) == one.id
    assert "1 restarts within 900 s (RestartThreshold 1)" in (await world.run(vm.group)).failover.sentence


@cluster_test
async def test_restart_action_0_leaves_it_failed_and_says_so(world: World) -> None:
    one, _ = await world.form(1024, 1024)
    vm = await world.vm("vm", one, resource={"RestartAction": DWORD(RestartAction.DONT_RESTART)})
    kill(one, vm)
    await world.until(lambda: _gave_up(world, vm))
    assert one.host.state(vm.vm_resource) is ResourceState.FAILED
    assert "RestartAction is 0" in (await world.run(vm.group)).failover.sentence


@cluster_test
async def test_fail_cluster_resource_asks_restart_action(world: World) -> None:
    one, _ = await world.form(1024, 1024)
    vm = await world.vm("vm", one, resource=AT_ONCE)
    machine = one.machine(vm.vm_id)
    await one.host.fail_resource(vm.vm_resource)
    assert machine is not None
    await world.until(lambda: machine.is_gone)
    await world.until(lambda: world.runs_on(vm) == one.id)
    stays = await world.vm("stays", one, resource={"RestartAction": DWORD(0)})
    await one.host.fail_resource(stays.vm_resource)
    await world.until(lambda: _gave_up(world, stays))
    assert world.runs_on(stays) is None


@cluster_test
async def test_an_online_that_a_person_asked_for_and_that_fails_is_not_repeated(world: World) -> None:
    one, two = await world.form(200, 1024)
    vm = await world.vm("vm", one, 300, start=False)
    await world.until(lambda: vm.group in one.groups.holdings.attached)
    with pytest.raises(RefusalError, match="not 300 MiB"):
        await one.host.online_group(vm.group)
    await asyncio.sleep(0.1)
    assert one.host.state(vm.vm_resource) is ResourceState.FAILED
    assert await world.owner(vm.group) == one.id
    assert world.runs_on(vm) is None
    assert two.machine(vm.vm_id) is None


# --- failover, its limit, the retry --------------------------------------------------------------------------------


@cluster_test
async def test_beyond_failover_threshold_it_stays_failed_with_the_sentence(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("vm", one, resource={**AT_ONCE, "RestartThreshold": DWORD(0)})
    await kill_again(world, one, vm, 1)
    await kill_again(world, two, vm, 1)
    await world.until(lambda: _gave_up(world, vm))
    assert await world.owner(vm.group) == two.id
    sentence = (await world.run(vm.group)).failover.sentence
    assert "1 failovers within 6 h (FailoverThreshold 1, FailoverPeriod 6)" in sentence
    assert await world.events("stays failed", "FailoverThreshold 1")
    await two.host.online_group(vm.group)  # a person acts: all is forgotten
    await world.until(lambda: world.runs_on(vm) == two.id)
    await world.until(lambda: _is_at_peace(world, vm))


@cluster_test
async def test_a_node_where_it_has_failed_comes_last(world: World) -> None:
    one, two, three = await world.form(1024, 2048, 512)
    vm = await world.vm(
        "vm", one, resource={**AT_ONCE, "RestartThreshold": DWORD(0)}, group={"FailoverThreshold": DWORD(9)}
    )
    await kill_again(world, one, vm, 1)
    await kill_again(world, two, vm, 1)
    await world.until(lambda: world.runs_on(vm) == three.id)
    assert [note.node for note in (await world.run(vm.group)).failover.failovers] == [one.id, two.id]


@cluster_test
async def test_a_failed_group_is_tried_once_more_after_retry_period_on_failure(world: World) -> None:
    one, _ = await world.form(1024, 1024)
    resource = {
        **AT_ONCE,
        "RestartAction": DWORD(RestartAction.RESTART_NO_NOTIFY),
        "RestartThreshold": DWORD(0),
        "RetryPeriodOnFailure": DWORD(300),
    }
    vm = await world.vm("vm", one, resource=resource)
    kill(one, vm)
    await world.until(lambda: world.runs_on(vm) is None)
    await world.until(lambda: world.runs_on(vm) == one.id)
    await world.until(lambda: _is_at_peace(world, vm))
    assert await world.events("is tried once more, as RetryPeriodOnFailure is over")


@cluster_test
async def test_a_failed_group_of_a_dead_node_stays_failed_elsewhere(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("vm", one, resource={"RestartAction": DWORD(RestartAction.DONT_RESTART)})
    kill(one, vm)
    await world.until(lambda: _gave_up(world, vm))
    await one.die()
    await world.until(lambda: world.is_owner(two, vm))
    assert ResourceState.FAILED in (await world.states(vm.group)).values()
    assert world.runs_on(vm) is None
    assert "RestartAction is 0" in (await world.run(vm.group)).failover.sentence


@cluster_test
async def test_nothing_is_failed_over_that_may_still_run(world: World) -> None:
    """I3: the machine does not end; so the group is not given away, whatever the policy says."""
    one, two = await world.form(1024, 1024)
    vm = await world.vm("vm", one, resource={**AT_ONCE, "RestartThreshold": DWORD(0)})

    async def refuse(group: object) -> None:
        await asyncio.sleep(60)

    one.migrations.terminate = refuse  # type: ignore[method-assign, assignment]
    await one.host.fail_resource(vm.vm_resource)
    await asyncio.sleep(0.3)
    assert await world.owner(vm.group) == one.id
    assert world.runs_on(vm) == one.id
    assert two.machine(vm.vm_id) is None


async def _gave_up(world: World, vm: VirtualMachineIds) -> bool:
    return (await world.run(vm.group)).failover.failed_at is not None


async def _is_at_peace(world: World, vm: VirtualMachineIds) -> bool:
    failover = (await world.run(vm.group)).failover
    return failover.failed_at is None and not failover.sentence


# --- the order of starts, cold start, failback ---------------------------------------------------------------------


@cluster_test
async def test_a_starting_node_brings_its_groups_online_in_the_order_of_their_priority(world: World) -> None:
    (one,) = await world.found(4096)
    vms = {}
    for number in range(30):
        priority = (1000, 2000, 3000)[number % 3]
        name = f"vm{number:02}"
        vms[name] = priority
        await world.vm(name, one, 32, start=False, wanted=True, group={"Priority": DWORD(priority)})
    off = await world.vm("off", one, 32, start=False, wanted=True, group={"Priority": DWORD(0)})
    await one.start()
    await world.until(lambda: len(world.machines.running()) == 30)
    started = sorted(world.machines.running(), key=lambda machine: machine.pid, reverse=True)
    order = [vms[machine.request.name] for machine in started]
    assert order[:8] == [3000] * 8
    assert sum(order[:10]) > sum(order[10:20]) > sum(order[20:])
    assert world.runs_on(off) is None


@cluster_test
async def test_what_was_lost_with_the_machine_is_started_again_by_priority_too(world: World) -> None:
    one, _ = await world.form(1024, 1024)
    vm = await world.vm("vm", one)
    off = await world.vm("off", one, group={"Priority": DWORD(0)})
    await one.stop()
    world.machines.end_all(one.paths.vm)
    fresh = await world.again(one)
    await world.until(lambda: world.runs_on(vm) == fresh.id)
    await world.until(lambda: fresh.host.state(off.vm_resource) is ResourceState.OFFLINE)
    assert world.runs_on(off) is None


@cluster_test
async def test_cold_start_setting_1_keeps_a_group_down_when_the_cluster_forms(world: World) -> None:
    one, two = await world.found(1024, 1024)
    held = await world.vm("held", one, start=False, wanted=True, group={"ColdStartSetting": DWORD(1)})
    other = await world.vm("other", one, start=False, wanted=True)
    await one.start()
    await world.until(lambda: world.runs_on(other) == one.id and world.coordinator() is one)
    await asyncio.sleep(0.1)
    assert world.runs_on(held) is None
    late = await world.vm("late", two, start=False, wanted=True, group={"ColdStartSetting": DWORD(1)})
    await world.admin.set_values("", {"ClusterGroupWaitDelay": DWORD(0)})  # the forming is over
    await two.start()
    await world.until(lambda: world.runs_on(late) == two.id)


@cluster_test
async def test_a_group_goes_home_when_its_preferred_owner_is_back(world: World) -> None:
    one, two = await world.form(1024, 1024)
    home = {"AutoFailbackType": DWORD(1), "PreferredOwners": RegistryValue.multi_sz(one.id)}
    vm = await world.vm("vm", one, group=home)
    other = await world.vm("other", one)
    await one.die()
    await world.until(lambda: world.runs_on(vm) == two.id and world.runs_on(other) == two.id)
    machine = two.machine(vm.vm_id)
    back = await world.again(one)
    await world.until(lambda: world.runs_on(vm) == back.id)
    assert machine is not None
    assert machine.count <= (back.machine(vm.vm_id) or machine).count  # it was moved running
    await world.until(lambda: _is_home(world, vm))
    assert world.runs_on(other) == two.id


@cluster_test
async def test_a_group_goes_home_when_its_failback_window_opens(world: World) -> None:
    def window(first: int, last: int) -> dict[str, RegistryValue]:
        """From so many hours after this one until so many."""
        hours = [(time.localtime().tm_hour + hour) % 24 for hour in (first, last)]
        return {"FailbackWindowStart": DWORD(hours[0]), "FailbackWindowEnd": DWORD(hours[1])}

    one, two = await world.form(1024, 1024)
    home = {"AutoFailbackType": DWORD(1), "PreferredOwners": RegistryValue.multi_sz(one.id)}
    vm = await world.vm("vm", one, group={**home, **window(4, 8)})
    await one.die()
    await world.until(lambda: world.runs_on(vm) == two.id)
    back = await world.again(one)
    await world.until(lambda: two.membership.node_state(back.id) is NodeState.UP)
    await asyncio.sleep(2 * SHORTEST)  # it has looked since
    assert world.runs_on(vm) == two.id
    await world.admin.set_values(keys.group_path(vm.group), window(20, 4))
    await world.until(lambda: world.runs_on(vm) == back.id)
    await world.until(lambda: _is_home(world, vm))
    assert await world.events("vm goes home to node1, its preferred owner 1 of 1")


async def _is_home(world: World, vm: VirtualMachineIds) -> bool:
    return not (await world.run(vm.group)).failover.away


@cluster_test
async def test_the_waiting_bit_is_set_while_a_group_waits_for_its_turn(world: World) -> None:
    one, two = await world.form(4096, 4096)
    vm = await world.vm("vm", one, group={"GroupStartDelay": DWORD(600)})
    await one.die()
    await world.until(lambda: world.has_bits(vm, GroupStatus.WAITING_TO_START))
    await world.until(lambda: world.runs_on(vm) == two.id)
    await world.until(lambda: _has_no_bits(world, vm))


async def _has_no_bits(world: World, vm: VirtualMachineIds) -> bool:
    return (await world.run(vm.group)).status_information == 0


# --- what is nobody's fault, and what a node may promise -----------------------------------------------------------


@cluster_test
async def test_a_start_that_the_silent_database_prevented_is_made_up_for_and_counts_as_none(world: World) -> None:
    one, _ = await world.form(1024, 1024)
    vm = await world.vm("vm", one, resource={"RestartDelay": DWORD(50), "RestartThreshold": DWORD(1)})
    kill(one, vm)
    one.silence()  # just before the restart
    await world.until(lambda: "the database does not answer" in one.host.sentence(vm.vm_resource))
    one.speak()
    await world.until(lambda: world.runs_on(vm) == one.id)
    assert not await world.events("stays failed")
    assert not await world.events("failover 1")


@cluster_test
async def test_what_the_guard_had_to_end_is_started_again_when_the_lease_is_back_and_counts_as_nothing(
    world: World,
) -> None:
    one, two = await world.form(1024, 1024)
    two.membership.refuses.add(one.id)
    vm = await world.vm("vm", one, resource={"RestartThreshold": DWORD(0)})
    one.cut_off()
    await world.until(lambda: world.runs_on(vm) is None)
    await one.reconnect()
    await world.until(lambda: world.runs_on(vm) == one.id)
    assert not await world.events("failover 1")
    assert await world.owner(vm.group) == one.id


@cluster_test
async def test_start_migration_to_a_node_without_the_memory_is_refused_with_5957(world: World) -> None:
    one, two = await world.form(1024, 256)
    vm = await world.vm("vm", one, 200)
    await world.vm("other", two, 200)
    with pytest.raises(RefusalError, match="node2 has 56 MiB free of 256 MiB") as refused:
        await one.migrations.start_migration(vm.group, "node2")
    assert refused.value.status == 5957
    with pytest.raises(RefusalError, match="no other node has the memory") as refused:
        await one.migrations.start_migration(vm.group, None)
    assert refused.value.status == 5957
    assert world.runs_on(vm) == one.id


@cluster_test
async def test_two_migrations_to_a_node_with_room_for_one_leave_one_where_it_is(world: World) -> None:
    one, two = await world.form(1024, 256, properties={"MaximumParallelMigrations": DWORD(2)})
    first, second = await world.vm("first", one, 200), await world.vm("second", one, 200)
    await asyncio.gather(*(one.migrations.start_migration(vm.group, "node2") for vm in (first, second)))
    await world.until(lambda: {world.runs_on(first), world.runs_on(second)} == {one.id, two.id})
    await world.until(lambda: not one.migrations.outgoing and not two.migrations.incoming)
    assert world.used(two) == 200 << 20
    assert two.migrations.admission.committed() == 200 << 20


# --- what a daemon left half done ------------------------------------------------------------------------------------


@cluster_test
async def test_a_save_that_was_cut_short_is_not_shown_for_ever(world: World) -> None:
    one, _ = await world.form(1024, 1024)
    vm = await world.vm("vm", one, start=False)
    await world.until(lambda: vm.group in one.groups.holdings.attached)
    await one.stop()
    found = await world.admin.get_run_state(vm.group)
    assert found.value.vm is not None
    left = replace(
        found.value,
        resource_states=dict.fromkeys(found.value.resource_states, int(ResourceState.OFFLINE_PENDING)),
        vm=replace(found.value.vm, vm_state=int(VmState.SAVING)),
    )
    await world.admin.store.transact((), (Put(keys.run(vm.group), left.encode()),))
    await world.again(one)

    async def is_told() -> bool:
        states = set((await world.states(vm.group)).values())
        return states == {ResourceState.OFFLINE} and await world.has_state(vm, VmState.OFF)

    await world.until(is_told)
