"""Taking over a dead node's groups, gifts under way, and the failover of a group that fails ([object-model] 7.3)."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cluster.pictures import FAILED, GIB, OFFLINE, dead, node, picture, role, vm

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import GroupStatus, NodeState
from quorate.cluster.failover import (
    AskGiver,
    GiverWord,
    Stays,
    TakeOver,
    plan_failover,
    plan_parked,
    plan_take_over,
    recent_failovers,
    retry_at,
)
from quorate.cluster.picture import Failover, GroupPicture, Settings

HOUR = 3600.0


def taken(decisions: tuple[object, ...]) -> dict[str, str]:
    return {one.group: one.destination for one in decisions if isinstance(one, TakeOver) and one.starts}


# --- a dead node ---------------------------------------------------------------------------------------------------


def test_every_group_of_a_dead_node_gets_another_owner_and_nobody_elses_does() -> None:
    groups = [vm("a", 1), vm("b", 1, states=OFFLINE, wanted=False), vm("c", 2), vm("core", 1, memory=0, states=())]
    decisions = plan_take_over(picture([dead(1), node(2), node(3)], groups))
    assert {one.group for one in decisions} == {"a", "b", "core"}
    assert all(isinstance(one, TakeOver) for one in decisions)


def test_a_node_that_is_down_but_whose_lease_nobody_has_ended_keeps_its_groups() -> None:
    assert plan_take_over(picture([node(1, state=NodeState.DOWN), node(2)], [vm("a", 1)])) == ()


def test_what_a_node_holds_that_is_in_the_cluster_no_more_is_taken_over_too() -> None:
    (decision,) = plan_take_over(picture([node(1), node(2)], [vm("a", 3), vm("b", 1)]))
    assert isinstance(decision, TakeOver)
    assert (decision.group, decision.starts) == ("a", True)
    assert "as node 3 is in the cluster no more" in decision.sentence


def test_after_a_restore_nodes_that_were_not_up_yet_are_waited_for() -> None:
    nodes, groups = [node(1), dead(2, restored=True), dead(3)], [vm("a", 2), vm("b", 3)]
    formed = picture(nodes, groups, clock=1000.0, role=role(1, formed=1000.0))
    assert taken(plan_take_over(formed)) == {"b": "1"}
    (stays,) = [one for one in plan_take_over(formed) if isinstance(one, Stays)]
    assert "node2 has not been up since the database was restored" in stays.sentence
    assert "120 s after the cluster has formed (ClusterGroupWaitDelay)" in stays.sentence
    assert taken(plan_take_over(replace(formed, clock=1120.0))) == {"a": "1", "b": "1"}
    soon = replace(formed, settings=Settings(group_wait_delay=0.0, lease_duration=5.0))
    assert taken(plan_take_over(soon)) == {"b": "1"}, "one that goes on by a promise is not seen"
    assert taken(plan_take_over(replace(soon, clock=1006.0))) == {"a": "1", "b": "1"}


def test_high_priority_goes_first_and_gets_the_room() -> None:
    groups = [
        vm("low", 1, priority=1000, memory=6),
        vm("medium", 1, memory=6),
        vm("high", 1, priority=3000, memory=6),
        vm("none", 1, priority=0, memory=6),
    ]
    decisions = plan_take_over(picture([dead(1), node(2, memory=14)], groups))
    assert [one.group for one in decisions] == ["high", "medium", "low", "none"]
    assert taken(decisions) == {"high": "2", "medium": "2"}


def test_a_group_of_priority_0_is_taken_over_and_left_offline() -> None:
    (decision,) = plan_take_over(picture([dead(1), node(2)], [vm("a", 1, priority=0)]))
    assert isinstance(decision, TakeOver)
    assert (decision.starts, decision.status) == (False, GroupStatus.NORMAL)
    assert "Priority 0" in decision.sentence


def test_a_group_that_is_not_wanted_online_is_not_started() -> None:
    (decision,) = plan_take_over(picture([dead(1), node(2, memory=1)], [vm("a", 1, wanted=False, states=OFFLINE)]))
    assert isinstance(decision, TakeOver)
    assert not decision.starts
    assert "not wanted online" in decision.sentence


def test_a_group_that_was_given_up_stays_failed_on_its_new_owner() -> None:
    (decision,) = plan_take_over(picture([dead(1), node(2)], [vm("a", 1, failed_at=1.0, states=FAILED)]))
    assert isinstance(decision, TakeOver)
    assert not decision.starts
    assert "had failed before" in decision.sentence


def test_what_fits_nowhere_is_parked_by_a_living_node_with_the_figures() -> None:
    groups = [vm("a", 1, memory=10), vm("b", 1, memory=10)]
    first, second = plan_take_over(picture([dead(1), node(2)], groups))
    assert isinstance(first, TakeOver)
    assert isinstance(second, TakeOver)
    assert (first.starts, second.starts) == (True, False)
    assert second.status == GroupStatus.PHYSICAL_RESOURCES_LACKING
    assert "node2 has 6144 MiB free of 16384 MiB" in second.sentence
    assert "not 10240 MiB" in second.sentence


def test_a_group_without_any_possible_owner_stays_with_the_dead_node() -> None:
    (decision,) = plan_take_over(picture([dead(1), node(2)], [vm("a", 1, possible=[1])]))
    assert isinstance(decision, Stays)
    assert "node2 is not a possible owner" in decision.sentence


def test_two_nodes_that_die_together_are_one_plan() -> None:
    groups = [vm("low", 1, priority=1000, memory=10), vm("high", 2, priority=3000, memory=10)]
    decisions = plan_take_over(picture([dead(1), dead(2), node(3)], groups))
    assert taken(decisions) == {"high": "3"}


def test_what_is_on_its_way_already_keeps_its_place() -> None:
    groups = [vm("a", 1, memory=10), vm("b", 1, memory=10)]
    at = picture([dead(1), node(2), node(3, memory=12)], groups)
    assert taken(plan_take_over(at, moving={GroupId("a"): NodeId("2")})) == {"b": "3"}


def test_groups_of_one_class_are_spread_over_the_survivors() -> None:
    groups = [vm(f"web{number}", 1, classes=["web"], memory=1) for number in range(3)]
    decisions = plan_take_over(picture([dead(1), node(2, memory=64), node(3), node(4, memory=8)], groups))
    assert sorted(taken(decisions).values()) == ["2", "3", "4"]


def test_with_enforced_anti_affinity_the_second_of_two_stays_offline_with_bit_0x40() -> None:
    groups = [vm("web1", 1, classes=["web"]), vm("web2", 1, classes=["web"])]
    settings = Settings(enforced_anti_affinity=True)
    decisions = plan_take_over(picture([dead(1), node(2)], groups, settings=settings))
    assert [one.status for one in decisions if isinstance(one, TakeOver)] == [0, 0x40]


MEMORIES = st.lists(st.integers(1, 12), min_size=1, max_size=40)


@given(MEMORIES, st.lists(st.integers(0, 48), min_size=1, max_size=6), st.integers(0, 1 << 30))
def test_a_plan_never_promises_more_than_a_node_has(sizes: list[int], nodes: list[int], seed: int) -> None:
    survivors = [node(number, memory=memory) for number, memory in enumerate(nodes, start=2)]
    there = [vm(f"old{one.id}", one.number, memory=(seed >> one.number) % 3, wanted=True) for one in survivors]
    lost = [vm(f"vm{n}", 1, memory=size, priority=(seed >> n) % 3 * 1000 + 1000) for n, size in enumerate(sizes)]
    at = picture([dead(1), *survivors], [*there, *lost])
    used = {one.id: sum(group.memory for group in at.owned_by(one.id)) for one in survivors}
    decisions = plan_take_over(at)
    assert {one.group for one in decisions} == {group.id for group in lost}
    before = dict(used)
    for name, destination in taken(decisions).items():
        used[NodeId(destination)] += at.groups[GroupId(name)].memory
    for one in survivors:
        assert used[one.id] <= max(before[one.id], one.memory or 0)
    for decision in decisions:
        if isinstance(decision, TakeOver) and not decision.starts:
            assert decision.status & GroupStatus.PHYSICAL_RESOURCES_LACKING
            assert "MiB" in decision.sentence


def test_a_plan_for_200_virtual_machines_on_16_nodes_is_made_at_once() -> None:
    nodes = [dead(1), *(node(number, memory=64) for number in range(2, 17))]
    groups = [vm(f"vm{number}", 1 + number % 16, memory=2, classes=[f"class{number % 20}"]) for number in range(200)]
    at = picture(nodes, groups)
    began = time.thread_time()
    decisions = plan_take_over(at)
    assert time.thread_time() - began < 0.5  # of the processor, generously; bench measures
    assert len(taken(decisions)) == 13


# --- gifts under way (R8) ------------------------------------------------------------------------------------------


def gift() -> GroupPicture:
    return vm("a", 2, giver=1, epoch=7)


def test_the_giver_of_a_gift_to_a_dead_node_is_asked_first() -> None:
    (decision,) = plan_take_over(picture([node(1), dead(2), node(3)], [gift()]))
    assert decision == AskGiver(GroupId("a"), NodeId("1"), 7, decision.sentence)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        (GiverWord.WAIT, AskGiver),
        (GiverWord.NOT_SENT, Stays),
        (GiverWord.SENT, TakeOver),
        (GiverWord.GONE, TakeOver),
    ],
)
def test_the_givers_word_decides(word: GiverWord, kind: type) -> None:
    (decision,) = plan_take_over(picture([node(1), dead(2), node(3)], [gift()]), {(GroupId("a"), 7): word})
    assert isinstance(decision, kind)


def test_a_word_about_an_earlier_record_is_nothing() -> None:
    (decision,) = plan_take_over(picture([node(1), dead(2)], [gift()]), {(GroupId("a"), 6): GiverWord.SENT})
    assert isinstance(decision, AskGiver)


def test_a_giver_whose_lease_has_ended_too_is_not_asked() -> None:
    (decision,) = plan_take_over(picture([dead(1), dead(2), node(3)], [gift()]))
    assert isinstance(decision, TakeOver)
    assert decision.destination == "3"


def test_a_giver_that_is_down_but_not_ended_is_waited_for() -> None:
    (decision,) = plan_take_over(picture([node(1, state=NodeState.DOWN), dead(2), node(3)], [gift()]))
    assert isinstance(decision, AskGiver)


def test_a_gift_to_a_living_node_is_no_matter_of_the_coordinator() -> None:
    assert plan_take_over(picture([dead(1), node(2), node(3)], [gift()])) == ()


# --- a group that fails --------------------------------------------------------------------------------------------


def test_a_failing_group_goes_to_the_next_node_and_that_is_counted() -> None:
    group = vm("a", 1, states=FAILED)
    decision = plan_failover(picture([node(1), node(2), node(3, memory=8)], [group], clock=500.0), group)
    assert decision.destination == "2"
    assert decision.history == (Failover(500.0, NodeId("1")),)
    assert "failover 1 of 2 within 6 h, from node1 to node2" in decision.sentence


def test_by_default_a_group_fails_over_as_often_as_there_are_other_nodes() -> None:
    history = (Failover(49_000.0, NodeId("1")), Failover(49_100.0, NodeId("2")))
    group = vm("a", 3, states=FAILED, failovers=history)
    decision = plan_failover(picture([node(1), node(2), node(3)], [group]), group)
    assert decision.destination is None
    assert decision.status == GroupStatus.NORMAL
    assert "2 failovers within 6 h (FailoverThreshold 2, FailoverPeriod 6)" in decision.sentence


def test_failovers_of_longer_ago_than_the_period_do_not_count() -> None:
    history = (Failover(50_000.0 - 7 * HOUR, NodeId("1")), Failover(49_100.0, NodeId("2")))
    group = vm("a", 3, failovers=history)
    assert recent_failovers(group, 50_000.0) == history[1:]
    decision = plan_failover(picture([node(1), node(2), node(3)], [group]), group)
    assert decision.destination == "1"
    assert decision.history == (history[1], Failover(50_000.0, NodeId("3")))


@pytest.mark.parametrize(("threshold", "times", "goes"), [(0, 0, False), (1, 0, True), (1, 1, False), (5, 4, True)])
def test_a_threshold_that_is_set_holds(threshold: int, times: int, goes: bool) -> None:
    group = vm("a", 1, failovers=(Failover(49_999.0, NodeId("2")),) * times, threshold=threshold)
    decision = plan_failover(picture([node(1), node(2)], [group]), group)
    assert (decision.destination is not None) is goes


def test_a_node_where_it_has_failed_is_tried_again_only_after_the_others() -> None:
    group = vm("a", 2, failovers=(Failover(49_999.0, NodeId("1")),), preferred=[1], threshold=10)
    at = picture([node(1), node(2), node(3)], [group])
    assert plan_failover(at, group).destination == "3"
    at = replace(at, nodes={one.id: one for one in (node(1), node(2))})
    assert plan_failover(at, group).destination == "1"


def test_a_failing_group_that_fits_nowhere_else_waits_for_room() -> None:
    group = vm("a", 1, memory=12, states=FAILED)
    decision = plan_failover(picture([node(1), node(2, memory=8)], [group]), group)
    assert decision.destination is None
    assert decision.status == GroupStatus.PHYSICAL_RESOURCES_LACKING


def test_a_failing_group_without_another_node_stays() -> None:
    group = vm("a", 1)
    decision = plan_failover(picture([node(1), dead(2)], [group]), group)
    assert (decision.destination, decision.status) == (None, GroupStatus.NORMAL)
    assert "node2 is down" in decision.sentence


def test_a_group_that_is_locked_from_moving_leaves_no_living_node_but_every_dead_one() -> None:
    group = vm("a", 1, locked=True, states=OFFLINE, status=GroupStatus.PHYSICAL_RESOURCES_LACKING)
    living = picture([node(1, memory=2), node(2)], [group])
    assert "LockedFromMoving 1" in plan_failover(living, group).sentence
    assert plan_parked(living, group).node is None
    assert taken(plan_take_over(picture([dead(1), node(2)], [group]))) == {"a": "2"}


def test_a_parked_group_is_started_by_its_owner_when_that_has_the_room_else_by_another() -> None:
    group = vm("a", 1, memory=8, states=OFFLINE, status=GroupStatus.PHYSICAL_RESOURCES_LACKING)
    here = picture([node(1), node(2, memory=64)], [group])
    assert plan_parked(here, group).node == "1"
    elsewhere = picture([node(1, memory=4), node(2, memory=64)], [group])
    assert plan_parked(elsewhere, group).node == "2"
    nowhere = picture([node(1, memory=4), node(2, memory=4)], [group])
    assert plan_parked(nowhere, group).node is None


def test_a_parked_group_does_not_take_the_room_that_a_dead_nodes_groups_are_about_to_get() -> None:
    parked = vm("a", 1, memory=4, priority=1000, states=OFFLINE, status=GroupStatus.PHYSICAL_RESOURCES_LACKING)
    comes = vm("b", 2, memory=6, priority=3000)
    assert plan_parked(picture([node(1, memory=8), dead(2)], [parked, comes]), parked).node is None
    assert plan_parked(picture([node(1, memory=10), dead(2)], [parked, comes]), parked).node == "1"
    fits_nowhere = vm("b", 2, memory=16, priority=3000)
    assert plan_parked(picture([node(1, memory=8), dead(2)], [parked, fits_nowhere]), parked).node == "1"


@pytest.mark.parametrize(
    ("group", "period", "restarts", "at"),
    [
        (vm("a", 1, failed_at=100.0), 3_600_000, True, 3700.0),
        (vm("a", 1, failed_at=100.0), 0xFFFFFFFF, True, None),
        (vm("a", 1, failed_at=100.0), 3_600_000, False, None),
        (vm("a", 1, failed_at=100.0, wanted=False), 3_600_000, True, None),
        (vm("a", 1), 3_600_000, True, None),
    ],
)
def test_a_given_up_group_is_tried_once_more_after_retry_period_on_failure(
    group: GroupPicture, period: int, restarts: bool, at: float | None
) -> None:
    assert retry_at(group, period, restarts=restarts) == at


def test_sizes_of_this_module() -> None:
    assert vm("a", 1).memory == 4 * GIB
