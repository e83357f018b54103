"""``quorate migrations``: the live migrations that are over."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from quorate.cli import output
from quorate.cli.commands.moments import parse_moment, parse_sequence, rfc3339
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.clusapi.json_types import JsonObject, json_float, json_int, json_object, json_text

if TYPE_CHECKING:
    from rich.console import RenderableType

_PAGE: Final = 500
_NEWEST: Final = 50
_NARROW: Final = 15
"""Characters of a line that says how a migration went."""
_COLUMNS: Final = (
    *("Ended (UTC)", "VM\nasked by", "From\nto", "Result\npolicy, way"),
    *("Total\nforetold", "Gap\nforetold", "Sent"),
)
_RIGHT: Final = ("Total\nforetold", "Gap\nforetold", "Sent")


def migrations(*, vm: str | None = None, since: str | None = None, limit: int | None = None) -> int:
    """Show the live migrations that are over, oldest first: how long they took, and for how long the guest stood.

    The gap is measured from the command that stopped the guest to the one that let it run again, by both nodes. Below
    stands what was foretold when the move began, and by how much that was off. Below the result stand the policy, how
    memory was sent, and by how much the guest's processors were held back, if they were; --json has all of it. The
    cluster keeps a thousand migrations of the last thirty days.

    Parameters
    ----------
    vm
        Only of this virtual machine, also of one that is deleted, by name.
    since
        Only those that ended since then: how long ago (15m, 2h, 3d), a moment (2026-11-22T10:00), or the sequence of
        a migration, which --json shows.
    limit
        How many at most; without --since the newest 50, if left out.
    """
    found = _found(session.client(), vm, since, limit)
    output.show({"migrations": found}, _page(found) if not session.json else "")
    return output.EXIT_SUCCESS


def _found(client: BlockingClient, vm: str | None, since: str | None, limit: int | None) -> list[JsonObject]:
    if since is None:
        return list(client.call("ListMigrations", vm=vm, limit=limit or _NEWEST).objects("migrations"))
    sequence = parse_sequence(since)
    moment = rfc3339(parse_moment("--since", since, datetime.now(UTC))) if sequence is None else None
    after = max(0, (sequence or 0) - 1)
    found: list[JsonObject] = []
    while limit is None or len(found) < limit:
        room = _PAGE if limit is None else min(_PAGE, limit - len(found))
        page = client.call("ListMigrations", vm=vm, since=moment, after=after, limit=room).objects("migrations")
        found += page
        if len(page) < room:
            break
        after = json_int(page[-1], "sequence")
    return found


def _page(found: list[JsonObject]) -> "RenderableType":
    from rich.console import Group

    if not found:
        return "no migration is over that would be remembered"
    table = output.table("", _COLUMNS, [_row(one) for one in found], right=_RIGHT)
    late = [
        one for one in found if one.get("gap_limit_ms") and json_float(one, "gap_ms") > json_float(one, "gap_limit_ms")
    ]
    wrong = [one for one in found if json_object(one, "off_by").get("verdict") is False]
    return Group(
        table,
        *map(_reason, (one for one in found if json_text(one, "sentence"))),
        *map(_surprise, wrong),
        *map(_broken_promise, late),
    )


def _row(one: JsonObject) -> tuple[str, ...]:
    return (
        _ended(one),
        f"{json_text(one, 'vm')}\n{json_text(one, 'asked_by')}".rstrip(),
        f"{json_text(one, 'source')}\n{json_text(one, 'destination')}",
        "\n".join((json_text(one, "result"), *_how(one))),
        _with_forecast(one, "seconds", "{:.2f} s", "seconds_percent", "{:+.0f}%"),
        _with_forecast(one, "gap_ms", "{:.0f} ms", "gap_ms", "{:+.0f}"),
        "" if one.get("bytes") is None else f"{output.size(json_int(one, 'bytes'))}\nin {json_int(one, 'passes')}",
    )


def _how(one: JsonObject) -> list[str]:
    """How it was made to end: policy, mode and throttle, in lines that are broken between them alone."""
    held = json_int(one, "throttle")
    way = json_text(one, "mode").removeprefix("pre-copy, ")  # each begins with it
    parts = [*way.split(", "), f"held back {held} %" if held else ""]
    lines: list[str] = []
    for part in filter(None, parts):
        if lines and len(lines[-1]) + len(part) + 2 <= _NARROW:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return [policy, *lines] if (policy := json_text(one, "policy")) else lines


def _with_forecast(one: JsonObject, name: str, form: str, off_name: str, off_form: str) -> str:
    """What was measured, and below it what had been foretold and by how much that was off."""
    measured = "" if one.get(name) is None else form.format(json_float(one, name))
    forecast, off = json_object(one, "forecast"), json_object(one, "off_by")
    if not json_object(forecast, name) or json_text(forecast, "verdict") == "will not converge":
        return measured
    foretold = form.format(json_float(json_object(forecast, name), "likely"))
    return f"{measured}\n{foretold} {off_form.format(json_float(off, off_name)) if off_name in off else ''}".rstrip()


def _surprise(one: JsonObject) -> str:
    forecast = json_object(one, "forecast")
    return f"{_ended(one)} {json_text(one, 'vm')} had been foretold: {json_text(forecast, 'verdict')}"


def _broken_promise(one: JsonObject) -> str:
    """The gap limit is a promise: where it was not kept, that is told."""
    return (
        f"{_ended(one)} {json_text(one, 'vm')} stood for {json_float(one, 'gap_ms'):.0f} ms: the gap limit was "
        f"{json_float(one, 'gap_limit_ms'):.0f} ms (policy {json_text(one, 'policy')})"
    )


def _ended(one: JsonObject) -> str:
    return json_text(one, "ended").replace("T", " ")[:19]


def _reason(one: JsonObject) -> str:
    return f"{_ended(one)} {json_text(one, 'vm')} {json_text(one, 'result')}: {json_text(one, 'sentence')}"
