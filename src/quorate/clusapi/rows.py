"""A mapping of which many versions live at the same time: a changed copy costs what has changed, not what there is.

A version is a large dict that many versions share, and a small one with what is otherwise in this version. Two versions
that share the large one are compared by their small ones, so that whoever keeps an earlier version learns at next to no
cost what is new. The order is that of a dict which was changed in the same way.
"""

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from types import MappingProxyType
from typing import Final, TypeVar, cast, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

SMALL: Final = 256
"""So many changes are kept apart; then they are put together, which costs as much as a copy of everything."""


class Rows(Mapping[K, V]):
    """One version."""

    __slots__ = ("_base", "_changed", "_items", "_size")

    def __init__(self, base: dict[K, V] | None = None) -> None:
        """Begin with a dict that nobody changes any more."""
        self._base: dict[K, V] = {} if base is None else base
        self._changed: dict[K, V] = {}
        self._size = len(self._base)
        self._items: Mapping[K, V] | None = MappingProxyType(self._base)

    def changed(self, news: Mapping[K, V]) -> "Rows[K, V]":
        """Make a version with some values set, in place of others or besides them."""
        changed = {**self._changed, **news}
        if len(changed) > SMALL:
            return Rows({**self._base, **changed})
        return self._with(changed, self._size + sum(key not in self for key in news))

    def without(self, key: K) -> "Rows[K, V]":
        """Make a version without one that is there; this costs as much as a copy."""
        whole = {**self._base, **self._changed}
        del whole[key]
        return Rows(whole)

    def _with(self, changed: dict[K, V], size: int) -> "Rows[K, V]":
        rows: Rows[K, V] = Rows.__new__(Rows)
        rows._base, rows._changed, rows._size, rows._items = self._base, changed, size, None
        return rows

    def differences(self, other: "Rows[K, V]") -> set[K]:
        """Give the keys whose values are not the same objects in another version, or that only one of them has."""
        if self is other:
            return set()
        if self._base is other._base:
            mine, theirs = self._changed, other._changed
            return {
                key for key in mine.keys() | theirs.keys() if self.get(key, _NOTHING) is not other.get(key, _NOTHING)
            }
        mine, theirs = self._whole(), other._whole()
        gone = theirs.keys() - mine.keys()
        return gone | {key for key, value in mine.items() if theirs.get(key, _NOTHING) is not value}

    def _whole(self) -> dict[K, V]:
        return {**self._base, **self._changed} if self._changed else self._base

    # --- as a mapping ------------------------------------------------------------------------------------------------

    def __getitem__(self, key: K) -> V:
        return self._changed[key] if key in self._changed else self._base[key]

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...
    def get(self, key: K, /, default: object = None) -> object:
        """Give a value, or something else where there is none."""
        found = self._changed.get(key, _NOTHING)
        return self._base.get(key, default) if found is _NOTHING else found

    def __contains__(self, key: object) -> bool:
        return key in self._changed or key in self._base

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[K]:
        return iter(self._all())

    def values(self) -> ValuesView[V]:
        """Give the values."""
        return self._all().values()

    def items(self) -> ItemsView[K, V]:
        """Give the keys with their values."""
        return self._all().items()

    def _all(self) -> Mapping[K, V]:
        if self._items is None:
            self._items = MappingProxyType(self._whole())
        return self._items


_NOTHING: Final = cast("object", type("Nothing", (), {})())
