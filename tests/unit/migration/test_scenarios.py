"""Plays every file of tests/scenarios/migration. `UPDATE_SCENARIOS=1` writes down what comes out instead."""

import os
from pathlib import Path

import pytest
from tests.unit.migration.scenario import Player

DIRECTORY = Path(__file__).parents[2] / "scenarios" / "migration"
FILES = sorted(DIRECTORY.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    head, _, expected = text.partition("----\n")
    commands = [line.strip() for line in head.splitlines() if line.strip() and not line.startswith("#")]
    found = "\n".join(Player().play(commands)) + "\n"
    if os.environ.get("UPDATE_SCENARIOS"):
        path.write_text(f"{head.rstrip()}\n----\n{found}", encoding="utf-8")
        return
    assert found == expected


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 20
