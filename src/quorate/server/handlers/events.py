"""The operation GetEvents: which events somebody asks for."""

from collections.abc import Callable
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.operation_values import Values
from quorate.clusapi.status import Status
from quorate.database.events import EventQuery
from quorate.database.snapshot import ClusterSnapshot
from quorate.server import lookup
from quorate.server.call import Call

_PAGE: Final = 100
_MAX_PAGE: Final = 10_000
_AUDIT: Final = "audit."

EventTest = Callable[[EventRecord], bool]


async def select(call: Call) -> Values:
    """Events after a sequence or a moment, or the newest ones, as far as they are of the kind, object and node."""
    inputs = call.inputs
    kind, about, node = (inputs.optional_text(name) for name in ("kind", "object", "node"))
    query = EventQuery(
        after=inputs.optional_number("after"),
        since=moment("since", inputs.optional_text("since")),
        until=moment("until", inputs.optional_text("until")),
        limit=min(inputs.optional_number("limit") or _PAGE, _MAX_PAGE),
        fits=event_test(call.snapshot, kind, about, node),
    )
    events = await call.services.database.select_events(query)
    if kind is not None and not events:
        _check_kind(kind)
    return Values({"events": tuple(event.to_json() for event in events)})


def event_test(snapshot: ClusterSnapshot, kind: str | None, about: str | None, node: str | None) -> EventTest:
    """Whether an event is of a kind (None: any but audit), about an object and of a node; None is any.

    Raises CallerError 5042.
    """
    tests = [test for test in (_of_kind(kind), _about(snapshot, about), _of_node(snapshot, node)) if test is not None]
    return lambda event: all(test(event) for test in tests)


def moment(name: str, text: str | None) -> datetime | None:
    """Read an input that is a moment (RFC 3339, UTC where it does not say). Raises CallerError 87."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(f"{name}: {text!r} is no moment such as 2026-11-22T10:00:00Z") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _of_kind(kind: str | None) -> EventTest:
    if kind is None:  # the audit is for who asks for it: it tells again, of every change, where it came from
        return lambda event: not event.kind.startswith(_AUDIT)
    return lambda event: event.kind == kind or event.kind.startswith(f"{kind}.")


def _check_kind(kind: str) -> None:
    """Tell a mistyped kind from one of which nothing happened. A newer node's kind shows by its events."""
    known = {str(known) for known in EventKind}
    known |= {name.partition(".")[0] for name in known}
    if kind not in known:
        near = get_close_matches(kind, sorted(known), 3)
        hint = f"do you mean {' or '.join(near)}?" if near else f"kinds are: {', '.join(sorted(known))}"
        raise _wrong(f'there is no event of the kind "{kind}"; {hint}')


def _about(snapshot: ClusterSnapshot, text: str | None) -> EventTest | None:
    """About the object with this id or name, also one that is deleted; about a group or a VM with its resources."""
    if text is None:
        return None
    wanted = text.casefold()
    ids = {text.lower()}
    group = snapshot.find_group(text) or next(
        (vm.group for vm in lookup.virtual_machines(snapshot) if vm.vm_id == wanted), None
    )
    if group is not None:
        ids |= {group.id, *group.resources}
    return lambda event: event.object_id in ids or event.object_name.casefold() == wanted


def _of_node(snapshot: ClusterSnapshot, text: str | None) -> EventTest | None:
    if text is None:
        return None
    node = lookup.node(snapshot, text)
    return lambda event: event.node == node.id or (event.object_id == node.id and event.kind.startswith("node."))


def _wrong(sentence: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
