"""A cluster database in memory, and nodes that see it, for what looks after networks and the database."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState
from quorate.cluster.networks import FoundInterface
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.memory import MemoryData, MemoryStore
from quorate.database.network_objects import InterfaceReach, Reach
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.network_registration import NetworkRegistration


class Seen:
    """What a node sees; not moved on by itself."""

    def __init__(self, snapshot: ClusterSnapshot) -> None:
        self.snapshot = snapshot
        self.down: set[NodeId] = set()

    def node_state(self, node: NodeId) -> NodeState:
        return NodeState.DOWN if node in self.down else NodeState.UP


class NetworkWorld:
    """Nodes 1 to n on one database."""

    def __init__(self, database: ClusterDatabase, snapshot: ClusterSnapshot) -> None:
        self.database = database
        self.seen = Seen(snapshot)

    async def look(self) -> ClusterSnapshot:
        self.seen.snapshot = await self.database.snapshot()
        return self.seen.snapshot

    async def register(self, node: str, *found: FoundInterface, gone: Sequence[str] = ()) -> NetworkRegistration:
        registration = NetworkRegistration(NodeId(node), self.database, self.seen)
        await registration.register(found, gone)
        await self.look()
        return registration

    async def reach(self, node: str, *, link: bool = True, missed: Sequence[str] = ()) -> None:
        """Let a node say of all its interfaces whom it does not reach."""
        nodes = {NodeId(text) for text in missed}
        mine = [info for info in self.seen.snapshot.network_interfaces.values() if info.node == node]
        others = frozenset(self.seen.snapshot.nodes) - nodes - {NodeId(node)}
        reach = Reach({info.id: InterfaceReach(link, others, frozenset(nodes)) for info in mine})
        assert await self.database.networks.write_reach(NodeId(node), reach)
        await self.look()

    async def events(self, kind: str = "") -> list[EventRecord]:
        return [event for event in await self.database.events() if event.kind.startswith(kind)]

    async def sentences(self, kind: str = "") -> list[str]:
        return [event.sentence for event in await self.events(kind)]


def with_world(body: Callable[[NetworkWorld], Awaitable[None]], nodes: int = 3) -> None:
    async def run() -> None:
        database = ClusterDatabase(MemoryStore(MemoryData()))
        await database.create_cluster("lab")
        for number in range(1, nodes + 1):
            await database.add_node(f"node{number}")
        await body(NetworkWorld(database, await database.snapshot()))

    asyncio.run(run())


def adapter(name: str, *addresses: str) -> FoundInterface:
    return FoundInterface(name, "02:00:00:00:00:01", addresses)
