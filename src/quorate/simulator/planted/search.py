"""Searches random histories for planted faults, and makes the one that shows a fault as short as it can be.

A history shows a fault if a law is broken with it, and none without it: neither with production's brains nor, where
another rule masks the fault, with the fault alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from quorate.simulator import playing
from quorate.simulator.brains import Brains
from quorate.simulator.history import Shape
from quorate.simulator.laws import Violation
from quorate.simulator.planted.fault import Planted
from quorate.simulator.scenario_text import Scenario
from quorate.simulator.shrink import Failure, Judge, shrink
from quorate.simulator.world import Options, run

MOST: Final = 2000
"""Histories that are searched for one fault."""


@dataclass(frozen=True, slots=True)
class Found:
    """A fault that was found."""

    planted: Planted
    seed: int
    tried: int
    """How many histories were played until it was found, this one among them."""
    scenario: Scenario
    violation: Violation
    seconds: float


def find(
    planted: Planted, seed: int, most: int = MOST, progress: Callable[[int], None] = lambda tried: None
) -> Found | None:
    """Play the random histories of these seeds and the next until one shows the fault; None: none of so many does."""
    shape, begun = Shape(mood=planted.mood), time.monotonic()
    for tried in range(1, most + 1):
        scenario = playing.history(seed + tried - 1, shape)
        violation = shows(planted, scenario)
        if violation is not None:
            return Found(planted, scenario.seed, tried, scenario, violation, time.monotonic() - begun)
        progress(tried)
    return None


def shows(planted: Planted, scenario: Scenario) -> Violation | None:
    """Tell which law a scenario breaks with a fault and not without it."""
    violation = played(scenario, planted.harmful)
    if violation is None or any(played(scenario, brains) is not None for brains in planted.harmless):
        return None
    return violation


def played(scenario: Scenario, brains: Brains) -> Violation | None:
    """Play a scenario, and tell which law it breaks."""
    options = Options()
    return run(scenario.setup, scenario.steps, scenario.seed, scenario.until, brains=brains, options=options).violation


def shortened(found: Found, may_go_on: Callable[[], bool]) -> Found:
    """Make the history short that shows a fault."""
    shrunk = shrink(found.scenario, _judge(found.planted), may_go_on)
    if shrunk is None:
        return found
    violation = shows(found.planted, shrunk.scenario)
    assert violation is not None, "the shrinker keeps only what shows the fault"
    return replace(found, scenario=shrunk.scenario, violation=violation)


def _judge(planted: Planted) -> Judge:
    def judged(scenario: Scenario) -> Failure | None:
        violation = shows(planted, scenario)
        return None if violation is None else Failure(violation.law, violation.at)

    return judged
