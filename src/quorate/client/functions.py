"""ClusAPI's functions with their own names and results, for programs that know them.

- ``Open…`` and ``Create…`` return a handle, or raise :class:`ClusterError` with ``status``.
- What returns a status in C returns that number and never raises for a refusal; what has outputs returns a tuple, the
  status first: ``status, output, required = ClusterResourceControl(resource, host_node, code, in_buffer, out_size)``.
- ``GetCluster…State`` return the state (-1 when it cannot be told; ``GetLastError()`` says why) and names.
- ``Close…`` of objects return a truth value, ``…CloseEnum`` a status.

A handle that is closed or of the wrong kind is ERROR_INVALID_HANDLE (6); one opened with CLUSAPI_READ_ACCESS is refused
changes with ERROR_ACCESS_DENIED (5). Any thread may call any function. The constants of ClusAPI are here as well.
"""
# ruff: noqa: F403 - each module lists its own names; there are some four hundred control codes

from quorate.client.capi.cluster import *
from quorate.client.capi.constants import *
from quorate.client.capi.enums import *
from quorate.client.capi.group_sets import *
from quorate.client.capi.groups import *
from quorate.client.capi.handles import CLUSAPI_ALL_ACCESS as CLUSAPI_ALL_ACCESS
from quorate.client.capi.handles import CLUSAPI_CHANGE_ACCESS as CLUSAPI_CHANGE_ACCESS
from quorate.client.capi.handles import CLUSAPI_READ_ACCESS as CLUSAPI_READ_ACCESS
from quorate.client.capi.handles import MAXIMUM_ALLOWED as MAXIMUM_ALLOWED
from quorate.client.capi.handles import ClusterHandle as ClusterHandle
from quorate.client.capi.handles import GroupHandle as GroupHandle
from quorate.client.capi.handles import GroupSetHandle as GroupSetHandle
from quorate.client.capi.handles import NetInterfaceHandle as NetInterfaceHandle
from quorate.client.capi.handles import NetworkHandle as NetworkHandle
from quorate.client.capi.handles import NodeHandle as NodeHandle
from quorate.client.capi.handles import ResourceHandle as ResourceHandle
from quorate.client.capi.networks import *
from quorate.client.capi.nodes import *
from quorate.client.capi.registry import *
from quorate.client.capi.resource_types import *
from quorate.client.capi.resources import *
from quorate.clusapi.control_codes import *
from quorate.clusapi.errors import ClusterError as ClusterError
from quorate.clusapi.states import GroupState as GroupState
from quorate.clusapi.states import MigrationState as MigrationState
from quorate.clusapi.states import NetworkInterfaceState as NetworkInterfaceState
from quorate.clusapi.states import NetworkState as NetworkState
from quorate.clusapi.states import NodeState as NodeState
from quorate.clusapi.states import ResourceState as ResourceState
from quorate.clusapi.states import VmState as VmState
from quorate.clusapi.status import Status as Status
