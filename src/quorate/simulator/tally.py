"""What many random histories had in them, and which of them broke a law."""

from dataclasses import dataclass, field
from statistics import median
from typing import Final

from quorate.simulator.trace import Counts
from quorate.simulator.world import Run

HAD: Final = {
    "a migration": "migrations",
    "a failover": "take_overs",
    "a cancelled migration": "cancelled",
    "a database loss": "database_losses",
    "a hand-over cut in the middle": "cut_hand_overs",
    "a migration that failed": "failed",
    "a migration that a restarted daemon carried on": "recoveries",
    "a post-copy": "post_copies",
    "a drain": "drains",
    "an eviction": "evictions",
    "a guard that ended virtual machines": "guard_kills",
    "a start from disks after a failure": "cold_starts",
}
"""What a history may have had, and the count that tells."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is kept of one history."""

    seed: int
    events: int
    counts: Counts
    minutes: float = 0.0
    """Of the world's time that it went on, until all was well."""
    broken: str = ""
    """The violation; empty: none."""
    seconds: float = 0.0
    """What playing it took."""

    @classmethod
    def of(cls, run: Run, seconds: float) -> "Told":
        """Keep what counts."""
        broken = "" if run.violation is None else str(run.violation)
        return cls(run.seed, run.events, run.counts, run.ended_at / 60.0, broken, seconds)


@dataclass(slots=True)
class Tally:
    """What is known of all histories together."""

    histories: int = 0
    had: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HAD, 0))
    """In how many of them it happened."""
    totals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HAD.values(), 0))
    whole: list[Told] = field(default_factory=list)
    """Those that broke no law, and so were played to their end."""
    broken: list[Told] = field(default_factory=list)
    slowest: Told | None = None

    def add(self, told: Told) -> None:
        """Count one more."""
        self.histories += 1
        for what, count in HAD.items():
            number: int = getattr(told.counts, count)
            self.had[what] += number > 0
            self.totals[count] += number
        (self.broken if told.broken else self.whole).append(told)
        if self.slowest is None or told.seconds > self.slowest.seconds:
            self.slowest = told

    def rows(self) -> list[tuple[str, str, str]]:
        """Give what happened, in how many histories, and how often in all."""
        return [(what, str(self.had[what]), str(self.totals[count])) for what, count in HAD.items()]

    def medians(self) -> dict[str, int]:
        """Give the medians of what the histories that broke no law were made of."""
        return {what: round(median(numbers or [0])) for what, numbers in self._measures().items()}

    def least(self) -> dict[str, int]:
        """Give the least of each that any of these histories had."""
        return {what: round(min(numbers, default=0)) for what, numbers in self._measures().items()}

    def _measures(self) -> dict[str, list[float]]:
        return {
            "events": [told.events for told in self.whole],
            "virtual minutes": [told.minutes for told in self.whole],
            "faults": [told.counts.faults for told in self.whole],
            "commands": [told.counts.commands for told in self.whole],
            "commands refused": [told.counts.refused for told in self.whole],
        }
