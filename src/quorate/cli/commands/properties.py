"""``… set NAME KEY=VALUE…``: properties of any object, common or private as its own tables say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from quorate.cli import output
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.errors import CallerError, RefusalError, error_from_status
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.operation_values import Values
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    PropertyListError,
    Value,
    pack_property_list,
    parse_property_formats,
    parse_property_list,
)
from quorate.clusapi.status import Status

_COMMON_FORMATS, _GET_RO_COMMON, _GET_COMMON = 0x000065, 0x000055, 0x000059
_PRIVATE_FORMATS, _GET_RO_PRIVATE, _GET_PRIVATE = 0x00008D, 0x00007D, 0x000081
_VALIDATE_COMMON, _SET_COMMON = 0x000061, 0x40005E
_VALIDATE_PRIVATE, _SET_PRIVATE = 0x000089, 0x400086
_STORED: Final = (Status.ERROR_SUCCESS, Status.ERROR_RESOURCE_PROPERTIES_STORED)
_UNSIGNED: Final = {PropertyFormat.DWORD: 32, PropertyFormat.ULARGE_INTEGER: 64, PropertyFormat.WORD: 16}
_SIGNED: Final = {PropertyFormat.LONG: 32, PropertyFormat.LARGE_INTEGER: 64}

Setting = tuple[str, PropertyFormat, Value]


@dataclass(frozen=True, slots=True)
class Target:
    """An object that has properties; ``control`` sends it a control code with an input buffer."""

    kind: ControlObject
    name: str
    control: Callable[[int, bytes | None], Values]

    def ask(self, code: int, data: bytes | None = None) -> tuple[int, bytes, str]:
        """(status, output, sentence) of the code of this kind of object."""
        answer = self.control(self.kind << 24 | code, data)
        return answer.number("status"), answer.data("output"), answer.optional_text("sentence") or ""

    def require(self, code: int, data: bytes | None = None) -> tuple[int, bytes]:
        """The status and output of a code. Raises ClusterError unless it succeeded."""
        status, output_, sentence = self.ask(code, data)
        if status not in _STORED:
            raise error_from_status(status, sentence or Status(status).meaning)
        return status, output_

    def formats(self, code: int) -> dict[str, tuple[str, PropertyFormat]]:
        """The properties that the object's table knows, by folded name; none when it has no table."""
        status, output_, _ = self.ask(code)
        if status:
            return {}
        try:
            return {name.casefold(): (name, format_) for name, format_ in parse_property_formats(output_).items()}
        except PropertyListError:
            return {}


def set_properties(target: Target, assignments: Sequence[str], *, private: bool) -> int:
    """Set properties, each where the object's tables have it; all are checked before any is set.

    ``private`` lets a name that no table knows become a private property. Raises ClusterError.
    """
    common, own = _sorted(target, assignments, private)
    for code, settings in ((_VALIDATE_COMMON, common), (_VALIDATE_PRIVATE, own)):
        if settings:
            target.require(code, _packed(settings))
    status: int = Status.ERROR_SUCCESS
    for code, settings in ((_SET_COMMON, common), (_SET_PRIVATE, own)):
        if settings:
            status = max(status, target.require(code, _packed(settings))[0])
    facts = {name: plain(value) for name, _, value in (*common, *own)}
    later = "; it takes effect at the next online" if status == Status.ERROR_RESOURCE_PROPERTIES_STORED else ""
    said = ", ".join(f"{name} = {cell(value)}" for name, value in facts.items())
    key = target.kind.name.lower()
    output.say(f'"{target.name}": {said}{later}', {key: target.name, "status": int(status), "properties": facts})
    return output.EXIT_SUCCESS


def common_properties(target: Target) -> dict[str, JsonValue]:
    """The common properties of an object, read-only ones first."""
    found: dict[str, JsonValue] = {}
    for code in (_GET_RO_COMMON, _GET_COMMON):
        found.update((item.name, plain(item.value)) for item in parse_property_list(target.require(code)[1]))
    return found


