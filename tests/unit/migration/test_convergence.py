"""When the source is stopped, and how the ladder is climbed: idle, busy and hopeless guests, by figures alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.hypervisor.guest_model import GuestModel, TransferModel
from quorate.migration import outgoing_events as e
from quorate.migration.convergence import (
    FIRST_ALLOWED_GAP,
    FRUITLESS_IN_ROW,
    HAND_OVER,
    Convergence,
    Sample,
    Verdict,
    pause_until_next,
)
from quorate.migration.outgoing import SILENCE_LIMIT, Outcome, Outgoing, Phase
from quorate.migration.ownership import OwnershipRecord
from quorate.migration.policy import DEFAULT_POLICY, POLICIES, Policy

MB = 1_000_000
MIB = 1 << 20
LINK = 128 * MIB
UNHELD = replace(DEFAULT_POLICY, throttle_limit=0)


def limited(seconds: float) -> Policy:
    """A policy that leaves the processors alone."""
    return replace(UNHELD, gap_limit=seconds)


def sample(
    passes: int, remaining: int, *, rate: float = 1e9, dirty: float = 0.0, transferred: int = 0, throttle: int = 0
) -> Sample:
    return Sample(1000 * MB, transferred, remaining, rate, dirty, passes, throttle=throttle)


@dataclass
class Ended:
    verdict: Verdict
    passes: int
    gap: float
    convergence: Convergence
    throttles: list[tuple[int, int]] = field(default_factory=list)
    """In which pass, and how many percent."""


def copy(floor: int, policy: Policy = UNHELD, *, rate: float = 1e9, passes: int = 200) -> Ended:
    """A guest whose passes halve what is left, down to a floor that its writing keeps up."""
    convergence, left = Convergence(policy), 1000 * MB
    for number in range(1, passes):
        for part in (1.0, 0.6, 0.3, 0.0):
            seen = sample(number, int(floor + (left - floor) * part), rate=rate)
            convergence = convergence.learn(seen)
            verdict = convergence.judge(seen)
            if verdict is not Verdict.COPY_ON:
                return Ended(verdict, number, seen.expected_gap, convergence)
        left = max(floor, left // 2)
    raise AssertionError("it never ended")


def move(guest: GuestModel, policy: Policy, *, link: float = LINK, may_post_copy: bool = False) -> Ended:
    """Let a guest be copied over a link, and looked at as the source's hands look at it."""
    model = TransferModel.begin(guest, link, running=True, first_look=0.1)
    convergence, throttles = Convergence(policy, may_post_copy), []
    for _ in range(200_000):
        seen = Sample(
            guest.memory,
            model.transferred,
            model.remaining,
            model.bandwidth,
            model.dirty_rate if model.passes > 1 else 0.0,
            model.passes,
            model.running_in_pass,
            model.throttle,
        )
        convergence = convergence.learn(seen)
        verdict = convergence.judge(seen)
        if verdict is Verdict.THROTTLE:
            throttles.append((model.passes, convergence.throttle))
            model = model.hold_back(convergence.throttle)
        elif verdict is not Verdict.COPY_ON:
            return Ended(verdict, model.passes, model.stop_guest().seconds_to_end, convergence, throttles)
        pause = pause_until_next(seen, convergence.allowed_gap)
        model = model.advance(min(pause, max(model.seconds_to_look, 0.0) + 1e-4))
    raise AssertionError("it never ended")


# --- stopping ----------------------------------------------------------------------------------------------------


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


def test_the_limit_is_kept_with_what_the_hand_over_takes_besides() -> None:
    assert copy(100 * MB, limited(0.1 + HAND_OVER - 0.01)).verdict is Verdict.GIVE_UP
    assert copy(100 * MB, limited(0.1 + HAND_OVER + 0.01)).verdict is Verdict.STOP
    assert Convergence(limited(0.05)).gap_limit == FIRST_ALLOWED_GAP
    assert Convergence(limited(0.005)).gap_limit == 0.005


def test_progress_keeps_the_gap_short() -> None:
    convergence = Convergence()
    for number, left in enumerate((900, 700, 500, 350, 240, 160, 110, 75, 50, 34), start=1):
        seen = sample(number, left * MB)
        convergence = convergence.learn(seen)
        assert convergence.judge(seen) is Verdict.COPY_ON
    assert convergence.allowed_gap == FIRST_ALLOWED_GAP


def test_what_a_pass_has_left_is_what_the_look_at_its_end_finds() -> None:
    """In its course nobody knows: the rate at which the guest writes is that of the pass before."""
    convergence = Convergence()
    for left in (900, 400, 100, 300):
        convergence = convergence.learn(sample(3, left * MB))
    assert convergence.best_remaining == 900 * MB
    assert convergence.learn(sample(4, 600 * MB)).best_remaining == 600 * MB
    assert convergence.learn(sample(4, 850 * MB)).fruitless_passes == 1


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


# --- the ladder --------------------------------------------------------------------------------------------------


