import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_types import Access, FieldType, Place
from quorate.clusapi.operation_values import Values, inputs_from_json, inputs_to_json, outputs_to_json
from quorate.clusapi.operations import OPERATIONS, needs_full_access

CONTROL = OPERATIONS["ResourceControl"]


def test_every_operation_is_declared_soundly() -> None:
    for name, operation in OPERATIONS.items():
        assert operation.name == name
        assert operation.summary.endswith(".")
        for fields in (operation.inputs, operation.outputs):
            names = [field.name for field in fields]
            assert len(names) == len(set(names)), name
        if operation.place is Place.GROUP_OWNER:
            assert operation.input("group") or operation.input("vm"), name
        if operation.place is Place.RESOURCE_OWNER:
            assert operation.input("resource"), name
        if operation.access is Access.BY_CODE:
            assert operation.input("control_code"), name


def test_no_wire_call_is_answered_by_two_operations() -> None:
    opnums = [opnum for operation in OPERATIONS.values() for opnum in operation.opnums]
    assert len(opnums) == len(set(opnums))


@pytest.mark.parametrize(
    ("code", "full"), [(0x01600004, True), (0x01600008, True), (0x01000029, False), (0x01000081, False)]
)
def test_a_control_code_needs_full_access_iff_it_has_the_modify_bit(code: int, full: bool) -> None:
    assert needs_full_access(CONTROL, code) is full


def test_no_buffer_and_an_empty_buffer_stay_different() -> None:
    base: JsonObject = {"resource": "vm", "control_code": 1}
    assert inputs_from_json(CONTROL, base).optional_data("in_buffer") is None
    assert inputs_from_json(CONTROL, {**base, "in_buffer": None}).optional_data("in_buffer") is None
    assert inputs_from_json(CONTROL, {**base, "in_buffer": ""}).optional_data("in_buffer") == b""


@given(st.binary(), st.integers(0, 0xFFFFFFFF), st.text())
def test_inputs_survive_the_way_through_json(data: bytes, code: int, name: str) -> None:
    values = Values({"resource": name, "control_code": code, "in_buffer": data})
    assert inputs_from_json(CONTROL, inputs_to_json(CONTROL, values)).as_mapping() == values.as_mapping()


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"control_code": 1}, "resource"),
        ({"resource": "vm", "control_code": 1, "colour": "red"}, "colour"),
        ({"resource": 7, "control_code": 1}, "resource"),
        ({"resource": "vm", "control_code": -1}, "control_code"),
        ({"resource": "vm", "control_code": 1 << 32}, "control_code"),
        ({"resource": "vm", "control_code": True}, "control_code"),
        ({"resource": "vm", "control_code": 1, "in_buffer": "=?"}, "in_buffer"),
    ],
)
def test_a_mistake_names_its_key(body: JsonObject, key: str) -> None:
    with pytest.raises(CallerError) as caught:
        inputs_from_json(CONTROL, body)
    assert caught.value.status == 87
    assert key in caught.value.sentence


def test_wide_numbers_travel_as_text_and_bytes_as_base64() -> None:
    events = OPERATIONS["GetEvents"]
    assert inputs_to_json(events, Values({"after": 1 << 60})) == {"after": str(1 << 60)}
    assert inputs_from_json(events, {"after": str(1 << 60)}).number("after") == 1 << 60
    outputs = outputs_to_json(CONTROL, Values({"status": 0, "output": b"\xff", "required": 1}))
    assert outputs["output"] == base64.b64encode(b"\xff").decode()
    assert events.inputs[0].type is FieldType.U64


def test_an_answer_that_was_not_declared_is_a_bug() -> None:
    with pytest.raises(ValueError, match="declared"):
        outputs_to_json(CONTROL, Values({"status": 0}))
