"""A simulated move against a real one over 1 Gb/s, by figures of one run of `bench/agreement.py`."""

import pytest
from bench.forecast import forecast

from quorate.hypervisor.guest_model import GuestModel

MIB = 1 << 20
LINK = 119.7e6
"""Bytes per second that got across the link."""


@pytest.mark.parametrize(
    ("memory", "filled", "written", "rate", "total", "passes", "gap"),
    [
        (1024, 640, 32, 3.0e6, 6.47, 2, 0.093),
        (512, 300, 32, 20.0e6, 3.48, 3, 0.109),
        (1024, 512, 128, 78.7e6, 9.45, 10, 0.118),
    ],
    ids=["large", "slow", "faster"],
)
def test_a_move_takes_as_long_as_it_did_with_qemu(
    memory: int, filled: int, written: int, rate: float, total: float, passes: int, gap: float
) -> None:
    guest = GuestModel(memory * MIB, (memory - filled - written) * MIB, written * MIB, rate)
    move = forecast(guest, LINK, seeds=(1,))
    assert move.failure == ""
    assert move.total == pytest.approx(total, rel=0.25)
    assert abs(move.passes - passes) <= 1
    assert move.gap == pytest.approx(gap, rel=0.35)


def test_a_guest_that_writes_faster_than_the_link_carries_is_held_back_and_moves_as_it_did() -> None:
    """Three moves took 11.2 to 12.0 s and 10, 10 and 14 passes, for a throttle comes on a look for dirty pages."""
    guest = GuestModel(512 * MIB, 128 * MIB, 128 * MIB, 149.2e6)
    move = forecast(guest, LINK, seeds=(1,))
    assert move.failure == ""
    assert move.total == pytest.approx(11.3, rel=0.25)
    assert abs(move.passes - 10) <= 1
