"""What a context handle of the protocol can stand for.

Source: [MS-CMRP] 2.2.1.
"""

from enum import Enum


class HandleKind(Enum):
    """The kinds of handles; the value is the protocol's name of the type."""

    CLUSTER = "HCLUSTER_RPC"
    NODE = "HNODE_RPC"
    GROUP = "HGROUP_RPC"
    RESOURCE = "HRES_RPC"
    KEY = "HKEY_RPC"
    NOTIFY = "HNOTIFY_RPC"
    NETWORK = "HNETWORK_RPC"
    NET_INTERFACE = "HNETINTERFACE_RPC"
    BATCH_PORT = "HBATCH_PORT_RPC"
    GROUP_SET = "HGROUPSET_RPC"
    ANY = "HGENERIC_RPC"
    """Any of them; another argument of the call says which."""
