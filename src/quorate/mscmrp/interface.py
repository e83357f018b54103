"""The interface as a whole: its identity, and every method by its number.

Source: [MS-CMRP] 2.1, 3.1.4.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from quorate.dcerpc.syntaxes import SyntaxId
from quorate.mscmrp.cluster_methods import CLUSTER_METHODS
from quorate.mscmrp.group_methods import GROUP_METHODS
from quorate.mscmrp.group_set_methods import GROUP_SET_METHODS
from quorate.mscmrp.method import Method
from quorate.mscmrp.net_interface_methods import NET_INTERFACE_METHODS
from quorate.mscmrp.network_methods import NETWORK_METHODS
from quorate.mscmrp.node_methods import NODE_METHODS
from quorate.mscmrp.notify_methods import NOTIFY_METHODS
from quorate.mscmrp.registry_methods import REGISTRY_METHODS
from quorate.mscmrp.resource_methods import RESOURCE_METHODS
from quorate.mscmrp.resource_type_methods import RESOURCE_TYPE_METHODS

INTERFACE_NAME: Final = "clusapi"
SYNTAX: Final = SyntaxId(UUID("b97db8b2-4c63-11cf-bff6-08002be23f2f"), 3)
"""Version 3.0; version 2.0 is another protocol, over UDP."""
SERVICE_CLASS: Final = "MSServerClusterMgmtAPI"
"""What a client puts before the host in the name of the service that it logs on to."""
RESERVED: Final = frozenset((80, 111, *range(148, 155), 156, *range(158, 163), 170))
"""Numbers that stand for nothing; the last number is 183."""
LAST_OPNUM: Final = 183

AnyMethod = Method[Any, Any]  # inputs and outputs of many types at once
METHODS: Final[Mapping[int, AnyMethod]] = MappingProxyType(
    {
        method.opnum: method
        for methods in (
            CLUSTER_METHODS,
            NODE_METHODS,
            GROUP_METHODS,
            RESOURCE_METHODS,
            RESOURCE_TYPE_METHODS,
            NETWORK_METHODS,
            NET_INTERFACE_METHODS,
            REGISTRY_METHODS,
            NOTIFY_METHODS,
            GROUP_SET_METHODS,
        )
        for method in methods
    }
)
"""Every method by its opnum."""
