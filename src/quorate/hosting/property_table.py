"""Tables of properties, and the answers to the property control codes that follow from a table.

The same few functions serve the common properties, which the host handles, and the private ones of every resource type
that has a table. Values go in and out as :class:`~quorate.clusapi.property_lists.PropertyValue`; whoever calls stores
the changes.

=========================================  ======  ==============================================================
what is wrong with a list to set           status
=========================================  ======  ==============================================================
no input at all                            1783    RPC_X_BAD_STUB_DATA
the structure of the list                  87      ERROR_INVALID_PARAMETER
a read-only property                       87      ERROR_INVALID_PARAMETER
the data of a value, or its format         13      ERROR_INVALID_DATA
a number out of range, several values      13      ERROR_INVALID_DATA
a text that is none of those allowed       87      ERROR_INVALID_PARAMETER
=========================================  ======  ==============================================================

A name that the table does not know is a property all the same: stored as it is, never checked, returned; unless the
table is closed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.property_lists import (
    Property,
    PropertyFormat,
    PropertyList,
    PropertyValue,
    Value,
    pack_multi_sz,
    pack_property_formats,
    pack_property_list,
    parse_property_list,
)
from quorate.clusapi.status import Status
from quorate.hosting.contract import Parameters

DWORD_MAX: Final = 0xFFFFFFFF
ULARGE_MAX: Final = 0xFFFFFFFFFFFFFFFF

_HIGHEST: Final = {PropertyFormat.DWORD: DWORD_MAX, PropertyFormat.ULARGE_INTEGER: ULARGE_MAX}


@dataclass(frozen=True, slots=True)
class PropertyDefinition:
    """One row: a property's name, format, limits and default."""

    name: str
    format: PropertyFormat
    default: Value
    minimum: int = 0
    maximum: int | None = None  # None: whatever the format holds
    also: frozenset[int] = frozenset()  # numbers that are allowed outside the limits
    read_only: bool = False
    when_online: bool = False  # a change takes effect at the next online only
    choices: tuple[str, ...] = ()  # of a text: nothing else may be set; empty: any

    def __post_init__(self) -> None:
        PropertyValue.of(self.format, self.default)  # raises for a default that does not fit

    def check(self, item: Property) -> PropertyValue:
        """The value to store. Raises CallerError when it may not be set or does not fit."""
        if self.read_only:
            raise CallerError(Status.ERROR_INVALID_PARAMETER, f"property {self.name} is read-only")
        value = _only_value(item)
        if value.syntax.format_word != self.format:
            raise CallerError(
                Status.ERROR_INVALID_DATA,
                f"property {self.name} is a {self.format.name}; the value given is a {value.syntax.name}",
            )
        if isinstance(value.value, int):
            self._check_range(value.value)
        elif self.choices and value.value not in self.choices:
            allowed = ", ".join(choice or "nothing" for choice in self.choices)
            sentence = f"property {self.name} takes {allowed}; not {value.value!r}"
            raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
        return value

    def _check_range(self, number: int) -> None:
        highest = _HIGHEST[self.format] if self.maximum is None else self.maximum
        if self.minimum <= number <= highest or number in self.also:
            return
        others = "".join(f" or {value}" for value in sorted(self.also))
        allowed = f"{self.minimum} to {highest}{others}"
        raise CallerError(
            Status.ERROR_INVALID_DATA, f"property {self.name} takes numbers from {allowed}; {number} is outside"
        )


