"""What the matrix says: how ours compares with the better of the raw ways, and whether that is what is aimed at."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from bench.guests import MIB, WORKLOADS, Workload
from bench.machine import Machine
from bench.measured import Migration, median
from bench.ours import WAY
from bench.tables import Verdict, table

GAP_RATIO: Final = 0.5
"""What our gap may be of raw QMP's."""
SHORT_GAP: Final = 0.020
"""Seconds of gap that are good enough whatever raw QMP reaches."""
WORST_GAP: Final = 0.100
TOTAL_RATIOS: Final = {"1G-300": 0.8, "4G-300": 0.7}
"""What our total may be of raw QMP's, by guest."""
DATA_SHARE: Final = 0.8
"""What the data phase reaches at least of what the machine allows."""
DATA_FROM: Final = 1024 * MIB
"""A smaller guest's memory is across before QEMU looks for dirty pages a second time, 100 ms later."""
_MOMENTS: Final = (
    *("asked", "listening", "stop sent", "stopped", "ownership answered", "loaded", "told", "cont", "heard"),
    *("marked", "source gone"),
)

_Part: TypeAlias = Callable[[Migration], float]


@dataclass(frozen=True, slots=True)
class Cell:
    """One guest, moved in one way."""

    workload: Workload
    way: str
    made: tuple[Migration, ...]

    @property
    def ended(self) -> tuple[Migration, ...]:
        """Give the migrations that came to an end."""
        return tuple(one for one in self.made if not one.is_cut)

    def median(self, part: _Part) -> float | None:
        """Give the median of those that came to an end; None where most did not."""
        return None if 2 * len(self.ended) <= len(self.made) else median([part(one) for one in self.ended])

    @property
    def total(self) -> float | None:
        """Give the median total, seconds."""
        return self.median(lambda one: one.total)

    @property
    def gap(self) -> float | None:
        """Give the median gap, seconds."""
        return self.median(lambda one: one.gap)

    @property
    def data_rate(self) -> float | None:
        """Give the median speed of the data phase, bytes per second."""
        rates = [rate for one in self.ended if (rate := one.data_rate) is not None]
        return median(rates) if rates else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All migrations of a run."""

    migrations: tuple[Migration, ...]

    def cell(self, workload: Workload, way: str) -> Cell:
        """Give the migrations of one guest made in one way."""
        made = tuple(one for one in self.migrations if one.workload == workload.name and one.way == way)
        return Cell(workload, way, made)

    def ways(self) -> tuple[str, ...]:
        """Give the ways in the order in which they were tried."""
        return tuple(dict.fromkeys(one.way for one in self.migrations))

    def workloads(self) -> tuple[Workload, ...]:
        """Give the guests that were moved."""
        return tuple(w for w in WORKLOADS if any(one.workload == w.name for one in self.migrations))

    def better(self, workload: Workload, part: Callable[[Cell], float | None]) -> float | None:
        """Give the better of the raw ways; None where neither came to an end."""
        found = [part(self.cell(workload, way)) for way in self.ways() if way != WAY]
        return min((value for value in found if value is not None), default=None)

    # --- what is aimed at ------------------------------------------------------------------------------------------

    def verdicts(self, machine: Machine) -> Iterable[Verdict]:
        """Judge everything that has a target."""
        ours = [self.cell(workload, WAY) for workload in self.workloads()]
        ours = [cell for cell in ours if cell.made]
        for cell in ours:
            yield from self._judge_gap(cell)
        if ours:
            worst = max((one.gap, one.workload) for cell in ours for one in cell.made)
            sentence = f"no gap of quorate's longer than {_ms(WORST_GAP)}"
            yield Verdict(sentence, f"{_ms(worst[0])} ({worst[1]})", worst[0] <= WORST_GAP)
        for cell in ours:
            yield from self._judge_total(cell)
        for cell in ours:
            yield from _judge_data(cell, machine)

    def _judge_gap(self, cell: Cell) -> Iterable[Verdict]:
        gap, raw = cell.gap, self.better(cell.workload, lambda other: other.gap)
        if gap is not None and raw is not None:
            sentence = f"{cell.workload.name}: gap at most {GAP_RATIO:g} of raw's, or {_ms(SHORT_GAP)}"
            yield Verdict(sentence, f"{_ms(gap)} to {_ms(raw)}", gap <= max(GAP_RATIO * raw, SHORT_GAP))

    def _judge_total(self, cell: Cell) -> Iterable[Verdict]:
        total, raw = cell.total, self.better(cell.workload, lambda other: other.total)
        ratio = TOTAL_RATIOS.get(cell.workload.name)
        if ratio is not None and total is not None and raw is not None:
            sentence = f"{cell.workload.name}: total at most {ratio:g} of raw's"
            yield Verdict(sentence, f"{_ms(total)} to {_ms(raw)}", total <= ratio * raw)


def _judge_data(cell: Cell, machine: Machine) -> Iterable[Verdict]:
    rate = cell.data_rate
    if rate is not None and cell.workload.memory_bytes >= DATA_FROM:
        sentence = f"{cell.workload.name}: data phase at least {DATA_SHARE:.0%} of first touch and plain copy"
        reached = f"{rate / 1e9:.2f} of {machine.data_limit / 1e9:.2f} GB/s"
        yield Verdict(sentence, reached, rate >= DATA_SHARE * machine.data_limit)


# --- for people ----------------------------------------------------------------------------------------------------


def line(migration: Migration) -> str:
    """Tell one migration in one line."""
    moments = ", ".join(
        f"{name} {migration.moments[name] * 1000:.0f}" for name in _MOMENTS if name in migration.moments
    )
    unwell = f"  NOT AS IT SHOULD BE: {'; '.join(migration.faults)}" if migration.faults else ""
    cut = "  CUT" if migration.is_cut else ""
    return (
        f"{migration.workload:8} {migration.way:12} #{migration.number}  total {migration.total * 1000:5.0f} ms  "
        f"gap {migration.gap * 1000:5.1f} ms  {migration.bytes_sent / 1e6:5.0f} MB in {migration.passes} passes  "
        f"(busy {migration.busy:.0%})  [{moments}]{cut}{unwell}"
    )


def migration_table(found: Comparison, machine: Machine) -> str:
    """Every guest in every way, side by side."""
    rows = [
        _row(found, cell, machine)
        for workload in found.workloads()
        for way in found.ways()
        if (cell := found.cell(workload, way)).made
    ]
    head = (
        *("guest", "way", "runs", "total ms", "to raw", "gap ms", "to raw", "hand-over ms", "MB", "passes"),
        *("data GB/s", "of the limit"),
    )
    words = (
        "Median / worst. To raw: our median to the better one of the raw ways. Data: bytes sent, from the first byte "
        "until all is loaded; the limit is the smaller one of first touch and of a plain copy through a unix socket."
    )
    return f"{words}\n\n{table(head, rows)}"


def _row(found: Comparison, cell: Cell, machine: Machine) -> tuple[str, ...]:
    made, ended, rate = cell.made, cell.ended, cell.data_rate
    head = (cell.workload.name, cell.way, str(len(made)))
    sent = (
        f"{median([one.bytes_sent for one in made]) / 1e6:.0f}",
        f"{median([one.passes for one in made]):.0f}",
    )
    if not ended:
        return (*head, f"cut at {made[0].total:g} s", "", "", "", "", *sent, "", "")
    cut = f" ({len(made) - len(ended)} cut)" if len(made) > len(ended) else ""
    ratios = ["", ""]
    if cell.way == WAY:
        pairs = [
            (cell.total, found.better(cell.workload, lambda other: other.total)),
            (cell.gap, found.better(cell.workload, lambda other: other.gap)),
        ]
        ratios = [f"{ours / raw:.2f}" if ours is not None and raw else "" for ours, raw in pairs]
    return (
        *head,
        _both(ended, lambda one: one.total, 0) + cut,
        ratios[0],
        _both(ended, lambda one: one.gap, 1),
        ratios[1],
        _both(ended, lambda one: one.handover, 1),
        *sent,
        f"{rate / 1e9:.2f}" if rate is not None else "",
        f"{rate / machine.data_limit:.0%}" if rate is not None else "",
    )


def moment_table(found: Comparison, workload: Workload) -> str:
    """Medians of the moments since the request, of all ways side by side."""
    made = {way: found.cell(workload, way).ended for way in found.ways()}
    rows = []
    for name in _MOMENTS:
        cells = [[one.moments[name] * 1000 for one in runs if name in one.moments] for runs in made.values()]
        rows.append((name, *(f"{median(values):.0f}" if values else "" for values in cells)))
    return table(("moment", *made), rows)


def ownership_table(stores: Sequence[tuple[str, Sequence[Migration]]]) -> str:
    """Where the ownership change stands in the gap, by what keeps it."""
    steps = (("stopped", "stop sent"), ("ownership answered", "stopped"), ("loaded", "stopped"), ("cont", "loaded"))
    rows = []
    for store, made in stores:
        told = [one for one in made if all(name in one.moments for pair in steps for name in pair)]
        if not told:
            continue
        spans = [median([1000 * (one.moments[to] - one.moments[since]) for one in told]) for to, since in steps]
        added = [one.ownership or 0.0 for one in told]
        share = median([100 * own / one.gap for own, one in zip(added, told, strict=True)])
        rows.append((store, str(len(told)), *(f"{span:.1f}" for span in spans), f"{1000 * max(added):.1f}",
                     f"{share:.0f} %"))  # fmt: skip
    head = (
        *("kept by", "moves", "stop → stopped", "stopped → answered", "stopped → loaded", "loaded → cont", "worst"),
        "of the gap",
    )
    words = "Milliseconds; medians. What it adds to the gap is what comes after the guest is loaded: loaded → cont."
    return f"{words}\n\n{table(head, rows)}"


def _both(made: Sequence[Migration], part: _Part, digits: int) -> str:
    values = [part(one) * 1000 for one in made]
    return f"{median(values):.{digits}f} / {max(values):.{digits}f}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
