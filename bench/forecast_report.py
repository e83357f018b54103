"""What the judgement of the forecasts found: for people in docs/forecast.md, for programs in forecast-moves.csv."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.machine import Machine
from bench.measured import median
from bench.tables import rewrite, table

if TYPE_CHECKING:
    from bench.forecast_accuracy import Record

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENT: Final = ROOT / "docs" / "forecast.md"
MOVES: Final = ROOT / "docs" / "forecast-moves.csv"
BEGIN: Final = "<!-- figures: begin (written by python -m bench.forecast_accuracy) -->"
TOTAL_SHARE: Final = 0.20
GAP_SHARE: Final = 0.30
GAP_SECONDS: Final = 0.015
VERDICTS: Final = 0.95


def is_right(record: Record) -> bool:
    """Tell whether the verdict was."""
    return (record.verdict != "will not converge") == (record.result == "moved")


def total_error(record: Record) -> float:
    """By what share the total was foretold wrongly."""
    return abs(record.foretold_total / record.total - 1) if record.total else 0.0


def gap_error(record: Record, gap: float) -> float:
    """Of what was allowed, how much the gap was off: 1 is 30 %, or 15 ms where that is more."""
    return abs(record.foretold_gap - gap) / max(GAP_SHARE * gap, GAP_SECONDS)


def line(record: Record) -> str:
    """Tell one move in one line."""
    return (
        f"{record.guest:16} {record.result:7} ({record.verdict})  total {record.total:6.2f} s, foretold "
        f"{record.foretold_total:6.2f} ({record.low_total:.2f} to {record.high_total:.2f})  gap "
        f"{record.gap * 1000:4.0f} ms, outside {record.gap_outside * 1000:4.0f}, foretold "
        f"{record.foretold_gap * 1000:4.0f}  passes {record.passes}, {record.foretold_passes}  "
        f"[link {record.seen_link} MB/s, used {record.seen_used} of "
        f"{record.used} MiB, writes {record.seen_writes} of {record.writes} MB/s over {record.seen_written} of "
        f"{record.written} MiB, {record.past} past, busy {record.busy:.0%}]"
    )


def tell(examined: Machine, made: Sequence[Record], failures: Sequence[str], *, for_document: bool) -> bool:
    """Print it, and with ``for_document`` keep it; answers whether the aims are reached."""
    if not made:
        print("no move was made", flush=True)
        return False
    figures = markdown(examined, made, failures)
    print("\n" + figures, flush=True)
    if for_document:
        rewrite(DOCUMENT, figures, BEGIN)
        _write(MOVES, made)
    return all(is_met for _, _, is_met in aims(made)) and not failures


def _write(path: Path, made: Sequence[Record]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, list(asdict(made[0])), lineterminator="\n")
        rows.writeheader()
        rows.writerows(asdict(one) for one in made)


def aims(made: Sequence[Record]) -> list[tuple[str, str, bool]]:
    """Judge: what is aimed at, what was reached, whether that suffices."""
    arrived = [one for one in made if one.result == "moved" and one.verdict != "will not converge"]
    right = sum(is_right(one) for one in made)
    found = [("verdict right in at least 95 %", f"{right} of {len(made)}", right >= VERDICTS * len(made))]
    if arrived:
        total = median([total_error(one) for one in arrived])
        found.append(("total: median error at most 20 %", f"{total:.1%}", total <= TOTAL_SHARE))
        for words, gaps in (
            ("gap, stop to cont", [(one, one.gap) for one in arrived]),
            ("gap, heard from outside", [(one, one.gap_outside) for one in arrived]),
        ):
            share = median([abs(one.foretold_gap / gap - 1) for one, gap in gaps if gap])
            off = median([abs(one.foretold_gap - gap) for one, gap in gaps])
            reached = median([gap_error(one, gap) for one, gap in gaps])
            sentence = f"{words}: median error at most 30 % or 15 ms"
            found.append((sentence, f"{share:.1%}, {off * 1000:.0f} ms", reached <= 1.0))
    return found


def markdown(examined: Machine, made: Sequence[Record], failures: Sequence[str]) -> str:
    """Write the figures as they stand in docs/forecast.md."""
    within = [one for one in made if one.low_total <= one.total <= one.high_total]
    words = (
        f"Machine: {examined.cores} cores ({examined.processor}), {examined.memory_bytes / 2**30:.0f} GiB, "
        f"{examined.system}, QEMU {examined.qemu} with {examined.accelerator.upper()}; both ends on this machine. "
        f"Others used {median([one.busy for one in made]):.0%} of it in the median before a move. {len(made)} moves, "
        f"{len(failures)} that could not be made. The total was within the range that was told in "
        f"{len(within)} of {len(made)}."
    )
    judged = table(("aim", "reached", ""), [(a, r, "pass" if met else "FAIL") for a, r, met in aims(made)])
    return "\n\n".join((words, judged, "Medians of each guest's moves, foretold / measured.", _guests(made))) + "\n"


def _guests(made: Sequence[Record]) -> str:
    by_guest: dict[str, list[Record]] = {}
    for one in made:
        by_guest.setdefault(one.guest, []).append(one)
    head = (
        *("link Mb/s", "policy", "used MiB", "writes", "moves", "arrived", "verdict right"),
        *("total s", "gap ms", "passes", "MiB"),
    )
    return table(head, [_row(moves) for moves in by_guest.values()])


def _row(moves: Sequence[Record]) -> tuple[str, ...]:
    one, arrived = moves[0], [move for move in moves if move.result == "moved"]

    def middle(name: str, scale: float, form: str) -> str:
        return form.format(scale * median([float(getattr(move, name)) for move in moves]))

    gap = f"{middle('foretold_gap', 1000, '{:.0f}')} / {middle('gap', 1000, '{:.0f}')}" if arrived else ""
    return (
        str(one.link),
        one.policy,
        f"{one.used} of {one.memory}",
        f"{one.writes} MB/s over {one.written} MiB",
        str(len(moves)),
        str(len(arrived)),
        f"{sum(is_right(move) for move in moves)} of {len(moves)}",
        f"{middle('foretold_total', 1, '{:.2f}')} / {middle('total', 1, '{:.2f}')}",
        gap,
        f"{middle('foretold_passes', 1, '{:.0f}')} / {middle('passes', 1, '{:.0f}')}",
        f"{middle('foretold_sent', 1, '{:.0f}')} / {middle('sent', 1, '{:.0f}')}",
    )