def test_without_a_throttle_a_hopeless_guest_is_given_up_after_three_passes_with_figures() -> None:
    ended = copy(800 * MB)
    assert (ended.verdict, ended.passes) == (Verdict.GIVE_UP, 4)
    assert ended.convergence.fruitless_passes == FRUITLESS_IN_ROW
    sentence = ended.convergence.explain_failure(sample(ended.passes, 800 * MB, dirty=950e6))
    assert sentence == (
        "will not converge: the guest dirties 950 MB/s, 1000 MB/s get across, and after 4 passes, with its processors "
        "not held back, the last transfer would still stop the guest for 800 ms (limit 300 ms, policy default); a "
        "MigrationThrottleLimit above 0 could help, post-copy would move it (MigrationPostCopy, and a destination that "
        "can fetch pages), policy must-move would stop it for 800 ms rather than leave it here, a faster link or less "
        "writing in the guest would do"
    )


def busy(megabytes_per_second: int, working_set_mib: int) -> GuestModel:
    return GuestModel(2048 * MIB, 1536 * MIB, working_set_mib * MIB, megabytes_per_second * 1e6)


@pytest.mark.parametrize("guest", [busy(300, 128), busy(1000, 256)], ids=["300 MB/s", "1 GB/s over 256 MiB"])
@pytest.mark.parametrize("name", ["default", "must-move", "never-postcopy"])
def test_guests_that_outrun_the_link_are_held_back_and_moved_within_the_gap_limit(guest: GuestModel, name: str) -> None:
    ended = move(guest, POLICIES[name])
    assert ended.verdict is Verdict.STOP
    assert ended.gap <= POLICIES[name].gap_limit - HAND_OVER
    asked = [percent for _, percent in ended.throttles]
    assert asked in ([60], [60, 90])
    assert ended.throttles[0][0] <= 4


def test_a_gentle_migration_holds_nobody_back_and_ends_within_three_passes_of_knowing() -> None:
    ended = move(busy(300, 128), POLICIES["gentle"])
    assert (ended.verdict, ended.throttles) == (Verdict.GIVE_UP, [])
    known_in = 3  # the first that began with what a whole pass had left
    assert ended.passes <= known_in + 3


def test_one_whom_no_throttle_helps_ends_within_three_passes_of_the_last_step() -> None:
    guest = busy(20_000, 1024)
    ended = move(guest, POLICIES["never-postcopy"])
    assert ended.verdict is Verdict.GIVE_UP
    assert [percent for _, percent in ended.throttles] == [60, 90, 96]
    taken_up = 2
    assert ended.passes - ended.throttles[-1][0] <= taken_up + 3


def test_post_copy_comes_after_the_throttle_where_it_may() -> None:
    guest = busy(20_000, 1024)
    ended = move(guest, POLICIES["default"], may_post_copy=True)
    assert ended.verdict is Verdict.POST_COPY
    assert [percent for _, percent in ended.throttles] == [60, 90]
    assert move(busy(300, 128), POLICIES["default"], may_post_copy=True).verdict is Verdict.STOP


def test_a_pause_is_made_only_by_consent() -> None:
    guest = busy(20_000, 1024)
    ended = move(guest, POLICIES["must-move"])
    assert ended.verdict is Verdict.STOP
    assert 1.0 < ended.gap < POLICIES["must-move"].pause_limit
    assert move(guest, replace(POLICIES["must-move"], pause_limit=1.0)).verdict is Verdict.GIVE_UP
    assert move(guest, POLICIES["must-move"], may_post_copy=True).verdict is Verdict.POST_COPY


def test_a_throttle_that_qemu_does_not_take_up_is_not_waited_for_for_ever() -> None:
    convergence = Convergence(POLICIES["never-postcopy"])
    verdicts = []
    for number in range(1, 60):
        for seconds in (0.0, 1.0, 2.0):
            seen = replace(sample(number, 800 * MB, rate=4e8, dirty=9e8), pass_seconds=seconds)
            convergence = convergence.learn(seen)
            verdicts.append(convergence.judge(seen))
        if verdicts[-3] is Verdict.GIVE_UP:
            break
    assert verdicts.count(Verdict.THROTTLE) == 3
    assert number <= 22


def test_a_throttled_guest_never_sleeps_longer_than_it_may_stand() -> None:
    assert POLICIES["default"].throttle_most == 96
    assert replace(DEFAULT_POLICY, gap_limit=0.04).throttle_most == 80
    assert replace(DEFAULT_POLICY, throttle_limit=30).throttle_most == 30
    assert move(busy(20_000, 1024), replace(DEFAULT_POLICY, throttle_limit=30)).throttles[0][1] == 30


