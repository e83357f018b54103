"""One call over the wire, as the functions of this package are given it."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from quorate.clusapi.errors import CallerError
from quorate.clusapi.operation_values import FieldValue, Values
from quorate.clusapi.operations import needs_full_access
from quorate.clusapi.status import Status
from quorate.dcerpc.errors import RpcFault
from quorate.dcerpc.interfaces import Call
from quorate.dcerpc.ndr import ContextHandle
from quorate.dcerpc.security import Principal
from quorate.server.callers import Caller
from quorate.server.dispatcher import Dispatcher, operation_named
from quorate.server.mscmrp.access import GrantedAccess
from quorate.server.mscmrp.handles import OpenObject
from quorate.server.notification_hub import NotificationHub
from quorate.server.notification_ports import Port
from quorate.server.services import CallContext, NodeServices

T = TypeVar("T", bound=OpenObject)
Inputs: TypeAlias = dict[str, FieldValue]
"""What an operation is asked with."""


class Gate(Protocol):
    """Tells who a principal is, whenever one calls."""

    def caller(self, principal: Principal | None) -> Caller:
        """Tell what the account may do now. Raises CallerError 5 when it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """A call that was answered, for the audit."""

    caller: Caller
    source: str
    method: str
    about: str
    """The name of the object that it was about; empty for the cluster itself."""
    status: int
    changes: bool
    """It asked for something that only full access allows."""


class WireCall:
    """One call: who calls, the handles that are open to it, and the operations that answer it."""

    __slots__ = ("_dispatcher", "about", "caller", "changes", "notifications", "operation_id", "rpc", "services")

    def __init__(
        self,
        rpc: Call,
        caller: Caller,
        services: NodeServices,
        dispatcher: Dispatcher,
        notifications: NotificationHub,
    ) -> None:
        """Belong to one call."""
        self.rpc = rpc
        self.caller = caller
        self.services = services
        self._dispatcher = dispatcher
        self.notifications = notifications
        self.operation_id = str(uuid.uuid4())
        self.about = ""
        self.changes = False

    async def ask(self, operation: str, inputs: Mapping[str, FieldValue], through: OpenObject | None = None) -> Values:
        """Carry out an operation of the table, with the access of the handle that it goes through.

        Raises ClusterError as the dispatcher does.
        """
        declared = operation_named(operation)
        values = Values(inputs)
        code = values.optional_number("control_code") if declared.input("control_code") else None
        self.changes |= needs_full_access(declared, code)
        allowed = self.caller.full_access and (through is None or through.access is GrantedAccess.ALL)
        return await self._dispatcher.call(
            operation, values, CallContext(self.caller.actor, allowed, self.operation_id)
        )

    def find(self, handle: ContextHandle, kind: type[T]) -> T:
        """What a handle stands for. Raises RpcFault CONTEXT_MISMATCH: closed, foreign, or of another kind."""
        found = self.rpc.find_handle(handle, kind)
        self.about = self.about or found.name
        return found

    def open(self, value: OpenObject, run_down: Callable[[], Awaitable[None]] | None = None) -> ContextHandle:
        """Give the client a handle; ``run_down`` is awaited when it goes away without closing it."""
        self.about = self.about or value.name
        return self.rpc.open_handle(value, run_down)

    async def open_port(self, port: Port, value: OpenObject) -> ContextHandle:
        """Give the client a handle of a notification port, which is closed with it.

        Raises RefusalError 1450 and RpcFault when there are too many.
        """
        await self.notifications.open(port, self.caller.actor)

        async def run_down() -> None:
            await self.notifications.close(port)

        try:
            return self.open(value, run_down)
        except RpcFault:
            await run_down()
            raise

    def close(self, handle: ContextHandle, kind: type[T]) -> T:
        """Forget a handle. Raises as `find` does."""
        closed = self.rpc.close_handle(handle, kind)
        self.about = self.about or closed.name
        return closed

    def require(self, object_: OpenObject | None, access: GrantedAccess) -> None:
        """Check what does not go through `ask`. Raises CallerError 5."""
        self.changes |= access is GrantedAccess.ALL
        allowed = self.caller.full_access and (object_ is None or object_.access is GrantedAccess.ALL)
        if access is GrantedAccess.ALL and not allowed:
            raise CallerError(
                Status.ERROR_ACCESS_DENIED, "this needs full access; this caller or handle has read access only"
            )
