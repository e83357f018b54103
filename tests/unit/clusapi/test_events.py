import json
from datetime import UTC, datetime

import pytest

from quorate.clusapi.errors import CallerError
from quorate.clusapi.events import Change, EventKind, EventRecord, change_of
from quorate.clusapi.identity import NodeId

EVENT = EventRecord.of(
    EventKind.GROUP_OWNER,
    time=datetime(2026, 11, 22, 12, 0, 0, 123456, UTC),
    node=NodeId("1"),
    object_id="7c2e93b0-efbf-4097-8d21-3d324d07b0ea",
    object_name="web1",
    sentence="moved web1 to node2: an administrator asked for it",
    before={"node": "1"},
    after={"node": "2"},
    actor="anna",
    operation_id="op",
    cause_id="session",
)


def test_an_event_survives_the_database() -> None:
    assert EventRecord.decode(EVENT.encode()) == EVENT
    assert EVENT.sequence == 0
    assert EventRecord.decode(EVENT.stored_at(1 << 60).encode()).sequence == 1 << 60


def test_fields_of_a_newer_node_survive_a_rewrite() -> None:
    newer = json.dumps({**json.loads(EVENT.encode()), "version": 2, "weather": "rain"}).encode()
    again = json.loads(EventRecord.decode(newer).encode())
    assert again["weather"] == "rain"
    assert again["version"] == 2


def test_every_kind_has_change_bits_but_the_audit() -> None:
    without = {kind for kind in EventKind if change_of(kind) is Change.NONE}
    assert without == {kind for kind in EventKind if kind.startswith("audit.")}
    assert change_of("something.new") is Change.NONE
    assert EVENT.change == Change.GROUP_STATE


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"time": 5}'])
def test_what_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(CallerError) as caught:
        EventRecord.decode(data)
    assert caught.value.status == 13
