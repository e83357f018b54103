"""Groups that wait for others when the cluster starts them, with the engine's own hands."""

from tests.hands.cluster_world import SimNode, World, cluster_test

from quorate.clusapi.identity import GroupSetId
from quorate.clusapi.states import VmState
from quorate.database import keys
from quorate.database.cluster_database import VirtualMachineIds
from quorate.database.values import RegistryValue

DWORD, SZ = RegistryValue.dword, RegistryValue.sz
FRONT, BACK = GroupSetId("f0000000-0000-4000-8000-000000000000"), GroupSetId("b0000000-0000-4000-8000-000000000000")


async def two_machines(world: World) -> tuple[SimNode, SimNode, VirtualMachineIds, VirtualMachineIds]:
    """ "web" on a node that is about to start, "db" on one that is not; both are wanted online."""
    one, two = await world.found(1024, 1024)
    db = await world.vm("db", two, start=False, wanted=True)
    web = await world.vm("web", one, start=False, wanted=True)
    return one, two, web, db


async def depend(world: World, web: VirtualMachineIds, db: VirtualMachineIds) -> None:
    await world.admin.set_values(keys.group_path(web.group), {"DependencyExpression": SZ(f"[{db.group}]")})


def is_held(node: SimNode, vm: VirtualMachineIds) -> bool:
    return vm.group in node.groups._starts._waits_said


@cluster_test
async def test_a_group_starts_when_the_one_that_it_needs_is_online(world: World) -> None:
    one, two, web, db = await two_machines(world)
    await depend(world, web, db)
    await one.start()
    await world.until(lambda: is_held(one, web))
    assert world.runs_on(web) is None
    await two.start()
    await world.until(lambda: world.runs_on(web) == one.id)
    assert await world.has_state(db, VmState.RUNNING)


@cluster_test
async def test_a_group_waits_for_the_set_that_its_own_set_needs(world: World) -> None:
    one, two, web, db = await two_machines(world)
    for set_, name in ((FRONT, "front"), (BACK, "back")):
        await world.admin.group_sets.create(set_, name)
    await world.admin.group_sets.change(
        lambda _: {
            keys.group_set_path(FRONT): {
                "Groups": RegistryValue.multi_sz(web.group),
                "DependencyExpression": SZ(f"[{BACK}]"),
            },
            keys.group_set_path(BACK): {
                "Groups": RegistryValue.multi_sz(db.group),
                "ReadySetting": DWORD(1),
                "ReadyDelay": DWORD(1),
            },
        }
    )
    await one.start()
    await world.until(lambda: is_held(one, web))
    await two.start()
    await world.until(lambda: world.has_state(db, VmState.RUNNING))
    assert world.runs_on(web) is None  # the set has been ready for less than a second
    await world.until(lambda: world.runs_on(web) == one.id)


@cluster_test
async def test_it_waits_no_longer_than_the_cluster_says(world: World) -> None:
    one, _, web, db = await two_machines(world)
    await depend(world, web, db)
    await world.admin.set_values(keys.CLUSTER, {"GroupDependencyTimeout": DWORD(1)})
    await one.start()
    await world.until(lambda: is_held(one, web))
    await world.until(lambda: world.runs_on(web) == one.id)
    assert world.runs_on(db) is None


@cluster_test
async def test_a_person_is_not_made_to_wait(world: World) -> None:
    one, _, web, db = await two_machines(world)
    await depend(world, web, db)
    await one.start()
    await world.until(lambda: is_held(one, web))
    await one.host.online_group(web.group)
    await world.until(lambda: world.runs_on(web) == one.id)
