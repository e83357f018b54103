"""Property lists and value lists: the buffers in which ClusAPI carries typed values.

::

    property-list   u32 count, property * count
    property        name-entry, value-entry +, u32 ENDMARK
    name-entry      u32 0x00040003, u32 cb, UTF-16LE text with NUL [cb], pad
    value-entry     u32 syntax, u32 cb, data [cb], pad
    value-list      value-entry *, u32 ENDMARK
    pad             0 to 3 bytes of anything, so that the next field starts at a multiple of 4

Integers are little-endian. ``cb`` counts the bytes of the data with the text's NUL and without the pad. A syntax is a
type in the high word and a format in the low word; only the format decides how the data looks.

Parsing is strict, since the buffers come from anybody: whatever does not follow the grammar to its last byte raises
:class:`PropertyListError` and nothing else. One thing more is taken: an endmark after the last property, which clients
made from Samba's description of the protocol write, and we never do. What holds a value is checked when it is made, so
packing never fails.

Source: pages property-lists, value-lists, dword-aligned, data-length; [MS-CMRP] 2.2.3.10.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self, TypeAlias, Union

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.clusapi.syntaxes import PropertyFormat, PropertyType, Syntax

__all__ = [
    "Property",
    "PropertyFormat",
    "PropertyList",
    "PropertyListError",
    "PropertyType",
    "PropertyValue",
    "Syntax",
    "TextBufferError",
    "Value",
    "pack_multi_sz",
    "pack_property_formats",
    "pack_property_list",
    "pack_sz",
    "pack_value_list",
    "parse_multi_sz",
    "parse_property_formats",
    "parse_property_list",
    "parse_sz",
    "parse_value_list",
]

_U32: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<II")
_ENDMARK: Final = _U32.pack(Syntax.ENDMARK)
_SMALLEST_PROPERTY: Final = 24  # a name of one character (12), a value without data (8), an endmark (4)
_DEEPEST_NESTING: Final = 8  # a list in a list in a list…: nobody needs more, and a parser must not run out of stack


class PropertyListError(CallerError):
    """A buffer that is not a property list or value list.

    ``offset`` is the byte at which the trouble was seen and ``reason`` says what it was. The status is
    ERROR_INVALID_PARAMETER (87) when the structure is broken (counts, syntaxes, names, ends), ERROR_INVALID_DATA (13)
    when the structure is sound and one value's data is not.
    """

    def __init__(self, reason: str, offset: int, status: Status = Status.ERROR_INVALID_PARAMETER) -> None:
        super().__init__(status, f"the property list is malformed at byte {offset}: {reason}")
        self.args = (reason, offset, status)
        self.reason = reason
        self.offset = offset


class TextBufferError(CallerError):
    """A buffer that is not NUL-terminated UTF-16LE text: ERROR_INVALID_PARAMETER, with the ``reason``."""

    def __init__(self, reason: str) -> None:
        super().__init__(Status.ERROR_INVALID_PARAMETER, f"the text is malformed: {reason}")
        self.args = (reason,)
        self.reason = reason


# Union and not |, since the names in quotes come further down.
Value: TypeAlias = Union[int, str, bytes, tuple[str, ...], tuple["PropertyValue", ...], "PropertyList"]

_INTEGERS: Final[Mapping[int, struct.Struct]] = {
    PropertyFormat.DWORD: _U32,
    PropertyFormat.ULARGE_INTEGER: struct.Struct("<Q"),
    PropertyFormat.LONG: struct.Struct("<i"),
    PropertyFormat.LARGE_INTEGER: struct.Struct("<q"),
    PropertyFormat.WORD: struct.Struct("<H"),
    PropertyFormat.FILETIME: struct.Struct("<Q"),
}
_TEXTS: Final = frozenset({PropertyFormat.SZ, PropertyFormat.EXPAND_SZ, PropertyFormat.EXPANDED_SZ})


@dataclass(frozen=True, slots=True)
class PropertyValue:
    """One value and its syntax. The format decides the Python type:

    integers of any width are ``int``, texts ``str``, MULTI_SZ ``tuple[str, ...]``, VALUE_LIST ``tuple[PropertyValue,
    ...]``, PROPERTY_LIST :class:`PropertyList`, everything else ``bytes``. Raises ValueError when value and syntax do
    not fit together, or when a text holds a NUL or half a surrogate pair.
    """

    syntax: Syntax
    value: Value

    def __post_init__(self) -> None:
        if not self.syntax.is_value:
            raise ValueError(f"{self.syntax.name} is not the syntax of a value")
        _pack_data(self.syntax.format_word, self.value)  # the one place where a misfit shows

    @classmethod
    def of(cls, format_: PropertyFormat, value: Value) -> Self:
        """Make the value of a property from its format and the value itself."""
        return cls(Syntax.of(format_), value)


@dataclass(frozen=True, slots=True)
class Property:
    """A named value, or rarely several. Raises ValueError without a name, without values or with a NAME as a value."""

    name: str
    values: tuple[PropertyValue, ...]

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a property needs a name")
        pack_sz(self.name)
        if not self.values:
            raise ValueError(f"property {self.name} has no value")
        if any(value.syntax.type_word == PropertyType.NAME for value in self.values):
            raise ValueError(f"property {self.name} has a value of type NAME, which would begin another property")

    @property
    def value(self) -> Value:
        """The first value; nearly every property has only that one."""
        return self.values[0].value


@dataclass(frozen=True, slots=True)
class PropertyList:
    """Properties in order, found by name without regard to case. Raises ValueError for a name that comes twice."""

    properties: tuple[Property, ...] = ()
    _by_name: Mapping[str, Property] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {item.name.casefold(): item for item in self.properties}
        if len(by_name) != len(self.properties):
            raise ValueError("a property name comes twice")
        object.__setattr__(self, "_by_name", by_name)

    @classmethod
    def of(cls, items: Iterable[tuple[str, PropertyFormat, Value]]) -> Self:
        """Make a list of properties with one value each from names, formats and values."""
        return cls(tuple(Property(name, (PropertyValue.of(format_, value),)) for name, format_, value in items))

    def __iter__(self) -> Iterator[Property]:
        return iter(self.properties)

    def __len__(self) -> int:
        return len(self.properties)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.casefold() in self._by_name

    def __getitem__(self, name: str) -> Value:
        return self._by_name[name.casefold()].value

    def get(self, name: str) -> Value | None:
        """The first value of a property, or None when there is no such property."""
        found = self._by_name.get(name.casefold())
        return None if found is None else found.value

    def find(self, name: str) -> Property | None:
        """The whole property: its name as written, its syntax, all its values."""
        return self._by_name.get(name.casefold())

    def integer(self, name: str) -> int:
        """The first value, which must be an integer. Raises KeyError, or CallerError (13) for another type."""
        value = self[name]
        if not isinstance(value, int):
            raise _wrong_format(name, "an integer")
        return value

    def text(self, name: str) -> str:
        """The first value, which must be a text. Raises KeyError, or CallerError (13) for another type."""
        value = self[name]
        if not isinstance(value, str):
            raise _wrong_format(name, "a text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """The strings of a MULTI_SZ. Raises KeyError, or CallerError (13) for another type."""
        found = self._by_name[name.casefold()].values[0]
        if found.syntax.format_word != PropertyFormat.MULTI_SZ or not isinstance(found.value, tuple):
            raise _wrong_format(name, "a list of texts")
        return tuple(item for item in found.value if isinstance(item, str))


def _wrong_format(name: str, wanted: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_DATA, f"property {name} must be {wanted}")


# --- Text ----------------------------------------------------------------------------------------------------------


def pack_sz(text: str) -> bytes:
    """Pack a text as UTF-16LE with its NUL. Raises ValueError for a NUL inside or half a surrogate pair."""
    if "\0" in text:
        raise ValueError("a text cannot hold a NUL")
    return f"{text}\0".encode("utf-16-le")  # UnicodeEncodeError is a ValueError


def parse_sz(data: bytes, *, may_be_empty: bool = False) -> str:
    """Parse a buffer that is one NUL-terminated UTF-16LE text, such as the node name for START_MIGRATION.

    A text of no characters is refused too unless ``may_be_empty``: where ClusAPI takes a bare text, it takes a name.
    Raises :class:`TextBufferError`.
    """
    if not data:
        raise TextBufferError("it is empty, not even a NUL")
    text = _parse_units(data)
    if not text.endswith("\0"):
        raise TextBufferError("it does not end in a NUL")
    text = text[:-1]
    if "\0" in text:
        raise TextBufferError(f"it has a NUL inside, after {text.index(chr(0))} characters")
    if not text and not may_be_empty:
        raise TextBufferError("it has no characters")
    return text


def pack_multi_sz(texts: Iterable[str]) -> bytes:
    """Pack texts, each with its NUL, then one more NUL; no texts give that NUL alone.

    Raises ValueError for an empty text, which would end the list, and for what :func:`pack_sz` refuses.
    """
    strings = tuple(texts)
    if not all(strings):
        raise ValueError("a MULTI_SZ cannot hold an empty text")
    return b"".join(map(pack_sz, strings)) + b"\0\0"


def parse_multi_sz(data: bytes) -> tuple[str, ...]:
    """Parse what :func:`pack_multi_sz` packs; two NULs alone are no texts too. Raises :class:`TextBufferError`."""
    text = _parse_units(data)
    if text in {"\0", "\0\0"}:  # writers disagree on the empty list
        return ()
    if not text.endswith("\0\0"):
        raise TextBufferError("it does not end in two NULs")
    strings = text[:-2].split("\0")
    if not all(strings):
        raise TextBufferError("it has an empty text inside")
    return tuple(strings)


def _parse_units(data: bytes) -> str:
    if len(data) % 2:
        raise TextBufferError(f"its length of {len(data)} bytes is odd")
    try:
        return data.decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise TextBufferError(f"it has half a surrogate pair at byte {error.start}") from error


# --- Packing -------------------------------------------------------------------------------------------------------


def pack_property_list(properties: PropertyList) -> bytes:
    """Pack a property list; every pad is zero."""
    parts = [_U32.pack(len(properties))]
    for item in properties:
        parts.append(_pack_entry(Syntax.NAME, pack_sz(item.name)))
        parts.append(pack_value_list(item.values))  # values and endmark look the same in both kinds of list
    return b"".join(parts)


def pack_value_list(values: Iterable[PropertyValue]) -> bytes:
    """Pack a value list, such as the answer to GET_REQUIRED_DEPENDENCIES; one endmark at the very end."""
    entries = [_pack_entry(value.syntax, _pack_data(value.syntax.format_word, value.value)) for value in values]
    return b"".join(entries) + _ENDMARK


def _pack_entry(syntax: int, data: bytes) -> bytes:
    return _ENTRY.pack(syntax, len(data)) + data + bytes(-len(data) % 4)


def _pack_data(format_: int, value: Value) -> bytes:
    """Pack a value's data. Raises ValueError when the value does not fit the format."""
    integer = _INTEGERS.get(format_)
    try:
        if integer is not None and isinstance(value, int):
            return integer.pack(value)
    except struct.error as error:
        raise ValueError(f"{value!r} does not fit into {PropertyFormat(format_).name}") from error
    if format_ in _TEXTS and isinstance(value, str):
        return pack_sz(value)
    if format_ == PropertyFormat.MULTI_SZ and isinstance(value, tuple):
        strings = tuple(item for item in value if isinstance(item, str))
        if len(strings) == len(value):
            return pack_multi_sz(strings)
    if format_ == PropertyFormat.VALUE_LIST and isinstance(value, tuple):
        values = tuple(item for item in value if isinstance(item, PropertyValue))
        if len(values) == len(value):
            return pack_value_list(values)
    if format_ == PropertyFormat.PROPERTY_LIST and isinstance(value, PropertyList):
        return pack_property_list(value)
    if _is_raw(format_) and isinstance(value, bytes):
        return value
    raise ValueError(f"a {type(value).__name__} is no value of format {format_}")


