"""``quorate events``."""

import json
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from quorate.cli import output
from quorate.cli.commands.moments import parse_moment, parse_sequence, rfc3339
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.client.wire import broken
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject, json_int, json_objects, json_text
from quorate.clusapi.operation_values import FieldValue
from quorate.clusapi.states import ClusterEnum
from quorate.clusapi.status import Status

_PAGE: Final = 1000
_NEWEST: Final = 50
_KIND: Final = 24


def events(
    *,
    since: str | None = None,
    until: str | None = None,
    kind: str | None = None,
    object: str | None = None,
    node: str | None = None,
    follow: bool = False,
    after: int | None = None,
    limit: int | None = None,
) -> int:
    """Show what happened, oldest first, each with the sentence that says why.

    With --json every event is one line.

    Parameters
    ----------
    since
        From then on: how long ago (15m, 2h, 3d), a moment (2026-11-22T10:00), or the sequence of an event.
    until
        Before then: how long ago, or a moment.
    kind
        Only of this kind (vm.failed), or of all kinds of this word (vm).
    object
        Only about this object, by name or id; of a virtual machine its resources too.
    node
        Only what this node noted, or what is about it.
    follow
        Go on with what happens from now on, until Ctrl-C.
    after
        Only events after this sequence.
    limit
        How many at most; without --since the newest 50, if left out.
    """
    client = session.client()
    filters: dict[str, FieldValue] = {"kind": kind, "object": object, "node": node}
    query = _query(since, until, after) | filters
    names = {} if session.json else _node_names(client)
    last, has_journal = 0, True
    try:
        for event in _found(client, query, limit, everything=since is not None):
            last = json_int(event, "sequence")
            _print(event, names)
    except CallerError as error:
        has_journal = error.status != Status.ERROR_CALL_NOT_IMPLEMENTED
        if has_journal or not follow:
            raise
    if not follow:
        return output.EXIT_SUCCESS
    chosen = {name: value for name, value in filters.items() if value is not None}
    target = urlencode({"after": last or after or (_now(client) if has_journal else 0), **chosen})
    try:
        for what, event in client.stream(f"/v1/events?{target}"):
            if what == "event":
                _print(event, names)
    except KeyboardInterrupt:
        return output.EXIT_SUCCESS  # that is how following ends
    raise broken("the node that told of the events went away; start again to go on with another one")


def _query(since: str | None, until: str | None, after: int | None) -> dict[str, FieldValue]:
    now = datetime.now(UTC)
    sequence = None if since is None else parse_sequence(since)
    return {
        "after": after if sequence is None else max(sequence - 1, after or 0),
        "since": rfc3339(parse_moment("--since", since, now)) if since is not None and sequence is None else None,
        "until": None if until is None else rfc3339(parse_moment("--until", until, now)),
    }


def _found(
    client: BlockingClient, query: dict[str, FieldValue], limit: int | None, *, everything: bool
) -> Iterator[JsonObject]:
    """The events that were asked for; page by page when they are all wanted."""
    if not everything or limit is not None:
        yield from client.call("GetEvents", full_access=True, **query, limit=limit or _NEWEST).objects("events")
        return
    while page := client.call("GetEvents", full_access=True, **query, limit=_PAGE).objects("events"):
        yield from page
        query = {**query, "after": json_int(page[-1], "sequence")}


def _node_names(client: BlockingClient) -> dict[str, str]:
    found = client.call("CreateEnum", mask=ClusterEnum.NODE).objects("entries")
    return {json_text(entry, "id"): json_text(entry, "name") for entry in found}


def _now(client: BlockingClient) -> int:
    """The sequence of the newest event, whatever it is about."""
    newest = json_objects(client.call("GetEvents", limit=1).as_json(), "events")
    return json_int(newest[-1], "sequence") if newest else 0


def _print(event: JsonObject, names: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(event, ensure_ascii=False) if session.json else _line(event, names))
    sys.stdout.write("\n")
    sys.stdout.flush()


def _line(event: JsonObject, names: dict[str, str]) -> str:
    """One event for people: when, where, what, and why, folded to the width of our tables."""
    moment = json_text(event, "time").replace("T", " ")[:19]
    told, name = json_text(event, "sentence"), json_text(event, "object_name")
    about = "" if not name or name in told else f"{name}: "
    node = json_text(event, "node")
    head = f"{moment}  {names.get(node, node):8} {json_text(event, 'kind'):{_KIND}} "
    return textwrap.fill(
        head + about + told,
        width=output.width(),
        subsequent_indent=" " * len(f"{moment}  {'':8} {'':{_KIND}} "),
        break_on_hyphens=False,
    )
