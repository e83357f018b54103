"""The operations on networks and network interfaces. Part of the table in :mod:`quorate.clusapi.operations`."""

from typing import Final

from quorate.clusapi.operation_declarations import (
    CLUSTER_NODE,
    ENTRIES,
    ENUM_MASK,
    ID,
    NAME,
    STATE,
    STATUS,
    change,
    control,
    read,
)
from quorate.clusapi.operation_types import Field, FieldType, Operation, Place

_T = FieldType
_ANY: Final = Place.ANYWHERE
_NETWORK: Final = Field("network", _T.TEXT, "the network, by id or name")
_INTERFACE: Final = Field("interface", _T.TEXT, "the network interface, by id or name")

NETWORK_OPERATIONS: Final[tuple[Operation, ...]] = (
    read("GetNetworkId", "Find a network.", (_NETWORK,), (ID, NAME), _ANY, 86, 81, 121),
    read("GetNetworkState", "State of a network.", (_NETWORK,), (STATE,), _ANY, 83),
    change(
        "SetNetworkName",
        "Give a network another name.",
        (_NETWORK, Field("name", _T.TEXT, "its new name")),
        (STATUS,),
        _ANY,
        84,
    ),
    change(
        "SetNetworkPriorityOrder",
        "Set the order in which networks carry the cluster's own traffic, by their metrics.",
        (Field("networks", _T.IDS, "every network for internal use, by id or name, the preferred one first"),),
        (STATUS,),
        _ANY,
        87,
    ),
    control("NetworkControl", "A control code for a network.", (_NETWORK,), _ANY, 89, 88),
    read("CreateNetworkEnum", "List the interfaces on a network.", (_NETWORK, ENUM_MASK), (ENTRIES,), _ANY, 85),
    read(
        "ListNetworks",
        "Every network with state, role, metric, subnets and interfaces.",
        (),
        (Field("networks", _T.OBJECTS, "id, name, state, role, metric, addresses, sentence, interfaces"),),
        _ANY,
    ),
    read("GetNetInterfaceId", "Find a network interface.", (_INTERFACE,), (ID, NAME), _ANY, 96, 92, 122),
    read("GetNetInterfaceState", "State of a network interface.", (_INTERFACE,), (STATE,), _ANY, 94),
    read(
        "GetNetInterface",
        "Which interface a node has on a network.",
        (CLUSTER_NODE, _NETWORK),
        (ID, NAME),
        _ANY,
        95,
    ),
    control("NetInterfaceControl", "A control code for a network interface.", (_INTERFACE,), _ANY, 98, 97),
    read(
        "CreateNetInterfaceEnum",
        "List the interfaces of a node, on a network, or all.",
        (
            Field("node", _T.TEXT, "only of this node", optional=True),
            Field("network", _T.TEXT, "only on this network", optional=True),
        ),
        (ENTRIES,),
        _ANY,
        181,
    ),
    read(
        "ListNetInterfaces",
        "Every network interface with state, node, network and addresses.",
        (),
        (Field("interfaces", _T.OBJECTS, "id, name, state, node, network, adapter, addresses, sentence"),),
        _ANY,
    ),
)
