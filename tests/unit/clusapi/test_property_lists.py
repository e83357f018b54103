"""Property lists: the bytes are ClusAPI's, and whatever is no property list is refused with its reason."""

import pickle
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.errors import CallerError
from quorate.clusapi.property_lists import (
    Property,
    PropertyFormat,
    PropertyList,
    PropertyListError,
    PropertyType,
    PropertyValue,
    Syntax,
    TextBufferError,
    Value,
    pack_multi_sz,
    pack_property_formats,
    pack_property_list,
    pack_sz,
    pack_value_list,
    parse_multi_sz,
    parse_property_formats,
    parse_property_list,
    parse_sz,
    parse_value_list,
)
from quorate.clusapi.status import Status

# The worked examples, byte for byte.
MIGRATION_STATE = bytes.fromhex(
    "01000000 03000400 1e000000 4d006900 67007200 61007400 69006f00 6e005300 74006100 74006500 0000"
    "0000 02000100 04000000 02000000 00000000"
)
TEXT_AND_TEXTS = bytes.fromhex(
    "02000000"
    "03000400 0a000000 56006d00 49004400 0000 0000"
    "03000100 06000000 61006200 0000 0000"
    "00000000"
    "03000400 06000000 41004200 0000 0000"
    "05000100 0c000000 78000000 79007a00 00000000"
    "00000000"
)
LIVE_MIGRATION = (
    bytes.fromhex("02000000 03000400 20000000")
    + "Virtual Machine\0".encode("utf-16-le")
    + bytes.fromhex("02000100 04000000 04000000 00000000 03000400 3c000000")
    + "Virtual Machine Configuration\0".encode("utf-16-le")
    + bytes.fromhex("02000100 04000000 04000000 00000000")
)
STATUS_INFORMATION = (
    bytes.fromhex("01000000 03000400 24000000")
    + "StatusInformation\0".encode("utf-16-le")
    + bytes.fromhex("06000100 08000000 04020000 00000000 00000000")
)
REQUIRED_DEPENDENCIES = bytes.fromhex(
    "03000400 16000000 49005000 20004100 64006400 72006500 73007300 0000 000002000200 04000000 01000000 00000000"
)
NODE_B = bytes.fromhex("4e00 4f00 4400 4500 2d00 4200 0000")

DWORD, SZ, MULTI_SZ = PropertyFormat.DWORD, PropertyFormat.SZ, PropertyFormat.MULTI_SZ
EXAMPLES = [
    (MIGRATION_STATE, 60, PropertyList.of([("MigrationState", DWORD, 2)])),
    (TEXT_AND_TEXTS, 84, PropertyList.of([("VmID", SZ, "ab"), ("AB", MULTI_SZ, ("x", "yz"))])),
    (
        LIVE_MIGRATION,
        144,
        PropertyList.of([("Virtual Machine", DWORD, 4), ("Virtual Machine Configuration", DWORD, 4)]),
    ),
    (
        STATUS_INFORMATION,
        68,
        PropertyList.of([("StatusInformation", PropertyFormat.ULARGE_INTEGER, 0x204)]),
    ),
    (b"\0\0\0\0", 4, PropertyList()),
]


# --- Known bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "size", "properties"), EXAMPLES)
def test_a_worked_example_is_parsed_and_packed_byte_for_byte(data: bytes, size: int, properties: PropertyList) -> None:
    assert len(data) == size
    assert parse_property_list(data) == properties
    assert pack_property_list(properties) == data


def test_required_dependencies_are_a_value_list() -> None:
    values = (PropertyValue(Syntax.NAME, "IP Address"), PropertyValue(Syntax.RESCLASS, 1))

    assert len(REQUIRED_DEPENDENCIES) == 48
    assert parse_value_list(REQUIRED_DEPENDENCIES) == values
    assert pack_value_list(values) == REQUIRED_DEPENDENCIES


def test_a_destination_node_is_bare_text() -> None:
    assert pack_sz("NODE-B") == NODE_B
    assert parse_sz(NODE_B) == "NODE-B"


