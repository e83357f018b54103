"""How long a guest that has arrived is announced: until somebody sends to it, or a minute has passed.

What a card announces teaches the switches on the way where its address is. It may be lost: a port that has just come
up takes nothing for a while, and nobody answers an announcement. That it was heard is known when a frame for that
address comes in at its new place: then whoever sent it, and every switch in between, knows. A guest to which nobody has
anything to say is announced at growing pauses, and no more after a minute.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from quorate.clusapi.frozen import replace

PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds after each announcement until the next one; after the last nobody waits any longer."""


class Verdict(Enum):
    """What is to be done."""

    AGAIN = "again"
    """Announce it again."""
    SEEN = "seen"
    """Somebody has sent to each of its addresses."""
    GIVEN_UP = "given up"
    """To some address nobody has sent anything within the time."""


@dataclass(frozen=True, slots=True)
class Announcing:
    """A guest that was announced."""

    unseen: frozenset[str]
    """Addresses of its cards, six bytes in hexadecimal with colons, to which nobody has sent anything yet."""
    said: int = 1
    """How often it was announced."""

    @property
    def pause(self) -> float:
        """Seconds to wait for the other side."""
        return PAUSES[self.said - 1]

    def after_look(self, heard: frozenset[str]) -> tuple["Announcing", Verdict]:
        """Take in to which addresses something was sent within the pause; a next state to be announced counts it."""
        left = replace(self, unseen=self.unseen - heard)
        if not left.unseen:
            return left, Verdict.SEEN
        if left.said == len(PAUSES):
            return left, Verdict.GIVEN_UP
        return replace(left, said=left.said + 1), Verdict.AGAIN
