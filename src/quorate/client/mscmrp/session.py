"""What carries out one operation: calls on one connection, with the errors that clients know, and handles that are
closed again.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

from quorate.client.blocking import CALL_TIMEOUT
from quorate.client.mscmrp.kinds import NODE, ObjectKind
from quorate.client.mscmrp.properties import told_properties
from quorate.clusapi.errors import CallerError, ClusterError, error_from_status
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_types import Access
from quorate.clusapi.operation_values import FieldValue, Values
from quorate.clusapi.operations import DEFAULT_OUT_SIZE, MODIFY_BIT
from quorate.clusapi.property_lists import PropertyList
from quorate.clusapi.states import ClusterEnum
from quorate.clusapi.status import Status
from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.errors import ConnectionLost, FaultCode, RpcFault
from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp import cluster_methods as c
from quorate.mscmrp.method import Answered, Method
from quorate.mscmrp.shapes import (
    ControlIn,
    ControlOut,
    EnumExOut,
    EnumOut,
    HandleIn,
    HandleMaskOptionsIn,
    NameAccessIn,
    NameIn,
    NodeControlIn,
    OpenOut,
    StatusOut,
)
from quorate.mscmrp.types import EnumEntry, EnumList

I = TypeVar("I")  # noqa: E741 - inputs
O = TypeVar("O", bound=Answered)  # noqa: E741 - outputs
Outputs = Mapping[str, FieldValue]

_CLOSE_TIMEOUT: Final = 5.0
GENERIC_READ: Final = 0x80000000
GENERIC_ALL: Final = 0x10000000
ACCEPTED: Final = frozenset({Status.ERROR_SUCCESS, Status.ERROR_IO_PENDING, Status.ERROR_RESOURCE_PROPERTIES_STORED})
"""What a change may answer that is no error: done, under way, and stored until the resource comes online again."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a list: its type as the enumeration counts, id and name."""

    type: int
    id: str
    name: str


@dataclass(slots=True)
class Session:
    """One connection, for one operation."""

    client: RpcClient
    has_asked_for_change: bool = False
    """Whether something may have been changed, so that the operation cannot be repeated when the connection breaks."""
    _known: dict[ClusterEnum, dict[str, Listed]] = field(default_factory=dict)

    # --- Calls ---------------------------------------------------------------------------------------------------

    async def ask(self, method: Method[I, O], inputs: I, *, within: float | None = CALL_TIMEOUT) -> O:
        """Make a call, whatever its status.

        Raises CallerError 5 or 120 when the server does not do it at all, FaultError when it cannot be told.
        """
        if method.access is Access.FULL and method.opens is None:
            self.has_asked_for_change = True
        try:
            return await self.client.invoke(method.opnum, method.declaration, inputs, within=within)
        except TimeoutError as error:
            raise ConnectionLost(f"{method.name}: no answer within {within:g} s") from error
        except RpcFault as fault:
            raise _refused(method.name, fault) from fault

    async def call(self, method: Method[I, O], inputs: I, about: str) -> O:
        """Make a call that must succeed. Raises ClusterError with the status that it told; ``about`` is for people."""
        answer = await self.ask(method, inputs)
        if answer.status:
            raise refusal(answer.status, about)
        return answer

    async def change(self, method: Method[I, StatusOut], inputs: I, about: str) -> Outputs:
        """Make a call that changes something, and give its status: 0, or 997 while it is under way."""
        return done((await self.ask(method, inputs)).status, about)

    # --- Handles -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def opened(self, kind: ObjectKind, name: str, access: Access = Access.READ) -> AsyncIterator[ContextHandle]:
        """Open an object by name or id. Raises CallerError when there is none, or not for this caller."""
        about = f'{kind.word} "{name}"'
        if kind.open_ex is None:
            handle = (await self.call(kind.open, NameIn(name), about)).handle
        else:
            wanted = GENERIC_ALL if access is Access.FULL else GENERIC_READ
            handle = (await self.call(kind.open_ex, NameAccessIn(name, wanted), about)).handle
        async with self.closing(kind.close, handle):
            yield handle

    @asynccontextmanager
    async def created(
        self, method: Method[I, OpenOut], inputs: I, kind: ObjectKind, about: str
    ) -> AsyncIterator[ContextHandle]:
        """Make an object, and hold its handle."""
        self.has_asked_for_change = True
        answer = await self.call(method, inputs, about)
        async with self.closing(kind.close, answer.handle) as handle:
            yield handle

    @asynccontextmanager
    async def cluster(self, access: Access = Access.READ) -> AsyncIterator[ContextHandle]:
        """Open the cluster."""
        wanted = GENERIC_ALL if access is Access.FULL else GENERIC_READ
        answer = await self.call(c.OPEN_CLUSTER_EX, c.OpenClusterExIn(wanted), "the cluster")
        async with self.closing(c.CLOSE_CLUSTER, answer.handle) as handle:
            yield handle

    @asynccontextmanager
    async def closing(self, method: Method[HandleIn, O], handle: ContextHandle) -> AsyncIterator[ContextHandle]:
        """Close a handle in the end."""
        try:
            yield handle
        finally:
            with suppress(ClusterError):  # what counts has been said; the server forgets it with the connection
                await self.ask(method, HandleIn(handle), within=_CLOSE_TIMEOUT)

    # --- Control codes and properties ----------------------------------------------------------------------------

    async def control(self, kind: ObjectKind, name: str, inputs: Values) -> Outputs:
        """Carry out an operation that sends a control code to an object."""
        async with self.opened(kind, name, _access_of(inputs)) as handle:
            return await self.control_handle(kind.control, kind.node_control, handle, inputs)

    async def control_handle(
        self,
        method: Method[ControlIn, ControlOut],
        at_node: Method[NodeControlIn, ControlOut],
        handle: ContextHandle,
        inputs: Values,
    ) -> Outputs:
        """Send a control code to what is open, at a given node if the inputs name one."""
        code, buffer = inputs.number("control_code"), inputs.optional_data("in_buffer")
        host, room = inputs.optional_text("host_node"), out_size(inputs)
        self.note_code(code)
        if host is None:
            return control_outputs(await self.ask(method, ControlIn(handle, code, buffer, room)), code)
        async with self.opened(NODE, host, _access_of(inputs)) as node:
            answer = await self.ask(at_node, NodeControlIn(handle, node, code, buffer, room))
            return control_outputs(answer, code)

    def note_code(self, code: int) -> None:
        """Keep in mind that a code which modifies is being sent."""
        self.has_asked_for_change |= bool(code & MODIFY_BIT)

    async def read(self, kind: ObjectKind, handle: ContextHandle, operation: int) -> bytes:
        """What a control code without input answers; nothing when the server does not answer it."""
        room = DEFAULT_OUT_SIZE
        code = kind.code(operation)
        answer = await self.ask(kind.control, ControlIn(handle, code, None, room))
        if answer.status == Status.ERROR_MORE_DATA and answer.required > room:
            answer = await self.ask(kind.control, ControlIn(handle, code, None, answer.required))
        return b"" if answer.status else answer.out_buffer

    async def properties(self, kind: ObjectKind, handle: ContextHandle, *operations: int) -> PropertyList:
        """The properties that some codes answer, all together; none where the server does not answer."""
        return told_properties(*[await self.read(kind, handle, operation) for operation in operations])

    # --- Enumerations --------------------------------------------------------------------------------------------

    async def enumerate(self, mask: int) -> tuple[Listed, ...]:
        """Objects of the cluster. Raises CallerError 87 for kinds that the server does not know."""
        async with self.cluster() as handle:
            inputs = HandleMaskOptionsIn(handle, mask)
            return listed_twice(await self.call(c.CREATE_ENUM_EX, inputs, "the list of objects"))

    async def named(self, mask: ClusterEnum, text: str) -> Listed:
        """The object of a kind that a list names in one way, id or name; what is not there is called the same."""
        if mask not in self._known:
            found = await self.enumerate(mask)
            self._known[mask] = {key.casefold(): item for item in found for key in (item.name, item.id)}
        return self._known[mask].get(text.casefold()) or Listed(0, text, text)

    async def entries(self, answer: EnumOut, kinds: Mapping[int, ClusterEnum]) -> Outputs:
        """The outputs of an enumeration that has one list; ``kinds`` tells of what kind the objects of a type are."""
        found: list[JsonObject] = []
        for entry in listed(answer.entries):
            item = await self.named(kinds[entry.type], entry.name or "") if entry.type in kinds else None
            found.append(entry_json(entry.type, *(("", entry.name or "") if item is None else (item.id, item.name))))
        return {"entries": tuple(found)}