@pytest.mark.parametrize(
    ("format_", "value", "data"),
    [
        (PropertyFormat.BINARY, b"\x01\x02\x03", "01000100 03000000 01020300"),
        (PropertyFormat.BINARY, b"", "01000100 00000000"),
        (PropertyFormat.LONG, -1, "07000100 04000000 ffffffff"),
        (PropertyFormat.WORD, 0x1234, "0b000100 02000000 34120000"),
        (PropertyFormat.LARGE_INTEGER, -2, "0a000100 08000000 feffffff ffffffff"),
        (PropertyFormat.FILETIME, 1, "0c000100 08000000 01000000 00000000"),
        (PropertyFormat.EXPAND_SZ, "%A%", "04000100 08000000 25004100 25000000"),
        (PropertyFormat.EXPANDED_SZ, "", "08000100 02000000 00000000"),
        (PropertyFormat.MULTI_SZ, (), "05000100 02000000 00000000"),
        (PropertyFormat.SECURITY_DESCRIPTOR, b"\x01", "09000100 01000000 01000000"),
        (
            PropertyFormat.VALUE_LIST,
            (PropertyValue.of(DWORD, 7),),
            "0d000100 10000000 02000100 04000000 07000000 00000000",
        ),
        (PropertyFormat.PROPERTY_LIST, PropertyList(), "0e000100 04000000 00000000"),
    ],
)
def test_each_format_has_its_bytes(format_: PropertyFormat, value: Value, data: str) -> None:
    values = (PropertyValue.of(format_, value),)

    assert pack_value_list(values) == bytes.fromhex(data) + bytes(4)
    assert parse_value_list(bytes.fromhex(data) + bytes(4)) == values


def test_a_vendors_type_and_format_are_carried_as_bytes() -> None:
    values = (PropertyValue(Syntax(0x8001_8002), b"abcde"),)

    assert parse_value_list(pack_value_list(values)) == values


def test_what_a_pad_holds_means_nothing() -> None:
    scribbled = bytearray(MIGRATION_STATE)
    scribbled[0x2A:0x2C] = b"\xaa\xbb"

    assert parse_property_list(bytes(scribbled)) == parse_property_list(MIGRATION_STATE)


NESTED = PropertyList.of([("A", PropertyFormat.PROPERTY_LIST, PropertyList.of([("B", PropertyFormat.DWORD, 1)]))])


@pytest.mark.parametrize("data", [MIGRATION_STATE, bytes(4), pack_property_list(NESTED)], ids=["one", "none", "nested"])
def test_one_endmark_after_the_last_property_is_taken_and_no_more(data: bytes) -> None:
    assert parse_property_list(data + bytes(4)) == parse_property_list(data)
    for more in (bytes(8), b"\0\0\0\1", bytes(3), bytes(5)):
        with pytest.raises(PropertyListError, match=f"{len(more)} bytes follow the end of the list"):
            parse_property_list(data + more)


def test_a_list_in_a_list_may_have_an_endmark_more() -> None:
    inner = pack_property_list(PropertyList.of([("B", PropertyFormat.DWORD, 1)])) + bytes(4)
    data = COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_PROPERTY_LIST, inner) + END
    assert parse_property_list(data) == parse_property_list(data + END) == NESTED


def test_a_property_may_have_several_values() -> None:
    properties = PropertyList((Property("A", (PropertyValue.of(DWORD, 1), PropertyValue.of(SZ, "two"))),))

    parsed = parse_property_list(pack_property_list(properties))

    assert parsed == properties
    assert parsed["a"] == 1


@pytest.mark.parametrize("data", [b"\0\0", b"\0\0\0\0"])
def test_no_texts_may_end_in_one_nul_or_in_two(data: bytes) -> None:
    assert parse_multi_sz(data) == ()


def test_a_syntax_is_a_type_above_a_format() -> None:
    assert Syntax.of(PropertyFormat.DWORD) is Syntax.LIST_VALUE_DWORD
    assert Syntax.of(PropertyFormat.SZ, PropertyType.NAME) is Syntax.NAME
    assert (Syntax.DISK_SIZE.type_word, Syntax.DISK_SIZE.format_word) == (12, 6)


