"""What is foretold of a move: played with the brain that will lead it, and corrected by what earlier moves took."""

from dataclasses import replace

import pytest

from quorate.engine.foresight import begin_copy
from quorate.hypervisor.guest_model import TransferModel
from quorate.migration.convergence import Convergence
from quorate.migration.forecast import (
    END_SECONDS,
    HAND_OVER,
    START_SECONDS,
    Case,
    Forecast,
    Inputs,
    Look,
    Outcome,
    Range,
    Word,
    Writing,
    estimate_writing,
    foretell,
)
from quorate.migration.policy import POLICIES

MIB = 1 << 20
LINK = 119.8e6


def over_tcp(case: Case) -> TransferModel:
    return begin_copy(case, sockets=2)


def inputs(in_use: int, rate: float, working_set: int, link: float = LINK, memory: int = 512 * MIB) -> Inputs:
    writing = Writing(Range(0.9 * rate, rate, 1.1 * rate), Range.exactly(working_set))
    return Inputs(memory, in_use, writing, Range(0.97 * link, link, 1.02 * link))


def forecast(known: Inputs, policy: str = "never-postcopy", *, can_post_copy: bool = False) -> Forecast:
    followed = POLICIES[policy]
    start = Convergence(policy=followed, may_post_copy=can_post_copy and followed.post_copy)
    return foretell(known, start, POLICIES.values(), "pre-copy", over_tcp, can_post_copy=can_post_copy)


# --- how a guest writes ----------------------------------------------------------------------------------------------


def test_a_guest_that_has_come_round_tells_its_working_set() -> None:
    seen = estimate_writing([Look(0.2, 12 * MIB), Look(1.0, 58 * MIB), Look(3.0, 64 * MIB)], 320 * MIB)
    assert seen is not None
    assert seen.rate.likely == pytest.approx(58.5 * MIB, rel=0.02)
    assert seen.working_set.likely == 64 * MIB


def test_a_short_look_that_is_off_does_not_hide_the_bend() -> None:
    seen = estimate_writing([Look(0.2, 8 * MIB), Look(1.0, 27 * MIB), Look(3.0, 32 * MIB)], 132 * MIB)
    assert seen is not None
    assert seen.rate.likely == pytest.approx(30 * MIB, rel=0.1)
    assert seen.working_set.likely == 32 * MIB


def test_a_small_working_set_is_seen_by_every_look() -> None:
    seen = estimate_writing([Look(0.2, 8 * MIB), Look(1.0, 8 * MIB)], 104 * MIB)
    assert seen is not None
    assert (seen.rate.likely, seen.working_set.likely) == (40 * MIB, 8 * MIB)


def test_a_guest_that_has_not_come_round_may_write_to_all_that_it_uses() -> None:
    seen = estimate_writing([Look(0.2, 2 * MIB), Look(1.0, 9 * MIB), Look(3.0, 29 * MIB)], 144 * MIB)
    assert seen is not None
    assert seen.rate.likely == pytest.approx(29 * MIB / 3, rel=0.05)
    assert (seen.working_set.low, seen.working_set.likely) == (29 * MIB, 144 * MIB)


def test_nothing_is_said_of_a_guest_that_was_not_looked_at() -> None:
    assert estimate_writing([], 144 * MIB) is None


def test_an_idle_guest_writes_nothing() -> None:
    seen = estimate_writing([Look(0.2, 0), Look(1.0, 0)], 144 * MIB)
    assert seen is not None
    assert seen.rate.likely == 0.0


# --- what is foretold ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_use", "rate", "working_set", "memory", "total", "passes", "gap"),
    [  # as measured on QEMU over 1 Gb/s: docs/simulator-agreement.md
        (144, 10.0e6, 16, 256, 1.62, 2, 0.098),
        (672, 3.0e6, 32, 1024, 6.47, 2, 0.093),
        (332, 20.0e6, 32, 512, 3.48, 3, 0.109),
        (320, 59.4e6, 64, 512, 4.15, 5, 0.116),
    ],
)
def test_it_comes_near_to_what_qemu_did(
    in_use: int, rate: float, working_set: int, memory: int, total: float, passes: int, gap: float
) -> None:
    told = forecast(inputs(in_use * MIB, rate, working_set * MIB, memory=memory * MIB))
    assert told.word is Word.CONVERGES
    assert told.total.likely == pytest.approx(total, rel=0.2)
    assert abs(told.passes.likely - passes) <= 1
    assert told.gap.likely == pytest.approx(gap, rel=0.35)
    assert told.total.low <= told.total.likely <= told.total.high
    assert told.gap.low < told.gap.likely < told.gap.high
    assert told.transferred.likely >= in_use * MIB


