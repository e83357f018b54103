"""The messages between a node and its monitor processes, which tests/contract/test_monitor_processes.py has."""

import pytest
from tests.unit.hosting.monitor_world import GOOD, GROUP

from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.property_lists import PropertyFormat, PropertyValue
from quorate.clusapi.states import VmResdllContext
from quorate.clusapi.status import Status
from quorate.hosting import monitor_messages as messages
from quorate.hosting.contract import ControlAnswer
from quorate.hosting.resource_type import OfflineRequest, OpenedResource

VALUE = PropertyValue.of(PropertyFormat.MULTI_SZ, ("a", "b"))


def test_messages_are_read_as_they_were_written() -> None:
    opened = OpenedResource(
        GOOD, "n", "t", GROUP.id, "g", was_online=True, settings={"a": "b"}, parameters={"P": VALUE}
    )
    assert messages.parse_opened(messages.pack_opened(opened)) == opened
    request = OfflineRequest({"P": VALUE}, 3, VmResdllContext.SAVE)
    assert messages.parse_offline_request(messages.pack_offline_request(request)) == request
    answer = ControlAnswer(Status.ERROR_SUCCESS, b"x", "said", {"P": VALUE, "Q": None})
    assert messages.parse_answer(messages.pack_answer(answer)) == answer
    assert messages.parse_data(messages.pack_data(None)) is None
    assert messages.parse_data(messages.pack_data(b"")) == b""


@pytest.mark.parametrize("value", [None, 1, {"status": True}, {"resource": "x", "settings": []}, "?"])
def test_what_is_no_message_is_refused(value: JsonValue) -> None:
    for parse in (messages.parse_answer, messages.parse_opened, messages.parse_offline_request):
        with pytest.raises(messages.BadMessage):
            parse(value)
    with pytest.raises(messages.BadMessage):
        messages.parse_message(b"[]")
    with pytest.raises(messages.BadMessage):
        messages.pack_message({"too long": "x" * messages.LONGEST_MESSAGE})
