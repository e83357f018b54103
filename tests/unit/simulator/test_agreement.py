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
        (1024, 512, 128, 79.8e6, 9.18, 8, 0.171),
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


def test_a_guest_that_writes_faster_than_the_link_carries_is_given_up_after_as_many_passes() -> None:
    guest = GuestModel(512 * MIB, 128 * MIB, 128 * MIB, 149.4e6)
    move = forecast(guest, LINK, seeds=(1,))
    assert move.failure.startswith("will not converge")
    assert move.total == pytest.approx(26.21, rel=0.25)
    assert abs(move.passes - 22) <= 1
