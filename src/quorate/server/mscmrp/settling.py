"""Waits, inside a call, until what it has begun is over.

OnlineResource and its like may answer 997, "under way", and clients of the time before …Ex take that for an error. So
the calls without "Ex" wait for the state, but not longer than such a client waits for an answer; those with "Ex" answer
at once, since who uses them follows by notifications.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import GroupState, ResourceState
from quorate.clusapi.status import Status
from quorate.server.mscmrp.calls import WireCall
from quorate.server.mscmrp.handles import OpenGroup, OpenResource

PATIENCE: Final = 8.0
"""Seconds; rpcclient gives up after ten."""
_PACE: Final = 0.05
_RESOURCE_PENDING: Final = (
    ResourceState.INITIALIZING,
    ResourceState.ONLINE_PENDING,
    ResourceState.OFFLINE_PENDING,
)


async def settled_resource(wire: WireCall, it: OpenResource, status: int, wanted: ResourceState) -> int:
    """Wait for a resource: 0 when it is as wanted, 5038 when it is not, 997 when it still is under way."""

    async def read() -> bool | None:
        answer = await wire.ask("GetResourceState", {"resource": it.id}, it)
        state = ResourceState(answer.number("state"))
        return None if state in _RESOURCE_PENDING else state is wanted

    return await _settled(status, read)


async def settled_group(wire: WireCall, it: OpenGroup, status: int, wanted: GroupState) -> int:
    """Wait for a group, as for a resource."""

    async def read() -> bool | None:
        answer = await wire.ask("GetGroupState", {"group": it.id}, it)
        state = GroupState(answer.number("state"))
        return None if state is GroupState.PENDING else state is wanted

    return await _settled(status, read)


def status_of(answer: Values) -> int:
    """The status that an operation told."""
    return answer.number("status")


async def _settled(status: int, read: Callable[[], Awaitable[bool | None]]) -> int:
    if status != Status.ERROR_IO_PENDING:
        return status
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while loop.time() < deadline:
        await asyncio.sleep(_PACE)
        try:
            is_done = await read()
        except ClusterError:  # it was accepted; that it cannot be looked at now makes it no error
            return status
        if is_done is not None:
            return int(Status.ERROR_SUCCESS if is_done else Status.ERROR_RESOURCE_FAILED)
    return status
