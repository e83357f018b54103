"""The brains in the world: no faults, any faults, and what is left when they stop (DESIGN.md §4).

Every run is decided by its seed, which a failure prints with the whole story. `QUORATE_SOAK=1` (`make soak`) runs many
more; `QUORATE_SEED=n` repeats one.
"""

import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.system.soak import Rounds, soaking
from tests.unit.migration.chaos import Chaos
from tests.unit.migration.world import TWO, Node, Run, Session, Side

from quorate.clusapi.states import MigrationState
from quorate.migration import outgoing_events as e
from quorate.migration.outgoing import Outgoing

SOAK = soaking()
BATCHES = 400 if SOAK else 8
BATCH = 250
ROUNDS = Rounds("migration", BATCHES)


def run(chaos: Chaos) -> None:
    try:
        chaos.run()
    except AssertionError as error:
        pytest.fail("\n".join([*chaos.world.trace, f"seed {chaos.seed}, faults {sorted(chaos.faults)}", str(error)]))


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(20 if SOAK else 2))
def test_without_faults_it_always_ends_on_the_destination(batch: int) -> None:
    for seed in range(batch * 100, batch * 100 + 100):
        chaos = Chaos(seed, faults=frozenset(), rate=0.0)
        world = chaos.world
        last: list[Outgoing] = []

        def keep(node: Node, s: Session, what: str, thing: object, seen: list[Outgoing] = last) -> None:
            if isinstance(s.brain, Outgoing):
                seen[:] = [s.brain]
                if isinstance(thing, e.Finish):
                    assert s.brain.migration_state is MigrationState.NO_MIGRATION

        world.watchers.append(keep)
        start = world.record
        run(chaos)
        assert (world.record.holder, world.record.epoch, world.record.giver) == (TWO, start.epoch + 2, None)
        assert [(q.node, q.run) for q in world.alive_qemus()] == [(TWO, Run.RUNNING)]
        assert {(side, outcome) for _, side, _, outcome in world.outcomes} == {
            (Side.SOURCE, "done"),
            (Side.DESTINATION, "runs"),
        }
        assert last[0].image == start.image
        assert not world.cold_starts


def seeds(batch: int) -> range:
    if "QUORATE_SEED" in os.environ:
        return range(int(os.environ["QUORATE_SEED"]), int(os.environ["QUORATE_SEED"]) + 1)
    first = (ROUNDS.seed(0) if SOAK else 0) + batch * BATCH
    return range(first, first + BATCH)


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(BATCHES))
def test_whatever_happens_one_runs_and_in_the_end_it_does(batch: int) -> None:
    """Two never run, the holder runs, the laws hold at every step; when the faults are over, all comes to an end."""
    if SOAK and ROUNDS.is_done(batch):
        pytest.skip(f"done by an earlier call: {ROUNDS.path}")
    for seed in seeds(batch):
        run(Chaos(seed))
    if SOAK:
        ROUNDS.note_done(batch)


@pytest.mark.soak
@settings(
    max_examples=2000 if SOAK else 60, deadline=None, derandomize=not SOAK, suppress_health_check=list(HealthCheck)
)
@given(st.randoms(use_true_random=False))
def test_whatever_hypothesis_makes_happen(rng: random.Random) -> None:
    """The same, but every choice is hypothesis's own, so that a failure comes back shrunk to the shortest story."""
    run(Chaos(0, rng=rng))


def test_the_laws_were_asked() -> None:
    """A law that never had anything to judge has proven nothing."""
    asked: dict[str, int] = {}
    for seed in range(600):
        chaos = Chaos(seed)
        run(chaos)
        for law, times in chaos.laws.checked.items():
            asked[law] = asked.get(law, 0) + times
    expected = {
        "epoch", "I3", "R1", "R4 answered", "R4 completed", "R4 noted", "R4 end", "R5", "R5 noted", "R6 right",
        "R6 loaded", "R7", "R7 noted",
    }  # fmt: skip
    assert set(asked) == expected
    assert min(asked.values()) >= 5, asked
