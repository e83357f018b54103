"""Operations about moves that may be, and moves that were."""

from collections.abc import Callable
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.migration_input import check_bandwidth_limit
from quorate.clusapi.operation_values import Values
from quorate.database.migration_history import PastMigration
from quorate.engine.selection import Judged
from quorate.migration.policy import find_policy
from quorate.migration.rules import first_refusal
from quorate.server import lookup
from quorate.server.call import Call
from quorate.server.handlers.events import moment

_PAGE: Final = 100
_MAX_PAGE: Final = 1000


async def assess(call: Call) -> Values:
    """Ask every rule about one node, or about all others; changes nothing."""
    vm = lookup.virtual_machine(call.snapshot, call.inputs.text("vm"))
    judged = await call.services.why_not(vm.group.id, _destination(call))
    ordered = sorted(judged, key=lambda one: (len(one.candidate.node), one.candidate.node))  # by number
    return Values({"vm": vm.group.name, "node": call.services.node_name, "nodes": tuple(_node(one) for one in ordered)})


async def forecast(call: Call) -> Values:
    """Say how a migration would go; begins nothing."""
    vm = lookup.virtual_machine(call.snapshot, call.inputs.text("vm"))
    policy = call.inputs.optional_text("policy") or ""
    if policy:
        find_policy(policy)
    limit = check_bandwidth_limit(call.inputs.optional_number("bandwidth_limit") or 0)
    found = await call.services.forecast_move(vm.group.id, _destination(call), policy, limit)
    return Values(
        {
            "vm": vm.group.name,
            "node": call.services.node_name,
            "destination": found.destination,
            "status": 0 if found.refusal is None else int(found.refusal.status),
            "sentence": "" if found.refusal is None else found.refusal.sentence,
            "findings": tuple(finding.to_json() for finding in found.findings),
            "forecast": {} if found.foretold is None else found.foretold.to_json(),
        }
    )


def _destination(call: Call) -> str | None:
    """The node that was named, by its name, whether that or its id was given."""
    wanted = call.inputs.optional_text("destination")
    return next((node.name for node in call.snapshot.nodes.values() if node.id == wanted), wanted)


async def list_past(call: Call) -> Values:
    """Live migrations that are over."""
    inputs, database = call.inputs, call.services.database
    wanted = inputs.optional_text("vm")
    found = await database.migrations.select(
        after=inputs.optional_number("after"),
        since=moment("since", inputs.optional_text("since")),
        limit=min(inputs.optional_number("limit") or _PAGE, _MAX_PAGE),
        fits=(lambda migration: True) if wanted is None else _of(call, wanted),
    )
    return Values({"migrations": tuple(migration.to_json() for migration in found)})


def _of(call: Call, wanted: str) -> Callable[[PastMigration], bool]:
    """Of a virtual machine that there is, by any of its names; or of one that there was, by the name it had."""
    try:
        group = lookup.virtual_machine(call.snapshot, wanted).group.id
    except CallerError:
        return lambda migration: wanted.casefold() in (migration.vm.casefold(), migration.group)
    return lambda migration: migration.group == group


def _node(judged: Judged) -> dict[str, JsonValue]:
    refusal = first_refusal(judged.findings)
    return {
        "node": judged.candidate.node,
        "name": judged.candidate.name,
        "possible": refusal is None,
        "status": 0 if refusal is None else int(refusal.status),
        "sentence": "" if refusal is None else refusal.sentence,
        "memory_free": str(judged.memory_free),
        "findings": [finding.to_json() for finding in judged.findings],
    }
