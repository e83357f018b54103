"""What happened in a world, line by line, for those who want to read it; and how often what happened."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """What a line is about."""

    COMMAND = "command"
    FAULT = "fault"
    DECISION = "decision"
    """A brain has gone from one phase to another, or has decided something."""
    EFFECT = "effect"
    RECORD = "record"
    """A record of ownership has changed."""
    QEMU = "qemu"
    NODE = "node"
    SAY = "say"
    """A sentence for people."""


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened."""

    at: float
    kind: Kind
    where: str
    """A node's name; empty: nowhere in particular."""
    what: str

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{self.at:9.3f} {self.kind.value:<8} {place}{self.what}"


@dataclass(slots=True)
class Counts:
    """How often what happened."""

    commands: int = 0
    refused: int = 0
    faults: int = 0
    migrations: int = 0
    """Begun."""
    completed: int = 0
    cancelled: int = 0
    failed: int = 0
    take_overs: int = 0
    cold_starts: int = 0
    starts: int = 0
    lapses: int = 0
    ended_leases: int = 0
    guard_kills: int = 0
    database_losses: int = 0
    cut_hand_overs: int = 0
    """A fault came while a guest stood still for its migration."""
    drains: int = 0
    evictions: int = 0
    recoveries: int = 0
    """Migrations that a restarted daemon has carried on."""
    post_copies: int = 0
    """Guests that ran at their destination with pages missing."""


@dataclass(slots=True)
class Trace:
    """The lines of a world. As long as nobody reads them, none is made."""

    clock: Callable[[], float]
    is_kept: bool = False
    lines: list[Line] = field(default_factory=list)

    def add(self, kind: Kind, where: str, what: str) -> None:
        """Keep a line; ask `is_kept` before making the words of one that is said often."""
        if self.is_kept:
            self.lines.append(Line(self.clock(), kind, where, what))
