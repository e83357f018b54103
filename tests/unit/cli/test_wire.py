"""``quorate wire``: calls of MS-CMRP in words, from a hex dump, bytes or a capture."""

import json
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.dcerpc import exchanges
from tests.unit.dcerpc.test_dissect import conversation, pcap

from quorate.cli.main import run
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list
from quorate.dcerpc.dissect import dissect
from quorate.dcerpc.errors import NdrError
from quorate.dcerpc.ndr import ContextHandle
from quorate.dcerpc.pdu import PduType, Request, Response
from quorate.dcerpc.security import pack_fragments
from quorate.mscmrp.interface import METHODS
from quorate.mscmrp.resource_methods import RESOURCE_CONTROL
from quorate.mscmrp.shapes import ControlIn, ControlOut
from quorate.mscmrp.words import vocabulary

HANDLE = ContextHandle(UUID("1a79ea08-cc4a-4049-8f01-3d0bd921ad4f"))
START_MIGRATION = 0x01600004
GET_PRIVATE_PROPERTIES = 0x01000081


def talk(code: int, in_buffer: bytes | None, out_buffer: bytes = b"", status: int = 0) -> bytes:
    """A call and its answer, in the clear."""
    declared, inputs = RESOURCE_CONTROL.declaration, ControlIn(HANDLE, code, in_buffer, 65536)
    head = Request(0, 0, RESOURCE_CONTROL.opnum, None, 0)
    sent = pack_fragments(PduType.REQUEST, 7, head, declared.inputs.pack(inputs), 4280)
    answer = declared.outputs.pack(ControlOut(out_buffer, len(out_buffer), status), declared.inputs.values(inputs))
    return b"".join((*sent, *pack_fragments(PduType.RESPONSE, 7, Response(0, 0), answer, 4280)))


def test_a_call_and_its_answer_are_told_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["wire", talk(START_MIGRATION, b"n\0o\0\0\0", status=5023).hex(" ", 4)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("request, call 7: clusapi.ResourceControl (opnum 73), ")
    assert f"handle = handle {HANDLE.uuid}" in lines
    assert any(line.startswith("control_code = CLUSCTL_RESOURCE_VM_START_MIGRATION") for line in lines)
    assert lines[-1] == "status = ERROR_INVALID_STATE (5023)"


def test_a_property_list_is_taken_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = pack_property_list(PropertyList.of([("MigrationState", PropertyFormat.DWORD, 2)]))
    file = tmp_path / "talk"
    file.write_bytes(talk(GET_PRIVATE_PROPERTIES, None, listed))
    assert run(["--json", "wire", str(file)]) == 0
    lines = [line.strip() for line in json.loads(capsys.readouterr().out)["lines"]]
    assert "MigrationState = '2'" in lines or "MigrationState = 2" in lines
    assert "in_buffer = null" in lines


def test_a_capture_of_both_protocols(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "talk.pcap"
    file.write_bytes(pcap(conversation(500)))
    assert run(["wire", str(file)]) == 0
    assert "epm.ept_map (opnum 3)" in capsys.readouterr().out


def test_what_is_sealed_is_told_without_what_is_in_it() -> None:
    lines = list(dissect(exchanges.BIND + exchanges.SEALED_REQUEST, (vocabulary(),)))
    assert lines[-1].endswith(", sealed") and not lines[-1].startswith(" ")


@pytest.mark.parametrize("what", ["no such file", "0", "0g", "05000003"])
def test_what_is_no_call_is_said_to_be_none(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["wire", what])
    written = capsys.readouterr()
    assert (code, bool(written.err)) in {(2, True), (0, False)}
    assert written.err or "not whole" in written.out


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(METHODS)), st.binary(max_size=120))
def test_no_data_breaks_the_words(opnum: int, data: bytes) -> None:
    operation = vocabulary().operations[opnum]
    for show in (operation.show_inputs, operation.show_outputs):
        try:
            show(data)
        except NdrError:
            continue
