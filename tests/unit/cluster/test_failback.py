"""Failback ([object-model] 7.6), quarantine, the order of starts, and N+1."""

from dataclasses import replace

import pytest
from tests.unit.cluster.pictures import OFFLINE, dead, node, picture, role, vm

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import NodeState, NodeStatus
from quorate.cluster.failback import is_open, plan_failback
from quorate.cluster.picture import NO_HOUR, Lapse, Settings
from quorate.cluster.quarantine import (
    Quarantine,
    Release,
    forget_old,
    forgive,
    most_quarantined,
    new_lapses,
    plan_quarantine,
)
from quorate.cluster.start_order import Waiting, plan_starts
from quorate.cluster.validation import plan_n_plus_one

# --- failback ------------------------------------------------------------------------------------------------------


def test_a_group_goes_home_as_soon_as_its_preferred_owner_is_up() -> None:
    group = vm("a", 2, away=True, failback=True, preferred=[1])
    decision = plan_failback(picture([node(1), node(2)], [group]), group, hour=12)
    assert decision.destination == "1"
    assert "goes home to node1, its preferred owner 1 of 1" in decision.sentence


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"away": False}, "was not brought here by a failover"),
        ({"failback": False}, "AutoFailbackType is 0"),
        ({"locked": True}, "locked from moving"),
        ({"preferred": ()}, "no preferred owners"),
        ({"preferred": (NodeId("2"), NodeId("1"))}, "no node that it prefers to this one"),
        ({"preferred": (NodeId("3"),)}, "node3 is down"),
        ({"failback_window": (22, 4)}, "until its failback window opens (22:00 to 4:00)"),
        ({"possible": frozenset({NodeId("2")})}, "not a possible owner"),
        ({"memory": 1 << 40}, "free of"),
    ],
)
def test_a_group_stays_where_it_is_and_says_why(change: dict[str, object], says: str) -> None:
    group = replace(vm("a", 2, away=True, failback=True, preferred=[1]), **change)  # type: ignore[arg-type]
    decision = plan_failback(picture([node(1), node(2), dead(3)], [group]), group, hour=12)
    assert decision.destination is None
    assert says in decision.sentence


def test_a_group_goes_to_the_best_of_its_preferred_owners_that_is_up() -> None:
    group = vm("a", 4, away=True, failback=True, preferred=[1, 3, 2])
    assert plan_failback(picture([dead(1), node(2), node(3), node(4)], [group]), group, 0).destination == "3"


@pytest.mark.parametrize(
    ("window", "open_at"),
    [
        ((NO_HOUR, NO_HOUR), set(range(24))),
        ((5, NO_HOUR), set(range(24))),
        ((1, 4), {1, 2, 3}),
        ((22, 2), {22, 23, 0, 1}),
        ((0, 23), set(range(23))),
        ((7, 7), {7}),
    ],
)
def test_the_window(window: tuple[int, int], open_at: set[int]) -> None:
    assert {hour for hour in range(24) if is_open(window, hour)} == open_at


# --- quarantine ----------------------------------------------------------------------------------------------------

STRICT = Settings()


def lapses(number: int, *times: float) -> tuple[Lapse, ...]:
    return tuple(Lapse(NodeId(str(number)), f"old{n}", at) for n, at in enumerate(times))


def test_three_lapses_within_an_hour_quarantine_a_node() -> None:
    at = picture([node(number) for number in range(1, 5)], settings=STRICT)
    known = role(1, lapses=lapses(2, 47_000.0, 48_000.0, 49_000.0))
    (verdict,) = plan_quarantine(at, known)
    assert verdict == Quarantine(NodeId("2"), 57_200.0, verdict.sentence)
    assert "lost 3 times within an hour (QuarantineThreshold 3)" in verdict.sentence


def test_lapses_of_more_than_an_hour_ago_and_too_few_lapses_do_not() -> None:
    at = picture([node(number) for number in range(1, 5)], settings=STRICT)
    assert plan_quarantine(at, role(1, lapses=lapses(2, 46_000.0, 48_000.0, 49_000.0))) == ()


@pytest.mark.parametrize("settings", [Settings(quarantine_duration=0), Settings(quarantine_threshold=0)])
def test_a_duration_or_a_threshold_of_0_quarantines_nobody(settings: Settings) -> None:
    at = picture([node(number) for number in range(1, 5)], settings=settings)
    assert plan_quarantine(at, role(1, lapses=lapses(2, *[49_000.0] * 9))) == ()


