"""The audit: what is told at once, what is counted, what happens when there is too much or the database is silent."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.dcerpc.world import until
from tests.waiting import PATIENCE

from quorate.clusapi.events import Change, EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.status import Status
from quorate.database.contract import StoreUnavailable
from quorate.server import audit
from quorate.server.audit import MOST_WAITING, Audit, AuditBook, AuditedCall, AuditedLogon

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NODE = NodeId("1")


def call(
    operation: str = "OnlineResource",
    status: int = 0,
    *,
    changes: bool = True,
    about: str = "disk1",
    user: str = "alice",
) -> AuditedCall:
    return AuditedCall(user, "192.0.2.7", operation, about, status, changes)


def told(events: Sequence[EventRecord]) -> list[tuple[str, str]]:
    return [(event.kind, event.sentence) for event in events]


def facts(event: EventRecord) -> dict[str, JsonValue]:
    assert isinstance(event.after, dict)
    return event.after


def test_a_change_is_told_with_who_from_where_what_and_how_it_ended() -> None:
    book = AuditBook(NODE)
    book.note_call(call(), NOW)
    book.note_call(call(status=Status.ERROR_IO_PENDING), NOW)
    book.note_call(call(status=Status.ERROR_INVALID_STATE), NOW)

    events = book.due(NOW)
    assert told(events) == [
        ("audit.change", 'alice at 192.0.2.7 asked for OnlineResource of "disk1": done'),
        ("audit.change", 'alice at 192.0.2.7 asked for OnlineResource of "disk1": under way'),
        (
            "audit.change",
            'alice at 192.0.2.7 asked for OnlineResource of "disk1": not done, status 5023 ERROR_INVALID_STATE',
        ),
    ]
    first = events[0]
    assert (first.actor, first.object_name, first.change, first.node) == ("alice", "disk1", Change.NONE, NODE)
    assert facts(first) == {"source": "192.0.2.7", "operation": "OnlineResource", "status": 0, "count": 1}
    assert book.due(NOW + timedelta(hours=1)) == ()


def test_the_same_refusal_again_is_counted_and_told_after_a_minute() -> None:
    book = AuditBook(NODE)
    for _ in range(500):
        book.note_call(call("DeleteGroup", Status.ERROR_ACCESS_DENIED), NOW)
        book.note_logon(AuditedLogon("bob", "192.0.2.8", is_granted=False, sentence="the password is wrong"), NOW)
    assert told(book.due(NOW)) == [
        ("audit.refused", 'alice at 192.0.2.7 was refused DeleteGroup of "disk1": it needs full access'),
        ("audit.refused", '"bob" at 192.0.2.8 was not let in: the password is wrong'),
    ]
    assert book.due(NOW + MINUTE / 2) == ()
    again = book.due(NOW + MINUTE)
    assert [facts(event)["count"] for event in again] == [499, 499]
    assert again[0].sentence.endswith("; 499 times more in a minute")
    assert book.due(NOW + 3 * MINUTE) == ()


def test_reads_are_counted_and_refused_reads_are_refusals() -> None:
    book = AuditBook(NODE)
    for _ in range(40):
        book.note_call(call("GetResourceState", changes=False), NOW)
    book.note_call(call("OpenGroup", Status.ERROR_GROUP_NOT_FOUND, changes=False), NOW)
    book.note_call(call("OpenGroup", Status.ERROR_ACCESS_DENIED, changes=False), NOW)
    assert [kind for kind, _ in told(book.due(NOW))] == ["audit.refused"]
    (reads,) = book.due(NOW + 5 * MINUTE)
    assert reads.sentence == "alice at 192.0.2.7 asked 41 times without changing anything"
    assert facts(reads)["operations"] == {"GetResourceState": 40, "OpenGroup": 1}


def test_a_logon_is_told_and_the_last_word_is_had_when_the_node_stops() -> None:
    book = AuditBook(NODE)
    for _ in range(3):
        book.note_logon(AuditedLogon("alice", "192.0.2.7", is_granted=True, sentence=""), NOW)
    book.note_call(call("GetResourceState", changes=False), NOW)
    assert told(book.due(NOW)) == [("audit.logon", "alice logged on at 192.0.2.7")]
    assert [event.kind for event in book.due(NOW, everything=True)] == ["audit.logon", "audit.reads"]
    assert book.due(NOW, everything=True) == ()


def test_what_clients_say_does_no_harm() -> None:
    book = AuditBook(NODE)
    book.note_logon(AuditedLogon("x" * 5000 + "\n", "192.0.2.8", is_granted=False, sentence="no"), NOW)
    book.note_logon(AuditedLogon("a\nb\x1b[2J", "192.0.2.8", is_granted=False, sentence="no"), NOW)
    first, second = book.due(NOW)
    assert len(first.sentence) < 150 and second.sentence == '"a?b?[2J" at 192.0.2.8 was not let in: no'


def test_memory_is_bounded_and_what_was_lost_is_a_number() -> None:
    book = AuditBook(NODE)
    for number in range(5 * MOST_WAITING):
        book.note_call(call(about=str(number), status=Status.ERROR_GROUP_NOT_FOUND), NOW)
        book.note_call(call("Read", changes=False, user=str(number)), NOW)
        book.note_call(call(about="done"), NOW)
    assert book.lost > 10 * MOST_WAITING
    events = book.due(NOW, everything=True)
    assert len(events) <= MOST_WAITING
    book.put_back(events)
    book.put_back(events)
    assert len(book.due(NOW, everything=True)) == MOST_WAITING


def test_a_node_that_stops_does_not_wait_for_a_silent_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "LAST_WORDS", 0.01)

    async def main() -> None:
        async def write(events: Sequence[EventRecord]) -> None:
            await asyncio.Event().wait()

        keeper = Audit(NODE, write)
        keeper.note(call())
        async with asyncio.timeout(PATIENCE):
            await keeper.close()

    asyncio.run(main())


def test_events_of_the_audit_are_no_notification() -> None:
    event = EventRecord.of(
        EventKind.AUDIT_CHANGE, time=NOW, node=NODE, object_id="x", object_name="x", sentence="something"
    )
    assert event.change == 0


def test_it_is_written_without_anybody_waiting_and_again_when_the_database_was_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "WRITE_EVERY", 0.01)

    async def main() -> None:
        written: list[EventRecord] = []
        silent = True

        async def write(events: Sequence[EventRecord]) -> None:
            if silent:
                raise StoreUnavailable("silent")
            written.extend(events)

        keeper = Audit(NODE, write)
        keeper.start()
        keeper.note(call())
        await asyncio.sleep(0.05)
        assert not written
        silent = False
        await until(lambda: len(written) == 1)
        keeper.note_logon(AuditedLogon("alice", "192.0.2.7", is_granted=True, sentence=""))
        await keeper.close()
        assert [event.kind for event in written] == ["audit.change", "audit.logon"]

    asyncio.run(main())
