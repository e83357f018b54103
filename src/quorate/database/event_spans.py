"""Spans of time as what a store can read: prefixes of the keys of events, which begin with their milliseconds."""

from datetime import datetime
from typing import Final

from quorate.database.keys import EVENTS

_DIGITS: Final = 13
_END_OF_TIME: Final = 10**_DIGITS


def milliseconds(time: datetime) -> int:
    """A moment as the keys of events have it."""
    return int(time.timestamp() * 1000)


def milliseconds_of(key: str) -> int:
    """The moment in the key of an event."""
    return int(key[len(EVENTS) : len(EVENTS) + _DIGITS])


def covering_prefixes(since: int, until: int | None = None, at_most: int = 64) -> tuple[str, ...]:
    """Prefixes of the keys of all events from ``since`` to before ``until`` (milliseconds), in order of time.

    No two of them overlap. Together they may cover somewhat more than was asked for, so whoever reads looks at the
    times: the last digits are rounded until ``at_most`` prefixes suffice.
    """
    low = min(max(since, 0), _END_OF_TIME)
    high = _END_OF_TIME if until is None else min(max(until, low), _END_OF_TIME)
    for unit in range(_DIGITS):
        step = 10**unit
        found = _leading_digits(low // step, -(-high // step), _DIGITS - unit)
        if len(found) <= at_most:
            return tuple(EVENTS + digits for digits in found)
    return (EVENTS,)


def _leading_digits(low: int, high: int, digits: int) -> list[str]:
    """What the numbers of ``digits`` digits in [low, high) begin with."""
    found: list[str] = []
    while low < high:
        size = 1
        while low % (size * 10) == 0 and low + size * 10 <= high and size * 10 < 10**digits:
            size *= 10
        found.append(f"{low // size:0{digits - len(str(size)) + 1}d}")
        low += size
    return found
