"""Taking apart what people find in logs, traces and manuals: a control code, a status code, a property list.

:func:`explain` guesses what a text is. The answer is data, one frozen dataclass per kind of thing, which a face renders
as a table, or as JSON with ``to_json()``.
"""

import base64
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from quorate.clusapi.control_code_lookup import (
    ControlCode,
    all_control_codes,
    control_codes_named,
    control_codes_with_value,
)
from quorate.clusapi.control_codes import ControlAccess, ControlCodeFields, ControlObject, decode
from quorate.clusapi.errors import CallerError, RefusalError, error_from_status
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, PropertyValue, parse_property_list
from quorate.clusapi.status import E_BUSY, E_FAIL, S_OK, Status, hresult_of

_HRESULTS: Final = {"S_OK": S_OK, "E_FAIL": E_FAIL, "E_BUSY": E_BUSY}
_WIDE: Final = frozenset({PropertyFormat.ULARGE_INTEGER, PropertyFormat.LARGE_INTEGER, PropertyFormat.FILETIME})
_FIRST_OBJECT_CODE: Final = 0x01000000  # numbers below it have no object: statuses, or base operations
_LONGEST_NUMBER: Final = 12  # "-2147483648", "4294967295" and "0x01600004" are numbers; more digits are a dump


class Outcome(StrEnum):
    """What a status means for the one who gets it."""

    SUCCESS = "success"  # done, or accepted and in progress, or stored for later
    CALLER = "the caller's mistake"
    REFUSAL = "the cluster's refusal"
    FAULT = "a fault"


@dataclass(frozen=True, slots=True)
class BitRow:
    """One row of a control code's bit table."""

    bits: str
    field: str
    value: str
    meaning: str

    def to_json(self) -> JsonObject:
        """The row as a plain dict."""
        return {"bits": self.bits, "field": self.field, "value": self.value, "meaning": self.meaning}


@dataclass(frozen=True, slots=True)
class ControlCodeExplanation:
    """A control code taken apart; ``known_as`` holds the named codes with this number, or with its base operation."""

    code: int
    rows: tuple[BitRow, ...]
    known_as: tuple[ControlCode, ...]

    def to_json(self) -> JsonObject:
        """The explanation as a plain dict."""
        return {
            "kind": "control code",
            "code": self.code,
            "hex": f"0x{self.code:08X}",
            "fields": [row.to_json() for row in self.rows],
            "known_as": [_control_code_to_json(code) for code in self.known_as],
        }


@dataclass(frozen=True, slots=True)
class StatusExplanation:
    """A status code and what it tells; ``hresult`` is the form in which some properties hold it."""

    status: int
    name: str
    meaning: str
    outcome: Outcome
    hresult: int | None

    def to_json(self) -> JsonObject:
        """The explanation as a plain dict."""
        return {
            "kind": "status",
            "status": self.status,
            "hex": f"0x{self.status:08X}",
            "name": self.name,
            "meaning": self.meaning,
            "outcome": self.outcome.value,
            "hresult": None if self.hresult is None else f"0x{self.hresult:08X}",
        }


@dataclass(frozen=True, slots=True)
class PropertyListExplanation:
    """A property list taken apart, and its ``size`` in bytes."""

    size: int
    properties: PropertyList

    def to_json(self) -> JsonObject:
        """The explanation as a plain dict."""
        return {"kind": "property list", "size": self.size, "properties": _property_list_to_json(self.properties)}


Explanation = ControlCodeExplanation | StatusExplanation | PropertyListExplanation


def explain(text: str) -> Explanation:
    """Explain a number, a name or a hex dump, whatever the text is.

    Numbers are decimal (also negative, as HRESULTs are often shown) or ``0x…``. A number is a control code when it has
    an object code, a status when it does not or looks like an HRESULT; a small number that is no listed status may
    still be a base operation. Anything longer, or in several words, is a hex dump of a property list: bare digits, or
    lines as ``xxd`` and ``hexdump -C`` print them. Raises CallerError (87) for a text that is none of these, and
    PropertyListError for a dump that is no property list.
    """
    text = text.strip()
    if (number := _number(text)) is not None:
        return _explain_number(number)
    if (data := _dumped_bytes(text)) is not None:
        return explain_property_list(data)
    if (status := _status_named(text)) is not None:
        return explain_status(status)
    if found := control_codes_named(text):
        return _explain_named(found)
    if (status := _status_named(f"ERROR_{text}")) is not None:
        return explain_status(status)
    raise CallerError(Status.ERROR_INVALID_PARAMETER, f"nothing is known as {text!r}{_suggestion(text)}")


