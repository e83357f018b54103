"""The asyncio client against real sockets."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeWorld, start_fake_cluster, stop_fake_cluster
from tests.waiting import PATIENCE

from quorate.client import connect
from quorate.client.following import Follower
from quorate.client.objects import Cluster
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import GroupState, MigrationState, NodeState, ResourceState


def with_cluster(test: Callable[[FakeWorld, Cluster], Awaitable[None]]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            world = await start_fake_cluster(Path(directory), 3)
            try:
                async with connect(directory) as cluster, asyncio.timeout(PATIENCE):
                    await cluster.create_virtual_machine("web1", {"memory": "64M"}, "node1")
                    await test(world, cluster)
            finally:
                await stop_fake_cluster(world)

    asyncio.run(run())


def test_a_migration_is_started_watched_and_awaited() -> None:
    async def test(world: FakeWorld, cluster: Cluster) -> None:
        vm = await cluster.virtual_machine("web1")
        assert await vm.online() == 997
        await world.nodes[NodeId("1")].wait_later()
        assert await vm.state() == (GroupState.ONLINE, "node1")
        migration = await vm.start_migration("node2")
        seen = [progress async for progress in migration]
        percents = [progress.percent for progress in seen]
        assert percents == sorted(percents)
        assert percents[-1] == 100
        result = await migration.result()
        assert (result.ok, result.node, result.source, result.destination) == (True, "node2", "node1", "node2")
        assert (await vm.show())["node"] == "node2"

    with_cluster(test)


def test_a_cancelled_migration_says_so() -> None:
    async def test(world: FakeWorld, cluster: Cluster) -> None:
        vm = await cluster.virtual_machine("web1")
        await cluster.call("OnlineGroup", group="web1", flags=2)
        migration = await vm.start_migration()
        await vm.cancel_migration()
        result = await migration.result()
        assert (result.ok, result.state, result.node) == (False, MigrationState.CANCELED, "node1")
        with pytest.raises(RefusalError) as caught:
            await vm.cancel_migration()
        assert caught.value.status == 5023

    with_cluster(test)


def test_objects_tell_what_they_are() -> None:
    async def test(world: FakeWorld, cluster: Cluster) -> None:
        assert [node.name for node in await cluster.nodes()] == ["node1", "node2", "node3"]
        node = await cluster.node("node3")
        assert await node.pause() == 0
        assert await node.state() is NodeState.PAUSED
        assert {group.name for group in await cluster.groups()} == {"Cluster Group", "web1"}
        resource = await cluster.resource("Virtual Machine web1")
        assert await resource.state() is ResourceState.OFFLINE
        assert [vm.name for vm in await cluster.virtual_machines()] == ["web1"]
        with pytest.raises(CallerError):
            await cluster.virtual_machine("web2")

    with_cluster(test)


def test_events_arrive_as_they_are_written() -> None:
    async def test(world: FakeWorld, cluster: Cluster) -> None:
        events = cluster.events(0)
        assert (await anext(events)).kind == "vm.created"
        await cluster.create_virtual_machine("web2", {"memory": "64M"})
        assert (await anext(events)).object_name == "web2"
        await events.aclose()  # type: ignore[attr-defined]

    with_cluster(test)


def test_a_read_only_connection_changes_nothing() -> None:
    async def test(world: FakeWorld, cluster: Cluster) -> None:
        async with connect(str(world.directory), read_only=True) as reader:
            with pytest.raises(CallerError) as caught:
                await (await reader.group("web1")).online()
            assert caught.value.status == 5

    with_cluster(test)


def test_progress_never_runs_backwards() -> None:
    follower = Follower()
    looks = [(1, 0), (2, 40), (2, 25), (2, 60), (3, 50), (0, 100)]
    shown = [
        follower.take({**MigrationProgress(MigrationState(state), percent).to_json(), "node": "node2"}).percent
        for state, percent in looks
    ]
    assert shown == [0, 40, 40, 60, 60, 100]
    assert follower.result is not None
    assert follower.result.ok