def _is_raw(format_: int) -> bool:
    return format_ in {PropertyFormat.BINARY, PropertyFormat.SECURITY_DESCRIPTOR} or format_ >= PropertyFormat.USER


# --- Parsing -------------------------------------------------------------------------------------------------------


def parse_property_list(data: bytes) -> PropertyList:
    """Parse a whole buffer as one property list. Raises :class:`PropertyListError`."""
    reader = _Reader(data)
    properties = reader.property_list()
    reader.expect_end()
    return properties


def parse_value_list(data: bytes) -> tuple[PropertyValue, ...]:
    """Parse a whole buffer as one value list. Raises :class:`PropertyListError`."""
    reader = _Reader(data)
    values = reader.values_up_to_endmark()
    reader.expect_end()
    return values


class _Reader:
    """Walks through a buffer; ``base`` is where a nested list begins in the outermost buffer, for the offsets."""

    def __init__(self, data: bytes, base: int = 0, depth: int = 0) -> None:
        self._data = data
        self._base = base
        self._depth = depth
        self._at = 0

    def property_list(self) -> PropertyList:
        count = self._u32("the property count")
        left = len(self._data) - self._at
        if count * _SMALLEST_PROPERTY > left:
            raise self._broken(f"{count} properties do not fit into {left} bytes", at=0)
        properties: list[Property] = []
        seen: set[str] = set()
        for _ in range(count):
            start = self._at
            item = self._property()
            if item.name.casefold() in seen:
                raise self._broken(f"property {item.name} comes twice", at=start)
            seen.add(item.name.casefold())
            properties.append(item)
        if self._data[self._at :] == _ENDMARK:
            self._at += len(_ENDMARK)
        return PropertyList(tuple(properties))

    def values_up_to_endmark(self, *, in_property: bool = False) -> tuple[PropertyValue, ...]:
        values: list[PropertyValue] = []
        while (syntax := Syntax(self._u32("a value or an endmark"))) != Syntax.ENDMARK:
            start = self._at - 4
            if not syntax.is_value or (in_property and syntax.type_word == PropertyType.NAME):
                raise self._broken(f"syntax 0x{syntax:08X} stands where a value or an endmark belongs", at=start)
            data_at, data = self._entry_data("a value")
            values.append(PropertyValue(syntax, self._value(syntax.format_word, data, data_at)))
        return tuple(values)

    def expect_end(self) -> None:
        if self._at < len(self._data):
            raise self._broken(f"{len(self._data) - self._at} bytes follow the end of the list", at=self._at)

    def _property(self) -> Property:
        start = self._at
        syntax = self._u32("a property name")
        if syntax != Syntax.NAME:
            raise self._broken(f"syntax 0x{syntax:08X} stands where a property name belongs", at=start)
        name_at, data = self._entry_data("a property name")
        try:
            name = parse_sz(data)
        except TextBufferError as error:
            raise self._broken(f"the property name is not a text: {error.reason}", at=name_at) from error
        values_at = self._at
        values = self.values_up_to_endmark(in_property=True)
        if not values:
            raise self._broken(f"property {name} has no value", at=values_at)
        return Property(name, values)

    def _value(self, format_: int, data: bytes, at: int) -> Value:
        if (integer := _INTEGERS.get(format_)) is not None:
            if len(data) != integer.size:
                raise self._unsound(f"{PropertyFormat(format_).name} has {integer.size} bytes, not {len(data)}", at)
            number: int = integer.unpack(data)[0]
            return number
        try:
            if format_ in _TEXTS:
                return parse_sz(data, may_be_empty=True)
            if format_ == PropertyFormat.MULTI_SZ:
                return parse_multi_sz(data)
        except TextBufferError as error:
            raise self._unsound(f"{PropertyFormat(format_).name} is not a text: {error.reason}", at) from error
        if format_ in {PropertyFormat.VALUE_LIST, PropertyFormat.PROPERTY_LIST}:
            return self._nested(format_, data, at)
        return data

    def _nested(self, format_: int, data: bytes, at: int) -> Value:
        if self._depth == _DEEPEST_NESTING:
            raise self._unsound(f"lists are nested deeper than {_DEEPEST_NESTING}", at)
        reader = _Reader(data, self._base + at, self._depth + 1)
        nested = reader.values_up_to_endmark() if format_ == PropertyFormat.VALUE_LIST else reader.property_list()
        reader.expect_end()
        return nested

    def _entry_data(self, what: str) -> tuple[int, bytes]:
        size_at = self._at
        size = self._u32(f"the size of {what}")
        start = self._at
        if size > len(self._data) - start:
            raise self._broken(f"{what} of {size} bytes does not fit into {len(self._data) - start}", at=size_at)
        self._at = start + size + (-size % 4)
        return start, self._data[start : start + size]

    def _u32(self, what: str) -> int:
        if self._at + 4 > len(self._data):
            raise self._broken(f"the buffer ends where {what} belongs", at=min(self._at, len(self._data)))
        number: int = _U32.unpack_from(self._data, self._at)[0]
        self._at += 4
        return number

    def _broken(self, reason: str, *, at: int) -> PropertyListError:
        return PropertyListError(reason, self._base + at)

    def _unsound(self, reason: str, at: int) -> PropertyListError:
        return PropertyListError(reason, self._base + at, Status.ERROR_INVALID_DATA)


# --- Lists of formats ----------------------------------------------------------------------------------------------


def pack_property_formats(formats: Mapping[str, PropertyFormat]) -> bytes:
    """Pack the answer to a ``*_FMTS`` control code: a property list with one WORD per name, its format."""
    return pack_property_list(PropertyList.of((name, PropertyFormat.WORD, code) for name, code in formats.items()))


def parse_property_formats(data: bytes) -> dict[str, PropertyFormat]:
    """Parse the answer to a ``*_FMTS`` control code. Raises :class:`PropertyListError`, also for unknown formats."""
    formats: dict[str, PropertyFormat] = {}
    for item in parse_property_list(data):
        code = item.value
        if [value.syntax for value in item.values] != [Syntax.LIST_VALUE_WORD] or not isinstance(code, int):
            raise PropertyListError(f"property {item.name} is not a single WORD", 0, Status.ERROR_INVALID_DATA)
        try:
            formats[item.name] = PropertyFormat(code)
        except ValueError as error:
            reason = f"property {item.name} has the unknown format {code}"
            raise PropertyListError(reason, 0, Status.ERROR_INVALID_DATA) from error
    return formats