def private_properties(target: Target) -> dict[str, JsonValue]:
    """The private properties of an object, read-only ones first; none where nobody would tell them."""
    found: dict[str, JsonValue] = {}
    for code in (_GET_RO_PRIVATE, _GET_PRIVATE):
        status, output_, _ = target.ask(code)
        if status:
            continue
        try:
            found.update((item.name, plain(item.value)) for item in parse_property_list(output_))
        except PropertyListError:
            continue
    return found


def shown_properties(target: Target) -> tuple[dict[str, JsonValue], str]:
    """The common properties, and why there are none: the node that would tell them is down. Raises ClusterError."""
    try:
        return common_properties(target), ""
    except RefusalError as error:
        return {}, f"its properties are not known now: {error.sentence}"


def plain(value: object) -> JsonValue:
    """A value as JSON; bytes in hexadecimal."""
    if isinstance(value, int | str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Sequence):
        return [str(item) for item in value]
    return str(value)


def cell(value: JsonValue) -> str:
    """A value as people read it."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _sorted(target: Target, assignments: Sequence[str], private: bool) -> tuple[list[Setting], list[Setting]]:
    if not assignments:
        raise _mistake("say what to set: KEY=VALUE")
    common_table, private_table = target.formats(_COMMON_FORMATS), target.formats(_PRIVATE_FORMATS)
    common: list[Setting] = []
    own: list[Setting] = []
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise _mistake(f'"{assignment}" is not KEY=VALUE')
        if not private and (found := common_table.get(key.casefold())):
            common.append(_setting(found, text))
        elif found := private_table.get(key.casefold()):
            own.append(_setting(found, text))
        elif private:
            own.append((key, *_guess(text)))
        else:
            raise _unknown(target, key, [name for name, _ in (*common_table.values(), *private_table.values())])
    return common, own


def _unknown(target: Target, key: str, known: Sequence[str]) -> CallerError:
    folded = {name.casefold(): name for name in known}
    near = [folded[name] for name in get_close_matches(key.casefold(), folded, 3)]
    hint = f"do you mean {' or '.join(near)}?" if near else "--private stores it as a private property of your own"
    return _mistake(f'"{target.name}" has no property {key}; {hint}')


def _setting(known: tuple[str, PropertyFormat], text: str) -> Setting:
    name, format_ = known
    return name, format_, _parsed(name, format_, text)


def _parsed(name: str, format_: PropertyFormat, text: str) -> Value:
    if format_ is PropertyFormat.MULTI_SZ:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if format_ in (PropertyFormat.BINARY, PropertyFormat.SECURITY_DESCRIPTOR):
        try:
            return bytes.fromhex(text)
        except ValueError as error:
            raise _mistake(f"{name} is given in hexadecimal: {error}") from error
    bits = _UNSIGNED.get(format_) or _SIGNED.get(format_)
    if bits is None:
        return text
    try:
        number = int(text, 0)
    except ValueError:
        raise _mistake(f'{name} is a number; "{text}" is none') from None
    lowest, highest = -(1 << bits - 1), (1 << bits) - 1 if format_ in _UNSIGNED else (1 << bits - 1) - 1
    if not lowest <= number <= highest:
        raise _mistake(f"{name} is a number of {bits} bits; {text} does not fit")
    return number % (1 << bits) if format_ in _UNSIGNED else number  # -1 is all ones


def _guess(text: str) -> tuple[PropertyFormat, Value]:
    """A property that nobody knows: a DWORD if it looks like one, else a text."""
    if text.isascii() and text.isdigit() and int(text) <= 0xFFFFFFFF:
        return PropertyFormat.DWORD, int(text)
    return PropertyFormat.SZ, text


def _packed(settings: Sequence[Setting]) -> bytes:
    try:
        return pack_property_list(PropertyList.of(settings))
    except ValueError as error:
        raise _mistake(str(error)) from error


def _mistake(sentence: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, sentence)


def rows_of(properties: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    """Properties for a table."""
    return [(name, cell(value)) for name, value in properties.items()]
