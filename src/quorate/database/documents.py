"""What every record of the private namespace is written in: one JSON object with a version.

A record of a version that this program does not know is refused; a field that it does not know is kept in ``extra`` and
written again, so that a newer node may add fields while older ones still write.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar

from quorate.clusapi.errors import FaultError
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.status import Status

T = TypeVar("T")
Document: TypeAlias = "dict[str, JsonValue]"
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_read: Final = json.JSONDecoder().decode


def write_document(version: int, fields: JsonObject, extra: JsonObject) -> bytes:
    """Write a record; fields that another version left in ``extra`` are kept."""
    return _ENCODER.encode({**extra, **fields, "version": version}).encode()


def parse_document(data: bytes, newest: int, what: str) -> Document:
    """Read a record's fields without its version. Raises FaultError: damaged, or newer than this program."""
    try:
        document = _read(data.decode())
    except ValueError as error:
        raise damaged(what, str(error)) from error
    if not isinstance(document, dict):
        raise damaged(what, "not an object")
    version = document.pop("version", None)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise damaged(what, f"version {version!r}")
    if version > newest:
        raise FaultError(
            Status.ERROR_CLUSTER_OLD_VERSION,
            f"{what} has version {version}, written by a newer Quorate; this one reads up to {newest}: upgrade it",
        )
    return document


def damaged(what: str, reason: str) -> FaultError:
    """What is said of a record that cannot be read."""
    sentence = f"{what} in the cluster database is damaged: {reason}"
    return FaultError(Status.ERROR_CLUSTER_CANT_DESERIALIZE_DATA, sentence)


class Fields:
    """Takes the fields of a document one by one, with their types; what is left over is ``extra``."""

    def __init__(self, what: str, document: Mapping[str, JsonValue]) -> None:
        self._what = what
        self._left: Document = dict(document)

    def text(self, name: str) -> str:
        """Take a text."""
        value = self._left.pop(name, None)
        if not isinstance(value, str):
            raise damaged(self._what, f"{name} is {value!r}, not a text")
        return value

    def optional(self, name: str, kind: Callable[[str], T]) -> T | None:
        """Take a text as an object of this kind; None when it is not there, or null."""
        if self._left.get(name) is None:
            self._left.pop(name, None)
            return None
        return kind(self.text(name))

    def number(self, name: str) -> int:
        """Take a whole number."""
        value = self._left.pop(name, None)
        if not isinstance(value, int) or isinstance(value, bool):
            raise damaged(self._what, f"{name} is {value!r}, not a whole number")
        return value

    def duration(self, name: str) -> float:
        """Take a number of seconds."""
        value = self._left.pop(name, None)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise damaged(self._what, f"{name} is {value!r}, not a number of seconds")
        return float(value)

    def optional_duration(self, name: str) -> float | None:
        """Take a number of seconds; None when it is not there, or null."""
        if self._left.get(name) is None:
            self._left.pop(name, None)
            return None
        return self.duration(name)

    def flag(self, name: str) -> bool:
        """Take true or false."""
        value = self._left.pop(name, None)
        if not isinstance(value, bool):
            raise damaged(self._what, f"{name} is {value!r}, not true or false")
        return value

    def object_(self, name: str) -> JsonObject:
        """Take an object."""
        value = self._left.pop(name, None)
        if not isinstance(value, Mapping):
            raise damaged(self._what, f"{name} is {value!r}, not an object")
        return value

    def optional_object(self, name: str) -> JsonObject | None:
        """Take an object; None when it is not there, or null."""
        if self._left.get(name) is None:
            self._left.pop(name, None)
            return None
        return self.object_(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """Take a list of texts."""
        value = self._left.pop(name, None)
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
            raise damaged(self._what, f"{name} is {value!r}, not a list of texts")
        return tuple(str(item) for item in value)

    def objects(self, name: str) -> tuple[JsonObject, ...]:
        """Take a list of objects."""
        value = self._left.pop(name, None)
        if not isinstance(value, list):
            raise damaged(self._what, f"{name} is {value!r}, not a list of objects")
        found: list[JsonObject] = []
        for item in value:
            if not isinstance(item, Mapping):
                raise damaged(self._what, f"{name} holds {item!r}, not an object")
            found.append(item)
        return tuple(found)

    def rest(self) -> JsonObject:
        """What nobody took: the fields of a newer version."""
        return self._left