def explain_control_code(code: int) -> ControlCodeExplanation:
    """Take a control code apart, bit by bit. Raises CallerError (87) for what is not an unsigned 32-bit number."""
    if not 0 <= code <= 0xFFFFFFFF:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{code} is not an unsigned 32-bit number")
    known_as = control_codes_with_value(code) or control_codes_with_value(code & 0x00FFFFFF)
    return ControlCodeExplanation(code, _bit_rows(decode(code)), known_as)


def explain_status(status: int | str) -> StatusExplanation:
    """Say what a status means, given its number or its name. Raises CallerError (87) for what is neither."""
    if isinstance(status, str):
        named = _status_named(status)
        if named is None:
            raise CallerError(Status.ERROR_INVALID_PARAMETER, f"no status is called {status!r}{_suggestion(status)}")
        status = named
    if not 0 <= status <= 0xFFFFFFFF:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{status} is not an unsigned 32-bit number")
    code = Status(status)
    names = {number: name for name, number in _HRESULTS.items() if number != S_OK}
    has_hresult = code <= 0xFFFF or code >= 0x80000000
    return StatusExplanation(
        status=code.value,
        name=names.get(code.value, code.name),
        meaning=code.meaning,
        outcome=_outcome(code),
        hresult=hresult_of(code) if has_hresult else None,
    )


def explain_property_list(data: bytes) -> PropertyListExplanation:
    """Take a property list apart. Raises PropertyListError, which says where and why it is none."""
    return PropertyListExplanation(len(data), parse_property_list(data))


# --- Guessing ------------------------------------------------------------------------------------------------------


def _number(text: str) -> int | None:
    if len(text) > _LONGEST_NUMBER:
        return None
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", text):
        return int(text, 16)
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else None


def _explain_number(number: int) -> Explanation:
    if -0x80000000 <= number < 0:
        number &= 0xFFFFFFFF  # an HRESULT as a signed number
    if not 0 <= number <= 0xFFFFFFFF:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{number} does not fit into 32 bits")
    is_hresult = number in _HRESULTS.values() or number & 0xFFFF0000 == 0x80070000
    if is_hresult or Status(number).is_listed:
        return explain_status(number)
    if number >= _FIRST_OBJECT_CODE or control_codes_with_value(number):
        return explain_control_code(number)
    return explain_status(number)


def _explain_named(found: tuple[ControlCode, ...]) -> ControlCodeExplanation:
    """Explain codes that share a name; where they differ only in the object, their base operation stands for all."""
    bases = {code.value & 0x00FFFFFF for code in found}
    several = len({code.value for code in found}) > 1
    code = bases.pop() if several and len(bases) == 1 else found[0].value
    return ControlCodeExplanation(code, _bit_rows(decode(code)), found)


def _status_named(name: str) -> int | None:
    name = name.strip().upper()
    if name in _HRESULTS:
        return _HRESULTS[name]
    member = Status.__members__.get(name)
    return None if member is None else member.value


