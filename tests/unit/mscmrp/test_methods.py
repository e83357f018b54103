"""The declarations: each method's bytes, both ways, and what holds for all of them."""

from dataclasses import fields
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.system.soak import soaking
from tests.unit.mscmrp.strategies import parameters_of

from quorate.clusapi.operation_types import Access
from quorate.clusapi.operations import OPERATIONS
from quorate.dcerpc.errors import NdrError
from quorate.dcerpc.ndr import HANDLE, NULL_HANDLE, ContextHandle
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.interface import LAST_OPNUM, METHODS, RESERVED, AnyMethod
from quorate.mscmrp.registry_methods import QUERY_VALUE, QueryValueIn, QueryValueOut
from quorate.mscmrp.shapes import ControlIn, ControlOut

ROUNDS = settings(max_examples=5_000 if soaking() else 120, deadline=None, suppress_health_check=list(HealthCheck))
EACH = pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
NO_RPC_STATUS = {
    "OpenCluster", "OpenClusterEx", "GetClusterName", "GetClusterVersion", "SetServiceAccountPassword",
    "GetNotifyV2", "GetNotifyAsync", "GetBatchNotification", "UnblockGetNotifyCall",
}  # fmt: skip


@st.composite
def calls(draw: st.DrawFn) -> tuple[AnyMethod, Any, Any]:
    """A method, inputs, and outputs that answer them."""
    method = draw(st.sampled_from(list(METHODS.values())))
    declaration = method.declaration
    return method, draw(parameters_of(declaration.inputs)), draw(parameters_of(declaration.outputs))


def test_every_opnum_is_declared_or_reserved() -> None:
    assert set(METHODS) | RESERVED == set(range(LAST_OPNUM + 1))
    assert not set(METHODS) & RESERVED
    assert len({method.name for method in METHODS.values()}) == len(METHODS) == 168


def test_the_operations_name_only_methods_that_exist() -> None:
    named = {opnum for operation in OPERATIONS.values() for opnum in operation.opnums}
    assert named <= set(METHODS)


def test_a_change_needs_full_access_in_the_protocol_too() -> None:
    for operation in OPERATIONS.values():
        for opnum in operation.opnums:
            method = METHODS[opnum]
            if not method.name.startswith("Open"):
                assert method.access is operation.access, method.name


@pytest.mark.soak
@ROUNDS
@given(calls())
def test_a_call_is_read_as_it_was_made(call: tuple[AnyMethod, Any, Any]) -> None:
    method, inputs, outputs = call
    declaration = method.declaration
    sent = declaration.inputs.pack(inputs)
    assert declaration.inputs.unpack(sent + b"trailer") == inputs
    if isinstance(outputs, QueryValueOut):
        outputs = QueryValueOut(outputs.type, outputs.data.ljust(inputs.room, b"\0"), outputs.required, outputs.status)
    told = declaration.inputs.values(inputs)
    answer = declaration.outputs.pack(outputs, told)
    assert declaration.outputs.unpack(answer, inputs=told, lenient=True) == outputs


@pytest.mark.soak
@ROUNDS
@given(calls(), st.data())
def test_cut_or_changed_bytes_are_refused_or_read_as_something_else(
    call: tuple[AnyMethod, Any, Any], data: st.DataObject
) -> None:
    method, inputs, outputs = call
    declaration = method.declaration
    told = declaration.inputs.values(inputs)
    for sent, unpack in (
        (declaration.inputs.pack(inputs), declaration.inputs.unpack),
        (declaration.outputs.pack(outputs, told), lambda got: declaration.outputs.unpack(got, "<", told, lenient=True)),
    ):
        changed = bytearray(sent[: data.draw(st.integers(0, len(sent)))])
        if changed and data.draw(st.booleans()):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        try:
            unpack(bytes(changed))
        except NdrError as error:
            assert error.offset >= -1


@EACH
def test_a_failure_is_a_whole_answer(method: AnyMethod) -> None:
    answer = method.failed(5007)
    told = {"out_size": 16, "room": 16}
    data = method.declaration.outputs.pack(answer, told)
    again = method.declaration.outputs.unpack(data, inputs=told)
    assert again.status == 5007
    for item in fields(again):
        value = getattr(again, item.name)
        if isinstance(value, ContextHandle):
            assert value == NULL_HANDLE
        elif item.name not in {"status", "data"}:
            assert not value or method.name in {"ClusterMrr", "GetKeySecurity"}, item.name


@EACH
def test_its_handles_have_kinds(method: AnyMethod) -> None:
    handles = [kind for kind in method.declaration.inputs._members.values() if kind is HANDLE]
    assert len(handles) == len(method.takes)
    names = method.declaration.outputs.names
    if method.name.startswith("Close"):
        assert names == ("handle", "status")
    else:
        assert ("handle" in names) is (method.opens is not None)
        assert ("rpc_status" in names) is (method.name not in NO_RPC_STATUS)
    if method.opens is not None and method.opens is not HandleKind.BATCH_PORT:
        assert names[-1] == "handle"
    elif not method.name.startswith("Open"):
        assert names[-1] == "status"


def test_a_handle_is_closed_with_read_access() -> None:
    assert {method.access for method in METHODS.values() if method.name.startswith("Close")} == {Access.READ}


# --- Bytes written by hand, from the tables of the specification -----------------------------------------------------

