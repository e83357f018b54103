"""Guessing is slow, and nobody is locked out by it. Pure: the test says what time it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.server.mscmrp.slow_down import FADING, LONGEST_DELAY, MOST_COUNTS, SlowDown

HOME, AWAY = "192.0.2.1", "198.51.100.1"


def guess(slow: SlowDown, times: int, account: str = "alice", source: str = HOME, now: float = 0.0) -> float:
    """Guess patiently: each time when the answer to the last one is there. When the last answer comes."""
    for _ in range(times):
        assert not slow.closed_for(account, source, now)
        now += slow.on_refused(account, source, now)
    return now


def test_the_first_mistakes_cost_nothing_and_the_next_ones_double() -> None:
    slow = SlowDown()
    assert [slow.on_refused("alice", HOME, 0.0) for _ in range(10)] == [0, 0, 0, 0.25, 0.5, 1, 2, 4, 8, 8]


def test_who_does_not_await_the_answer_is_not_looked_at() -> None:
    slow = SlowDown()
    now = guess(slow, 9)
    delay = slow.on_refused("alice", HOME, now)
    assert 5 < delay <= 8
    assert slow.closed_for("alice", HOME, now + delay - 1) == pytest.approx(1)
    assert not slow.closed_for("alice", HOME, now + delay)


def test_an_hour_of_patient_guessing_is_some_hundreds_of_guesses() -> None:
    slow, now, count = SlowDown(), 0.0, 0
    while now < 3600:
        now, count = now + max(slow.on_refused("alice", HOME, now), 0.001), count + 1
    assert count < 700


def test_the_owner_comes_in_from_elsewhere_while_somebody_guesses() -> None:
    slow = SlowDown()
    now = guess(slow, 50)
    assert slow.closed_for("alice", HOME, now - 0.1)
    assert not slow.closed_for("alice", AWAY, now - 0.1)
    assert 0 < slow.on_granted("alice", AWAY, now) <= 2


def test_a_source_that_tries_many_accounts_is_closed_for_all_of_them() -> None:
    slow = SlowDown()
    for number in range(30):
        slow.on_refused(f"user{number}", HOME, 0.0)
    assert slow.closed_for("somebody else", HOME, 0.1)
    assert not slow.closed_for("somebody else", AWAY, 0.1)


def test_an_account_guessed_at_from_everywhere_is_slow_and_never_closed() -> None:
    slow = SlowDown()
    delays = [slow.on_refused("alice", f"192.0.2.{number}", 0.0) for number in range(200)]
    assert delays[-1] == 2
    assert not slow.closed_for("alice", AWAY, 0.0)


def test_the_right_password_opens_the_pair_and_time_forgets_the_rest() -> None:
    slow = SlowDown()
    now = guess(slow, 8)
    slow.on_granted("alice", HOME, now)
    delays = [slow.on_refused("alice", HOME, now) for _ in range(3)]
    assert delays[:2] == [0, 0] and 0 < delays[2] < 0.3, "only the account's own count is left"
    later = now + 20 * FADING
    assert slow.on_refused("alice", HOME, later) == 0


def test_memory_is_bounded() -> None:
    slow = SlowDown()
    for number in range(MOST_COUNTS):
        slow.on_refused(f"user{number}", f"source{number}", 0.0)
    assert len(slow) == MOST_COUNTS


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("alice", "bob")),
            st.sampled_from((HOME, AWAY)),
            st.booleans(),
            st.floats(0, 60, allow_nan=False),
        ),
        max_size=60,
    )
)
def test_nobody_waits_longer_than_a_logon_may_take(steps: list[tuple[str, str, bool, float]]) -> None:
    slow, now = SlowDown(), 0.0
    for account, source, is_right, pause in steps:
        now += pause
        assert 0 <= slow.closed_for(account, source, now) <= LONGEST_DELAY
        delay = (slow.on_granted if is_right else slow.on_refused)(account, source, now)
        assert 0 <= delay <= LONGEST_DELAY
