"""The kinds of objects that have handles, with the methods that all of them have."""

from dataclasses import dataclass
from typing import Final

from quorate.mscmrp import group_methods as g
from quorate.mscmrp import group_set_methods as s
from quorate.mscmrp import net_interface_methods as i
from quorate.mscmrp import network_methods as w
from quorate.mscmrp import node_methods as n
from quorate.mscmrp import resource_methods as r
from quorate.mscmrp.method import Method
from quorate.mscmrp.shapes import (
    CloseOut,
    ControlIn,
    ControlOut,
    HandleIn,
    NameAccessIn,
    NameIn,
    NodeControlIn,
    OpenExOut,
    OpenOut,
    TextOut,
)


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """One kind: its word, the byte that begins its control codes, its methods."""

    word: str
    codes: int
    open: Method[NameIn, OpenOut]
    open_ex: Method[NameAccessIn, OpenExOut] | None
    close: Method[HandleIn, CloseOut]
    get_id: Method[HandleIn, TextOut] | None
    """None where a control code tells it."""
    control: Method[ControlIn, ControlOut]
    node_control: Method[NodeControlIn, ControlOut]

    def code(self, operation: int) -> int:
        """The control code of an operation that every kind has."""
        return self.codes << 24 | operation


GET_NAME: Final = 0x29
GET_ID: Final = 0x39
GET_RO_COMMON: Final = 0x55
GET_COMMON: Final = 0x59
GET_RO_PRIVATE: Final = 0x7D
GET_PRIVATE: Final = 0x81
SET_PRIVATE: Final = 0x400086

RESOURCE: Final = ObjectKind(
    "resource", 1, r.OPEN_RESOURCE, r.OPEN_RESOURCE_EX, r.CLOSE_RESOURCE, r.GET_RESOURCE_ID,
    r.RESOURCE_CONTROL, r.NODE_RESOURCE_CONTROL,
)  # fmt: skip
GROUP: Final = ObjectKind(
    "group", 3, g.OPEN_GROUP, g.OPEN_GROUP_EX, g.CLOSE_GROUP, g.GET_GROUP_ID,
    g.GROUP_CONTROL, g.NODE_GROUP_CONTROL,
)  # fmt: skip
NODE: Final = ObjectKind(
    "node", 4, n.OPEN_NODE, n.OPEN_NODE_EX, n.CLOSE_NODE, n.GET_NODE_ID,
    n.NODE_CONTROL, n.NODE_NODE_CONTROL,
)  # fmt: skip
NETWORK: Final = ObjectKind(
    "network", 5, w.OPEN_NETWORK, w.OPEN_NETWORK_EX, w.CLOSE_NETWORK, w.GET_NETWORK_ID,
    w.NETWORK_CONTROL, w.NODE_NETWORK_CONTROL,
)  # fmt: skip
NET_INTERFACE: Final = ObjectKind(
    "network interface", 6, i.OPEN_NET_INTERFACE, i.OPEN_NET_INTERFACE_EX,
    i.CLOSE_NET_INTERFACE, i.GET_NET_INTERFACE_ID, i.NET_INTERFACE_CONTROL, i.NODE_NET_INTERFACE_CONTROL,
)  # fmt: skip
GROUP_SET: Final = ObjectKind(
    "group set", 8, s.OPEN_GROUP_SET, None, s.CLOSE_GROUP_SET, None, s.GROUP_SET_CONTROL, s.NODE_GROUP_SET_CONTROL
)
