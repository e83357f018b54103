"""The resource type "Network Name", of which a cluster has one resource: "Cluster Name", the cluster's own name.

Online means that the cluster is known by that name: its nodes answer with it. No name is registered with a name
service and no address belongs to it; clients reach the nodes by the nodes' own. So the resource is online wherever its
group is, fails by nobody's death but its node's, and moves with the group. The name is changed by SetClusterName alone.
"""

import struct
from typing import Final

from quorate.clusapi import control_codes as codes
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.property_lists import PropertyFormat, pack_sz, pack_value_list
from quorate.clusapi.resource_types import STANDARD_TYPES, TYPE_NETWORK_NAME
from quorate.clusapi.states import ObjectFlags, ResourceState
from quorate.clusapi.status import Status
from quorate.hosting.contract import NOT_MINE, ControlAnswer, Parameters, PropertyScope
from quorate.hosting.property_codes import answer_from_table, is_type_code, request_of
from quorate.hosting.property_table import NO_TABLE, PropertyDefinition, PropertyTable
from quorate.hosting.resource_type import Lost, OfflineRequest, OpenedResource, ReportStatus, TypeTraits
from quorate.resources.registered_type import answer_facts

NAME: Final = "Name"

NETWORK_NAME: Final = PropertyTable((PropertyDefinition(NAME, PropertyFormat.SZ, "", read_only=True),))
"""The private properties of the resource: the name, which SetClusterName sets."""

_FACTS: Final = STANDARD_TYPES[TYPE_NETWORK_NAME]
_CORE: Final = struct.pack("<I", ObjectFlags.CORE)


class NetworkName:
    """The cluster's name as a resource, in the daemon itself."""

    @property
    def name(self) -> str:
        """The name of the type."""
        return TYPE_NETWORK_NAME

    @property
    def traits(self) -> TypeTraits:
        """A name does not fail: no polling."""
        return TypeTraits(notifies_failure=True)

    async def open(self, resource: OpenedResource, lost: Lost) -> None:
        """Nothing to build."""

    async def prepare(self, resource: OpenedResource, limit: float, *, patient: bool) -> None:
        """The daemon itself is called: there is nothing to prepare."""

    async def close(self, resource_id: ResourceId) -> None:
        """Nothing to forget."""

    async def online(self, resource_id: ResourceId, parameters: Parameters, report: ReportStatus) -> Status:
        """The nodes answer with the name already."""
        return Status.ERROR_SUCCESS

    async def offline(self, resource_id: ResourceId, request: OfflineRequest, report: ReportStatus) -> Status:
        """Nothing runs, nothing stops."""
        return Status.ERROR_SUCCESS

    async def terminate(self, resource_id: ResourceId) -> None:
        """Nothing runs, nothing stops."""

    async def looks_alive(self, resource_id: ResourceId) -> bool:
        """A name does not die."""
        return True

    async def is_alive(self, resource_id: ResourceId) -> bool:
        """A name does not die."""
        return True

    async def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        """Answer the name, the private properties, and that the cluster cannot do without this resource."""
        match code:
            case codes.CLUSCTL_RESOURCE_GET_NETWORK_NAME | codes.CLUSCTL_RESOURCE_GET_DNS_NAME:
                return ControlAnswer(Status.ERROR_SUCCESS, pack_sz(NETWORK_NAME.text(parameters, NAME)))
            case codes.CLUSCTL_RESOURCE_GET_FLAGS:
                return ControlAnswer(Status.ERROR_SUCCESS, _CORE)
            case codes.CLUSCTL_RESOURCE_GET_REQUIRED_DEPENDENCIES:  # no address belongs to it
                return ControlAnswer(Status.ERROR_SUCCESS, pack_value_list(()))
        request = request_of(code, PropertyScope.PRIVATE)
        if request is None:
            return answer_facts(_FACTS, code)
        return answer_from_table(request, NETWORK_NAME, parameters, data)

    async def resource_type_control(self, code: int, data: bytes | None, parameters: Parameters) -> ControlAnswer:
        """Answer the facts of the type and its private properties, of which it has none."""
        if code == codes.CLUSCTL_RESOURCE_TYPE_GET_PRIVATE_RESOURCE_PROPERTY_FMTS:
            return ControlAnswer(Status.ERROR_SUCCESS, NETWORK_NAME.pack_formats({}))
        request = request_of(code, PropertyScope.PRIVATE)
        if request is None:
            return answer_facts(_FACTS, code)
        return answer_from_table(request, NO_TABLE, parameters, data, of_type=True) if is_type_code(code) else NOT_MINE

    def state_after_stop(self, parameters: Parameters) -> ResourceState:
        """Nothing stops by itself."""
        return ResourceState.OFFLINE

    async def on_deadlock(self, resource_id: ResourceId | None, sentence: str) -> None:
        """Nothing to get rid of: the call was a coroutine and has been cancelled."""
