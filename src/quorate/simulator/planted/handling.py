"""Faults of hands, masked each by another: R2 in sessions, and who stops the guest."""

from typing import Final

from quorate.simulator.aimed_plots import Mood
from quorate.simulator.brains import Hand
from quorate.simulator.planted.fault import Mask, Planted, without

FAULTS: Final = (
    Planted(
        "a session hears of no lapse",
        "R2",
        "A migration goes on as if the lease under which it began had never lapsed.",
        without(Hand.INCARNATION),
        Mask(
            "guard",
            "the guard ends what stands as well as what runs, so that no image outlives the lease under which it was "
            "stopped or loaded",
            without(Hand.GUARD_OF_STANDING),
        ),
    ),
    Planted(
        "starts ask for no lease",
        "R2",
        "Virtual CPUs start though the lease has lapsed since the start was decided.",
        without(Hand.LEASE_BEFORE_START),
        mood=Mood.ANY,
    ),
    Planted(
        "QEMU stops the guest",
        "I3",
        "QEMU switches over by itself when the rest fits its own limit, and runs on by itself when that fails.",
        without(Hand.SWITCHOVER_ACK),
        Mask(
            "I3",
            "the driver answers a stop only when the guest stands for good, and not while QEMU holds it",
            without(Hand.STOPPED_FOR_GOOD),
        ),
    ),
)
