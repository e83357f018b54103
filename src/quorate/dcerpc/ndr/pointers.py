"""Pointers: ref (never null), unique (null or one's own), full (null, or the same thing twice).

A pointer is a u32 where it stands, and what it points to comes after the construct around it. A ref pointer that is a
parameter itself sends no number.
"""

from collections.abc import Callable
from typing import Final, TypeVar, cast

from quorate.dcerpc.errors import NdrError
from quorate.dcerpc.ndr.buffers import NdrReader, NdrWriter
from quorate.dcerpc.ndr.types import UNKNOWN, NdrType, Scope

T = TypeVar("T")

_UNFINISHED: Final = object()


class _Pointer(NdrType[T]):
    """What the kinds of pointers have in common; T is what stands in Python, with None for null."""

    alignment = 4
    smallest = 4
    has_deferred = True

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> int:
        """Read the referent; 0 is null."""
        return source.read_count()


class Unique(_Pointer[T | None]):
    """A pointer that is null or points to something of its own."""

    def __init__(self, pointee: NdrType[T]) -> None:
        self.pointee = pointee

    def count_of(self, value: T | None) -> int:
        """How many elements it points to."""
        return 0 if value is None else self.pointee.count_of(value)

    def write_flat(self, out: NdrWriter, value: T | None, scope: Scope) -> None:
        """Write a referent, 0 for None."""
        out.write_count(0 if value is None else out.new_referent())

    def write_deferred(self, out: NdrWriter, value: T | None, scope: Scope) -> None:
        """Write what it points to."""
        if value is None:
            if not scope.is_lenient:
                self.pointee.expect_absent(scope, -1)
            return
        out.enter()
        self.pointee.write(out, value, scope)
        out.leave()

    def read_deferred(self, source: NdrReader, raw: object, scope: Scope) -> T | None:
        """Read what it points to. Null where a size promises elements is malformed."""
        if raw == 0:
            self.pointee.expect_absent(scope, source.at)
            return None
        source.enter()
        value = self.pointee.read(source, scope)
        source.leave()
        return value


class Ref(_Pointer[T]):
    """A pointer that is never null."""

    def __init__(self, pointee: NdrType[T]) -> None:
        self.pointee = pointee

    def count_of(self, value: T) -> int:
        """How many elements it points to."""
        return self.pointee.count_of(value)

    def write_flat(self, out: NdrWriter, value: T, scope: Scope) -> None:
        """Write a referent."""
        out.write_count(out.new_referent())

    def write_deferred(self, out: NdrWriter, value: T, scope: Scope) -> None:
        """Write what it points to."""
        out.enter()
        self.pointee.write(out, value, scope)
        out.leave()

    def read_deferred(self, source: NdrReader, raw: object, scope: Scope) -> T:
        """Read what it points to."""
        if raw == 0:
            raise NdrError("a reference that is null", source.at)
        source.enter()
        value = self.pointee.read(source, scope)
        source.leave()
        return value


class Full(_Pointer[T | None]):
    """A pointer that may point to what another one has pointed to already; written it is as a unique one.

    What points to itself is refused: no frozen value could hold it.
    """

    def __init__(self, pointee: NdrType[T]) -> None:
        self.pointee = pointee
        self._unique = Unique(pointee)

    def count_of(self, value: T | None) -> int:
        """How many elements it points to."""
        return self._unique.count_of(value)

    def write_flat(self, out: NdrWriter, value: T | None, scope: Scope) -> None:
        """Write a referent, 0 for None."""
        self._unique.write_flat(out, value, scope)

    def write_deferred(self, out: NdrWriter, value: T | None, scope: Scope) -> None:
        """Write what it points to."""
        self._unique.write_deferred(out, value, scope)

    def read_deferred(self, source: NdrReader, raw: object, scope: Scope) -> T | None:
        """Read what it points to, or find what that referent has been before."""
        if raw == 0:
            return self._unique.read_deferred(source, raw, scope)
        key = cast(int, raw)
        if key in source.referents:
            pointee, value = cast(tuple[NdrType[T], object], source.referents[key])
            if value is _UNFINISHED or pointee is not self.pointee:
                raise NdrError(f"referent {key:#x} points to itself, or to something of another type", source.at)
            return cast(T, value)
        source.referents[key] = (self.pointee, _UNFINISHED)
        found = self._unique.read_deferred(source, raw, scope)
        source.referents[key] = (self.pointee, found)
        return found


class Recursive(NdrType[T]):
    """What a pointer in a structure points to when that structure is not declared yet: the next link of a list."""

    def __init__(self, find: Callable[[], NdrType[T]]) -> None:
        self._find = find

    def write(self, out: NdrWriter, value: T, scope: Scope) -> None:
        """Write what it stands for."""
        self._find().write(out, value, scope)

    def read(self, source: NdrReader, scope: Scope) -> T:
        """Read what it stands for."""
        return self._find().read(source, scope)

    def write_flat(self, out: NdrWriter, value: T, scope: Scope) -> None:
        """Refuse: it stands behind a pointer only."""
        raise TypeError("a recursive type can only be pointed to")

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> object:
        """Refuse: it stands behind a pointer only."""
        raise TypeError("a recursive type can only be pointed to")
