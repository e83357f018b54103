"""Writes ``docs/reference/operations.md`` from the operations table: ``python -m quorate.server.reference``."""

import sys

from quorate.clusapi.operation_types import Field, Operation
from quorate.clusapi.operations import OPERATIONS
from quorate.server.openapi import facts_of


def reference_page() -> str:
    """The whole page in Markdown."""
    head = (
        "# Operations\n\n"
        "Made from `clusapi/operations.py` by `python -m quorate.server.reference`; do not edit.\n\n"
        "Over HTTP each one is `POST /v1/<name>` with a JSON object on the node's unix socket. 64-bit numbers (u64)\n"
        "are text, bytes are base64. An error is `{status, name, sentence}` with HTTP 400 (the caller's mistake),\n"
        "409 (the cluster's refusal) or 503 (a fault). The header `Quorate-Access: read` lowers a caller's rights.\n"
    )
    return head + "".join(_section(operation) for operation in OPERATIONS.values())


def _section(operation: Operation) -> str:
    access, place, calls = facts_of(operation)
    return (
        f"\n## {operation.name}\n\n{operation.summary} Access: {access}. Runs on: {place}. Wire calls: {calls}.\n"
        + _table("Input", operation.inputs)
        + _table("Output", operation.outputs)
    )


def _table(title: str, fields: tuple[Field, ...]) -> str:
    if not fields:
        return ""
    rows = "".join(
        f"| `{field.name}` | {field.type.value}{', optional' if field.optional else ''} | {field.about} |\n"
        for field in fields
    )
    return f"\n| {title} | Type | |\n|---|---|---|\n{rows}"


if __name__ == "__main__":
    sys.stdout.write(reference_page())
