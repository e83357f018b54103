"""Structures, unions and the parameters of a call.

A structure is declared by a frozen dataclass whose fields say their NDR type::

    @dataclass(frozen=True, slots=True)
    class Blob:
        data: Annotated[bytes | None, Unique(ConformantBytes(size_is="size"))]
        size: Annotated[int, Count(U32, of="data")] = 0

    BLOB = Struct(Blob)

or by names and types, when a table is the source: ``Record(("data", …), ("size", …))``, whose values are mappings.
The parameters of a call are declared in the same two ways.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast, get_type_hints

from quorate.dcerpc.errors import NdrError
from quorate.dcerpc.ndr.buffers import ByteOrder, NdrReader, NdrWriter
from quorate.dcerpc.ndr.pointers import Ref
from quorate.dcerpc.ndr.types import U32, UNKNOWN, Count, Integer, NdrType, Scope

T = TypeVar("T")
Values: TypeAlias = Mapping[str, object]
_Type: TypeAlias = NdrType[Any]  # members are of many types at once; who declares them says which


def _declared(cls: type[object]) -> dict[str, _Type]:
    """The NDR types of a dataclass' fields, in order. Raises TypeError for a field without one."""
    if not is_dataclass(cls):
        raise TypeError(f"{cls.__name__} is not a dataclass")
    hints = get_type_hints(cls, include_extras=True)
    members: dict[str, _Type] = {}
    for item in fields(cls):
        marks = [mark for mark in getattr(hints[item.name], "__metadata__", ()) if isinstance(mark, NdrType)]
        if len(marks) != 1:
            raise TypeError(f"{cls.__name__}.{item.name} has no NDR type")
        members[item.name] = marks[0]
    return members


def _count(members: Mapping[str, _Type], values: dict[str, object]) -> dict[str, object]:
    """Fill in the members that count others."""
    for name, kind in members.items():
        if isinstance(kind, Count):
            values[name] = members[kind.of].count_of(values[kind.of])
    return values


def _spread_object(names: Sequence[str], value: object) -> dict[str, object]:
    try:
        return {name: getattr(value, name) for name in names}
    except AttributeError as error:
        raise NdrError(f"a {type(value).__name__} is not what is declared: {error}") from error


def _spread_mapping(names: Sequence[str], counted: frozenset[str], value: Values) -> dict[str, object]:
    try:
        return {name: value[name] if name not in counted else 0 for name in names}
    except KeyError as error:
        raise NdrError(f"the value of {error.args[0]} is missing") from error


class _Composite(NdrType[T]):
    """Members one after the other."""

    def __init__(self, members: Mapping[str, _Type]) -> None:
        self._members = dict(members)
        kinds = list(self._members.values())
        self._last: _Type | None = kinds[-1] if kinds else None
        if any(kind.is_conformant for kind in kinds[:-1]):
            raise TypeError("only the last member of a structure can be conformant")
        self.is_conformant = self._last is not None and self._last.is_conformant
        self.has_deferred = any(kind.has_deferred for kind in kinds)
        self.alignment = max((kind.alignment for kind in kinds), default=1)
        self.smallest = sum(kind.smallest for kind in kinds)

    @abstractmethod
    def _spread(self, value: T) -> dict[str, object]: ...

    @abstractmethod
    def _make(self, values: dict[str, object]) -> T: ...

    def _scope(self, value: T) -> Scope:
        return Scope(_count(self._members, self._spread(value)), writing=True)

    def write_maximum(self, out: NdrWriter, value: T, scope: Scope) -> None:
        """Write the maximum count of the last member."""
        own = self._scope(value)
        name, kind = next(reversed(self._members.items()))
        kind.write_maximum(out, own.values[name], own)

    def write_flat(self, out: NdrWriter, value: T, scope: Scope) -> None:
        """Write the flat parts of the members."""
        own = self._scope(value)
        out.align(self.alignment)
        for name, kind in self._members.items():
            kind.write_flat(out, own.values[name], own)

    def write_deferred(self, out: NdrWriter, value: T, scope: Scope) -> None:
        """Write what the members point to."""
        own = self._scope(value)
        for name, kind in self._members.items():
            if kind.has_deferred:
                kind.write_deferred(out, own.values[name], own)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> object:
        """Read the flat parts of the members."""
        source.align(self.alignment)
        own = Scope(lenient=scope.is_lenient)
        raws: list[object] = []
        for name, kind in self._members.items():
            raw = kind.read_flat(source, own, maximum if kind is self._last else UNKNOWN)
            raws.append(raw)
            if not kind.has_deferred:
                own.values[name] = raw
        if self.has_deferred:
            return own, raws
        own.finish()
        return self._make(own.values)

    def read_deferred(self, source: NdrReader, raw: object, scope: Scope) -> T:
        """Read what the members point to."""
        if not self.has_deferred:
            return cast(T, raw)
        own, raws = cast(tuple[Scope, list[object]], raw)
        for (name, kind), item in zip(self._members.items(), raws, strict=True):
            if kind.has_deferred:
                own.values[name] = kind.read_deferred(source, item, own)
        own.finish()
        return self._make(own.values)


