"""The shrinker, on laws that are simple enough to know the shortest history beforehand."""

import dataclasses
from collections.abc import Callable, Sequence

from quorate.simulator import steps as s
from quorate.simulator.scenario_text import Scenario, parse, unparse
from quorate.simulator.setup import GIB, NodeSetup, Setup, VmSetup
from quorate.simulator.shrink import Failure, shrink


def long_history() -> Scenario:
    """Two hundred steps on seven nodes, among them a drain of node3 and later a power-off of node5."""
    steps: list[s.Step] = []
    for index in range(200):
        at = s.At(1.37 * index)
        match index:
            case 61:
                steps.append(s.Step(at, s.Drain("node3")))
            case 133:
                steps.append(s.Step(at, s.PowerOff("node5", 47.12)))
            case _ if index % 2:
                steps.append(s.Step(at, s.Migrate(f"vm{index % 9 + 1}", f"node{index % 7 + 1}")))
            case _:
                steps.append(s.Step(at, s.Database("lost", ("node1", f"node{index % 6 + 2}"), 12.3)))
    return Scenario(
        "Long.",
        Setup(
            tuple(NodeSetup(f"node{index}", drift=17.3) for index in range(1, 8)),
            tuple(VmSetup(f"vm{index}", f"node{index % 7 + 1}", 3 * GIB, dirty=1e7) for index in range(1, 10)),
            {"SameSubnetDelay": 2000},
        ),
        tuple(steps),
        until=300.0,
    )


class Law:
    """Broken as soon as something has happened; counts how often it was asked."""

    def __init__(self, broken: Callable[[Sequence[s.Step]], bool], settles: bool = False) -> None:
        self.broken = broken
        self.settles = settles
        self.asked = 0

    def __call__(self, scenario: Scenario) -> Failure | None:
        self.asked += 1
        names = {node.name for node in scenario.setup.nodes}
        assert all(vm.on in names for vm in scenario.setup.vms)
        seen: list[s.Step] = []
        for step in sorted(scenario.steps, key=moment):
            seen.append(step)
            if moment(step) <= scenario.until and self.broken(seen):
                return Failure("I2", scenario.until + 60 if self.settles else moment(step))
        return None


def moment(step: s.Step) -> float:
    assert isinstance(step.when, s.At)
    return step.when.seconds


def drained_and_off(seen: Sequence[s.Step]) -> bool:
    drains = [index for index, step in enumerate(seen) if step.action == s.Drain("node3")]
    return bool(drains) and any(isinstance(step.action, s.PowerOff) for step in seen[drains[0] :])


def test_what_does_not_matter_is_left_out() -> None:
    law = Law(drained_and_off)
    found = shrink(long_history(), law, lambda: True)
    assert found is not None and found.is_least
    scenario = found.scenario
    assert [step.action for step in scenario.steps] == [s.Drain("node3"), s.PowerOff("node5", 1.0)]
    assert list(scenario.setup.nodes) == [NodeSetup("node3"), NodeSetup("node5")]
    assert not scenario.setup.vms and not scenario.setup.properties
    assert moment(scenario.steps[0]) == moment(scenario.steps[1]) == 0.0
    assert parse(unparse(scenario)) == scenario
    assert found.runs == law.asked < 400


def test_a_law_that_breaks_only_in_the_end_is_shrunk_too() -> None:
    found = shrink(long_history(), Law(drained_and_off, settles=True), lambda: True)
    assert found is not None
    assert len(found.scenario.steps) == 2
    assert found.scenario.until <= 2.0


def test_what_is_left_when_time_is_up_still_fails() -> None:
    law = Law(drained_and_off)
    found = shrink(long_history(), law, lambda: law.asked < 12)
    assert found is not None and not found.is_least
    assert found.runs == 12
    assert 2 < len(found.scenario.steps) < 200
    assert law(found.scenario) == found.failure


def test_what_breaks_another_law_is_not_what_was_sought() -> None:
    def judge(scenario: Scenario) -> Failure | None:
        if len(scenario.steps) > 3:
            return Failure("I2", 15.0)
        return Failure("liveness", 400.0) if scenario.steps else None

    history = long_history()
    found = shrink(dataclasses.replace(history, steps=history.steps[:20]), judge, lambda: True)
    assert found is not None
    assert found.failure.law == "I2"
    assert len(found.scenario.steps) == 4


def test_what_does_not_fail_is_not_shrunk() -> None:
    assert shrink(long_history(), Law(lambda seen: False), lambda: True) is None


def test_phases_and_pauses_become_plain() -> None:
    history = dataclasses.replace(
        long_history(),
        steps=(
            s.Step(s.At(3.21), s.Migrate("vm1")),
            s.Step(s.On("vm1", "giving", after=0.0123), s.KillDaemon("node2", 7.77)),
        ),
    )

    def judge(scenario: Scenario) -> Failure | None:
        kills = [step.action for step in scenario.steps if isinstance(step.action, s.KillDaemon)]
        return Failure("I5", 5.0) if kills and (kills[0].seconds or 0.0) > 6 else None

    found = shrink(history, judge, lambda: True)
    assert found is not None
    assert found.scenario.steps == (s.Step(s.On("vm1", "giving"), s.KillDaemon("node2", 8.0)),)
    assert [vm.name for vm in found.scenario.setup.vms] == ["vm1"]


def test_where_the_dice_fall_otherwise_other_seeds_are_tried() -> None:
    def judge(scenario: Scenario) -> Failure | None:
        is_hit = (7 * len(scenario.steps) + scenario.seed) % 5 == 0  # as when each step less shifts every delay
        kills = [step for step in scenario.steps if isinstance(step.action, s.PowerOff)]
        return Failure("I2", 299.0) if is_hit and kills else None

    history = dataclasses.replace(long_history(), seed=5)
    found = shrink(history, judge, lambda: True)
    assert found is not None
    assert [step.action for step in found.scenario.steps] == [s.PowerOff("node5", 1.0)]
