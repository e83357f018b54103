"""What the daemon and a monitor process say to each other: JSON objects, each behind its length in four bytes.

::

    monitor → daemon   {ready: true}                         once: the interpreter runs, calls can come
    daemon → monitor   {call: 7, type: "Generic Script", entry: "online", resource: "…", arguments: {…}}
                       {goodbye: true}                       end now, and stop nothing
    monitor → daemon   {call: 7, value: …}                   the entry point returned
                       {call: 7, status: 5, sentence: "…"}   it raised
                       {report: 7, state: 129, checkpoint: 3, sentence: "…"}   from the work that call 7 left behind

An end of file without a goodbye tells the monitor that the daemon died: it terminates what is online and ends. Both
ends are the same program on the same machine, started together: there is no version to negotiate.
"""

import base64
import json
import struct
from collections.abc import Mapping
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.property_lists import (
    Property,
    PropertyList,
    PropertyValue,
    pack_property_list,
    parse_property_list,
)
from quorate.clusapi.states import VmResdllContext
from quorate.clusapi.status import Status
from quorate.hosting.contract import ControlAnswer, Parameters
from quorate.hosting.resource_type import OfflineRequest, OpenedResource

Message = Mapping[str, JsonValue]

HEADER: Final = struct.Struct(">I")
LONGEST_MESSAGE: Final = 4 * 1024 * 1024
"""Bytes; whoever parses one does nothing else meanwhile."""


class BadMessage(FaultError):
    """The other end said something that is no message."""

    def __init__(self, reason: str) -> None:
        super().__init__(Status.ERROR_CLUSTER_CANT_DESERIALIZE_DATA, f"a monitor's message is malformed: {reason}")
        self.args = (reason,)


def pack_message(message: Message) -> bytes:
    """Pack one message with its length. Raises :class:`BadMessage` when it is too long."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > LONGEST_MESSAGE:
        raise BadMessage(f"its length would be {len(data)} bytes")
    return HEADER.pack(len(data)) + data


def parse_length(header: bytes) -> int:
    """How many bytes follow. Raises :class:`BadMessage` when that cannot be."""
    (length,) = HEADER.unpack(header)
    if not isinstance(length, int) or length > LONGEST_MESSAGE:
        raise BadMessage(f"its length would be {length} bytes")
    return length


def parse_message(data: bytes) -> Message:
    """Parse what follows the length. Raises :class:`BadMessage`."""
    try:
        message = json.loads(data)
    except ValueError as error:
        raise BadMessage(str(error)) from error
    if not isinstance(message, dict):
        raise BadMessage("it is no object")
    return message


def object_of(value: JsonValue) -> Message:
    """The value as an object. Raises :class:`BadMessage`."""
    if not isinstance(value, Mapping):
        raise BadMessage(f"{value!r} is no object")
    return value


def text_of(value: JsonValue) -> str:
    """The value as a text. Raises :class:`BadMessage`."""
    if not isinstance(value, str):
        raise BadMessage(f"{value!r} is no text")
    return value


def number_of(value: JsonValue) -> int:
    """The value as a whole number. Raises :class:`BadMessage`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadMessage(f"{value!r} is no whole number")
    return value


def status_of(value: JsonValue) -> Status:
    """The value as a status. Raises :class:`BadMessage`."""
    try:
        return Status(number_of(value))
    except ValueError as error:
        raise BadMessage(str(error)) from error


def pack_data(data: bytes | None) -> JsonValue:
    """Bytes, or none at all, which is not the same as no bytes."""
    return None if data is None else base64.b64encode(data).decode("ascii")


def parse_data(value: JsonValue) -> bytes | None:
    """What :func:`pack_data` packed. Raises :class:`BadMessage`."""
    if value is None:
        return None
    try:
        return base64.b64decode(text_of(value), validate=True)
    except ValueError as error:
        raise BadMessage(str(error)) from error


def pack_parameters(parameters: Parameters) -> JsonValue:
    """Stored properties, as a property list."""
    properties = tuple(Property(name, (value,)) for name, value in parameters.items())
    return pack_data(pack_property_list(PropertyList(properties)))


def parse_parameters(value: JsonValue) -> dict[str, PropertyValue]:
    """What :func:`pack_parameters` packed. Raises :class:`BadMessage` or PropertyListError."""
    data = parse_data(value)
    if data is None:
        raise BadMessage("there are no parameters")
    return {item.name: item.values[0] for item in parse_property_list(data)}


def pack_opened(resource: OpenedResource) -> JsonValue:
    """The facts with which a resource is opened."""
    return {
        "resource": resource.resource_id,
        "name": resource.name,
        "type": resource.type_name,
        "group": resource.group_id,
        "group_name": resource.group_name,
        "was_online": resource.was_online,
        "separate_monitor": resource.separate_monitor,
        "settings": dict(resource.settings),
        "parameters": pack_parameters(resource.parameters),
    }


def parse_opened(value: JsonValue) -> OpenedResource:
    """What :func:`pack_opened` packed. Raises :class:`BadMessage`."""
    message = object_of(value)
    settings = object_of(message.get("settings"))
    return OpenedResource(
        resource_id=ResourceId(text_of(message.get("resource"))),
        name=text_of(message.get("name")),
        type_name=text_of(message.get("type")),
        group_id=GroupId(text_of(message.get("group"))),
        group_name=text_of(message.get("group_name")),
        was_online=message.get("was_online") is True,
        separate_monitor=message.get("separate_monitor") is True,
        settings={name: text_of(text) for name, text in settings.items()},
        parameters=parse_parameters(message.get("parameters")),
    )


def pack_offline_request(request: OfflineRequest) -> JsonValue:
    """How a resource is to go offline."""
    context = None if request.vm_context is None else int(request.vm_context)
    return {"parameters": pack_parameters(request.parameters), "flags": request.flags, "vm_context": context}


def parse_offline_request(value: JsonValue) -> OfflineRequest:
    """What :func:`pack_offline_request` packed. Raises :class:`BadMessage`."""
    message = object_of(value)
    context = message.get("vm_context")
    return OfflineRequest(
        parameters=parse_parameters(message.get("parameters")),
        flags=number_of(message.get("flags")),
        vm_context=None if context is None else VmResdllContext(number_of(context)),
    )


def pack_answer(answer: ControlAnswer) -> JsonValue:
    """An answer to a control code; what it removes is named apart."""
    return {
        "status": int(answer.status),
        "output": pack_data(answer.output),
        "sentence": answer.sentence,
        "changes": pack_parameters({name: value for name, value in answer.changes.items() if value is not None}),
        "removed": [name for name, value in answer.changes.items() if value is None],
    }


def parse_answer(value: JsonValue) -> ControlAnswer:
    """What :func:`pack_answer` packed. Raises :class:`BadMessage`."""
    message = object_of(value)
    removed = message.get("removed")
    if not isinstance(removed, list):
        raise BadMessage("what an answer removes is no list")
    changes: dict[str, PropertyValue | None] = dict(parse_parameters(message.get("changes")))
    changes.update((text_of(name), None) for name in removed)
    return ControlAnswer(
        status_of(message.get("status")),
        parse_data(message.get("output")) or b"",
        text_of(message.get("sentence")),
        changes,
    )
