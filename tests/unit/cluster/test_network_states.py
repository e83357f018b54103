"""The states of networks and interfaces, from who reaches whom."""

from collections.abc import Collection
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.identity import NetworkInterfaceId, NodeId
from quorate.clusapi.states import NetworkInterfaceState, NetworkState
from quorate.cluster.network_states import InterfaceReport, NetworkFinding, find_states

UP, FAILED = NetworkInterfaceState.UP, NetworkInterfaceState.FAILED
UNREACHABLE, UNAVAILABLE = NetworkInterfaceState.UNREACHABLE, NetworkInterfaceState.UNAVAILABLE


def find(
    nodes: int, *, cut: Collection[tuple[int, int]] = (), down: Collection[int] = (), no_link: Collection[int] = ()
) -> NetworkFinding:
    """A network of so many nodes; ``cut`` are pairs that do not reach each other."""
    gone = {frozenset(pair) for pair in cut}
    gone |= {frozenset({dead, other}) for dead in (*down, *no_link) for other in range(1, nodes + 1) if other != dead}
    return find_states(
        [
            InterfaceReport(
                id=NetworkInterfaceId(f"i{node}"),
                node=NodeId(str(node)),
                node_name=f"node{node}",
                node_is_up=node not in down,
                link=node not in no_link,
                reached=frozenset(NodeId(str(n)) for n in others(nodes, node) if frozenset({n, node}) not in gone),
                missed=frozenset(NodeId(str(n)) for n in others(nodes, node) if frozenset({n, node}) in gone),
            )
            for node in range(1, nodes + 1)
        ]
    )


def others(nodes: int, node: int) -> list[int]:
    return [other for other in range(1, nodes + 1) if other != node]


def states(finding: NetworkFinding) -> list[NetworkInterfaceState]:
    return [one.state for one in finding.interfaces.values()]


def test_all_reach_each_other() -> None:
    finding = find(3)
    assert (finding.state, finding.sentence, states(finding)) == (NetworkState.UP, "", [UP, UP, UP])


def test_a_single_node_is_up_alone() -> None:
    assert find(1).state is NetworkState.UP
    assert find(3, down=[2, 3]).state is NetworkState.UP


def test_a_node_that_is_down_is_unavailable_and_no_fault_of_the_network() -> None:
    finding = find(3, down=[2])
    assert (finding.state, states(finding)) == (NetworkState.UP, [UP, UNAVAILABLE, UP])
    assert finding.interfaces[NetworkInterfaceId("i2")].sentence == "node2 is not up"
    assert find(2, down=[1, 2]).state is NetworkState.UNAVAILABLE


def test_a_cable_that_is_out() -> None:
    finding = find(3, no_link=[3])
    assert (finding.state, states(finding)) == (NetworkState.PARTITIONED, [UP, UP, FAILED])
    assert finding.sentence == "the link of node3 is down"
    assert find(2, no_link=[1, 2]).state is NetworkState.DOWN
    assert find(3, no_link=[1], down=[2, 3]).state is NetworkState.DOWN


def test_one_that_nobody_reaches_is_to_blame_alone() -> None:
    finding = find(3, cut=[(1, 3), (2, 3)])
    assert (finding.state, states(finding)) == (NetworkState.PARTITIONED, [UP, UP, UNREACHABLE])
    assert finding.sentence == "nobody reaches node3"


def test_a_path_between_two_that_is_broken() -> None:
    finding = find(3, cut=[(1, 3)])
    assert (finding.state, states(finding)) == (NetworkState.PARTITIONED, [UNREACHABLE, UP, UNREACHABLE])
    assert finding.sentence == "node1 and node3 do not reach each other"


def test_two_halves() -> None:
    finding = find(4, cut=[(1, 3), (1, 4), (2, 3), (2, 4)])
    assert (finding.state, states(finding)) == (NetworkState.PARTITIONED, [UNREACHABLE] * 4)


def test_nobody_reaches_anybody() -> None:
    finding = find(3, cut=[(1, 2), (1, 3), (2, 3)])
    assert (finding.state, states(finding)) == (NetworkState.DOWN, [UNREACHABLE] * 3)
    assert find(2, cut=[(1, 2)]).state is NetworkState.DOWN


def test_a_node_that_has_said_nothing_yet_is_no_reason_for_alarm() -> None:
    quiet = [InterfaceReport(NetworkInterfaceId(f"i{n}"), NodeId(str(n)), f"node{n}", node_is_up=True) for n in (1, 2)]
    assert find_states(quiet).state is NetworkState.UP
    assert find_states([]).state is NetworkState.UNAVAILABLE


_PAIRS = list(combinations(range(1, 6), 2))


@given(st.sets(st.sampled_from(_PAIRS)), st.sets(st.integers(1, 5)), st.sets(st.integers(1, 5)))
def test_the_states_agree_with_each_other(cut: set[tuple[int, int]], down: set[int], no_link: set[int]) -> None:
    finding = find(5, cut=cut, down=down, no_link=no_link)
    found = states(finding)
    active = [state for state in found if state is not UNAVAILABLE]
    assert (finding.state is NetworkState.UNAVAILABLE) == (not active)
    if finding.state is NetworkState.UP:
        assert set(active) == {UP} or (len(active) == 1)
    if finding.state in (NetworkState.DOWN, NetworkState.PARTITIONED):
        assert any(state is not UP for state in active)
        assert finding.sentence
    for state, one in zip(found, finding.interfaces.values(), strict=True):
        assert bool(one.sentence) == (state is not UP)
