"""Scenario files, and how a test plays one."""

from difflib import unified_diff
from pathlib import Path
from typing import Final

from quorate.simulator import playing
from quorate.simulator.scenario_text import parse

SCENARIOS: Final = Path(__file__).parents[1] / "scenarios" / "simulator"
CORPUS: Final = SCENARIOS / "corpus"


def files(directory: Path) -> list[str]:
    """The files below a directory, by their names in it."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*.txt"))


def play_file(path: Path) -> playing.Played:
    """Play a file; what comes out must be what it says."""
    played = playing.play(parse(path.read_text(encoding="utf-8"), str(path)))
    assert played.run.violation is None, f"{path}: {played.run.violation}"
    difference = unified_diff(played.scenario.expected, played.found, "expected", "found", lineterm="")
    assert played.is_as_expected, f"quorate simulate --update {path}\n" + "\n".join(difference)
    return played