# --- Looking things up ---------------------------------------------------------------------------------------------


def test_properties_are_found_without_regard_to_case_and_kept_in_order() -> None:
    properties = PropertyList.of([("VmId", SZ, "7"), ("MigrationState", DWORD, 3)])

    assert properties["migrationSTATE"] == 3
    assert properties.get("VMID") == "7"
    assert properties.get("VmState") is None
    assert "vmid" in properties
    assert "VmState" not in properties
    assert 3 not in properties
    assert [item.name for item in properties] == ["VmId", "MigrationState"]
    assert len(properties) == 2
    found = properties.find("migrationstate")
    assert found is not None
    assert found.values == (PropertyValue(Syntax.LIST_VALUE_DWORD, 3),)
    with pytest.raises(KeyError):
        properties["VmState"]


def test_typed_lookups_give_the_value_or_say_what_it_must_be() -> None:
    properties = PropertyList.of([("N", DWORD, 1), ("T", SZ, "x"), ("M", MULTI_SZ, ("a", "b")), ("E", MULTI_SZ, ())])

    assert properties.integer("n") == 1
    assert properties.text("t") == "x"
    assert properties.texts("m") == ("a", "b")
    assert properties.texts("e") == ()
    lookups: list[tuple[Callable[[str], object], str]] = [
        (properties.integer, "T"),
        (properties.text, "M"),
        (properties.texts, "N"),
    ]
    for look_up, name in lookups:
        with pytest.raises(CallerError, match=f"property {name} must be") as caught:
            look_up(name)
        assert caught.value.status is Status.ERROR_INVALID_DATA
        with pytest.raises(KeyError):
            look_up("absent")


def test_a_list_can_be_a_key() -> None:
    first = PropertyList.of([("A", DWORD, 1)])

    assert {first: "found"}[PropertyList.of([("A", DWORD, 1)])] == "found"
    assert pickle.loads(pickle.dumps(first)) == first


@pytest.mark.parametrize(
    ("format_", "value"),
    [
        (PropertyFormat.DWORD, -1),
        (PropertyFormat.DWORD, 1 << 32),
        (PropertyFormat.DWORD, "1"),
        (PropertyFormat.WORD, 1 << 16),
        (PropertyFormat.LONG, 1 << 31),
        (PropertyFormat.ULARGE_INTEGER, 1 << 64),
        (PropertyFormat.SZ, "a\0b"),
        (PropertyFormat.SZ, "\ud800"),
        (PropertyFormat.SZ, b"a"),
        (PropertyFormat.MULTI_SZ, ("a", "")),
        (PropertyFormat.MULTI_SZ, "a"),
        (PropertyFormat.MULTI_SZ, (PropertyValue.of(DWORD, 1),)),
        (PropertyFormat.VALUE_LIST, ("a",)),
        (PropertyFormat.PROPERTY_LIST, ()),
        (PropertyFormat.BINARY, "a"),
        (PropertyFormat.UNKNOWN, b""),
    ],
)
def test_a_value_that_does_not_fit_its_format_cannot_be_made(format_: PropertyFormat, value: Value) -> None:
    with pytest.raises(ValueError, match=r"fit|value|NUL|surrogates|empty"):
        PropertyValue.of(format_, value)


@pytest.mark.parametrize("syntax", [Syntax.ENDMARK, Syntax(0x0001_000F), Syntax(0x0010_0002), Syntax(0xFFFF_0002)])
def test_a_value_cannot_have_the_syntax_of_something_else(syntax: Syntax) -> None:
    with pytest.raises(ValueError, match="is not the syntax of a value"):
        PropertyValue(syntax, 0)


def test_a_property_that_could_not_be_read_back_cannot_be_made() -> None:
    one = (PropertyValue.of(DWORD, 1),)
    with pytest.raises(ValueError, match="needs a name"):
        Property("", one)
    with pytest.raises(ValueError, match="NUL"):
        Property("a\0b", one)
    with pytest.raises(ValueError, match="has no value"):
        Property("a", ())
    with pytest.raises(ValueError, match="begin another property"):
        Property("a", (PropertyValue(Syntax.NAME, "b"),))
    with pytest.raises(ValueError, match="comes twice"):
        PropertyList((Property("a", one), Property("A", one)))


