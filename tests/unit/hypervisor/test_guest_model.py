from __future__ import annotations

import pytest
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


def test_what_the_sockets_took_counts_as_sent_and_is_waited_for_at_the_end() -> None:
    """Reckoned by hand: 507 MB at 100 MB/s with 7 MB in sockets; the guest writes 50 MB/s in 100 MB.

    Pass 1: (507 - 7) / 100 = 5.0 s, dirties 100 MB. Pass 2: 1.0 s, 50 MB. Pass 3: 0.5 s, 25 MB. Stopped 0.2 s into
    pass 4: 5 MB are left of it, 10 MB are dirty again, 7 MB are in the sockets: 0.22 s.
    """
    guest = GuestModel(600_000_000, 93_000_000, 100_000_000, 50e6)
    state = TransferModel.begin(guest, 100e6, running=True, sockets=7_000_000, first_look=0.1)
    assert state.seconds_to_look == pytest.approx(5.0)
    state = state.advance(4.9)
    assert (state.passes, state.transferred, state.remaining) == (1, 497_000_000, 10_000_000)
    state = state.advance(0.1 + 0.2)
    assert state.passes == 2
    assert state.remaining == pytest.approx(80_000_000, abs=1000)
    assert state.dirty_rate == pytest.approx(100e6 / 5.0), "no more than the working set in a pass"
    state = state.advance(0.8 + 0.5 + 0.2)
    assert state.passes == 4
    assert state.remaining == pytest.approx(5_000_000, abs=1000)
    assert state.dirty_rate == pytest.approx(50e6)
    stopped = state.stop_guest()
    assert stopped.seconds_to_end == pytest.approx(0.22, abs=1e-4)
    assert not stopped.advance(0.2198).completed
    assert stopped.advance(0.2202).completed


def test_zeros_are_read_before_the_first_pass_is_over() -> None:
    state = TransferModel.begin(GuestModel(16_000_000_000, 16_000_000_000), 100e6, running=True)
    half = state.advance(1.0)
    assert (half.passes, half.unread) == (1, 8_000_000_000)
    over = half.advance(1.001)
    assert (over.passes >= 2, over.unread) == (True, 0)


def test_at_first_qemu_does_not_look_for_a_while() -> None:
    state = TransferModel.begin(GuestModel(1 << 20, 0, 1 << 20, 1e9), 1e9, running=True, first_look=0.1)
    early = state.advance(0.09)
    assert (early.passes, early.remaining) == (1, 0)
    assert early.advance(0.02).passes > 1


@given(st.integers(0, 1 << 28), st.floats(0, 1e9), st.floats(1e6, 1e10), st.lists(st.floats(0.0001, 0.01), max_size=20))
def test_time_may_be_cut_in_any_way(dirty: int, rate: float, bandwidth: float, steps: list[float]) -> None:
    sockets = 7_000_000
    guest = GuestModel(1 << 28, 0, dirty, rate)
    state = TransferModel.begin(guest, bandwidth, running=True, sockets=sockets, first_look=0.1)
    for step in steps:
        before, state = state, state.advance(step)
        assert state.transferred >= before.transferred
        assert state.passes >= before.passes
        assert 0 <= state.remaining <= 1 << 28
        assert 0 <= state.in_sockets <= sockets
        assert state.transferred <= bandwidth * sum(steps) + len(steps) + sockets
    assert not state.completed
    stopped = state.stop_guest()
    assert stopped.advance(stopped.seconds_to_end + 1e-3).completed
    assert not stopped.advance(stopped.seconds_to_end * 0.9).completed or stopped.seconds_to_end < 1e-3
