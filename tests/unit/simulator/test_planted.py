"""What planted faults are made of, and the histories that aim at them."""

import pytest

from quorate.cli.commands.simulate_planted import play_planted
from quorate.clusapi.errors import CallerError
from quorate.simulator import steps as s
from quorate.simulator.aimed_plots import Mood
from quorate.simulator.brains import PRODUCTION, Hand
from quorate.simulator.history import Shape, make
from quorate.simulator.planted.catalogue import PLANTED, planted_called
from quorate.simulator.planted.fault import together, without


def test_what_is_wrong_with_either_is_wrong_with_both() -> None:
    told = planted_called("run when loaded").brains
    both = together(told, without(Hand.GUARD))
    assert both.incoming is told.incoming
    assert both.outgoing is PRODUCTION.outgoing
    assert both.weaknesses == {Hand.GUARD}


def test_each_is_something_else_than_production() -> None:
    for planted in PLANTED:
        assert planted.brains != PRODUCTION
        assert planted.sentence.endswith(".")
        assert planted.mask is None or planted.harmful not in planted.harmless


@pytest.mark.parametrize("mood", [Mood.HAND_OVER, Mood.SILENCE])
def test_aimed_histories_are_as_wild_as_others(mood: Mood) -> None:
    for seed in range(40):
        history = make(seed, Shape(mood=mood))
        timed = [step for step in history.steps if isinstance(step.when, s.At)]
        assert sum(isinstance(step.action, s.COMMANDS) for step in timed) >= 50
        assert sum(isinstance(step.action, s.FAULTS) for step in timed) >= 20
        assert history.until >= 1800.0
        assert history == make(seed, Shape(mood=mood))


def test_every_fourth_seed_has_a_mood_of_its_own() -> None:
    moods = [Mood.of(seed) for seed in range(80)]
    assert moods.count(Mood.HAND_OVER) == moods.count(Mood.SILENCE) == 10
    assert make(3) == make(3, Shape(mood=Mood.HAND_OVER))


def test_nobody_searches_for_what_is_not_there() -> None:
    with pytest.raises(CallerError, match="margin zero"):
        play_planted("a fault that nobody has planted", 1, None, 0.0)
