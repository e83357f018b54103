"""Association groups: the connections of one client program, and the context handles that they share.

When the last connection of a group is gone, every handle that is still open is run down: what it stood for is told, so
that it can let go of what it holds. Group numbers are random, and a handle opened by one user is none to another, so
guessing a number leads nowhere.

Source: [MS-RPCE] 3.3.3.1, 3.3.1.4.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar
from uuid import uuid4

import structlog

from quorate.dcerpc.errors import FaultCode, RpcFault
from quorate.dcerpc.ndr import NULL_HANDLE, ContextHandle
from quorate.dcerpc.security import Principal
from quorate.dcerpc.syntaxes import SyntaxId

T = TypeVar("T")
RunDown: TypeAlias = Callable[[], Awaitable[None]]

_log = structlog.get_logger("dcerpc")


@dataclass(frozen=True, slots=True)
class _Open:
    value: object
    interface: SyntaxId
    principal: Principal | None
    run_down: RunDown | None


@dataclass(slots=True)
class _Total:
    """The open handles of all groups."""

    limit: int
    count: int = 0


class HandleTable:
    """The open handles of one group."""

    def __init__(self, limit: int, total: _Total) -> None:
        self._limit = limit
        self._total = total
        self._open: dict[ContextHandle, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(
        self, value: object, interface: SyntaxId, principal: Principal | None, run_down: RunDown | None
    ) -> ContextHandle:
        """Make a handle. Raises RpcFault when there are as many as one client may have, or all of them."""
        if len(self._open) >= self._limit:
            raise RpcFault(FaultCode.OUT_OF_MEMORY, f"a client may have {self._limit} handles open, and has")
        if self._total.count >= self._total.limit:
            raise RpcFault(FaultCode.OUT_OF_MEMORY, f"{self._total.limit} handles are open, as many as may be")
        self._total.count += 1
        handle = ContextHandle(uuid4())
        self._open[handle] = _Open(value, interface, principal, run_down)
        return handle

    def find(self, handle: ContextHandle, kind: type[T], interface: SyntaxId, principal: Principal | None) -> T:
        """What a handle stands for. Raises RpcFault CONTEXT_MISMATCH: not open, not the caller's, not of the kind."""
        found = self._open.get(handle)
        if found is None or found.interface != interface or found.principal != principal:
            what = "null" if handle == NULL_HANDLE else "not open, or not to this client"
            raise RpcFault(FaultCode.CONTEXT_MISMATCH, f"the context handle is {what}")
        if not isinstance(found.value, kind):
            raise RpcFault(FaultCode.CONTEXT_MISMATCH, f"the context handle stands for no {kind.__name__}")
        return found.value

    def close(self, handle: ContextHandle, kind: type[T], interface: SyntaxId, principal: Principal | None) -> T:
        """Forget a handle and give what it stood for. Raises as :meth:`find` does."""
        value = self.find(handle, kind, interface, principal)
        del self._open[handle]
        self._total.count -= 1
        return value

    async def run_down(self) -> None:
        """Tell everything that is still open that its client is gone, the newest first."""
        while self._open:
            _, left = self._open.popitem()
            self._total.count -= 1
            if left.run_down is None:
                continue
            try:
                await left.run_down()
            except Exception:  # noqa: BLE001 - the supervisor of run-downs: the others must still be told
                _log.exception("a context handle could not be run down", kind=type(left.value).__name__)


class Group:
    """One association group."""

    def __init__(self, number: int, handles: HandleTable) -> None:
        self.number = number
        self.handles = handles
        self.connections = 0


class Associations:
    """The groups of one server."""

    def __init__(self, handle_limit: int, total_limit: int) -> None:
        self._handle_limit = handle_limit
        self._total = _Total(total_limit)
        self._groups: dict[int, Group] = {}

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def handles(self) -> int:
        """How many handles are open in all groups."""
        return self._total.count

    def join(self, number: int) -> Group | None:
        """Enter a group, a new one for 0; None when there is no such group."""
        if not number:
            while not number or number in self._groups:
                number = secrets.randbits(32)
            self._groups[number] = Group(number, HandleTable(self._handle_limit, self._total))
        group = self._groups.get(number)
        if group is not None:
            group.connections += 1
        return group

    async def leave(self, group: Group) -> None:
        """Leave a group; the last one out has its handles run down."""
        group.connections -= 1
        if not group.connections:
            del self._groups[group.number]
            await group.handles.run_down()
