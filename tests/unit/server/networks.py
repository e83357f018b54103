"""Networks for a fake cluster, as two nodes would have found them: Cluster Network 1 on eth0, 2 on eth1."""

import asyncio
from collections.abc import Mapping

from tests.unit.server.fake import FakeWorld

from quorate.clusapi.identity import NodeId
from quorate.cluster.networks import FoundInterface
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.network_objects import InterfaceReach, Reach
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.network_registration import NetworkRegistration


class _Seen:
    def __init__(self, snapshot: ClusterSnapshot, world: FakeWorld) -> None:
        self.snapshot = snapshot
        self.node_state = next(iter(world.nodes.values())).node_state


def make_networks(world: FakeWorld) -> None:
    """Write the networks of every node of a fake cluster."""

    async def make() -> None:
        for node_id, node in world.nodes.items():
            found = [
                FoundInterface(f"eth{n}", f"02:00:00:00:0{node_id}:0{n}", (f"10.{n}.0.{node_id}/24",)) for n in (0, 1)
            ]
            seen = _Seen(await node.database.snapshot(), world)
            await NetworkRegistration(node_id, node.database, seen).register(found, ())

    asyncio.run(make())


def say_reach(world: FakeWorld, node: str, *, links: Mapping[str, bool], missed: tuple[str, ...] = ()) -> None:
    """Let a node say of its interfaces, by adapter, whether they have a link, and on all whom it does not reach."""

    async def say(database: ClusterDatabase) -> None:
        snapshot = await database.snapshot()
        mine = [info for info in snapshot.network_interfaces.values() if info.node == node]
        nodes = frozenset(map(NodeId, missed))
        reach = {info.id: InterfaceReach(links.get(info.adapter, True), frozenset(), nodes) for info in mine}
        assert await database.networks.write_reach(NodeId(node), Reach(reach))

    asyncio.run(say(world.nodes[NodeId(node)].database))
