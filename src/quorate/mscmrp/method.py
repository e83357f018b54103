"""What is said of each method of the protocol: number, inputs, outputs, kinds of handles, access.

The return rules ([MS-CMRP] 3.1.4) are the shape of the outputs. Every output class has a field ``status``, the Win32
code, and defaults for all of its fields: null for texts and lists, 0 for numbers, nothing for bytes, the null handle.
So whatever went wrong, :meth:`Method.failed` is the whole answer. ``rpc_status`` belongs to the RPC runtime and is
always 0; what the cluster has to say is in ``status``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from quorate.clusapi.operation_types import Access
from quorate.dcerpc.interfaces import Declaration
from quorate.dcerpc.ndr import Parameters
from quorate.mscmrp.handles import HandleKind


class Answered(Protocol):
    """What every output class has."""

    @property
    def status(self) -> int:
        """The Win32 code; 0 is success."""


I = TypeVar("I")  # noqa: E741 - inputs
O = TypeVar("O", bound=Answered)  # noqa: E741 - outputs


@dataclass(frozen=True, slots=True)
class Method(Generic[I, O]):
    """One method of the protocol."""

    opnum: int
    declaration: Declaration[I, O]
    make_output: Callable[..., O]
    """The output class."""
    takes: tuple[HandleKind, ...]
    """The kinds of the handles among its inputs, in their order."""
    opens: HandleKind | None
    """The kind of the handle that it returns."""
    access: Access
    """What the handle, or the caller where there is none, must be allowed to do."""
    is_blocking: bool
    """Whether it may wait for an event for as long as the client likes."""

    @property
    def name(self) -> str:
        """Its name without ``Api``."""
        return self.declaration.name

    def failed(self, status: int) -> O:
        """Give the whole answer of a call that did not succeed."""
        return self.make_output(status=status)


def method(
    opnum: int,
    name: str,
    inputs: type[I],
    outputs: type[O],
    *takes: HandleKind,
    opens: HandleKind | None = None,
    access: Access = Access.READ,
    is_blocking: bool = False,
) -> Method[I, O]:
    """Declare a method by the dataclasses of its inputs and outputs."""
    declaration = Declaration(name, Parameters.of(inputs), Parameters.of(outputs))
    return Method(opnum, declaration, outputs, takes, opens, access, is_blocking)