Performer = Callable[[Session, Values], Awaitable[Outputs]]
"""Carries out one operation."""


def listed_twice(answer: EnumExOut) -> tuple[Listed, ...]:
    """The two lists of an enumeration as one. Raises FaultError 1726 when they do not belong together."""
    ids, names = listed(answer.ids), listed(answer.names)
    if len(ids) != len(names):
        raise error_from_status(Status.RPC_S_CALL_FAILED, "the server's lists of ids and names differ in length")
    return tuple(Listed(id_.type, id_.name or "", name.name or "") for id_, name in zip(ids, names, strict=True))


def listed(entries: EnumList | None) -> tuple[EnumEntry, ...]:
    """The entries of a list that may be missing."""
    return () if entries is None else entries.entries


def listed_outputs(found: Iterable[Listed]) -> Outputs:
    """The outputs of an enumeration."""
    return {"entries": tuple(entry_json(item.type, item.id, item.name) for item in found)}


def entry_json(type_: int, id_: str, name: str) -> JsonObject:
    """One entry of an enumeration."""
    return {"type": type_, "id": id_, "name": name}


def done(status: int, about: str) -> Outputs:
    """The outputs of a change. Raises ClusterError for a status that is an error."""
    if status not in ACCEPTED:
        raise refusal(status, about)
    return {"status": status}


def refusal(status: int, about: str) -> ClusterError:
    """The error of a status; the protocol carries no sentence, so it is made from what the status means."""
    return error_from_status(status, f"{about}: {Status(status).meaning}")


def out_size(inputs: Values) -> int:
    """The room for the answer to a control code."""
    size = inputs.optional_number("out_size")
    return DEFAULT_OUT_SIZE if size is None else size


def control_outputs(answer: ControlOut, code: int) -> Outputs:
    """The outputs of an operation that sends a control code; what the object answers is no error."""
    sentence = None if answer.status == 0 else f"control code 0x{code:08X}: {Status(answer.status).meaning}"
    required = max(answer.required, len(answer.out_buffer))
    return {"status": answer.status, "output": answer.out_buffer, "required": required, "sentence": sentence}


def _access_of(inputs: Values) -> Access:
    return Access.FULL if inputs.number("control_code") & MODIFY_BIT else Access.READ


def _refused(name: str, fault: RpcFault) -> ClusterError:
    if fault.code == FaultCode.ACCESS_DENIED:
        return CallerError(Status.ERROR_ACCESS_DENIED, f"{name}: the server refuses this account the call")
    if fault.code == FaultCode.OPERATION_RANGE:
        return CallerError(Status.ERROR_CALL_NOT_IMPLEMENTED, f"the server has no {name}")
    return fault