def test_a_guest_that_writes_too_fast_is_told_with_the_reason_and_what_would_help() -> None:
    told = forecast(inputs(384 * MIB, 150e6, 128 * MIB), "gentle")
    assert told.word is Word.WILL_NOT
    assert "under the policy gentle, because the guest dirties" in told.sentence
    assert set(told.would) == {"default", "must-move", "never-postcopy"}
    assert "it would under default and must-move and never-postcopy" in told.sentence
    assert (told.gap.likely, told.throttle) == (0.0, 0)
    held = forecast(inputs(384 * MIB, 150e6, 128 * MIB), "default")
    assert held.word is not Word.WILL_NOT
    assert held.throttle > 0, "its processors are held back"


def test_a_guest_that_no_throttle_helps_is_moved_by_post_copy_or_a_consented_pause() -> None:
    known = inputs(3000 * MIB, 6000e6, 2500 * MIB, memory=4096 * MIB)
    told = forecast(known, "never-postcopy")
    assert (told.word, told.would) == (Word.WILL_NOT, ("must-move",))
    told = forecast(known, "never-postcopy", can_post_copy=True)
    assert (told.word, told.would) == (Word.WILL_NOT, ("default", "must-move"))
    after = forecast(known, "default", can_post_copy=True)
    assert after.word is Word.CONVERGES
    assert after.mode == "pre-copy, then post-copy"
    assert after.gap.likely < 0.2, "it depends on neither size nor rate"
    paused = forecast(known, "must-move")
    assert paused.word is Word.CONVERGES
    assert paused.gap.likely > 1.0


def test_a_small_working_set_fits_the_gap_however_fast_it_is_written() -> None:
    told = forecast(inputs(384 * MIB, 900e6, 16 * MIB))
    assert told.word is Word.CONVERGES
    assert 16 * MIB / LINK <= told.gap.likely <= POLICIES["default"].gap_limit + 0.1


def test_where_it_depends_on_how_exactly_the_guest_was_seen_it_may_not() -> None:
    known = inputs(384 * MIB, 90e6, 300 * MIB)
    told = forecast(replace(known, writing=replace(known.writing, rate=Range(60e6, 90e6, 130e6))), "gentle")
    assert told.word is Word.MAY_NOT
    assert told.sentence.startswith("it may not converge: the guest dirties")


def test_a_guest_that_would_be_copied_for_hours_is_refused_as_one_that_does_not_end() -> None:
    told = forecast(inputs(400 << 30, 0.0, 0, link=1e6, memory=512 << 30))
    assert told.word is Word.WILL_NOT
    assert "longer than 4 hours" in told.sentence


# --- what earlier moves teach ----------------------------------------------------------------------------------------


def test_earlier_moves_correct_the_start_and_the_hand_over() -> None:
    known = inputs(144 * MIB, 10e6, 16 * MIB, memory=256 * MIB)
    plain = forecast(known)
    past = tuple(Outcome(1.6, 1.6 + 0.5 + error, 0.08, 0.08 + 0.02) for error in (-0.02, 0.0, 0.03, 0.01))
    taught = forecast(replace(known, past=past))
    assert taught.total.likely == pytest.approx(plain.total.likely + 0.5, abs=0.05)
    assert taught.gap.likely == pytest.approx(plain.gap.likely + 0.02, abs=0.001)
    assert taught.played_seconds == plain.played_seconds, "what is kept is what was played"
    assert taught.total.high - taught.total.low < plain.total.high - plain.total.low


def test_two_moves_are_too_few_to_learn_from_and_gaps_may_be_missing() -> None:
    known = inputs(144 * MIB, 10e6, 16 * MIB, memory=256 * MIB)
    few = tuple(Outcome(1.6, 3.0, 0.08, 0.5) for _ in range(2))
    assert forecast(replace(known, past=few)).total == forecast(known).total
    unseen = tuple(Outcome(1.6, 1.6, 0.08, None) for _ in range(4))
    assert forecast(replace(known, past=unseen)).gap == forecast(known).gap


def test_the_error_of_a_long_move_is_not_laid_on_a_short_one() -> None:
    known = inputs(144 * MIB, 10e6, 16 * MIB, memory=256 * MIB)
    long_ones = tuple(Outcome(60.0, 66.0, 0.08, 0.08) for _ in range(4))
    plain = forecast(known)
    assert forecast(replace(known, past=long_ones)).total.likely == pytest.approx(1.1 * plain.total.likely, rel=0.02)


def test_the_parts_of_a_total() -> None:
    told = forecast(inputs(0, 0.0, 0))
    assert told.played_seconds == pytest.approx(START_SECONDS + HAND_OVER + END_SECONDS, abs=0.2)
    shown = told.to_json()
    assert shown["verdict"] == "converges"
    assert shown["mode"] == "pre-copy"
