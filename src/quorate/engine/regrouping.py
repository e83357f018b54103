"""Putting resources of this node into another group of this node, running or not.

The records of both groups change in one transaction, so that whoever starts next finds each resource in one group, with
its state. What runs goes on: the host lets go of the resource in the one group and takes it on in the other.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.status import Status
from quorate.database.records import RunState
from quorate.database.resource_relations import Regrouping, plan_regrouping
from quorate.engine.holdings import Holdings
from quorate.engine.hosted import OwnedGroup

SEEN_WITHIN: Final = 2.0
"""Seconds for the host to take on what was moved; it does so later as well, but then the caller has its answer."""


async def change_resource_group(
    holdings: Holdings, resource: ResourceId, group: GroupId, events: Sequence[EventRecord]
) -> None:
    """Put a resource, with all that depends on it and that it depends on, into another group of this node.

    Raises:
        CallerError, RefusalError: as `plan_regrouping` has them; 5016 when this node does not own both groups; 5908
            while one of them moves; 5023 while one of the resources is on its way.
    """
    snapshot = await holdings.context.database.snapshot()
    moves = plan_regrouping(snapshot, snapshot.resource(resource), snapshot.group(group))
    with holdings.host.keeping(info.id for info in moves.resources):
        await _write(holdings, moves, resource, events)
        await _wait_seen(holdings, moves)


async def _write(holdings: Holdings, moves: Regrouping, resource: ResourceId, events: Sequence[EventRecord]) -> None:
    source, target = holdings.get(moves.source.id), holdings.get(moves.target.id)
    async with AsyncExitStack() as stack:
        for owned in sorted((source, target), key=lambda item: item.group):
            await stack.enter_async_context(owned.exclusively())
        _check(holdings, moves)
        runs = _runs(holdings, moves, source, target)
        writers = {owned.group: (owned.ownership, run) for owned, run in zip((source, target), runs, strict=True)}
        # A silent database may have written it all the same: nothing that runs may then be taken for offline.
        target.run = runs[1]
        database = holdings.context.database
        await database.change_resource_group(resource, moves.target.id, writers, events=tuple(events))
        source.run = runs[0]


def _check(holdings: Holdings, moves: Regrouping) -> None:
    for group in (moves.source, moves.target):
        if holdings.is_busy(group.id):
            sentence = f"{group.name!r} is being moved: wait until that has come to an end"
            raise RefusalError(Status.ERROR_CLUSTER_GROUP_MOVING, sentence)
    for info in moves.resources:
        if holdings.host.state(info.id).is_pending:
            sentence = f"{info.name!r} is on its way online or offline: wait until it has arrived"
            raise RefusalError(Status.ERROR_INVALID_STATE, sentence)


def _runs(holdings: Holdings, moves: Regrouping, source: OwnedGroup, target: OwnedGroup) -> tuple[RunState, RunState]:
    states = {info.id: int(holdings.host.state(info.id)) for info in moves.resources}
    left = {id_: state for id_, state in source.run.resource_states.items() if id_ not in states}
    return (
        replace(source.run, resource_states=left),
        replace(target.run, resource_states={**target.run.resource_states, **states}),
    )


async def _wait_seen(holdings: Holdings, moves: Regrouping) -> None:
    host, loop = holdings.host, asyncio.get_running_loop()
    deadline = loop.time() + SEEN_WITHIN
    moved = {info.id for info in moves.resources}
    while loop.time() < deadline:
        gone = moved.isdisjoint(host.states(moves.source.id))
        if gone and moved <= host.states(moves.target.id).keys():
            return
        await asyncio.sleep(0.01)
