"""Inputs and outputs of operations between Python and JSON, checked against the table.

A mistake of the caller (unknown key, missing input, wrong type, number out of range) is a CallerError that names the
key.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar, cast

from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.operation_types import Field, FieldType, Operation
from quorate.clusapi.status import Status

FieldValue: TypeAlias = int | str | bytes | bool | tuple[str, ...] | JsonObject | tuple[JsonObject, ...] | None
T = TypeVar("T")
_LIMITS = {FieldType.U32: 0xFFFFFFFF, FieldType.U64: 0xFFFFFFFFFFFFFFFF}


class Values:
    """The inputs or outputs of one call, each read with its type.

    Reading a field with a type that is not its own is a bug and raises TypeError; a field that is absent reads as None
    through the ``optional_…`` methods and is a CallerError 87 through the others.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, FieldValue]) -> None:
        """Hold values that are already checked; absent ones may be missing or None."""
        self._values = {name: value for name, value in values.items() if value is not None}

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def as_mapping(self) -> Mapping[str, FieldValue]:
        """Show everything that is present."""
        return self._values

    def as_json(self) -> JsonObject:
        """Show everything that is present as JSON; for outputs that hold no bytes."""
        if any(isinstance(value, bytes) for value in self._values.values()):
            raise TypeError("bytes need the operation's own encoding")
        return cast(JsonObject, self._values)

    def with_value(self, name: str, value: FieldValue) -> "Values":
        """The same values with one more, or another one."""
        return Values({**self._values, name: value})

    def text(self, name: str) -> str:
        """Read a text."""
        return _present(name, self.optional_text(name))

    def optional_text(self, name: str) -> str | None:
        """Read a text or None."""
        return _typed(name, self._values.get(name), str)

    def number(self, name: str) -> int:
        """Read a number."""
        return _present(name, self.optional_number(name))

    def optional_number(self, name: str) -> int | None:
        """Read a number or None."""
        return _typed(name, self._values.get(name), int)

    def data(self, name: str) -> bytes:
        """Read bytes."""
        return _present(name, self.optional_data(name))

    def optional_data(self, name: str) -> bytes | None:
        """Read bytes or None; None is not b""."""
        return _typed(name, self._values.get(name), bytes)

    def flag(self, name: str) -> bool:
        """Read a flag; absent is false."""
        return _typed(name, self._values.get(name), bool) or False

    def ids(self, name: str) -> tuple[str, ...]:
        """Read a list of ids; absent is empty."""
        return cast(tuple[str, ...], _typed(name, self._values.get(name), tuple) or ())

    def json(self, name: str) -> JsonObject:
        """Read a JSON object; absent is empty."""
        return cast(JsonObject, _typed(name, self._values.get(name), dict) or {})

    def objects(self, name: str) -> tuple[JsonObject, ...]:
        """Read a list of JSON objects; absent is empty."""
        return cast(tuple[JsonObject, ...], _typed(name, self._values.get(name), tuple) or ())


def inputs_from_json(operation: Operation, body: JsonValue) -> Values:
    """Read and check the inputs of a call. Raises CallerError 87 with the key and the reason."""
    return _decode(operation, operation.inputs, body, tolerant=False)


def outputs_from_json(operation: Operation, body: JsonValue) -> Values:
    """Read the outputs of a call; outputs that a newer node added are ignored."""
    return _decode(operation, operation.outputs, body, tolerant=True)


def inputs_to_json(operation: Operation, values: Values) -> dict[str, JsonValue]:
    """Write inputs for the wire."""
    return _encode(operation, operation.inputs, values)


def outputs_to_json(operation: Operation, values: Values) -> dict[str, JsonValue]:
    """Write outputs for the wire. A missing or undeclared output is a bug: ValueError."""
    declared = {field.name for field in operation.outputs}
    missing = {field.name for field in operation.outputs if not field.optional and field.name not in values}
    if missing or not declared.issuperset(values.as_mapping()):
        raise ValueError(f"{operation.name} answered {sorted(values.as_mapping())}, declared are {sorted(declared)}")
    return _encode(operation, operation.outputs, values)


def _decode(operation: Operation, fields: Iterable[Field], body: JsonValue, *, tolerant: bool) -> Values:
    if not isinstance(body, Mapping):
        raise _mistake(operation, "the body", "is not a JSON object")
    values: dict[str, FieldValue] = {}
    known = {field.name: field for field in fields}
    for name, value in body.items():
        field = known.get(name)
        if field is None:
            if tolerant:
                continue
            raise _mistake(operation, name, f"is not an input; inputs are: {', '.join(known) or 'none'}")
        if value is not None:
            values[name] = _value_from_json(operation, field, value)
    for field in known.values():
        if not field.optional and field.name not in values and not tolerant:
            raise _mistake(operation, field.name, f"is missing: {field.about}")
    return Values(values)


def _value_from_json(operation: Operation, field: Field, value: JsonValue) -> FieldValue:
    match field.type, value:
        case FieldType.TEXT, str():
            return value
        case FieldType.FLAG, bool():
            return value
        case FieldType.U32, int() if not isinstance(value, bool):
            return _in_range(operation, field, value)
        case FieldType.U64, str() if value.isascii() and value.isdigit():
            return _in_range(operation, field, int(value))
        case FieldType.BYTES, str():
            try:
                return base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError) as error:
                raise _mistake(operation, field.name, f"is not base64: {error}") from error
        case FieldType.OBJECT, Mapping():
            return dict(value)
        case FieldType.IDS, Sequence() if not isinstance(value, str) and all(isinstance(item, str) for item in value):
            return tuple(cast(Sequence[str], value))
        case FieldType.OBJECTS, Sequence() if not isinstance(value, str) and all(
            isinstance(item, Mapping) for item in value
        ):
            return tuple(cast(Sequence[JsonObject], value))
        case _:
            raise _mistake(operation, field.name, f"is not of type {field.type.value}")


def _in_range(operation: Operation, field: Field, value: int) -> int:
    if not 0 <= value <= _LIMITS[field.type]:
        raise _mistake(operation, field.name, f"is {value}, outside 0 to {_LIMITS[field.type]}")
    return value


def _encode(operation: Operation, fields: Iterable[Field], values: Values) -> dict[str, JsonValue]:
    present = values.as_mapping()
    types = {field.name: field.type for field in fields}
    encoded: dict[str, JsonValue] = {}
    for name, value in present.items():
        if name not in types:
            raise _mistake(operation, name, f"is not an input; inputs are: {', '.join(types) or 'none'}")
        if isinstance(value, bytes):
            encoded[name] = base64.b64encode(value).decode("ascii")
        elif types[name] is FieldType.U64:
            encoded[name] = str(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            encoded[name] = int(value)
        else:
            encoded[name] = value
    return encoded


def _mistake(operation: Operation, key: str, reason: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, f"{operation.name}: {key} {reason}")


def _present(name: str, value: T | None) -> T:
    if value is None:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{name} is missing")
    return value


def _typed(name: str, value: object, type_: type[T]) -> T | None:
    if value is None or isinstance(value, type_):
        return value
    raise TypeError(f"{name} is a {type(value).__name__}, not a {type_.__name__}")
