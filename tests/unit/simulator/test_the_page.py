"""docs/simulator.md says how everything is written that can be written."""

from pathlib import Path

import pytest

from quorate.simulator.scenario_text import parse
from quorate.simulator.step_forms import ACTION_FORMS, NODE_FORM, VM_FORM

PAGE = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", [str(form) for form in (*ACTION_FORMS, NODE_FORM, VM_FORM)])
def test_the_page_has_each_form(form: str) -> None:
    assert f"`{form}`" in PAGE


def test_its_example_is_a_scenario() -> None:
    example = "\n".join(line[4:] for line in PAGE.split("## A scenario")[1].splitlines() if line.startswith("    "))
    scenario = parse(example)
    assert len(scenario.steps) == 2
    assert scenario.expected == ("(what comes out)",)