# --- What is refused -----------------------------------------------------------------------------------------------


def entry(syntax: int, data: bytes, size: int | None = None) -> bytes:
    """One entry; ``size`` lies about its length."""
    return struct.pack("<II", syntax, len(data) if size is None else size) + data + bytes(-len(data) % 4)


COUNT_1, END = struct.pack("<I", 1), struct.pack("<I", 0)
NAME_A = entry(Syntax.NAME, pack_sz("A"))
ONE = entry(Syntax.LIST_VALUE_DWORD, END)
STRUCTURE, CONTENT = Status.ERROR_INVALID_PARAMETER, Status.ERROR_INVALID_DATA


@pytest.mark.parametrize(
    ("data", "offset", "reason", "status"),
    [
        (b"", 0, "ends where the property count", STRUCTURE),
        (b"\1\0\0", 0, "ends where the property count", STRUCTURE),
        (COUNT_1, 0, "1 properties do not fit into 0 bytes", STRUCTURE),
        (b"\xff\xff\xff\xff" + NAME_A + ONE + END, 0, "4294967295 properties do not fit", STRUCTURE),
        (b"\2\0\0\0" + NAME_A + ONE + END + NAME_A[:12], 0, "2 properties do not fit into 40", STRUCTURE),
        (b"\0\0\0\0" + NAME_A + ONE + END, 4, "28 bytes follow the end", STRUCTURE),
        (MIGRATION_STATE + b"\0", 60, "1 bytes follow the end", STRUCTURE),
        (MIGRATION_STATE[:-1], 56, "ends where a value or an endmark", STRUCTURE),
        (MIGRATION_STATE[:-4], 56, "ends where a value or an endmark", STRUCTURE),
        (b"\1\0" + MIGRATION_STATE[4:], 0, "properties do not fit", STRUCTURE),
        (COUNT_1 + b"\0\0" + MIGRATION_STATE[4:] + b"\0\0", 4, "stands where a property name belongs", STRUCTURE),
        (COUNT_1 + ONE + NAME_A + END, 4, "0x00010002 stands where a property name belongs", STRUCTURE),
        (COUNT_1 + NAME_A + NAME_A + ONE + END, 16, "0x00040003 stands where a value", STRUCTURE),
        (COUNT_1 + NAME_A + entry(0x0001_0000, END) + END, 16, "0x00010000 stands where a value", STRUCTURE),
        (COUNT_1 + NAME_A + entry(0x0001_000F, END) + END, 16, "0x0001000F stands where a value", STRUCTURE),
        (COUNT_1 + NAME_A + entry(0x0010_0002, END) + END, 16, "0x00100002 stands where a value", STRUCTURE),
        (COUNT_1 + NAME_A + END + ONE, 16, "property A has no value", STRUCTURE),
        (COUNT_1 + entry(Syntax.NAME, pack_sz("A"), 999) + ONE + END, 8, "999 bytes does not fit", STRUCTURE),
        (COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_BINARY, b"abc", 99) + END, 20, "99 bytes does not fit", STRUCTURE),
        (COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_BINARY, b"abcd", 9), 20, "9 bytes does not fit", STRUCTURE),
        (COUNT_1 + entry(Syntax.NAME, b"A\0B\0") + ONE + END, 12, "does not end in a NUL", STRUCTURE),
        (COUNT_1 + entry(Syntax.NAME, b"A\0\0") + ONE + END, 12, "3 bytes is odd", STRUCTURE),
        (COUNT_1 + entry(Syntax.NAME, b"\0\0") + ONE + END, 12, "has no characters", STRUCTURE),
        (COUNT_1 + entry(Syntax.NAME, b"") + ONE + ONE + END, 12, "not even a NUL", STRUCTURE),
        (COUNT_1 + entry(Syntax.NAME, b"A\0\0\0\0\0") + ONE + END, 12, "NUL inside, after 1 char", STRUCTURE),
        (COUNT_1 + entry(Syntax.NAME, b"\0\xd8\0\0") + ONE + END, 12, "half a surrogate pair at byte 0", STRUCTURE),
        (
            b"\2\0\0\0" + NAME_A + ONE + END + entry(Syntax.NAME, pack_sz("a")) + ONE + END,
            32,
            "property a comes twice",
            STRUCTURE,
        ),
        (b"\2\0\0\0" + (NAME_A + ONE + END) * 2, 32, "property A comes twice", STRUCTURE),
        (COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_DWORD, bytes(8)) + END, 24, "DWORD has 4 bytes, not 8", CONTENT),
        (COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_DWORD, b"") + END + END, 24, "DWORD has 4 bytes, not 0", CONTENT),
        (COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_LONG, b"12") + END, 24, "LONG has 4 bytes, not 2", CONTENT),
        (COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_WORD, bytes(4)) + END, 24, "WORD has 2 bytes, not 4", CONTENT),
        (
            COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_FILETIME, bytes(4)) + END,
            24,
            "FILETIME has 8 bytes, not 4",
            CONTENT,
        ),
        (COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_SZ, b"") + END + END, 24, "SZ is not a text: it is empty", CONTENT),
        (COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_SZ, b"a\0") + END, 24, "does not end in a NUL", CONTENT),
        (COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_SZ, b"\0\xdc\0\0") + END, 24, "half a surrogate", CONTENT),
        (COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_MULTI_SZ, b"a\0\0\0") + END, 24, "end in two NULs", CONTENT),
        (
            COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_MULTI_SZ, b"a\0\0\0\0\0b\0\0\0\0\0") + END,
            24,
            "an empty text inside",
            CONTENT,
        ),
        (
            COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_PROPERTY_LIST, COUNT_1 + NAME_A + NAME_A + ONE + END) + END,
            40,
            "0x00040003 stands where a value",
            STRUCTURE,
        ),
        (
            COUNT_1 + NAME_A + entry(Syntax.LIST_VALUE_VALUE_LIST, ONE + END + END) + END,
            40,
            "4 bytes follow the end",
            STRUCTURE,
        ),
        (
            COUNT_1
            + NAME_A
            + entry(Syntax.LIST_VALUE_VALUE_LIST, entry(Syntax.LIST_VALUE_VALUE_LIST, END + ONE) + END)
            + END,
            36,
            "12 bytes follow the end",
            STRUCTURE,
        ),
    ],
)
def test_a_malformed_list_is_refused_with_offset_reason_and_status(
    data: bytes, offset: int, reason: str, status: Status
) -> None:
    with pytest.raises(PropertyListError) as caught:
        parse_property_list(data)

    assert reason in caught.value.reason
    assert caught.value.offset == offset
    assert caught.value.status is status
    assert f"at byte {offset}: " in str(caught.value)


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"", 0, "ends where a value or an endmark"),
        (ONE, 12, "ends where a value or an endmark"),
        (END + END, 4, "4 bytes follow the end"),
        (entry(0xFFFF_0002, END) + END, 0, "0xFFFF0002 stands where a value"),
    ],
)
def test_a_malformed_value_list_is_refused(data: bytes, offset: int, reason: str) -> None:
    with pytest.raises(PropertyListError) as caught:
        parse_value_list(data)

    assert reason in caught.value.reason
    assert caught.value.offset == offset


