"""Seeing that a guest lives after a migration: its vCPUs get on."""

import asyncio
from typing import Final

from quorate.clusapi.errors import ClusterError
from quorate.hypervisor.contract import Instance

ALIVE_PATIENCE: Final = 2.0
"""Seconds that one looks: a guest may well sleep for a second when it has nothing to do."""
_PAUSE: Final = 0.02


async def see_alive(instance: Instance) -> float | None:
    """Look until the vCPUs have run on a processor: after how many seconds they had; None: not within the patience.

    `cont` was answered before: that says that they may run, and nothing of whether they do.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        before = await instance.vcpu_seconds()
        while clock() - began < ALIVE_PATIENCE:
            await asyncio.sleep(_PAUSE)
            if await instance.vcpu_seconds() > before:
                return clock() - began
    except ClusterError:
        return None
    return None
