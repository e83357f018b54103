"""What monitoring reads: states of nodes and virtual machines, and figures of the live migrations that are over.

The text format of Prometheus, version 0.0.4 [prometheus.io/docs/instrumenting/exposition_formats]. Everything is a
gauge: the cluster forgets old migrations, so that no sum over them only grows. Seconds and bytes, as is usual there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.json_types import JsonObject, json_flag, json_float, json_int, json_object, json_text
from quorate.clusapi.operation_values import Values
from quorate.clusapi.progress import MigrationProgress
from quorate.database.migration_history import PastMigration, Result

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_KEPT: Final = "of the live migrations that the cluster remembers (a thousand, of thirty days)"
_LAST: Final = "of the virtual machine's last live migration"
_MOVED: Final = "that have moved their guest"
_TAKES_PART: Final = ("UP", "PAUSED")
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric, with a sample for each set of labels."""

    name: str
    help: str
    samples: tuple[tuple[Labels, float], ...]

    def lines(self) -> Iterator[str]:
        """Write it; nothing where there is no sample."""
        if self.samples:
            yield f"# HELP {self.name} {self.help}"
            yield f"# TYPE {self.name} gauge"
        for labels, value in self.samples:
            inner = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels.items())
            yield f"{self.name}{{{inner}}} {value!r}" if inner else f"{self.name} {value!r}"


def metrics_page(status: Values, past: Sequence[PastMigration] | None) -> str:
    """Write the page from an answer of GetStatus and the migrations; None: the database does not answer."""
    families = [
        Family("quorate_database_answers", "Whether this node's database answers.", (({}, float(past is not None)),)),
        *_of_cluster(status),
        *_of_migrations(past or ()),
        *_of_last_migrations(past or ()),
    ]
    return "".join(f"{line}\n" for family in families for line in family.lines())


def _of_cluster(status: Values) -> Iterator[Family]:
    nodes, machines = status.objects("nodes"), status.objects("virtual_machines")
    name = json_text(status.json("cluster"), "name")
    yield Family("quorate_cluster_info", "The cluster, always 1.", (({"cluster": name}, 1.0),))
    yield Family(
        "quorate_node_up",
        "Whether a node takes part in the cluster, paused or not, as this node sees it.",
        tuple((_node(one), float(json_text(one, "state_name") in _TAKES_PART)) for one in nodes),
    )
    yield Family(
        "quorate_node_state",
        "The state of a node, always 1.",
        tuple(({**_node(one), "state": json_text(one, "state_name").lower()}, 1.0) for one in nodes),
    )
    yield Family(
        "quorate_node_groups",
        "Groups that a node owns.",
        tuple((_node(one), float(json_int(one, "groups"))) for one in nodes),
    )
    yield Family(
        "quorate_vm_state",
        "The state of a virtual machine and the node that owns it, always 1.",
        tuple(({**_vm(one), "state": json_text(one, "vm_state_name").lower()}, 1.0) for one in machines),
    )
    yield Family(
        "quorate_vm_migrating",
        "Whether a live migration of the virtual machine is under way or waits.",
        tuple((_vm(one), float(_is_moving(one))) for one in machines),
    )


def _of_migrations(past: Sequence[PastMigration]) -> Iterator[Family]:
    yield Family(
        "quorate_migrations",
        f"How many {_KEPT}, by what came of them.",
        tuple(({"result": one.value}, float(sum(move.result == one for move in past))) for one in Result),
    )
    moved = [one.to_json() for one in past if one.result == Result.MOVED]
    for figure in _FIGURES:
        name = f"quorate_migrations_{figure.name}"
        values = [value for one in moved if (value := figure.of(one)) is not None]
        yield Family(f"{name}_sum", f"{figure.help}, summed over the migrations {_MOVED}.", _one(sum(values)))
        yield Family(f"{name}_count", "Over how many that sum goes.", _one(len(values)))
        yield Family(f"{name}_max", f"{figure.help}: the most of one.", _one(max(values)) if values else ())
    verdicts = [json_object(one.to_json(), "off_by").get("verdict") for one in past]
    yield Family(
        "quorate_migrations_foretold",
        f"How many {_KEPT}, by whether it was foretold rightly that they would end, or not.",
        tuple(({"verdict": word}, float(verdicts.count(right))) for word, right in (("right", True), ("wrong", False))),
    )
    yield Family(
        "quorate_migrations_gap_limit_broken",
        f"In how many {_KEPT} the guest stood longer than it was promised.",
        _one(sum(map(_is_late, moved))),
    )


def _of_last_migrations(past: Sequence[PastMigration]) -> Iterator[Family]:
    last = {one.group: one for one in past}  # oldest first
    rows = [(_labels(one), one, one.to_json()) for one in last.values()]
    yield Family(
        "quorate_vm_last_migration_end_time_seconds",
        f"The end {_LAST}, as Unix time.",
        tuple((labels, one.ended.timestamp()) for labels, one, _ in rows),
    )
    for figure in _FIGURES:
        samples = tuple((labels, value) for labels, _, shown in rows if (value := figure.of(shown)) is not None)
        yield Family(f"quorate_vm_last_migration_{figure.name}", f"{figure.help} {_LAST}.", samples)


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure of a migration, by its key in what every face shows."""

    name: str
    help: str
    key: str
    scale: float = 1.0
    of_forecast: bool = False

    def of(self, shown: JsonObject) -> float | None:
        """Give it; None where it was not measured."""
        found = json_object(shown, "off_by") if self.of_forecast else shown
        if found.get(self.key) is None:
            return None
        value = float(str(found[self.key])) * self.scale
        return abs(value) if self.of_forecast else value


_FIGURES: Final = (
    _Figure("seconds", "Total time in seconds", "seconds"),
    _Figure("gap_seconds", "Time in seconds for which the guest stood still", "gap_ms", 0.001),
    _Figure("bytes", "Bytes of memory sent", "bytes"),
    _Figure("passes", "Passes over the memory", "passes"),
    _Figure(
        "forecast_error_ratio",
        "By how much the total was foretold wrongly, as a share of it",
        "seconds_percent",
        0.01,
        of_forecast=True,
    ),
    _Figure(
        "forecast_gap_error_seconds",
        "By how many seconds the gap was foretold wrongly",
        "gap_ms",
        0.001,
        of_forecast=True,
    ),
)


def _one(value: float) -> tuple[tuple[Labels, float], ...]:
    return (({}, float(value)),)


def _node(one: JsonObject) -> dict[str, str]:
    return {"node": json_text(one, "name")}


def _vm(one: JsonObject) -> dict[str, str]:
    return {"vm": json_text(one, "name"), "node": json_text(one, "node")}


def _labels(one: PastMigration) -> dict[str, str]:
    return {"vm": one.vm, "result": one.result}


def _is_moving(one: JsonObject) -> bool:
    progress = MigrationProgress.from_json(json_object(one, "migration"))
    return progress.is_running or json_flag(one, "queued")


def _is_late(shown: JsonObject) -> bool:
    return bool(shown.get("gap_limit_ms")) and json_float(shown, "gap_ms") > json_float(shown, "gap_limit_ms")
