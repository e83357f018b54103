"""Whose policy a migration follows: the call's, the virtual machine's or the cluster's, also after a wait."""

from tests.hands.cluster_world import MIB, World, cluster_test

from quorate.clusapi.json_types import json_float, json_object
from quorate.database.values import RegistryValue
from quorate.migration.policy import Policy

DWORD, SZ = RegistryValue.dword, RegistryValue.sz
OWN = {"MigrationPolicy": SZ("never-postcopy"), "MigrationGapLimit": DWORD(1500), "MigrationThrottleLimit": DWORD(30)}


@cluster_test
async def test_the_call_counts_before_the_machine_and_the_machine_before_the_cluster(world: World) -> None:
    one, _, _ = await world.form(
        1024,
        1024,
        1024,
        properties={"MigrationPolicy": SZ("gentle"), "MaximumParallelMigrations": DWORD(3)},
    )
    plain, own, asked = [
        await world.vm("plain", one),
        await world.vm("own", one, parameters=OWN),
        await world.vm("asked", one, parameters=OWN),
    ]
    world.machines.bandwidth = 4e6
    for vm, policy in ((plain, ""), (own, ""), (asked, "must-move")):
        await one.migrations.start_migration(vm.group, "node2", policy)

    def followed(group: object) -> Policy:
        return next(s.brain.convergence.policy for g, s in one.migrations.outgoing.items() if g == group)

    assert followed(plain.group).name == "gentle"
    assert (followed(own.group).name, followed(own.group).gap_limit, followed(own.group).throttle_limit) == (
        "never-postcopy",
        1.5,
        30,
    )
    assert (followed(asked.group).name, followed(asked.group).gap_limit) == ("must-move", 1.5)


@cluster_test
async def test_of_the_bandwidth_limits_of_call_machine_and_cluster_the_smallest_holds(world: World) -> None:
    one, *_ = await world.form(
        2048,
        2048,
        properties={"MigrationBandwidthLimit": DWORD(400), "MaximumParallelMigrations": DWORD(3)},
    )
    plain = await world.vm("plain", one)
    own = await world.vm("own", one, parameters={"MigrationBandwidthLimit": DWORD(30)})
    asked = await world.vm("asked", one, parameters={"MigrationBandwidthLimit": DWORD(30)})
    for vm, limit, said in ((own, 100, 30), (own, 7, 7), (plain, 0, 400)):
        found = await one.migrations.dry_run(vm.group, "node2", "", limit)
        assert found.foretold is not None
        told = found.foretold.to_json()
        assert told["mode"] == f"pre-copy, 2 channels, at most {said} MiB/s"
        assert json_float(json_object(json_object(told, "known"), "link_bytes_per_second"), "high") <= said * MIB
    for vm, limit in ((own, 100), (asked, 1)):
        await one.migrations.start_migration(vm.group, "node2", "", limit)
    shown = {vm: one.migrations.get(vm.group).progress.transport for vm in (own, asked)}
    assert shown == {own: "2 channels, at most 30 MiB/s", asked: "2 channels, at most 1 MiB/s"}
    assert one.migrations.outgoing[asked.group]._parameters.max_bandwidth == MIB
    await one.migrations.cancel_migration(asked.group)


@cluster_test
async def test_a_move_that_waited_in_the_queue_follows_the_policy_that_it_was_asked_for_with(world: World) -> None:
    one, two = await world.form(1024, 1024)
    first, second = await world.vm("first", one), await world.vm("second", one)
    world.machines.bandwidth = 2e7
    await one.migrations.start_migration(first.group, "node2")
    await one.migrations.start_migration(second.group, "node2", "must-move", 15)
    waits = one.migrations.queue.waiting(second.group)
    assert waits is not None
    assert (waits.policy, waits.bandwidth_limit) == ("must-move", 15)
    await world.until(lambda: second.group in one.migrations.outgoing)
    assert one.migrations.outgoing[second.group].brain.convergence.policy.name == "must-move"
    assert one.migrations.get(second.group).progress.transport.endswith("at most 15 MiB/s")
    await world.until(lambda: world.runs_on(second) == two.id)
