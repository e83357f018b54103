"""Dependencies and changes of group, on the memory engine: what may be, and that all or nothing is written."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from quorate.clusapi.dependencies import every, parse_dependency
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.status import Status
from quorate.database import keys, resource_relations
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.memory import MemoryStore
from quorate.database.resource_relations import Writers, plan_regrouping
from quorate.database.values import RegistryValue

NODE1, NODE2 = NodeId("1"), NodeId("2")
TYPE = "Generic Script"


class World:
    """A cluster of two nodes; group g holds a, b, c and d, group h holds x, group e, of the other node, nothing."""

    def __init__(self) -> None:
        self.database = ClusterDatabase(MemoryStore())

    async def build(self) -> None:
        database = self.database
        await database.create_cluster("c")
        for name in ("node1", "node2"):
            await database.add_node(name)
        self.g, self.h = [await database.create_group(name, 9999, NODE1) for name in "gh"]
        self.e = await database.create_group("e", 9999, NODE2)
        self.a, self.b, self.c, self.d = [await database.create_resource(name, TYPE, self.g) for name in "abcd"]
        self.x = await database.create_resource("x", TYPE, self.h)

    async def writers(self, *groups: GroupId) -> Writers:
        return {
            group: (await self.database.get_ownership(group), (await self.database.get_run_state(group)).value)
            for group in groups
        }


def with_world(body: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        await world.build()
        await body(world)

    asyncio.run(main())


async def status_of(work: Awaitable[object]) -> Status:
    with pytest.raises(ClusterError) as refused:
        await work
    return refused.value.status


def test_dependencies_are_added_and_removed_one_by_one() -> None:
    async def body(world: World) -> None:
        database, a, b, c = world.database, world.a, world.b, world.c
        await database.add_dependency(a, b)
        await database.add_dependency(a, c)
        assert (await database.snapshot()).resources[a].requirement == every((b, c))
        assert await status_of(database.add_dependency(a, b)) == Status.ERROR_DEPENDENCY_ALREADY_EXISTS
        assert await status_of(database.add_dependency(b, a)) == Status.ERROR_CIRCULAR_DEPENDENCY
        assert await status_of(database.add_dependency(d := world.d, d)) == Status.ERROR_CIRCULAR_DEPENDENCY
        assert await status_of(database.add_dependency(a, world.x)) == Status.ERROR_INVALID_PARAMETER
        assert await status_of(database.add_dependency(a, ResourceId("no"))) == Status.ERROR_RESOURCE_NOT_FOUND
        await database.remove_dependency(a, b)
        assert await status_of(database.remove_dependency(a, b)) == Status.ERROR_DEPENDENCY_NOT_FOUND
        assert (await database.snapshot()).resources[a].dependencies == (c,)

    with_world(body)


def test_alternatives_are_kept_as_an_expression_and_what_is_added_is_needed_besides() -> None:
    async def body(world: World) -> None:
        database, a, b, c, d = world.database, world.a, world.b, world.c, world.d
        either = parse_dependency(f"[{b}] or [{c}]")
        await database.set_dependencies(a, either)
        info = (await database.snapshot()).resources[a]
        assert (info.requirement, info.dependencies) == (either, (b, c))
        await database.add_dependency(a, d)
        info = (await database.snapshot()).resources[a]
        assert info.requirement == parse_dependency(f"([{b}] or [{c}]) and [{d}]")
        await database.remove_dependency(a, b)
        info = (await database.snapshot()).resources[a]
        assert (info.requirement, info.dependencies) == (every((c, d)), (c, d))
        assert "DependencyExpression" not in info.properties
        assert await status_of(database.set_dependencies(d, parse_dependency(f"[{a}] or [{b}]"))) == 1059

    with_world(body)


def test_an_expression_that_was_spoiled_through_the_registry_is_read_strictly() -> None:
    async def body(world: World) -> None:
        database, a, b, c = world.database, world.a, world.b, world.c
        await database.set_dependencies(a, parse_dependency(f"[{b}] or [{c}]"))
        await database.set_values(keys.resource_path(a), {"DependencyExpression": RegistryValue.sz("[oops")})
        assert (await database.snapshot()).resources[a].requirement == every((b, c))

    with_world(body)


def test_the_quorum_resource_depends_on_nothing_and_a_tree_has_a_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource_relations, "DEEPEST_TREE", 3)

    async def body(world: World) -> None:
        database = world.database
        await database.set_values(keys.CLUSTER, {"QuorumResource": RegistryValue.sz(world.a)})
        assert await status_of(database.add_dependency(world.a, world.b)) == Status.ERROR_DEPENDENCY_NOT_ALLOWED
        await database.add_dependency(world.b, world.a)
        await database.add_dependency(world.d, world.c)
        assert await status_of(database.add_dependency(world.c, world.b)) == Status.ERROR_DEPENDENCY_TREE_TOO_COMPLEX
        await database.add_dependency(world.c, world.a)

    with_world(body)


def test_a_resource_takes_its_whole_tree_along_into_another_group() -> None:
    async def body(world: World) -> None:
        database, a, b, c, d = world.database, world.a, world.b, world.c, world.d
        await database.add_dependency(a, b)
        await database.add_dependency(c, b)
        moved = await database.change_resource_group(a, world.h, await world.writers(world.g, world.h))
        assert {info.id for info in moved.resources} == {a, b, c}
        snapshot = await database.snapshot()
        assert [info.id for info in snapshot.resources_of(world.g)] == [d]
        assert {info.id for info in snapshot.resources_of(world.h)} == {world.x, a, b, c}
        assert {snapshot.resources[item].group_id for item in (a, b, c)} == {world.h}

    with_world(body)


def test_not_every_resource_may_go_into_every_group() -> None:
    async def body(world: World) -> None:
        database = world.database
        vm = await database.create_virtual_machine("vm", "{}", NODE1)
        snapshot = await database.snapshot()
        core = snapshot.group("Cluster Group")

        def status(resource: ResourceId, group: GroupId) -> Status:
            with pytest.raises(ClusterError) as refused:
                plan_regrouping(snapshot, snapshot.resources[resource], snapshot.groups[group])
            return refused.value.status

        assert status(world.a, world.g) == Status.ERROR_ALREADY_EXISTS
        assert status(world.a, world.e) == Status.ERROR_HOST_NODE_NOT_RESOURCE_OWNER
        assert status(world.a, core.id) == Status.ERROR_CORE_RESOURCE
        assert status(vm.vm_resource, world.g) == Status.ERROR_NOT_SUPPORTED
        writers = await world.writers(world.g, world.h)
        ownership, run = writers[world.h]
        stale = {**writers, world.h: (replace(ownership, revision=ownership.revision - 1), run)}
        refused = database.change_resource_group(world.a, world.h, stale)
        assert await status_of(refused) == Status.ERROR_HOST_NODE_NOT_GROUP_OWNER
        assert (await database.snapshot()).resources[world.a].group_id == world.g

    with_world(body)
