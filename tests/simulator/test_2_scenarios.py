"""Every scenario comes out as its file says, and the same every time."""

import pytest
from tests.simulator.files import CORPUS, SCENARIOS, files, play_file

from quorate.simulator import playing
from quorate.simulator.scenario_text import parse

NAMES = [name for name in files(SCENARIOS) if not name.startswith((f"{CORPUS.name}/", "planted/"))]
THEMES = {
    "basics",
    "failover",
    "fencing",
    "partitions",
    "post-copy",
    "database",
    "migration",
    "cancel",
    "drain",
    "priorities",
    "anti-affinity",
    "failback",
    "flapping",
    "maintenance",
    "two-nodes",
    "large",
}


@pytest.mark.parametrize("name", NAMES)
def test_it_comes_out_as_its_file_says(name: str) -> None:
    play_file(SCENARIOS / name)


def test_each_theme_has_its_scenarios() -> None:
    assert len(NAMES) >= 60
    assert {name.split("/")[0] for name in NAMES} == THEMES


def test_each_tells_what_it_is_about() -> None:
    for name in NAMES:
        assert parse((SCENARIOS / name).read_text(encoding="utf-8")).title.endswith((".", "?"))


def test_the_same_file_gives_the_same_lines() -> None:
    scenario = parse((SCENARIOS / "partitions" / "fouled.txt").read_text(encoding="utf-8"))
    assert playing.story(scenario) == playing.story(scenario)
