"""Whether a failed resource is started again where it failed: RestartAction, RestartThreshold and RestartPeriod.

Failing over to another node when the threshold is reached is decided elsewhere; here the answer is only whether this
node tries once more.
"""

from dataclasses import dataclass

from quorate.clusapi.frozen import replace
from quorate.clusapi.states import RestartAction


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """The common properties of a resource that say so. Times in seconds (the properties are in milliseconds)."""

    action: RestartAction = RestartAction.RESTART_NOTIFY
    threshold: int = 3
    period: float = 900.0
    delay: float = 0.5


@dataclass(frozen=True, slots=True)
class RestartHistory:
    """When the resource was restarted lately, in monotonic seconds."""

    restarts: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RestartDecision:
    """What to do about a failure, and why."""

    restart: bool
    history: RestartHistory
    sentence: str


def plan_restart(policy: RestartPolicy, history: RestartHistory, now: float) -> RestartDecision:
    """Decide about a failure at ``now``."""
    if policy.action is RestartAction.DONT_RESTART:
        return RestartDecision(False, history, "not restarted: RestartAction is 0")
    recent = tuple(at for at in history.restarts if now - at < policy.period)
    if len(recent) >= policy.threshold:
        return RestartDecision(
            False,
            replace(history, restarts=recent),
            f"not restarted: {len(recent)} restarts within {policy.period:.0f} s (RestartThreshold {policy.threshold})",
        )
    return RestartDecision(
        True,
        replace(history, restarts=(*recent, now)),
        f"restart {len(recent) + 1} of {policy.threshold} within {policy.period:.0f} s",
    )
