"""Values that fit the types of the protocol."""

from typing import Any

from hypothesis import strategies as st
from tests.unit.dcerpc.declarations import SCALARS, TEXTS

from quorate.dcerpc.ndr import (
    Array,
    ConformantBytes,
    ConformantVaryingBytes,
    Count,
    FixedBytes,
    NdrType,
    Parameters,
    Struct,
    Unique,
    WideString,
)
from quorate.mscmrp.types import Truth

MOST_BYTES = 20
ROOMS = st.integers(MOST_BYTES, 3 * MOST_BYTES)
"""What a client offers for an answer; every value here fits."""


def values_of(kind: NdrType[Any]) -> st.SearchStrategy[Any]:
    """Values of a type."""
    if isinstance(kind, Unique):
        return st.none() | values_of(kind.pointee)
    if isinstance(kind, Struct):
        return _objects(kind._cls, kind._members)
    if isinstance(kind, WideString):
        return TEXTS
    if isinstance(kind, ConformantBytes | ConformantVaryingBytes):
        return st.binary(max_size=MOST_BYTES)
    if isinstance(kind, FixedBytes):
        return st.binary(min_size=kind._size, max_size=kind._size)
    if isinstance(kind, Array):
        least, most = (1, 1) if getattr(kind, "_size_is", None) == 1 else (0, 4)
        return st.lists(values_of(kind._element), min_size=least, max_size=most).map(tuple)
    if isinstance(kind, Truth):
        return st.booleans()
    return next(values for scalar, values in SCALARS if scalar is kind)


def parameters_of(parameters: Parameters[Any]) -> st.SearchStrategy[Any]:
    """Inputs or outputs of a method."""
    return _objects(parameters._make, parameters._members, of_mapping=True)


def _objects(make: Any, members: dict[str, NdrType[Any]], *, of_mapping: bool = False) -> st.SearchStrategy[Any]:
    chosen = {
        name: ROOMS if name in {"room", "out_size"} else values_of(kind)
        for name, kind in members.items()
        if not isinstance(kind, Count)
    }
    values = st.fixed_dictionaries(chosen).map(_without_room)
    return values.map(make if of_mapping else lambda values: make(**values))


def _without_room(values: dict[str, Any]) -> dict[str, Any]:
    """Where there is no descriptor, there is no room for one."""
    return values | {"room": 0} if values.get("descriptor", b"") is None else values
