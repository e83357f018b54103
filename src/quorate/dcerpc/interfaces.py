"""What a server answers: interfaces, their operations, and the call that an operation is given.

An operation is declared once, for both ends and for the dissector::

    @dataclass(frozen=True, slots=True)
    class EchoIn:
        text: Annotated[str, WSTRING]

    ECHO = Declaration("Echo", Parameters.of(EchoIn), Parameters.of(EchoOut))

and a server binds it to a handler: ``Interface("echo", SYNTAX, {0: Operation(ECHO, answer)})``.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from quorate.dcerpc.associations import HandleTable, RunDown
from quorate.dcerpc.ndr import ByteOrder, ContextHandle, Parameters, Values
from quorate.dcerpc.security import AuthLevel, Principal
from quorate.dcerpc.syntaxes import SyntaxId

I = TypeVar("I")  # noqa: E741 - inputs
O = TypeVar("O")  # noqa: E741 - outputs
T = TypeVar("T")


class Described(Protocol):
    """What can be said of an operation without knowing its types."""

    @property
    def name(self) -> str:
        """Its name."""

    def show_inputs(self, data: bytes, order: ByteOrder = "<") -> Values:
        """Read a request's data: the inputs by name. Raises NdrError."""

    def show_outputs(self, data: bytes, order: ByteOrder = "<", inputs: Values | None = None) -> Values:
        """Read a response's data: the outputs by name. Raises NdrError."""


@dataclass(frozen=True, slots=True)
class Declaration(Generic[I, O]):
    """An operation as the interface definition has it."""

    name: str
    inputs: Parameters[I]
    outputs: Parameters[O]

    def show_inputs(self, data: bytes, order: ByteOrder = "<") -> Values:
        """Read a request's data: the inputs by name. Raises NdrError."""
        return self.inputs.values(self.inputs.unpack(data, order))

    def show_outputs(self, data: bytes, order: ByteOrder = "<", inputs: Values | None = None) -> Values:
        """Read a response's data: the outputs by name. Raises NdrError."""
        return self.outputs.values(self.outputs.unpack(data, order, inputs, lenient=True))


@dataclass(frozen=True, slots=True)
class Call:
    """One call that came: who calls, and which handles are open to it."""

    opnum: int
    object_uuid: UUID | None
    source: str
    """The client's address."""
    local_address: str
    """The address of ours that the client has reached."""
    principal: Principal | None
    """Who has logged on; None when nobody has."""
    level: AuthLevel
    interface: SyntaxId
    handles: HandleTable

    def open_handle(self, value: object, run_down: RunDown | None = None) -> ContextHandle:
        """Give the client a handle. ``run_down`` is awaited when the client goes away without closing it.

        Raises RpcFault when the client has too many.
        """
        return self.handles.open(value, self.interface, self.principal, run_down)

    def find_handle(self, handle: ContextHandle, kind: type[T]) -> T:
        """What a handle stands for.

        Raises RpcFault CONTEXT_MISMATCH when it is closed, somebody else's, another interface's or of another kind.
        """
        return self.handles.find(handle, kind, self.interface, self.principal)

    def close_handle(self, handle: ContextHandle, kind: type[T]) -> T:
        """Forget a handle and give what it stood for; its ``run_down`` is not called. Raises as `find_handle` does."""
        return self.handles.close(handle, kind, self.interface, self.principal)


class Served(Protocol):
    """An operation bound to what answers it."""

    @property
    def is_cancellable(self) -> bool:
        """Tell whether the call ends when the client cancels it or goes away; others go on to their end."""

    async def serve(self, call: Call, data: bytes, order: ByteOrder) -> bytes:
        """Answer a request's data with a response's. Raises NdrError, RpcFault."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[I, O]):
    """A declaration and its handler."""

    declaration: Declaration[I, O]
    handler: Callable[[Call, I], Awaitable[O]]
    is_cancellable: bool = False

    async def serve(self, call: Call, data: bytes, order: ByteOrder) -> bytes:
        """Read the inputs, ask the handler, write the outputs. A verification trailer after the inputs is left."""
        inputs = self.declaration.inputs.unpack(data, order)
        outputs = await self.handler(call, inputs)
        return self.declaration.outputs.pack(outputs, self.declaration.inputs.values(inputs))


@dataclass(frozen=True, slots=True)
class RawOperation:
    """An operation that sees bytes."""

    handler: Callable[[Call, bytes], Awaitable[bytes]]
    is_cancellable: bool = False

    async def serve(self, call: Call, data: bytes, order: ByteOrder) -> bytes:
        """Ask the handler."""
        return await self.handler(call, data)


@dataclass(frozen=True, slots=True, eq=False)
class Interface:
    """Operations by number, and the level below which none of them is answered."""

    name: str
    syntax: SyntaxId
    operations: Mapping[int, Served]
    minimum_level: AuthLevel = AuthLevel.PRIVACY

    def serves(self, wanted: SyntaxId) -> bool:
        """Tell whether a client that wants this version is served: same major, no newer minor."""
        own = self.syntax
        return (own.uuid, own.major) == (wanted.uuid, wanted.major) and wanted.minor <= own.minor