def test_lists_nested_without_end_are_refused_and_a_few_levels_are_not() -> None:
    def nested(levels: int) -> bytes:
        data = END
        for _ in range(levels):
            data = entry(Syntax.LIST_VALUE_VALUE_LIST, data) + END
        return data

    assert len(parse_value_list(nested(8))) == 1
    with pytest.raises(PropertyListError, match="nested deeper than 8"):
        parse_value_list(nested(5000))


def test_a_refusal_survives_pickling() -> None:
    of_list = pickle.loads(pickle.dumps(PropertyListError("it is odd", 4, Status.ERROR_INVALID_DATA)))
    of_text = pickle.loads(pickle.dumps(TextBufferError("it is odd")))

    assert isinstance(of_list, PropertyListError)
    assert (of_list.reason, of_list.offset, of_list.status) == ("it is odd", 4, Status.ERROR_INVALID_DATA)
    assert str(of_list) == "the property list is malformed at byte 4: it is odd (ERROR_INVALID_DATA, 13)"
    assert isinstance(of_text, TextBufferError)
    assert str(of_text) == "the text is malformed: it is odd (ERROR_INVALID_PARAMETER, 87)"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not even a NUL"),
        (b"\0\0", "no characters"),
        (b"a\0\0", "3 bytes is odd"),
        (b"a\0b\0", "does not end in a NUL"),
        (b"a\0\0\0b\0\0\0", "NUL inside, after 1 characters"),
        (b"a\0\0\0\0\0", "NUL inside"),
        (b"\0\xd8\0\0", "half a surrogate pair"),
        (b"\0\xdc\0\0", "half a surrogate pair"),
        (b"\0\xd8", "half a surrogate pair"),
    ],
)
def test_a_bare_text_that_is_none_is_refused_as_a_wrong_parameter(data: bytes, reason: str) -> None:
    with pytest.raises(TextBufferError, match=reason) as caught:
        parse_sz(data)

    assert caught.value.status is Status.ERROR_INVALID_PARAMETER
    assert reason in caught.value.reason


