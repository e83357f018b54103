"""Explanations: whatever people paste is recognized and taken apart."""

import json

import pytest

from quorate.clusapi.errors import CallerError
from quorate.clusapi.explain import (
    ControlCodeExplanation,
    Outcome,
    PropertyListExplanation,
    StatusExplanation,
    explain,
    explain_control_code,
    explain_property_list,
    explain_status,
)
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    PropertyListError,
    PropertyValue,
    pack_property_list,
)

MIGRATION_STATE = PropertyList.of([("MigrationState", PropertyFormat.DWORD, 2)])

BARE = (
    "01 00 00 00 03 00 04 00 1e 00 00 00 4d 00 69 00 67 00 72 00 61 00 74 00 69 00 6f 00 6e 00 53 00 "
    "74 00 61 00 74 00 65 00 00 00 00 00 02 00 01 00 04 00 00 00 02 00 00 00 00 00 00 00"
)
XXD = """\
00000000: 0100 0000 0300 0400 1e00 0000 4d00 6900  ............M.i.
00000010: 6700 7200 6100 7400 6900 6f00 6e00 5300  g.r.a.t.i.o.n.S.
00000020: 7400 6100 7400 6500 0000 0000 0200 0100  t.a.t.e.........
00000030: 0400 0000 0200 0000 0000 0000            ............
"""
HEXDUMP = """\
00000000  01 00 00 00 03 00 04 00  1e 00 00 00 4d 00 69 00  |............M.i.|
00000010  67 00 72 00 61 00 74 00  69 00 6f 00 6e 00 53 00  |g.r.a.t.i.o.n.S.|
00000020  74 00 61 00 74 00 65 00  00 00 00 00 02 00 01 00  |t.a.t.e.........|
00000030  04 00 00 00 02 00 00 00  00 00 00 00              |............|
0000003c
"""


@pytest.mark.parametrize(
    "text",
    ["0x01600004", " 0X1600004\n", "23068676", "CLUSCTL_RESOURCE_VM_START_MIGRATION", "vm_start_migration"],
)
def test_start_migration_is_recognized_by_number_and_by_name(text: str) -> None:
    explanation = explain(text)

    assert isinstance(explanation, ControlCodeExplanation)
    assert explanation.code == 0x01600004
    assert "VM_START_MIGRATION" in [code.short_name for code in explanation.known_as]


def test_a_control_code_is_taken_apart_bit_by_bit() -> None:
    explanation = explain_control_code(0x01600004)

    assert [(row.bits, row.field, row.value) for row in explanation.rows] == [
        ("31-24", "object", "0x01"),
        ("23", "global", "0"),
        ("22", "modify", "1"),
        ("21", "user", "1"),
        ("20", "internal", "0"),
        ("19-2", "function", "0x00001"),
        ("1-0", "access", "0"),
    ]
    assert [row.meaning for row in explanation.rows] == [
        "resource",
        "one node carries it out",
        "may change data: needs full access",
        "defined by the resource type's vendor",
        "open to applications",
        "vendor function 1",
        "any",
    ]
    assert [code.resource_type for code in explanation.known_as] == ["Virtual Machine", "Virtual Machine Configuration"]


def test_the_other_value_of_each_bit_has_its_own_words() -> None:
    meanings = [row.meaning for row in explain_control_code(0xFF900003).rows]

    assert meanings == [
        "unknown object",
        "every node must carry it out",
        "changes nothing: read access is enough",
        "defined by the cluster",
        "sent by the cluster only",
        "internal function 0",
        "read and write",
    ]


def test_an_unnamed_code_is_known_by_its_base_operation() -> None:
    explanation = explain_control_code(0x09000029)

    assert [code.name for code in explanation.known_as] == ["CLCTL_GET_NAME"]


def test_a_code_that_nobody_knows_is_still_taken_apart() -> None:
    explanation = explain("0x01FFFFFC")

    assert isinstance(explanation, ControlCodeExplanation)
    assert explanation.known_as == ()
    assert explanation.rows[5].value == "0x3FFFF"


def test_a_name_that_many_objects_share_is_explained_by_its_base_operation() -> None:
    explanation = explain("GET_NAME")

    assert isinstance(explanation, ControlCodeExplanation)
    assert explanation.code == 0x29
    assert "CLUSCTL_NODE_GET_NAME" in [code.name for code in explanation.known_as]


@pytest.mark.parametrize("text", ["5023", "0x139F", "ERROR_INVALID_STATE", "error_invalid_state", "INVALID_STATE"])
def test_a_status_is_recognized_by_number_and_by_name(text: str) -> None:
    assert explain(text) == StatusExplanation(
        status=5023,
        name="ERROR_INVALID_STATE",
        meaning="the group, resource or VM is not in the right state for the request",
        outcome=Outcome.REFUSAL,
        hresult=0x8007139F,
    )


@pytest.mark.parametrize(
    ("text", "name", "outcome"),
    [
        ("0", "ERROR_SUCCESS", Outcome.SUCCESS),
        ("997", "ERROR_IO_PENDING", Outcome.SUCCESS),
        ("5024", "ERROR_RESOURCE_PROPERTIES_STORED", Outcome.SUCCESS),
        ("5", "ERROR_ACCESS_DENIED", Outcome.CALLER),
        ("1722", "RPC_S_SERVER_UNAVAILABLE", Outcome.FAULT),
        ("0x80004005", "E_FAIL", Outcome.FAULT),
        ("-2147467259", "E_FAIL", Outcome.FAULT),
        ("0x800700AA", "E_BUSY", Outcome.REFUSAL),
        ("E_BUSY", "E_BUSY", Outcome.REFUSAL),
        ("0x80070057", "STATUS_2147942487", Outcome.CALLER),
        ("6000", "STATUS_6000", Outcome.FAULT),
    ],
)
def test_a_status_tells_whose_turn_it_is(text: str, name: str, outcome: Outcome) -> None:
    explanation = explain(text)

    assert isinstance(explanation, StatusExplanation)
    assert (explanation.name, explanation.outcome) == (name, outcome)


