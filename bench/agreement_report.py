"""What the comparison of the simulator with QEMU found: for people in docs/simulator-agreement.md, for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import limited_link
from bench.machine import Machine
from bench.measured import median
from bench.tables import rewrite, table, write_records

if TYPE_CHECKING:
    from bench.agreement import Agreement, Attempt, Case

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENT: Final = ROOT / "docs" / "simulator-agreement.md"
RECORDS: Final = ROOT / "build" / "bench"
BEGIN: Final = "<!-- figures: begin (written by python -m bench.agreement) -->"
TOTAL_RATIO: Final = 0.25
"""By what share the forecast total may differ from the measured one."""
PASSES: Final = 1
"""By how many passes a forecast may differ."""


def why_not(case: Case, attempt: Attempt) -> tuple[str, ...]:
    """Say in what a move differs from its forecast, or what else speaks against it; nothing: they agree."""
    measured, predicted = attempt.measured, attempt.predicted
    ratio = predicted.total / measured.total
    checks = [
        (abs(ratio - 1) <= TOTAL_RATIO, f"total {ratio:.2f}"),
        (not case.counts or abs(predicted.passes - measured.passes) <= PASSES, "passes"),
        (bool(predicted.failure) == bool(measured.failure), "one arrives, the other does not"),
    ]
    return (*(sentence for holds, sentence in checks if not holds), *attempt.faults)


def line(attempt: Attempt) -> str:
    """Tell one move in one line."""
    measured, predicted = attempt.measured, attempt.predicted
    disturbed = "  DISTURBED" if attempt.is_disturbed else ""
    unwell = f"  NOT AS IT SHOULD BE: {'; '.join(attempt.faults)}" if attempt.faults else ""
    return (
        f"{attempt.name:8} #{attempt.number}  total {measured.total:6.2f} s, forecast {predicted.total:6.2f} s  "
        f"passes {measured.passes}, forecast {predicted.passes}  "
        f"gap {measured.gap * 1000:4.0f} ms, forecast {predicted.gap * 1000:4.0f} ms  "
        f"[link {attempt.link / 1e6:.1f}, then {attempt.link_after / 1e6:.1f} MB/s; "
        f"writes {attempt.dirtied / 1e6:.1f}, then {attempt.dirtied_during / 1e6:.1f} MB/s; "
        f"beats {attempt.beat_ratio:.3f}; busy {attempt.busy:.0%}]{disturbed}{unwell}"
    )


def tell(examined: Machine, cases: Sequence[Case], found: Agreement, *, for_document: bool) -> bool:
    """Print it, keep it, and write the page; answers whether all agree."""
    figures = markdown(examined, cases, found)
    print("\n" + figures)
    path = write_records(RECORDS, records(examined, cases, found), "agreement")
    print(f"JSON lines: {path.relative_to(ROOT)}")
    if for_document:
        rewrite(DOCUMENT, figures, BEGIN)
        print(f"written into {DOCUMENT.relative_to(ROOT)}")
    last = [(case, found.last_of(case)) for case in cases]
    return all(attempt is not None and not why_not(case, attempt) for case, attempt in last)


def markdown(examined: Machine, cases: Sequence[Case], found: Agreement) -> str:
    """Write the figures as they stand on the page."""
    head = ("guest", "writes MB/s", "total s", "", "passes", "gap ms", "", "")
    rows = [_row(case, found.last_of(case)) for case in cases]
    guests = [(case.name, case.workload.sentence) for case in cases]
    made = [attempt for case in cases if (attempt := found.last_of(case)) is not None]
    parts = [_machine_words(examined, made), table(("guest", ""), guests)]
    parts.append("Each figure: forecast / measured, and their ratio.\n\n" + table(head, rows))
    parts += [f"`{one.name}` came to nothing in both: {one.measured.failure}." for one in made if one.measured.failure]
    again = len(found.attempts) - len(made)
    parts.append(f"Made again because they were disturbed: {again}. Failed: {len(found.failures)}.")
    return "\n\n".join(parts) + "\n"


def _row(case: Case, attempt: Attempt | None) -> tuple[str, ...]:
    if attempt is None:
        return (case.name, *[""] * 6, "FAIL: it was not moved")
    measured, predicted = attempt.measured, attempt.predicted
    arrived = not measured.failure and not predicted.failure
    trouble = [*why_not(case, attempt), *(["disturbed"] if attempt.is_disturbed else [])]
    return (
        case.name,
        f"{attempt.dirtied / 1e6:.1f}",
        f"{predicted.total:.2f} / {measured.total:.2f}",
        f"{predicted.total / measured.total:.2f}",
        f"{predicted.passes} / {measured.passes}" + ("" if case.counts else " (not judged)"),
        f"{predicted.gap * 1000:.0f} / {measured.gap * 1000:.0f}" if arrived else "given up",
        f"{predicted.gap / measured.gap:.2f}" if arrived else "",
        f"FAIL: {', '.join(trouble)}" if why_not(case, attempt) else ", ".join(["agrees", *trouble]),
    )


def _machine_words(examined: Machine, made: Sequence[Attempt]) -> str:
    links = [one.link for one in made] or [0.0]
    busy = [one.busy for one in made] or [examined.busy]
    return (
        f"Machine: {examined.cores} cores ({examined.processor}), {examined.memory_bytes / 2**30:.0f} GiB, "
        f"{examined.system}, QEMU {examined.qemu} with {examined.accelerator.upper()}; both ends on this machine. "
        f"The link: veth between network namespaces, each end held to {limited_link.RATE / 1e9:g} Gb/s by tc's token "
        f"bucket filter; {min(links) / 1e6:.1f} to {max(links) / 1e6:.1f} MB/s of data got across it. Others used "
        f"{median(busy):.0%} of the machine in the median before a move; what was measured came before them "
        "(niceness)."
    )


def records(examined: Machine, cases: Sequence[Case], found: Agreement) -> Iterator[Mapping[str, object]]:
    """Give everything as the lines of a JSON lines file: times are seconds, rates bytes per second."""
    yield {"kind": "machine", **examined.to_json()}
    for attempt in found.attempts:
        yield {"kind": "attempt", **asdict(attempt), "disturbed": attempt.is_disturbed}
    for sentence in found.failures:
        yield {"kind": "failure", "sentence": sentence}
    for case in cases:
        last = found.last_of(case)
        troubles = ("it was not moved",) if last is None else why_not(case, last)
        yield {"kind": "agreement", "name": case.name, "agrees": not troubles, "troubles": troubles}
