"""What would be: the forecast of a move that nobody begins, and the forecasts that real moves are kept with."""

import asyncio

import pytest
from tests.hands.cluster_world import MIB, SimNode, World, cluster_test
from tests.hands.test_why_not import refusal_of_start

from quorate.clusapi.errors import CallerError, ClusterError, FaultError
from quorate.clusapi.json_types import JsonObject, JsonValue, json_object, json_text
from quorate.clusapi.states import MigrationState
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.cluster_database import VirtualMachineIds
from quorate.database.migration_history import PastMigration
from quorate.database.values import RegistryValue
from quorate.engine.outgoing_migrations import DryRun
from quorate.hypervisor.contract import MemorySight


async def dry_run(node: SimNode, vm: VirtualMachineIds, to: str | None = "node2") -> DryRun:
    return await node.migrations.dry_run(vm.group, to)


def likely(forecast: JsonObject, name: str) -> float:
    value = json_object(forecast, name)["likely"]
    assert isinstance(value, float | int)
    return float(value)


async def moved(world: World, vm: VirtualMachineIds, source: SimNode, to: SimNode, number: int) -> PastMigration:
    """Move it, and give what is kept of the move once both ends have told."""
    await source.migrations.start_migration(vm.group, f"node{to.id}")
    await world.until(lambda: world.runs_on(vm) == to.id)

    async def told() -> bool:
        found = await world.admin.migrations.select()
        return len(found) >= number and found[-1].left is not None and found[-1].arrived is not None

    await world.until(told)
    await world.until(lambda: vm.group not in source.migrations.outgoing)
    return (await world.admin.migrations.select())[-1]


@cluster_test
async def test_a_move_that_would_be_accepted_is_foretold_and_not_begun(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)
    found = await dry_run(one, vm)
    assert found.refusal is None
    assert found.destination == "node2"
    assert found.foretold is not None
    told = found.foretold.to_json()
    assert told["verdict"] == "converges"
    assert told["mode"] == "pre-copy, 2 channels"
    assert 0 < likely(told, "gap_ms") < 1000 * likely(told, "seconds")
    known = json_object(told, "known")
    assert known["memory"] == 64 * MIB
    assert json_text(known, "writing").startswith("watched for ")
    assert json_text(known, "link").startswith("tried ")
    assert world.runs_on(vm) == one.id
    assert not one.view.snapshot.moves
    assert one.migrations.get(vm.group).progress.state is MigrationState.NO_MIGRATION
    await world.until(lambda: not list(two.paths.runtime.glob("*.p")), patience=10.0)


@cluster_test
async def test_without_a_destination_the_one_is_foretold_that_start_would_choose(world: World) -> None:
    one, two, three = await world.form(1024, 1024, 1024)
    two.hypervisor.memory_free = 100 * MIB
    three.hypervisor.memory_free = 900 * MIB
    vm = await world.vm("web1", one)
    found = await dry_run(one, vm, None)
    assert (found.destination, found.refusal) == ("node3", None)
    assert found.foretold is not None


@cluster_test
async def test_what_start_would_refuse_is_refused_alike_and_every_rule_is_told(world: World) -> None:
    one, _two = await world.form(1024, 32)
    vm = await world.vm("web1", one)
    off = await world.vm("off", one, start=False)
    await world.admin.set_values(keys.group_path(vm.group), {"LockedFromMoving": RegistryValue.dword(1)})
    await world.until(lambda: one.view.snapshot.groups[vm.group].properties.number("LockedFromMoving"))
    found = await dry_run(one, vm)
    assert found.foretold is None
    assert found.refusal is not None
    assert (int(found.refusal.status), found.refusal.sentence) == await refusal_of_start(one, vm, "node2")
    failing = {finding.rule for finding in found.findings if finding.is_refusal}
    assert failing == {"not locked", "memory for virtual machines"}
    for destination in ("node2", None):
        found = await dry_run(one, off, destination)
        assert found.refusal is not None
        assert (int(found.refusal.status), found.foretold) == (5023, None)
    for wanted, status in (("node9", 5042), ("node1", 87)):
        with pytest.raises(CallerError) as caught:
            await dry_run(one, vm, wanted)
        assert caught.value.status == status
    await world.admin.set_values(keys.group_path(vm.group), {"LockedFromMoving": RegistryValue.dword(0)})
    await world.until(lambda: not one.view.snapshot.groups[vm.group].properties.number("LockedFromMoving"))
    found = await dry_run(one, vm, None)
    assert found.refusal is not None
    assert int(found.refusal.status) == 5957, "no other node has the memory"


