"""Which operation is carried out by which function, and why the others cannot be."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from quorate.client.mscmrp import cluster, group_sets, groups, machines, nodes, registry, resources, whole
from quorate.client.mscmrp.session import Performer

PERFORMERS: Final[Mapping[str, Performer]] = MappingProxyType(
    {
        **cluster.PERFORMERS,
        **nodes.PERFORMERS,
        **groups.PERFORMERS,
        **group_sets.PERFORMERS,
        **resources.PERFORMERS,
        **registry.PERFORMERS,
        **whole.PERFORMERS,
        **machines.PERFORMERS,
    }
)
"""Every operation that the protocol can say."""

_OURS: Final = "MS-CMRP has no call for it; reach the cluster over HTTP (its directory, a socket, or https://)"
_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "GetEvents": "MS-CMRP keeps no journal of events; following them shows what happens from now on",
        "CreateVirtualMachine": "MS-CMRP cannot say what a virtual machine is made of; make it over HTTP",
    }
)


def reason(operation: str) -> str:
    """Why an operation cannot be carried out over this transport."""
    return f"{operation}: {_REASONS.get(operation, _OURS)}"
