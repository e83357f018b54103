"""The destination's part of the START table: which refusal comes first, and which node is chosen."""

from collections.abc import Mapping

import pytest

from quorate.clusapi.errors import CallerError, ClusterError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState
from quorate.clusapi.status import Status
from quorate.migration.preflight import Assessment, Candidate, check_candidate, check_destination, choose_destination

SOURCE = NodeId("1")
GOOD = Candidate(NodeId("2"), "node2", NodeState.UP, isolated=False, possible_owner=True)
NO_ROOM = Status.ERROR_CLUSTER_RESOURCE_VETOED_MOVE_NOT_ENOUGH_RESOURCES_ON_DESTINATION
FAULTS: Mapping[str, int] = {
    "down": 5050,
    "paused": 5070,
    "isolated": 5984,
    "quarantined": 5985,
    "not a possible owner": 5071,
}


def candidate(*faults: str, node: str = "2") -> Candidate:
    state = NodeState.DOWN if "down" in faults else NodeState.PAUSED if "paused" in faults else NodeState.UP
    possible = "not a possible owner" not in faults
    return Candidate(NodeId(node), f"node{node}", state, "isolated" in faults, possible, "quarantined" in faults)


def refusal(wanted: Candidate | None) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        check_destination(SOURCE, wanted, "node9")
    return caught.value


def test_a_good_destination_is_given_back() -> None:
    assert check_destination(SOURCE, GOOD, "node2") is GOOD


def test_an_unknown_node() -> None:
    error = refusal(None)
    assert isinstance(error, CallerError)
    assert (error.status, "'node9'" in error.sentence) == (5042, True)


@pytest.mark.parametrize("faults", [(), ("down",), ("isolated", "not a possible owner")])
def test_the_source_itself_whatever_else_is_wrong_with_it(faults: tuple[str, ...]) -> None:
    error = refusal(candidate(*faults, node="1"))
    assert isinstance(error, CallerError)
    assert error.status == 87


@pytest.mark.parametrize("fault", FAULTS)
def test_each_refusal_alone(fault: str) -> None:
    error = refusal(candidate(fault))
    assert isinstance(error, RefusalError)
    assert error.status == FAULTS[fault]
    assert "node2" in error.sentence


def test_the_first_of_several_answers() -> None:
    rest = [fault for fault in FAULTS if fault != "down"]
    assert refusal(candidate("down", "isolated", "not a possible owner")).status == 5050
    for number, fault in enumerate(rest):
        assert refusal(candidate(*rest[number:])).status == FAULTS[fault]


@pytest.mark.parametrize("state", [NodeState.JOINING, NodeState.UNKNOWN])
def test_a_node_that_is_not_yet_up_is_down(state: NodeState) -> None:
    assert refusal(Candidate(NodeId("2"), "node2", state, isolated=False, possible_owner=True)).status == 5050


def test_only_nodes_that_may_be_asked_are_asked() -> None:
    judged = [check_candidate(c) for c in (candidate(), candidate("paused"), candidate("isolated"))]
    assert judged[0] is None
    assert [a.refusal.status for a in judged if a is not None and a.refusal is not None] == [5070, 5984]


def lacks(node: str) -> Assessment:
    return Assessment(NodeId(node), RefusalError(NO_ROOM, f"node{node} lacks 1 GB"), 0)


def cannot(node: str) -> Assessment:
    sentence = f"node{node} has an older QEMU"
    return Assessment(
        NodeId(node), RefusalError(Status.ERROR_CLUSTER_RESOURCE_VETOED_MOVE_INCOMPATIBLE_NODES, sentence), 9
    )


def test_the_most_free_memory_wins() -> None:
    able = (Assessment(NodeId("2"), None, 5), Assessment(NodeId("3"), None, 8), lacks("4"), cannot("5"))
    assert choose_destination(able) == "3"


def test_a_tie_is_decided_the_same_way_every_time() -> None:
    pair = (Assessment(NodeId("2"), None, 5), Assessment(NodeId("3"), None, 5))
    assert choose_destination(pair) == choose_destination(pair[::-1]) == "3"


def test_only_memory_stands_against_it() -> None:
    with pytest.raises(RefusalError) as caught:
        choose_destination((lacks("2"), lacks("3")))
    assert caught.value.status == 5957
    assert caught.value.sentence == "no other node has the memory: node2 lacks 1 GB; node3 lacks 1 GB"


def test_memory_is_not_all_that_stands_against_it() -> None:
    with pytest.raises(RefusalError) as caught:
        choose_destination((cannot("2"), lacks("3")))
    assert caught.value.status == 5071
    assert "node2 has an older QEMU; node3 lacks 1 GB" in caught.value.sentence


def test_none_is_possible_at_all() -> None:
    with pytest.raises(RefusalError) as caught:
        choose_destination((cannot("2"), cannot("3")))
    assert caught.value.status == 5071
    assert "node2 has an older QEMU; node3 has an older QEMU" in caught.value.sentence


def test_there_is_no_other_node() -> None:
    with pytest.raises(RefusalError) as caught:
        choose_destination(())
    assert (caught.value.status, caught.value.sentence) == (
        5071,
        "no other node can take the virtual machine: there is no other node",
    )
