"""Whether another node answers: three in a row decide, and a prober that slept says nothing."""

from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.identity import NetworkInterfaceId, NodeId
from quorate.cluster.probing import ANSWERS, MISSES, TRANSITIONS, PathEvent, PathState, Prober, Target

ETH0, ETH1 = NetworkInterfaceId("eth0"), NetworkInterfaceId("eth1")
NODE2 = Target(ETH0, NodeId("2"), "10.0.0.2")
NODE3 = Target(ETH0, NodeId("3"), "10.0.0.3")


class Rig:
    def __init__(self, *targets: Target) -> None:
        self.prober = Prober()
        self.prober.retarget(targets)
        self.now = 100.0

    def second(self, *answering: Target, asleep: float = 0.0) -> None:
        self.now += 1.0 + asleep
        for probe in self.prober.tick(self.now):
            if probe.target in answering:
                self.prober.answered(probe.target, probe.sequence)

    def state(self, target: Target) -> PathState:
        found = self.prober.reached().get(target.interface)
        if found is None or target.node not in found.reached | found.missed:
            return PathState.UNKNOWN
        return PathState.REACHED if target.node in found.reached else PathState.MISSED


def test_the_first_answer_is_enough_and_three_misses_are_needed() -> None:
    rig = Rig(NODE2, NODE3)
    rig.second(NODE2)
    assert rig.state(NODE2) is PathState.UNKNOWN
    rig.second(NODE2)
    assert (rig.state(NODE2), rig.state(NODE3)) == (PathState.REACHED, PathState.UNKNOWN)
    rig.second(NODE2)
    assert rig.state(NODE3) is PathState.UNKNOWN
    rig.second(NODE2)
    assert (rig.state(NODE2), rig.state(NODE3)) == (PathState.REACHED, PathState.MISSED)


def test_a_lost_packet_or_two_are_nothing() -> None:
    rig = Rig(NODE2)
    for _ in range(20):
        rig.second(NODE2)
        rig.second()
        rig.second()
        rig.second(NODE2)
        assert rig.state(NODE2) is PathState.REACHED


def test_coming_back_takes_three_answers_in_a_row() -> None:
    rig = Rig(NODE2)
    for _ in range(MISSES + 1):
        rig.second()
    assert rig.state(NODE2) is PathState.MISSED
    for _ in range(ANSWERS - 1):
        rig.second(NODE2)
        rig.second(NODE2)
        rig.second()
        assert rig.state(NODE2) is PathState.MISSED
    for _ in range(ANSWERS + 1):
        rig.second(NODE2)
    assert rig.state(NODE2) is PathState.REACHED


def test_who_was_asleep_itself_holds_it_against_nobody() -> None:
    rig = Rig(NODE2)
    rig.second(NODE2)
    rig.second(NODE2)
    for _ in range(10):
        rig.second(asleep=30.0)
    assert rig.state(NODE2) is PathState.REACHED


def test_a_late_answer_counts_one_of_long_ago_does_not() -> None:
    rig = Rig(NODE2)
    probes = rig.prober.tick(rig.now)
    rig.second()
    rig.prober.answered(NODE2, probes[0].sequence)
    rig.second()
    assert rig.state(NODE2) is PathState.REACHED
    for _ in range(MISSES + 1):
        rig.second()
    rig.prober.answered(NODE2, probes[0].sequence)
    rig.prober.answered(NODE2, 10**9)
    rig.prober.answered(NODE3, probes[0].sequence)
    rig.second()
    assert rig.state(NODE2) is PathState.MISSED


def test_targets_that_stay_are_remembered_those_that_go_are_not() -> None:
    rig = Rig(NODE2, NODE3)
    for _ in range(5):
        rig.second(NODE2)
    rig.prober.retarget([NODE2])
    assert (rig.state(NODE2), rig.state(NODE3)) == (PathState.REACHED, PathState.UNKNOWN)
    other = Target(ETH1, NodeId("2"), "10.1.0.2")
    rig.prober.retarget([NODE2, other])
    rig.second(NODE2, other)
    rig.second(NODE2, other)
    assert set(rig.prober.reached()) == {ETH0, ETH1}


def test_every_state_expects_every_event() -> None:
    assert set(TRANSITIONS) == {(state, event) for state in PathState for event in PathEvent}


@given(st.lists(st.booleans(), max_size=60))
def test_only_a_row_of_events_changes_the_state(answers: list[bool]) -> None:
    rig = Rig(NODE2)
    rig.second()
    seen: list[bool] = []
    before = rig.state(NODE2)
    for answered in answers:
        rig.second(*((NODE2,) if answered else ()))
        after = rig.state(NODE2)  # of all before this one, whose answer is judged at the next tick
        if after is not before and before is not PathState.UNKNOWN:
            expected = after is PathState.REACHED
            assert seen[-3:] == [expected] * 3
        seen.append(answered)
        before = after
