"""When fence agents are asked, and how many nodes they may switch off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.identity import NodeId
from quorate.cluster.fence_budget import Budget, PoweredOff, asks_agents, plan_leave

ONE, TWO, THREE = NodeId("1"), NodeId("2"), NodeId("3")


@pytest.mark.parametrize(
    ("silent", "after", "is_over", "may_end", "asked"),
    [
        (6.0, 0.0, True, True, False),  # the lease is proof enough
        (6.0, 0.0, True, False, True),
        (3.0, 0.0, False, False, False),  # a daemon may be being restarted
        (3.0, 4.0, False, False, False),
        (4.0, 4.0, False, False, True),
    ],
)
def test_agents_are_asked_when_the_lease_proves_nothing_or_earlier_if_that_is_wanted(
    silent: float, after: float, is_over: bool, may_end: bool, asked: bool
) -> None:
    assert asks_agents(silent, after, is_over=is_over, may_end=may_end) is asked


@pytest.mark.parametrize(
    ("nodes", "share", "most"), [(1, 50, 1), (2, 50, 1), (3, 50, 1), (5, 50, 2), (8, 25, 2), (4, 100, 4)]
)
def test_the_share_is_of_all_nodes_and_one_at_least(nodes: int, share: int, most: int) -> None:
    assert Budget(share).most(nodes) == most


def test_a_second_node_of_three_is_not_switched_off_before_the_period_is_over() -> None:
    first = plan_leave(ONE, "node1", (), 3, Budget(), 1000.0)
    assert first.given
    second = plan_leave(TWO, "node2", first.history, 3, Budget(), 1200.0)
    assert not second.given
    assert second.sentence == (
        "node2 is not switched off: 1 of 3 nodes were within 300 s, and the budget is 1 (FenceBudgetShare 50 %)"
    )
    assert plan_leave(TWO, "node2", first.history, 3, Budget(), 1300.0).given


def test_the_same_node_is_not_counted_twice() -> None:
    first = plan_leave(ONE, "node1", (), 3, Budget(), 1000.0)
    again = plan_leave(ONE, "node1", first.history, 3, Budget(), 1100.0)
    assert again.given
    assert again.history == (PoweredOff(ONE, 1100.0),)


@given(
    st.lists(
        st.tuples(st.sampled_from([ONE, TWO, THREE, NodeId("4"), NodeId("5")]), st.floats(0.0, 200.0)), max_size=30
    ),
    st.integers(1, 100),
)
def test_within_a_period_never_more_nodes_than_the_share(wishes: list[tuple[NodeId, float]], share: int) -> None:
    budget, now = Budget(share), 0.0
    history: tuple[PoweredOff, ...] = ()
    given_: list[PoweredOff] = []
    for node, pause in wishes:
        now += pause
        leave = plan_leave(node, str(node), history, 5, budget, now)
        history = leave.history
        if leave.given:
            given_.append(PoweredOff(node, now))
        recent = {entry.node for entry in given_ if now - entry.at < budget.period}
        assert len(recent) <= budget.most(5)
