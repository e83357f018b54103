"""Every type of NDR: what is written is read again, and nothing that arrives can do harm."""

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.system.soak import soaking
from tests.unit.dcerpc.declarations import Typed, many_types

from quorate.dcerpc.errors import NdrError
from quorate.dcerpc.ndr import U32, WSTRING, NdrReader, NdrType, Parameters, Scope

SEED = int(time.time()) if soaking() else 5
if soaking():
    print(f"the types of this run come of seed {SEED}")
TYPES = many_types(3000 if soaking() else 120, SEED)
ROUNDS = settings(max_examples=100_000 if soaking() else 150, deadline=None, suppress_health_check=list(HealthCheck))

pytestmark = pytest.mark.soak


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[NdrType[Any], Any]:
    kind, values = draw(st.sampled_from(TYPES))
    return kind, draw(values)


@ROUNDS
@given(typed_values(), st.binary(max_size=9))
def test_what_is_written_is_read_again(typed: tuple[NdrType[Any], Any], after: bytes) -> None:
    kind, value = typed
    assert kind.unpack(kind.pack(value) + after) == value


@ROUNDS
@given(st.lists(typed_values(), max_size=3))
def test_parameters_stand_one_after_the_other(typed: list[tuple[NdrType[Any], Any]]) -> None:
    declared = Parameters.named(*((f"p{number}", kind) for number, (kind, _) in enumerate(typed)), ("last", U32))
    values = {f"p{number}": value for number, (_, value) in enumerate(typed)} | {"last": 7}
    data = declared.pack(values)
    assert declared.read(data + b"trailer") == (values, len(data))


@ROUNDS
@given(st.sampled_from(TYPES), st.binary(max_size=200), st.sampled_from("<>"))
def test_any_bytes_are_a_value_or_an_ndr_error(typed: Typed, data: bytes, order: Any) -> None:
    try:
        typed[0].read(NdrReader(data, order), Scope())
    except NdrError as error:
        assert error.offset >= -1


@ROUNDS
@given(typed_values(), st.data())
def test_a_changed_value_is_a_value_or_an_ndr_error(typed: tuple[NdrType[Any], Any], data: st.DataObject) -> None:
    kind, value = typed
    packed = bytearray(kind.pack(value))
    for _ in range(data.draw(st.integers(1, 4)) if packed else 0):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packed)))
    for damaged in (packed, packed[:cut]):
        try:
            kind.unpack(bytes(damaged))
        except NdrError:
            continue


@given(st.text(max_size=20))
def test_a_text_is_written_or_refused(text: str) -> None:
    try:
        data = WSTRING.pack(text)
    except NdrError:
        assert "\0" in text or not text.isprintable()
    else:
        assert WSTRING.unpack(data) == text
