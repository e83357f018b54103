"""Which member is asked next, and when a call is given up; and what gRPC's failures mean."""

from collections.abc import Sequence

import pytest

from quorate.clusapi.status import Status
from quorate.database.contract import StoreUnavailable
from quorate.database.etcd.attempts import Attempts, Call, Rotation
from quorate.database.etcd.failures import EtcdFailure
from quorate.database.etcd.messages import Method
from quorate.database.etcd.settings import Endpoint, EtcdTimings

TIMINGS = EtcdTimings(read_wait=0.5, write_wait=1.5, answer_wait=5.0, fresh=0.5)
PROBE = Call(Method.RANGE, b"probe")
READ = Call(Method.RANGE, b"read")
WRITE = Call(Method.TXN, b"write", is_write=True)

SILENCE = EtcdFailure("DEADLINE_EXCEEDED", "Deadline Exceeded")
REFUSED = EtcdFailure(
    "UNAVAILABLE",
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:2379: Failed to connect to remote host:"
    " Connection refused",
)
NO_LEADER = EtcdFailure("UNAVAILABLE", "etcdserver: no leader")
WRONG_CA = EtcdFailure(
    "UNAVAILABLE",
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Tls handshake failed"
    " (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:"
    " unable to get local issuer certificate: OK",
)


def rotation(count: int = 3) -> Rotation:
    return Rotation([Endpoint(f"e{number}", 2379, True) for number in range(count)])


def attempts(members: Rotation) -> Attempts:
    return Attempts(members, TIMINGS, PROBE, 100.0)


def asked(members: Rotation, call: Call, failures: Sequence[EtcdFailure]) -> list[tuple[int, str, float]]:
    """The attempts of a call of which each ends so, after the time that it was given."""
    now, tries, found = 100.0, attempts(members), []
    for failure in failures:
        attempt = tries.next(call, now)
        found.append((attempt.index, attempt.call.request.decode(), attempt.wait))
        now += attempt.wait if failure is SILENCE else 0.001
        tries.failed(attempt, failure, now)
    return found


def test_a_read_goes_from_member_to_member_with_growing_patience() -> None:
    members = rotation()
    assert asked(members, READ, [SILENCE] * 5) == [
        (0, "read", 0.5),
        (1, "read", 0.5),
        (2, "read", 0.5),
        (0, "read", 1.0),
        (1, "read", 1.0),
    ]
    assert members.current == 2


def test_a_read_is_given_up_when_its_time_is_over() -> None:
    with pytest.raises(StoreUnavailable, match=r"e0:2379, https://e1:2379, https://e2:2379: no answer in time"):
        asked(rotation(), READ, [SILENCE] * 10)


def test_the_last_attempt_ends_with_the_time_of_the_call() -> None:
    tries = attempts(rotation())
    assert tries.next(READ, 104.9).wait == pytest.approx(0.1)
    with pytest.raises(StoreUnavailable):
        tries.next(READ, 105.0)


def test_members_that_are_not_there_are_asked_again_after_a_pause() -> None:
    tries, pauses = attempts(rotation()), []
    for now in (100.0, 100.01, 100.02, 100.03, 100.14, 100.15, 100.16):
        attempt = tries.next(READ, now)
        pauses.append(attempt.pause)
        tries.failed(attempt, REFUSED, now + 0.01)
    assert pauses == [0, 0, 0, 0.1, 0, 0, 0.1]


def test_a_write_is_only_sent_to_a_member_that_answered_just_before() -> None:
    members = rotation()
    tries = attempts(members)
    probe = tries.next(WRITE, 100.0)
    assert (probe.index, probe.call, probe.wait) == (0, PROBE, 0.5)
    tries.failed(probe, SILENCE, 100.5)
    probe = tries.next(WRITE, 100.5)
    assert (probe.index, probe.call) == (1, PROBE)
    tries.answered(probe, 100.6)
    sent = tries.next(WRITE, 100.6)
    assert (sent.index, sent.call, sent.wait) == (1, WRITE, 1.5)
    tries.answered(sent, 100.7)
    assert attempts(members).next(WRITE, 101.1).call is WRITE
    assert attempts(members).next(WRITE, 101.3).call is PROBE


