"""The types of what JSON can say, and how to read one member of an object with its type.

Numbers wider than 53 bits travel as text, bytes as base64, times as RFC 3339 in UTC, durations as seconds.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
JsonObject: TypeAlias = Mapping[str, JsonValue]


def json_text(object_: JsonObject, name: str, default: str = "") -> str:
    """Read a text; anything else there, or nothing, is the default."""
    value = object_.get(name)
    return value if isinstance(value, str) else default


def json_int(object_: JsonObject, name: str, default: int = 0) -> int:
    """Read a whole number, also one that travels as text because it may be wide."""
    value = object_.get(name)
    if isinstance(value, bool):
        return default
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, int | float) else default


def json_float(object_: JsonObject, name: str, default: float = 0.0) -> float:
    """Read a number."""
    value = object_.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def json_flag(object_: JsonObject, name: str) -> bool:
    """Read a flag; absent is false."""
    return object_.get(name) is True


def json_object(object_: JsonObject, name: str) -> JsonObject:
    """Read an object; absent is the empty one."""
    value = object_.get(name)
    return value if isinstance(value, Mapping) else {}


def json_objects(object_: JsonObject, name: str) -> tuple[JsonObject, ...]:
    """Read a list of objects, leaving out what is none."""
    value = object_.get(name)
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return ()
    return tuple(item for item in value if isinstance(item, Mapping))


def json_texts(object_: JsonObject, name: str) -> tuple[str, ...]:
    """Read a list of texts, leaving out what is none."""
    value = object_.get(name)
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return ()
    return tuple(item for item in value if isinstance(item, str))
