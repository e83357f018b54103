"""The database is looked after: old events and old history go, and a store that runs full is told of once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.unit.engine.network_world import NetworkWorld, with_world

from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.database.maintenance import StoreStatus
from quorate.database.values import RegistryValue
from quorate.engine.maintenance import Maintenance


class FakeStore:
    """A store that says what it is told to."""

    def __init__(self) -> None:
        self.now = StoreStatus(1, 100, 100, 1000, (), ())
        self.compacted: list[int] = []

    async def status(self) -> StoreStatus:
        return self.now

    async def compact(self, revision: int) -> None:
        self.compacted.append(revision)

    async def defragment(self) -> None:
        raise AssertionError("only when asked")


def maintenance(world: NetworkWorld, store: FakeStore) -> Maintenance:
    return Maintenance(NodeId("1"), world.database, world.seen, store, lambda: True)


def test_a_store_that_runs_full_is_an_event_and_so_is_its_end() -> None:
    async def body(world: NetworkWorld) -> None:
        store = FakeStore()
        one, two = maintenance(world, store), maintenance(world, store)
        await one.look_at_store()
        assert await world.events("cluster.database") == []
        store.now = replace(store.now, size_bytes=900, alarms=("member a is out of space",))
        for looking in (one, two, one):
            await looking.look_at_store()
        first, second = await world.sentences("cluster.database")
        assert "member a is out of space" in first + second
        assert "90 % of the" in first + second
        store.now = replace(store.now, size_bytes=100, alarms=())
        for looking in (two, one):
            await looking.look_at_store()
        assert sorted((await world.sentences("cluster.database"))[2:]) == [
            "the cluster database is well again; it said: member a is out of space",
            "the cluster database is well again; it said: nearly full",
        ]

    with_world(body)


def test_history_is_forgotten_in_steps() -> None:
    async def body(world: NetworkWorld) -> None:
        store = FakeStore()
        looking = maintenance(world, store)
        for revision in (5_000, 70_000, 70_500, 72_000):
            world.seen.snapshot = replace(world.seen.snapshot, revision=revision)
            await looking.compact()
        assert store.compacted == [20_000, 22_000]

    with_world(body)


def test_events_are_kept_as_long_as_the_clusters_properties_say() -> None:
    async def body(world: NetworkWorld) -> None:
        for days in (40, 20, 3, 1):
            moment = datetime.now(UTC) - timedelta(days=days)
            event = EventRecord.of(
                EventKind.VM_STATE, time=moment, node=NodeId("1"), object_id="", object_name="", sentence=f"{days}"
            )
            await world.database.append_events([event])
        looking = maintenance(world, FakeStore())
        await looking.prune()
        assert await world.sentences() == ["20", "3", "1"]
        await world.database.set_values("", {"EventRetentionDays": RegistryValue.dword(2)})
        await world.look()
        await looking.prune()
        assert await world.sentences() == ["1"]

    with_world(body)
