"""Networks written down by nodes, probed by datagrams, and told of when they change."""

import asyncio
import socket
import uuid
from collections.abc import Callable

from tests.unit.engine.network_world import NetworkWorld, adapter, with_world
from tests.waiting import PATIENCE

from quorate.clusapi.identity import NetworkInterfaceId, NodeId
from quorate.clusapi.states import NetworkInterfaceState, NetworkState
from quorate.database.values import RegistryValue
from quorate.engine.network_picture import network_findings
from quorate.engine.network_watch import NetworkWatch
from quorate.engine.networks import Networks
from quorate.engine.probes import SIZE, Datagram, ProbeSockets, unpack

CLUSTER = uuid.UUID(int=7)
ETH0 = NetworkInterfaceId("eth0")


# --- Writing down --------------------------------------------------------------------------------------------------


def test_nodes_that_look_at_the_same_moment_make_each_network_once() -> None:
    async def body(world: NetworkWorld) -> None:
        await asyncio.gather(
            *(
                world.register(str(n), adapter("eth0", f"10.0.0.{n}/24"), adapter("eth1", f"10.1.0.{n}/24"))
                for n in range(1, 6)
            )
        )
        snapshot = await world.look()
        assert [network.name for network in snapshot.networks.values()] == ["Cluster Network 1", "Cluster Network 2"]
        assert len(snapshot.network_interfaces) == 10
        assert len(await world.events("network.added")) == 2
        assert len(await world.events("netinterface.added")) == 10
        revision = snapshot.revision
        await world.register("3", adapter("eth0", "10.0.0.3/24"), adapter("eth1", "10.1.0.3/24"))
        assert (await world.look()).revision == revision, "nothing is written that is written already"

    with_world(body, nodes=5)


def test_what_is_left_alone_is_told_and_what_is_gone_is_removed() -> None:
    async def body(world: NetworkWorld) -> None:
        registration = await world.register("1", adapter("eth0", "10.0.0.1/24"), adapter("eth1", "10.0.0.2/24"))
        assert registration.left_alone[0].startswith("eth1 is left alone")
        await world.register("1", gone=["eth0"])
        assert dict(world.seen.snapshot.networks) == {}
        assert (await world.events("network.deleted"))[0].object_name == "Cluster Network 1"

    with_world(body)


def test_the_default_role_of_the_cluster_is_that_of_a_new_network() -> None:
    async def body(world: NetworkWorld) -> None:
        await world.database.set_values("", {"DefaultNetworkRole": RegistryValue.dword(1)})
        await world.look()
        await world.register("1", adapter("eth0", "10.0.0.1/24"))
        (network,) = world.seen.snapshot.networks.values()
        assert (network.role, network.metric, network.auto_metric) == (1, 40_240, True)

    with_world(body)


# --- States and their events ---------------------------------------------------------------------------------------


async def three_nodes(world: NetworkWorld) -> None:
    for number in (1, 2, 3):
        await world.register(str(number), adapter("eth0", f"10.0.0.{number}/24"))


def test_the_states_follow_from_what_nodes_say_and_are_told_once() -> None:
    async def body(world: NetworkWorld) -> None:
        await three_nodes(world)
        watch = NetworkWatch(NodeId("1"), world.database, world.seen, lambda: True)
        another = NetworkWatch(NodeId("2"), world.database, world.seen, lambda: True)
        quiet = (await world.look()).revision
        await watch.look()
        assert (await world.look()).revision == quiet, "a cluster whose networks are well writes nothing"
        await world.reach("1", missed=["3"])
        await world.reach("2", missed=["3"])
        for look in (watch, another, watch):
            await look.look()
        assert await world.sentences("net") == [
            *(await world.sentences("net"))[:4],
            '"node3 - eth0" is unreachable: its link is up, and nobody reaches it',
            'network "Cluster Network 1" is partitioned: nobody reaches node3',
        ]
        world.seen.down.add(NodeId("3"))
        await watch.look()
        assert len(await world.events("netinterface.state")) == 1, "a node that is down is told of as a node"
        (*_, last) = await world.events("network.state")
        assert (last.sentence, last.before, last.after) == (
            'network "Cluster Network 1" is up again',
            {"state": "PARTITIONED"},
            {"state": "UP"},
        )
        world.seen.down.clear()
        await world.reach("1")
        await world.reach("2")
        await another.look()  # finds that somebody has told of something since it looked
        await another.look()
        assert (await world.sentences("net"))[-1] == '"node3 - eth0" is up again'

    with_world(body)