@dataclass(frozen=True, slots=True)
class PropertyTable:
    """The properties that something knows, in order; names without regard to case.

    A closed table refuses names that it does not know, and does not show them: common properties.
    """

    definitions: tuple[PropertyDefinition, ...]
    closed: bool = False
    _by_name: Mapping[str, PropertyDefinition] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {definition.name.casefold(): definition for definition in self.definitions}
        if len(by_name) != len(self.definitions):
            raise ValueError("a property comes twice in a table")
        object.__setattr__(self, "_by_name", by_name)

    def find(self, name: str) -> PropertyDefinition | None:
        """The property of that name, or None when the table does not know it."""
        return self._by_name.get(name.casefold())

    def pack_names(self, stored: Parameters, *, with_read_only: bool = True) -> bytes:
        """Answer ENUM_…_PROPERTIES: the table's names, then the unknown ones that are stored."""
        known = (item.name for item in self.definitions if with_read_only or not item.read_only)
        return pack_multi_sz((*known, *self._unknown(stored)))

    def pack_formats(self, stored: Parameters) -> bytes:
        """Answer GET_…_PROPERTY_FMTS."""
        formats = {item.name: item.format for item in self.definitions}
        return pack_property_formats(formats | {name: _format(stored[name]) for name in self._unknown(stored)})

    def pack_values(self, stored: Parameters) -> bytes:
        """Answer GET_…_PROPERTIES: what may be set, with the default for what is not stored, and unknown names."""
        known = self._known_values(stored, read_only=False)
        unknown = (Property(name, (stored[name],)) for name in self._unknown(stored))
        return pack_property_list(PropertyList((*known, *unknown)))

    def pack_read_only_values(self, stored: Parameters) -> bytes:
        """Answer GET_RO_…_PROPERTIES."""
        return pack_property_list(PropertyList(tuple(self._known_values(stored, read_only=True))))

    def parse_changes(self, data: bytes | None) -> dict[str, PropertyValue]:
        """Check the input of SET_… or VALIDATE_…_PROPERTIES and return what is to be stored, by the table's names.

        Raises CallerError, with the statuses of this module's table.
        """
        changes: dict[str, PropertyValue] = {}
        for item in parse_input(data):
            definition = self.find(item.name)
            if definition is None and self.closed:
                raise CallerError(Status.ERROR_INVALID_PARAMETER, f"there is no property {item.name}")
            if definition is None:
                changes[item.name] = _only_value(item)
            else:
                changes[definition.name] = definition.check(item)
        return changes

    def waits_for_online(self, changes: Iterable[str]) -> bool:
        """Answer whether one of the changed properties takes effect at the next online only."""
        return any(found.when_online for found in map(self.find, changes) if found is not None)

    def value(self, stored: Parameters, name: str) -> PropertyValue | None:
        """The value in effect: as stored if that is sound, else the default; None for an unknown name not stored."""
        definition = self.find(name)
        return find_value(stored, name) if definition is None else self._value(definition, stored)

    def number(self, stored: Parameters, name: str) -> int:
        """The number in effect: as stored if that is sound, else the default. Raises KeyError for an unknown name."""
        value = self._value(self._by_name[name.casefold()], stored)
        if not isinstance(value.value, int):
            raise KeyError(f"property {name} is no number")
        return value.value

    def text(self, stored: Parameters, name: str) -> str:
        """The text in effect: as stored if that is sound, else the default. Raises KeyError for an unknown name."""
        value = self._value(self._by_name[name.casefold()], stored)
        if not isinstance(value.value, str):
            raise KeyError(f"property {name} is no text")
        return value.value

    def _known_values(self, stored: Parameters, *, read_only: bool) -> Iterable[Property]:
        chosen = (item for item in self.definitions if item.read_only is read_only)
        return (Property(item.name, (self._value(item, stored),)) for item in chosen)

    def _value(self, definition: PropertyDefinition, stored: Parameters) -> PropertyValue:
        value = find_value(stored, definition.name)
        if value is None or value.syntax.format_word != definition.format:
            return PropertyValue.of(definition.format, definition.default)
        return value

    def _unknown(self, stored: Parameters) -> tuple[str, ...]:
        if self.closed:
            return ()
        return tuple(name for name in stored if name.casefold() not in self._by_name)


NO_TABLE: Final = PropertyTable(())
"""Knows no property: every name is stored and returned as it is."""


def parse_input(data: bytes | None) -> PropertyList:
    """Parse the property list that a SET or VALIDATE code brings. Raises CallerError 1783, 87 or 13."""
    if data is None:
        raise CallerError(Status.RPC_X_BAD_STUB_DATA, "the control code needs a property list as input; there is none")
    return parse_property_list(data)


def find_value(stored: Parameters, name: str) -> PropertyValue | None:
    """A stored value by its name without regard to case, or None."""
    found = stored.get(name)
    if found is not None:
        return found
    folded = name.casefold()
    return next((value for key, value in stored.items() if key.casefold() == folded), None)


def with_changes(stored: Parameters, changes: Mapping[str, PropertyValue | None]) -> dict[str, PropertyValue]:
    """The stored values after changes; a name that is there keeps its spelling."""
    spelling = {name.casefold(): name for name in stored}
    after = dict(stored)
    for name, value in changes.items():
        key = spelling.get(name.casefold(), name)
        if value is None:
            after.pop(key, None)
        else:
            after[key] = value
    return after


def _only_value(item: Property) -> PropertyValue:
    if len(item.values) != 1:
        raise CallerError(
            Status.ERROR_INVALID_DATA, f"property {item.name} has {len(item.values)} values; only one can be stored"
        )
    return item.values[0]


def _format(value: PropertyValue) -> PropertyFormat:
    try:
        return PropertyFormat(value.syntax.format_word)
    except ValueError:
        return PropertyFormat.USER