@cluster_test
async def test_a_guest_that_is_being_moved_is_never_looked_at(world: World) -> None:
    one, _two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)
    instance = one.migrations.get(vm.group).instance
    assert instance is not None
    looked: list[bool] = []
    watch = instance.memory_written

    async def noted(seconds: float) -> MemorySight:
        looked.append(vm.group in one.migrations.outgoing)
        if len(looked) == 1:  # a real move waits for no dry run: it begins while one looks
            await one.migrations.start_migration(vm.group, "node2")
        return await watch(seconds)

    instance.memory_written = noted  # type: ignore[method-assign]
    world.machines.bandwidth = 1e6
    with pytest.raises(ClusterError) as refused:
        await dry_run(one, vm)
    assert refused.value.status == 5023
    assert "is being migrated to node2 already" in refused.value.sentence
    found = await dry_run(one, vm)
    assert found.refusal is not None
    assert found.refusal.status == 5023
    assert looked == [False], "the one look had begun before the move"
    await one.migrations.cancel_migration(vm.group)


@cluster_test
async def test_a_node_that_cannot_try_the_link_does_not_hinder(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)

    async def older(address: str) -> dict[str, JsonValue]:
        raise FaultError(Status.ERROR_CALL_NOT_IMPLEMENTED, "this node does not know the message")

    two.migrations.on_sink = older  # type: ignore[method-assign]
    found = await dry_run(one, vm)
    assert found.refusal is None
    assert found.foretold is not None
    absent = json_text(found.foretold.to_json(), "absent")
    assert "what the way to node2 carries" in absent
    assert "does not know the message" in absent


@cluster_test
async def test_real_moves_are_kept_with_what_was_foretold_and_how_far_off_it_was(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)
    first = await moved(world, vm, one, two, 1)
    assert first.left is not None
    assert first.left.forecast is not None
    assert "it is not known" in json_text(first.left.forecast, "absent"), "nobody had looked, and nothing was to wait"
    assert first.to_json()["off_by"] is None
    assert first.arrived is not None
    assert first.arrived.alive is not None
    await dry_run(two, vm, "node1")
    second = await moved(world, vm, two, one, 2)
    shown = second.to_json()
    forecast, off = json_object(shown, "forecast"), json_object(shown, "off_by")
    assert forecast["verdict"] == "converges"
    assert off["verdict"] is True
    assert set(off) == {"verdict", "seconds_percent", "gap_ms"}


@cluster_test
async def test_moves_teach_the_next_forecast(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)
    for number in range(3):
        await dry_run(one, vm)
        await moved(world, vm, one, two, 2 * number + 1)
        await moved(world, vm, two, one, 2 * number + 2)
    found = await dry_run(one, vm)
    assert found.foretold is not None
    assert json_object(found.foretold.to_json(), "known")["past_moves"] == 3


@cluster_test
async def test_what_the_machine_says_of_its_own_limits_counts_under_the_policies_that_it_might_follow(
    world: World,
) -> None:
    one, two = await world.form(4096, 4096)
    guest: JsonObject = {"kind": "builtin", "dirty_bytes": 128 * MIB, "dirty_bytes_per_second": 150_000_000}
    plain = await world.vm("plain", one, 512, guest=guest)
    unthrottled = await world.vm(
        "unthrottled", one, 512, guest=guest, parameters={"MigrationThrottleLimit": RegistryValue.dword(0)}
    )
    patient = await world.vm(
        "patient",
        one,
        512,
        guest=guest,
        parameters={"MigrationThrottleLimit": RegistryValue.dword(0), "MigrationGapLimit": RegistryValue.dword(5000)},
    )

    async def would(vm: VirtualMachineIds, policy: str) -> tuple[str, JsonValue]:
        one.migrations.foresight.speeds.learn(two.id, 119.8e6, between_machines=True)
        found = await one.migrations.dry_run(vm.group, "node2", policy)
        assert found.foretold is not None
        told = found.foretold.to_json()
        return json_text(told, "verdict"), told["would"]

    assert await would(plain, "gentle") == ("will not converge", ["default", "must-move", "never-postcopy"])
    assert await would(unthrottled, "gentle") == ("will not converge", ["must-move"])
    assert (await would(patient, "default"))[0] == "converges"


@cluster_test
async def test_a_node_that_stops_leaves_nothing_behind_that_would_learn_from_its_moves(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)
    await moved(world, vm, one, two, 1)

    def learners() -> list[asyncio.Task[object]]:
        return [task for task in asyncio.all_tasks() if task.get_name() == "what was learnt from a migration"]

    await world.until(learners, patience=10.0)
    await one.stop()
    assert not learners()


@cluster_test
async def test_two_dry_runs_at_once_share_what_they_see(world: World) -> None:
    one, two = await world.form(1024, 1024)
    vm = await world.vm("web1", one)
    sinks = 0
    opened = two.migrations.on_sink

    async def counted(address: str) -> dict[str, JsonValue]:
        nonlocal sinks
        sinks += 1
        return await opened(address)

    two.migrations.on_sink = counted  # type: ignore[method-assign]
    found = await asyncio.gather(dry_run(one, vm), dry_run(one, vm))
    assert sinks == 1
    assert all(each.foretold is not None for each in found)
