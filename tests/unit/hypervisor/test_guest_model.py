from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quorate.hypervisor.guest_model import GuestModel, TransferModel

GUEST = GuestModel(memory=1 << 30, zero=512 << 20, dirty_bytes=128 << 20, dirty_bytes_per_second=300e6)


def begin(guest: GuestModel = GUEST, bandwidth: float = 1e9) -> TransferModel:
    return TransferModel.begin(guest, bandwidth, running=True)


def test_the_first_pass_sends_what_is_not_zero() -> None:
    state = begin().advance(0.5)
    assert state.passes == 1
    assert state.transferred == 500_000_000
    assert state.remaining == (512 << 20) - 500_000_000


def test_the_next_pass_sends_what_was_dirtied_meanwhile() -> None:
    state = begin().advance((512 << 20) / 1e9 + 1e-6)
    assert state.passes == 2
    assert abs(state.remaining - (128 << 20)) < 100_000  # the whole working set, no more


def test_a_guest_that_dirties_slower_than_the_link_converges() -> None:
    state = begin().advance(3.0)
    assert not state.completed
    assert state.passes > 5
    assert state.remaining < 1 << 20


def test_a_guest_that_dirties_faster_than_the_link_does_not() -> None:
    state = begin(bandwidth=100e6).advance(30.0)
    assert state.remaining + state.guest.dirtied(state.running_in_pass) > 50 << 20


def test_only_a_stopped_guest_completes() -> None:
    state = begin().advance(5.0)
    assert not state.completed
    stopped = state.stop_guest()
    assert stopped.advance(0.2).completed
    assert not state.start_guest().advance(10.0).completed


def test_an_idle_guest_waits_for_the_stop() -> None:
    state = begin(GuestModel(1 << 28)).advance(1.0)
    assert (state.remaining, state.completed) == (0, False)
    assert state.stop_guest().advance(0.01).completed


@given(st.integers(0, 1 << 28), st.floats(0, 1e9), st.floats(1e6, 1e10), st.lists(st.floats(0.0001, 0.01), max_size=20))
def test_time_may_be_cut_in_any_way(dirty: int, rate: float, bandwidth: float, steps: list[float]) -> None:
    state = begin(GuestModel(1 << 28, 0, dirty, rate), bandwidth)
    for step in steps:
        before, state = state, state.advance(step)
        assert state.transferred >= before.transferred
        assert state.passes >= before.passes
        assert 0 <= state.remaining <= 1 << 28
        assert state.transferred <= bandwidth * sum(steps) + len(steps)
    assert not state.completed
    assert state.stop_guest().advance((1 << 30) / bandwidth + 1).completed
