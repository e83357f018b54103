"""What every NDR type is, and the types of fixed size: integers, enums, GUIDs, context handles.

A type is a small immutable object that writes values and reads them back. NDR sends a construct in two passes: first
its flat part, in which a pointer is only a number, then what its pointers point to, in the order of the pointers
([C706] 14.3.12). So does each type here: ``write_flat`` and ``read_flat``, then ``write_deferred`` and
``read_deferred``. What ``read_flat`` gives is raw: it becomes a value in ``read_deferred``, once everything is there.

A conformant type (an array whose size is told at run time, or a structure that ends in one) sends its maximum count
before the outermost construct that it is in: ``write_maximum`` and ``read_maximum``.
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Generic, TypeVar, cast
from uuid import UUID

from quorate.dcerpc.errors import NdrError
from quorate.dcerpc.ndr.buffers import NdrReader, NdrWriter

T = TypeVar("T")
E = TypeVar("E", bound=IntEnum)

SizeIs = int | str | None
"""How many elements: a number, the name of the member that says it, or None for any."""
UNKNOWN: Final = -1


class Scope:
    """The members of one structure, or the parameters of one call, by name: what sizes and unions refer to.

    ``outer`` are the inputs of a call whose outputs are at hand: a size of an output may be told by an input.
    Whoever is lenient takes a null pointer where a size promises bytes, as Windows' own clients do with answers.
    """

    __slots__ = ("_is_writing", "_outer", "_pending", "is_lenient", "values")

    def __init__(
        self,
        values: Mapping[str, object] | None = None,
        outer: Mapping[str, object] | None = None,
        *,
        lenient: bool = False,
        writing: bool = False,
    ) -> None:
        self.values: dict[str, object] = dict(values or {})
        self._outer = outer or {}
        self._pending: list[tuple[str, int, str, int]] = []
        self.is_lenient = lenient
        self._is_writing = writing

    def find(self, name: str) -> object:
        """The value of a member; None when it is not known (yet)."""
        return self.values[name] if name in self.values else self._outer.get(name)

    def number(self, size: SizeIs) -> int:
        """The number that a size tells, when it is known; else :data:`UNKNOWN`."""
        if isinstance(size, int):
            return size
        value = None if size is None else self.find(size)
        return value if isinstance(value, int) else UNKNOWN

    def expect(self, size: SizeIs, count: int, what: str, offset: int = -1) -> None:
        """Refuse a count that is not the one that a member tells; at the end, when that member comes later."""
        number = self.number(size)
        if number == UNKNOWN:
            if isinstance(size, str):
                if self._is_writing:
                    raise NdrError(f"nothing tells {size}, the number of {what}")
                self._pending.append((size, count, what, offset))
        elif number != count:
            raise NdrError(f"{count} {what}, but {size} says {number}", offset)

    def finish(self) -> None:
        """Carry out the comparisons that had to wait."""
        for size, count, what, offset in self._pending:
            number = self.number(size)
            if number not in {UNKNOWN, count}:
                raise NdrError(f"{count} {what}, but {size} says {number}", offset)


class NdrType(ABC, Generic[T]):
    """A type of the interface definition language."""

    alignment: int = 1
    smallest: int = 0
    """Bytes that the flat part has at least: what a count of such elements is checked with."""
    is_conformant: bool = False
    has_deferred: bool = False

    @abstractmethod
    def write_flat(self, out: NdrWriter, value: T, scope: Scope) -> None:
        """Write the flat part."""

    def write_deferred(self, out: NdrWriter, value: T, scope: Scope) -> None:
        """Write what the pointers of the flat part point to."""

    @abstractmethod
    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> object:
        """Read the flat part; ``maximum`` is what :meth:`read_maximum` gave. The answer is raw."""

    def read_deferred(self, source: NdrReader, raw: object, scope: Scope) -> T:
        """Read what the pointers of the flat part point to, and make the value."""
        return cast(T, raw)

    def write_maximum(self, out: NdrWriter, value: T, scope: Scope) -> None:
        """Write the maximum count of a conformant type."""
        raise NotImplementedError

    def read_maximum(self, source: NdrReader) -> int:
        """Read the maximum count of a conformant type."""
        return source.read_count()

    def count_of(self, value: T) -> int:
        """How many elements a value has, for the members that count it."""
        raise NdrError(f"{type(self).__name__} has no elements to count")

    def expect_absent(self, scope: Scope, offset: int) -> None:
        """Refuse a null pointer to a value whose size is told to be more than 0."""

    def write(self, out: NdrWriter, value: T, scope: Scope) -> None:
        """Write a whole construct: a parameter, or what a pointer points to."""
        if self.is_conformant:
            self.write_maximum(out, value, scope)
        self.write_flat(out, value, scope)
        if self.has_deferred:
            self.write_deferred(out, value, scope)

    def read(self, source: NdrReader, scope: Scope) -> T:
        """Read a whole construct. Raises NdrError."""
        maximum = self.read_maximum(source) if self.is_conformant else UNKNOWN
        return self.read_deferred(source, self.read_flat(source, scope, maximum), scope)

    def pack(self, value: T) -> bytes:
        """Make the bytes of one value that stands alone. Raises NdrError when it does not fit."""
        out = NdrWriter()
        self.write(out, value, Scope())
        return out.getvalue()

    def unpack(self, data: bytes) -> T:
        """Read one value that stands alone and little-endian; bytes after it are left. Raises NdrError."""
        return self.read(NdrReader(data), Scope())


class Integer(NdrType[int]):
    """An integer of 1, 2, 4 or 8 bytes, by its letter in the module struct."""

    def __init__(self, letter: str, alignment: int = 0) -> None:
        self.letter = letter
        self._little = struct.Struct("<" + letter)
        self._big = struct.Struct(">" + letter)
        self.smallest = self._little.size
        self.alignment = alignment or self.smallest

    def write_flat(self, out: NdrWriter, value: int, scope: Scope) -> None:
        """Write it, aligned. Raises NdrError when it is too large."""
        try:
            data = self._little.pack(value)
        except struct.error as error:
            raise NdrError(f"{value!r} does not fit into {self.smallest} bytes") from error
        out.align(self.alignment)
        out.write(data)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> int:
        """Read it, aligned."""
        source.at += -source.at & (self.alignment - 1)
        data = source.take(self.smallest)
        return cast(int, (self._little if source.order == "<" else self._big).unpack(data)[0])

    def write_many(self, out: NdrWriter, values: Iterable[int]) -> None:
        """Write the elements of an array at once."""
        numbers = tuple(values)
        try:
            data = struct.pack(f"<{len(numbers)}{self.letter}", *numbers)
        except struct.error as error:
            raise NdrError(f"an element does not fit into {self.smallest} bytes") from error
        out.align(self.alignment)
        out.write(data)

    def read_many(self, source: NdrReader, count: int) -> tuple[int, ...]:
        """Read the elements of an array at once."""
        source.align(self.alignment)
        source.expect_room(count, self.smallest, "elements")
        return struct.unpack(f"{source.order}{count}{self.letter}", source.take(count * self.smallest))


U8: Final = Integer("B")
U16: Final = Integer("H")
U32: Final = Integer("I")
U64: Final = Integer("Q")
"""An unsigned hyper, at a multiple of 8."""
S8: Final = Integer("b")
S16: Final = Integer("h")
S32: Final = Integer("i")
S64: Final = Integer("q")
FILETIME: Final = Integer("Q", alignment=4)
"""Intervals of 100 ns since 1601; two u32 by declaration, hence at a multiple of 4."""


class Count(NdrType[int]):
    """The member that tells how many elements another member has: written from that member, whatever its own value."""

    def __init__(self, integer: Integer, of: str) -> None:
        self.integer = integer
        self.of = of
        self.alignment = integer.alignment
        self.smallest = integer.smallest

    def write_flat(self, out: NdrWriter, value: int, scope: Scope) -> None:
        """Write the number, which its structure has counted."""
        self.integer.write_flat(out, value, scope)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> int:
        """Read the number; the array itself compares."""
        return self.integer.read_flat(source, scope)


class Enumeration(NdrType[E]):
    """An enum of 16 bits, as IDL has them by default, or of 32 (v1_enum). A number without a name is malformed."""

    def __init__(self, members: type[E], integer: Integer = U16) -> None:
        self._members = members
        self._integer = integer
        self.alignment = integer.alignment
        self.smallest = integer.smallest

    def write_flat(self, out: NdrWriter, value: E, scope: Scope) -> None:
        """Write its number."""
        self._integer.write_flat(out, int(value), scope)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> E:
        """Read its number and find the member."""
        number = self._integer.read_flat(source, scope)
        try:
            return self._members(number)
        except ValueError as error:
            raise NdrError(f"{number} is no {self._members.__name__}", source.at - self.smallest) from error


class Boolean(NdrType[bool]):
    """Truth as an integer: anything but 0 is true."""

    def __init__(self, integer: Integer) -> None:
        self._integer = integer
        self.alignment = integer.alignment
        self.smallest = integer.smallest

    def write_flat(self, out: NdrWriter, value: bool, scope: Scope) -> None:
        """Write 0 or 1."""
        self._integer.write_flat(out, int(value), scope)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> bool:
        """Read it."""
        return self._integer.read_flat(source, scope) != 0


BOOLEAN: Final = Boolean(U8)
BOOL: Final = Boolean(S32)


def read_uuid(source: NdrReader) -> UUID:
    """Read a GUID's 16 bytes in the byte order of the stub, at a multiple of 4."""
    source.align(4)
    data = source.take(16)
    return UUID(bytes_le=data) if source.order == "<" else UUID(bytes=data)


