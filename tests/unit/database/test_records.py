import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.identity import ImageId, NodeId, ResourceId
from quorate.clusapi.status import Status
from quorate.database.failover_records import CoordinatorRecord, FailoverNote, FailoverState, LapseNote
from quorate.database.records import Admission, Counter, Lease, NameEntry, NodeFacts, Ownership, RunState, VmRunState
from quorate.database.values import KeyRecord, RegistryType, RegistryValue, RegistryValues

EXAMPLES = [
    Ownership(NodeId("1"), 3, ImageId("i"), ImageId("g"), NodeId("2")),
    Ownership(NodeId("1"), 1),
    RunState(True, NodeId("2"), {ResourceId("r"): 2}, VmRunState(2, 1, 0, ImageId("i"), "/p", "said"), 4),
    RunState(),
    RunState(failover=FailoverState((FailoverNote(1.5, NodeId("2")),), 7.0, True, True, "said")),
    CoordinatorRecord(NodeId("1"), "i", 9.5, 1.0, (LapseNote(NodeId("2"), "j", 3.0),), {NodeId("2"): None}),
    Lease("a", 7, 5.0, seen=3, resilience=240.0, ended=True, joining=True),
    Admission(),
    NodeFacts("unix:/a", "unix:/b", 12, "0.1", {"kind": "qemu", "list": [1, 2]}),
    NameEntry("id"),
    Counter(3),
    KeyRecord("Name", RegistryValues({"A": RegistryValue.sz("x")})),
]


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_a_record_is_read_as_it_was_written(record: Ownership) -> None:
    assert type(record).decode(record.encode()) == record
    assert json.loads(record.encode())["version"] == 1


def test_a_lease_of_an_older_program_lets_nobody_conclude_anything_from_time() -> None:
    old = b'{"duration":5.0,"incarnation":"a","sequence":7,"version":1}'
    assert Lease.decode(old) == Lease("a", 7, 5.0, seen=0, resilience=0.0, ended=False, joining=False)


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_fields_that_only_a_newer_node_knows_survive_a_rewrite(record: Ownership) -> None:
    document = json.loads(record.encode())
    document["of_tomorrow"] = {"deep": [1, None, "x"]}
    read = type(record).decode(json.dumps(document).encode())
    assert json.loads(read.encode()) == document


def test_fields_inside_a_vms_run_state_survive_too() -> None:
    document = json.loads(RunState(vm=VmRunState(2)).encode())
    document["vm"]["of_tomorrow"] = 1
    assert json.loads(RunState.decode(json.dumps(document).encode()).encode()) == document


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_a_record_of_a_newer_version_is_refused_with_advice(record: Ownership) -> None:
    document = {**json.loads(record.encode()), "version": 2}
    with pytest.raises(FaultError, match="upgrade") as caught:
        type(record).decode(json.dumps(document).encode())
    assert caught.value.status == Status.ERROR_CLUSTER_OLD_VERSION


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_a_damaged_record_is_a_fault(record: Ownership) -> None:
    document = json.loads(record.encode())
    of_any_type = {"hypervisor", "name"}  # an object without a schema; a name that is whatever was written
    for name in document.keys() - of_any_type:
        with pytest.raises(FaultError):
            type(record).decode(json.dumps({**document, name: [["wrong"]]}).encode())
    for data in (b"", b"[]", b"\xff", b"{}"):
        with pytest.raises(FaultError):
            type(record).decode(data)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES = st.one_of(
    TEXTS.map(RegistryValue.sz),
    TEXTS.map(RegistryValue.expand_sz),
    st.integers(0, 2**32 - 1).map(RegistryValue.dword),
    st.integers(0, 2**64 - 1).map(RegistryValue.qword),
    st.binary().map(RegistryValue.binary),
    st.lists(TEXTS.filter(bool)).map(lambda texts: RegistryValue.multi_sz(*texts)),
)


@given(st.text(), st.dictionaries(st.text(max_size=20), VALUES, max_size=6))
def test_any_values_are_read_as_they_were_written(name: str, values: dict[str, RegistryValue]) -> None:
    record = KeyRecord(name, RegistryValues(values))
    assert KeyRecord.decode(record.encode()) == record


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (RegistryType.DWORD, -1),
        (RegistryType.DWORD, 2**32),
        (RegistryType.DWORD, True),
        (RegistryType.QWORD, 2**64),
        (RegistryType.SZ, "a\0b"),
        (RegistryType.SZ, "\ud800"),
        (RegistryType.SZ, 3),
        (RegistryType.MULTI_SZ, ("a", "")),
        (RegistryType.MULTI_SZ, "a"),
        (RegistryType.BINARY, "a"),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_refused(kind: RegistryType, data: str) -> None:
    with pytest.raises(CallerError) as caught:
        RegistryValue(kind, data)
    assert caught.value.status == Status.ERROR_INVALID_PARAMETER


def test_values_are_found_without_regard_to_case_and_keep_their_spelling() -> None:
    values = RegistryValues({"Straße": RegistryValue.sz("x"), "Number": RegistryValue.dword(5)})
    assert values.text("STRASSE") == "x"
    assert "nUmBeR" in values
    assert values.number("missing", 7) == 7
    assert values.text("Number", "other type") == "other type"
    changed = values.changed({"NUMBER": RegistryValue.dword(6), "straße": None, "New": RegistryValue.sz("y")})
    assert list(changed) == ["Number", "New"]
    assert changed.number("Number") == 6
    assert list(values) == ["Straße", "Number"]
    assert RegistryValues({"a": RegistryValue.dword(1)}) == RegistryValues({"A": RegistryValue.dword(1)})