class Struct(_Composite[T]):
    """A structure whose values are objects of a dataclass."""

    def __init__(self, cls: type[T]) -> None:
        self._cls: Callable[..., T] = cls
        super().__init__(_declared(cls))

    def _spread(self, value: T) -> dict[str, object]:
        return _spread_object(tuple(self._members), value)

    def _make(self, values: dict[str, object]) -> T:
        try:
            return self._cls(**values)
        except ValueError as error:  # the dataclass has rules of its own
            raise NdrError(str(error)) from error


class Record(_Composite[Values]):
    """A structure whose values are mappings; the members that count others may be left out."""

    def __init__(self, *members: tuple[str, _Type]) -> None:
        super().__init__(dict(members))
        self._counted = frozenset(name for name, kind in members if isinstance(kind, Count))

    def _spread(self, value: Values) -> dict[str, object]:
        return _spread_mapping(tuple(self._members), self._counted, value)

    def _make(self, values: dict[str, object]) -> Values:
        return values


@dataclass(frozen=True, slots=True)
class UnionValue:
    """One arm of a union: its tag, and its value (None for an arm that has none)."""

    tag: int
    value: object = None


_REFUSED: Final = object()


class Union(NdrType[UnionValue]):
    """A union: its tag, then the arm of that tag. An arm of None has no data.

    ``switch_is`` names the member that must tell the same tag; encapsulated unions have none. A tag that has no arm is
    malformed unless there is a default.
    """

    def __init__(
        self,
        arms: Mapping[int, _Type | None],
        *,
        tag: Integer = U32,
        switch_is: str | None = None,
        default: object = _REFUSED,
    ) -> None:
        if any(arm is not None and arm.is_conformant for arm in arms.values()):
            raise TypeError("the arm of a union cannot be conformant")
        self._arms = dict(arms)
        self._tag = tag
        self._switch_is = switch_is
        self._default = default
        known = [*arms.values(), *([default] if isinstance(default, NdrType) else [])]
        self.alignment = tag.alignment
        self.smallest = tag.smallest
        self.has_deferred = any(arm is not None and arm.has_deferred for arm in known)

    def _arm(self, tag: int, offset: int) -> _Type | None:
        arm = self._arms.get(tag, self._default)
        if arm is _REFUSED:
            raise NdrError(f"a union has no arm {tag}", offset)
        return cast("_Type | None", arm)

    def _expect_tag(self, tag: int, scope: Scope, offset: int) -> None:
        told = None if self._switch_is is None else scope.find(self._switch_is)
        if told is not None and told != tag:
            raise NdrError(f"a union's tag is {tag}, but {self._switch_is} says {told}", offset)

    def write_flat(self, out: NdrWriter, value: UnionValue, scope: Scope) -> None:
        """Write the tag and the flat part of the arm."""
        arm = self._arm(value.tag, -1)
        self._expect_tag(value.tag, scope, -1)
        self._tag.write_flat(out, value.tag, scope)
        if arm is not None:
            arm.write_flat(out, value.value, scope)

    def write_deferred(self, out: NdrWriter, value: UnionValue, scope: Scope) -> None:
        """Write what the arm points to."""
        if (arm := self._arm(value.tag, -1)) is not None:
            arm.write_deferred(out, value.value, scope)

    def read_flat(self, source: NdrReader, scope: Scope, maximum: int = UNKNOWN) -> object:
        """Read the tag and the flat part of the arm."""
        tag = self._tag.read_flat(source, scope)
        self._expect_tag(tag, scope, source.at)
        arm = self._arm(tag, source.at)
        return UnionValue(tag, None if arm is None else arm.read_flat(source, scope))

    def read_deferred(self, source: NdrReader, raw: object, scope: Scope) -> UnionValue:
        """Read what the arm points to."""
        flat = cast(UnionValue, raw)
        arm = self._arm(flat.tag, source.at)
        return flat if arm is None else UnionValue(flat.tag, arm.read_deferred(source, flat.value, scope))


