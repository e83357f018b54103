"""The resource type "Virtual Machine Configuration": the VM's definition on the node that owns it.

Online means that this node has what the definition asks for. Control code 0x01600004, which starts a migration on a
"Virtual Machine", refreshes the configuration here, and ignores its input ([MS-CMRP] 3.1.4.3.1.49).
"""

from typing import Final

from quorate.clusapi import control_codes as codes
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.states import VmState
from quorate.clusapi.status import Status
from quorate.hosting.contract import ControlAnswer, Parameters, PropertyScope, VirtualMachines
from quorate.hosting.property_codes import PropertyRequest, answer_from_table, request_of, stored_answer
from quorate.hosting.resource_type import OfflineRequest, ReportStatus
from quorate.resources.vm_properties import VIRTUAL_MACHINE_CONFIGURATION, VIRTUAL_MACHINE_CONFIGURATION_TYPE
from quorate.resources.vm_type import VmType, answer_fact, check_vm_id

TYPE_NAME: Final = "Virtual Machine Configuration"

_OFF: Final = frozenset({VmState.OFF, VmState.SAVED})


class VirtualMachineConfiguration(VmType):
    """Holds a VM's definition; its VM depends on it."""

    def __init__(self, vms: VirtualMachines) -> None:
        """Take the VMs of this node."""
        super().__init__(TYPE_NAME, vms, VIRTUAL_MACHINE_CONFIGURATION, VIRTUAL_MACHINE_CONFIGURATION_TYPE)

    async def online(self, resource_id: ResourceId, parameters: Parameters, report: ReportStatus) -> Status:
        """Check that this node has what the definition asks for."""
        await self._vms.refresh_configuration(self._group(resource_id))
        return Status.ERROR_SUCCESS

    async def offline(self, resource_id: ResourceId, request: OfflineRequest, report: ReportStatus) -> Status:
        """Nothing runs, nothing stops."""
        return Status.ERROR_SUCCESS

    async def terminate(self, resource_id: ResourceId) -> None:
        """Nothing runs, nothing stops."""

    async def looks_alive(self, resource_id: ResourceId) -> bool:
        """A definition does not die."""
        return True

    async def is_alive(self, resource_id: ResourceId) -> bool:
        """A definition does not die."""
        return True

    async def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        """Answer the refresh, the private properties and the facts of the type."""
        group_id = self._group(resource_id)
        if code == codes.CLUSCTL_RESOURCE_VM_CONFIG_UPDATE:
            await self._vms.refresh_configuration(group_id)
            return ControlAnswer(Status.ERROR_SUCCESS)
        request = request_of(code, PropertyScope.PRIVATE)
        if request is None:
            return answer_fact(code)
        if request not in (PropertyRequest.SET, PropertyRequest.VALIDATE):
            return answer_from_table(request, VIRTUAL_MACHINE_CONFIGURATION, parameters, data)
        changes = VIRTUAL_MACHINE_CONFIGURATION.parse_changes(data)
        check_vm_id(changes, parameters)
        if request is PropertyRequest.VALIDATE:
            return ControlAnswer(Status.ERROR_SUCCESS)
        is_online = self._vms.facts(group_id).vm_state not in _OFF
        return stored_answer(VIRTUAL_MACHINE_CONFIGURATION, changes, is_online=is_online)