HANDLE_BYTES = bytes(4) + bytes(range(16))
OPEN = ContextHandle(UUID(bytes_le=bytes(range(16))))


def name_bytes(text: str) -> bytes:
    count = (len(text) + 1).to_bytes(4, "little")
    return count + bytes(4) + count + f"{text}\0".encode("utf-16-le")


@pytest.mark.parametrize(
    ("opnum", "data"),
    [
        (0, b""),
        (7, b"\1\0\0\0"),
        (8, name_bytes("Cluster Name")),
        (11, HANDLE_BYTES),
        (13, HANDLE_BYTES + name_bytes("ab")),
        (26, name_bytes("T") + name_bytes("Tt") + b"\0\0" + name_bytes("t.so") + b"\0\0" + bytes(8)),
        (43, HANDLE_BYTES + b"\1\0\0\0"),
        (54, HANDLE_BYTES + b"\0\0\2\0" + b"\3\0\0\0" + b"a\0\0\0\0\0" + b"\0\0" + b"\3\0\0\0"),
        (73, HANDLE_BYTES + b"\4\0\x60\1" + bytes(4) + bytes(4) + b"\0\1\0\0"),
        (73, HANDLE_BYTES + b"\4\0\x60\1" + b"\0\0\2\0" + b"\4\0\0\0" + b"n\0\0\0" + b"\4\0\0\0" + b"\0\1\0\0"),
        (109, HANDLE_BYTES + bytes(4)),
        (133, HANDLE_BYTES * 2 + b"\x0e\0\0\0" + b"\2\0\0\0" + b"xy" + b"\0\0" + b"\2\0\0\0"),
        (138, HANDLE_BYTES * 2 + b"\2\0\0\0" + bytes(4) + b"\x18" + bytes(7) + b"\7\0\0\0" + b"\1\0\0\0" * 2),
    ],
)  # fmt: skip
def test_inputs_by_hand(opnum: int, data: bytes) -> None:
    inputs = METHODS[opnum].declaration.inputs
    value, used = inputs.read(data)
    assert used == len(data)
    assert inputs.pack(value) == data


@pytest.mark.parametrize(
    ("opnum", "data"),
    [
        (0, bytes(4) + HANDLE_BYTES),
        (3, b"\0\0\2\0" + name_bytes("c") + b"\4\0\2\0" + name_bytes("n") + bytes(4)),
        (8, bytes(8) + HANDLE_BYTES),
        (8, b"\x8f\x13\0\0" + bytes(4) + bytes(20)),
        (12, b"\2\0\0\0" + b"\0\0\2\0" + name_bytes("n") + b"\4\0\2\0" + name_bytes("g") + bytes(8)),
        (102, b"\x0a\0\0\0\1\0" + b"\0\0" + bytes(8) + b"\0\0\2\0" + b"\x14\0\0\0" + bytes(16) + bytes(8)),
        (7, b"\0\0\2\0" + b"\1\0\0\0" + b"\1\0\0\0" + b"\4\0\0\0" + b"\4\0\2\0" + name_bytes("r") + bytes(8)),
        (139, bytes(12)),
        (140, b"\2\0\0\0" + b"\1\0\0\0" + b"\0\0\2\0" + b"\2\0\0\0" + b"xy" + b"\0\0" + bytes(8)),
    ],
)  # fmt: skip
def test_outputs_by_hand(opnum: int, data: bytes) -> None:
    outputs = METHODS[opnum].declaration.outputs
    value, used = outputs.read(data)
    assert used == len(data)
    assert outputs.pack(value) == data


def test_the_output_of_a_control_code_tells_its_room() -> None:
    asked = ControlIn(OPEN, 0x01000059, None, out_size=8)
    method = METHODS[73]
    told = method.declaration.inputs.values(asked)
    data = method.declaration.outputs.pack(ControlOut(b"abc", 3), told)
    assert data == b"\x08\0\0\0" + bytes(4) + b"\3\0\0\0abc\0" + b"\3\0\0\0" * 2 + bytes(8)
    with pytest.raises(NdrError):
        method.declaration.outputs.pack(ControlOut(b"123456789", 9), told)


def test_a_value_fills_the_room_that_was_offered() -> None:
    told = QUERY_VALUE.declaration.inputs.values(QueryValueIn(OPEN, "v", 6))
    data = QUERY_VALUE.declaration.outputs.pack(QueryValueOut(4, b"\1\0\0\0", 4), told)
    assert data == b"\4\0\0\0" + b"\6\0\0\0" + b"\1\0\0\0\0\0" + b"\0\0" + b"\4\0\0\0" + bytes(8)


def test_a_truth_of_one_byte_is_read() -> None:
    """As clients built from Samba's description send it."""
    inputs = METHODS[43].declaration.inputs
    assert inputs.unpack(HANDLE_BYTES + b"\1").force is True
    assert inputs.unpack(HANDLE_BYTES + b"\0").force is False
    with pytest.raises(NdrError):
        inputs.unpack(HANDLE_BYTES)


def test_null_where_a_size_promises_bytes_is_refused() -> None:
    with pytest.raises(NdrError):
        METHODS[73].declaration.inputs.unpack(HANDLE_BYTES + b"\4\0\x60\1" + bytes(4) + b"\1\0\0\0" + b"\0\1\0\0")
