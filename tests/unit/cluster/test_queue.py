"""The queue of moves: what begins, where it goes, who waits, and what an entry is worth."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from tests.unit.cluster.pictures import GIB, OFFLINE, dead, node, picture, vm

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import GroupStatus, NodeState, ResourceState, VmResdllContext, VmState
from quorate.cluster.moves import Cause, Drain, DrainStage, Limits, Move, Stage, Trouble
from quorate.cluster.picture import GroupPicture, NodePicture, Picture, Settings
from quorate.cluster.placement import Room
from quorate.cluster.queue import PATIENCE, Begin, Carry, Refuse, may_begin, plan_carry, plan_queue, why_void

CLOCK = 50_000.0
LIVE = VmResdllContext.LIVE_MIGRATION
PENDING = (ResourceState.ONLINE_PENDING, ResourceState.ONLINE)


def asked(group: str, source: int, to: int, *, at: float = CLOCK, stage: Stage = Stage.WAITING) -> Move:
    """A person has asked for it."""
    begun = CLOCK if stage is Stage.BEGUN else None
    return Move(
        GroupId(group), NodeId(str(source)), Cause.ASKED, at, destination=NodeId(str(to)), stage=stage, begun_at=begun
    )


def drained(
    group: str,
    source: int = 1,
    to: int | None = None,
    *,
    stage: Stage = Stage.WAITING,
    at: float = CLOCK,
    **more: object,
) -> Move:
    """Its node is drained."""
    begun = CLOCK if stage is Stage.BEGUN else None
    destination = None if to is None else NodeId(str(to))
    where = NodeId(str(source))
    move = Move(
        GroupId(group), where, Cause.DRAIN, at, destination=destination, stage=stage, begun_at=begun, drain=f"d{source}"
    )
    return replace(move, **more)  # type: ignore[arg-type]


FETCHING = replace(vm("a", 2), fetches=True)
"""It came from node 1 by post-copy, and pages of it are still there."""


def queue(
    nodes: Iterable[NodePicture],
    groups: Iterable[GroupPicture],
    moves: Iterable[Move],
    *,
    limits: Limits | None = None,
    drains: Iterable[int] = (1,),
    clock: float = CLOCK,
) -> Picture:
    """A cluster with a queue; the nodes of ``drains`` are being drained."""
    found = picture(nodes, groups, clock=clock, settings=Settings(limits=limits or Limits()))
    running = {NodeId(str(one)): Drain(NodeId(str(one)), f"d{one}", CLOCK) for one in drains}
    return replace(found, moves={move.group: move for move in moves}, drains=running)


def begun(found: Picture) -> dict[str, str | None]:
    """What begins, in order, and where it goes."""
    return {v.move.group: v.move.destination for v in plan_queue(found) if isinstance(v, Begin)}


PAUSED = node(1, state=NodeState.PAUSED)
THREE = (PAUSED, node(2), node(3))


# --- places --------------------------------------------------------------------------------------------------------


def test_one_move_of_a_node_at_a_time_and_the_others_wait() -> None:
    groups = [vm(name, 1) for name in "abc"]
    found = queue(THREE, groups, [drained(name) for name in "abc"])
    assert begun(found) == {"a": "2"}
    assert plan_queue(found)[0].move.stage is Stage.BEGUN
    assert begun(replace(found, moves={**found.moves, GroupId("a"): drained("a", to=2, stage=Stage.BEGUN)})) == {}


def test_a_node_s_moves_in_and_out_count_together() -> None:
    groups = [vm("out", 1), vm("in", 2), vm("other", 3)]
    moves = [asked("out", 1, 2, stage=Stage.BEGUN), asked("in", 2, 3), asked("other", 3, 4)]
    assert begun(queue([node(n) for n in (1, 2, 3, 4)], groups, moves)) == {"other": "4"}
    two = Limits(per_node=2)
    assert begun(queue([node(n) for n in (1, 2, 3, 4)], groups, moves, limits=two)) == {"in": "3", "other": "4"}


def test_a_link_has_limits_of_its_own() -> None:
    groups = [vm(name, 1) for name in "abc"]
    moves = [asked("a", 1, 2), asked("b", 1, 2), asked("c", 1, 3)]
    limits = Limits(per_node=3, per_link=1)
    assert begun(queue([node(1), node(2), node(3)], groups, moves, limits=limits)) == {"a": "2", "c": "3"}


def test_moves_without_a_running_machine_take_no_place_on_a_link() -> None:
    groups = [vm("live", 1), *(vm(f"off{n}", 1, states=OFFLINE, wanted=False) for n in range(10))]
    found = queue(THREE, groups, [drained(group.id) for group in groups])
    assert len(begun(found)) == 1 + Limits().offline_per_node
    assert all(v.move.how is VmResdllContext.SAVE for v in plan_queue(found) if v.move.group != "live")


def test_what_was_asked_for_comes_first_then_priority_then_who_has_waited_longer_then_who_is_larger() -> None:
    groups = [
        vm("low", 1, priority=1000),
        vm("small", 1, memory=1),
        vm("large", 1, memory=8),
        vm("old", 1, memory=1),
        vm("high", 1, priority=3000),
        vm("asked", 1, priority=1000),
    ]
    moves = [drained(group.id) for group in groups[:3]]
    moves += [drained("old", at=CLOCK - 5), drained("high"), asked("asked", 1, 2)]
    found = queue((node(1), node(2, memory=64), node(3, memory=64)), groups, moves, limits=Limits(per_node=9))
    assert list(begun(found)) == ["asked", "high", "old", "large", "small", "low"]


def test_who_cannot_begin_holds_up_nobody_until_it_has_waited_long_enough() -> None:
    groups = [vm("busy", 2), vm("long", 1), vm("next", 3)]
    moves = [asked("busy", 2, 4, stage=Stage.BEGUN), asked("long", 1, 2, at=CLOCK), asked("next", 3, 1, at=CLOCK + 1)]
    nodes = [node(n) for n in (1, 2, 3, 4)]
    assert begun(queue(nodes, groups, moves, clock=CLOCK + 2)) == {"next": "1"}
    assert begun(queue(nodes, groups, moves, clock=CLOCK + PATIENCE)) == {}, "its place on node1 is kept for it"


# --- where it goes -------------------------------------------------------------------------------------------------


def test_the_memory_of_what_has_begun_is_kept_at_its_destination() -> None:
    nodes = (PAUSED, node(2, memory=8), node(3, memory=6))
    groups = [vm("a", 1, memory=6), vm("b", 1, memory=6)]
    found = queue(nodes, groups, [drained("a", to=2, stage=Stage.BEGUN), drained("b")], limits=Limits(per_node=5))
    assert begun(found) == {"b": "3"}
    assert Room(found).free(nodes[1]) == 2 * GIB
    arrived = replace(found, groups={**found.groups, GroupId("a"): vm("a", 2, memory=6)})
    assert Room(arrived).free(nodes[1]) == 2 * GIB, "it is not counted twice"


def test_a_preferred_owner_that_is_full_is_waited_for_and_any_other_node_is_not() -> None:
    groups = [vm("busy", 2), vm("prefers", 1, preferred=[2]), vm("any", 1)]
    nodes = (PAUSED, node(2, memory=64), node(3))
    moves = [asked("busy", 2, 4, stage=Stage.BEGUN), drained("prefers"), drained("any", at=CLOCK + 1)]
    assert begun(queue((*nodes, node(4)), groups, moves)) == {"any": "3"}


def test_what_fits_nowhere_is_refused_with_the_figures() -> None:
    (verdict,) = plan_queue(queue(THREE, [vm("huge", 1, memory=100)], [drained("huge")]))
    assert isinstance(verdict, Refuse)
    assert verdict.move.stage is Stage.FAILED
    assert verdict.move.begun_at is None
    assert "no other node can take huge: node2 has 16384 MiB free" in verdict.move.sentence


def test_what_may_be_stopped_goes_to_a_node_that_has_no_room_for_it_and_waits_there() -> None:
    move = drained("huge", how=VmResdllContext.SAVE, parks=True)
    (verdict,) = plan_queue(queue(THREE, [vm("huge", 1, memory=100)], [move]))
    assert isinstance(verdict, Begin)
    assert verdict.move.status == GroupStatus.PHYSICAL_RESOURCES_LACKING
    assert verdict.move.destination == "2"


def test_what_is_off_goes_to_a_node_that_has_no_room_to_run_it() -> None:
    group = vm("off", 1, memory=100, states=OFFLINE, wanted=False)
    assert begun(queue(THREE, [group], [drained("off")])) == {"off": "2"}


@pytest.mark.parametrize(
    ("to", "says"),
    [(9, "node 9, which is not in the cluster any more"), (3, "node3 is paused"), (2, "node2 has 16384 MiB free")],
)
def test_a_destination_that_was_named_is_the_only_one(to: int, says: str) -> None:
    nodes = (PAUSED, node(2), node(3, state=NodeState.PAUSED), node(4, memory=200))
    (verdict,) = plan_queue(queue(nodes, [vm("a", 1, memory=100)], [drained("a", to=to)]))
    assert isinstance(verdict, Refuse)
    assert says in verdict.move.sentence


def test_a_group_that_is_on_its_way_online_is_waited_for() -> None:
    assert begun(queue(THREE, [vm("a", 1, states=PENDING)], [drained("a")])) == {}


def test_another_place_to_go_is_found_after_a_failure() -> None:
    nodes = (PAUSED, node(2, memory=64), node(3))
    found = queue(nodes, [vm("a", 1)], [drained("a")])
    assert begun(found) == {"a": "2"}
    trouble = Trouble(1, LIVE, "it failed", nodes=(NodeId("2"),))
    drain = replace(found.drains[NodeId("1")], troubles={GroupId("a"): trouble})
    assert begun(replace(found, drains={NodeId("1"): drain})) == {"a": "3"}


# --- who asks ------------------------------------------------------------------------------------------------------


def test_who_asks_begins_at_once_where_there_is_a_place_and_nobody_is_before_it() -> None:
    groups = [vm("a", 1), vm("b", 1), vm("c", 3)]
    free = queue([node(1), node(2), node(3)], groups, [])
    assert may_begin(free, asked("a", 1, 2))
    waits = queue([node(1), node(2), node(3)], groups, [asked("b", 1, 3, at=CLOCK - 1)])
    assert not may_begin(waits, asked("a", 1, 2)), "b begins at any moment, and takes the place"
    busy = queue([node(1), node(2), node(3)], groups, [asked("c", 3, 2, stage=Stage.BEGUN)])
    assert not may_begin(busy, asked("a", 1, 2))


# --- what an entry is worth ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("move", "groups", "nodes", "why"),
    [
        (drained("gone"), [], THREE, "the group is gone"),
        (drained("a"), [vm("a", 2)], THREE, "a is on node2"),
        (drained("a", to=2, stage=Stage.BEGUN), [vm("a", 2)], THREE, "a is on node2"),
        (drained("a", to=2, stage=Stage.BEGUN), [vm("a", 2, giver=1)], THREE, ""),
        (drained("a", to=2, stage=Stage.BEGUN), [vm("a", 2, giver=1)], (PAUSED, dead(2)), "a is on node2"),
        (drained("a", to=2, stage=Stage.BEGUN), [FETCHING], THREE, ""),
        (asked("a", 1, 2, stage=Stage.BEGUN), [FETCHING], THREE, ""),
        (drained("a", to=3, stage=Stage.BEGUN), [FETCHING], THREE, "a is on node2"),
        (drained("a", to=2, stage=Stage.BEGUN), [FETCHING], (PAUSED, dead(2)), "a is on node2"),
        (drained("a", to=2, stage=Stage.BEGUN), [FETCHING], (dead(1), node(2)), "node1 is down"),
        (drained("a"), [vm("a", 1)], (dead(1), node(2)), "node1 is down"),
        (drained("a"), [vm("a", 1)], THREE, ""),
        (drained("a", drain="old"), [vm("a", 1)], THREE, "what it was moved for is over"),
        (drained("a", drain="old", to=2, stage=Stage.BEGUN), [vm("a", 1)], THREE, ""),
        (drained("a", cause=Cause.RETURN), [vm("a", 1)], THREE, "what it was moved for is over"),
        (asked("a", 1, 2), [vm("a", 1)], THREE, ""),
    ],
)
def test_an_entry_is_void_when_its_time_is_over(
    move: Move, groups: list[GroupPicture], nodes: tuple[NodePicture, ...], why: str
) -> None:
    found = why_void(queue(nodes, groups, [move]), move)
    assert (why in found) if why else (found == "")


def test_a_void_entry_takes_no_place() -> None:
    moves = [drained("a", to=2, stage=Stage.BEGUN), drained("b")]
    assert begun(queue(THREE, [vm("a", 2), vm("b", 1)], moves)) == {"b": "3"}


def test_who_sends_pages_after_the_guest_keeps_its_places_and_its_memory() -> None:
    moves = [drained("a", to=2, stage=Stage.BEGUN), drained("b"), drained("c", source=3, to=2)]
    found = queue(THREE, [FETCHING, vm("b", 1), vm("c", 3)], moves, drains=(1, 3))
    assert begun(found) == {}, "both ends of its link are in use"
    assert Room(found).committed(NodeId("1")) == FETCHING.memory + vm("b", 1).memory
    done = replace(found, groups={**found.groups, FETCHING.id: replace(FETCHING, fetches=False)})
    assert begun(done) != {}
    assert Room(done).committed(NodeId("1")) == vm("b", 1).memory


# --- the owner's part ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("move", "state", "is_busy", "carry"),
    [
        (drained("a", to=2, stage=Stage.BEGUN), VmState.RUNNING, False, Carry.LIVE),
        (drained("a", to=2, stage=Stage.BEGUN), VmState.RUNNING, True, Carry.LATER),
        (drained("a", to=2, stage=Stage.BEGUN), VmState.PAUSED, False, Carry.OFFLINE),
        (drained("a", to=2, stage=Stage.BEGUN), None, False, Carry.OFFLINE),
        (drained("a", to=2, stage=Stage.BEGUN, how=VmResdllContext.SAVE), VmState.RUNNING, False, Carry.OFFLINE),
        (asked("a", 1, 2, stage=Stage.BEGUN), VmState.RUNNING, False, Carry.LIVE),
        (asked("a", 1, 2, stage=Stage.BEGUN), VmState.OFF, False, Carry.FAIL),
    ],
)
def test_the_owner_carries_out_what_has_begun(move: Move, state: VmState | None, is_busy: bool, carry: Carry) -> None:
    assert plan_carry(move, state, is_busy=is_busy).carry is carry


def test_a_drain_that_has_ended_stops_what_waits_for_it() -> None:
    found = queue(THREE, [vm("a", 1)], [drained("a")])
    ended = replace(found.drains[NodeId("1")], stage=DrainStage.FAILED)
    assert plan_queue(replace(found, drains={NodeId("1"): ended})) == ()
