"""The operations on the membership. Part of the table in :mod:`quorate.clusapi.operations`.

AddClusterNode has no wire call of its own ([MS-CMRP] leaves it to the joining machine), and here neither: a machine
joins with a token, over the nodes' own door (:mod:`quorate.peers.admission_messages`).
"""

from typing import Final

from quorate.clusapi.operation_declarations import CLUSTER_NODE, STATUS, change
from quorate.clusapi.operation_types import Field, FieldType, Operation, Place

_T = FieldType
_ANY: Final = Place.ANYWHERE

MEMBER_OPERATIONS: Final[tuple[Operation, ...]] = (
    change(
        "SetClusterName",
        "Give the cluster another name.",
        (Field("name", _T.TEXT, "its new name"),),
        (STATUS,),
        _ANY,
        2,
    ),
    change(
        "UpgradeClusterFunctionalLevel",
        "Raise the functional level to what every node can.",
        (Field("perform", _T.FLAG, "absent: only say what would be done", optional=True),),
        (
            STATUS,
            Field("level", _T.U32, "ClusterFunctionalLevel as it was"),
            Field("target", _T.U32, "what it is raised to, or would be"),
            Field("sentence", _T.TEXT, "for people"),
        ),
        _ANY,
    ),
    change(
        "CreateJoinToken",
        "Make a token with which one machine may join, once.",
        (Field("lifetime", _T.U32, "seconds; absent: 3600", optional=True),),
        (
            Field("token", _T.TEXT, "one word for `quorate node join`; it is shown once and kept nowhere"),
            Field("id", _T.TEXT, "by which the cluster knows it"),
            Field("expires", _T.TEXT, "when it ceases to be good (RFC 3339)"),
        ),
        _ANY,
    ),
    change(
        "EvictNode",
        "Take a node out of the cluster for good; its certificate is refused from then on.",
        (CLUSTER_NODE,),
        (STATUS, Field("sentence", _T.TEXT, "for people: what is left to do", optional=True)),
        _ANY,
        71,
    ),
)
