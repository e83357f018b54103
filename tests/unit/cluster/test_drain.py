"""The drain of a node, and what comes back after it, by the brain that runs both."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.cluster.drain_world import REMAIN, DrainWorld
from tests.unit.cluster.pictures import OFFLINE, dead, node, vm

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import GroupStatus, NodePauseFlags, NodeResumeFailbackType, NodeState, VmResdllContext
from quorate.cluster.coordinator_work import Looked, Outcome
from quorate.cluster.drain import ATTEMPTS, FIRST_PAUSE
from quorate.cluster.movements import AT_ONCE, Commit, Movements
from quorate.cluster.moves import Cause, Drain, DrainStage, Limits, Stage
from quorate.cluster.placement import Room
from quorate.cluster.queue import find_target

ONE = NodeId("1")
NOW = NodeResumeFailbackType.FAIL_BACK_IMMEDIATELY
STAY = NodeResumeFailbackType.DO_NOT_FAIL_BACK
POLICY = NodeResumeFailbackType.FAIL_BACK_PER_POLICY
FORCE = NodePauseFlags.NONE
RETRY = REMAIN | NodePauseFlags.RETRY_DRAIN_ON_FAILURE


def owners(world: DrainWorld) -> dict[str, str]:
    return {group.id: group.owner for group in world.picture.groups.values()}


def set_fetching(world: DrainWorld, group: str, *, fetches: bool) -> None:
    world.set_group(replace(world.picture.groups[GroupId(group)], fetches=fetches))


def drain_of(world: DrainWorld, number: int = 1) -> Drain:
    return world.picture.drains[NodeId(str(number))]


# --- post-copy -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_drained", [True, False], ids=["drained", "moved before by a person"])
def test_a_node_that_still_sends_pages_is_not_drained(is_drained: bool) -> None:
    """Its QEMU is the only one that has them: whoever took the node down would end a guest that runs elsewhere."""
    world = DrainWorld((node(1), node(2)), [vm("a", 1)])
    world.drain(1)
    while not world.begun():
        assert world.look()
    (move,) = world.begun()
    if not is_drained:
        move = replace(move, cause=Cause.ASKED, drain="", revision=move.revision)
        world.picture = replace(world.picture, moves={move.group: move})
    world.carry(move, succeeds=True)
    set_fetching(world, "a", fetches=True)
    for _ in range(5):
        world.look()
        assert drain_of(world).stage is DrainStage.DRAINING
        assert move.group in world.picture.moves
    set_fetching(world, "a", fetches=False)
    world.settle()
    assert drain_of(world).stage is DrainStage.COMPLETED
    assert not world.picture.moves


def test_pages_that_will_not_come_any_more_are_not_waited_for() -> None:
    world = DrainWorld((node(1), node(2), node(3)), [vm("a", 1)])
    world.drain(1)
    while not world.begun():
        assert world.look()
    (move,) = world.begun()
    world.carry(move, succeeds=True)
    set_fetching(world, "a", fetches=True)
    assert move.destination is not None
    world.kill(int(move.destination))
    world.settle()
    assert drain_of(world).stage is DrainStage.COMPLETED


# --- draining ------------------------------------------------------------------------------------------------------


def test_everything_goes_whatever_its_state_and_in_order_of_priority() -> None:
    groups = [
        vm("low", 1, priority=1000),
        vm("high", 1, priority=3000),
        vm("off", 1, states=OFFLINE, wanted=False),
        vm("parked", 1, states=OFFLINE, status=GroupStatus.PHYSICAL_RESOURCES_LACKING, memory=100),
        vm("given up", 1, states=OFFLINE, failed_at=4.0),
        vm("script", 1, group_type=9999, memory=0),
        vm("elsewhere", 2),
    ]
    world = DrainWorld((node(1), node(2), node(3)), groups)
    world.drain(1)
    world.settle()
    assert "1" not in owners(world).values()
    assert owners(world)["elsewhere"] == "2"
    assert drain_of(world).stage is DrainStage.COMPLETED
    assert drain_of(world).sentence == "node1 is drained: 6 groups moved, nothing is left on it"
    assert all(world.picture.groups[GroupId(name)].drained == drain_of(world).id for name in ("low", "off", "script"))
    begun = [text for text in world.written if text.startswith("to node")]
    assert len(begun) == 6
    assert not world.picture.moves


def test_what_fits_nowhere_stays_and_is_named_while_all_else_goes() -> None:
    groups = [vm("a", 1), vm("huge", 1, memory=100), vm("locked", 1, locked=True)]
    world = DrainWorld((node(1), node(2)), groups)
    world.drain(1)
    world.settle()
    assert owners(world) == {"a": "2", "huge": "1", "locked": "1"}
    drain = drain_of(world)
    assert drain.stage is DrainStage.FAILED
    assert drain.sentence.startswith("node1 is not drained: 2 groups stay on it: huge: no other node can take huge")
    assert "12288 MiB free of 16384 MiB" in drain.sentence, "the figures are those of the end"
    assert drain.sentence.endswith("locked: it is locked from moving (LockedFromMoving 1)")


def test_a_failed_drain_is_completed_when_the_rest_has_gone() -> None:
    world = DrainWorld((node(1), node(2)), [vm("huge", 1, memory=100)])
    world.drain(1)
    world.settle()
    world.set_group(replace(world.picture.groups[GroupId("huge")], owner=NodeId("2")))
    world.picture = replace(world.picture, settings=replace(world.picture.settings))
    world.brain.step(Looked(world.picture), world.picture.now)
    step = world.brain.step(Looked(world.picture), world.picture.now)
    (commit,) = [effect for effect in step.effects if isinstance(effect, Commit)]
    assert "node1 is drained" in commit.changes[0].sentence  # type: ignore[union-attr]


def test_room_that_comes_while_the_drain_lasts_is_used() -> None:
    groups = [vm("huge", 1, memory=100), vm("slow", 1)]
    world = DrainWorld((node(1), node(2), node(3, memory=0)), groups)
    world.drain(1)
    world.look()
    world.look()
    (slow,) = world.begun()
    world.look()
    assert drain_of(world).troubles[GroupId("huge")].nowhere
    world.set_node(node(3, memory=128))
    world.look()
    assert GroupId("huge") in world.picture.moves
    world.carry(slow, succeeds=True)
    world.settle()
    assert owners(world) == {"huge": "3", "slow": "2"}


def test_a_group_that_fails_is_tried_again_after_a_pause_and_elsewhere_and_then_stays() -> None:
    world = DrainWorld((node(1), node(2), node(3)), [vm("a", 1), vm("b", 1)], Limits(per_node=2))
    world.drain(1)
    tried: list[str] = []
    for _ in range(200):
        world.look()
        for move in world.begun():
            tried += [str(move.destination)] if move.group == "a" else []
            world.carry(move, succeeds=move.group != "a", sentence="the link was lost")
        if drain_of(world).stage is not DrainStage.DRAINING:
            break
        if not world.picture.moves and world.woken_at is not None:
            world.pass_time(max(0.0, world.woken_at - world.picture.now))
    assert len(tried) == ATTEMPTS
    assert set(tried[:2]) == {"2", "3"}, "the second try goes elsewhere"
    assert owners(world)["a"] == "1"
    assert "a: the link was lost" in drain_of(world).sentence
    assert owners(world)["b"] != "1", "one that fails holds up no other"
    assert world.picture.clock - 50_000.0 >= FIRST_PAUSE * 5


def test_without_the_flag_what_does_not_go_live_is_saved_then_shut_down() -> None:
    world = DrainWorld((node(1), node(2)), [vm("a", 1)])
    world.drain(1, FORCE)
    ways: list[VmResdllContext] = []
    for _ in range(200):
        world.look()
        for move in world.begun():
            ways.append(move.how)
            world.carry(move, succeeds=move.how is VmResdllContext.SHUTDOWN_FORCE)
        if drain_of(world).stage is not DrainStage.DRAINING:
            break
        if not world.picture.moves and world.woken_at is not None:
            world.pass_time(max(0.0, world.woken_at - world.picture.now))
    live, save, down = VmResdllContext.LIVE_MIGRATION, VmResdllContext.SAVE, VmResdllContext.SHUTDOWN_FORCE
    assert ways == [live] * ATTEMPTS + [save] * ATTEMPTS + [down]
    assert drain_of(world).stage is DrainStage.COMPLETED


def test_without_the_flag_what_fits_nowhere_is_stopped_and_waits_on_another_node() -> None:
    world = DrainWorld((node(1, memory=128), node(2)), [vm("huge", 1, memory=100)])
    world.drain(1, FORCE)
    world.look()
    world.look()
    world.look()
    world.look()
    while not world.begun():
        assert world.look()
    (move,) = world.begun()
    assert (move.how, move.destination) == (VmResdllContext.SAVE, "2")
    assert move.status == GroupStatus.PHYSICAL_RESOURCES_LACKING


def test_with_retry_it_never_gives_up() -> None:
    world = DrainWorld((node(1), node(2)), [vm("a", 1), vm("huge", 1, memory=100)])
    world.drain(1, RETRY)
    tries = 0
    for _ in range(400):
        world.look()
        for move in world.begun():
            tries += 1
            world.carry(move, succeeds=False)
        if not world.picture.moves and world.woken_at is not None:
            world.pass_time(max(0.0, world.woken_at - world.picture.now))
    assert tries > 2 * ATTEMPTS
    assert drain_of(world).stage is DrainStage.DRAINING
    world.set_node(node(2, memory=256))
    for _ in range(20):
        world.look()
        for move in world.begun():
            world.carry(move, succeeds=True)
        world.pass_time(30.0)
    assert drain_of(world).stage is DrainStage.COMPLETED


def test_everything_goes_to_the_target() -> None:
    world = DrainWorld((node(1), node(2), node(3, memory=64)), [vm("a", 1), vm("b", 1), vm("huge", 1, memory=32)])
    world.drain(1, target=2)
    world.settle()
    assert owners(world) == {"a": "2", "b": "2", "huge": "1"}
    assert "huge cannot go to node2" in drain_of(world).sentence


def test_what_comes_to_a_drained_node_goes_as_well() -> None:
    world = DrainWorld((node(1), node(2)), [vm("a", 2)])
    world.drain(1)
    world.settle()
    assert drain_of(world).stage is DrainStage.COMPLETED
    world.set_group(replace(world.picture.groups[GroupId("a")], owner=ONE))
    world.settle()
    assert owners(world) == {"a": "2"}
    assert "node1 is drained once more: a has come to it" in world.written
    assert drain_of(world).stage is DrainStage.COMPLETED


def test_a_node_that_dies_leaves_the_rest_to_failover() -> None:
    world = DrainWorld((node(1), node(2), node(3)), [vm(f"g{n}", 3) for n in range(3)])
    world.drain(3)
    world.look()
    world.look()
    world.carry(world.begun()[0], succeeds=True)
    world.kill(3)
    world.settle()
    assert "3" not in owners(world).values()
    assert drain_of(world, 3).stage is DrainStage.COMPLETED
    assert "went down while it was being drained" in drain_of(world, 3).sentence
    assert not world.picture.moves


def test_a_node_that_was_evicted_is_drained_no_more() -> None:
    world = DrainWorld((node(1), node(2)), [])
    world.drain(2)
    world.picture = replace(world.picture, nodes={ONE: world.picture.nodes[ONE]})
    world.settle()
    assert world.picture.drains == {}


def test_a_thousand_groups_are_written_in_parts() -> None:
    world = DrainWorld((node(1, memory=2000), node(2, memory=2000)), [vm(f"g{n}", 1, memory=1) for n in range(100)])
    world.drain(1)
    step = world.brain.step(Looked(world.picture), world.picture.now)
    (commit,) = [effect for effect in step.effects if isinstance(effect, Commit)]
    assert len(commit.changes) == AT_ONCE
    world.settle()
    assert set(owners(world).values()) == {"2"}


# --- the return ----------------------------------------------------------------------------------------------------


def test_what_was_drained_comes_back_and_nothing_else() -> None:
    world = DrainWorld((node(1), node(2), node(3)), [vm("a", 1), vm("b", 1), vm("c", 2)])
    world.drain(1)
    world.settle()
    moved = world.picture.groups[GroupId("b")]
    world.set_group(replace(moved, drained="", owner=NodeId("3")))  # a person has moved it
    world.resume(1, NOW)
    world.settle()
    assert owners(world) == {"a": "1", "b": "3", "c": "2"}
    assert world.picture.drains == {}


def test_a_resumed_node_stops_the_drain_and_what_waits_stays() -> None:
    world = DrainWorld((node(1), node(2)), [vm(f"g{n}", 1) for n in range(3)])
    world.drain(1)
    world.look()
    while not world.begun():
        assert world.look()
    (move,) = world.begun()
    world.resume(1, STAY)
    world.carry(move, succeeds=True)
    world.settle()
    assert sorted(owners(world).values()) == ["1", "1", "2"]
    assert world.picture.moves == {}


def test_what_does_not_fit_any_more_stays_away_and_is_named() -> None:
    world = DrainWorld((node(1), node(2, memory=64)), [vm("a", 1, memory=10)])
    world.drain(1)
    world.settle()
    world.set_node(node(1, memory=8))
    world.resume(1, NOW)
    world.set_node(node(1, memory=8))
    world.settle()
    assert owners(world) == {"a": "2"}
    assert world.picture.drains == {}
    assert any(
        "not everything that was drained from node1 has come back: a: a cannot go to node1" in text
        for text in world.written
    )


def test_by_policy_their_owners_bring_them_home() -> None:
    home = vm("home", 1, failback=True, preferred=[1])
    world = DrainWorld((node(1), node(2)), [home, vm("stays", 1)])
    world.drain(1)
    world.settle()
    world.resume(1, POLICY)
    world.settle()
    assert drain_of(world).stage is DrainStage.RETURNING
    assert world.picture.moves == {}
    world.set_group(replace(world.picture.groups[GroupId("home")], owner=ONE, drained=""))
    world.settle()
    assert world.picture.drains == {}
    assert owners(world) == {"home": "1", "stays": "2"}


def test_the_return_waits_for_the_node_to_be_up() -> None:
    world = DrainWorld((node(1), node(2), node(3)), [vm("a", 3)])
    world.drain(3)
    world.settle()
    world.resume(3, NOW)
    world.set_node(node(3, state=NodeState.JOINING))
    world.settle()
    assert owners(world)["a"] != "3"
    world.set_node(node(3))
    world.settle()
    assert owners(world) == {"a": "3"}


# --- the brain -----------------------------------------------------------------------------------------------------


def test_only_who_coordinates_writes() -> None:
    world = DrainWorld((node(1), node(2)), [vm("a", 1)])
    world.drain(1)
    assert Movements(NodeId("2")).step(Looked(world.picture), 0.0).effects == ()


def test_nothing_is_planned_while_a_write_is_under_way_or_not_yet_seen() -> None:
    world = DrainWorld((node(1), node(2)), [vm("a", 1)])
    world.drain(1)
    before = world.picture
    writing = world.brain.step(Looked(before), before.now).state
    assert writing.step(Looked(before), before.now).effects == ()
    assert world.look()
    assert world.brain.step(Looked(before), before.now).effects == (), "that picture does not show what was written"


@pytest.mark.parametrize("lands", [True, False])
def test_a_write_without_an_answer_is_planned_anew_on_what_is_there(lands: bool) -> None:
    world = DrainWorld((node(1), node(2)), [vm("a", 1)])
    world.drain(1)
    world.look(Outcome.UNANSWERED, lands=lands)
    assert not world.look(), "it waits for the database"
    world.settle()
    assert owners(world) == {"a": "2"}


# --- all of it at random -------------------------------------------------------------------------------------------

ACTIONS = ("look", "look", "look", "carry", "carry", "fail", "refused", "silent", "lost", "coordinator", "time", "kill")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_happens_no_limit_is_exceeded_and_nothing_is_forgotten(data: st.DataObject) -> None:
    count = data.draw(st.integers(3, 5), "nodes")
    memories = [data.draw(st.integers(0, 40), f"memory of node{n}") for n in range(2, count + 1)]
    nodes = (node(1, memory=64), *(node(n, memory=memory) for n, memory in enumerate(memories, start=2)))
    draining = data.draw(st.sampled_from([1, count]), "drained")
    nodes = tuple(replace(one, memory=64 << 30) if one.id == str(draining) else one for one in nodes)
    groups = [
        vm(
            f"g{n}",
            draining,
            memory=data.draw(st.integers(1, 12)),
            priority=data.draw(st.sampled_from([0, 1000, 2000, 3000])),
            locked=data.draw(st.booleans()) and n == 0,
            states=OFFLINE if data.draw(st.booleans()) and n % 2 else vm("x", 1).states,
            preferred=data.draw(st.lists(st.integers(1, count), max_size=2, unique=True)),
        )
        for n in range(data.draw(st.integers(1, 6), "groups"))
    ]
    world = DrainWorld(nodes, groups, Limits(per_node=data.draw(st.integers(1, 3))))
    flags = data.draw(st.sampled_from([REMAIN, FORCE, RETRY]), "flags")
    world.drain(draining, flags)
    killed = False
    for action in data.draw(st.lists(st.sampled_from(ACTIONS), max_size=40), "history"):
        match action:
            case "look":
                world.look()
            case "refused":
                world.look(Outcome.REFUSED)
            case "silent":
                world.look(Outcome.UNANSWERED, lands=True)
            case "lost":
                world.look(Outcome.UNANSWERED, lands=False)
            case "carry" | "fail":
                for move in world.begun()[:1]:
                    world.carry(move, succeeds=action == "carry")
            case "coordinator":
                world.change_coordinator()
            case "time":
                world.pass_time(data.draw(st.floats(0.1, 90.0)))
            case "kill" if not killed and count > 3 and draining != 2:
                killed = True
                world.kill(2)
    if flags is RETRY:  # somebody loses patience with what can never go
        drains = world.picture.drains
        world.picture = replace(
            world.picture,
            drains={id_: replace(drain, flags=REMAIN) for id_, drain in drains.items()},
        )
    world.settle()
    drain = drain_of(world, draining)
    left = world.picture.owned_by(NodeId(str(draining)))
    assert not [move for move in world.picture.moves.values() if move.stage is not Stage.FAILED]
    if drain.stage is DrainStage.COMPLETED:
        assert not left
        return
    assert drain.stage is DrainStage.FAILED
    assert left
    for group in left:
        trouble = drain.troubles.get(group.id)
        could = find_target(world.picture, Room(world.picture), group, _wish(world, draining, group.id))
        assert group.locked or (trouble is not None and trouble.attempts >= ATTEMPTS) or could.node is None


def _wish(world: DrainWorld, draining: int, group: GroupId):  # type: ignore[no-untyped-def]
    from quorate.cluster.drain import _leave

    return _leave(world.picture, drain_of(world, draining), world.picture.groups[group])


def test_a_dead_node_that_still_owns_something_is_waited_for() -> None:
    world = DrainWorld((node(1), node(2), dead(3)), [vm("a", 3, possible=[3])])
    world.drain(3)
    world.set_node(dead(3))
    world.settle()
    assert drain_of(world, 3).stage is DrainStage.DRAINING
