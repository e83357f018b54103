"""``quorate vm migrate --dry-run``: how a live migration would go, or why it would be refused."""

import sys
from typing import TYPE_CHECKING

from quorate.cli import output
from quorate.cli.commands.why_not import findings_table
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import error_from_status
from quorate.clusapi.json_types import (
    JsonObject,
    json_float,
    json_int,
    json_object,
    json_text,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

WILL_NOT = "will not converge"


def tell_forecast(client: BlockingClient, name: str, to: str | None, policy: str = "", bandwidth_limit: int = 0) -> int:
    """Ask and tell; the exit code is 1 where it would be refused, or would not converge."""
    limit = bandwidth_limit or None
    answer = client.call("ForecastMove", vm=name, destination=to, policy=policy or None, bandwidth_limit=limit)
    vm, node, destination = answer.text("vm"), answer.text("node"), answer.text("destination")
    forecast, status = answer.json("forecast"), answer.number("status")
    if status:
        failing = [one for one in answer.objects("findings") if json_text(one, "verdict") == "refuses"]
        if session.json:
            output.print_json(answer.as_json())
        elif failing:
            output.console().print(findings_table(failing))
        raise error_from_status(status, answer.text("sentence"))
    output.show(answer.as_json(), "" if session.json else _page(vm, node, destination, forecast))
    if not session.json:
        warned = [one for one in answer.objects("findings") if json_text(one, "verdict") == "warns"]
        sys.stdout.writelines(f"Note: {json_text(one, 'sentence')}\n" for one in warned)
    return output.EXIT_REFUSAL if json_text(forecast, "verdict") == WILL_NOT else output.EXIT_SUCCESS


def _page(vm: str, node: str, destination: str, forecast: JsonObject) -> "RenderableType":
    from rich.console import Group

    head = f'"{vm}" from {node} to {destination}'
    if absent := json_text(forecast, "absent"):
        return f"{head}: it can be moved, but nothing is foretold: {absent}"
    verdict, sentence = json_text(forecast, "verdict"), json_text(forecast, "sentence")
    is_hopeless = verdict == WILL_NOT
    rows = [
        ("until it is given up" if is_hopeless else "total", *_cells(forecast, "seconds", "{:.2f} s")),
        ("gap", *_cells(forecast, "gap_ms", "{:.0f} ms")),
        ("passes", *_cells(forecast, "passes", "{:.0f}")),
        ("sent", *_sizes(forecast)),
    ]
    table = output.table(
        "", ("", "likely", "at best", "at worst"), [r for r in rows if not is_hopeless or r[0] != "gap"]
    )
    policy, mode = json_text(forecast, "policy"), json_text(forecast, "mode")
    why = sentence or verdict
    held = json_int(forecast, "throttle")
    how = f"policy {policy}, {mode}" + (f", its processors held back by {held} % in the end" if held else "")
    return Group(f"{head}: {why}", how, table, _basis(json_object(forecast, "known")))


def _cells(forecast: JsonObject, name: str, form: str) -> tuple[str, ...]:
    range_ = json_object(forecast, name)
    return tuple(form.format(json_float(range_, part)) for part in ("likely", "low", "high"))


def _sizes(forecast: JsonObject) -> tuple[str, ...]:
    range_ = json_object(forecast, "bytes")
    return tuple(output.size(json_float(range_, part)) for part in ("likely", "low", "high"))


def _basis(known: JsonObject) -> str:
    def likely(name: str) -> str:
        return output.size(json_float(json_object(known, name), "likely"))

    past = json_int(known, "past_moves")
    return (
        f"It has {output.size(json_int(known, 'in_use'))} of {output.size(json_int(known, 'memory'))} in use and "
        f"writes {likely('dirty_bytes_per_second')}/s over {likely('working_set')} ({json_text(known, 'writing')}); "
        f"the link carries {likely('link_bytes_per_second')}/s ({json_text(known, 'link')}); "
        f"{past or 'no'} earlier {'move' if past == 1 else 'moves'} between these nodes"
    )
