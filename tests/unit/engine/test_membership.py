"""Membership and promises with the engine's own hands: a few nodes in one process, a store that falls silent at a word.

Time is short here and goes by as it does outside, but stands still while a node is late that a test wants to live:
nobody lapses because a machine is busy. Every wait is for a condition.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import cast

import pytest
from tests.waiting import PATIENCE, until

from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.states import NodeState, NodeStatus
from quorate.clusapi.status import Status
from quorate.cluster.lease import MARGIN
from quorate.cluster.lease_events import Terms
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Change, Compare, Delete, Outcome, Put, Record, Snapshot, StoreUnavailable, Write
from quorate.database.memory import MemoryBlockingStore, MemoryData, MemoryStore
from quorate.database.records import Lease
from quorate.engine.guard_file import boottime
from quorate.engine.lease import LeaseKeeper
from quorate.engine.membership import Membership
from quorate.engine.promises import PromiseExchange
from quorate.engine.view import ClusterView
from quorate.peers.client import Peers, PeerUnreachable
from quorate.peers.messages import PromiseAnswer, PromiseRequest

TERMS = Terms(delay=0.1, duration=1.0, resilience=2.0)
MOST = 0.05
"""Seconds by which the clock goes on at a time."""
ONE, TWO, THREE = NodeId("1"), NodeId("2"), NodeId("3")


class SilentStore(MemoryStore):
    """The loop's store of one node."""

    silent = False

    def _check(self) -> None:
        if self.silent:
            raise StoreUnavailable("the test has silenced the database")

    async def get(self, key: str) -> Record | None:
        self._check()
        return await super().get(key)

    async def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        self._check()
        return await super().range(*prefixes, after=after)

    async def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        self._check()
        return await super().transact(compares, writes)

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[tuple[Change, ...], None]:
        async with aclosing(super().watch(prefix, after)) as batches:
            async for batch in batches:
                while self.silent:  # noqa: ASYNC110 - the test's word, no event
                    await asyncio.sleep(0.005)
                yield batch


class SilentBlockingStore(MemoryBlockingStore):
    """The lease thread's store of one node."""

    def __init__(self, store: SilentStore) -> None:
        super().__init__(store.data)
        self._store = store

    def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        if self._store.silent:
            raise StoreUnavailable("the test has silenced the database")
        return super().transact(compares, writes)


class Node:
    """One node, as far as leases go."""

    def __init__(self, world: "World", node: NodeId) -> None:
        self.world = world
        self.id = node
        self.store = SilentStore(world.data)
        self.database = ClusterDatabase(self.store)
        self.deadlines: list[float] = []
        self.news = 0
        self.is_alive = False
        self.is_to_live = False

    async def start(self) -> None:
        self.view = ClusterView(self.database, self.id)
        await self.view.start()
        self.lease = LeaseKeeper(
            self.id,
            lambda: SilentBlockingStore(self.store),
            f"base{self.id}",
            terms=lambda: self.world.terms,
            seen=lambda: self.view.revision,
            on_deadline=self.deadlines.append,
        )
        self.is_to_live = True
        assert await asyncio.to_thread(self.lease.start, PATIENCE)
        self.membership = Membership(self.id, self.view, self.lease)
        self.membership.start()
        self.membership.subscribe(self._count)
        self.promises = PromiseExchange(self.id, self.view, self.lease, self.membership, cast(Peers, self))
        self.promises.start()
        self.is_alive = True

    def _count(self) -> None:
        self.news += 1

    async def call(self, node: NodeId, kind: str, body: JsonObject, timeout: float) -> JsonObject:
        """As `Peers.call`: to the other node's handler."""
        assert kind == "promise" and timeout < 1.0
        await asyncio.sleep(0)
        there = self.world.nodes[node]
        if not there.is_alive or node in self.world.cut or self.id in self.world.cut:
            raise PeerUnreachable(f"node {node} is dead, or the test has cut the network")
        return there.promises.on_request(PromiseRequest.from_json(body)).to_json()

    async def kill(self) -> None:
        if not self.is_alive:
            return
        self.is_alive = self.is_to_live = False
        await self.promises.close()
        self.membership.close()
        await asyncio.to_thread(self.lease.stop)
        await self.view.close()

    def state(self, node: NodeId) -> NodeState:
        return self.view.node_state(node)


