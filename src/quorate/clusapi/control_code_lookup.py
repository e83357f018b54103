"""Finding a control code by its number or by any of its names.

One number may have several names (``VM_START_MIGRATION`` and ``VM_CONFIG_UPDATE`` differ only in the resource type that
they are sent to), and one short name several numbers (``GET_NAME`` exists for every kind of object). So every search
answers with a tuple, possibly empty.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

from quorate.clusapi import control_codes
from quorate.clusapi.control_code_table import BASE_OPERATIONS, NOTES, RESOURCE_TYPES, ROWS, Handler
from quorate.clusapi.control_codes import ControlCodeFields, ControlObject, decode

# Longer prefixes first. A name's prefix may differ from the number's object code; then the number holds.
_PREFIXES: Final = (
    "CLUSCTL_RESOURCE_TYPE_",
    "CLUSCTL_RESOURCE_",
    "CLUSCTL_GROUPSET_",
    "CLUSCTL_GROUP_",
    "CLUSCTL_NODE_",
    "CLUSCTL_NETWORK_",
    "CLUSCTL_NETINTERFACE_",
    "CLUSCTL_CLUSTER_",
    "CLUSCTL_AFFINITYRULE_",
    "CLUSCTL_",
    "CLCTL_",
)


@dataclass(frozen=True, slots=True)
class ControlCode:
    """A named control code. ``input`` and ``output`` are None where nobody says what they hold.

    ``handler`` is None for a base operation, which nobody answers before it has an object; ``resource_type`` names the
    type that a vendor's code belongs to.
    """

    name: str
    value: int
    input: str | None = None
    output: str | None = None
    handler: Handler | None = None
    note: str = ""
    resource_type: str | None = None

    @property
    def fields(self) -> ControlCodeFields:
        """The number taken apart."""
        return decode(self.value)

    @property
    def short_name(self) -> str:
        """The name without its prefix, as people type it: ``VM_START_MIGRATION``."""
        return next(self.name.removeprefix(prefix) for prefix in _PREFIXES if self.name.startswith(prefix))


@cache
def all_control_codes() -> tuple[ControlCode, ...]:
    """List every control code, in the order of the table, and then the base operations."""
    numbers = vars(control_codes)
    codes = [
        ControlCode(name, numbers[name], takes, gives, handler, NOTES.get(name, ""), RESOURCE_TYPES.get(name))
        for name, takes, gives, handler in ROWS
    ]
    return (*codes, *(ControlCode(name, value) for name, value in BASE_OPERATIONS.items()))


def control_codes_with_value(value: int) -> tuple[ControlCode, ...]:
    """Find the control codes with this number."""
    return tuple(code for code in all_control_codes() if code.value == value)


def control_codes_named(name: str, control_object: ControlObject | None = None) -> tuple[ControlCode, ...]:
    """Find the control codes with this name, without regard to case; the closest way to read it wins.

    The ways are, in this order: the full name (``CLUSCTL_RESOURCE_GET_NAME``), the name without ``CLUSCTL_``
    (``RESOURCE_GET_NAME``), the short name (``GET_NAME``). ``control_object`` keeps only the codes for that object.
    """
    wanted = name.strip().upper()
    candidates = [
        code for code in all_control_codes() if control_object is None or code.fields.object == control_object
    ]
    for full_name in (wanted, f"CLUSCTL_{wanted}"):
        if found := tuple(code for code in candidates if code.name == full_name):
            return found
    return tuple(code for code in candidates if code.short_name == wanted)
