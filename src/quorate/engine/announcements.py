"""Carries out how long a guest that has arrived is announced."""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.hypervisor.contract import Instance
from quorate.hypervisor.definition import NicKind, VmDefinition
from quorate.migration.announcing import Announcing, Verdict

_log = structlog.get_logger("migration")


def addresses_of(definition: VmDefinition) -> frozenset[str]:
    """The addresses of the cards that others can reach."""
    return frozenset(nic.mac.lower() for nic in definition.nics if nic.kind is not NicKind.USER)


async def announce_until_seen(
    instance: Instance, name: str, addresses: Iterable[str], is_here: Callable[[], bool]
) -> Verdict | None:
    """Announce a guest, which was announced once, again and again until it is seen; None: it is not here any more.

    ``is_here`` is asked before each announcement: one of a guest that has left would draw its traffic to the wrong
    place.
    """
    state = Announcing(frozenset(addresses))
    if not state.unseen:
        return Verdict.SEEN
    while True:
        try:
            heard = await instance.heard(state.unseen, state.pause)
            if heard is None:  # nobody may look: the pauses alone decide
                await asyncio.sleep(state.pause)
            if not is_here():
                return None
            state, verdict = state.after_look(heard or frozenset())
            if verdict is Verdict.AGAIN:
                await instance.announce()
                continue
        except ClusterError as error:
            _log.debug("a guest is announced no more", vm=name, sentence=error.sentence)
            return None
        _log.info("the network was told where a guest is", vm=name, seen=verdict.value, times=state.said)
        return verdict