def test_a_text_without_characters_is_let_through_where_it_may_be_empty() -> None:
    assert parse_sz(b"\0\0", may_be_empty=True) == ""
    with pytest.raises(TextBufferError, match="not even a NUL"):
        parse_sz(b"", may_be_empty=True)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"a\0\0\0", b"\0\0a\0\0\0\0\0", b"a\0\0\0\0\0b\0\0\0\0\0", b"\0\xd8\0\0\0\0"],
)
def test_texts_that_are_none_are_refused_as_a_wrong_parameter(data: bytes) -> None:
    with pytest.raises(TextBufferError) as caught:
        parse_multi_sz(data)

    assert caught.value.status is Status.ERROR_INVALID_PARAMETER


@pytest.mark.parametrize("texts", [("",), ("a", ""), ("a\0",), ("\udc00",)])
def test_texts_that_could_not_be_read_back_are_not_packed(texts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"empty|NUL|surrogates"):
        pack_multi_sz(texts)


# --- Formats -------------------------------------------------------------------------------------------------------


def test_formats_are_a_property_list_of_words() -> None:
    formats = {"VmId": PropertyFormat.SZ, "MigrationState": PropertyFormat.DWORD}

    data = pack_property_formats(formats)

    found = parse_property_list(data).find("VmId")
    assert found is not None
    assert found.values == (PropertyValue(Syntax.LIST_VALUE_WORD, 3),)
    assert parse_property_formats(data) == formats


@pytest.mark.parametrize(
    "properties",
    [
        PropertyList.of([("VmId", DWORD, 3)]),
        PropertyList.of([("VmId", PropertyFormat.WORD, 99)]),
        PropertyList((Property("VmId", (PropertyValue.of(PropertyFormat.WORD, 3),) * 2),)),
    ],
)
def test_what_is_no_list_of_formats_is_refused(properties: PropertyList) -> None:
    with pytest.raises(PropertyListError, match="property VmId") as caught:
        parse_property_formats(pack_property_list(properties))

    assert caught.value.status is Status.ERROR_INVALID_DATA