class World:
    """The cluster, and its clock."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.time = boottime()
        self.data = MemoryData()
        self.cut: set[NodeId] = set()
        self.nodes: dict[NodeId, Node] = {}

    def now(self) -> float:
        return self.time

    async def go_on(self) -> None:
        """Let the time go by."""
        before = boottime()
        while True:
            await asyncio.sleep(0.005)
            passed, before = boottime() - before, boottime()
            if all(node.lease.deadline > self.time + 2 * MOST for node in self.nodes.values() if node.is_to_live):
                self.time += min(passed, MOST)

    async def start(self, count: int) -> list[Node]:
        database = ClusterDatabase(MemoryStore(self.data))
        await database.create_cluster("test")
        for number in range(1, count + 1):
            node = await database.add_node(f"node{number}")
            self.nodes[node] = Node(self, node)
        for found in self.nodes.values():
            await found.start()
            found.lease.joined()
        await until(lambda: all(a.state(b) is NodeState.UP for a in self.nodes.values() for b in self.nodes))
        await until(lambda: all(self.knows_all(node) for node in self.nodes.values()))
        return list(self.nodes.values())

    def knows_all(self, node: Node) -> bool:
        """Tell whether a node's renewals say that it knows the present incarnation of everybody."""
        newest = max(other.lease.since_revision for other in self.nodes.values())
        return node.view.snapshot.leases[node.id].value.seen >= newest

    async def close(self) -> None:
        for node in self.nodes.values():
            node.store.silent = False
            await node.kill()


def with_nodes(count: int, body: Callable[[World, list[Node]], Awaitable[None]], terms: Terms = TERMS) -> None:
    async def run() -> None:
        world = World(terms)
        going_on = asyncio.create_task(world.go_on())
        with pytest.MonkeyPatch.context() as patch:
            for module in ("lease", "membership", "promises", "view"):
                patch.setattr(f"quorate.engine.{module}.boottime", world.now)
            try:
                await body(world, await world.start(count))
            finally:
                going_on.cancel()
                await world.close()

    asyncio.run(run())


def test_a_node_joins_is_up_falls_silent_and_is_ended_when_its_lease_is_over() -> None:
    async def body(world: World, nodes: list[Node]) -> None:
        one, two, three = nodes
        renewed = world.now()
        await two.kill()
        assert not one.membership.may_end(TWO).allowed
        before = one.news
        await until(lambda: one.state(TWO) is NodeState.DOWN)
        await until(lambda: one.news > before)  # what time alone has done is told, too
        verdict = one.membership.may_end(TWO)
        if not verdict.allowed:
            assert verdict.at is not None
            await until(lambda: one.membership.may_end(TWO).allowed)
        assert world.now() > renewed - TERMS.delay + TERMS.duration + MARGIN
        lease = one.view.snapshot.leases[TWO]
        assert await one.database.end_lease(TWO, lease)
        await until(lambda: three.view.snapshot.leases[TWO].value.ended)
        assert three.state(TWO) is NodeState.DOWN and "ended already" in three.membership.may_end(TWO).sentence
        two.store = SilentStore(world.data)
        await two.start()
        assert two.lease.incarnation == "base2.1" and two.state(TWO) is NodeState.JOINING
        await until(lambda: one.state(TWO) is NodeState.JOINING)
        two.lease.joined()
        await until(lambda: one.state(TWO) is NodeState.UP)

    with_nodes(3, body)


def test_while_the_database_is_silent_for_all_promises_carry_everybody_on() -> None:
    async def body(world: World, nodes: list[Node]) -> None:
        for node in nodes:
            node.store.silent = True
        silent = world.now()
        await until(lambda: not any(node.lease.is_held for node in nodes))
        while world.now() < silent + TERMS.duration + 1.0:
            assert all(node.lease.may_run for node in nodes)
            await asyncio.sleep(0.05)
        one = nodes[0]
        assert one.membership.has_promised(TWO) and not one.membership.is_writable()
        assert one.state(TWO) is NodeState.UNKNOWN, "the silence is its own as well"
        assert one.state(ONE) is NodeState.DOWN and one.membership.node_status(ONE) & NodeStatus.ISOLATED
        assert not one.membership.node_status(TWO) & NodeStatus.ISOLATED
        assert not one.membership.may_end(TWO).allowed
        assert one.deadlines[-1] == one.lease.deadline > world.now()
        for node in nodes:
            node.store.silent = False
        await until(lambda: all(a.state(b) is NodeState.UP for a in nodes for b in world.nodes))
        assert [node.lease.incarnation for node in nodes] == ["base1.1", "base2.1", "base3.1"]
        assert one.membership.node_status(ONE) is NodeStatus.NORMAL

    with_nodes(3, body)