@pytest.mark.parametrize("failure", [SILENCE, REFUSED, EtcdFailure("UNAVAILABLE", "Socket closed")])
def test_a_write_that_was_sent_is_never_sent_again_whatever_grpc_says(failure: EtcdFailure) -> None:
    members = rotation()
    tries = attempts(members)
    members.answered(0, 100.0)
    sent = tries.next(WRITE, 100.1)
    with pytest.raises(StoreUnavailable, match="may have landed"):
        tries.failed(sent, failure, 100.2)
    assert members.current == 1


def test_a_write_that_etcd_refused_before_looking_at_it_goes_on_elsewhere() -> None:
    members = rotation()
    tries = attempts(members)
    members.answered(0, 100.0)
    tries.failed(tries.next(WRITE, 100.1), NO_LEADER, 100.2)
    following = tries.next(WRITE, 100.2)
    assert (following.index, following.call) == (1, PROBE)


def test_a_full_etcd_may_have_written_all_the_same() -> None:
    members = rotation()
    members.answered(0, 100.0)
    tries = attempts(members)
    full = EtcdFailure("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded")
    with pytest.raises(StoreUnavailable, match=r"may have landed .*reached its quota"):
        tries.failed(tries.next(WRITE, 100.1), full, 100.2)
    assert members.current == 0  # another member would say the same


def test_a_refusal_is_not_asked_for_again() -> None:
    denied = EtcdFailure("PERMISSION_DENIED", "etcdserver: permission denied")
    for call in (READ, WRITE):
        members = rotation()
        members.answered(0, 100.0)
        tries = attempts(members)
        with pytest.raises(StoreUnavailable, match=r"etcd refuses a request .*grant its role the prefix"):
            tries.failed(tries.next(call, 100.1), denied, 100.2)


def test_nobody_waits_where_tls_is_impossible() -> None:
    members = rotation()
    with pytest.raises(StoreUnavailable, match="its certificate is not good: unable to get local issuer certificate"):
        asked(members, READ, [WRONG_CA] * 3)
    assert members.explain(StoreUnavailable("x")).status == Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT


def test_a_lost_quorum_has_a_status_of_its_own() -> None:
    members = rotation()
    asked(members, READ, [NO_LEADER, REFUSED, REFUSED])
    assert members.explain(StoreUnavailable("x")).status == Status.ERROR_CLUSTER_NO_QUORUM


def test_only_the_first_to_leave_a_member_moves_on() -> None:
    members = rotation()
    members.leave(0, SILENCE)
    members.leave(0, SILENCE)
    assert (members.current, members.departures) == (1, [2, 0, 0])
    alone = rotation(1)
    alone.leave(0, SILENCE)
    assert (alone.current, alone.departures) == (0, [1])


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        (REFUSED.details, "Connection refused"),
        ("etcdserver: request timed out", "etcdserver: request timed out"),
        ("", "UNAVAILABLE"),
        (
            "errors resolving x.invalid:1: [field:hostname lookup error:address lookup failed for x.invalid:1: Domain"
            " name not found]",
            "its name is not known: Domain name not found",
        ),
        (
            "failed to connect; last error: UNKNOWN: ipv4:1.2.3.4:1: Unwrap failed (TSI_DATA_CORRUPTED)",
            "it refuses our certificate (`cert`, `key`)",
        ),
        (
            "last error: UNKNOWN: ipv4:1.2.3.4:1: Tls handshake failed: SSL routines:WRONG_VERSION_NUMBER",
            "it does not speak TLS (is it meant to be http?)",
        ),
        ("Peer name 10.0.0.1 is not in peer certificate", "its certificate does not speak for this address"),
    ],
)
def test_reasons_are_for_people(details: str, reason: str) -> None:
    assert EtcdFailure("UNAVAILABLE", details).reason == reason
