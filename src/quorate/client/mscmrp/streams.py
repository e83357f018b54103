"""What is followed over MS-CMRP, by the paths that HTTP has for it.

A migration's properties are looked at again and again; events are what a notification port tells.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from quorate.clusapi.errors import CallerError, ClusterError
from quorate.clusapi.json_types import JsonObject, json_int
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import GroupState, MigrationState
from quorate.clusapi.status import Status

Call = Callable[[str, dict[str, str]], Awaitable[Values]]
Part = tuple[str, JsonObject]
LOOK_EVERY: Final = 0.25
PATIENCE: Final = 10.0
_PASSING: Final = frozenset(
    {
        Status.RPC_S_SERVER_UNAVAILABLE,
        Status.RPC_S_CALL_FAILED,
        Status.ERROR_HOST_NODE_NOT_GROUP_OWNER,
        Status.ERROR_HOST_NODE_NOT_RESOURCE_OWNER,
        Status.ERROR_CLUSTER_NODE_DOWN,
        Status.ERROR_GROUP_NOT_AVAILABLE,
    }
)
"""What a group answers that changes hands, and a node that restarts."""
_MIGRATIONS: Final = "/v1/migrations/"
_EVENTS: Final = "/v1/events"


def followed_machine(target: str) -> str | None:
    """The virtual machine whose progress a target means; None for any other target."""
    path = urlsplit(target).path
    if not path.startswith(_MIGRATIONS) or not path.endswith("/progress"):
        return None
    return unquote(path.removeprefix(_MIGRATIONS).removesuffix("/progress"))


def event_filters(target: str) -> dict[str, str]:
    """What a target of events asks for. Raises CallerError 120 for what cannot be followed here."""
    parts = urlsplit(target)
    if parts.path != _EVENTS:
        raise CallerError(Status.ERROR_CALL_NOT_IMPLEMENTED, f"{target}: MS-CMRP has nothing to follow there")
    filters = dict(parse_qsl(parts.query))
    if "node" in filters:
        raise CallerError(
            Status.ERROR_CALL_NOT_IMPLEMENTED, "node: notifications of MS-CMRP do not tell who noted them"
        )
    return filters


# --- Migrations ----------------------------------------------------------------------------------------------------


async def follow_migration(vm: str, call: Call) -> AsyncGenerator[Part, None]:
    """One part for each change, until the migration is over.

    A group that is on its way though no migration shows is looked at again: a server that queues moves says so late.
    """
    loop = asyncio.get_running_loop()
    shown: JsonObject | None = None
    answered = loop.time()
    while True:
        try:
            is_moving = shown is None and await _is_moving(vm, call)  # before, so that what is read then is the end
            told = await call("GetMigrationProgress", {"vm": vm})
        except ClusterError as error:
            if error.status not in _PASSING or loop.time() - answered > PATIENCE:
                yield "error", {"status": int(error.status), "sentence": error.sentence}
                return
        else:
            answered = loop.time()
            current: JsonObject = {**told.json("progress"), "node": told.text("node")}
            under_way = MigrationState(json_int(current, "migration_state")).is_under_way
            if current != shown and (under_way or not is_moving):
                shown = current
                yield "progress", current
            if not under_way and not is_moving:
                return
        await asyncio.sleep(LOOK_EVERY)


async def _is_moving(vm: str, call: Call) -> bool:
    return (await call("GetGroupState", {"group": vm})).number("state") == GroupState.PENDING
