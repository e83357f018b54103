"""Reaches a cluster: ``connect()`` and its objects, and in :mod:`quorate.client.functions` the functions of ClusAPI.

Names are loaded when they are first used, so that a short command does not pay for asyncio.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorate.client.migration import Migration, MigrationResult
    from quorate.client.network_objects import Network, NetworkInterface
    from quorate.client.objects import Cluster, Group, Node, Resource, VirtualMachine, connect

__all__ = [
    "Cluster",
    "Group",
    "Migration",
    "MigrationResult",
    "Network",
    "NetworkInterface",
    "Node",
    "Resource",
    "VirtualMachine",
    "connect",
]


def __getattr__(name: str) -> object:
    if name in ("Migration", "MigrationResult"):
        from quorate.client import migration as source
    elif name in ("Network", "NetworkInterface"):
        from quorate.client import network_objects as source  # type: ignore[no-redef]
    elif name in __all__:
        from quorate.client import objects as source  # type: ignore[no-redef]
    else:
        raise AttributeError(name)
    return getattr(source, name)
