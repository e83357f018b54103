"""What many methods do alike: each function here makes one that answers a method, from the operation behind it.

``object_`` names the input of the operation that takes the object of the handle.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from quorate.clusapi.json_types import JsonObject, json_int, json_text
from quorate.clusapi.operation_values import Values
from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp.shapes import (
    CloseOut,
    ControlIn,
    ControlOut,
    EnumExOut,
    EnumOut,
    HandleContextIn,
    HandleFlagsIn,
    HandleIn,
    HandleMaskIn,
    HandleNameIn,
    NameAccessIn,
    NameIn,
    NodeControlIn,
    OpenExOut,
    OpenOut,
    StateOut,
    StatusOut,
    TextOut,
    TwoHandlesIn,
)
from quorate.mscmrp.types import EnumEntry, EnumList
from quorate.server.mscmrp.access import GrantedAccess, all_access, granted
from quorate.server.mscmrp.calls import Inputs, WireCall
from quorate.server.mscmrp.handles import OpenNode, OpenObject

I = TypeVar("I")  # noqa: E741 - inputs
O = TypeVar("O")  # noqa: E741 - outputs
Kind = type[OpenObject]
Function = Callable[[WireCall, I], Awaitable[O]]


# --- Handles -------------------------------------------------------------------------------------------------------


def opens(kind: Kind, operation: str, object_: str) -> Function[NameIn, OpenOut]:
    """Find an object by name or id, and open it for everything."""

    async def open_(wire: WireCall, inputs: NameIn) -> OpenOut:
        wire.about = inputs.name
        access = all_access(wire.caller)
        return OpenOut(handle=await _opened(wire, kind, operation, {object_: inputs.name}, access))

    return open_


def opens_ex(kind: Kind, operation: str, object_: str) -> Function[NameAccessIn, OpenExOut]:
    """Find an object by name or id, and open it for what is asked for."""

    async def open_ex(wire: WireCall, inputs: NameAccessIn) -> OpenExOut:
        wire.about = inputs.name
        access = granted(inputs.desired_access, wire.caller)
        handle = await _opened(wire, kind, operation, {object_: inputs.name}, access)
        return OpenExOut(granted_access=access, handle=handle)

    return open_ex


def closes(kind: Kind) -> Function[HandleIn, CloseOut]:
    """Close a handle."""

    async def close(wire: WireCall, inputs: HandleIn) -> CloseOut:
        wire.close(inputs.handle, kind)
        return CloseOut()

    return close


def creates(kind: Kind, operation: str, object_: str) -> Function[NameIn, OpenOut]:
    """Make an object of a name, and open it for everything."""

    async def create(wire: WireCall, inputs: NameIn) -> OpenOut:
        wire.about = inputs.name
        return OpenOut(handle=await _opened(wire, kind, operation, {object_: inputs.name}, GrantedAccess.ALL))

    return create


def opened(wire: WireCall, kind: Kind, answer: Values, access: GrantedAccess) -> ContextHandle:
    """Open what an operation has found or made: its answer has ``id`` and ``name``."""
    return wire.open(kind(access, answer.text("id"), answer.text("name")))


async def _opened(wire: WireCall, kind: Kind, operation: str, inputs: Inputs, access: GrantedAccess) -> ContextHandle:
    return opened(wire, kind, await wire.ask(operation, inputs), access)


# --- Operations on one object, or two ------------------------------------------------------------------------------


def changes(kind: Kind, operation: str, object_: str) -> Function[HandleIn, StatusOut]:
    """Do something to an object."""

    async def change(wire: WireCall, inputs: HandleIn) -> StatusOut:
        it = wire.find(inputs.handle, kind)
        return status_out(await wire.ask(operation, {object_: it.id}, it))

    return change


def changes_by_flags(kind: Kind, operation: str, object_: str) -> Function[HandleFlagsIn, StatusOut]:
    """Do something to an object, as flags say."""

    async def change(wire: WireCall, inputs: HandleFlagsIn) -> StatusOut:
        it = wire.find(inputs.handle, kind)
        return status_out(await wire.ask(operation, {object_: it.id, "flags": inputs.flags}, it))

    return change


def changes_by_context(kind: Kind, operation: str, object_: str) -> Function[HandleContextIn, StatusOut]:
    """Do something to an object, as flags and context say."""

    async def change(wire: WireCall, inputs: HandleContextIn) -> StatusOut:
        it = wire.find(inputs.handle, kind)
        asked: Inputs = {object_: it.id, "flags": inputs.flags, "in_buffer": inputs.in_buffer or None}
        return status_out(await wire.ask(operation, asked, it))

    return change


def changes_text(kind: Kind, operation: str, object_: str, text: str) -> Function[HandleNameIn, StatusOut]:
    """Give an object a name, or another text; ``text`` names the operation's input."""

    async def change(wire: WireCall, inputs: HandleNameIn) -> StatusOut:
        it = wire.find(inputs.handle, kind)
        return status_out(await wire.ask(operation, {object_: it.id, text: inputs.name}, it))

    return change