def test_who_alone_is_cut_off_gets_no_promise_and_lapses() -> None:
    async def body(world: World, nodes: list[Node]) -> None:
        one, two, _ = nodes
        one.is_to_live = False
        one.store.silent = True
        await until(lambda: not one.lease.may_run)
        assert one.lease.holder().incarnation == "base1.2" and not two.membership.has_promised(ONE)
        await until(lambda: two.membership.may_end(ONE).allowed)
        refused = two.promises.on_request(PromiseRequest(ONE, "base1.1", 1.0))
        assert not refused.granted and "over" in refused.sentence
        assert one.deadlines[-1] < world.now()

    with_nodes(3, body)


def test_one_that_cannot_be_asked_is_enough_to_end_it() -> None:
    async def body(world: World, nodes: list[Node]) -> None:
        world.cut.add(THREE)
        for node in nodes:
            node.is_to_live, node.store.silent = False, True
        await until(lambda: not any(node.lease.may_run for node in nodes))
        assert all(node.deadlines[-1] < world.now() for node in nodes)

    with_nodes(3, body)


def test_a_promise_keeps_a_node_from_ending_a_lease_that_is_over() -> None:
    async def body(world: World, nodes: list[Node]) -> None:
        one, two = nodes
        await two.kill()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LeaseKeeper, "is_writable", property(lambda self: False))
            assert one.promises.on_request(PromiseRequest(TWO, "base2.1", 2.0)).granted
        await until(lambda: one.state(TWO) is NodeState.DOWN)
        verdict = one.membership.may_end(TWO)
        assert not verdict.allowed and "promised" in verdict.sentence
        assert one.membership.may_end(TWO, fenced=True).allowed

    with_nodes(2, body)


def test_an_older_state_of_the_database_is_never_gone_back_to() -> None:
    async def body(world: World, nodes: list[Node]) -> None:
        (one,) = nodes
        snapshot = one.view.snapshot
        revision = one.view.revision
        one.view._take(replace(snapshot, revision=1))
        assert one.view.revision >= revision > 1

    with_nodes(1, body)


def test_of_a_node_without_a_lease_or_of_itself_nothing_can_be_ended() -> None:
    async def body(world: World, nodes: list[Node]) -> None:
        one, two = nodes
        assert "own" in one.membership.may_end(ONE).sentence
        await two.kill()
        await one.database.store.transact((), (Delete(keys.lease(TWO)),))
        await until(lambda: TWO not in one.view.snapshot.leases)
        assert "no lease" in one.membership.may_end(TWO).sentence and one.state(TWO) is NodeState.DOWN
        assert one.state(NodeId("9")) is NodeState.UNKNOWN
        old = Lease("old", 1, 0.1)  # of a program that knew nothing of promises, and had no guard
        await one.database.store.transact((), (Put(keys.lease(TWO), old.encode()),))
        await until(lambda: TWO in one.view.snapshot.leases and one.state(TWO) is NodeState.DOWN)
        assert one.membership.may_end(TWO).at is None

    with_nodes(2, body)


# --- messages --------------------------------------------------------------------------------------------------------


def test_the_messages_are_read_as_they_were_written() -> None:
    request, answer = PromiseRequest(ONE, "a.1", 5.0), PromiseAnswer(True, "yes", 5.5)
    assert PromiseRequest.from_json(request.to_json()) == request
    assert PromiseAnswer.from_json(answer.to_json()) == answer


@pytest.mark.parametrize("body", [{}, {"node": "1"}, {"node": "", "period": 1}, {"node": "1", "period": True}])
def test_a_question_that_is_none_is_refused(body: JsonObject) -> None:
    with pytest.raises((FaultError, CallerError)) as caught:
        PromiseRequest.from_json(body)
    assert caught.value.status is Status.ERROR_INVALID_DATA


@pytest.mark.parametrize("body", [{}, {"granted": 1}, {"granted": "true", "until_seconds": "5"}])
def test_what_is_not_clearly_a_promise_is_none(body: JsonObject) -> None:
    assert PromiseAnswer.from_json(body) == PromiseAnswer(False, "")
