"""Statuses: every number of the cluster range has its name, and no number from the wire is lost."""

import copy
import pickle

import pytest

from quorate.clusapi.status import E_BUSY, E_FAIL, Status, describe, hresult_of, status_name


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("ERROR_SUCCESS", 0),
        ("ERROR_INVALID_FUNCTION", 1),
        ("ERROR_INVALID_DATA", 13),
        ("ERROR_INVALID_PARAMETER", 87),
        ("ERROR_MORE_DATA", 234),
        ("WAIT_TIMEOUT", 258),
        ("ERROR_IO_PENDING", 997),
        ("RPC_S_SERVER_UNAVAILABLE", 1722),
        ("RPC_X_BAD_STUB_DATA", 1783),
        ("ERROR_DEPENDENT_RESOURCE_EXISTS", 5001),
        ("ERROR_HOST_NODE_NOT_AVAILABLE", 0x138D),
        ("ERROR_INVALID_STATE", 0x139F),
        ("ERROR_NO_ADMIN_ACCESS_POINT", 5090),
        ("ERROR_CLUSTER_MEMBERSHIP_INVALID_STATE", 0x1702),
        ("ERROR_CLUSTER_NODE_DRAIN_IN_PROGRESS", 0x174A),
        ("ERROR_CLUSTERSET_MANAGEMENT_CLUSTER_UNREACHABLE", 5999),
    ],
)
def test_a_status_has_microsofts_name_and_number(name: str, number: int) -> None:
    assert Status[name] == number
    assert Status(number).name == name
    assert status_name(number) == name


def test_the_cluster_range_is_complete() -> None:
    listed = {status.value for status in Status if status >= 5000}

    assert listed == set(range(5001, 5091)) - {5055} | set(range(5890, 6000))


def test_every_listed_status_has_a_meaning_of_its_own_words() -> None:
    assert all(status.meaning and status.meaning != "unknown status" for status in Status)


def test_a_running_drain_answers_to_the_protocols_name_too() -> None:
    assert Status["ERROR_CLUSTER_NODE_EVACUATION_IN_PROGRESS"] is Status.ERROR_CLUSTER_NODE_DRAIN_IN_PROGRESS


@pytest.mark.parametrize("number", [4, 5055, 5889, 6000, 0xFFFFFFFF])
def test_an_unlisted_number_survives_as_a_status(number: int) -> None:
    status = Status(number)

    assert status == number
    assert status.value == number
    assert status.name == f"STATUS_{number}"
    assert not status.is_listed
    assert describe(number) == "unknown status"


def test_an_unlisted_status_survives_copying_and_pickling() -> None:
    status = Status(6000)

    assert copy.deepcopy(status) == pickle.loads(pickle.dumps(status)) == 6000


def test_an_unlisted_status_does_not_join_the_list() -> None:
    count = len(Status)

    Status(6001)

    assert len(Status) == count
    assert Status.ERROR_INVALID_STATE.is_listed


@pytest.mark.parametrize("number", [-1, 1 << 32])
def test_a_number_of_more_than_32_bits_is_no_status(number: int) -> None:
    with pytest.raises(ValueError, match="is not a valid Status"):
        Status(number)


def test_an_hresult_is_described_by_the_status_inside() -> None:
    assert describe(E_BUSY) == "requested object is in use (as an HRESULT)"
    assert describe(E_FAIL) == "unspecified failure (HRESULT)"


@pytest.mark.parametrize(
    ("status", "hresult"),
    [
        (Status.ERROR_SUCCESS, 0),
        (Status.ERROR_BUSY, E_BUSY),
        (Status.ERROR_MORE_DATA, 0x800700EA),
        (Status.ERROR_INVALID_STATE, 0x8007139F),
        (0xFFFF, 0x8007FFFF),
        (E_FAIL, E_FAIL),
    ],
)
def test_a_status_is_wrapped_as_an_hresult(status: int, hresult: int) -> None:
    assert hresult_of(status) == hresult


@pytest.mark.parametrize("number", [-1, 0x10000, 0x7FFFFFFF, 1 << 32])
def test_a_number_that_no_hresult_can_hold_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="16 bits"):
        hresult_of(number)