def test_a_link_that_goes_down_is_told() -> None:
    async def body(world: NetworkWorld) -> None:
        await three_nodes(world)
        await world.reach("2", link=False)
        (finding,) = network_findings(world.seen.snapshot, world.seen.node_state).values()
        assert finding.state is NetworkState.PARTITIONED
        found = [one.state for one in finding.interfaces.values()]
        assert found.count(NetworkInterfaceState.FAILED) == 1
        await NetworkWatch(NodeId("1"), world.database, world.seen, lambda: True).look()
        assert (await world.sentences("netinterface.state")) == [
            '"node2 - eth0" is failed: its link is down or it has no address'
        ]

    with_world(body)


# --- Datagrams -----------------------------------------------------------------------------------------------------


def test_datagrams_are_understood_and_nonsense_is_not() -> None:
    question = Datagram(True, CLUSTER, 1 << 40, NodeId("64"))
    assert unpack(question.pack()) == question
    assert len(question.pack()) == SIZE == 36
    for nonsense in (b"", b"x" * SIZE, question.pack()[:-1], question.pack() + b"x", b"QRN1X" + question.pack()[5:]):
        assert unpack(nonsense) is None


def free_port(address: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - datagrams of another socket
            await asyncio.sleep(0.01)


def test_a_question_is_answered_to_interfaces_of_the_cluster_only() -> None:
    async def body() -> None:
        one, two = ("127.0.0.1", free_port("127.0.0.1")), ("127.0.0.2", free_port("127.0.0.2"))
        answers: list[tuple[str, int]] = []
        asking = ProbeSockets(NodeId("1"), CLUSTER, lambda _, address, sequence: answers.append((address, sequence)))
        answering = ProbeSockets(NodeId("2"), CLUSTER, lambda *_: None)
        stranger = ProbeSockets(NodeId("2"), uuid.UUID(int=8), lambda *_: None)
        try:
            await asking.serve({ETH0: one})
            await answering.serve({ETH0: two})
            asking.known_addresses = frozenset({"127.0.0.1", "127.0.0.2"})
            asking.ask(ETH0, two, 1)
            await asyncio.sleep(0.05)
            assert answers == [], "who is no interface of the cluster hears nothing"
            answering.known_addresses = asking.known_addresses
            asking.ask(ETH0, two, 2)
            await until(lambda: answers == [("127.0.0.2", 2)])
            await stranger.serve({ETH0: two})  # taken: left out, tried again later
            answering.close()
            await asyncio.sleep(0.01)
            await stranger.serve({ETH0: two})
            stranger.known_addresses = asking.known_addresses
            asking.ask(ETH0, two, 3)
            await asyncio.sleep(0.05)
            assert len(answers) == 1, "another cluster's node is none of ours"
        finally:
            for sockets in (asking, answering, stranger):
                sockets.close()

    asyncio.run(body())


def test_a_pocket_cluster_has_no_networks_and_pays_nothing() -> None:
    async def body(world: NetworkWorld) -> None:
        before = len(asyncio.all_tasks())
        networks = Networks(NodeId("1"), world.database, world.seen, "unix:/run/peers", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        networks.start()
        assert len(asyncio.all_tasks()) == before
        await networks.close()

    with_world(body)