class Guid(NdrType[UUID]):
    """A GUID: u32, u16, u16 and eight bytes."""

    alignment = 4
    smallest = 16

    def write_flat(self, out: NdrWriter, value: UUID, scope: Scope) -> None:
        """Write its 16 bytes."""
        out.align(4)
        out.write(value.bytes_le)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> UUID:
        """Read its 16 bytes."""
        return read_uuid(source)


GUID: Final = Guid()


@dataclass(frozen=True, slots=True)
class ContextHandle:
    """What a client keeps for an object that is open on the server: 20 bytes that mean something there only."""

    uuid: UUID
    attributes: int = 0

    def __bool__(self) -> bool:
        return self != NULL_HANDLE


NULL_HANDLE: Final = ContextHandle(UUID(int=0))
"""What stands where nothing is open."""


class Handle(NdrType[ContextHandle]):
    """A context handle: u32 attributes and a GUID."""

    alignment = 4
    smallest = 20

    def write_flat(self, out: NdrWriter, value: ContextHandle, scope: Scope) -> None:
        """Write its 20 bytes."""
        out.write_count(value.attributes)
        out.write(value.uuid.bytes_le)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> ContextHandle:
        """Read its 20 bytes."""
        attributes = source.read_count()
        return ContextHandle(read_uuid(source), attributes)


HANDLE: Final = Handle()