# --- Whatever comes ------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
LEAF: dict[PropertyFormat, st.SearchStrategy[Value]] = {
    PropertyFormat.BINARY: st.binary(max_size=9),
    PropertyFormat.DWORD: st.integers(0, (1 << 32) - 1),
    PropertyFormat.SZ: TEXT,
    PropertyFormat.EXPAND_SZ: TEXT,
    PropertyFormat.MULTI_SZ: st.lists(NAME, max_size=3).map(tuple),
    PropertyFormat.ULARGE_INTEGER: st.integers(0, (1 << 64) - 1),
    PropertyFormat.LONG: st.integers(-(1 << 31), (1 << 31) - 1),
    PropertyFormat.EXPANDED_SZ: TEXT,
    PropertyFormat.SECURITY_DESCRIPTOR: st.binary(max_size=9),
    PropertyFormat.LARGE_INTEGER: st.integers(-(1 << 63), (1 << 63) - 1),
    PropertyFormat.WORD: st.integers(0, (1 << 16) - 1),
    PropertyFormat.FILETIME: st.integers(0, (1 << 64) - 1),
}
LEAVES = st.sampled_from(list(LEAF)).flatmap(lambda format_: LEAF[format_].map(lambda v: PropertyValue.of(format_, v)))


def lists_of(values: st.SearchStrategy[PropertyValue]) -> st.SearchStrategy[PropertyList]:
    """Property lists whose values come from ``values``."""
    items = st.builds(Property, NAME, st.lists(values, min_size=1, max_size=3).map(tuple))
    return st.lists(items, max_size=4, unique_by=lambda item: item.name.casefold()).map(
        lambda p: PropertyList(tuple(p))
    )


def nested(values: st.SearchStrategy[PropertyValue]) -> st.SearchStrategy[PropertyValue]:
    """Values that are lists of ``values``."""
    value_lists = st.lists(values, max_size=3).map(lambda v: PropertyValue.of(PropertyFormat.VALUE_LIST, tuple(v)))
    return value_lists | lists_of(values).map(lambda p: PropertyValue.of(PropertyFormat.PROPERTY_LIST, p))


VALUES = LEAVES | nested(LEAVES | nested(LEAVES))
PROPERTY_LISTS = lists_of(VALUES)


@given(PROPERTY_LISTS)
def test_any_property_list_survives_packing_and_parsing(properties: PropertyList) -> None:
    data = pack_property_list(properties)

    assert len(data) % 4 == 0
    assert parse_property_list(data) == properties


@given(st.lists(VALUES | NAME.map(lambda name: PropertyValue(Syntax.NAME, name)), max_size=4))
def test_any_value_list_survives_packing_and_parsing(values: list[PropertyValue]) -> None:
    assert parse_value_list(pack_value_list(values)) == tuple(values)


@given(st.lists(NAME, max_size=5))
def test_any_texts_survive_packing_and_parsing(texts: list[str]) -> None:
    assert parse_multi_sz(pack_multi_sz(texts)) == tuple(texts)


@given(PROPERTY_LISTS, st.data())
def test_a_property_list_cut_short_anywhere_is_refused(properties: PropertyList, data: st.DataObject) -> None:
    packed = pack_property_list(properties)
    cut = data.draw(st.integers(0, len(packed) - 1))

    with pytest.raises(PropertyListError):
        parse_property_list(packed[:cut])


def parses_to_the_same_again_or_is_refused(data: bytes) -> None:
    """The promise to whoever hands in bytes from anywhere."""
    try:
        properties = parse_property_list(data)
    except PropertyListError as error:
        assert 0 <= error.offset <= len(data)
        return
    assert parse_property_list(pack_property_list(properties)) == properties


@given(PROPERTY_LISTS, st.data())
def test_a_mutated_property_list_keeps_a_meaning_or_is_refused(properties: PropertyList, data: st.DataObject) -> None:
    packed = bytearray(pack_property_list(properties))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(packed)))
        match data.draw(st.sampled_from(["set", "insert", "delete"])):
            case "set":
                packed[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "insert":
                packed[at:at] = data.draw(st.binary(max_size=8))
            case _:
                del packed[at : at + data.draw(st.integers(0, 8))]

    parses_to_the_same_again_or_is_refused(bytes(packed))


@given(st.binary(max_size=64))
def test_any_bytes_keep_a_meaning_or_are_refused(data: bytes) -> None:
    parses_to_the_same_again_or_is_refused(data)


@given(st.binary(max_size=16))
def test_any_bytes_are_a_text_or_are_refused(data: bytes) -> None:
    try:
        text = parse_sz(data)
    except TextBufferError:
        return
    assert pack_sz(text) == data
