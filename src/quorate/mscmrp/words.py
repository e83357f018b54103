"""The protocol in words, for the dissector: control codes and statuses by name, property lists taken apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.control_code_lookup import control_codes_with_value
from quorate.clusapi.property_lists import PropertyList, PropertyListError, parse_property_list
from quorate.clusapi.status import Status
from quorate.dcerpc.dissect import Vocabulary
from quorate.dcerpc.interfaces import Described
from quorate.dcerpc.ndr import ByteOrder, Values
from quorate.mscmrp.interface import INTERFACE_NAME, METHODS, SYNTAX

_CODE: Final = "control_code"
_BUFFERS: Final = frozenset({"in_buffer", "out_buffer", "properties", "ro_properties"})


class _Word:
    """A value that is shown as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


@dataclass(frozen=True, slots=True)
class _InWords:
    """An operation whose values are shown by their names where they have one."""

    declared: Described

    @property
    def name(self) -> str:
        """Its name."""
        return self.declared.name

    def show_inputs(self, data: bytes, order: ByteOrder = "<") -> Values:
        """Read a request's data. Raises NdrError."""
        return dict(_worded(self.declared.show_inputs(data, order)))

    def show_outputs(self, data: bytes, order: ByteOrder = "<", inputs: Values | None = None) -> Values:
        """Read a response's data. Raises NdrError."""
        return dict(_worded(self.declared.show_outputs(data, order, inputs)))


def vocabulary() -> Vocabulary:
    """All methods of the protocol, for :func:`quorate.dcerpc.dissect.dissect`."""
    operations = {number: _InWords(method.declaration) for number, method in METHODS.items()}
    return Vocabulary(INTERFACE_NAME, SYNTAX, operations)


def _worded(values: Values) -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if name == _CODE and isinstance(value, int):
            yield name, _Word(_name_of_code(value))
        elif name == "status" and isinstance(value, int):
            yield name, _Word(f"{Status(value).name} ({value})")
        elif name in _BUFFERS and isinstance(value, bytes) and (listed := _property_list(value)) is not None:
            yield name, {item.name: " ".join(str(one.value) for one in item.values) for item in listed}
        elif name != "rpc_status" or value:
            yield name, value


def _name_of_code(code: int) -> str:
    names = [known.name for known in control_codes_with_value(code)]
    return f"{' or '.join(names) or 'unknown'} ({code:#010x})"


def _property_list(data: bytes) -> PropertyList | None:
    """The property list in a buffer; None when it is something else, or empty."""
    try:
        return parse_property_list(data) if len(data) > 8 else None
    except PropertyListError:
        return None