@pytest.mark.parametrize(("nodes", "most"), [(1, 0), (2, 1), (3, 1), (4, 1), (7, 1), (8, 2), (16, 4)])
def test_at_most_a_quarter_of_the_nodes_is_quarantined(nodes: int, most: int) -> None:
    assert most_quarantined(nodes) == most
    at = picture([node(number) for number in range(1, nodes + 1)], settings=STRICT)
    known = role(1, lapses=sum((lapses(n, *[49_000.0] * 3) for n in range(1, nodes + 1)), ()))
    assert len(plan_quarantine(at, known)) == most


def test_a_quarantine_ends_when_its_time_is_over_or_a_person_clears_it() -> None:
    marked = node(2, status=NodeStatus.QUARANTINED)
    known = role(1, quarantined={NodeId("2"): 49_999.0})
    (verdict,) = plan_quarantine(picture([node(1), marked], settings=STRICT), known)
    assert isinstance(verdict, Release)
    endless = role(1, quarantined={NodeId("2"): None})
    assert plan_quarantine(picture([node(1), marked], settings=STRICT), endless) == ()
    (cleared,) = plan_quarantine(picture([node(1), node(2)], settings=STRICT), endless)
    assert isinstance(cleared, Release)
    assert "a person" in cleared.sentence


def test_a_lapse_is_counted_once_and_forgotten_after_an_hour() -> None:
    at = picture([node(1), dead(2, incarnation="last")])
    (lapse,) = new_lapses(at, role(1))
    assert lapse == Lapse(NodeId("2"), "last", at.clock)
    assert new_lapses(at, role(1, lapses=(lapse,))) == ()
    assert new_lapses(picture([node(1), dead(2, restored=True)]), role(1)) == ()
    later = replace(at, clock=at.clock + 4000)
    assert forget_old(later, (lapse, *lapses(2, 40_000.0))) == (lapse,)  # still the node's last: not counted again
    (forgiven,) = forgive(later, (lapse,), NodeId("2"))
    assert later.clock - forgiven.at >= 3600


# --- the order of starts -------------------------------------------------------------------------------------------


def waiting(name: str, priority: int = 2000, since: float = 0.0, delay: float = 0.0) -> Waiting:
    return Waiting(GroupId(name), name, priority, since, delay)


def test_groups_start_by_priority_then_as_they_came_so_many_at_a_time() -> None:
    queue = [waiting("low", 1000), waiting("b"), waiting("a"), waiting("high", 3000, since=5.0)]
    assert plan_starts(queue, 0, 10.0, at_once=3).begin == ("high", "a", "b")
    assert plan_starts(queue, 2, 10.0, at_once=3).begin == ("high",)
    assert plan_starts(queue, 3, 10.0, at_once=3).begin == ()


def test_group_start_delay_is_waited_for_and_holds_up_nobody_else() -> None:
    plan = plan_starts([waiting("late", 3000, delay=30.0), waiting("now")], 0, 10.0)
    assert (plan.begin, plan.again_at) == (("now",), 30.0)
    assert plan_starts([waiting("late", 3000, delay=30.0)], 0, 30.0).begin == ("late",)


# --- N+1 -----------------------------------------------------------------------------------------------------------


def test_a_cluster_with_room_survives_the_loss_of_any_node() -> None:
    groups = [vm(f"vm{number}", 1 + number % 3, memory=2) for number in range(9)]
    losses = plan_n_plus_one(picture([node(1), node(2), node(3)], groups))
    assert [(loss.name, loss.fits, loss.is_survived) for loss in losses] == [
        ("node1", 3, True),
        ("node2", 3, True),
        ("node3", 3, True),
    ]


def test_what_would_not_fit_is_named_with_its_figures() -> None:
    groups = [vm("big", 1, memory=12), vm("other", 2, memory=8), vm("off", 1, wanted=False, states=OFFLINE)]
    one, two = plan_n_plus_one(picture([node(1), node(2)], groups))
    assert not one.is_survived
    assert one.fits == 0
    assert "big" in one.left[0]
    assert "not 12288 MiB" in one.left[0]
    assert not two.is_survived


def test_a_node_that_is_gone_already_is_not_lost_again() -> None:
    groups = [vm("a", 2, giver=1), vm("stranded", 3, possible=[3])]
    losses = plan_n_plus_one(picture([node(1), node(2, state=NodeState.PAUSED), dead(3)], groups))
    assert [loss.name for loss in losses] == ["node1", "node2"]
    assert losses[1].fits == 1
