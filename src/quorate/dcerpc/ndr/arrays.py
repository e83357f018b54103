"""Arrays and strings: fixed, conformant (the size is sent), varying (the length is sent), and both.

::

    fixed               elements
    conformant          u32 maximum, elements
    varying             u32 offset, u32 actual, elements
    conformant-varying  u32 maximum, u32 offset, u32 actual, elements

Arrays of bytes are ``bytes``, all others tuples. The offset is always 0: nobody sends another, and one that did would
only leave room for trouble.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Final, TypeVar, cast

from quorate.dcerpc.errors import NdrError
from quorate.dcerpc.ndr.buffers import NdrReader, NdrWriter
from quorate.dcerpc.ndr.types import UNKNOWN, Integer, NdrType, Scope, SizeIs

T = TypeVar("T")


def _write_actual(out: NdrWriter, count: int) -> None:
    out.write_count(0)
    out.write_count(count)


def _read_actual(source: NdrReader, maximum: int) -> int:
    offset, actual = source.read_count(), source.read_count()
    if offset:
        raise NdrError(f"an array that begins at element {offset}", source.at - 8)
    if actual > maximum >= 0:
        raise NdrError(f"{actual} elements in an array for {maximum}", source.at - 4)
    return actual


class Array(NdrType[tuple[T, ...]]):
    """An array of any element: ``Array(U32, 4)`` is fixed, the other kinds have classes of their own."""

    def __init__(self, element: NdrType[T], size: int) -> None:
        if element.is_conformant:
            raise TypeError("the elements of an array cannot be conformant")
        self._element = element
        self._size = size
        self.alignment = element.alignment
        self.has_deferred = element.has_deferred
        self.smallest = size * element.smallest

    def count_of(self, value: tuple[T, ...]) -> int:
        """How many elements it has."""
        return len(value)

    def write_flat(self, out: NdrWriter, value: tuple[T, ...], scope: Scope) -> None:
        """Write the elements. Raises NdrError when they are not as many as declared."""
        if len(value) != self._size:
            raise NdrError(f"{len(value)} elements in an array of {self._size}")
        self._write_elements(out, value, scope)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> object:
        """Read the elements."""
        return self._read_elements(source, scope, self._size)

    def write_deferred(self, out: NdrWriter, value: tuple[T, ...], scope: Scope) -> None:
        """Write what the elements point to."""
        for item in value:
            self._element.write_deferred(out, item, scope)

    def read_deferred(self, source: NdrReader, raw: object, scope: Scope) -> tuple[T, ...]:
        """Read what the elements point to."""
        if not self.has_deferred:
            return cast(tuple[T, ...], raw)
        return tuple(self._element.read_deferred(source, item, scope) for item in cast(Sequence[object], raw))

    def _write_elements(self, out: NdrWriter, value: tuple[T, ...], scope: Scope) -> None:
        if isinstance(self._element, Integer):
            self._element.write_many(out, cast(tuple[int, ...], value))
            return
        out.align(self._element.alignment)
        for item in value:
            self._element.write_flat(out, item, scope)

    def _read_elements(self, source: NdrReader, scope: Scope, count: int) -> tuple[object, ...]:
        if isinstance(self._element, Integer):
            return self._element.read_many(source, count)
        source.align(self._element.alignment)
        source.expect_room(count, self._element.smallest, "elements")
        return tuple([self._element.read_flat(source, scope) for _ in range(count)])


class ConformantArray(Array[T]):
    """An array with its size before it. ``size_is`` names the member that must tell the same number."""

    is_conformant = True

    def __init__(self, element: NdrType[T], size_is: SizeIs = None) -> None:
        super().__init__(element, 0)
        self._size_is = size_is

    def write_maximum(self, out: NdrWriter, value: tuple[T, ...], scope: Scope) -> None:
        """Write the size."""
        scope.expect(self._size_is, len(value), "elements")
        out.write_count(len(value))

    def write_flat(self, out: NdrWriter, value: tuple[T, ...], scope: Scope) -> None:
        """Write the elements."""
        self._write_elements(out, value, scope)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> object:
        """Read the elements."""
        scope.expect(self._size_is, maximum, "elements", source.at)
        return self._read_elements(source, scope, maximum)

    def expect_absent(self, scope: Scope, offset: int) -> None:
        """Refuse null where there should be elements."""
        if not scope.is_lenient:
            scope.expect(self._size_is, 0, "elements", offset)


class ConformantVaryingArray(ConformantArray[T]):
    """An array with its size and its length before it; without ``size_is`` the size is the length."""

    def __init__(self, element: NdrType[T], size_is: SizeIs = None, length_is: SizeIs = None) -> None:
        super().__init__(element, size_is)
        self._length_is = length_is
        self.smallest = 8
        self.alignment = max(4, element.alignment)

    def write_maximum(self, out: NdrWriter, value: tuple[T, ...], scope: Scope) -> None:
        """Write the size."""
        out.write_count(_maximum(scope, self._size_is, len(value)))

    def write_flat(self, out: NdrWriter, value: tuple[T, ...], scope: Scope) -> None:
        """Write the length and the elements."""
        scope.expect(self._length_is, len(value), "elements")
        _write_actual(out, len(value))
        self._write_elements(out, value, scope)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> object:
        """Read the length and the elements."""
        scope.expect(self._size_is, maximum, "elements at most", source.at)
        actual = _read_actual(source, maximum)
        scope.expect(self._length_is, actual, "elements", source.at)
        return self._read_elements(source, scope, actual)


class VaryingArray(Array[T]):
    """An array for a declared number of elements, with the length before it."""

    def __init__(self, element: NdrType[T], size: int, length_is: SizeIs = None) -> None:
        super().__init__(element, size)
        self._length_is = length_is
        self.smallest = 8
        self.alignment = max(4, element.alignment)

    def write_flat(self, out: NdrWriter, value: tuple[T, ...], scope: Scope) -> None:
        """Write the length and the elements."""
        if len(value) > self._size:
            raise NdrError(f"{len(value)} elements in an array for {self._size}")
        scope.expect(self._length_is, len(value), "elements")
        _write_actual(out, len(value))
        self._write_elements(out, value, scope)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> object:
        """Read the length and the elements."""
        actual = _read_actual(source, self._size)
        scope.expect(self._length_is, actual, "elements", source.at)
        return self._read_elements(source, scope, actual)


def _maximum(scope: Scope, size_is: SizeIs, length: int) -> int:
    number = scope.number(size_is)
    if number == UNKNOWN:
        return length
    if number < length:
        raise NdrError(f"{length} elements, but {size_is} says {number} at most")
    return number


class FixedBytes(NdrType[bytes]):
    """A declared number of bytes."""

    def __init__(self, size: int) -> None:
        self._size = self.smallest = size

    def write_flat(self, out: NdrWriter, value: bytes, scope: Scope) -> None:
        """Write them. Raises NdrError when they are not as many as declared."""
        if len(value) != self._size:
            raise NdrError(f"{len(value)} bytes in an array of {self._size}")
        out.write(value)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> bytes:
        """Read them."""
        return source.take(self._size)


MOST_PADDED: Final = 1024 * 1024
"""Bytes that are filled up with zeros at most: how many is what the other side has asked for, at no cost to itself."""


class ConformantBytes(NdrType[bytes]):
    """Bytes with their number before them. With ``padded``, fewer than ``size_is`` says are filled up with zeros."""

    is_conformant = True

    def __init__(self, size_is: SizeIs = None, *, padded: bool = False) -> None:
        self._size_is = size_is
        self._padded = padded

    def count_of(self, value: bytes) -> int:
        """How many bytes it has."""
        return len(value)

    def write_maximum(self, out: NdrWriter, value: bytes, scope: Scope) -> None:
        """Write the number."""
        out.write_count(len(self._fill(value, scope)))

    def write_flat(self, out: NdrWriter, value: bytes, scope: Scope) -> None:
        """Write the bytes."""
        out.write(self._fill(value, scope))

    def _fill(self, value: bytes, scope: Scope) -> bytes:
        if self._padded:
            room = _maximum(scope, self._size_is, len(value))
            if room > MOST_PADDED:
                raise NdrError(f"{room} bytes are asked for; no more than {MOST_PADDED} are filled up with zeros")
            return value.ljust(room, b"\0")
        scope.expect(self._size_is, len(value), "bytes")
        return value

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> bytes:
        """Read the bytes."""
        scope.expect(self._size_is, maximum, "bytes", source.at)
        return source.take(maximum)

    def expect_absent(self, scope: Scope, offset: int) -> None:
        """Refuse null where there should be bytes."""
        if not scope.is_lenient:
            scope.expect(self._size_is, 0, "bytes", offset)


class ConformantVaryingBytes(NdrType[bytes]):
    """Bytes with the room for them and their number before them; without ``size_is`` the room is the number."""

    is_conformant = True
    smallest = 8
    alignment = 4

    def __init__(self, size_is: SizeIs = None, length_is: SizeIs = None) -> None:
        self._size_is = size_is
        self._length_is = length_is

    def count_of(self, value: bytes) -> int:
        """How many bytes it has."""
        return len(value)

    def write_maximum(self, out: NdrWriter, value: bytes, scope: Scope) -> None:
        """Write the room."""
        out.write_count(_maximum(scope, self._size_is, len(value)))

    def write_flat(self, out: NdrWriter, value: bytes, scope: Scope) -> None:
        """Write the number and the bytes."""
        scope.expect(self._length_is, len(value), "bytes")
        _write_actual(out, len(value))
        out.write(value)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> bytes:
        """Read the number and the bytes."""
        scope.expect(self._size_is, maximum, "bytes at most", source.at)
        actual = _read_actual(source, maximum)
        scope.expect(self._length_is, actual, "bytes", source.at)
        return source.take(actual)

    def expect_absent(self, scope: Scope, offset: int) -> None:
        """Refuse null where there should be room."""
        if not scope.is_lenient:
            scope.expect(self._size_is, 0, "bytes at most", offset)


class _Text(NdrType[str]):
    """What strings have in common: elements up to and with a NUL, which is counted and ends them."""

    alignment = 4
    unit = 2

    @abstractmethod
    def _encode(self, text: str) -> bytes: ...

    @abstractmethod
    def _decode(self, data: bytes, source: NdrReader) -> str: ...

    def count_of(self, value: str) -> int:
        """How many elements it has, with the NUL."""
        return len(self._checked(value)) // self.unit

    def _checked(self, value: str) -> bytes:
        if "\0" in value:
            raise NdrError("a string cannot hold a NUL")
        try:
            return self._encode(value + "\0")
        except UnicodeEncodeError as error:
            raise NdrError(f"the string cannot be encoded: {error.reason}") from error

    def _read_text(self, source: NdrReader, maximum: int) -> str:
        actual = _read_actual(source, maximum)
        start = source.at
        source.expect_room(actual, self.unit, "characters")
        try:
            text = self._decode(source.take(actual * self.unit), source)
        except UnicodeDecodeError as error:
            raise NdrError(f"a string cannot be decoded: {error.reason}", start + error.start) from error
        if not text or text.find("\0") != len(text) - 1:
            raise NdrError("a string does not end in its only NUL", start)
        return text[:-1]

    def _write_text(self, out: NdrWriter, value: str) -> None:
        data = self._checked(value)
        _write_actual(out, len(data) // self.unit)
        out.write(data)


class _Wide(_Text):
    def _encode(self, text: str) -> bytes:
        return text.encode("utf-16-le")

    def _decode(self, data: bytes, source: NdrReader) -> str:
        return data.decode("utf-16-le" if source.order == "<" else "utf-16-be")


class WideString(_Wide):
    """``[string] wchar_t *``: u32 maximum, u32 0, u32 actual, UTF-16 with its NUL."""

    is_conformant = True
    smallest = 8

    def write_maximum(self, out: NdrWriter, value: str, scope: Scope) -> None:
        """Write the number of characters, with the NUL."""
        out.write_count(self.count_of(value))

    def write_flat(self, out: NdrWriter, value: str, scope: Scope) -> None:
        """Write the number again and the text. Raises NdrError for a NUL inside."""
        self._write_text(out, value)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> str:
        """Read the text."""
        return self._read_text(source, maximum)


class _Narrow(_Text):
    unit = 1

    def _encode(self, text: str) -> bytes:
        return text.encode("utf-8")

    def _decode(self, data: bytes, source: NdrReader) -> str:
        return data.decode("utf-8")


class FixedNarrowString(_Narrow):
    """``[string] char name[N]``: u32 0, u32 actual, up to N bytes with the NUL."""

    smallest = 8

    def __init__(self, size: int) -> None:
        self._size = size

    def write_flat(self, out: NdrWriter, value: str, scope: Scope) -> None:
        """Write the number of bytes and the text. Raises NdrError when it is too long."""
        if self.count_of(value) > self._size:
            raise NdrError(f"a string of {self.count_of(value)} bytes in a place for {self._size}")
        self._write_text(out, value)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> str:
        """Read the text."""
        return self._read_text(source, self._size)


WSTRING: Final = WideString()
