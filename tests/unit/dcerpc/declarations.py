"""Random types of NDR with values that fit them: what the round trips and the fuzzing are made of."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from quorate.dcerpc.ndr import (
    BOOL,
    BOOLEAN,
    FILETIME,
    GUID,
    HANDLE,
    S8,
    S16,
    S32,
    S64,
    U8,
    U16,
    U32,
    U64,
    WSTRING,
    Array,
    ConformantArray,
    ConformantBytes,
    ConformantVaryingArray,
    ConformantVaryingBytes,
    ContextHandle,
    Count,
    FixedBytes,
    FixedNarrowString,
    Full,
    NdrType,
    Record,
    Ref,
    Union,
    UnionValue,
    Unique,
    VaryingArray,
)

Typed = tuple[NdrType[Any], st.SearchStrategy[Any]]
"""A type, and what makes values of it."""

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def _integers(bits: int, *, signed: bool = False) -> st.SearchStrategy[int]:
    low = -(1 << (bits - 1)) if signed else 0
    return st.integers(low, low + (1 << bits) - 1)


UUIDS = st.builds(lambda data: UUID(bytes=data), st.binary(min_size=16, max_size=16))
SCALARS: tuple[Typed, ...] = (
    (U8, _integers(8)),
    (U16, _integers(16)),
    (U32, _integers(32)),
    (U64, _integers(64)),
    (S8, _integers(8, signed=True)),
    (S16, _integers(16, signed=True)),
    (S32, _integers(32, signed=True)),
    (S64, _integers(64, signed=True)),
    (FILETIME, _integers(64)),
    (BOOLEAN, st.booleans()),
    (BOOL, st.booleans()),
    (GUID, UUIDS),
    (HANDLE, st.builds(ContextHandle, UUIDS, _integers(32))),
    (FixedBytes(5), st.binary(min_size=5, max_size=5)),
    (FixedNarrowString(64), TEXTS),
)
CONFORMANT: tuple[Typed, ...] = (
    (WSTRING, TEXTS),
    (ConformantBytes(), st.binary(max_size=20)),
    (ConformantVaryingBytes(), st.binary(max_size=20)),
)


def _tuples(values: st.SearchStrategy[Any], most: int = 4) -> st.SearchStrategy[Any]:
    return st.lists(values, max_size=most).map(tuple)


def _pointer(make: Callable[[NdrType[Any]], NdrType[Any]], inner: Typed) -> Typed:
    kind, values = inner
    return make(kind), values if make is Ref else st.none() | values


def _record(members: list[Typed], last: Typed | None) -> Typed:
    declared = [*members, *([last] if last else [])]
    names = [f"m{number}" for number in range(len(declared))]
    kinds = [(name, kind) for name, (kind, _) in zip(names, declared, strict=True)]
    return Record(*kinds), st.fixed_dictionaries({name: vals for name, (_, vals) in zip(names, declared, strict=True)})


def _sized(element: Typed) -> Typed:
    """A structure of a count, a pointer to so many elements, and something after them."""
    kind, values = element
    pointer = Unique(ConformantArray(kind, size_is="count"))
    record = Record(("count", Count(U16, of="items")), ("items", pointer), ("after", U8))
    built = st.tuples(st.none() | _tuples(values), _integers(8)).map(
        lambda parts: {"count": len(parts[0] or ()), "items": parts[0], "after": parts[1]}
    )
    return record, built


def _union(arms: list[Typed]) -> Typed:
    declared: Mapping[int, NdrType[Any] | None] = {number: kind for number, (kind, _) in enumerate(arms)} | {99: None}
    values = [st.builds(UnionValue, st.just(number), made) for number, (_, made) in enumerate(arms)]
    return Union(declared, tag=U16), st.one_of(*values, st.just(UnionValue(99)))


def flat_type(dice: Random, depth: int) -> Typed:
    """A type that can stand anywhere."""
    if not depth:
        return dice.choice(SCALARS)

    def inner() -> Typed:
        return flat_type(dice, depth - 1)

    match dice.randrange(7):
        case 0:
            return dice.choice(SCALARS)
        case 1:
            return _pointer(dice.choice((Unique, Ref, Full)), any_type(dice, depth - 1))
        case 2:
            kind, values = inner()
            return Array(kind, 2), st.tuples(values, values)
        case 3:
            kind, values = inner()
            return VaryingArray(kind, 4), _tuples(values)
        case 4:
            return _record([inner() for _ in range(dice.randrange(1, 4))], None)
        case 5:
            return _sized(inner())
        case _:
            return _union([inner() for _ in range(dice.randrange(1, 4))])


def any_type(dice: Random, depth: int) -> Typed:
    """A type that can be a parameter, or what a pointer points to."""
    if dice.random() < 0.6:
        return flat_type(dice, depth)
    kind, values = flat_type(dice, depth)
    conformant: Typed = dice.choice(
        (
            *CONFORMANT,
            (ConformantArray(kind), _tuples(values)),
            (ConformantVaryingArray(kind), _tuples(values)),
        )
    )
    if dice.random() < 0.5:
        return conformant
    return _record([flat_type(dice, depth) for _ in range(dice.randrange(3))], conformant)


def many_types(count: int, seed: int) -> list[Typed]:
    """Types of every kind, simple ones first: the same for the same seed."""
    dice = Random(seed)
    return [*SCALARS, *CONFORMANT, *(any_type(dice, 1 + number % 3) for number in range(count))]
