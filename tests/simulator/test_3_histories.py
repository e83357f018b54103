"""Random histories: no law is broken in any, and what the laws are about happens in many."""

from functools import cache

import pytest
from tests.system.soak import Rounds, soaking

from quorate.cli.commands.simulate_random import play_batch
from quorate.simulator.tally import Tally, Told

BATCH = 10
BATCHES = 3000 if soaking() else 30
ROUNDS = Rounds("simulator", BATCHES)


@cache
def played(batch: int) -> list[Told]:
    first = (ROUNDS.seed(0) if soaking() else 0) + batch * BATCH
    return play_batch(range(first, first + BATCH))


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_history_breaks_a_law(batch: int) -> None:
    if soaking() and ROUNDS.is_done(batch):
        pytest.skip(f"done by an earlier call: {ROUNDS.path}")
    for told in played(batch):
        assert not told.broken, f"quorate simulate --random 1 --seed {told.seed}: {told.broken}"
    if soaking():
        ROUNDS.note_done(batch)


def test_what_the_laws_are_about_does_happen() -> None:
    """Laws that never had anything to judge have proven nothing."""
    tally = Tally()
    for told in played(0):
        tally.add(told)
    assert all(tally.had[what] for what in ("a migration", "a failover", "a cancelled migration", "a database loss"))
    assert tally.medians()["events"] >= 2000
