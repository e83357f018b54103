"""All faults that are planted, in the order of the rules that they break."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from quorate.simulator.aimed_plots import Mood
from quorate.simulator.planted import arriving, deciding, fetching, giving, handling, leasing
from quorate.simulator.planted.fault import Planted

_ORDER: Final = (
    *(f"I{number}" for number in range(1, 6)),
    *(f"R{number}" for number in range(1, 12)),
    "queue",
    "drain",
)


def _in(mood: Mood, faults: Iterable[Planted]) -> tuple[Planted, ...]:
    """Search for these faults in histories of a mood, where they do not say otherwise."""
    return tuple(planted if planted.mood is not None else replace(planted, mood=mood) for planted in faults)


PLANTED: Final[tuple[Planted, ...]] = tuple(
    sorted(
        (
            *_in(Mood.HAND_OVER, (*giving.FAULTS, *arriving.FAULTS, *handling.FAULTS, *fetching.FAULTS)),
            *_in(Mood.SILENCE, (*leasing.FAULTS, *deciding.FAULTS)),
        ),
        key=lambda planted: _ORDER.index(planted.rule),
    )
)


def planted_called(name: str) -> Planted:
    """Find one by its name. Raises KeyError."""
    return _BY_NAME[name]


_BY_NAME: Final = {planted.name: planted for planted in PLANTED}
