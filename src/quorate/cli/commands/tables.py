"""The tables that several commands show."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from quorate.cli import output
from quorate.clusapi.json_types import JsonObject, json_int, json_object, json_objects, json_text, json_texts
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_PIDS: Final = 6
"""Process ids of one node that a table shows; --json has them all."""


ROLES: Final = ("nobody", "nodes", "clients", "all")
"""Who uses a network, by its Role."""


def node_rows(nodes: Sequence[JsonObject], title: str = "") -> "RenderableType":
    """Nodes."""
    rows = [
        (
            json_text(node, "name"),
            json_text(node, "id"),
            _node_condition(node),
            str(json_int(node, "groups")),
            str(node.get("daemon_pid") or "-"),
            _pids(json_objects(node, "qemu")),
        )
        for node in nodes
    ]
    return output.table(title, ("Node", "Id", "State", "Groups", "Daemon", "QEMU"), rows, right=("Groups",))


def _node_condition(node: JsonObject) -> str:
    """The state and what is to be said besides; a node that lives on promises alone is neither up nor down."""
    names = json_texts(node, "status_names")
    if "ISOLATED" in names:
        return output.words("ISOLATED")
    return ", ".join([output.words(json_text(node, "state_name")), *(name.lower().replace("_", " ") for name in names)])


def _pids(processes: Sequence[JsonObject]) -> str:
    """The first process ids, and how many more there are."""
    shown = [str(json_int(process, "pid")) for process in processes[:MOST_PIDS]]
    more = len(processes) - len(shown)
    return " ".join([*shown, *([f"and {more} more"] if more else [])]) or "-"


def network_rows(networks: Sequence[JsonObject], title: str = "") -> "RenderableType":
    """Networks."""
    rows = [
        (
            json_text(network, "name"),
            ", ".join(json_texts(network, "subnets")),
            output.words(json_text(network, "state_name")),
            ROLES[json_int(network, "role") & 3],
            str(json_int(network, "metric")),
            str(len(json_objects(network, "interfaces"))),
            json_text(network, "sentence"),
        )
        for network in networks
    ]
    columns = ("Network", "Subnets", "State", "Used by", "Metric", "Nodes", "Why")
    return output.table(title, columns, rows, right=("Metric", "Nodes"))


def interface_rows(interfaces: Sequence[JsonObject], title: str = "") -> "RenderableType":
    """Network interfaces."""
    rows = [
        (
            json_text(interface, "name"),
            json_text(interface, "network"),
            output.words(json_text(interface, "state_name")),
            ", ".join(json_texts(interface, "addresses")),
            json_text(interface, "sentence"),
        )
        for interface in interfaces
    ]
    return output.table(title, ("Interface", "Network", "State", "Addresses", "Why"), rows)


def vm_rows(machines: Sequence[JsonObject], title: str = "") -> "RenderableType":
    """Virtual machines."""
    rows = [
        (
            json_text(machine, "name"),
            json_text(machine, "node"),
            _condition(machine, "vm_state_name"),
            output.words(json_text(machine, "resource_state_name")),
            _move_words(machine),
        )
        for machine in machines
    ]
    return output.table(title, ("Virtual machine", "Node", "VM", "Resource", "Migration"), rows)


def _move_words(machine: JsonObject) -> str:
    """Its migration in a few words; what waits to leave a node that is being drained has none yet."""
    progress = MigrationProgress.from_json(json_object(machine, "migration"))
    return "queued" if machine.get("queued") and not progress.is_running else migration_words(progress)


def drain_lines(nodes: Sequence[JsonObject]) -> str:
    """How the drains of nodes stand, a line each; empty when there is none to speak of."""
    drains = [json_object(node, "drain") for node in nodes if node.get("drain")]
    told = [drain for drain in drains if json_text(drain, "stage") != "completed"]
    lines = []
    for drain in told:
        lines.append(json_text(drain, "sentence"))
        if json_text(drain, "stage") != "failed":  # its own sentence names them already
            troubles = json_objects(drain, "troubles")
            lines += [f"  {json_text(one, 'group')}: {json_text(one, 'sentence')}" for one in troubles]
    return "\n".join(lines)


def group_rows(groups: Sequence[JsonObject], title: str = "") -> "RenderableType":
    """Groups."""
    rows = [
        (
            json_text(group, "name"),
            json_text(group, "node"),
            _condition(group, "state_name"),
            str(json_int(group, "type")),
            str(len(json_objects(group, "resources"))),
        )
        for group in groups
    ]
    return output.table(title, ("Group", "Node", "State", "Type", "Resources"), rows, right=("Type", "Resources"))


def _condition(fact: JsonObject, state: str) -> str:
    """The state, or what is more to the point: that it was lost with its node, or waits for something."""
    return output.words(json_text(fact, "condition") or json_text(fact, state))


def reason_lines(facts: Sequence[JsonObject]) -> str:
    """Why those stand still that do, a line each; empty when none does."""
    lines = [f"{json_text(fact, 'name')}: {json_text(fact, 'reason')}" for fact in facts if json_text(fact, "reason")]
    return "\n".join(lines)


def resource_rows(resources: Sequence[JsonObject], title: str = "") -> "RenderableType":
    """Resources."""
    rows = [
        (
            json_text(resource, "name"),
            json_text(resource, "type"),
            output.words(json_text(resource, "state_name")),
            json_text(resource, "group"),
            json_text(resource, "node"),
        )
        for resource in resources
    ]
    return output.table(title, ("Resource", "Type", "State", "Group", "Node"), rows)


def fact_rows(facts: Sequence[tuple[str, str]], title: str = "") -> "RenderableType":
    """Facts about one thing."""
    return output.table(title, ("Fact", "Value"), facts)


def migration_words(progress: MigrationProgress) -> str:
    """A migration in a few words; empty when there was none."""
    if progress.is_running:
        to = f" to {progress.destination}" if progress.destination else ""
        return f"queued{to}" if progress.queued else f"{progress.percent} %{to}"
    if progress.state is MigrationState.NO_MIGRATION:
        return ""
    return "cancelled" if progress.state is MigrationState.CANCELED else f"failed (0x{progress.failure_reason:08X})"
