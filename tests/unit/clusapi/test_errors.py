"""Errors: a status from the wire comes back on the branch that tells whose turn it is."""

import pickle

import pytest

from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError, error_from_status
from quorate.clusapi.status import Status


@pytest.mark.parametrize(
    ("status", "branch"),
    [
        (Status.ERROR_INVALID_FUNCTION, CallerError),
        (Status.ERROR_ACCESS_DENIED, CallerError),
        (Status.ERROR_INVALID_DATA, CallerError),
        (Status.ERROR_CLUSTER_NODE_NOT_FOUND, CallerError),
        (Status.ERROR_RESOURCE_NOT_FOUND, CallerError),
        (Status.ERROR_BUSY, RefusalError),
        (Status.ERROR_INVALID_STATE, RefusalError),
        (Status.ERROR_CLUSTER_NODE_PAUSED, RefusalError),
        (Status.ERROR_CLUSTER_RESOURCE_LOCKED_STATUS, RefusalError),
        (Status.ERROR_TIMEOUT, FaultError),
        (Status.RPC_S_SERVER_UNAVAILABLE, FaultError),
        (Status.ERROR_RESOURCE_CALL_TIMED_OUT, FaultError),
        (Status.ERROR_CLUSTER_NO_QUORUM, FaultError),
        (6000, FaultError),
    ],
)
def test_a_status_finds_its_branch(status: int, branch: type[ClusterError]) -> None:
    error = error_from_status(status, "web1 does not run")

    assert type(error) is branch
    assert error.status == status
    assert error.sentence == "web1 does not run"


@pytest.mark.parametrize("status", [status for status in Status if status != Status.ERROR_SUCCESS])
def test_every_listed_status_but_success_is_on_a_branch(status: Status) -> None:
    error = error_from_status(status, "")

    assert error.status is status
    assert [type(error) is branch for branch in (CallerError, RefusalError, FaultError)].count(True) == 1


def test_success_is_no_error() -> None:
    with pytest.raises(ValueError, match="not an error"):
        error_from_status(0, "all is well")


def test_an_error_says_its_sentence_and_its_status() -> None:
    error = RefusalError(Status.ERROR_INVALID_STATE, "web1 is paused")

    assert str(error) == "web1 is paused (ERROR_INVALID_STATE, 5023)"


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(FaultError(Status.ERROR_TIMEOUT, "node2 did not answer")))

    assert isinstance(error, FaultError)
    assert (error.status, error.sentence) == (Status.ERROR_TIMEOUT, "node2 did not answer")