def test_looks_that_come_early_are_no_passes() -> None:
    """QEMU looks every five seconds while it throttles: the rest of the pass is still to come then."""
    policy = POLICIES["never-postcopy"]
    convergence, left = Convergence(policy, seen_pass=9, best_remaining=8000 * MB, throttle=96), 8000 * MB
    for number in range(10, 32):
        for second in range(6):
            remaining = left - second * 100 * MB
            seen = Sample(9000 * MB, 0, remaining, 1e8, 4e7, number, float(second), 96)
            convergence = convergence.learn(seen)
            assert convergence.judge(seen) is Verdict.COPY_ON
        left = left - 500 * MB + 200 * MB  # what was sent in five seconds, and what was written


@given(
    rate=st.floats(1e5, 1e10),
    lefts=st.lists(st.integers(0, 10**12), min_size=1, max_size=8),
    dirty=st.floats(0.0, 1e11),
    policy=st.sampled_from(sorted(POLICIES)),
    gap=st.integers(1, 60_000),
    held=st.integers(0, 99),
    seconds=st.floats(0.0, 60.0),
    obeys=st.booleans(),
    may_post_copy=st.booleans(),
)
def test_the_ladder_ends_whatever_the_passes_leave(
    rate: float,
    lefts: list[int],
    dirty: float,
    policy: str,
    gap: int,
    held: int,
    seconds: float,
    obeys: bool,
    may_post_copy: bool,
) -> None:
    own = replace(POLICIES[policy], gap_limit=gap / 1000, throttle_limit=min(held, POLICIES[policy].throttle_limit))
    convergence, in_force, highest = Convergence(own, may_post_copy), 0, 0

    def passes() -> Iterator[Sample]:
        for number in range(1, 3000):
            left = lefts[number % len(lefts)]
            yield Sample(10**12, number, left, rate, dirty, number, 0.0, in_force)
            yield Sample(10**12, number, left // 2, rate, dirty, number, seconds, in_force)

    for seen in passes():
        convergence = convergence.learn(seen)
        verdict = convergence.judge(seen)
        if verdict is Verdict.THROTTLE:
            assert convergence.throttle > highest
            highest = convergence.throttle
            in_force = highest if obeys else 0
        elif verdict is not Verdict.COPY_ON:
            break
    else:
        raise AssertionError("it never ended")
    assert highest <= own.throttle_limit
    assert verdict is not Verdict.POST_COPY or may_post_copy
    if verdict is Verdict.STOP and seen.passes >= 2 and not own.pause_limit:
        assert seen.expected_gap <= convergence.gap_limit


# --- the brain with these figures --------------------------------------------------------------------------------


def in_transfer(policy: Policy = DEFAULT_POLICY) -> Outgoing:
    record = OwnershipRecord(NodeId("1"), 1, ImageId("a"), None, None, 1)
    convergence = Convergence(policy)
    state = Outgoing(
        SessionId("s"), NodeId("1"), NodeId("2"), ImageId("a"), ImageId("b"), record, convergence=convergence
    )
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


def hopeless_passes(policy: Policy, rate: float = 1e9) -> tuple[Outgoing, list[object]]:
    state, now = in_transfer(policy), 0.1
    effects: list[object] = []
    in_force = 0
    for number in range(1, 100):
        now += 1.0
        seen = sample(number, 800 * MB, rate=rate, dirty=9e8, transferred=number, throttle=in_force)
        step = state.step(e.Sampled(seen), now)
        state = step.state
        effects += step.effects
        in_force = max([in_force, *(effect.percent for effect in step.effects if isinstance(effect, e.Throttle))])
        if state.phase is not Phase.TRANSFER:
            break
    return state, effects


def test_a_hopeless_guest_runs_on_and_the_reason_is_told() -> None:
    state, effects = hopeless_passes(DEFAULT_POLICY)
    assert state.phase is Phase.CANCELLING
    assert "will not converge: the guest dirties 900 MB/s" in state.reason
    assert "held back by 96 %" in state.reason
    assert e.StopGuest() not in effects
    assert [effect for effect in effects if isinstance(effect, e.Throttle)] == [
        e.Throttle(60),
        e.Throttle(90),
        e.Throttle(96),
    ]


def test_a_consented_pause_is_waited_for_as_long_as_it_takes() -> None:
    state, effects = hopeless_passes(POLICIES["must-move"])
    assert state.phase is Phase.STOPPING
    assert e.StopGuest() in effects
    assert state.rest_limit == SILENCE_LIMIT
    slow, _ = hopeless_passes(POLICIES["must-move"], rate=1e8)
    assert slow.rest_limit == pytest.approx(0.5 + 1.5 * 8.0)


def test_looks_come_thicker_when_the_stop_is_near() -> None:
    def pause(passes: int, left: int) -> float:
        effects = in_transfer().step(e.Sampled(sample(passes, left, transferred=1)), 0.2).effects
        return next(x.seconds for x in effects if isinstance(x, e.SampleAfter))

    assert pause(1, 900 * MB) == 0.05
    assert pause(1, 40 * MB) == pytest.approx(0.01)
    assert pause(2, 900 * MB) == 0.05
    assert pause(2, 50 * MB) == pytest.approx(0.015)
    assert pause(2, 25 * MB) == 0.004
