"""The face as a whole: every method that is answered, and the interface that a server offers."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from quorate.clusapi.errors import ClusterError
from quorate.dcerpc.errors import FaultCode, RpcFault
from quorate.dcerpc.interfaces import Call, Interface
from quorate.mscmrp.interface import INTERFACE_NAME, SYNTAX
from quorate.server.dispatcher import Dispatcher
from quorate.server.mscmrp import (
    batch,
    cluster,
    group_sets,
    groups,
    networks,
    nodes,
    notify,
    registry,
    resource_types,
    resources,
    unanswered,
)
from quorate.server.mscmrp.binding import Handler
from quorate.server.mscmrp.calls import AnsweredCall, Gate, WireCall
from quorate.server.notification_hub import NotificationHub
from quorate.server.services import NodeServices

_MODULES: Final = (
    cluster,
    groups,
    group_sets,
    networks,
    nodes,
    batch,
    notify,
    registry,
    resource_types,
    resources,
    unanswered,
)


def _merged() -> Mapping[int, Handler]:
    merged: dict[int, Handler] = {}
    for module in _MODULES:
        twice = merged.keys() & module.HANDLERS.keys()
        if twice:
            raise ValueError(f"{module.__name__} binds {sorted(twice)}, which are bound already")
        merged.update(module.HANDLERS)
    return MappingProxyType(merged)


HANDLERS: Final = _merged()
"""What answers each method, by its number."""


class MscmrpFace:
    """Answers the methods of MS-CMRP for one node. ``on_answered`` is told of every call."""

    def __init__(
        self,
        services: NodeServices,
        dispatcher: Dispatcher,
        gate: Gate,
        on_answered: Callable[[AnsweredCall], None] = lambda answered: None,
    ) -> None:
        """Serve the node that ``services`` stands for."""
        self._services = services
        self._dispatcher = dispatcher
        self._gate = gate
        self._on_answered = on_answered
        self._notifications = NotificationHub(services.database)
        operations = {number: handler.served(self) for number, handler in HANDLERS.items()}
        self.interface = Interface(INTERFACE_NAME, SYNTAX, operations)

    def enter(self, call: Call) -> WireCall:
        """Tell who calls. Raises RpcFault ACCESS_DENIED when the account is gone."""
        try:
            caller = self._gate.caller(call.principal)
        except ClusterError as error:
            raise RpcFault(FaultCode.ACCESS_DENIED, error.sentence) from error
        return WireCall(call, caller, self._services, self._dispatcher, self._notifications)

    def leave(self, call: WireCall, method: str, status: int) -> None:
        """Note how a call ended."""
        self._on_answered(AnsweredCall(call.caller, call.rpc.source, method, call.about, int(status), call.changes))
