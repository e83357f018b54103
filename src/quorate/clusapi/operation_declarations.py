"""What declarations of operations share: the three ways to declare one, and the inputs and outputs that come often."""

from typing import Final

from quorate.clusapi.operation_types import Access, Field, FieldType, Operation, Place

_T = FieldType

CLUSTER_NODE: Final = Field("node", _T.TEXT, "the node, by id or name")
ENUM_MASK: Final = Field("mask", _T.U32, "which kinds of objects to list, a mask of ClusAPI's enumeration bits")
HOST_NODE: Final = Field("host_node", _T.TEXT, "the node that shall carry it out; absent: the owner", optional=True)
IN_BUFFER: Final = Field("in_buffer", _T.BYTES, "input buffer; absent is NULL, which differs from empty", optional=True)
STATUS: Final = Field("status", _T.U32, "0, 997 when it is under way, or what the object answered")
ID: Final = Field("id", _T.TEXT, "its id")
NAME: Final = Field("name", _T.TEXT, "its name as stored")
ENTRIES: Final = Field("entries", _T.OBJECTS, "{type, id, name} each")
STATE: Final = Field("state", _T.U32, "its state; 0xFFFFFFFF is unknown")

_CONTROL_INPUTS: Final = (
    Field("control_code", _T.U32, "CLUSCTL_… code"),
    IN_BUFFER,
    Field("out_size", _T.U32, "room for the output; absent: 65536", optional=True),
    HOST_NODE,
)
_CONTROL_OUTPUTS: Final = (
    STATUS,
    Field("output", _T.BYTES, "what the code answers; empty when status is not 0"),
    Field("required", _T.U32, "the size of the output, also when it did not fit (status 234)"),
    Field("sentence", _T.TEXT, "for people: why not", optional=True),
)


def read(
    name: str, summary: str, inputs: tuple[Field, ...], outputs: tuple[Field, ...], place: Place, *opnums: int
) -> Operation:
    """Declare an operation that changes nothing."""
    return Operation(name, summary, inputs, outputs, Access.READ, place, opnums)


def change(
    name: str, summary: str, inputs: tuple[Field, ...], outputs: tuple[Field, ...], place: Place, *opnums: int
) -> Operation:
    """Declare an operation that needs full access."""
    return Operation(name, summary, inputs, outputs, Access.FULL, place, opnums)


def control(name: str, summary: str, object_: tuple[Field, ...], place: Place, *opnums: int) -> Operation:
    """Declare the operation that sends control codes to a kind of object; its access follows from the code."""
    inputs = (*object_, *_CONTROL_INPUTS)
    return Operation(name, summary, inputs, _CONTROL_OUTPUTS, Access.BY_CODE, place, opnums)
