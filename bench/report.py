"""What the run found: for people on the terminal and in docs/benchmarks.md, for programs in build/bench."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from bench import comparison
from bench.comparison import Comparison
from bench.failover import Failovers
from bench.machine import Machine
from bench.matrix import Matrix
from bench.measured import Migration, median
from bench.ours import WAY
from bench.ownership import MOVED
from bench.small import Figure
from bench.tables import Verdict, table

OWNERSHIP_MS: Final = 5.0
"""What the ownership change may add to the gap."""


@dataclass(slots=True)
class Results:
    """All of a run, part by part as it is measured."""

    command: str
    machine: Machine
    matrix: Matrix = field(default_factory=Matrix)
    etcd: Matrix = field(default_factory=Matrix)
    """Migrations where etcd keeps the ownership."""
    small: tuple[Figure, ...] = ()
    failovers: Failovers = field(default_factory=Failovers)
    wire: tuple[Figure, ...] = ()
    """What a call over MS-CMRP costs."""

    @property
    def compared(self) -> Comparison:
        """Give the migrations that are compared with one another."""
        return Comparison(tuple(self.matrix.made))

    @property
    def stores(self) -> tuple[tuple[str, Sequence[Migration]], ...]:
        """Give our migrations by what keeps the ownership, as far as there are any."""
        sqlite = [one for one in self.matrix.made if one.way == WAY]
        named = (("SQLite", sqlite), (f"etcd ({MOVED.name}, over TCP)", self.etcd.made))
        return tuple((store, made) for store, made in named if made)

    def figures(self) -> tuple[Figure, ...]:
        """Give all small figures, those of the ownership change among them."""
        return (*self.small, *map(_ownership, self.stores), *self.wire, *self.failovers.figures)

    def verdicts(self) -> tuple[Verdict, ...]:
        """Judge everything that has a target."""
        found = list(self.compared.verdicts(self.machine))
        made, failures = [*self.matrix.made, *self.etcd.made], [*self.matrix.failures, *self.etcd.failures]
        if made or failures:
            well = sum(not one.faults for one in made)
            sentence = "every guest lived on unharmed, no beat missing or repeated"
            number = len(made) + len(failures)
            found.append(Verdict(sentence, f"{well} of {number} migrations", well == number))
        lost, rounds = len(self.failovers.failures), len(self.failovers.busy)
        if rounds:
            sentence = "every guest was where it should be after every death"
            found.append(Verdict(sentence, f"{rounds - lost} of {rounds} rounds", not lost))
        for figure in self.figures():
            if figure.is_met is not None:
                reached = f"{figure.median:.3g} {figure.unit}"
                found.append(Verdict(f"{figure.sentence}: {figure.target}", reached, figure.is_met))
        return tuple(found)


def _ownership(store: tuple[str, Sequence[Migration]]) -> Figure:
    name, made = store
    values = tuple(1000 * own for one in made if (own := one.ownership) is not None)
    return Figure("ownership", f"what the ownership change adds to the gap: {name}", "ms", values, OWNERSHIP_MS)


# --- for people ----------------------------------------------------------------------------------------------------


def markdown(results: Results) -> str:
    """Write the figures as they stand in docs/benchmarks.md."""
    found = results.compared
    parts = [_machine_words(results)]
    if found.migrations:
        parts += ["### Migrations", "![Totals and gaps of every guest in every way](benchmarks.svg)"]
        parts.append(comparison.migration_table(found, results.machine))
    if results.stores:
        parts += ["### The ownership change", comparison.ownership_table(results.stores)]
    if found.migrations:
        parts += ["### Moments", "Median milliseconds since the request."]
    for workload in found.workloads():
        parts += [f"{workload.name}: {workload.sentence}.", comparison.moment_table(found, workload)]
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
    busy = [m.busy for m in results.matrix.made] + results.failovers.busy or [machine.busy]
    return (
        f"Command: `{results.command}`\n\n"
        f"Machine: {machine.cores} cores ({machine.processor}), {machine.memory_bytes / 2**30:.0f} GiB, "
        f"{machine.system}, QEMU {machine.qemu} with {machine.accelerator.upper()}; both ends on this machine. "
        f"Limits measured in the same run: memcpy {machine.memcpy / 1e9:.1f} GB/s; first touch of memory "
        f"{machine.touch_fresh / 1e9:.2f} GB/s as it came, {machine.touch_warm / 1e9:.2f} GB/s when just freed; a "
        f"plain copy to another process {machine.copy_unix / 1e9:.2f} GB/s through a unix socket, "
        f"{machine.copy_tcp / 1e9:.2f} GB/s over TCP on loopback. "
        f"Others used {machine.busy:.0%} of the machine when the run began, "
        f"{median(busy):.0%} in the median before a "
        "measurement."
    )


def _small_table(figures: Iterable[Figure]) -> str:
    rows = [(f.sentence, f"{f.median:.3g} {f.unit}", f"{f.worst:.3g} {f.unit}", f.target) for f in figures]
    return table(("figure", "median", "worst", "target"), rows)


def _verdict_table(verdicts: Iterable[Verdict]) -> str:
    rows = [(v.sentence, v.reached, "pass" if v.is_met else "FAIL") for v in verdicts]
    return table(("target", "reached (medians)", ""), rows)


# --- for programs --------------------------------------------------------------------------------------------------


def records(results: Results) -> Iterable[Mapping[str, object]]:
    """Give everything as the lines of a JSON lines file; docs/benchmarks.md describes the fields."""
    yield {"kind": "run", "command": results.command, "version": 2}
    yield {"kind": "machine", **results.machine.to_json()}
    for store, found in (("sqlite", results.matrix), ("etcd", results.etcd)):
        for migration in found.made:
            yield {"kind": "migration", "store": store, **asdict(migration)}
    for sentence in (*results.matrix.failures, *results.etcd.failures, *results.failovers.failures):
        yield {"kind": "failure", "sentence": sentence}
    for figure in results.figures():
        yield {"kind": "figure", **asdict(figure), "median": figure.median, "worst": figure.worst}
    for verdict in results.verdicts():
        yield {"kind": "target", **asdict(verdict)}
