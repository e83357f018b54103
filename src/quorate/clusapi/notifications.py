"""What clients can be notified of: the flags of both generations, and one event in terms of both.

A flag of the second generation belongs to a type of object; the first generation has one set of flags for all
(:class:`quorate.clusapi.events.Change`). An event here is a notice: one flag of the second generation, which says what
the flag of the first one is, if it has one.

Source: header CLUSTER_CHANGE, CLUSTER_CHANGE_…_V2, CLUSTER_OBJECT_TYPE; [MS-CMRP] 2.2.2.7, 2.2.2.11 to 2.2.2.21.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from types import MappingProxyType
from typing import Final

from quorate.clusapi.events import Change


class ObjectType(IntEnum):
    """What a notification of the second generation is about (CLUSTER_OBJECT_TYPE_…)."""

    NONE = 0
    CLUSTER = 1
    GROUP = 2
    RESOURCE = 3
    RESOURCE_TYPE = 4
    NETWORK_INTERFACE = 5
    NETWORK = 6
    NODE = 7
    REGISTRY = 8
    QUORUM = 9
    SHARED_VOLUME = 10
    GROUP_SET = 13


class ClusterFlag(IntFlag):
    """CLUSTER_CHANGE_CLUSTER_…_V2."""

    RECONNECT = 0x1
    STATE = 0x2
    GROUP_ADDED = 0x4
    HANDLE_CLOSE = 0x8
    NETWORK_ADDED = 0x10
    NODE_ADDED = 0x20
    RESOURCE_TYPE_ADDED = 0x40
    COMMON_PROPERTY = 0x80
    PRIVATE_PROPERTY = 0x100
    LOST_NOTIFICATIONS = 0x200
    RENAME = 0x400
    MEMBERSHIP = 0x800
    UPGRADED = 0x1000


class GroupFlag(IntFlag):
    """CLUSTER_CHANGE_GROUP_…_V2."""

    DELETED = 0x1
    COMMON_PROPERTY = 0x2
    PRIVATE_PROPERTY = 0x4
    STATE = 0x8
    OWNER_NODE = 0x10
    PREFERRED_OWNERS = 0x20
    RESOURCE_ADDED = 0x40
    RESOURCE_GAINED = 0x80
    RESOURCE_LOST = 0x100
    HANDLE_CLOSE = 0x200


class ResourceFlag(IntFlag):
    """CLUSTER_CHANGE_RESOURCE_…_V2."""

    COMMON_PROPERTY = 0x1
    PRIVATE_PROPERTY = 0x2
    STATE = 0x4
    OWNER_GROUP = 0x8
    DEPENDENCIES = 0x10
    DEPENDENTS = 0x20
    POSSIBLE_OWNERS = 0x40
    DELETED = 0x80
    DLL_UPGRADED = 0x100
    HANDLE_CLOSE = 0x200
    TERMINAL_STATE = 0x400


class ResourceTypeFlag(IntFlag):
    """CLUSTER_CHANGE_RESOURCE_TYPE_…_V2."""

    DELETED = 0x1
    COMMON_PROPERTY = 0x2
    PRIVATE_PROPERTY = 0x4
    POSSIBLE_OWNERS = 0x8
    DLL_UPGRADED = 0x10
    SPECIFIC = 0x20


class NodeFlag(IntFlag):
    """CLUSTER_CHANGE_NODE_…_V2."""

    NETINTERFACE_ADDED = 0x1
    DELETED = 0x2
    COMMON_PROPERTY = 0x4
    PRIVATE_PROPERTY = 0x8
    STATE = 0x10
    GROUP_GAINED = 0x20
    GROUP_LOST = 0x40
    HANDLE_CLOSE = 0x80


class NetworkFlag(IntFlag):
    """CLUSTER_CHANGE_NETWORK_…_V2; those of network interfaces have the same numbers."""

    DELETED = 0x1
    COMMON_PROPERTY = 0x2
    PRIVATE_PROPERTY = 0x4
    STATE = 0x8
    HANDLE_CLOSE = 0x10


class RegistryFlag(IntFlag):
    """CLUSTER_CHANGE_REGISTRY_…_V2; SUBTREE is no event: it widens what a client asks for."""

    ATTRIBUTES = 0x1
    NAME = 0x2
    SUBTREE = 0x4
    VALUE = 0x8
    HANDLE_CLOSE = 0x10


class GroupSetFlag(IntFlag):
    """CLUSTER_CHANGE_GROUPSET_…_V2."""

    DELETED = 0x1
    COMMON_PROPERTY = 0x2
    PRIVATE_PROPERTY = 0x4
    STATE = 0x8
    GROUP_ADDED = 0x10
    GROUP_REMOVED = 0x20
    DEPENDENCIES = 0x40
    DEPENDENTS = 0x80
    HANDLE_CLOSE = 0x100


_T = ObjectType
_C = Change
_FIRST: Final[Mapping[tuple[ObjectType, int], Change]] = MappingProxyType(
    {
        (_T.CLUSTER, ClusterFlag.GROUP_ADDED): _C.GROUP_ADDED,
        (_T.CLUSTER, ClusterFlag.NETWORK_ADDED): _C.NETWORK_ADDED,
        (_T.CLUSTER, ClusterFlag.NODE_ADDED): _C.NODE_ADDED,
        (_T.CLUSTER, ClusterFlag.RESOURCE_TYPE_ADDED): _C.RESOURCE_TYPE_ADDED,
        (_T.CLUSTER, ClusterFlag.COMMON_PROPERTY): _C.CLUSTER_PROPERTY,
        (_T.CLUSTER, ClusterFlag.PRIVATE_PROPERTY): _C.CLUSTER_PROPERTY,
        (_T.CLUSTER, ClusterFlag.RENAME): _C.CLUSTER_PROPERTY,
        (_T.CLUSTER, ClusterFlag.UPGRADED): _C.CLUSTER_PROPERTY,
        (_T.GROUP, GroupFlag.DELETED): _C.GROUP_DELETED,
        (_T.GROUP, GroupFlag.COMMON_PROPERTY): _C.GROUP_PROPERTY,
        (_T.GROUP, GroupFlag.PRIVATE_PROPERTY): _C.GROUP_PROPERTY,
        (_T.GROUP, GroupFlag.PREFERRED_OWNERS): _C.GROUP_PROPERTY,
        (_T.GROUP, GroupFlag.STATE): _C.GROUP_STATE,
        (_T.GROUP, GroupFlag.OWNER_NODE): _C.GROUP_STATE,
        (_T.GROUP, GroupFlag.RESOURCE_ADDED): _C.RESOURCE_ADDED,
        (_T.RESOURCE, ResourceFlag.DELETED): _C.RESOURCE_DELETED,
        (_T.RESOURCE, ResourceFlag.COMMON_PROPERTY): _C.RESOURCE_PROPERTY,
        (_T.RESOURCE, ResourceFlag.PRIVATE_PROPERTY): _C.RESOURCE_PROPERTY,
        (_T.RESOURCE, ResourceFlag.OWNER_GROUP): _C.RESOURCE_PROPERTY,
        (_T.RESOURCE, ResourceFlag.DEPENDENCIES): _C.RESOURCE_PROPERTY,
        (_T.RESOURCE, ResourceFlag.POSSIBLE_OWNERS): _C.RESOURCE_PROPERTY,
        (_T.RESOURCE, ResourceFlag.STATE): _C.RESOURCE_STATE,
        (_T.RESOURCE_TYPE, ResourceTypeFlag.DELETED): _C.RESOURCE_TYPE_DELETED,
        (_T.RESOURCE_TYPE, ResourceTypeFlag.COMMON_PROPERTY): _C.RESOURCE_TYPE_PROPERTY,
        (_T.RESOURCE_TYPE, ResourceTypeFlag.PRIVATE_PROPERTY): _C.RESOURCE_TYPE_PROPERTY,
        (_T.NODE, NodeFlag.NETINTERFACE_ADDED): _C.NETINTERFACE_ADDED,
        (_T.NODE, NodeFlag.DELETED): _C.NODE_DELETED,
        (_T.NODE, NodeFlag.COMMON_PROPERTY): _C.NODE_PROPERTY,
        (_T.NODE, NodeFlag.PRIVATE_PROPERTY): _C.NODE_PROPERTY,
        (_T.NODE, NodeFlag.STATE): _C.NODE_STATE,
        (_T.NETWORK, NetworkFlag.DELETED): _C.NETWORK_DELETED,
        (_T.NETWORK, NetworkFlag.COMMON_PROPERTY): _C.NETWORK_PROPERTY,
        (_T.NETWORK, NetworkFlag.PRIVATE_PROPERTY): _C.NETWORK_PROPERTY,
        (_T.NETWORK, NetworkFlag.STATE): _C.NETWORK_STATE,
        (_T.NETWORK_INTERFACE, NetworkFlag.DELETED): _C.NETINTERFACE_DELETED,
        (_T.NETWORK_INTERFACE, NetworkFlag.COMMON_PROPERTY): _C.NETINTERFACE_PROPERTY,
        (_T.NETWORK_INTERFACE, NetworkFlag.PRIVATE_PROPERTY): _C.NETINTERFACE_PROPERTY,
        (_T.NETWORK_INTERFACE, NetworkFlag.STATE): _C.NETINTERFACE_STATE,
        (_T.REGISTRY, RegistryFlag.ATTRIBUTES): _C.REGISTRY_ATTRIBUTES,
        (_T.REGISTRY, RegistryFlag.NAME): _C.REGISTRY_NAME,
        (_T.REGISTRY, RegistryFlag.VALUE): _C.REGISTRY_VALUE,
    }
)

STATES: Final = _C.NODE_STATE | _C.RESOURCE_STATE | _C.GROUP_STATE | _C.NETWORK_STATE | _C.NETINTERFACE_STATE
"""The first generation's flags that are states: what a client that comes back may have missed."""

OF_REGISTRY: Final = _C.REGISTRY_NAME | _C.REGISTRY_ATTRIBUTES | _C.REGISTRY_VALUE
"""The first generation's flags that are events of the registry."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One event: a flag of an object.

    ``target`` is the id of the object that the flag belongs to: of a resource type its name, of a registry key its
    path, of the cluster "". What the notification tells is another object where something was added: ``id`` and
    ``name`` are the group's for the cluster's flag GROUP_ADDED.
    """

    object_type: ObjectType
    flag: int
    target: str
    id: str
    name: str
    parent: str = ""
    type: str = ""

    @property
    def change(self) -> Change:
        """The flag of the first generation; NONE where it has none."""
        return _FIRST.get((self.object_type, self.flag), Change.NONE)
