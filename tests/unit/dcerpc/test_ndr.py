"""NDR by hand: bytes as the specification has them, sizes that must fit, and what is refused."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated
from uuid import UUID

import pytest

from quorate.dcerpc.errors import NdrError
from quorate.dcerpc.ndr import (
    GUID,
    HANDLE,
    NOTHING,
    NULL_HANDLE,
    U8,
    U16,
    U32,
    U64,
    WSTRING,
    ConformantArray,
    ConformantBytes,
    ConformantVaryingBytes,
    ContextHandle,
    Count,
    Enumeration,
    Full,
    NdrReader,
    NdrType,
    Parameters,
    Recursive,
    Ref,
    Scope,
    Struct,
    Union,
    UnionValue,
    Unique,
    WideString,
)


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


@dataclass(frozen=True, slots=True)
class EnumEntry:
    type: Annotated[int, U32]
    name: Annotated[str | None, Unique(WSTRING)]


@dataclass(frozen=True, slots=True)
class EnumList:
    count: Annotated[int, Count(U32, of="entries")]
    entries: Annotated[tuple[EnumEntry, ...], ConformantArray(Struct(EnumEntry), size_is="count")]


ENUM_LIST = Unique(Struct(EnumList))
UNTERMINATED = hexed(
    "00000200"  # a pointer that is not null
    "01000000"  # the conformant structure's maximum stands before it
    "01000000"  # count
    "01000000 04000200"  # type, name
    "02000000 00000000 02000000 6e003100"  # n1 and no NUL
)


def test_pointers_are_followed_after_the_construct_around_them() -> None:
    value = EnumList(2, (EnumEntry(1, "a"), EnumEntry(1, "bcd")))
    assert ENUM_LIST.pack(value) == hexed(
        "00000200 02000000 02000000"
        "01000000 04000200 01000000 08000200"
        "02000000 00000000 02000000 61000000"
        "04000000 00000000 04000000 6200630064000000"
    )
    assert ENUM_LIST.unpack(ENUM_LIST.pack(value)) == value


def test_a_string_that_does_not_end_in_nul_is_refused() -> None:
    with pytest.raises(NdrError, match="NUL"):
        ENUM_LIST.unpack(UNTERMINATED)


def test_pointees_of_pointees_come_before_the_next_pointee() -> None:
    inner = Unique(Struct(EnumEntry))
    outer = Parameters.named(("pair", Ref(Struct(_Pair))), ("end", U8))
    value = _Pair(EnumEntry(1, "a"), EnumEntry(2, "b"))
    assert inner.pack(None) == bytes(4)
    assert outer.pack({"pair": value, "end": 9}) == hexed(
        "00000200 04000200"
        "01000000 08000200 02000000 00000000 02000000 61000000"
        "02000000 0c000200 02000000 00000000 02000000 62000000"
        "09"
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    one: Annotated[EnumEntry | None, Unique(Struct(EnumEntry))]
    two: Annotated[EnumEntry | None, Unique(Struct(EnumEntry))]


def test_numbers_are_aligned_by_their_size() -> None:
    declared = Parameters.named(("a", U8), ("b", U16), ("c", U8), ("d", U32), ("e", U8), ("f", U64))
    data = declared.pack({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6})
    assert data == hexed("01 00 0200 03 000000 04000000 05 000000 0600000000000000")


def test_a_structure_is_aligned_by_its_largest_member() -> None:
    declared = Parameters.named(("a", U8), ("b", Struct(_Hyper)))
    assert declared.pack({"a": 1, "b": _Hyper(2, 3)}) == hexed("01 00000000000000 02 00000000000000 0300000000000000")


@dataclass(frozen=True, slots=True)
class _Hyper:
    small: Annotated[int, U8]
    large: Annotated[int, U64]


def test_both_byte_orders_are_read() -> None:
    declared = Parameters.named(("n", U32), ("s", WSTRING), ("g", GUID), ("h", HANDLE))
    data = hexed(
        "01020304 00000002 00000000 00000002 00410000"
        "00112233 4455 6677 8899aabbccddeeff"
        "00000000 00112233 4455 6677 8899aabbccddeeff"
    )
    uuid = UUID("00112233-4455-6677-8899-aabbccddeeff")
    expected = {"n": 0x01020304, "s": "A", "g": uuid, "h": ContextHandle(uuid)}
    assert declared.unpack(data, ">") == expected
    assert declared.unpack(declared.pack(expected)) == expected


CONTROL_IN = Parameters.named(
    ("handle", HANDLE),
    ("in_buffer", Unique(ConformantBytes(size_is="in_size"))),
    ("in_size", Count(U32, of="in_buffer")),
    ("out_size", U32),
)
CONTROL_OUT = Parameters.named(
    ("out_buffer", ConformantVaryingBytes(size_is="out_size", length_is="returned")),
    ("returned", Count(U32, of="out_buffer")),
    ("status", U32),
)


def test_a_size_is_told_by_a_later_parameter_and_by_an_input() -> None:
    asked = CONTROL_IN.pack({"handle": NULL_HANDLE, "in_buffer": b"abc", "out_size": 9})
    assert asked == bytes(20) + hexed("00000200 03000000 61626300 03000000 09000000")
    inputs = CONTROL_IN.unpack(asked)
    answered = CONTROL_OUT.pack({"out_buffer": b"xy", "status": 0}, inputs)
    assert answered == hexed("09000000 00000000 02000000 78790000 02000000 00000000")
    assert CONTROL_OUT.unpack(answered, inputs=inputs) == {"out_buffer": b"xy", "returned": 2, "status": 0}


@pytest.mark.parametrize(
    "data",
    [
        "00000200 03000000 61626300 04000000 00000000",  # the size says 4
        "00000000 01000000 00000000",  # null, and the size says 1
        "00000200 ffffffff 61626300 ffffffff 00000000",  # more than there is
    ],
)
def test_a_size_that_does_not_fit_is_refused(data: str) -> None:
    with pytest.raises(NdrError):
        CONTROL_IN.unpack(bytes(20) + hexed(data))


def test_a_lenient_reader_takes_null_where_a_size_promises_bytes() -> None:
    data = bytes(20) + hexed("00000000 01000000 00000000")
    assert CONTROL_IN.unpack(data, lenient=True)["in_buffer"] is None


def test_more_than_the_caller_has_room_for_is_not_written() -> None:
    with pytest.raises(NdrError, match="out_size says 1"):
        CONTROL_OUT.pack({"out_buffer": b"xy", "status": 0}, {"out_size": 1})


def test_a_padded_buffer_is_filled_up_to_its_size() -> None:
    declared = Parameters.named(("data", ConformantBytes(size_is="room", padded=True)))
    assert declared.pack({"data": b"ab"}, {"room": 4}) == hexed("04000000 61620000")


def test_a_size_that_nobody_tells_is_a_mistake_of_the_declaration() -> None:
    declared = Parameters.named(("data", ConformantBytes(size_is="rom")))
    with pytest.raises(NdrError, match="nothing tells rom"):
        declared.pack({"data": b"ab"})


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (ConformantArray(U64), "ffffff0f 00000000"),
        (ConformantArray(Struct(EnumEntry)), "ffffffff"),
        (WSTRING, "ffffffff 00000000 ffffffff 41000000"),
        (WSTRING, "01000000 00000000 02000000 41000000"),
        (WSTRING, "02000000 01000000 02000000 41000000"),
        (WSTRING, "02000000 00000000 00000000"),
        (WSTRING, "02000000 00000000 02000000 00d80000"),
    ],
)
def test_counts_and_strings_are_checked_before_anything_is_made(kind: NdrType[object], data: str) -> None:
    with pytest.raises(NdrError):
        Parameters.named(("first", Struct(_Holder)), ("value", kind)).unpack(hexed("00000000") + hexed(data) + bytes(8))


@dataclass(frozen=True, slots=True)
class _Holder:
    pointer: Annotated[int | None, Unique(U32)]


def test_a_reference_inside_of_a_structure_is_never_null() -> None:
    with pytest.raises(NdrError, match="null"):
        Struct(_Referring).unpack(bytes(8))
    assert Struct(_Referring).unpack(hexed("01000000 05000000")) == _Referring(5)


@dataclass(frozen=True, slots=True)
class _Referring:
    number: Annotated[int, Ref(U32)]


@dataclass(frozen=True, slots=True)
class _Link:
    number: Annotated[int, U32]
    following: Annotated["_Link | None", Unique(Recursive(lambda: LINK))]


LINK: Struct[_Link] = Struct(_Link)


def _chain(length: int) -> _Link:
    link = _Link(0, None)
    for number in range(1, length):
        link = _Link(number, link)
    return link


def test_a_list_is_followed_so_far_and_no_further() -> None:
    assert LINK.unpack(LINK.pack(_chain(60))) == _chain(60)
    with pytest.raises(NdrError, match="levels"):
        LINK.pack(_chain(70))
    endless = hexed("01000000 00000200") * 1000
    with pytest.raises(NdrError, match="levels"):
        LINK.unpack(endless)


def test_a_full_pointer_can_point_to_what_was_there_before() -> None:
    text = Full(WSTRING)
    number = Full(U32)
    pair = Parameters.named(("one", text), ("two", text))
    value = hexed("02000000 00000000 02000000 41000000")
    assert pair.unpack(hexed("01000000") + value + hexed("01000000")) == {"one": "A", "two": "A"}
    mixed = Parameters.named(("one", text), ("two", number))
    with pytest.raises(NdrError, match="another type"):
        mixed.unpack(hexed("01000000") + value + hexed("01000000"))


class Colour(IntEnum):
    RED = 0
    BLUE = 5


def test_an_enum_has_16_bits_unless_told_otherwise() -> None:
    assert Enumeration(Colour).pack(Colour.BLUE) == hexed("0500")
    assert Enumeration(Colour, U32).unpack(hexed("05000000")) is Colour.BLUE
    with pytest.raises(NdrError, match="6 is no Colour"):
        Enumeration(Colour).unpack(hexed("0600"))


def test_a_union_has_the_arm_of_its_tag() -> None:
    union = Union({1: U8, 2: Unique(WSTRING), 3: None}, switch_is="kind")
    declared = Parameters.named(("kind", U32), ("value", union))
    data = declared.pack({"kind": 2, "value": UnionValue(2, "x")})
    assert data == hexed("02000000 02000000 00000200 02000000 00000000 02000000 78000000")
    assert declared.unpack(data)["value"] == UnionValue(2, "x")
    assert declared.unpack(hexed("03000000 03000000"))["value"] == UnionValue(3)
    with pytest.raises(NdrError, match="kind says 1"):
        declared.unpack(hexed("01000000 02000000 00000000"))
    with pytest.raises(NdrError, match="no arm 7"):
        declared.unpack(hexed("07000000 07000000"))
    assert Union({}, default=U8).unpack(hexed("07000000 09")) == UnionValue(7, 9)


def test_declarations_that_ndr_cannot_carry_are_refused() -> None:
    with pytest.raises(TypeError, match="last"):
        Struct(_ConformantFirst)
    with pytest.raises(TypeError, match="conformant"):
        ConformantArray(WideString())
    with pytest.raises(TypeError, match="no NDR type"):
        Struct(_Untyped)


@dataclass(frozen=True, slots=True)
class _ConformantFirst:
    text: Annotated[str, WSTRING]
    number: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class _Untyped:
    number: int


def test_values_that_do_not_fit_are_refused() -> None:
    for kind, value in ((U8, 256), (U32, -1)):
        with pytest.raises(NdrError):
            kind.pack(value)
    with pytest.raises(NdrError, match="missing"):
        Parameters.named(("a", U8)).pack({})
    with pytest.raises(NdrError, match="NUL"):
        WSTRING.pack("a\0b")


def test_no_parameters_are_no_bytes() -> None:
    assert NOTHING.pack({}) == b""
    assert NOTHING.read(b"trailer") == ({}, 0)


def test_a_reader_never_reads_past_the_end() -> None:
    source = NdrReader(b"\1\2\3")
    assert U8.read(source, Scope()) == 1
    with pytest.raises(NdrError, match="4 bytes are wanted"):
        U32.read(source, Scope())
