"""The tables that several commands show."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quorate.cli import output
from quorate.clusapi.json_types import JsonObject, json_int, json_object, json_objects, json_text
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState

if TYPE_CHECKING:
    from rich.console import RenderableType


def node_rows(nodes: Sequence[JsonObject], title: str = "") -> "RenderableType":
    """Nodes."""
    rows = [
        (
            json_text(node, "name"),
            json_text(node, "id"),
            output.words(json_text(node, "state_name")),
            str(json_int(node, "groups")),
            str(node.get("daemon_pid") or "-"),
            " ".join(str(json_int(process, "pid")) for process in json_objects(node, "qemu")) or "-",
        )
        for node in nodes
    ]
    return output.table(title, ("Node", "Id", "State", "Groups", "Daemon", "QEMU"), rows, right=("Groups",))


def vm_rows(machines: Sequence[JsonObject], title: str = "") -> "RenderableType":
    """Virtual machines."""
    rows = [
        (
            json_text(machine, "name"),
            json_text(machine, "node"),
            output.words(json_text(machine, "vm_state_name")),
            output.words(json_text(machine, "resource_state_name")),
            migration_words(MigrationProgress.from_json(json_object(machine, "migration"))),
        )
        for machine in machines
    ]
    return output.table(title, ("Virtual machine", "Node", "VM", "Resource", "Migration"), rows)


def group_rows(groups: Sequence[JsonObject], title: str = "") -> "RenderableType":
    """Groups."""
    rows = [
        (
            json_text(group, "name"),
            json_text(group, "node"),
            output.words(json_text(group, "state_name")),
            str(json_int(group, "type")),
            str(len(json_objects(group, "resources"))),
        )
        for group in groups
    ]
    return output.table(title, ("Group", "Node", "State", "Type", "Resources"), rows, right=("Type", "Resources"))


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