def _suggestion(name: str) -> str:
    import difflib  # here and not above: only a typing mistake needs it

    codes = all_control_codes()
    known = [*Status.__members__, *(code.name for code in codes), *(code.short_name for code in codes)]
    close = difflib.get_close_matches(name.strip().upper(), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _dumped_bytes(text: str) -> bytes | None:
    """Read a hex dump; None when the text is none."""
    digits = ""
    for line in text.splitlines():
        if line.strip() and line.strip().lower() == f"{len(digits) // 2:0{len(line.strip())}x}" and digits:
            continue  # hexdump's last line: an offset and nothing else
        if offset := re.match(r"\s*[0-9a-fA-F]{4,16}(:|\s\s)\s*", line):
            # What follows the bytes is the dump's column of characters: after a bar, or, behind a colon, two spaces.
            line = re.split(r"\s\s" if offset[1] == ":" else r"\|", line[offset.end() :])[0]
        digits += re.sub(r"[\s,:]|0[xX]", "", line)
    if len(digits) < 8 or len(digits) % 2 or not re.fullmatch(r"[0-9a-fA-F]+", digits):
        return None
    return bytes.fromhex(digits)


# --- Words for people ----------------------------------------------------------------------------------------------

_OBJECTS: Final = {
    ControlObject.INVALID: "no object: a base operation",
    ControlObject.RESOURCE: "resource",
    ControlObject.RESOURCE_TYPE: "resource type",
    ControlObject.GROUP: "group",
    ControlObject.NODE: "node",
    ControlObject.NETWORK: "network",
    ControlObject.NETINTERFACE: "network interface",
    ControlObject.CLUSTER: "cluster",
    ControlObject.GROUPSET: "group set",
    ControlObject.AFFINITYRULE: "affinity rule",
    ControlObject.USER: "a vendor's object",
}
_ACCESS: Final = {
    ControlAccess.ANY: "any",
    ControlAccess.READ: "read",
    ControlAccess.WRITE: "write",
    ControlAccess.READ | ControlAccess.WRITE: "read and write",
}


def _bit_rows(fields: ControlCodeFields) -> tuple[BitRow, ...]:
    def flag(bit: int, name: str, is_set: bool, yes: str, no: str) -> BitRow:
        return BitRow(str(bit), name, str(int(is_set)), yes if is_set else no)

    object_ = next((words for known, words in _OBJECTS.items() if known == fields.object), "unknown object")
    function = f"{'vendor ' if fields.user else 'internal ' if fields.internal else ''}function {fields.function}"
    return (
        BitRow("31-24", "object", f"0x{fields.object:02X}", object_),
        flag(23, "global", fields.global_, "every node must carry it out", "one node carries it out"),
        flag(
            22, "modify", fields.modify, "may change data: needs full access", "changes nothing: read access is enough"
        ),
        flag(21, "user", fields.user, "defined by the resource type's vendor", "defined by the cluster"),
        flag(20, "internal", fields.internal, "sent by the cluster only", "open to applications"),
        BitRow("19-2", "function", f"0x{fields.function:05X}", function),
        BitRow("1-0", "access", str(fields.access), _ACCESS[ControlAccess(fields.access)]),
    )


def _outcome(status: Status) -> Outcome:
    accepted = (Status.ERROR_SUCCESS, Status.ERROR_IO_PENDING, Status.ERROR_RESOURCE_PROPERTIES_STORED)
    if status in accepted:
        return Outcome.SUCCESS
    wrapped = Status(status & 0xFFFF) if status & 0xFFFF0000 == 0x80070000 and status & 0xFFFF else status
    error = error_from_status(wrapped, "")
    if isinstance(error, CallerError):
        return Outcome.CALLER
    return Outcome.REFUSAL if isinstance(error, RefusalError) else Outcome.FAULT


# --- JSON ----------------------------------------------------------------------------------------------------------


def _control_code_to_json(code: ControlCode) -> JsonObject:
    return {
        "name": code.name,
        "code": code.value,
        "hex": f"0x{code.value:08X}",
        "input": code.input,
        "output": code.output,
        "handler": None if code.handler is None else code.handler.value,
        "note": code.note,
        "resource_type": code.resource_type,
    }


def _property_list_to_json(properties: PropertyList) -> list[JsonValue]:
    return [{"name": item.name, "values": [_value_to_json(value) for value in item.values]} for item in properties]


def _value_to_json(value: PropertyValue) -> JsonObject:
    """Syntax and value: integers of 64 bits as text, bytes as base64, nested lists as lists."""
    content: JsonValue
    match value.value:
        case int() as number:
            content = str(number) if value.syntax.format_word in _WIDE else number
        case bytes() as data:
            content = base64.b64encode(data).decode("ascii")
        case str() as text:
            content = text
        case PropertyList() as properties:
            content = _property_list_to_json(properties)
        case items:
            content = [item if isinstance(item, str) else _value_to_json(item) for item in items]
    return {"syntax": value.syntax.name, "value": content}
