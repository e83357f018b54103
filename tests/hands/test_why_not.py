"""Why a VM cannot be moved, asked of the nodes themselves, and what is remembered of the moves that were made."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.hands.cluster_world import MIB, SimNode, World, cluster_test

from quorate.clusapi.asking import ASKED_BY
from quorate.clusapi.errors import CallerError, ClusterError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.states import GroupMoveFlags, MigrationState, NodeState
from quorate.database import keys
from quorate.database.cluster_database import VirtualMachineIds
from quorate.database.migration_history import KEPT, PastMigration
from quorate.database.values import RegistryValue
from quorate.engine.maintenance import MIGRATION_DAYS
from quorate.engine.selection import Judged
from quorate.migration.rules import Verdict, first_refusal
from quorate.peers.messages import Assess

DWORD = RegistryValue.dword


async def judge(node: SimNode, vm: VirtualMachineIds, to: str) -> Judged:
    (judged,) = await node.migrations.why_not(vm.group, to)
    return judged


async def refusal_of_start(node: SimNode, vm: VirtualMachineIds, to: str | None) -> tuple[int, str]:
    with pytest.raises(ClusterError) as refused:
        await node.migrations.start_migration(vm.group, to)
    return int(refused.value.status), refused.value.sentence


def refusals(judged: Judged) -> dict[str, int]:
    return {finding.rule: int(finding.status) for finding in judged.findings if finding.is_refusal}


# --- why not ---------------------------------------------------------------------------------------------------------


@cluster_test
async def test_a_good_node_passes_every_rule_by_what_it_says_itself(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)
    judged = await judge(one, vm, "NODE2")
    assert first_refusal(judged.findings) is None
    assert all(finding.measured for finding in judged.findings)
    by_rule = {finding.rule: finding for finding in judged.findings}
    assert by_rule["memory for virtual machines"].measured == "1024 MiB of 1024 MiB left, 64 MiB needed"
    assert by_rule["version"].measured == "1.0.0 to 1.0.0"
    assert by_rule["CPU features"].verdict is Verdict.OK
    assert "a socket of this machine" in by_rule["migration network"].measured, "a connection was really made"
    await world.until(lambda: not list(two.paths.runtime.glob("*.p")))


@cluster_test
async def test_all_rules_are_told_and_start_refuses_by_the_first_with_the_same_words(world: World) -> None:
    one, two, _three = await world.form(1024, 32, 1024)
    vm = await world.vm("web1", one, resource={"PossibleOwners": RegistryValue.multi_sz("1", "3")})
    await world.admin.set_values(keys.node_path(two.id), {"Paused": DWORD(1)})
    await world.until(lambda: one.view.snapshot.node(two.id).paused)
    two.hypervisor.memory_free = 8 * MIB
    judged = await judge(one, vm, "node2")
    assert refusals(judged) == {
        "not paused": 5070,
        "possible owner": 5071,
        "free memory": 5957,
        "memory for virtual machines": 5957,
    }
    by_rule = {finding.rule: finding.sentence for finding in judged.findings}
    assert by_rule["memory for virtual machines"].startswith("node2: web1 does not fit: node2 has 32 MiB free")
    assert await refusal_of_start(one, vm, "node2") == (5070, by_rule["not paused"])
    await world.admin.set_values(keys.node_path(two.id), {"Paused": DWORD(0)})
    await world.until(lambda: not one.view.snapshot.node(two.id).paused)
    assert await refusal_of_start(one, vm, "node2") == (5071, by_rule["possible owner"])
    both = await one.migrations.why_not(vm.group, None)
    assert {judged.candidate.name: bool(refusals(judged)) for judged in both} == {"node2": True, "node3": False}
    assert world.runs_on(vm) == one.id
    assert not one.view.snapshot.moves, "nothing was begun"


@cluster_test
async def test_a_node_that_is_too_small_too_old_or_shares_a_class_is_told(world: World) -> None:
    one, _two, three, four = await world.form(1024, 48, 1024, 1024)
    classes = {"AntiAffinityClassNames": RegistryValue.multi_sz("web")}
    vm = await world.vm("web1", one, group=classes)
    await world.vm("web2", three, group=classes)
    four.hypervisor._version = (0, 9, 0)
    assert refusals(await judge(one, vm, "node2")) == {"memory for virtual machines": 5957}
    assert refusals(await judge(one, vm, "node4")) == {"machine type": 5953, "version": 5953}
    warned = next(f for f in (await judge(one, vm, "node3")).findings if f.rule == "anti-affinity")
    assert (warned.verdict, warned.measured) == (Verdict.WARNS, "web2")
    await world.admin.set_values(keys.CLUSTER, {"ClusterEnforcedAntiAffinity": DWORD(1)})
    await world.until(lambda: one.view.snapshot.cluster.properties.number("ClusterEnforcedAntiAffinity"))
    judged = await judge(one, vm, "node3")
    assert refusals(judged) == {"anti-affinity": 5971}
    refusal = first_refusal(judged.findings)
    assert refusal is not None
    assert await refusal_of_start(one, vm, "node3") == (5971, refusal.sentence)
    status, sentence = await refusal_of_start(one, vm, None)
    assert status == 5071
    assert all(word in sentence for word in ("node2", "node3", "node4", "does not know"))
    with pytest.raises(ClusterError) as refused:  # MoveGroup asks the same rules
        await one.groups.move(vm.group, three.id, GroupMoveFlags(0), None)
    assert refused.value.status == 5971


@cluster_test
async def test_nodes_that_do_not_answer_and_machines_that_do_not_run(world: World) -> None:
    one, two, _three = await world.form(1024, 1024, 1024)
    vm = await world.vm("web1", one)
    off = await world.vm("off", one, start=False)
    await two.die()
    dead = await judge(one, vm, "node2")
    assert refusals(dead) == {"answers": 5050} or refusals(dead) == {"node up": 5050}
    await world.until(lambda: one.view.node_state(two.id) is NodeState.DOWN)
    dead = await judge(one, vm, "node2")
    assert refusals(dead) == {"node up": 5050}
    assert dead.findings[-1].measured == "not asked"
    never = await judge(one, off, "node3")
    assert refusals(never) == {"running": 5023}
    assert "never started" in never.findings[-1].sentence
    for wanted, status in (("node9", 5042), ("node1", 87)):
        with pytest.raises(CallerError) as caught:
            await one.migrations.why_not(vm.group, wanted)
        assert caught.value.status == status
    await world.admin.set_values(keys.group_path(vm.group), {"LockedFromMoving": DWORD(1)})
    await world.until(lambda: one.view.snapshot.groups[vm.group].properties.number("LockedFromMoving"))
    assert refusals(await judge(one, vm, "node3")) == {"not locked": 5960}
    assert (await refusal_of_start(one, vm, "node3"))[0] == 5960


@cluster_test
async def test_an_older_node_is_answered_as_it_asks(world: World) -> None:
    one, two = await world.form(1024, 32)
    vm = await world.vm("web1", one)
    judged = await judge(one, vm, "node2")
    asked = next(f for f in judged.findings if f.rule == "memory for virtual machines")
    question: JsonObject = {"name": "web1", "memory": 64 * MIB, "schema": 1, "guest": "builtin"}
    pinned = await _pinned(one, vm)
    with pytest.raises(ClusterError) as refused:
        await two.answer("assess", {"definition": question, "pinned": pinned})
    assert refused.value.status == asked.status == 5957
    answer = await one.answer("assess", Assess(question, pinned).to_json())
    assert set(answer) == {"memory_free"}


async def _pinned(node: SimNode, vm: VirtualMachineIds) -> JsonObject:
    machine = node.machine(vm.vm_id)
    assert machine is not None
    pinned = machine.request.pinned
    return {
        "schema": 1,
        "machine_type": pinned.machine_type,
        "accelerator": pinned.accelerator.value,
        "cpu_model": pinned.cpu_model,
        "memory_bytes": pinned.memory_bytes,
    }


# --- what was --------------------------------------------------------------------------------------------------------


async def past(world: World, at_least: int) -> tuple[PastMigration, ...]:
    async def are_there() -> bool:
        return len(await world.admin.migrations.select()) >= at_least

    await world.until(are_there)
    return await world.admin.migrations.select()


@cluster_test
async def test_a_move_is_remembered_with_its_figures_and_who_asked(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)
    begun = datetime.now(UTC)

    async def ask() -> None:
        ASKED_BY.set("alice")
        await one.migrations.start_migration(vm.group, "node2")

    await asyncio.create_task(ask())
    await world.until(lambda: world.runs_on(vm) == two.id)
    await world.until(lambda: vm.group not in one.migrations.outgoing)

    async def both_have_told() -> bool:
        found = await world.admin.migrations.select()
        return bool(found) and found[0].left is not None and found[0].arrived is not None

    await world.until(both_have_told)
    (found,) = await past(world, 1)
    assert found.left is not None
    assert (found.vm, found.result, found.left.asked_by) == ("web1", "moved", "alice")
    assert (found.left.source, found.left.destination) == ("node1", "node2")
    assert found.left.started is not None
    assert found.left.seconds is not None
    assert begun - timedelta(seconds=1) < found.left.started <= found.ended
    assert found.gap is not None
    assert 0 < found.gap < found.left.seconds
    assert found.left.transferred > 0
    assert found.left.mode == "pre-copy, 2 channels"


@cluster_test
async def test_moves_that_come_to_nothing_are_remembered_with_the_reason(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)
    world.machines.bandwidth = 1e6  # slow enough to be cancelled
    await one.migrations.start_migration(vm.group, "node2")
    await world.until(lambda: one.migrations.get(vm.group).progress.state is MigrationState.DATA_TRANSFER)
    await one.migrations.cancel_migration(vm.group)
    (cancelled,) = await past(world, 1)
    assert (cancelled.result, cancelled.gap) == ("cancelled", None), "the guest never stood"
    await world.until(lambda: vm.group not in one.migrations.outgoing)
    await one.migrations.start_migration(vm.group, "node2")
    await world.until(lambda: one.migrations.get(vm.group).progress.state is MigrationState.DATA_TRANSFER)
    destination = two.machine(vm.vm_id)
    assert destination is not None
    destination.kill()
    _, failed = await past(world, 2)
    assert (failed.result, failed.arrived) == ("failed", None)
    assert failed.left is not None
    assert failed.left.sentence
    assert world.runs_on(vm) == one.id


@cluster_test
async def test_only_so_much_is_remembered(world: World) -> None:
    one, _two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)
    await one.migrations.start_migration(vm.group, "node2")
    (found,) = await past(world, 1)
    assert await world.admin.migrations.prune(found.ended - timedelta(days=MIGRATION_DAYS), KEPT) == 0
    assert await world.admin.migrations.prune(found.ended + timedelta(seconds=1), KEPT) == 1
    assert await world.admin.migrations.select() == ()