class Parameters(Generic[T]):
    """The inputs, or the outputs, of an operation: each a construct of its own, with what it points to right after it.

    A return value is the last output. An [in, out] parameter is declared in both.
    """

    def __init__(
        self,
        members: Mapping[str, _Type],
        spread: Callable[[T], dict[str, object]],
        make: Callable[[dict[str, object]], T],
    ) -> None:
        # A ref pointer that is a parameter itself sends no number of its own.
        self._members = {name: kind.pointee if isinstance(kind, Ref) else kind for name, kind in members.items()}
        self._spread = spread
        self._make = make

    @classmethod
    def of(cls, declaration: type[T]) -> "Parameters[T]":
        """Take the fields of a dataclass."""
        members = _declared(declaration)
        make: Callable[..., T] = declaration
        names = tuple(members)
        return cls(members, lambda value: _spread_object(names, value), lambda values: make(**values))

    @staticmethod
    def named(*members: tuple[str, _Type]) -> "Parameters[Values]":
        """Take names and types; values are mappings, in which the counts of others may be left out."""
        names = tuple(name for name, _ in members)
        counted = frozenset(name for name, kind in members if isinstance(kind, Count))
        return Parameters(dict(members), lambda value: _spread_mapping(names, counted, value), lambda values: values)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, in order."""
        return tuple(self._members)

    def values(self, value: T) -> dict[str, object]:
        """The parameters by name, for the sizes of the outputs that they tell."""
        return _count(self._members, self._spread(value))

    def pack(self, value: T, inputs: Values | None = None) -> bytes:
        """Make the stub data. ``inputs`` are the call's inputs by name, when these are its outputs. Raises NdrError."""
        out = NdrWriter()
        scope = Scope(self.values(value), inputs, writing=True)
        for name, kind in self._members.items():
            kind.write(out, scope.values[name], scope)
        return out.getvalue()

    def read(
        self, data: bytes, order: ByteOrder = "<", inputs: Values | None = None, *, lenient: bool = False
    ) -> tuple[T, int]:
        """Read stub data: the parameters, and how many bytes they took; a verification trailer may follow.

        ``lenient`` takes a null pointer where a size promises elements. Raises NdrError and nothing else.
        """
        source = NdrReader(data, order)
        scope = Scope(None, inputs, lenient=lenient)
        for name, kind in self._members.items():
            scope.values[name] = kind.read(source, scope)
        scope.finish()
        try:
            return self._make(scope.values), source.at
        except ValueError as error:  # the dataclass has rules of its own
            raise NdrError(str(error)) from error

    def unpack(self, data: bytes, order: ByteOrder = "<", inputs: Values | None = None, *, lenient: bool = False) -> T:
        """Read stub data, as :meth:`read` does, and leave what follows."""
        return self.read(data, order, inputs, lenient=lenient)[0]


NOTHING: Final = Parameters.named()
"""No parameters at all."""
