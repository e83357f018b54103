"""Control codes of clusters, nodes and groups: the cluster's own handling, since no resource type ever sees them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from quorate.clusapi.operation_values import Values
from quorate.clusapi.operations import DEFAULT_OUT_SIZE
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    pack_multi_sz,
    pack_property_list,
    pack_sz,
)
from quorate.clusapi.states import GroupPriority
from quorate.clusapi.status import Status
from quorate.database.snapshot import ClusterInfo, GroupInfo, NodeInfo
from quorate.database.values import RegistryValues

OBJECT_SHIFT: Final = 24
_OPERATION_BITS: Final = 0x00FFFFFF
_INTERNAL_BIT: Final = 0x00100000

# The same operation has the same low 24 bits whatever the object (CLCTL_…).
_GET_CHARACTERISTICS: Final = 0x000005
_GET_FLAGS: Final = 0x000009
_GET_NAME: Final = 0x000029
_GET_ID: Final = 0x000039
_ENUM_COMMON_PROPERTIES: Final = 0x000051
_GET_RO_COMMON_PROPERTIES: Final = 0x000055
_GET_COMMON_PROPERTIES: Final = 0x000059

PropertyItem = tuple[str, PropertyFormat, int | str]


class ControlledObject(Protocol):
    """What answers control codes here."""

    @property
    def object_code(self) -> int:
        """CLUS_OBJECT_…, the highest byte of its codes."""
        ...

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def properties(self) -> tuple[PropertyItem, ...]:
        """Common properties that may be written."""
        ...

    def read_only_properties(self) -> tuple[PropertyItem, ...]:
        """Common properties that only the cluster writes."""
        ...


@dataclass(frozen=True, slots=True)
class GroupObject:
    """A group."""

    info: GroupInfo
    status_information: int
    persistent_state: bool
    object_code: int = 3

    @property
    def id(self) -> str:
        """Its id."""
        return self.info.id

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    def properties(self) -> tuple[PropertyItem, ...]:
        """What node-, failover- and start policies read."""
        return (
            ("Name", PropertyFormat.SZ, self.info.name),
            *_stored(self.info.properties, _GROUP_DEFAULTS),
            ("PersistentState", PropertyFormat.DWORD, int(self.persistent_state)),
        )

    def read_only_properties(self) -> tuple[PropertyItem, ...]:
        """Its type and status bits."""
        return (
            ("GroupType", PropertyFormat.DWORD, int(self.info.group_type)),
            ("StatusInformation", PropertyFormat.ULARGE_INTEGER, self.status_information),
        )


@dataclass(frozen=True, slots=True)
class NodeObject:
    """A node."""

    info: NodeInfo
    object_code: int = 4

    @property
    def id(self) -> str:
        """Its number as text."""
        return self.info.id

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    def properties(self) -> tuple[PropertyItem, ...]:
        """What administrators may set."""
        return _stored(self.info.properties, _NODE_DEFAULTS)

    def read_only_properties(self) -> tuple[PropertyItem, ...]:
        """Its name and status."""
        return (
            ("NodeName", PropertyFormat.SZ, self.info.name),
            ("NodeDrainStatus", PropertyFormat.DWORD, 0),
            ("NodeDrainTarget", PropertyFormat.DWORD, 0xFFFFFFFF),
            ("StatusInformation", PropertyFormat.DWORD, int(self.info.status)),
        )


@dataclass(frozen=True, slots=True)
class ClusterObject:
    """The cluster itself."""

    info: ClusterInfo
    object_code: int = 7

    @property
    def id(self) -> str:
        """Its instance id."""
        return self.info.instance_id

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    def properties(self) -> tuple[PropertyItem, ...]:
        """What administrators may set."""
        return _stored(self.info.properties, _CLUSTER_DEFAULTS)

    def read_only_properties(self) -> tuple[PropertyItem, ...]:
        """What tells clusters apart."""
        return (("ClusterFunctionalLevel", PropertyFormat.DWORD, 10),)


_GROUP_DEFAULTS: Final[Mapping[str, int | str]] = {
    "Description": "",
    "FailoverThreshold": 0xFFFFFFFF,
    "FailoverPeriod": 6,
    "AutoFailbackType": 0,
    "FailbackWindowStart": 0xFFFFFFFF,
    "FailbackWindowEnd": 0xFFFFFFFF,
    "Priority": int(GroupPriority.MEDIUM),
    "DefaultOwner": 0xFFFFFFFF,
    "ColdStartSetting": 0,
    "LockedFromMoving": 0,
    "ResiliencyPeriod": 0,
}
_NODE_DEFAULTS: Final[Mapping[str, int | str]] = {"Description": "", "NodeWeight": 1}
_CLUSTER_DEFAULTS: Final[Mapping[str, int | str]] = {
    "Description": "",
    "SameSubnetDelay": 1000,
    "SameSubnetThreshold": 5,
}


def answer(inputs: Values, object_: ControlledObject) -> Values:
    """Answer a control call; what is not known here is status 1, as for every other object."""
    code = inputs.number("control_code")
    handler = _HANDLERS.get(code & _OPERATION_BITS)
    if code >> OBJECT_SHIFT != object_.object_code or code & _INTERNAL_BIT or handler is None:
        return control_values(
            Status.ERROR_INVALID_FUNCTION, b"", 0, f'"{object_.name}" does not know the control code 0x{code:08X}'
        )
    output = handler(object_)
    room = inputs.optional_number("out_size")
    if len(output) > (DEFAULT_OUT_SIZE if room is None else room):
        return control_values(Status.ERROR_MORE_DATA, b"", len(output), f"the answer needs {len(output)} bytes")
    return control_values(Status.ERROR_SUCCESS, output, len(output))


def control_values(status: int, output: bytes, required: int, sentence: str = "") -> Values:
    """The outputs of a control call."""
    return Values({"status": int(status), "output": output, "required": required, "sentence": sentence or None})


def _stored(stored: RegistryValues, defaults: Mapping[str, int | str]) -> tuple[PropertyItem, ...]:
    items: list[PropertyItem] = []
    for name, default in defaults.items():
        if isinstance(default, int):
            items.append((name, PropertyFormat.DWORD, stored.number(name, default)))
        else:
            items.append((name, PropertyFormat.SZ, stored.text(name, default)))
    return tuple(items)


def _list(items: Iterable[PropertyItem]) -> bytes:
    return pack_property_list(PropertyList.of(items))


_HANDLERS: Final[Mapping[int, Callable[[ControlledObject], bytes]]] = {
    _GET_CHARACTERISTICS: lambda _: bytes(4),
    _GET_FLAGS: lambda _: bytes(4),
    _GET_NAME: lambda object_: pack_sz(object_.name),
    _GET_ID: lambda object_: pack_sz(object_.id),
    _ENUM_COMMON_PROPERTIES: lambda object_: pack_multi_sz(
        name for name, _, _ in (*object_.properties(), *object_.read_only_properties())
    ),
    _GET_RO_COMMON_PROPERTIES: lambda object_: _list(object_.read_only_properties()),
    _GET_COMMON_PROPERTIES: lambda object_: _list(object_.properties()),
}
