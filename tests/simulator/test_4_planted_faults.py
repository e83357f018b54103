"""A simulator that finds nothing is worth nothing: faults are planted, and each must be found.

The short histories below tests/scenarios/simulator/planted are clean as production decides, and break a law with the
fault. `make soak` searches for each of them anew.
"""

import time
from pathlib import Path

import pytest
from tests.simulator.files import SCENARIOS
from tests.system.soak import Rounds, soaking

from quorate.simulator.brains import Hand
from quorate.simulator.planted.catalogue import PLANTED
from quorate.simulator.planted.fault import Planted
from quorate.simulator.planted.kept import file_of, keep, page_with_table, read
from quorate.simulator.planted.search import MOST, find, played, shortened

SHORT = SCENARIOS / "planted"
PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"
FOUND = Path(__file__).parents[2] / "build" / "planted"
SHRINK = 120.0
ROUNDS = Rounds("planted", len(PLANTED))
each = pytest.mark.parametrize("planted", PLANTED, ids=[planted.name for planted in PLANTED])


@each
def test_its_shortest_history_shows_a_fault(planted: Planted) -> None:
    scenario = read(SHORT, planted).scenario
    assert played(scenario, planted.harmful) is not None
    for brains in planted.harmless:
        assert played(scenario, brains) is None


def test_every_rule_has_its_faults() -> None:
    assert len(PLANTED) >= 20
    assert {f"R{number}" for number in range(1, 12)} <= {planted.rule for planted in PLANTED}
    assert len({planted.name for planted in PLANTED}) == len(PLANTED)


def test_whatever_hands_see_to_is_taken_away_once() -> None:
    taken = {hand for planted in PLANTED for hand in planted.harmful.weaknesses}
    assert set(Hand) - taken <= {Hand.GUARD_BEFORE_START}  # without it nothing runs long: a dead guard is stood in for


def test_there_is_a_file_for_each_and_no_other() -> None:
    assert {path.name for path in SHORT.glob("*.txt")} == {file_of(planted) for planted in PLANTED}


def test_the_page_has_the_table_of_now() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with_table(page, SHORT), "scripts/render-planted"


@pytest.mark.soak
@pytest.mark.skipif(not soaking(), reason="minutes for each")
@each
def test_random_histories_show_a_fault(planted: Planted) -> None:
    number = PLANTED.index(planted)
    if ROUNDS.is_done(number):
        pytest.skip(f"done by an earlier call: {ROUNDS.path}")
    found = find(planted, ROUNDS.seed(0))
    assert found is not None, f"{planted.name}: not found in {MOST} histories from seed {ROUNDS.seed(0)}"
    end = time.process_time() + SHRINK
    path = keep(shortened(found, lambda: time.process_time() < end), FOUND)
    print(f"{planted.name}: history {found.tried}, seed {found.seed}, {found.violation}; {path}")
    ROUNDS.note_done(number, tried=found.tried)
