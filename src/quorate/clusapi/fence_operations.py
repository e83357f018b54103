"""The operations on fencing: how a node is switched off, and a person's word that it is. Part of the table in
``operations``.

Options of fence agents hold passwords: they go in and never come out.
"""

from typing import Final

from quorate.clusapi.operation_declarations import CLUSTER_NODE, STATUS, change, read
from quorate.clusapi.operation_types import Field, FieldType, Operation, Place

_T = FieldType
_LEVEL: Final = Field("level", _T.U32, "which of the node's agents, from 1; they are tried in order", optional=True)

FENCE_OPERATIONS: Final[tuple[Operation, ...]] = (
    change(
        "SetNodeFenceAgent",
        "Say how a node is switched off: a program of the package fence-agents, and what it is told.",
        (
            CLUSTER_NODE,
            Field("agent", _T.TEXT, "the program's name, such as fence_ipmilan"),
            Field("options", _T.OBJECT, "its options: texts; they are never shown again"),
            Field("action", _T.TEXT, '"off", or "reboot": off for a moment; absent: off', optional=True),
            Field("timeout", _T.U32, "seconds that it may take, 1 to 300; absent: 20", optional=True),
            _LEVEL,
        ),
        (STATUS,),
        Place.ANYWHERE,
    ),
    change(
        "RemoveNodeFenceAgents",
        "Forget how a node is switched off; then the end of its lease decides.",
        (CLUSTER_NODE, _LEVEL),
        (STATUS,),
        Place.ANYWHERE,
    ),
    read(
        "GetNodeFenceAgents",
        "How a node is switched off, without the values of options.",
        (CLUSTER_NODE,),
        (Field("agents", _T.OBJECTS, "{level, agent, action, timeout, options: names} each"),),
        Place.ANYWHERE,
    ),
    change(
        "TestNodeFenceAgents",
        "Ask a node's agents whether they reach their devices, and whether it is on. Nothing is switched.",
        (
            CLUSTER_NODE,
            Field("host_node", _T.TEXT, "the node that shall ask; absent: the one that answers", optional=True),
        ),
        (
            Field("results", _T.OBJECTS, "{level, agent, works, power: on, off or unknown, sentence} each"),
            Field("tested_on", _T.TEXT, "name of the node that asked"),
        ),
        Place.ANYWHERE,
    ),
    change(
        "ConfirmNodeOff",
        "Take a person's word that a node is switched off: its lease is ended, and others take over at once.",
        (CLUSTER_NODE,),
        (STATUS,),
        Place.ANYWHERE,
    ),
)
