"""How far the clocks of two machines may be apart: certificates, tokens and events are told by them.

Leases are not; they are counted on each machine's own steady clock.
"""

from typing import Final

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.status import Status

MAXIMUM_OFFSET: Final = 30.0
"""Seconds."""


def check_offset(offset: float, who: str, *, resolution: float = 0.0) -> None:
    """Refuse a clock that is ``offset`` seconds ahead of ours (negative: behind), known to ``resolution`` seconds.

    Raises RefusalError ERROR_TIME_SKEW.
    """
    if abs(offset) <= MAXIMUM_OFFSET + resolution:
        return
    direction = "ahead of" if offset > 0 else "behind"
    raise RefusalError(
        Status.ERROR_TIME_SKEW,
        f"the clock of {who} is {abs(offset):.0f} s {direction} this machine's, {MAXIMUM_OFFSET:.0f} s are allowed: "
        "set both by NTP",
    )
