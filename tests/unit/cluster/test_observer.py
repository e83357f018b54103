"""When a lease may be ended, rule by rule."""

from dataclasses import replace

import pytest

from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState
from quorate.cluster.lease import MARGIN
from quorate.cluster.lease_events import LeaseRecord
from quorate.cluster.observer import DRIFT, Judge, Sightings, Subject, may_end, node_state

LEASE = LeaseRecord("x.1", 9, duration=5.0, seen=50, resilience=240.0)
X = Subject("node2", LEASE, revision=60, seen_at=100.0)
D = Judge(is_held=True, since_revision=40, admitted=3, started=0.0)
AT_ONCE = 105.0 + MARGIN


def test_whoever_was_seen_waits_for_the_lease_and_the_margin() -> None:
    early = may_end(X, D, AT_ONCE - 0.01)
    assert not early.allowed and early.at == AT_ONCE and "node2 may still run for 0.0 s" in early.sentence
    assert may_end(X, D, AT_ONCE).allowed
    assert may_end(X, replace(D, since_revision=50), AT_ONCE).allowed


@pytest.mark.parametrize("since", [51, 0])
def test_whoever_was_restarted_since_waits_for_the_resilience_too(since: int) -> None:
    judge = replace(D, since_revision=since, started=90.0)
    at = 100.0 + 5.0 + 240.0 * (1 + DRIFT) + 2 * MARGIN
    assert may_end(X, judge, AT_ONCE).at == pytest.approx(at)
    assert "240 s more" in may_end(X, judge, AT_ONCE).sentence
    assert may_end(X, judge, at + 0.01).allowed
    assert may_end(replace(X, seen_at=80.0), judge, 0.0).at == pytest.approx(at - 10.0)


@pytest.mark.parametrize("admitted", [51, None])
def test_whoever_was_unknown_never_concludes_from_time(admitted: int | None) -> None:
    verdict = may_end(X, replace(D, since_revision=55, admitted=admitted), 1e9)
    assert not verdict.allowed and verdict.at is None and "confirm" in verdict.sentence


def test_an_older_program_that_says_nothing_of_what_it_saw_is_never_ended_by_time() -> None:
    assert may_end(replace(X, lease=LeaseRecord("x", 9, 5.0)), D, 1e9).at is None


def test_a_lease_that_has_seen_the_future_is_of_another_store() -> None:
    assert may_end(replace(X, revision=50), D, 1e9).at is None


def test_a_promise_is_kept() -> None:
    judge = replace(D, promised_until=110.0)
    verdict = may_end(X, judge, AT_ONCE)
    assert not verdict.allowed and verdict.at == 110.0 and "promised" in verdict.sentence
    assert may_end(X, replace(judge, promised_until=None), 110.0).allowed
    assert may_end(X, replace(D, promised_until=101.0), 100.5).at == AT_ONCE


def test_without_a_lease_of_its_own_nobody_judges() -> None:
    verdict = may_end(X, replace(D, is_held=False), AT_ONCE)
    assert not verdict.allowed and verdict.at is not None and verdict.at > AT_ONCE


@pytest.mark.parametrize(
    "judge",
    [D, replace(D, is_held=False), replace(D, admitted=None, since_revision=55), replace(D, promised_until=200.0)],
)
def test_what_is_proven_to_be_off_is_ended_at_once(judge: Judge) -> None:
    assert may_end(X, judge, 100.1, fenced=True).allowed


@pytest.mark.parametrize("fenced", [True, False])
def test_what_is_ended_is_not_ended_again(fenced: bool) -> None:
    verdict = may_end(replace(X, lease=replace(LEASE, ended=True)), D, 1e9, fenced=fenced)
    assert not verdict.allowed and verdict.at is None


def test_a_sighting_is_as_old_as_the_revision() -> None:
    two, three = NodeId("2"), NodeId("3")
    sightings = Sightings().seen({two: 5, three: 6}, 1.0).seen({two: 7, three: 6}, 2.0)
    assert (sightings.of[two].at, sightings.of[three].at) == (2.0, 1.0)
    assert set(sightings.seen({three: 6}, 3.0).of) == {three}
    assert sightings.seen({three: 6}, 3.0).seen({two: 7, three: 6}, 4.0).of[two].at == 4.0


STATES = [
    (None, 0.0, {}, NodeState.DOWN),
    (replace(LEASE, ended=True), 0.0, {}, NodeState.DOWN),
    (LEASE, 5.4, {}, NodeState.UP),
    (LEASE, 5.4, {"paused": True}, NodeState.PAUSED),
    (replace(LEASE, joining=True), 5.4, {"paused": True}, NodeState.JOINING),
    (LEASE, 5.6, {}, NodeState.DOWN),
    (LEASE, 5.6, {"is_blind": True}, NodeState.UNKNOWN),
    (replace(LEASE, ended=True), 5.6, {"is_blind": True}, NodeState.DOWN),
]


@pytest.mark.parametrize(("lease", "silent", "more", "state"), STATES)
def test_the_state_of_a_node(lease: LeaseRecord | None, silent: float, more: dict[str, bool], state: NodeState) -> None:
    assert node_state(lease, 100.0, 100.0 + silent, **{"paused": False, **more}) is state


def test_who_could_not_read_itself_counts_from_when_its_own_lease_was_held_again() -> None:
    judge = replace(D, held_since=130.0)
    verdict = may_end(X, judge, 130.0)
    assert not verdict.allowed and verdict.at == 135.0 + MARGIN
    assert may_end(X, judge, 135.0 + MARGIN).allowed
    assert may_end(X, replace(D, held_since=90.0), AT_ONCE).allowed
    restarted = replace(judge, since_revision=0)
    assert may_end(X, restarted, 130.0).at == pytest.approx(130.0 + 5.0 + 240.0 * (1 + DRIFT) + 2 * MARGIN)
