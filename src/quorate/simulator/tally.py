"""What many random histories had in them, and which of them broke a law."""

from collections.abc import Iterable
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
    "a drain": "drains",
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
    broken: str = ""
    """The violation; empty: none."""
    seconds: float = 0.0
    """What playing it took."""

    @classmethod
    def of(cls, run: Run, seconds: float) -> "Told":
        """Keep what counts."""
        broken = "" if run.violation is None else str(run.violation)
        return cls(run.seed, run.events, run.counts, broken, seconds)


@dataclass(slots=True)
class Tally:
    """What is known of all histories together."""

    histories: int = 0
    had: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HAD, 0))
    """In how many of them it happened."""
    totals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HAD.values(), 0))
    events: list[int] = field(default_factory=list)
    commands: list[int] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    broken: list[Told] = field(default_factory=list)
    slowest: Told | None = None

    def add(self, told: Told) -> None:
        """Count one more."""
        self.histories += 1
        for what, count in HAD.items():
            number: int = getattr(told.counts, count)
            self.had[what] += number > 0
            self.totals[count] += number
        self.events.append(told.events)
        self.commands.append(told.counts.commands)
        self.faults.append(told.counts.faults)
        if told.broken:
            self.broken.append(told)
        if self.slowest is None or told.seconds > self.slowest.seconds:
            self.slowest = told

    def rows(self) -> list[tuple[str, str, str]]:
        """Give what happened, in how many histories, and how often in all."""
        return [(what, str(self.had[what]), str(self.totals[count])) for what, count in HAD.items()]

    def medians(self) -> dict[str, int]:
        """Give the median of events, commands and faults per history."""
        return {
            "events": round(_median(self.events)),
            "commands": round(_median(self.commands)),
            "faults": round(_median(self.faults)),
        }


def _median(numbers: Iterable[int]) -> float:
    counted = list(numbers)
    return median(counted) if counted else 0.0
