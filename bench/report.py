"""What the run found: for people on the terminal and in docs/benchmarks.md, for programs in build/bench."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.failover import Failovers
from bench.guests import IDLE, WORKLOADS, Workload
from bench.machine import Machine
from bench.measured import Migration, median
from bench.ours import WAY
from bench.small import Figure

BASELINE: Final = "raw tcp"
GAP_RATIO: Final = 0.6
"""What our gap may be of raw QMP's, on the busy guest."""
SHORT_GAP: Final = 0.020
"""Seconds of gap that are good enough on the idle guest whatever raw QMP reaches."""
TOTAL_RATIO: Final = 1.0
TOTAL_MARGIN: Final = 0.4
"""Seconds that we may take longer than raw QMP with the small guest."""

BEGIN: Final = "<!-- figures: begin (written by python -m bench.run) -->"
END: Final = "<!-- figures: end -->"
_MOMENTS: Final = (
    *("asked", "listening", "stop sent", "stopped", "ownership answered", "loaded", "told", "cont", "heard"),
    *("marked", "source gone"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target and whether it was reached."""

    sentence: str
    reached: str
    is_met: bool


@dataclass(frozen=True, slots=True)
class Results:
    """All of a run."""

    command: str
    machine: Machine
    migrations: tuple[Migration, ...]
    failures: tuple[str, ...]
    small: tuple[Figure, ...]
    failovers: Failovers
    wire: tuple[Figure, ...] = ()
    """What a call over MS-CMRP costs."""

    def of(self, workload: Workload, way: str) -> tuple[Migration, ...]:
        """Give the migrations of one guest made in one way."""
        return tuple(m for m in self.migrations if m.workload == workload.name and m.way == way)

    def ways(self) -> tuple[str, ...]:
        """Give the ways in the order in which they were tried."""
        return tuple(dict.fromkeys(m.way for m in self.migrations))

    def workloads(self) -> tuple[Workload, ...]:
        """Give the guests that were moved."""
        return tuple(w for w in WORKLOADS if any(m.workload == w.name for m in self.migrations))

    def verdicts(self) -> tuple[Verdict, ...]:
        """Judge everything that has a target."""
        found: list[Verdict] = []
        for workload in self.workloads():
            if self.of(workload, WAY) and self.of(workload, BASELINE):
                found += self._judge(workload)
        unwell = [m for m in self.migrations if m.faults]
        if self.migrations or self.failures:
            found.append(
                Verdict(
                    "every guest lived on unharmed, no beat missing or repeated",
                    f"{len(self.migrations) - len(unwell)} of {len(self.migrations) + len(self.failures)} migrations",
                    not unwell and not self.failures,
                )
            )
        lost, rounds = len(self.failovers.failures), len(self.failovers.busy)
        if rounds:
            sentence = "every guest was where it should be after every death"
            found.append(Verdict(sentence, f"{rounds - lost} of {rounds} rounds", not lost))
        for figure in (*self.small, *self.wire, *self.failovers.figures):
            if figure.is_met is not None:
                reached = f"{figure.median:.3g} {figure.unit}"
                found.append(Verdict(f"{figure.sentence}: {figure.target}", reached, figure.is_met))
        return tuple(found)

    def _judge(self, workload: Workload) -> list[Verdict]:
        total, raw_total = (_median(self.of(workload, way), _total) for way in (WAY, BASELINE))
        gap, raw_gap = (_median(self.of(workload, way), _gap) for way in (WAY, BASELINE))
        if workload is IDLE:
            gap_limit, gap_words = max(raw_gap, SHORT_GAP), f"gap at most raw's, or {_ms(SHORT_GAP)}"
            total_limit, total_words = raw_total + TOTAL_MARGIN, f"total at most raw's + {TOTAL_MARGIN:g} s"
        else:
            gap_limit, gap_words = GAP_RATIO * raw_gap, f"gap at most {GAP_RATIO:g} of raw's"
            total_limit, total_words = TOTAL_RATIO * raw_total, f"total at most {TOTAL_RATIO:g} of raw's"
        return [
            Verdict(f"{workload.name}: {gap_words}", f"{_ms(gap)} to {_ms(raw_gap)}", gap <= gap_limit),
            Verdict(f"{workload.name}: {total_words}", f"{_ms(total)} to {_ms(raw_total)}", total <= total_limit),
        ]


# --- for people ----------------------------------------------------------------------------------------------------


def line(migration: Migration) -> str:
    """Tell one migration in one line."""
    moments = ", ".join(
        f"{name} {migration.moments[name] * 1000:.0f}" for name in _MOMENTS if name in migration.moments
    )
    unwell = f"  NOT AS IT SHOULD BE: {'; '.join(migration.faults)}" if migration.faults else ""
    return (
        f"{migration.workload:5} {migration.way:8} #{migration.number}  total {migration.total * 1000:5.0f} ms  "
        f"gap {migration.gap * 1000:5.1f} ms  {migration.bytes_sent / 1e6:5.0f} MB in {migration.passes} passes  "
        f"(busy {migration.busy:.0%})  [{moments}]{unwell}"
    )


def markdown(results: Results) -> str:
    """Write the figures as they stand in docs/benchmarks.md."""
    parts = [_machine_words(results)]
    if results.migrations:
        parts += ["### Migrations", _migration_table(results)]
    for workload in results.workloads():
        parts += [f"### Moments: {workload.name} guest", _moment_table(results, workload)]
    if results.small:
        parts += ["### Small figures", _small_table(results.small)]
    if results.wire:
        parts += ["### Calls over the wire", _small_table(results.wire)]
    if results.failovers.figures:
        parts += ["### When something dies", _small_table(results.failovers.figures)]
    parts += ["### Targets", _verdict_table(results.verdicts())]
    return "\n\n".join(parts) + "\n"


def _machine_words(results: Results) -> str:
    machine = results.machine
    busy = [m.busy for m in results.migrations] + results.failovers.busy or [machine.busy]
    return (
        f"Command: `{results.command}`\n\n"
        f"Machine: {machine.cores} cores ({machine.processor}), {machine.memory_bytes / 2**30:.0f} GiB, "
        f"{machine.system}, QEMU {machine.qemu} with {machine.accelerator.upper()}; both ends on this machine, over "
        f"loopback. Limits measured in the same run: memcpy {machine.memcpy / 1e9:.1f} GB/s; first touch of memory "
        f"{machine.touch_fresh / 1e9:.2f} GB/s as it came, {machine.touch_warm / 1e9:.2f} GB/s when just freed. "
        f"Others used {machine.busy:.0%} of the machine when the run began, "
        f"{median(busy):.0%} in the median before a "
        "measurement."
    )


def _migration_table(results: Results) -> str:
    rows = []
    for workload in results.workloads():
        base = results.of(workload, BASELINE)
        for way in results.ways():
            if made := results.of(workload, way):
                ratios = ["", ""]
                if base and way != BASELINE:
                    ratios = [f"{_median(made, part) / _median(base, part):.2f}" for part in (_total, _gap)]
                rows.append(
                    (
                        workload.name,
                        way,
                        str(len(made)),
                        _both(made, _total, 0),
                        ratios[0],
                        _both(made, _gap, 1),
                        ratios[1],
                        _both(made, lambda m: m.handover, 1),
                        f"{_median(made, lambda m: m.bytes_sent) / 1e6:.0f}",
                        f"{_median(made, lambda m: m.passes):.0f}",
                    )
                )
    head = ("guest", "way", "runs", "total ms", "to raw tcp", "gap ms", "to raw tcp", "hand-over ms", "MB", "passes")
    return "Median / worst.\n\n" + table(head, rows)


def _moment_table(results: Results, workload: Workload) -> str:
    """Medians of the moments since the request, of all ways side by side."""
    made = {way: results.of(workload, way) for way in results.ways()}
    rows = []
    for name in _MOMENTS:
        cells = [[m.moments[name] * 1000 for m in runs if name in m.moments] for runs in made.values()]
        rows.append((name, *(f"{median(values):.0f}" if values else "" for values in cells)))
    return "Median milliseconds since the request.\n\n" + table(("moment", *made), rows)


def _small_table(figures: Iterable[Figure]) -> str:
    rows = [(f.sentence, f"{f.median:.3g} {f.unit}", f"{f.worst:.3g} {f.unit}", f.target) for f in figures]
    return table(("figure", "median", "worst", "target"), rows)


def _verdict_table(verdicts: Iterable[Verdict]) -> str:
    rows = [(v.sentence, v.reached, "pass" if v.is_met else "FAIL") for v in verdicts]
    return table(("target", "reached (medians)", ""), rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table of Markdown, its columns as wide as what is in them."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def text(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    return "\n".join((text(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(text, rows)))


def _both(made: Sequence[Migration], part: Callable[[Migration], float], digits: int) -> str:
    values = [part(m) * 1000 for m in made]
    return f"{median(values):.{digits}f} / {max(values):.{digits}f}"


def _median(made: Sequence[Migration], part: Callable[[Migration], float]) -> float:
    return median([part(m) for m in made])


def _total(migration: Migration) -> float:
    return migration.total


def _gap(migration: Migration) -> float:
    return migration.gap


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def rewrite(path: Path, figures: str, begin: str = BEGIN) -> None:
    """Put the figures between the marks of the document."""
    before, mark, rest = path.read_text(encoding="utf-8").partition(begin)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{path} has no place for the figures")
    path.write_text(f"{before}{begin}\n\n{figures}\n{END}{after}", encoding="utf-8")


# --- for programs --------------------------------------------------------------------------------------------------


def records(results: Results) -> Iterable[Mapping[str, object]]:
    """Give everything as the lines of a JSON lines file; docs/benchmarks.md describes the fields."""
    yield {"kind": "run", "command": results.command, "version": 1}
    yield {"kind": "machine", **results.machine.to_json()}
    for migration in results.migrations:
        yield {"kind": "migration", **asdict(migration)}
    for sentence in (*results.failures, *results.failovers.failures):
        yield {"kind": "failure", "sentence": sentence}
    for figure in (*results.small, *results.wire, *results.failovers.figures):
        yield {"kind": "figure", **asdict(figure), "median": figure.median, "worst": figure.worst}
    for verdict in results.verdicts():
        yield {"kind": "target", **asdict(verdict)}


def write_records(directory: Path, lines: Iterable[Mapping[str, object]], name: str = "run") -> Path:
    """Keep the run as the next numbered file of the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    taken = [int(path.stem.removeprefix(f"{name}-")) for path in directory.glob(f"{name}-*.jsonl")]
    path = directory / f"{name}-{max(taken, default=0) + 1:04}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
