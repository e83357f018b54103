"""What is told without being asked again: server-sent events, one JSON object each."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Final, TypeVar

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_int
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import MigrationState
from quorate.clusapi.status import Status
from quorate.database.contract import Compacted
from quorate.server.dispatcher import Dispatcher
from quorate.server.services import CallContext, NodeServices

T = TypeVar("T")
_LOOK_EVERY: Final = 0.25  # seconds between looks at a VM that another node hosts
_PATIENCE: Final = 10.0  # seconds without an answer (a hand-over, a node that restarts) before a stream gives up
_KEEPALIVE: Final = 15.0
_PASSING: Final = frozenset(
    {
        Status.RPC_S_SERVER_UNAVAILABLE,
        Status.ERROR_HOST_NODE_NOT_GROUP_OWNER,
        Status.ERROR_CLUSTER_NODE_DOWN,
        Status.ERROR_GROUP_NOT_AVAILABLE,
    }
)


async def events(services: NodeServices, after: int | None, fits: Callable[[EventRecord], bool]) -> AsyncIterator[str]:
    """Those that fit of the events after a sequence (or from now on), for ever.

    A listener that comes back gives the last id that it saw.
    """
    database = services.database
    sequence = (await database.snapshot()).revision if after is None else after
    yield ": events\n\n"
    while True:
        try:
            async with aclosing(database.watch_events(sequence)) as batches:
                async for batch in _with_keepalive(batches):
                    if batch is None:
                        yield ": here\n\n"
                        continue
                    for event in batch:
                        sequence = event.sequence
                        if fits(event):
                            yield _part("event", event.to_json(), sequence)
        except Compacted:
            newest = (await database.snapshot()).revision
            yield _part("gap", {"after": str(sequence), "sentence": "events between were dropped"}, newest)
            sequence = newest
        except ClusterError as error:
            yield _part("error", {"status": int(error.status), "sentence": error.sentence})
            return


async def _with_keepalive(batches: AsyncIterator[T]) -> AsyncIterator[T | None]:
    following = asyncio.ensure_future(anext(batches))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=_KEEPALIVE)
            if not done:
                yield None
                continue
            try:
                yield following.result()
            except StopAsyncIteration:
                return
            following = asyncio.ensure_future(anext(batches))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def progress(
    services: NodeServices, dispatcher: Dispatcher, context: CallContext, group_id: GroupId
) -> AsyncIterator[str]:
    """One part per change until the migration is over; the VM is followed when it changes hands.

    A VM hosted here tells its news at once; one hosted elsewhere is looked at four times a second.
    """
    news = asyncio.Event()
    here = services.vm_details(group_id) is not None
    unsubscribe = services.subscribe_progress(group_id, news.set) if here else _nothing
    loop = asyncio.get_running_loop()
    shown: JsonObject | None = None
    answered = loop.time()
    try:
        while True:
            news.clear()
            try:
                outputs = await dispatcher.call("GetMigrationProgress", Values({"vm": group_id}), context)
                answered = loop.time()
            except ClusterError as error:
                if error.status not in _PASSING or loop.time() - answered > _PATIENCE:
                    yield _part("error", {"status": int(error.status), "sentence": error.sentence})
                    return
                await _wait(news)
                continue
            current = {**outputs.json("progress"), "node": outputs.text("node")}
            if current != shown:
                shown = current
                yield _part("progress", current)
            if not MigrationState(json_int(current, "migration_state")).is_under_way:
                return
            await _wait(news)
    finally:
        unsubscribe()


def _nothing() -> None:
    """Nothing was subscribed."""


async def _wait(news: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_LOOK_EVERY):
            await news.wait()
    except TimeoutError:
        return


def _part(kind: str, value: Mapping[str, JsonValue], sequence: int | None = None) -> str:
    id_ = "" if sequence is None else f"id: {sequence}\n"
    return f"{id_}event: {kind}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n"
