"""Typed values of registry keys, and the record that holds one key with all its values.

One record per key makes a set of values atomic. Names of values are compared without regard to case and keep the
spelling under which they were first written.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import Final, Self, TypeAlias

from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.status import Status
from quorate.database.documents import parse_document, write_document

MAX_VALUE_NAME: Final = 16383  # characters, as the Windows registry has it


class RegistryType(IntEnum):
    """How the data of a value is to be read; the numbers are those of REG_SZ and so on."""

    SZ = 1
    EXPAND_SZ = 2
    BINARY = 3
    DWORD = 4
    MULTI_SZ = 7
    QWORD = 11


Data: TypeAlias = "str | int | bytes | tuple[str, ...]"


@dataclass(frozen=True, slots=True)
class RegistryValue:
    """A value and its type. Texts are ``str``, numbers ``int``, MULTI_SZ a tuple, BINARY ``bytes``.

    Raises CallerError ERROR_INVALID_PARAMETER when the data does not fit the type.
    """

    type: RegistryType
    data: Data

    def __post_init__(self) -> None:
        reason = _misfit(self.type, self.data)
        if reason:
            raise CallerError(Status.ERROR_INVALID_PARAMETER, f"no value of type {self.type.name}: {reason}")

    @classmethod
    def sz(cls, text: str) -> Self:
        """A text."""
        return cls(RegistryType.SZ, text)

    @classmethod
    def expand_sz(cls, text: str) -> Self:
        """A text with %VARIABLES%."""
        return cls(RegistryType.EXPAND_SZ, text)

    @classmethod
    def multi_sz(cls, *texts: str) -> Self:
        """A list of texts."""
        return cls(RegistryType.MULTI_SZ, texts)

    @classmethod
    def dword(cls, number: int) -> Self:
        """An unsigned number of 32 bits."""
        return cls(RegistryType.DWORD, int(number))

    @classmethod
    def qword(cls, number: int) -> Self:
        """An unsigned number of 64 bits."""
        return cls(RegistryType.QWORD, int(number))

    @classmethod
    def binary(cls, data: bytes) -> Self:
        """Bytes."""
        return cls(RegistryType.BINARY, data)

    def to_json(self) -> dict[str, JsonValue]:
        """Write it for the record of its key: wide numbers as text, bytes as base64."""
        data: JsonValue
        if isinstance(self.data, bytes):
            data = base64.b64encode(self.data).decode()
        elif isinstance(self.data, tuple):
            data = list(self.data)
        else:
            data = str(self.data) if self.type is RegistryType.QWORD else self.data
        return {"type": self.type.name, "data": data}

    @classmethod
    def from_json(cls, value: JsonValue) -> Self:
        """Read what ``to_json`` wrote. Raises ValueError, KeyError or TypeError when it is nothing of the kind."""
        if not isinstance(value, Mapping):
            raise TypeError("a value is no object")
        kind, data = RegistryType[str(value["type"])], value["data"]
        if kind is RegistryType.BINARY:
            return cls(kind, base64.b64decode(str(data), validate=True))
        if kind is RegistryType.QWORD:
            return cls(kind, int(str(data)))
        if kind is RegistryType.MULTI_SZ and isinstance(data, list):
            return cls(kind, tuple(str(item) for item in data))
        if isinstance(data, str | int):
            return cls(kind, data)
        raise TypeError("the data of a value has a wrong type")


def _misfit(kind: RegistryType, data: Data) -> str:
    """Say why data does not fit a type; "" when it does."""
    if kind in (RegistryType.DWORD, RegistryType.QWORD):
        bits = 32 if kind is RegistryType.DWORD else 64
        fits = isinstance(data, int) and not isinstance(data, bool) and 0 <= data < 1 << bits
        return "" if fits else f"{data!r} is not an unsigned number of {bits} bits"
    if kind is RegistryType.BINARY:
        return "" if isinstance(data, bytes) else f"{data!r} is not bytes"
    if kind is RegistryType.MULTI_SZ:
        if not isinstance(data, tuple) or not all(isinstance(text, str) for text in data):
            return f"{data!r} is not a list of texts"
        if "" in data:
            return "a list of texts cannot hold an empty one"
        return next((reason for reason in map(_bad_text, data) if reason), "")
    return _bad_text(data) if isinstance(data, str) else f"{data!r} is not a text"


def _bad_text(text: str) -> str:
    if "\0" in text:
        return "a text cannot hold a NUL"
    return "" if text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text) else "half a surrogate pair"


class RegistryValues(Mapping[str, RegistryValue]):
    """The values of one key, never changed: lookup without regard to case, the spelling kept; with typed reading."""

    __slots__ = ("_items",)

    def __init__(self, values: Mapping[str, RegistryValue] | None = None) -> None:
        """Take the values; of two names that differ only in case the later one counts."""
        self._items: dict[str, tuple[str, RegistryValue]] = {
            name.casefold(): (name, value) for name, value in (values or {}).items()
        }

    def __getitem__(self, name: str) -> RegistryValue:
        return self._items[name.casefold()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.casefold() in self._items

    def __repr__(self) -> str:
        return f"RegistryValues({dict(self)!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RegistryValues):
            return {name: value for name, (_, value) in self._items.items()} == {
                name: value for name, (_, value) in other._items.items()
            }
        return Mapping.__eq__(self, other)

    def __hash__(self) -> int:
        return hash(frozenset((name, value) for name, (_, value) in self._items.items()))

    def changed(self, changes: Mapping[str, RegistryValue | None]) -> "RegistryValues":
        """The values after a change: None removes a value; a name that is there keeps its spelling."""
        result = RegistryValues()
        result._items.update(self._items)
        for name, value in changes.items():
            folded = name.casefold()
            if value is None:
                result._items.pop(folded, None)
            else:
                result._items[folded] = (self._items[folded][0] if folded in self._items else name, value)
        return result

    def text(self, name: str, default: str = "") -> str:
        """A text (SZ or EXPAND_SZ); the default when it is not there or of another type."""
        value = self.get(name)
        return value.data if value is not None and isinstance(value.data, str) else default

    def number(self, name: str, default: int = 0) -> int:
        """A number (DWORD or QWORD); the default when it is not there or of another type."""
        found = self._items.get(name.casefold())  # asked far more often than everything else here
        return found[1].data if found is not None and isinstance(found[1].data, int) else default

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty when it is not there or of another type."""
        value = self.get(name)
        return value.data if value is not None and isinstance(value.data, tuple) else ()

    def data(self, name: str, default: bytes = b"") -> bytes:
        """Bytes; the default when it is not there or of another type."""
        value = self.get(name)
        return value.data if value is not None and isinstance(value.data, bytes) else default


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One registry key as the store holds it: its own name as spelled, and its values.

    ``written`` is when it was written last, by the clock of the node that wrote it, in whole milliseconds. None is
    "now" when it is written, and not known of a key that an older version wrote.
    """

    name: str
    values: RegistryValues = field(default_factory=RegistryValues)
    extra: Mapping[str, JsonValue] = field(default_factory=dict)
    written: datetime | None = field(default=None, compare=False)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        values = {name: value.to_json() for name, value in self.values.items()}
        written = ((self.written or datetime.now(UTC)) - _EPOCH) // _MILLISECOND
        return write_document(self.VERSION, {"name": self.name, "values": values, "written": written}, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        document = parse_document(data, cls.VERSION, "a registry key")
        try:
            values = document.pop("values")
            if not isinstance(values, Mapping):
                raise TypeError("values is no object")
            parsed = RegistryValues({name: RegistryValue.from_json(value) for name, value in values.items()})
            return cls(str(document.pop("name")), parsed, document, _moment(document.pop("written", None)))
        except (KeyError, OverflowError, TypeError, ValueError, CallerError) as error:
            raise FaultError(Status.ERROR_CLUSTER_CANT_DESERIALIZE_DATA, f"a damaged registry key: {error}") from error


@lru_cache(maxsize=8192)
def decode_key(data: bytes) -> KeyRecord:
    """``KeyRecord.decode`` for who reads the whole registry again and again: most is what it was the last time."""
    return KeyRecord.decode(data)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def _moment(value: JsonValue) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("written is not a number")
    return _EPOCH + value * _MILLISECOND


def check_value_name(name: str) -> None:
    """Refuse what cannot name a value. Raises CallerError ERROR_INVALID_NAME."""
    if len(name) > MAX_VALUE_NAME or _bad_text(name):
        raise CallerError(Status.ERROR_INVALID_NAME, f"{json.dumps(name[:80])} cannot name a value")
