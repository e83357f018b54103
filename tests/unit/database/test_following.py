"""Reading the cluster where somebody follows it: as fresh as reading all records, and for the price of a question."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest
from tests.waiting import PATIENCE

from quorate.clusapi.identity import NodeId
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Snapshot, StoreUnavailable
from quorate.database.memory import MemoryData, MemoryStore
from quorate.database.values import RegistryValue


class CountingStore(MemoryStore):
    """Counts how often all records are read, and how often the revision; can be slow, silent, or ahead."""

    def __init__(self, data: MemoryData) -> None:
        super().__init__(data)
        self.readings = self.questions = self.ahead = 0
        self.delay = 0.0
        self.silent = False

    async def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        if prefixes:
            self.readings += 1
        else:
            self.questions += 1
            found = await super().range()  # before the wait: an answer may be as old as its question
            await asyncio.sleep(self.delay)
            if self.silent:
                raise StoreUnavailable("silent")
            return Snapshot(found.revision + self.ahead, ())
        return await super().range(*prefixes, after=after)


class World:
    """A node that follows the cluster, and another one that changes it."""

    def __init__(self) -> None:
        data = MemoryData()
        self.store = CountingStore(data)
        self.here, self.there = ClusterDatabase(self.store), ClusterDatabase(MemoryStore(data))
        self.node = NodeId("")

    async def follow(self, ready: asyncio.Event) -> None:
        async with aclosing(self.here.follow()) as snapshots:
            async for _ in snapshots:
                ready.set()


def followed(body: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
    def test() -> None:
        async def main() -> None:
            world, ready = World(), asyncio.Event()
            await world.there.create_cluster("lab")
            world.node = await world.there.add_node("node1")
            follower = asyncio.create_task(world.follow(ready))
            await ready.wait()
            world.store.readings = 0
            async with asyncio.timeout(PATIENCE):
                await body(world)
            follower.cancel()

        asyncio.run(main())

    return test


@followed
async def test_what_was_answered_to_anybody_is_seen_without_reading_all_records(world: World) -> None:
    for number in range(20):
        made = await world.there.create_virtual_machine(f"vm{number}", "{}", world.node)
        snapshot = await world.here.snapshot()
        assert snapshot.group(f"vm{number}").id == made.group
        assert snapshot.revision >= world.store.data.revision
        await world.there.set_parameters(keys.resource_path(made.vm_resource), {"Colour": RegistryValue.sz("red")})
        path = keys.resource_path(made.vm_resource)
        assert (await world.here.key_values(path, private=True)).text("Colour") == "red"
        await world.there.delete_group(made.group)
        assert (await world.here.snapshot()).find_group(f"vm{number}") is None
        assert not await world.here.key_values(path)
    assert world.store.readings == 0


@followed
async def test_many_readers_share_a_question(world: World) -> None:
    world.store.delay = 0.02
    await asyncio.gather(*(world.here.snapshot() for _ in range(100)))
    assert world.store.questions == 2


@followed
async def test_who_comes_while_a_question_is_under_way_does_not_get_its_answer(world: World) -> None:
    world.store.delay = 0.02
    early = asyncio.create_task(world.here.snapshot())
    await asyncio.sleep(0.01)  # it has been asked, and its answer is on the way
    made = await world.there.create_virtual_machine("late", "{}", world.node)
    assert (await world.here.snapshot()).group("late").id == made.group
    await early


@followed
async def test_a_revision_that_the_watch_never_tells_of_is_not_waited_for(world: World) -> None:
    world.store.ahead = 1000  # a stranger has written beside our prefix
    assert (await world.here.snapshot()).find_node("node1")
    assert world.store.readings == 1


@followed
async def test_a_silent_store_is_told_to_all_who_ask(world: World) -> None:
    world.store.delay, world.store.silent = 0.02, True
    answers = await asyncio.gather(*(world.here.snapshot() for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    world.store.silent = False
    assert (await world.here.snapshot()).find_node("node1")


@followed
async def test_a_reader_that_goes_away_does_not_take_the_question_of_the_others_along(world: World) -> None:
    world.store.delay = 0.05
    first, second, third = (asyncio.create_task(world.here.snapshot()) for _ in range(3))
    await asyncio.sleep(0.01)
    first.cancel()
    second.cancel()
    assert (await third).find_node("node1")


@followed
async def test_nothing_is_rebuilt_that_has_not_changed(world: World) -> None:
    made = await world.there.create_virtual_machine("still", "{}", world.node)
    before = await world.here.snapshot()
    await world.there.set_parameters(keys.resource_path(made.vm_resource), {"Colour": RegistryValue.sz("red")})
    after = await world.here.snapshot()
    assert after.groups is before.groups
    assert after.nodes is before.nodes
    assert after.resources is not before.resources
    assert after.resources[made.configuration_resource] is before.resources[made.configuration_resource]


def test_nobody_follows_and_all_records_are_read() -> None:
    async def main() -> None:
        world = World()
        with pytest.raises(Exception, match="holds no cluster"):
            await world.here.snapshot()
        await world.there.create_cluster("lab")
        assert (await world.here.snapshot()).cluster.name == "lab"
        assert (world.store.readings, world.store.questions) == (2, 0)

    asyncio.run(main())
