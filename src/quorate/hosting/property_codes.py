"""The property control codes of every kind of object, answered from a table.

=====================  ========================  =====================================================
code                   common properties         private properties
=====================  ========================  =====================================================
ENUM                   every name                every name; of a type: those that may be set
GET_RO                 what may not be set       what may not be set
GET                    what may be set           what may be set, and unknown names
SET, VALIDATE          checked by the table      checked by the table, unknown names pass
GET_…_FMTS             every name                every name
=====================  ========================  =====================================================
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from quorate.clusapi import control_codes as codes
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.property_lists import PropertyValue
from quorate.clusapi.status import Status
from quorate.hosting.contract import ControlAnswer, Parameters, PropertyScope
from quorate.hosting.property_table import PropertyTable


class PropertyRequest(Enum):
    """What a property control code asks for."""

    ENUM = auto()
    GET_RO = auto()
    GET = auto()
    SET = auto()
    VALIDATE = auto()
    FORMATS = auto()


_R: Final = PropertyRequest
_COMMON: Final = PropertyScope.COMMON
_PRIVATE: Final = PropertyScope.PRIVATE

# The low 24 bits of a code are the same for every kind of object.
_OPERATIONS: Final[Mapping[int, tuple[PropertyScope, PropertyRequest]]] = {
    code & 0x00FFFFFF: meaning
    for code, meaning in (
        (codes.CLUSCTL_RESOURCE_ENUM_COMMON_PROPERTIES, (_COMMON, _R.ENUM)),
        (codes.CLUSCTL_RESOURCE_GET_RO_COMMON_PROPERTIES, (_COMMON, _R.GET_RO)),
        (codes.CLUSCTL_RESOURCE_GET_COMMON_PROPERTIES, (_COMMON, _R.GET)),
        (codes.CLUSCTL_RESOURCE_SET_COMMON_PROPERTIES, (_COMMON, _R.SET)),
        (codes.CLUSCTL_RESOURCE_VALIDATE_COMMON_PROPERTIES, (_COMMON, _R.VALIDATE)),
        (codes.CLUSCTL_RESOURCE_GET_COMMON_PROPERTY_FMTS, (_COMMON, _R.FORMATS)),
        (codes.CLUSCTL_RESOURCE_ENUM_PRIVATE_PROPERTIES, (_PRIVATE, _R.ENUM)),
        (codes.CLUSCTL_RESOURCE_GET_RO_PRIVATE_PROPERTIES, (_PRIVATE, _R.GET_RO)),
        (codes.CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTIES, (_PRIVATE, _R.GET)),
        (codes.CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES, (_PRIVATE, _R.SET)),
        (codes.CLUSCTL_RESOURCE_VALIDATE_PRIVATE_PROPERTIES, (_PRIVATE, _R.VALIDATE)),
        (codes.CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTY_FMTS, (_PRIVATE, _R.FORMATS)),
    )
}

PROPERTY_CODES: Final[Mapping[int, tuple[PropertyScope, PropertyRequest]]] = {
    object_ << 24 | operation: meaning
    for object_ in (
        ControlObject.RESOURCE,
        ControlObject.RESOURCE_TYPE,
        ControlObject.GROUP,
        ControlObject.NODE,
        ControlObject.NETWORK,
        ControlObject.NETINTERFACE,
        ControlObject.CLUSTER,
        ControlObject.GROUPSET,
    )
    for operation, meaning in _OPERATIONS.items()
}


def request_of(code: int, scope: PropertyScope) -> PropertyRequest | None:
    """What a code asks for if it is about properties of that scope, else None."""
    found = PROPERTY_CODES.get(code)
    return found[1] if found is not None and found[0] is scope else None


def is_type_code(code: int) -> bool:
    """Answer whether a code is addressed to a resource type."""
    return code >> 24 == ControlObject.RESOURCE_TYPE


def answer_from_table(
    request: PropertyRequest, table: PropertyTable, stored: Parameters, data: bytes | None, *, of_type: bool = False
) -> ControlAnswer:
    """Answer a property request; SET answers with the changes. Raises CallerError for a bad list."""
    match request:
        case PropertyRequest.ENUM:
            return ControlAnswer(Status.ERROR_SUCCESS, table.pack_names(stored, with_read_only=not of_type))
        case PropertyRequest.GET_RO:
            return ControlAnswer(Status.ERROR_SUCCESS, table.pack_read_only_values(stored))
        case PropertyRequest.GET:
            return ControlAnswer(Status.ERROR_SUCCESS, table.pack_values(stored))
        case PropertyRequest.FORMATS:
            return ControlAnswer(Status.ERROR_SUCCESS, table.pack_formats(stored))
        case PropertyRequest.VALIDATE:
            table.parse_changes(data)
            return ControlAnswer(Status.ERROR_SUCCESS)
        case PropertyRequest.SET:
            return stored_answer(table, table.parse_changes(data), is_online=False)


def stored_answer(table: PropertyTable, changes: Mapping[str, PropertyValue], *, is_online: bool) -> ControlAnswer:
    """The answer to a SET that is in order; 5024 when a change waits for the next online."""
    if is_online and table.waits_for_online(changes):
        sentence = "stored; it takes effect when the resource goes online the next time"
        return ControlAnswer(Status.ERROR_RESOURCE_PROPERTIES_STORED, changes=changes, sentence=sentence)
    return ControlAnswer(Status.ERROR_SUCCESS, changes=changes)
