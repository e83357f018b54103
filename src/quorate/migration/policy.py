"""Named policies: how far a live migration may go with a guest that dirties memory faster than the link carries it.

A policy is named per call, per virtual machine (MigrationPolicy of its resource) or for the cluster (MigrationPolicy of
the cluster); the first that is named counts. What a virtual machine says of its own limits counts besides
(MigrationGapLimit, MigrationThrottleLimit). `convergence.py` climbs as far as the policy lets it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status

POLICY_PROPERTY: Final = "MigrationPolicy"
"""Of the cluster and of a virtual machine: the name of a policy; empty: as the cluster says, or ``default``."""
GAP_PROPERTY: Final = "MigrationGapLimit"
"""Of a virtual machine: milliseconds that its guest may stand; 0: as the policy says."""
THROTTLE_PROPERTY: Final = "MigrationThrottleLimit"
"""Of a virtual machine: percent of their time that its processors may be held back, if the policy allows as much."""
ANY_THROTTLE: Final = 100
"""MigrationThrottleLimit: as the policy says."""
MOST_THROTTLE: Final = 99
LONGEST_GAP_MS: Final = 60_000
_SLICE: Final = 0.010
"""Seconds that QEMU lets a throttled processor run at a time; then it sleeps until it has run its share."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a migration may do to the guest so that it ends."""

    name: str
    purpose: str
    """For people: what it is for."""
    gap_limit: float
    """Seconds that the guest may stand at the hand-over: a promise, that is measured afterwards."""
    throttle_limit: int
    """Percent of the time that its processors may be held back while memory is copied; 0: they are not."""
    post_copy: bool
    """It may run on the destination before all of its memory is there: a broken link then makes it wait."""
    pause_limit: float = 0.0
    """Seconds that it may stand when nothing else has helped, beyond the gap limit; 0: nobody has consented to that."""

    @property
    def throttle_most(self) -> int:
        """Percent by which its processors are held back at most.

        A throttled processor sleeps in one piece, 90 ms of 100 at 90 %: that may be no longer than the gap may.
        """
        return min(self.throttle_limit, int(100 * self.gap_limit / (self.gap_limit + _SLICE)))


POLICIES: Final = {
    policy.name: policy
    for policy in (
        Policy("gentle", "the guest must feel nothing: a short gap or no move, at full speed", 0.1, 0, post_copy=False),
        Policy(
            "default", "for most: slowed down for seconds if need be, or moved by post-copy", 0.3, 96, post_copy=True
        ),
        Policy(
            "must-move",
            "the node goes down anyway: rather stopped for some seconds than not moved",
            0.3,
            96,
            post_copy=True,
            pause_limit=30.0,
        ),
        Policy("never-postcopy", "as default, for guests that a broken link must never stop", 0.3, 96, post_copy=False),
    )
}
DEFAULT_POLICY: Final = POLICIES["default"]


def find_policy(name: str) -> Policy:
    """Find a policy by its name.

    Raises:
        CallerError: 87, with the names that there are.
    """
    policy = POLICIES.get(name)
    if policy is None:
        sentence = f"there is no migration policy {name!r}; they are {', '.join(POLICIES)}"
        raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
    return policy


def policy_in_effect(names: Iterable[str], gap_limit_ms: int = 0, throttle_limit: int = ANY_THROTTLE) -> Policy:
    """Give the policy of a migration: the first of ``names`` that is not empty, with the machine's own limits.

    ``gap_limit_ms`` stands in place of the policy's where it is not 0; of the throttle limits the lower one counts.

    Raises:
        CallerError: 87, the name is not one of a policy.
    """
    policy = find_policy(next((name for name in names if name), DEFAULT_POLICY.name))
    return replace(
        policy,
        gap_limit=gap_limit_ms / 1000 if gap_limit_ms else policy.gap_limit,
        throttle_limit=min(policy.throttle_limit, throttle_limit),
    )
