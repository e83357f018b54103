"""Makes a long history that breaks a law into a short one that breaks the same law.

What is tried: to end it where the law breaks; to leave out steps, halves of them first; to leave out virtual machines,
nodes, properties; to make pauses and faults shorter, numbers rounder and guests plainer. What still breaks the law is
kept, and everything is tried again until nothing helps, or until whoever asked says that it is enough. A law that
breaks by a hair's breadth hangs on the dice, and those fall otherwise when a step is left out: so other seeds are
tried as well.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from quorate.simulator.scenario_text import Detail, Scenario
from quorate.simulator.setup import GIB, NodeSetup, VmSetup
from quorate.simulator.steps import At, On, Step

T = TypeVar("T")
_NODE_FIELDS: Final = ("node", "to", "other")
_PIECE: Final = 64 << 20
"""Bytes to which odd sizes are rounded."""
_SEEDS: Final = (1, 2, 3, 4)
"""Seeds that are tried where leaving something out has changed how the dice fall."""
_FEW: Final = 3
"""Steps that are few enough as they are."""
_ROOM: Final = 0.001
"""Seconds by which a scenario outlives the moment at which it breaks a law."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A law that a history has broken, and when."""

    law: str
    at: float
    sentence: str = ""

    def __str__(self) -> str:
        return f"{self.law} at {self.at:.3f} s: {self.sentence}"


Judge = Callable[[Scenario], Failure | None]
"""Plays a scenario, and tells which law it broke."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What became of a failing history."""

    scenario: Scenario
    failure: Failure
    runs: int
    """How many histories were played for it."""
    is_least: bool
    """Nothing that can be tried makes it shorter; False: time was up before."""


def shrink(scenario: Scenario, judge: Judge, may_go_on: Callable[[], bool]) -> Shrunk | None:
    """Make a failing history shorter; none if it does not fail. `may_go_on` is asked before each try."""
    failure = judge(scenario)
    if failure is None:
        return None
    return _Shrinking(replace(scenario, detail=Detail.OUTCOME, expected=()), failure, judge, may_go_on).shrink()


