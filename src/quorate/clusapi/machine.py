"""How a brain's transitions are declared, enforced and shown: one table per state machine.

A table maps (phase, event type) to a `Rule`: the handler, and the phases that it may lead to. An event without a rule
is a bug and raises; an event that means nothing in a phase is declared so, with the reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

State = TypeVar("State")
PhaseT = TypeVar("PhaseT", bound=Enum)


class UndeclaredTransition(AssertionError):
    """A brain met an event, or took a step, that its table does not have: a bug in the brain or in its caller."""


@dataclass(frozen=True, slots=True)
class Step(Generic[State]):
    """The state after an event, and what the hands shall do about it, in this order."""

    state: State
    effects: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule(Generic[State, PhaseT]):
    """One cell of the table."""

    handler: Callable[[State, object, float], Step[State]] | None
    leads_to: tuple[PhaseT, ...]
    why: str = ""


Table = Mapping[PhaseT, Mapping[type, Rule[State, PhaseT]]]


def follow(
    table: Table[PhaseT, State], phase_of: Callable[[State], PhaseT], state: State, event: object, now: float
) -> Step[State]:
    """Take one step by the table.

    Raises:
        UndeclaredTransition: the table has no rule for the event, or the handler went where its rule does not lead.
    """
    phase = phase_of(state)
    rule = table[phase].get(type(event))
    if rule is None:
        raise UndeclaredTransition(f"{type(event).__name__} in phase {phase.name} has no rule")
    if rule.handler is None:
        return Step(state)
    step = rule.handler(state, event, now)
    if phase_of(step.state) not in rule.leads_to:
        raise UndeclaredTransition(
            f"{type(event).__name__} in phase {phase.name} led to {phase_of(step.state).name}: "
            "its rule does not list it"
        )
    return step


def render(table: Table[PhaseT, State], title: str) -> str:
    """Render the table as Markdown, for the documentation."""
    lines = [f"### {title}", "", "| phase | event | leads to |", "|---|---|---|"]
    for phase, rules in table.items():
        for event, rule in rules.items():
            target = " · ".join(dict.fromkeys(p.value for p in rule.leads_to)) if rule.handler else f"– ({rule.why})"
            lines.append(f"| {phase.value} | {event.__name__} | {target} |")
    return "\n".join(lines) + "\n"
