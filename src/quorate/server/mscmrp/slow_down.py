"""How guessing passwords is made slow, without locking anybody out. Pure: whoever asks says what time it is.

A wrong password counts against the account, against the source, and against the pair of both; a count fades by one each
half a minute. Beyond some that are free, every further answer is held back for a while that doubles with each. Who does
not await the answer gains nothing: until then the pair is closed, which means refused without a look at the password.
So is, after many more, the source. An account is never closed as such: its owner, at another place, waits two seconds
at most, whoever guesses at it from wherever.

The right password opens the pair. It clears no other count: who has stolen one password does not get others by it.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Final

FIRST_DELAY: Final = 0.25
LONGEST_DELAY: Final = 8.0
"""Seconds; shorter than a server waits for a logon to end."""
FADING: Final = 30.0
"""Seconds by which one wrong password is forgotten."""
MOST_COUNTS: Final = 10_000
"""Counts that are kept; beyond, those of the longest ago are forgotten."""


class _Kind(Enum):
    """What is counted: how many are free (people mistype), how long an answer is held back at most, who is closed."""

    PAIR = (3, LONGEST_DELAY, True)
    SOURCE = (20, LONGEST_DELAY, True)
    ACCOUNT = (10, 2.0, False)

    def __init__(self, free: int, longest: float, closes: bool) -> None:
        self.free = free
        self.longest = longest
        self.closes = closes


_Key = tuple[_Kind, str, str]


@dataclass(slots=True)
class _Count:
    failures: float = 0.0
    since: float = 0.0
    """When ``failures`` was right."""
    closed_until: float = 0.0

    def at(self, now: float) -> float:
        return max(0.0, self.failures - (now - self.since) / FADING)

    def add(self, now: float) -> None:
        self.failures, self.since = self.at(now) + 1, now

    def delay(self, kind: _Kind, now: float) -> float:
        beyond = self.at(now) - kind.free
        if beyond <= 0:
            return 0.0
        return kind.longest if beyond > 16 else min(FIRST_DELAY * 2 ** (beyond - 1), kind.longest)


class SlowDown:
    """The wrong passwords of late. Times are seconds of any clock that never goes back; accounts' names are folded."""

    def __init__(self) -> None:
        self._counts: OrderedDict[_Key, _Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def closed_for(self, account: str, source: str, now: float) -> float:
        """For how many seconds more no password of this account is looked at from there; 0: it is."""
        counts = (self._counts.get(key) for key in _keys(account, source))
        return max(0.0, *(0.0 if count is None else count.closed_until - now for count in counts))

    def on_refused(self, account: str, source: str, now: float) -> float:
        """Count a wrong password; the seconds to hold the answer back."""
        longest = 0.0
        for key in _keys(account, source):
            kind, count = key[0], self._count(key)
            count.add(now)
            delay = count.delay(kind, now)
            if kind.closes:
                count.closed_until = now + delay
            longest = max(longest, delay)
        return longest

    def on_granted(self, account: str, source: str, now: float) -> float:
        """Forget the pair's wrong passwords; the seconds to hold the answer back all the same."""
        pair, _, of_account = _keys(account, source)
        self._counts.pop(pair, None)
        count = self._counts.get(of_account)
        return 0.0 if count is None else count.delay(_Kind.ACCOUNT, now)

    def _count(self, key: _Key) -> _Count:
        count = self._counts.setdefault(key, _Count())
        self._counts.move_to_end(key)
        if len(self._counts) > MOST_COUNTS:
            self._counts.popitem(last=False)
        return count


def _keys(account: str, source: str) -> tuple[_Key, _Key, _Key]:
    return (_Kind.PAIR, account, source), (_Kind.SOURCE, "", source), (_Kind.ACCOUNT, account, "")
