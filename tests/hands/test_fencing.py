"""Fencing with the engine's own hands: several nodes, a store in memory; the agent is a real program."""

import asyncio

from tests.hands.cluster_world import DELAY, SimNode, World, cluster_test
from tests.unit.server.agents import FakeAgent

from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState
from quorate.cluster.fencing import RETRY_PAUSE, Phase
from quorate.database import keys
from quorate.database.contract import Put
from quorate.database.fence_records import FenceAgent
from quorate.database.records import Lease
from quorate.database.values import RegistryValue
from quorate.engine.fence_agents import FenceAgents
from quorate.engine.fence_watch import FenceWatch
from quorate.engine.fencing import Fencing

DWORD = RegistryValue.dword


class Fences:
    """Fencing on a node of the world, wired as `service.node` does."""

    def __init__(self, world: World, node: SimNode) -> None:
        self.agent = FakeAgent(world.directory / "agents")
        self.time = 1000.0
        self.fencing = Fencing(node.context, FenceAgents(world.directory / "agents"), lambda: self.time)
        self.watch = FenceWatch(node.context, self.fencing, node.membership)
        self.fencing.subscribe(node.coordinator.look_again)
        node.pictures._is_fenced = self.fencing.proof
        self._world = world

    async def give(self, node: NodeId, *plugs: str) -> None:
        agents = tuple(FenceAgent(FakeAgent.NAME, {"plug": plug, "password": "s3cret"}, timeout=60.0) for plug in plugs)
        await self._world.admin.fences.change(node, lambda known: agents)

    def phase(self, node: NodeId) -> Phase:
        fence = self.fencing._fences.get(node)
        return Phase.IDLE if fence is None else fence.phase

    async def close(self) -> None:
        await self.watch.close()
        await self.fencing.close()


def actions(agent: FakeAgent) -> list[str]:
    return [line for line in agent.told() if line.startswith("action=")]


@cluster_test
async def test_a_dead_node_whose_lease_proves_nothing_is_switched_off_and_taken_over(world: World) -> None:
    one, two, three = await world.form(1024, 1024, 1024)
    vm = await world.vm("vm", one)
    fences = Fences(world, two)
    await fences.give(one.id, "1")
    for node in (two, three):
        node.membership.refuses.add(one.id)  # time alone proves nothing
    await one.die()
    await world.until(lambda: world.coordinator() is None)
    fences.watch.start()
    await world.until(lambda: world.runs_on(vm) is not None)
    assert fences.agent.power("1") == "off"
    assert fences.fencing.describe(one.id) == "node1 is fenced: fence_fake has switched it off"
    (down,) = [event for event in await world.events("node1 is down") if event.kind == "node.state"]
    assert down.sentence == "node1 is down: it is proven to be off"
    assert [event.kind for event in await world.events("node1 has been silent")] == ["node.fencing"]
    await fences.close()


@cluster_test
async def test_agents_may_be_asked_before_the_lease_is_over_also_about_the_coordinator(world: World) -> None:
    one, two, three = await world.form(1024, 1024, 1024, properties={"FenceAfter": DWORD(1)})
    vm = await world.vm("vm", one)
    fences = Fences(world, two)
    await fences.give(one.id, "1")
    assert world.coordinator() is one
    for node in (two, three):
        node.membership.refuses.add(one.id)
        node.membership.patient = True  # the lease is long: nobody is down yet
    await one.die()
    fences.watch.start()
    await world.until(lambda: world.runs_on(vm) is not None)
    (begun,) = [event for event in await world.events("node1 has been silent") if event.kind == "node.fencing"]
    assert begun.sentence.endswith(" s: the test forbids it")
    await fences.close()


@cluster_test
async def test_a_node_whose_lease_is_proof_enough_is_not_switched_off(world: World) -> None:
    one, two, _ = await world.form(1024, 1024, 1024)
    vm = await world.vm("vm", one)
    fences = Fences(world, two)
    await fences.give(one.id, "1")
    fences.watch.start()
    await one.die()
    await world.until(lambda: world.runs_on(vm) is not None)
    assert fences.agent.told() == []
    await fences.close()


@cluster_test
async def test_an_agent_that_fails_leaves_it_to_the_lease_and_the_next_one_is_tried(world: World) -> None:
    _, two, three = await world.form(1024, 1024, 1024)
    fences = Fences(world, two)
    await fences.give(three.id, "broken", "stuck")
    fences.agent.set("broken", "broken")
    fences.agent.set("stuck", "wedged")
    three.cut_off()
    fences.fencing.begin(three.id, "node3 is silent")
    await world.until(lambda: fences.phase(three.id) is Phase.FAILED)
    assert actions(fences.agent) == ["action=off", "action=off"]
    assert not fences.fencing.proof(three.id)
    (told,) = await world.events("node3 could not be switched off")
    assert told.kind == "node.fence_failed"
    assert "the relay is stuck" in told.sentence
    fences.fencing.begin(three.id, "node3 is silent")
    await asyncio.sleep(5 * DELAY)
    assert actions(fences.agent) == ["action=off", "action=off"], f"not again before {RETRY_PAUSE} s"
    await fences.close()