class _Shrinking:
    """One history on its way to become short."""

    def __init__(self, scenario: Scenario, failure: Failure, judge: Judge, may_go_on: Callable[[], bool]) -> None:
        self.best = scenario
        self.failure = failure
        self.judge = judge
        self.may_go_on = may_go_on
        self.runs = 1
        self.is_out_of_time = False
        self.seeds: tuple[int, ...] = ()

    def shrink(self) -> Shrunk:
        passes = (
            self._end_early,
            self._drop_steps,
            self._drop_things,
            self._drop_steps_by_other_dice,
            self._drop_things,
            self._make_plainer,
        )
        before = None
        while before != self.best and not self.is_out_of_time:
            before = self.best
            for one in passes:
                one()
        return Shrunk(self.best, self.failure, self.runs, not self.is_out_of_time)

    def _try(self, candidate: Scenario) -> bool:
        """Keep a scenario if it breaks the same law, by its own dice or, where that is allowed, by others."""
        if replace(candidate, seed=self.best.seed) == self.best:
            return False
        return any(self._try_one(replace(candidate, seed=seed)) for seed in (candidate.seed, *self.seeds))

    def _try_one(self, candidate: Scenario) -> bool:
        if self.is_out_of_time:
            return False
        if not self.may_go_on():
            self.is_out_of_time = True
            return False
        self.runs += 1
        failure = self.judge(candidate)
        if failure is None or failure.law != self.failure.law:
            return False
        self.best, self.failure = candidate, failure
        return True

    # --- shorter -----------------------------------------------------------------------------------------------

    def _end_early(self) -> None:
        """End where the law breaks; what breaks only after the faults have ended needs no more than the last step."""
        if self.failure.at <= self.best.until:
            self._try(_ended_at(self.best, self.failure.at + _ROOM))
            return
        last = max((step.when.seconds for step in self.best.steps if isinstance(step.when, At)), default=0.0)
        for later in (0.0, 1.0, 10.0, 60.0, (self.best.until - last) / 2):
            until = math.ceil(last + later)
            if until < self.best.until and self._try(replace(self.best, until=float(until))):
                return

    def _drop_steps(self) -> None:
        self._drop(lambda: self.best.steps, lambda steps: replace(self.best, steps=steps))

    def _drop_steps_by_other_dice(self) -> None:
        if len(self.best.steps) > _FEW:
            self.seeds = _SEEDS
            self._drop_steps()
            self.seeds = ()

    def _drop_things(self) -> None:
        """Leave out virtual machines, then nodes, then properties, with all that is said about them."""
        self._drop(lambda: self.best.setup.vms, lambda vms: _with_vms(self.best, vms))
        for node in reversed(self.best.setup.nodes):
            self._try(_without_node(self.best, node.name))
        for name in self.best.setup.properties:
            left = {other: value for other, value in self.best.setup.properties.items() if other != name}
            self._try(replace(self.best, setup=replace(self.best.setup, properties=left)))

    def _drop(self, what: Callable[[], tuple[T, ...]], without: Callable[[tuple[T, ...]], Scenario]) -> None:
        """Leave out as many as possible: halves, quarters, at last one by one."""
        size = max(1, len(what()) // 2)
        while True:
            at = len(what())
            while at > 0:
                at = min(at, len(what()))
                begin = max(0, at - size)
                self._try(without(what()[:begin] + what()[at:]))
                at = min(begin, len(what()))
            if size == 1 or self.is_out_of_time:
                return
            size //= 2

    # --- plainer -----------------------------------------------------------------------------------------------

    def _make_plainer(self) -> None:
        for index in range(len(self.best.steps)):
            for gap in (0.0, 1.0, 5.0):
                if self._try(_with_gap(self.best, index, gap)):
                    break
            self._first(lambda step: _plainer_times(step.when), index)
            self._first(_plainer_actions, index)
        for at, vm in enumerate(self.best.setup.vms):
            for plainer in _plainer_vms(vm):
                vms = _replaced(self.best.setup.vms, at, plainer)
                if self._try(replace(self.best, setup=replace(self.best.setup, vms=vms))):
                    break
        for at, node in enumerate(self.best.setup.nodes):
            nodes = _replaced(self.best.setup.nodes, at, NodeSetup(node.name))
            self._try(replace(self.best, setup=replace(self.best.setup, nodes=nodes)))

    def _first(
        self, plainer: "Callable[[Step], Iterator[Step]] | Callable[[Step], Iterator[At | On]]", index: int
    ) -> None:
        """Keep the first that still breaks the law."""
        step = self.best.steps[index]
        for one in plainer(step):
            candidate = one if isinstance(one, Step) else replace(step, when=one)
            if self._try(replace(self.best, steps=_replaced(self.best.steps, index, candidate))):
                return


def _replaced(all_: Sequence[T], at: int, one: T) -> tuple[T, ...]:
    return (*all_[:at], one, *all_[at + 1 :])


def _ended_at(scenario: Scenario, end: float) -> Scenario:
    steps = tuple(s for s in scenario.steps if not isinstance(s.when, At) or s.when.seconds <= end)
    return replace(scenario, steps=steps, until=min(math.ceil(end * 1000) / 1000, scenario.until))


def _names_vm(step: Step, name: str) -> bool:
    return getattr(step.action, "vm", None) == name or (isinstance(step.when, On) and step.when.vm == name)


def _with_vms(scenario: Scenario, vms: tuple[VmSetup, ...]) -> Scenario:
    left = {vm.name for vm in vms}
    gone = [vm.name for vm in scenario.setup.vms if vm.name not in left]
    steps = tuple(step for step in scenario.steps if not any(_names_vm(step, name) for name in gone))
    return replace(scenario, setup=replace(scenario.setup, vms=vms), steps=steps)


def _without_node(scenario: Scenario, name: str) -> Scenario:
    """Leave a node out, with its virtual machines and all that happens to it."""
    setup = scenario.setup
    nodes = tuple(node for node in setup.nodes if node.name != name)
    if not nodes:
        return scenario
    steps: list[Step] = []
    for step in scenario.steps:
        if any(getattr(step.action, field, None) == name for field in _NODE_FIELDS):
            continue
        named = getattr(step.action, "nodes", ())
        left = tuple(node for node in named if node != name)
        if named and not left:
            continue
        steps.append(_changed(step, "nodes", left) if left != named else step)
    vms = tuple(_vm_without(vm, name) for vm in setup.vms)
    without = replace(scenario, setup=replace(setup, nodes=nodes, vms=vms), steps=tuple(steps))
    return _with_vms(without, tuple(vm for vm in vms if vm.on != name))


def _vm_without(vm: VmSetup, node: str) -> VmSetup:
    possible = None if vm.possible is None else tuple(name for name in vm.possible if name != node)
    return replace(vm, possible=possible or None, preferred=tuple(name for name in vm.preferred if name != node))


def _with_gap(scenario: Scenario, index: int, gap: float) -> Scenario:
    """Let a step come so long after the one before it, and all later ones as much earlier as it does."""
    step = scenario.steps[index]
    if not isinstance(step.when, At):
        return scenario
    now = step.when.seconds
    before = max(
        (s.when.seconds for s in scenario.steps[:index] if isinstance(s.when, At) and s.when.seconds <= now),
        default=0.0,
    )
    earlier = now - before - gap
    if earlier <= 0:
        return scenario
    steps = tuple(
        replace(s, when=At(round(s.when.seconds - earlier, 6)))
        if isinstance(s.when, At) and s.when.seconds >= now
        else s
        for s in scenario.steps
    )
    return replace(scenario, steps=steps, until=math.ceil((scenario.until - earlier) * 1000) / 1000)


def _plainer_times(when: At | On) -> Iterator[At | On]:
    if isinstance(when, At):
        for digits in (0, 1, 2, 3):
            if round(when.seconds, digits) != when.seconds:
                yield At(round(when.seconds, digits))
    else:
        for after in (0.0, round(when.after, 1), round(when.after, 2), round(when.after, 3)):
            if after != when.after:
                yield replace(when, after=after)


def _plainer_actions(step: Step) -> Iterator[Step]:
    """Give shorter faults and rounder numbers, the plainest first."""
    fields = {field.name: field for field in dataclasses.fields(step.action)}
    if "seconds" in fields:
        seconds = getattr(step.action, "seconds", None)
        for shorter in (1.0, 5.0, 10.0, 30.0, 60.0):
            if seconds is None or shorter < seconds:
                yield _changed(step, "seconds", shorter)
        if seconds is not None:
            for rounder in (float(round(seconds)), round(seconds, 1), round(seconds, 2)):
                if rounder != seconds:
                    yield _changed(step, "seconds", rounder)
    for name in ("ppm", "rate", "loss", "duplication", "delay"):
        value = getattr(step.action, name, None)
        if isinstance(value, float):
            for rounder in (float(f"{value:.1g}"), float(f"{value:.2g}")):
                if rounder != value:
                    yield _changed(step, name, rounder)


def _changed(step: Step, field: str, value: object) -> Step:
    changed: dict[str, object] = {field: value}
    return replace(step, action=replace(step.action, **changed))  # type: ignore[arg-type]


def _plainer_vms(vm: VmSetup) -> Iterator[VmSetup]:
    yield VmSetup(vm.name, vm.on)
    yield replace(vm, preferred=(), failback=False, locked=False, possible=None, classes=(), priority=2000)
    yield replace(vm, dirty=0.0, working_set=0)
    yield replace(vm, memory=GIB, used=None, working_set=min(vm.working_set, GIB))
    yield replace(vm, used=None)
    if vm.used is not None:
        yield replace(vm, used=vm.used // _PIECE * _PIECE)
    yield replace(vm, priority=2000)
