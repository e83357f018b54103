"""The expected outcomes of docs/faults.md, as data."""

import re
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"
FAULT = re.compile(
    r"## (kill -9|SIGSTOP|silence|power cut) of the (source|destination|cluster)'s (QEMU|daemon|guard|node|database)"
    r"(, away for 8 s)?"
)
PHASES = ("preparing", "pre-copy", "stopped", "cas sent", "given", "yours sent", "loaded", "marked")
OUTCOMES = (
    "moves",
    "stays",
    "cold start on the source",
    "cold start on the destination",
    "failover to the source",
    "failover to the destination",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault in one phase."""

    signal: str
    side: str
    victim: str
    away: bool
    """The victim is not started again before a while has passed."""
    phase: str
    outcome: str

    def __str__(self) -> str:
        victim = f"{self.victim} away" if self.away else self.victim
        return f"{self.signal} {self.side} {victim} {self.phase}".replace(" ", "-")


def read_cells() -> tuple[Cell, ...]:
    """Every row of the document's tables of faults."""
    cells = []
    fault: tuple[str, str, str, bool] | None = None
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            found = FAULT.match(line)
            assert found is not None, f"docs/faults.md: not a fault: {line}"
            fault = (found[1], found[2], found[3], found[4] is not None)
        elif fault is not None and line.startswith("| ") and not line.startswith("| phase "):
            phase, outcome, _ = (part.strip() for part in line.strip("| \n").split(" | "))
            assert phase in PHASES, f"docs/faults.md: not a phase: {phase}"
            assert outcome in OUTCOMES, f"docs/faults.md: not an outcome: {outcome}"
            cells.append(Cell(*fault, phase, outcome))
    return tuple(cells)
