"""docs/simulator.md says how everything is written that can be written."""

from pathlib import Path

import pytest

from quorate.simulator import playing
from quorate.simulator.scenario_text import parse
from quorate.simulator.step_forms import ACTION_FORMS, NODE_FORM, VM_FORM

PAGE = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", [str(form) for form in (*ACTION_FORMS, NODE_FORM, VM_FORM)])
def test_the_page_has_each_form(form: str) -> None:
    assert f"`{form}`" in PAGE


def test_its_example_comes_out_as_it_says() -> None:
    section = PAGE.split("## A scenario in three minutes")[1].partition("\nWhat is below the dashes")[0]
    example = "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))
    played = playing.play(parse(example))
    assert played.run.violation is None
    assert played.found == played.scenario.expected, "\n".join(played.found)


def test_each_law_that_a_history_may_break_is_on_it() -> None:
    for law in ("I1", "I2", "I3", "I4", "I5", "epoch", "brain", "liveness"):
        assert law in PAGE.split("## The laws")[1].partition("##")[0]
