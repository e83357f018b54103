"""``quorate events``."""

import json
import sys

from quorate.cli import output
from quorate.cli.session import session
from quorate.client.wire import broken
from quorate.clusapi.json_types import JsonObject, json_text


def events(*, follow: bool = False, after: int | None = None, limit: int = 50) -> int:
    """Show what happened, oldest first.

    With --json every event is one line.

    Parameters
    ----------
    follow
        Go on with what happens from now on, until Ctrl-C.
    after
        Only events after this sequence; the newest ones, if left out.
    limit
        How many at most.
    """
    client = session.client()
    found = client.call("GetEvents", after=after, limit=limit).objects("events")
    for event in found:
        _print(event)
    if not follow:
        return output.EXIT_SUCCESS
    last = json_text(found[-1], "sequence") if found else str(after or 0)
    try:
        for kind, event in client.stream(f"/v1/events?after={last}"):
            if kind == "event":
                _print(event)
    except KeyboardInterrupt:
        return output.EXIT_SUCCESS  # that is how following ends
    raise broken("the node that told of the events went away; start again to go on with another one")


def _print(event: JsonObject) -> None:
    if session.json:
        sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    else:
        moment = json_text(event, "time").replace("T", " ")[:23]
        told, name = json_text(event, "sentence"), json_text(event, "object_name")
        about = "" if not name or name in told else f"{name}: "
        line = f"{moment}  node {json_text(event, 'node')}  {json_text(event, 'kind'):24} {about}{told}"
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
