"""A method of the interface bound to the function that answers it.

A function takes the call and the method's inputs and makes its outputs. What it refuses leaves it as a ClusterError and
becomes the outputs that the method has for that status; an :class:`~quorate.dcerpc.errors.RpcFault` (a handle that is
closed, foreign or of another kind) stays what it is.

Source: [MS-CMRP] 3.1.4 (every output is sent, whatever the status).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.operation_types import Access
from quorate.clusapi.status import Status
from quorate.dcerpc.errors import NdrError, RpcFault
from quorate.dcerpc.interfaces import Call, Operation, Served
from quorate.mscmrp.method import Answered, Method
from quorate.server.mscmrp.calls import WireCall

I = TypeVar("I")  # noqa: E741 - inputs
O = TypeVar("O", bound=Answered)  # noqa: E741 - outputs

_log = structlog.get_logger("mscmrp")


class Entry(Protocol):
    """Where calls come in and go out."""

    def enter(self, call: Call) -> WireCall:
        """Tell who calls. Raises RpcFault when nobody may."""
        ...

    def leave(self, call: WireCall, method: str, status: int) -> None:
        """Note how a call ended."""
        ...


class Handler(Protocol):
    """A method with its function, whatever their types."""

    @property
    def opnum(self) -> int:
        """The method's number."""
        ...

    def served(self, entry: Entry) -> Served:
        """Make what a server calls."""
        ...


@dataclass(frozen=True, slots=True)
class _Bound(Generic[I, O]):
    method: Method[I, O]
    function: Callable[[WireCall, I], Awaitable[O]]

    @property
    def opnum(self) -> int:
        return self.method.opnum

    def served(self, entry: Entry) -> Served:
        async def handle(call: Call, inputs: I) -> O:
            wire = entry.enter(call)
            wire.changes = self.method.access is Access.FULL
            status: int = Status.RPC_S_CALL_FAILED  # of a function that breaks, or is given up by its client
            try:
                outputs = await self.function(wire, inputs)
                status = outputs.status
            except (RpcFault, NdrError) as fault:
                status = fault.status
                raise
            except ClusterError as error:
                _log.debug("a call was refused", method=self.method.name, sentence=error.sentence)
                outputs, status = self.method.failed(error.status), error.status
            finally:
                entry.leave(wire, self.method.name, status)
            return outputs

        return Operation(self.method.declaration, handle, self.method.is_blocking)


def answer(method: Method[I, O], function: Callable[[WireCall, I], Awaitable[O]]) -> Handler:
    """Bind a method to its function. One that may block ends when its client cancels it or goes away."""
    return _Bound(method, function)


def handlers(*bound: Handler) -> Mapping[int, Handler]:
    """The bound methods of a module by number; a number that comes twice is a bug."""
    by_number = {handler.opnum: handler for handler in bound}
    if len(by_number) != len(bound):
        raise ValueError("a method is bound twice")
    return MappingProxyType(by_number)