def test_a_small_number_that_is_no_status_may_be_a_base_operation() -> None:
    explanation = explain("0x59")

    assert isinstance(explanation, ControlCodeExplanation)
    assert [code.name for code in explanation.known_as] == ["CLCTL_GET_COMMON_PROPERTIES"]


def test_an_hresult_keeps_its_number_and_a_number_between_has_none() -> None:
    assert explain_status(0x80004005).hresult == 0x80004005
    assert explain_status(0x00012345).hresult is None


def test_a_status_is_explained_by_name() -> None:
    assert explain_status("e_fail").status == 0x80004005
    assert explain_status("RPC_S_CALL_FAILED").status == 1726


@pytest.mark.parametrize("text", [BARE, BARE.replace(" ", ""), BARE.replace(" ", ", 0x"), XXD, HEXDUMP])
def test_a_hex_dump_is_read_as_a_property_list(text: str) -> None:
    assert explain(text) == PropertyListExplanation(60, MIGRATION_STATE)


def test_a_dump_that_is_no_property_list_says_where_it_goes_wrong() -> None:
    with pytest.raises(PropertyListError) as caught:
        explain("01 00 00 00 ff ff ff ff")

    assert caught.value.offset == 0


@pytest.mark.parametrize("text", ["", "VM_TELEPORT", "0x1FFFFFFFF", "4294967296", "-2147483649", "01 00 0", "zz zz"])
def test_what_is_nothing_of_all_this_is_the_callers_mistake(text: str) -> None:
    with pytest.raises(CallerError) as caught:
        explain(text)

    assert caught.value.status == 87


def test_a_typing_mistake_gets_a_suggestion() -> None:
    with pytest.raises(CallerError, match=r"did you mean VM_START_MIGRATION\?"):
        explain("VM_START_MIGRATON")
    with pytest.raises(CallerError, match=r"did you mean ERROR_INVALID_STATE\?"):
        explain_status("ERROR_INVALID_STAT")


@pytest.mark.parametrize("number", [-1, 1 << 32])
def test_numbers_of_more_than_32_bits_are_refused(number: int) -> None:
    with pytest.raises(CallerError, match="32-bit"):
        explain_control_code(number)
    with pytest.raises(CallerError, match="32-bit"):
        explain_status(number)


# --- JSON ----------------------------------------------------------------------------------------------------------


def test_a_control_code_as_json() -> None:
    explained = json.loads(json.dumps(explain_control_code(0x01600008).to_json()))

    assert (explained["kind"], explained["code"], explained["hex"]) == ("control code", 0x01600008, "0x01600008")
    assert explained["fields"][0] == {"bits": "31-24", "field": "object", "value": "0x01", "meaning": "resource"}
    assert explained["known_as"] == [
        {
            "name": "CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION",
            "code": 0x01600008,
            "hex": "0x01600008",
            "input": "none",
            "output": "none",
            "handler": "the resource type that it was made for",
            "note": "only in MigrationState 1 and 2",
            "resource_type": "Virtual Machine",
        }
    ]


def test_a_status_as_json() -> None:
    assert json.loads(json.dumps(explain_status(170).to_json())) == {
        "kind": "status",
        "status": 170,
        "hex": "0x000000AA",
        "name": "ERROR_BUSY",
        "meaning": "requested object is in use",
        "outcome": "the cluster's refusal",
        "hresult": "0x800700AA",
    }


def test_a_property_list_as_json_keeps_wide_integers_and_bytes() -> None:
    properties = PropertyList.of(
        [
            ("State", PropertyFormat.DWORD, 2),
            ("Status", PropertyFormat.ULARGE_INTEGER, 1 << 63),
            ("Data", PropertyFormat.BINARY, b"\x00\xff"),
            ("Names", PropertyFormat.MULTI_SZ, ("a", "b")),
            ("Values", PropertyFormat.VALUE_LIST, (PropertyValue.of(PropertyFormat.SZ, "x"),)),
            ("Inner", PropertyFormat.PROPERTY_LIST, MIGRATION_STATE),
        ]
    )
    data = pack_property_list(properties)

    explained = json.loads(json.dumps(explain_property_list(data).to_json()))

    assert (explained["kind"], explained["size"]) == ("property list", len(data))
    assert {item["name"]: item["values"] for item in explained["properties"]} == {
        "State": [{"syntax": "LIST_VALUE_DWORD", "value": 2}],
        "Status": [{"syntax": "LIST_VALUE_ULARGE_INTEGER", "value": str(1 << 63)}],
        "Data": [{"syntax": "LIST_VALUE_BINARY", "value": "AP8="}],
        "Names": [{"syntax": "LIST_VALUE_MULTI_SZ", "value": ["a", "b"]}],
        "Values": [{"syntax": "LIST_VALUE_VALUE_LIST", "value": [{"syntax": "LIST_VALUE_SZ", "value": "x"}]}],
        "Inner": [
            {
                "syntax": "LIST_VALUE_PROPERTY_LIST",
                "value": [{"name": "MigrationState", "values": [{"syntax": "LIST_VALUE_DWORD", "value": 2}]}],
            }
        ],
    }