def relates(
    kind: Kind, operation: str, object_: str, other_kind: Kind, other: str
) -> Function[TwoHandlesIn, StatusOut]:
    """Do something with two objects; full access is needed to the first one."""

    async def relate(wire: WireCall, inputs: TwoHandlesIn) -> StatusOut:
        it = wire.find(inputs.handle, kind)
        that = wire.find(inputs.other, other_kind)
        return status_out(await wire.ask(operation, {object_: it.id, other: that.id}, it))

    return relate


def tells_state(kind: Kind, operation: str, object_: str) -> Function[HandleIn, StateOut]:
    """Tell the state of an object."""

    async def tell(wire: WireCall, inputs: HandleIn) -> StateOut:
        it = wire.find(inputs.handle, kind)
        return StateOut((await wire.ask(operation, {object_: it.id}, it)).number("state"))

    return tell


def tells_text(kind: Kind, operation: str, object_: str, text: str) -> Function[HandleIn, TextOut]:
    """Tell a text of an object; ``text`` names the operation's output."""

    async def tell(wire: WireCall, inputs: HandleIn) -> TextOut:
        it = wire.find(inputs.handle, kind)
        return TextOut((await wire.ask(operation, {object_: it.id}, it)).text(text))

    return tell


def status_out(answer: Values) -> StatusOut:
    """The outputs of a method that tells a status and nothing more."""
    return StatusOut(status=answer.number("status"))


# --- Enumerations --------------------------------------------------------------------------------------------------


def lists(kind: Kind, operation: str, object_: str) -> Function[HandleMaskIn, EnumOut]:
    """List what belongs to an object, by name."""

    async def list_(wire: WireCall, inputs: HandleMaskIn) -> EnumOut:
        it = wire.find(inputs.handle, kind)
        return enum_out(await wire.ask(operation, {object_: it.id, "mask": inputs.mask}, it))

    return list_


def enum_out(answer: Values) -> EnumOut:
    """The outputs of a method that lists names."""
    return EnumOut(_list_of(answer, "name"))


def enum_ex_out(answer: Values) -> EnumExOut:
    """The outputs of a method that lists ids and names."""
    return EnumExOut(_list_of(answer, "id"), _list_of(answer, "name"))


def _list_of(answer: Values, key: str) -> EnumList:
    def entry(found: JsonObject) -> EnumEntry:
        return EnumEntry(json_int(found, "type"), json_text(found, key))

    return EnumList(tuple(map(entry, answer.objects("entries"))))


# --- Control codes -------------------------------------------------------------------------------------------------


def controls(kind: Kind, operation: str, object_: str) -> Function[ControlIn, ControlOut]:
    """Send an object a control code; ``object_`` is empty for the cluster."""

    async def control(wire: WireCall, inputs: ControlIn) -> ControlOut:
        it = wire.find(inputs.handle, kind)
        code, data, room = inputs.control_code, inputs.in_buffer, inputs.out_size
        return await ask_control(wire, it, operation, {object_: it.id}, code, data, room)

    return control


def controls_at_node(kind: Kind, operation: str, object_: str) -> Function[NodeControlIn, ControlOut]:
    """Send an object a control code that a given node shall carry out."""

    async def control(wire: WireCall, inputs: NodeControlIn) -> ControlOut:
        it = wire.find(inputs.handle, kind)
        host = wire.find(inputs.host_node, OpenNode)
        code, data, room = inputs.control_code, inputs.in_buffer, inputs.out_size
        return await ask_control(wire, it, operation, {object_: it.id, "host_node": host.id}, code, data, room)

    return control


async def ask_control(
    wire: WireCall,
    through: OpenObject,
    operation: str,
    inputs: Inputs,
    code: int,
    in_buffer: bytes | None,
    out_size: int,
) -> ControlOut:
    """Send a control code. An output that does not fit into the room is told by its size, with status 234."""
    inputs.pop("", None)
    inputs |= {"control_code": code, "in_buffer": in_buffer, "out_size": out_size}
    answer = await wire.ask(operation, inputs, through)
    return ControlOut(answer.data("output"), required=answer.number("required"), status=answer.number("status"))
