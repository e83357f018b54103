"""The part of the protobuf encoding that etcd's messages use, for messages that declare their fields.

::

    tag = varint(number << 3 | wire type)
    wire type 0  varint: integers (negative ones as 64-bit two's complement), booleans, enumerations
    wire type 2  length as varint, then that many bytes: bytes, text, a message
    wire types 1 and 5, 8 and 4 bytes: not used by etcd, skipped

A field at its default is not written; a field whose default is None is written whenever it is not None, as a member of
a ``oneof`` is. Fields that are not declared are skipped, so that a newer server may say more. Source: the encoding page
of the protocol buffers documentation.
"""

from dataclasses import dataclass, field, fields
from enum import Enum, auto
from typing import Any, Final, Self, TypeAlias

_VARINT: Final = 0
_LENGTH: Final = 2
_FIXED: Final = {1: 8, 5: 4}
_MASK: Final = (1 << 64) - 1
_SIGN: Final = 1 << 63


class WireError(ValueError):
    """The bytes are no message: cut off, or of an encoding that etcd does not use."""


class Kind(Enum):
    """How a field's value is written."""

    INT = auto()
    """int64, and enumerations."""
    UINT = auto()
    """uint64."""
    BOOL = auto()
    BYTES = auto()
    TEXT = auto()
    """UTF-8; what is none is read with the replacement character, for texts are only ever shown."""
    MESSAGE = auto()


@dataclass(frozen=True, slots=True)
class _Slot:
    """How one attribute of a message travels."""

    name: str
    number: int
    kind: Kind
    message: "type[Message] | None"
    is_repeated: bool
    is_optional: bool


def integer(number: int, *, default: int | None = 0) -> Any:
    """Declare an attribute that travels as an int64."""
    return field(default=default, metadata={"wire": (number, Kind.INT, None)})


def unsigned(number: int) -> Any:
    """Declare an attribute that travels as an uint64."""
    return field(default=0, metadata={"wire": (number, Kind.UINT, None)})


def boolean(number: int) -> Any:
    """Declare an attribute that travels as a bool."""
    return field(default=False, metadata={"wire": (number, Kind.BOOL, None)})


def octets(number: int) -> Any:
    """Declare an attribute that travels as bytes."""
    return field(default=b"", metadata={"wire": (number, Kind.BYTES, None)})


def text(number: int) -> Any:
    """Declare an attribute that travels as a string."""
    return field(default="", metadata={"wire": (number, Kind.TEXT, None)})


def texts(number: int) -> Any:
    """Declare an attribute that travels as repeated strings."""
    return field(default=(), metadata={"wire": (number, Kind.TEXT, None)})


def message(number: int, kind: "type[Message]") -> Any:
    """Declare an attribute that is another message; None: it is not there."""
    return field(default=None, metadata={"wire": (number, Kind.MESSAGE, kind)})


def messages(number: int, kind: "type[Message]") -> Any:
    """Declare an attribute that is a tuple of other messages."""
    return field(default=(), metadata={"wire": (number, Kind.MESSAGE, kind)})


class Message:
    """Base of the messages: frozen dataclasses whose attributes are declared by the functions above."""

    __slots__ = ()

    def encode(self) -> bytes:
        """The message as protobuf bytes, fields in the order of their declaration."""
        out = bytearray()
        for slot in _layout(type(self))[0]:
            value = getattr(self, slot.name)
            if slot.is_repeated:
                for item in value:
                    _write(out, slot, item)
            elif value if not slot.is_optional else value is not None:
                _write(out, slot, value)
        return bytes(out)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Read a message; what is not declared is skipped, and of a single field that comes twice the last counts.

        Raises:
            WireError: the bytes are no message.
        """
        by_number = _layout(cls)[1]
        values: dict[str, Any] = {}
        repeated: dict[str, list[Any]] = {}
        view = memoryview(data)
        position, end = 0, len(view)
        while position < end:
            tag, position = _read_varint(view, position)
            raw, position = _read_value(view, position, tag & 7)
            slot = by_number.get(tag >> 3)
            if slot is None:
                continue
            if slot.is_repeated:
                repeated.setdefault(slot.name, []).append(_value(slot, raw))
            else:
                values[slot.name] = _value(slot, raw)
        for name, items in repeated.items():
            values[name] = tuple(items)
        return cls(**values)


_Layout: TypeAlias = tuple[tuple[_Slot, ...], dict[int, _Slot]]
_layouts: dict[type[Message], _Layout] = {}


def _layout(kind: type[Message]) -> _Layout:
    """The attributes of a message in the order of declaration, and by their number; found out once."""
    known = _layouts.get(kind)
    if known is None:
        slots = []
        for attribute in fields(kind):  # type: ignore[arg-type]  # every message is a dataclass
            number, how, inner = attribute.metadata["wire"]
            repeated, optional = attribute.default == (), attribute.default is None
            slots.append(_Slot(attribute.name, number, how, inner, repeated, optional))
        known = _layouts[kind] = tuple(slots), {slot.number: slot for slot in slots}
    return known


def _write(out: bytearray, slot: _Slot, value: Any) -> None:
    match slot.kind:
        case Kind.BYTES:
            content = value
        case Kind.TEXT | Kind.MESSAGE:
            content = value.encode()
        case _:
            _write_varint(out, slot.number << 3 | _VARINT)
            _write_varint(out, int(value) & _MASK)
            return
    _write_varint(out, slot.number << 3 | _LENGTH)
    _write_varint(out, len(content))
    out += content


def _write_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    try:
        byte = view[position]
        if byte < 0x80:  # nearly always
            return byte, position + 1
        value, shift = byte & 0x7F, 7
        while shift < 70:
            position += 1
            byte = view[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & _MASK, position + 1
            shift += 7
    except IndexError:
        raise WireError("the message ends within an integer") from None
    raise WireError("an integer has more than ten bytes")


def _read_value(view: memoryview, position: int, wire_type: int) -> tuple[int | memoryview, int]:
    if wire_type == _VARINT:
        return _read_varint(view, position)
    if wire_type == _LENGTH:
        length, position = _read_varint(view, position)
    elif wire_type in _FIXED:
        length = _FIXED[wire_type]
    else:
        raise WireError(f"wire type {wire_type} is not used by etcd")
    end = position + length
    if end > len(view):
        raise WireError("the message ends within a field")
    return view[position:end], end


def _value(slot: _Slot, raw: int | memoryview) -> Any:
    kind = slot.kind
    if isinstance(raw, int):
        if kind is Kind.INT:
            return raw - (1 << 64) if raw & _SIGN else raw
        if kind is Kind.UINT:
            return raw
        if kind is Kind.BOOL:
            return raw != 0
    elif slot.message is not None:
        return slot.message.decode(raw)
    elif kind is Kind.BYTES:
        return bytes(raw)
    elif kind is Kind.TEXT:
        return str(raw, "utf-8", "replace")
    raise WireError(f"field {slot.number} ({slot.name}) is not of the kind {kind.name}")