@cluster_test
async def test_a_node_that_has_no_agent_is_left_alone(world: World) -> None:
    _, two, three = await world.form(1024, 1024, 1024)
    fences = Fences(world, two)
    fences.fencing.begin(three.id, "node3 is silent")
    await world.until(lambda: fences.fencing.describe(three.id))
    assert fences.fencing.describe(three.id) == "node3 has no fence agent: the end of its lease decides"
    assert fences.agent.told() == []
    await fences.close()


@cluster_test
async def test_the_wrong_machine_was_switched_off_and_the_right_one_gives_a_sign_of_life(world: World) -> None:
    _, two, three = await world.form(1024, 1024, 1024)
    fences = Fences(world, two)
    await fences.give(three.id, "3")
    three.cut_off()
    fences.fencing.begin(three.id, "node3 is silent")
    await world.until(lambda: fences.fencing.proof(three.id))
    await three.reconnect()
    await world.until(lambda: not fences.fencing.proof(three.id))
    assert fences.phase(three.id) is Phase.IDLE
    await fences.close()


@cluster_test
async def test_that_somebody_ends_the_lease_is_no_sign_of_life(world: World) -> None:
    _, two, three = await world.form(1024, 1024, 1024)
    fences = Fences(world, two)
    await fences.give(three.id, "3")
    two.membership.refuses.add(three.id)
    three.cut_off()
    fences.fencing.begin(three.id, "node3 is silent")
    await world.until(lambda: fences.fencing.proof(three.id))
    lease = await world.admin.get_lease(three.id)
    assert lease is not None
    ended = Lease(lease.value.incarnation, lease.value.sequence, lease.value.duration, ended=True)
    await world.admin.store.transact([], [Put(keys.lease(three.id), ended.encode())])
    await asyncio.sleep(5 * DELAY)
    assert fences.phase(three.id) is Phase.OFF
    await fences.close()


@cluster_test
async def test_a_second_node_is_not_switched_off_without_a_persons_word(world: World) -> None:
    _, two, three, four = await world.form(512, 512, 512, 512)
    await world.admin.set_values("", {"FenceBudgetShare": DWORD(25)})
    fences = Fences(world, two)
    for node in (three, four):
        await fences.give(node.id, node.id)
        node.cut_off()
    await world.until(lambda: two.view.snapshot.cluster.properties.number("FenceBudgetShare") == 25)
    fences.fencing.begin(three.id, "node3 is silent")
    await world.until(lambda: fences.phase(three.id) is Phase.OFF)
    fences.fencing.begin(four.id, "node4 is silent")
    await world.until(lambda: fences.phase(four.id) is Phase.HELD)
    assert actions(fences.agent) == ["action=off", "action=status"]
    (held,) = await world.events("quorate node confirm-off node4")
    assert held.kind == "node.fence_held"
    assert "1 of 4 nodes were within 300 s, and the budget is 1 (FenceBudgetShare 25 %); and it is on" in held.sentence
    other = Fences(world, two)  # another coordinator knows what this one has done
    other.time = fences.time + 299.0
    other.fencing.begin(four.id, "node4 is silent")
    await world.until(lambda: other.phase(four.id) is Phase.HELD)
    other.agent.set(four.id, "off")
    later = Fences(world, two)
    later.time = fences.time + 299.0
    later.fencing.begin(four.id, "node4 is silent")
    await world.until(lambda: later.phase(four.id) is Phase.OFF)  # it is off already
    for one in (fences, other, later):
        await one.close()


@cluster_test
async def test_only_one_node_asks_the_agents(world: World) -> None:
    one, two, three = await world.form(1024, 1024, 1024)
    watches = [Fences(world, node) for node in (two, three)]
    await watches[0].give(one.id, "1")
    for node in (two, three):
        node.membership.refuses.add(one.id)
    await one.die()
    await world.until(lambda: all(node.membership.node_state(one.id) is NodeState.DOWN for node in (two, three)))
    for fences in watches:
        fences.watch.look()
    # Not "until there is proof": it is good for nothing any more as soon as the coordinator has ended the lease by it.
    await world.until(lambda: "action=off" in actions(watches[0].agent))
    assert watches[1].fencing.describe(one.id) == ""
    for fences in watches:
        await fences.close()
