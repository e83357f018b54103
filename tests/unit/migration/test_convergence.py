"""When the source is stopped: idle, steady, hopeless and silent guests, from figures alone."""

from dataclasses import dataclass, replace

import pytest

from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.migration import outgoing_events as e
from quorate.migration.convergence import (
    FIRST_ALLOWED_GAP,
    LAST_ALLOWED_GAP,
    PASSES_WITHOUT_PROGRESS,
    Convergence,
    Sample,
    Verdict,
)
from quorate.migration.outgoing import SILENCE_LIMIT, Outcome, Outgoing, Phase
from quorate.migration.ownership import OwnershipRecord

MB = 1_000_000


def sample(passes: int, remaining: int, *, rate: float = 1e9, dirty: float = 0.0, transferred: int = 0) -> Sample:
    return Sample(1000 * MB, transferred, remaining, rate, dirty, passes)


@dataclass
class Ended:
    verdict: Verdict
    passes: int
    gap: float
    convergence: Convergence


def copy(floor: int, *, rate: float = 1e9, limit: float = LAST_ALLOWED_GAP, passes: int = 200) -> Ended:
    """A guest whose passes halve what is left, down to a floor that its writing keeps up."""
    convergence, left = Convergence(gap_limit=limit), 1000 * MB
    for number in range(1, passes):
        for part in (1.0, 0.6, 0.3, 0.0):
            seen = sample(number, int(floor + (left - floor) * part), rate=rate)
            convergence = convergence.learn(seen)
            verdict = convergence.judge(seen)
            if verdict is not Verdict.COPY_ON:
                return Ended(verdict, number, seen.expected_gap, convergence)
        left = max(floor, left // 2)
    raise AssertionError("it never ended")


def test_an_idle_guest_is_stopped_in_the_second_pass() -> None:
    ended = copy(0)
    assert (ended.verdict, ended.passes) == (Verdict.STOP, 2)
    assert ended.gap <= FIRST_ALLOWED_GAP


def test_before_the_second_pass_nobody_is_stopped_whose_memory_does_not_fit_the_gap() -> None:
    for seen in (sample(0, 0), sample(1, 0, transferred=21 * MB), sample(1, MB), sample(1, 0, rate=0.0, transferred=1)):
        assert Convergence().learn(seen).judge(seen) is Verdict.COPY_ON


def test_a_guest_with_next_to_nothing_in_use_is_stopped_at_the_end_of_the_first_pass() -> None:
    seen = sample(1, 0, transferred=19 * MB)
    assert Convergence().learn(seen).judge(seen) is Verdict.STOP


def test_a_steady_guest_is_stopped_when_what_is_left_fits_the_gap() -> None:
    ended = copy(15 * MB)
    assert ended.verdict is Verdict.STOP
    assert ended.gap <= FIRST_ALLOWED_GAP
    assert ended.convergence.allowed_gap == FIRST_ALLOWED_GAP


def test_a_busy_guest_is_given_a_longer_gap_and_no_longer_than_it_needs() -> None:
    ended = copy(100 * MB)
    assert ended.verdict is Verdict.STOP
    assert 0.1 <= ended.gap <= ended.convergence.allowed_gap < 0.16


def test_a_guest_that_never_converges_is_given_up_with_figures() -> None:
    ended = copy(800 * MB)
    assert ended.verdict is Verdict.GIVE_UP
    assert ended.convergence.allowed_gap == LAST_ALLOWED_GAP
    assert ended.convergence.fruitless_passes == PASSES_WITHOUT_PROGRESS
    sentence = ended.convergence.explain_failure(sample(ended.passes, 800 * MB, dirty=950e6))
    assert sentence == (
        "will not converge: the guest dirties 950 MB/s, 1000 MB/s get across, and after "
        f"{ended.passes} passes the last transfer would still stop the guest for 800 ms (limit 300 ms)"
    )


def test_the_limit_of_the_virtual_machine_is_kept() -> None:
    assert copy(100 * MB, limit=0.05).verdict is Verdict.GIVE_UP
    assert copy(100 * MB, limit=0.2).verdict is Verdict.STOP


def test_progress_keeps_the_gap_short() -> None:
    convergence = Convergence()
    for number, left in enumerate((900, 700, 500, 350, 240, 160, 110, 75, 50, 34), start=1):
        seen = sample(number, left * MB)
        convergence = convergence.learn(seen)
        assert convergence.judge(seen) is Verdict.COPY_ON
    assert convergence.allowed_gap == FIRST_ALLOWED_GAP


def test_looks_within_one_pass_teach_the_least_that_was_left() -> None:
    convergence = Convergence()
    for left in (900, 400, 100, 300):
        convergence = convergence.learn(sample(3, left * MB))
    assert convergence.lowest_in_pass == 100 * MB
    assert convergence.learn(sample(4, 900 * MB)).best_remaining == 100 * MB


@pytest.mark.parametrize(("remaining", "rate", "gap"), [(0, 0.0, 0.0), (1, 0.0, float("inf")), (10 * MB, 1e9, 0.01)])
def test_the_expected_gap(remaining: int, rate: float, gap: float) -> None:
    assert sample(2, remaining, rate=rate).expected_gap == gap


def test_what_the_guest_wrote_since_the_pass_began_counts() -> None:
    """At the end of a pass next to nothing remains of what QEMU knows, and the guest has dirtied as much again."""
    at_the_end = replace(sample(2, MB, dirty=300e6), pass_seconds=0.2)
    assert at_the_end.left == 61 * MB
    assert Convergence().learn(at_the_end).judge(at_the_end) is Verdict.COPY_ON
    looked_again = replace(sample(3, 15 * MB, dirty=300e6), pass_seconds=0.001)
    assert Convergence().learn(looked_again).judge(looked_again) is Verdict.STOP


def test_no_more_than_all_can_be_left() -> None:
    assert replace(sample(2, MB, dirty=300e6), pass_seconds=60.0).left == 1000 * MB


# --- the brain with these figures --------------------------------------------------------------------------------


def in_transfer() -> Outgoing:
    record = OwnershipRecord(NodeId("1"), 1, ImageId("a"), None, None, 1)
    state = Outgoing(SessionId("s"), NodeId("1"), NodeId("2"), ImageId("a"), ImageId("b"), record)
    state = state.step(e.PlaceFree(), 0.0).state
    return state.step(e.Prepared("unix:x"), 0.1).state


def test_a_transfer_without_a_byte_is_cancelled_after_the_limit() -> None:
    state, now = in_transfer(), 0.1
    step = state.step(e.Sampled(sample(1, 900 * MB, transferred=MB)), now)
    while step.state.phase is Phase.TRANSFER:
        now += 0.1
        step = step.state.step(e.Sampled(sample(1, 900 * MB, transferred=MB)), now)
    assert step.state.phase is Phase.CANCELLING
    assert step.state.reason == "no byte reached the destination for 2 s"
    assert SILENCE_LIMIT <= now - 0.1 < SILENCE_LIMIT + 0.15
    assert e.CancelTransfer() in step.effects
    ended = step.state.step(e.TransferCancelled("cancelled"), now).state
    assert ended.outcome is Outcome.FAILED


def test_a_slow_transfer_is_not_a_silent_one() -> None:
    state = in_transfer()
    for second in range(60):
        state = state.step(e.Sampled(sample(1, 900 * MB, rate=10.0, transferred=second)), 1.0 + second * 1.9).state
    assert state.phase is Phase.TRANSFER


def test_a_hopeless_guest_runs_on_and_the_reason_is_told() -> None:
    state, now = in_transfer(), 0.1
    for number in range(1, 100):
        now += 1.0
        step = state.step(e.Sampled(sample(number, 800 * MB, dirty=9e8, transferred=number)), now)
        state = step.state
        if state.phase is not Phase.TRANSFER:
            break
    assert state.phase is Phase.CANCELLING
    assert "will not converge: the guest dirties 900 MB/s" in state.reason
    assert e.StopGuest() not in step.effects


def test_looks_come_thicker_when_the_stop_is_near() -> None:
    def pause(passes: int, left: int) -> float:
        effects = in_transfer().step(e.Sampled(sample(passes, left, transferred=1)), 0.2).effects
        return next(x.seconds for x in effects if isinstance(x, e.SampleAfter))

    assert pause(1, 900 * MB) == 0.05
    assert pause(1, 40 * MB) == pytest.approx(0.01)
    assert pause(2, 900 * MB) == 0.05
    assert pause(2, 50 * MB) == pytest.approx(0.015)
    assert pause(2, 25 * MB) == 0.004
