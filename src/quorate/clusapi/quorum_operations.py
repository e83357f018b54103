"""Operations on quorum resources and shared volumes: kinds of storage that this cluster has none of.

The cluster's quorum is that of its database ([ARCHITECTURE] "The cluster database"): a majority of etcd's members, or
the one file of a cluster on one machine. So there is no quorum resource, which is what a cluster with node majority and
no witness answers as well, and none can be made ([MS-CMRP] 3.1.4.2.6 and 3.1.4.2.7).
"""

from typing import Final

from quorate.clusapi.operation_declarations import STATUS, change, read
from quorate.clusapi.operation_types import Field, FieldType, Place

_T = FieldType
_RESOURCE: Final = Field("resource", _T.TEXT, "the resource, by id or name")
_ANY: Final = Place.ANYWHERE

QUORUM_OPERATIONS: Final = (
    read(
        "GetQuorumResource",
        "The quorum resource: none, since a majority of the cluster database's members decides.",
        (),
        (
            Field("resource", _T.TEXT, "name of the quorum resource: empty"),
            Field("device", _T.TEXT, "path on its device: empty"),
            Field("max_log_size", _T.U32, "largest size of the quorum log in bytes: 0"),
        ),
        _ANY,
        5,
    ),
    change(
        "SetQuorumResource",
        "Make a resource the quorum resource; refused, as no resource can hold the quorum of this cluster.",
        (
            _RESOURCE,
            Field("device", _T.TEXT, "path on its device"),
            Field("max_log_size", _T.U32, "largest size of the quorum log in bytes"),
        ),
        (STATUS,),
        _ANY,
        6,
    ),
    change(
        "ChangeCsvState",
        "Make a disk a shared volume, or take it back; refused, as no resource of this cluster is such a disk.",
        (
            _RESOURCE,
            Field("state", _T.U32, "1: a shared volume; 0: no longer"),
            Field("volume", _T.TEXT, "name of one volume of the disk", optional=True),
        ),
        (STATUS,),
        _ANY,
        123,
        182,
    ),
)
