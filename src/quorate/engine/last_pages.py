"""A daemon that is stopped in order first lets the guests have their last pages that live elsewhere by post-copy.

A node's lease ends soon after its daemon, and the guard then ends every QEMU of the node: also one that holds the only
copy of a page. A guest that was moved away from the node would end with it.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from quorate.clusapi.identity import SessionId
from quorate.migration.outgoing import Outgoing, Phase, Transfer

PATIENCE: Final = 10.0
"""Seconds without a page across after which a guest is waited for no longer: its destination may be gone for good."""
FLOW: Final = 1 << 16
"""Bytes that have to go across within that time: a connection that is made again and again moves some as well."""
LOOK: Final = 0.25
"""Seconds between two looks."""
HOW_TO_END_IT: Final = "`systemctl kill quorate-node` ends the waiting, and these with it"

_SENDING: Final = (Phase.NOTING_YOURS, Phase.TELLING, Phase.SERVING, Phase.RECONNECTING)


class Leaving(Protocol):
    """A migration away from this node."""

    @property
    def brain(self) -> Outgoing:
        """How it stands."""
        ...

    @property
    def name(self) -> str:
        """Of its virtual machine."""
        ...


def has_pages_left(brain: Outgoing) -> bool:
    """Tell whether the QEMU here is the only one that has all of a guest which is to run, or runs, elsewhere."""
    return brain.phase in _SENDING and brain.transfer in (Transfer.READY, Transfer.SWITCHED)


async def wait_sent(
    leaving: Callable[[], Iterable[Leaving]], report: Callable[[str], None], now: Callable[[], float]
) -> tuple[str, ...]:
    """Wait for the last pages; give the names of the virtual machines of which none gets across any more.

    ``report`` is called with a sentence at every look while there is something to wait for.
    """
    marks: dict[SessionId, tuple[int, float]] = {}
    while True:
        sending = [one for one in leaving() if has_pages_left(one.brain)]
        for brain in (one.brain for one in sending):
            if brain.session not in marks or brain.transferred >= marks[brain.session][0] + FLOW:
                marks[brain.session] = brain.transferred, now()
        waiting = [one.name for one in sending if now() - marks[one.brain.session][1] < PATIENCE]
        if not waiting:
            return tuple(one.name for one in sending)
        report(f"waiting until the memory of {', '.join(waiting)} has left, which runs elsewhere; {HOW_TO_END_IT}")
        await asyncio.sleep(LOOK)
