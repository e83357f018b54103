"""The methods on batch ports, which tell what is changed at and below a registry key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.security_descriptors import KeyAccess, sids_of
from quorate.mscmrp import registry_methods as methods
from quorate.mscmrp.registry_methods import CreateBatchPortOut, GetBatchNotificationOut
from quorate.mscmrp.shapes import CloseOut, HandleIn
from quorate.server.mscmrp.binding import Handler, answer, handlers
from quorate.server.mscmrp.calls import WireCall
from quorate.server.mscmrp.handles import OpenObject
from quorate.server.mscmrp.registry import OpenKey
from quorate.server.notification_ports import BatchPort


@dataclass(frozen=True, slots=True)
class OpenBatchPort(OpenObject):
    """A handle of a batch port; its id is the path of the key."""

    port: BatchPort


async def create(wire: WireCall, inputs: HandleIn) -> CreateBatchPortOut:
    """Watch a key and all below it, as far as the caller may read it."""
    it = wire.find(inputs.handle, OpenKey)
    await wire.ask("OpenKey", {"key": it.id, "access": int(KeyAccess.QUERY_VALUE | KeyAccess.NOTIFY)}, it)
    port = BatchPort(it.id, sids_of(full_access=wire.caller.full_access))
    return CreateBatchPortOut(await wire.open_port(port, OpenBatchPort(it.access, it.id, it.name, port)))


async def get(wire: WireCall, inputs: HandleIn) -> GetBatchNotificationOut:
    """Wait for the next batch."""
    return GetBatchNotificationOut(await wire.find(inputs.handle, OpenBatchPort).port.take())


async def close(wire: WireCall, inputs: HandleIn) -> CloseOut:
    """Watch no more; a call that waits ends."""
    await wire.notifications.close(wire.close(inputs.handle, OpenBatchPort).port)
    return CloseOut()


HANDLERS: Final[Mapping[int, Handler]] = handlers(
    answer(methods.CREATE_BATCH_PORT, create),
    answer(methods.GET_BATCH_NOTIFICATION, get),
    answer(methods.CLOSE_BATCH_PORT, close),
)
