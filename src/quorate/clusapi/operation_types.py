"""What a declaration of an operation is made of; the declarations are in :mod:`quorate.clusapi.operations`."""

from dataclasses import dataclass
from enum import Enum


class FieldType(Enum):
    """The closed set of types; the value names the type in JSON as people read it."""

    U32 = "u32"  # a JSON number
    U64 = "u64"  # a decimal number as text
    TEXT = "text"
    BYTES = "bytes"  # base64 as text
    FLAG = "flag"  # true or false
    IDS = "ids"  # a list of texts
    OBJECT = "object"  # a JSON object
    OBJECTS = "objects"  # a list of JSON objects


class Access(Enum):
    """What a caller must be allowed to do."""

    READ = "read"
    FULL = "full"
    BY_CODE = "by code"  # full if the control code has the modify bit (22), else read


class Place(Enum):
    """Where an operation runs; the node that is asked forwards it there."""

    ANYWHERE = "any node"
    GROUP_OWNER = "the node that owns the group"
    RESOURCE_OWNER = "the node that owns the resource's group"
    GIVEN_NODE = "the node given as input"


@dataclass(frozen=True, slots=True)
class Field:
    """One input or output."""

    name: str
    type: FieldType
    about: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. A ``host_node`` among its inputs overrides the owner as the place where it runs."""

    name: str
    summary: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    access: Access
    place: Place
    opnums: tuple[int, ...] = ()

    @property
    def opnum(self) -> int | None:
        """The first wire call that it answers, or None for an operation of our own."""
        return self.opnums[0] if self.opnums else None

    def input(self, name: str) -> Field | None:
        """Find an input by name."""
        return next((field for field in self.inputs if field.name == name), None)
