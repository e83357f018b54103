"""Plays scenarios: what comes out of them, line by line, and which law they break."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from quorate.clusapi.states import NodeState
from quorate.simulator.brains import PRODUCTION, Brains
from quorate.simulator.history import Shape, make
from quorate.simulator.scenario_text import Detail, Scenario
from quorate.simulator.shrink import Failure, Judge, Shrunk, shrink
from quorate.simulator.trace import Kind, Line
from quorate.simulator.word_kinds import write_names
from quorate.simulator.world import Options, Run, VmFinal, run

_ROLE: Final = ("coordinator follower -> taking", "coordinator taking -> coordinator")
"""The sentence that follows says it."""
_SESSION_STEP: Final = re.compile(r"(?P<session>\S+ (?:source|destination)) .+? on \w+(?:: (?P<reason>.*))?")
_GUEST: Final = re.compile(r"(?P<vm>\S+) (?P<what>runs|stands|has ended) \(image \S+\)")
_SAID_IN: Final = {Kind.COMMAND: ">", Kind.FAULT: ">"}


@dataclass(frozen=True, slots=True)
class Played:
    """A scenario, and what came out."""

    scenario: Scenario
    run: Run
    found: tuple[str, ...]
    """As a scenario file has it below its dashes."""

    @property
    def is_as_expected(self) -> bool:
        """No law was broken, and what came out is what the file says."""
        return self.run.violation is None and self.found == self.scenario.expected


def play(scenario: Scenario, brains: Brains = PRODUCTION) -> Played:
    """Play a scenario."""
    options = Options(trace=scenario.detail is Detail.DECISIONS)
    run_ = _run(scenario, brains, options)
    return Played(scenario, run_, (*map(told, _with_gaps(_readable(run_.trace))), *outcome(run_)))


def story(scenario: Scenario, brains: Brains = PRODUCTION) -> tuple[str, ...]:
    """Tell everything that happens in a scenario, whatever its file shows."""
    run_ = _run(scenario, brains, Options(trace=True))
    return (*map(told, _with_gaps(run_.trace)), *outcome(run_))


def _readable(lines: Iterable[Line]) -> Iterator[Line]:
    """Leave out what a reader knows: what a node says again, a reason that was given, how the role is taken."""
    said: dict[str, str] = {}
    reasons: dict[tuple[str, str], str] = {}
    for line in lines:
        if line.kind is Kind.DECISION:
            if line.what in _ROLE:
                continue
            step = _SESSION_STEP.fullmatch(line.what)
            if step is not None:
                session = (line.where, step["session"])
                known, reasons[session] = reasons.get(session, ""), step["reason"] or ""
                if known and known == step["reason"]:
                    yield replace(line, what=line.what.removesuffix(f": {known}"))
                    continue
        if line.kind is not Kind.SAY or said.get(line.where) != line.what:
            yield line
        said[line.where] = line.what


def _with_gaps(lines: Iterable[Line]) -> Iterator[Line]:
    """Say of each guest that runs again for how long it did not."""
    since: dict[str, float] = {}
    for line in lines:
        guest = _GUEST.fullmatch(line.what) if line.kind is Kind.QEMU else None
        if guest is None:
            yield line
        elif guest["what"] != "runs":
            since.setdefault(guest["vm"], line.at)
            yield line
        else:
            begun = since.pop(guest["vm"], None)
            yield line if begun is None else replace(line, what=f"{line.what}, after {_span(line.at - begun)}")


def _span(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1.0 else f"{seconds:.1f} s"


def told(line: Line) -> str:
    """Write a line of the trace as scenario files have it: the time to a tenth of a second, where, what."""
    return (
        f"{line.at:7.1f} {_SAID_IN.get(line.kind, ' ')} {f'{line.where}: ' if line.where else ''}{line.what}".rstrip()
    )


def outcome(run_: Run) -> tuple[str, ...]:
    """Write how everything is in the end."""
    lines = [f"= {name}: {words(state.name)}" for name, state in run_.final.nodes.items() if state is not NodeState.UP]
    alike: dict[str, list[str]] = {}
    for name, vm in run_.final.vms.items():
        alike.setdefault(_vm(vm), []).append(name)
    lines += [f"= {write_names(names)}: {said}" for said, names in alike.items()]
    if run_.violation is not None:
        lines.append(f"= broken: {run_.violation}")
    elif run_.settled_in is not None:
        lines.append(f"= well within {run_.settled_in:.0f} s")
    return tuple(lines)


def _vm(vm: VmFinal) -> str:
    where = f"on {vm.holder}" if vm.runs_on in (None, vm.holder) else f"runs on {vm.runs_on}, held by {vm.holder}"
    wanted = ", and wanted online" if vm.wanted and vm.runs_on is None else ""
    why = f": {vm.sentence}" if vm.sentence and vm.runs_on is None else ""
    return f"{words(vm.state.name)} {where}, epoch {vm.epoch}{wanted}{why}"


def words(name: str) -> str:
    """Write the name of a state as people read it."""
    return name.replace("_", " ").lower()


def history(seed: int, shape: Shape) -> Scenario:
    """Make the random history of a seed."""
    made = make(seed, shape)
    title = f"The random history of seed {seed}."
    return Scenario(title, made.setup, made.steps, seed, made.until, Detail.OUTCOME)


def judge(brains: Brains = PRODUCTION) -> Judge:
    """Make a judge of scenarios for the shrinker."""

    def judged(scenario: Scenario) -> Failure | None:
        violation = _run(scenario, brains, Options()).violation
        return None if violation is None else Failure(violation.law, violation.at, violation.sentence)

    return judged


def shrink_history(scenario: Scenario, may_go_on: Callable[[], bool], brains: Brains = PRODUCTION) -> Shrunk | None:
    """Make a failing history short."""
    return shrink(scenario, judge(brains), may_go_on)


def _run(scenario: Scenario, brains: Brains, options: Options) -> Run:
    return run(scenario.setup, scenario.steps, scenario.seed, scenario.until, brains=brains, options=options)
