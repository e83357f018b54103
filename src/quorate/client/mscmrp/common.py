"""What operations on objects have in common: each function makes one that carries out an operation.

``input_`` names the input of the operation that tells the object.
"""

from typing import Final

from quorate.client.mscmrp.kinds import GET_ID, GET_NAME, ObjectKind
from quorate.client.mscmrp.session import Outputs, Performer, Session
from quorate.clusapi.operation_types import Access
from quorate.clusapi.operation_values import Values
from quorate.clusapi.property_lists import TextBufferError, parse_sz
from quorate.clusapi.states import ClusterEnum
from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp.method import Method
from quorate.mscmrp.shapes import (
    EnumOut,
    HandleIn,
    HandleMaskIn,
    HandleNameIn,
    StateOut,
    StatusOut,
    TwoHandlesIn,
)

_ABOUT: Final = '{} "{}"'


def about(kind: ObjectKind, name: str) -> str:
    """What an error is about."""
    return _ABOUT.format(kind.word, name)


async def identity(session: Session, kind: ObjectKind, handle: ContextHandle, name: str) -> tuple[str, str]:
    """The id and the name of what is open."""
    if kind.get_id is None:
        id_ = await _text(session, kind, handle, GET_ID) or name
    else:
        id_ = (await session.call(kind.get_id, HandleIn(handle), about(kind, name))).text or ""
    return id_, await _text(session, kind, handle, GET_NAME) or name


async def _text(session: Session, kind: ObjectKind, handle: ContextHandle, operation: int) -> str:
    try:
        return parse_sz(await session.read(kind, handle, operation))
    except TextBufferError:  # another server's own way
        return ""


def finds(kind: ObjectKind, input_: str) -> Performer:
    """Id and name of an object."""

    async def find(session: Session, inputs: Values) -> Outputs:
        name = inputs.text(input_)
        async with session.opened(kind, name) as handle:
            id_, own = await identity(session, kind, handle, name)
            return {"id": id_, "name": own}

    return find


def reads_state(kind: ObjectKind, input_: str, method: Method[HandleIn, StateOut]) -> Performer:
    """The state of an object."""

    async def read(session: Session, inputs: Values) -> Outputs:
        name = inputs.text(input_)
        async with session.opened(kind, name) as handle:
            return {"state": (await session.call(method, HandleIn(handle), about(kind, name))).state}

    return read


def changes(kind: ObjectKind, input_: str, method: Method[HandleIn, StatusOut]) -> Performer:
    """Do something to an object."""

    async def change(session: Session, inputs: Values) -> Outputs:
        name = inputs.text(input_)
        async with session.opened(kind, name, Access.FULL) as handle:
            return await session.change(method, HandleIn(handle), about(kind, name))

    return change


def renames(kind: ObjectKind, input_: str, method: Method[HandleNameIn, StatusOut], text: str = "name") -> Performer:
    """Give an object a name, or another text: ``text`` is the input that tells it."""

    async def rename(session: Session, inputs: Values) -> Outputs:
        name = inputs.text(input_)
        async with session.opened(kind, name, Access.FULL) as handle:
            asked = HandleNameIn(handle, inputs.text(text))
            return await session.change(method, asked, about(kind, name))

    return rename


def relates(
    kind: ObjectKind, input_: str, method: Method[TwoHandlesIn, StatusOut], other_kind: ObjectKind, other_input: str
) -> Performer:
    """Do something with two objects."""

    async def relate(session: Session, inputs: Values) -> Outputs:
        name, other_name = inputs.text(input_), inputs.text(other_input)
        async with (
            session.opened(kind, name, Access.FULL) as handle,
            session.opened(other_kind, other_name) as other,
        ):
            asked = TwoHandlesIn(handle, other)
            return await session.change(method, asked, f"{about(kind, name)}, {about(other_kind, other_name)}")

    return relate


def controls(kind: ObjectKind, input_: str) -> Performer:
    """Send an object a control code."""

    async def control(session: Session, inputs: Values) -> Outputs:
        return await session.control(kind, inputs.text(input_), inputs)

    return control


def enumerates(
    kind: ObjectKind, input_: str, method: Method[HandleMaskIn, EnumOut], kinds: dict[int, ClusterEnum]
) -> Performer:
    """List what belongs to an object."""

    async def enumerate_(session: Session, inputs: Values) -> Outputs:
        name = inputs.text(input_)
        async with session.opened(kind, name) as handle:
            asked = HandleMaskIn(handle, inputs.number("mask"))
            return await session.entries(await session.call(method, asked, about(kind, name)), kinds)

    return enumerate_
