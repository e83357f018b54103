"""Time that passes at once: while nothing but the renewal of leases happens, it need not be played.

A world is still when every node that is on holds its lease, with nothing open about it, everybody has seen everything,
the lease of every other node has ended, and nothing is due for a while but what watches over leases. Then so much time
is let pass as if each lease had been renewed as ever: what was sent, and what was seen, is that much later. Revisions
and sequences of leases do not grow meanwhile; nothing depends on how large they are.
"""

from typing import TYPE_CHECKING, Final

from quorate.simulator.store import Mode

if TYPE_CHECKING:
    from quorate.simulator.world import World

LEAST: Final = 4.0
"""Seconds that are worth it."""
MOST: Final = 60.0
"""Seconds after which those who look now and then look again."""
AHEAD: Final = 0.2
"""Seconds that are left to be played before something happens."""


def pass_still_time(world: "World", until: float) -> float:
    """Let pass what can be let pass at once, until then at most; gives the seconds."""
    kernel = world.kernel
    seconds = min(kernel.next_at(), until) - kernel.now - AHEAD
    if seconds < LEAST or not _is_still(world):
        return 0.0
    seconds = min(seconds, MOST)
    daemons = [machine.daemon for machine in world.machines.values() if machine.daemon is not None]
    for daemon in daemons:
        daemon.view.shift(daemon.machine.clock.elapsing(seconds))
    kernel.shift_routine(seconds)
    for daemon in daemons:
        daemon.keeper.shift(seconds)
        if daemon.coordination.decides:
            daemon.coordination.look_soon()
        daemon.upkeep.look_soon()
    return seconds


def _is_still(world: "World") -> bool:
    for machine in world.machines.values():
        if machine.has_left:
            if machine.qemus:
                return False
            continue
        if not machine.is_on:
            lease = world.store.lease(machine.node)
            if lease is not None and not lease.value.ended:
                return False
            continue
        daemon = machine.daemon
        if daemon is None or not daemon.has_started or not daemon.life.is_running or not machine.guard.is_alive:
            return False
        if machine.way.mode is not Mode.OK or not daemon.keeper.is_settled or not daemon.view.is_settled:
            return False
    return have_noted_each_other(world)


def have_noted_each_other(world: "World") -> bool:
    """Tell whether each lease says that its node has seen when the others began: what they may conclude hangs on it."""
    daemons = [machine.daemon for machine in world.machines.values() if machine.daemon is not None]
    newest = max((daemon.keeper.since_revision for daemon in daemons), default=0)
    for daemon in daemons:
        lease = world.store.lease(daemon.node)
        if lease is None or (lease.value.seen < newest and daemon.keeper.since_revision != newest):
            return False
    return True
