"""Whether a node may take part: asked at the start, watched from then on."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from tests.waiting import PATIENCE

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Record, StoreUnavailable
from quorate.database.member_records import EvictedNode
from quorate.database.members import Eviction
from quorate.database.memory import MemoryStore
from quorate.engine.view import ClusterView
from quorate.service import membership
from quorate.service.membership import EvictionWatch, take_part

NODE1, NODE2 = NodeId("1"), NodeId("2")


class Sleepy(MemoryStore):
    """A store that gives no answer for a while."""

    silent = 0

    async def get(self, key: str) -> Record | None:
        if self.silent:
            self.silent -= 1
            raise StoreUnavailable("no answer")
        return await super().get(key)


def in_cluster(body: Callable[[ClusterDatabase, Sleepy], Awaitable[None]]) -> None:
    async def main() -> None:
        store = Sleepy()
        database = ClusterDatabase(store)
        await database.create_cluster("demo")
        assert [await database.add_node(name) for name in ("alpha", "beta")] == [NODE1, NODE2]
        async with asyncio.timeout(PATIENCE):
            await body(database, store)

    asyncio.run(main())


def test_a_node_waits_for_the_database_before_it_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "PAUSE", 0.01)

    async def body(database: ClusterDatabase, store: Sleepy) -> None:
        store.silent = 5
        await take_part(database, NODE2)
        assert store.silent == 0
        with pytest.raises(RefusalError) as caught:
            await take_part(database, NodeId("7"))
        assert caught.value.status == Status.ERROR_CLUSTER_NODE_NOT_MEMBER

    in_cluster(body)


def test_a_node_notices_that_it_was_evicted() -> None:
    async def body(database: ClusterDatabase, store: Sleepy) -> None:
        view = ClusterView(database, NODE2)
        await view.start()
        evicted = asyncio.ensure_future(EvictionWatch(database, view, NODE2).wait())
        stays = asyncio.ensure_future(EvictionWatch(database, view, NODE1).wait())
        await database.set_node_paused(NODE2, True)
        closed_at = await database.members.close_doors(NODE2)
        await database.members.evict(Eviction(NODE2, EvictedNode("beta", datetime.now(UTC), "root"), NODE1, closed_at))
        error = await evicted
        assert error.status == Status.ERROR_CLUSTER_NODE_NOT_MEMBER
        assert "beta was evicted" in error.sentence
        assert not stays.done()
        stays.cancel()
        await view.close()
        late = EvictionWatch(database, view, NODE2)
        store.silent = 99
        assert (await late.wait()).sentence == "node 2 was evicted from the cluster"

    in_cluster(body)
