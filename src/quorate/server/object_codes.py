"""Control codes of clusters, nodes and groups: the cluster's own handling, since no resource type ever sees them.

Properties follow from the tables in :mod:`quorate.server.properties` by the same functions as those of resources. The
private properties of these objects have no table: they are stored and never checked, and nobody knows their formats.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.errors import CallerError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.operation_values import Values
from quorate.clusapi.operations import DEFAULT_OUT_SIZE
from quorate.clusapi.property_lists import PropertyValue, pack_sz
from quorate.clusapi.status import Status
from quorate.database.plan import check_name
from quorate.hosting.contract import Parameters, PropertyScope
from quorate.hosting.property_codes import PROPERTY_CODES, PropertyRequest, answer_from_table
from quorate.hosting.property_table import NO_TABLE, PropertyTable, find_value, with_changes
from quorate.hosting.registry_properties import from_registry, to_registry
from quorate.server.call import Call

OBJECT_SHIFT: Final = 24
_OPERATION_BITS: Final = 0x00FFFFFF
_INTERNAL_BIT: Final = 0x00100000

# The same operation has the same low 24 bits whatever the object (CLCTL_…).
_GET_CHARACTERISTICS: Final = 0x000005
_GET_FLAGS: Final = 0x000009
_GET_NAME: Final = 0x000029
_GET_ID: Final = 0x000039

NAME: Final = "Name"

Changes = Mapping[str, PropertyValue]
WriteCommon = Callable[[Changes, Sequence[EventRecord]], Awaitable[None]]
"""Stores checked common properties with their event, all or none."""
Check = Callable[[Changes, Parameters], None]
"""Looks at changes, and at all common properties as they would leave them. Raises CallerError."""


def _nothing_more(changes: Changes, values: Parameters) -> None:
    """Every property is checked by itself alone."""


@dataclass(frozen=True, slots=True)
class ControlledObject:
    """What answers control codes here."""

    kind: ControlObject
    id: str
    name: str
    path: str  # its registry key
    table: PropertyTable  # its common properties
    common: Parameters  # their values: what is stored, and what is kept elsewhere or computed
    changed: EventKind  # the event of a changed property
    write: WriteCommon
    check: Check = _nothing_more  # what properties must be together
    more: Mapping[int, bytes] = field(default_factory=dict)  # what codes of this kind alone answer


async def answer(call: Call, object_: ControlledObject) -> Values:
    """Answer a control call; what is not known here is status 1, as for every other object."""
    code = call.inputs.number("control_code")
    if code >> OBJECT_SHIFT != object_.kind or code & _INTERNAL_BIT:
        return _unknown(object_, code)
    try:
        output = await _output(call, object_, code)
    except CallerError as error:
        return control_values(error.status, b"", 0, error.sentence)
    if output is None:
        return _unknown(object_, code)
    return fitting_output(call, output)


def fitting_output(call: Call, output: bytes) -> Values:
    """The outputs of a control call that has an answer; status 234 when the caller has no room for it."""
    room = call.inputs.optional_number("out_size")
    if len(output) > (DEFAULT_OUT_SIZE if room is None else room):
        return control_values(Status.ERROR_MORE_DATA, b"", len(output), f"the answer needs {len(output)} bytes")
    return control_values(Status.ERROR_SUCCESS, output, len(output))


def control_values(status: int, output: bytes, required: int, sentence: str = "") -> Values:
    """The outputs of a control call."""
    return Values({"status": int(status), "output": output, "required": required, "sentence": sentence or None})


def _unknown(object_: ControlledObject, code: int) -> Values:
    sentence = f'"{object_.name}" does not know the control code 0x{code:08X}'
    return control_values(Status.ERROR_INVALID_FUNCTION, b"", 0, sentence)


async def _output(call: Call, object_: ControlledObject, code: int) -> bytes | None:
    """The output of a code; None when nobody knows it. Raises CallerError."""
    match code & _OPERATION_BITS:
        case code_ if code_ in (_GET_CHARACTERISTICS, _GET_FLAGS):
            return bytes(4)
        case code_ if code_ == _GET_NAME:
            return pack_sz(object_.name)
        case code_ if code_ == _GET_ID:
            return pack_sz(object_.id)
    if code not in PROPERTY_CODES:
        return object_.more.get(code)
    scope, request = PROPERTY_CODES[code]
    if scope is PropertyScope.COMMON:
        return await _common(call, object_, request)
    return None if request is PropertyRequest.FORMATS else await _private(call, object_, request)


async def _common(call: Call, object_: ControlledObject, request: PropertyRequest) -> bytes:
    data = call.inputs.optional_data("in_buffer")
    if request not in (PropertyRequest.SET, PropertyRequest.VALIDATE):
        return answer_from_table(request, object_.table, object_.common, data).output
    changes = object_.table.parse_changes(data)
    object_.check(changes, with_changes(object_.common, changes))
    name = changes.get(NAME)
    if name is not None:
        check_name(object_.kind.name.lower(), str(name.value))
        if name == find_value(object_.common, NAME):
            del changes[NAME]  # then nothing is renamed
    if request is PropertyRequest.SET and changes:
        await object_.write(
            changes, (_event(call, object_, changes, lambda name: object_.table.value(object_.common, name)),)
        )
    return b""


async def _private(call: Call, object_: ControlledObject, request: PropertyRequest) -> bytes:
    database, data = call.services.database, call.inputs.optional_data("in_buffer")
    stored = from_registry(await database.key_values(object_.path, private=True))
    if request not in (PropertyRequest.SET, PropertyRequest.VALIDATE):
        return answer_from_table(request, NO_TABLE, stored, data).output
    changes = NO_TABLE.parse_changes(data)
    values = to_registry(changes)
    if request is PropertyRequest.SET and changes:
        events = (_event(call, object_, changes, lambda name: find_value(stored, name)),)
        await database.set_parameters(object_.path, values, events=events)
    return b""


def _event(
    call: Call, object_: ControlledObject, changes: Changes, before: Callable[[str], PropertyValue | None]
) -> EventRecord:
    sentence = f'{" and ".join(_listed(changes))} of "{object_.name}" {"was" if len(changes) == 1 else "were"} set'
    return call.event(
        object_.changed,
        object_.id,
        object_.name,
        sentence,
        {name: _json(value) for name, value in changes.items()},
        {name: None if (old := before(name)) is None else _json(old) for name in changes},
    )


def _listed(names: Iterable[str]) -> list[str]:
    *first, last = names
    return [", ".join(first), last] if first else [last]


def _json(value: PropertyValue) -> JsonValue:
    data = value.value
    if isinstance(data, int | str):
        return data
    if isinstance(data, bytes):
        return data.hex()
    return [str(item) for item in data]
