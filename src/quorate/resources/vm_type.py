"""What the two virtual machine types have in common: they live in the daemon, and are open by group."""

import struct
from typing import Final
from uuid import UUID

from quorate.clusapi import control_codes as codes
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.property_lists import PropertyValue, pack_value_list
from quorate.clusapi.states import Characteristics, ObjectFlags, ResourceClass, ResourceState
from quorate.clusapi.status import Status
from quorate.hosting.contract import NOT_MINE, ControlAnswer, Parameters, PropertyScope, VirtualMachines
from quorate.hosting.property_codes import answer_from_table, is_type_code, request_of
from quorate.hosting.property_table import PropertyTable, find_value
from quorate.hosting.resource_type import Lost, OpenedResource, TypeTraits
from quorate.resources.vm_properties import VM_ID

_DWORD: Final = struct.Struct("<I")

# One VM is one group. Nothing else is promised: no quorum, no clones, no veto.
_CHARACTERISTICS: Final = Characteristics.SINGLE_GROUP_INSTANCE
_FACTS: Final = {
    codes.CLUSCTL_RESOURCE_UNKNOWN: b"",
    codes.CLUSCTL_RESOURCE_GET_CHARACTERISTICS: _DWORD.pack(_CHARACTERISTICS),
    codes.CLUSCTL_RESOURCE_GET_FLAGS: _DWORD.pack(ObjectFlags.NONE),
    codes.CLUSCTL_RESOURCE_GET_CLASS_INFO: struct.pack("<II", ResourceClass.UNKNOWN, 0),
    codes.CLUSCTL_RESOURCE_GET_REQUIRED_DEPENDENCIES: pack_value_list(()),
}
_TYPE_BIT: Final = (codes.ControlObject.RESOURCE ^ codes.ControlObject.RESOURCE_TYPE) << 24


class VmType:
    """The part of the ResourceType contract that both VM types carry out alike."""

    def __init__(self, name: str, vms: VirtualMachines, table: PropertyTable, type_table: PropertyTable) -> None:
        """Take the type's name, the VMs of the node and the tables of private properties."""
        self._name = name
        self._vms = vms
        self._table = table
        self._type_table = type_table
        self._groups: dict[ResourceId, GroupId] = {}

    @property
    def name(self) -> str:
        """The name of the type."""
        return self._name

    @property
    def traits(self) -> TypeTraits:
        """A VM's death is noticed by the engine, which tells the host: no polling."""
        return TypeTraits(notifies_failure=True)

    async def open(self, resource: OpenedResource, lost: Lost) -> None:
        """Remember which group's VM the resource stands for."""
        self._groups[resource.resource_id] = resource.group_id

    async def prepare(self, resource: OpenedResource, limit: float, *, patient: bool) -> None:
        """The daemon itself is called: there is nothing to prepare."""

    async def close(self, resource_id: ResourceId) -> None:
        """Forget it; the VM goes on."""
        self._groups.pop(resource_id, None)

    def state_after_stop(self, parameters: Parameters) -> ResourceState:
        """Offline, unless the type knows better."""
        return ResourceState.OFFLINE

    async def on_deadlock(self, resource_id: ResourceId | None, sentence: str) -> None:
        """Nothing to get rid of: the call was a coroutine and has been cancelled."""

    async def resource_type_control(self, code: int, data: bytes | None, parameters: Parameters) -> ControlAnswer:
        """Answer the facts of the type and its private properties."""
        fact = _FACTS.get(code ^ _TYPE_BIT)
        if fact is not None:
            return ControlAnswer(Status.ERROR_SUCCESS, fact)
        if code == codes.CLUSCTL_RESOURCE_TYPE_GET_PRIVATE_RESOURCE_PROPERTY_FMTS:
            return ControlAnswer(Status.ERROR_SUCCESS, self._table.pack_formats({}))
        request = request_of(code, PropertyScope.PRIVATE)
        if request is None or not is_type_code(code):
            return NOT_MINE
        return answer_from_table(request, self._type_table, parameters, data, of_type=True)

    def _group(self, resource_id: ResourceId) -> GroupId:
        """The group of an open resource. Raises CallerError 5007."""
        try:
            return self._groups[resource_id]
        except KeyError:
            sentence = f"resource {resource_id} is not open in type {self._name} on this node"
            raise CallerError(Status.ERROR_RESOURCE_NOT_FOUND, sentence) from None


def answer_fact(code: int) -> ControlAnswer:
    """Answer what is the same for every VM resource, or ``NOT_MINE``."""
    fact = _FACTS.get(code)
    return NOT_MINE if fact is None else ControlAnswer(Status.ERROR_SUCCESS, fact)


def check_vm_id(changes: dict[str, PropertyValue], stored: Parameters) -> None:
    """Refuse to give a VM another identity: files, sockets and the guest's SMBIOS UUID are named by it.

    Raises CallerError 13 when it is no GUID, RefusalError 5023 when there is another one already.
    """
    wanted = changes.get(VM_ID)
    if wanted is None:
        return
    present = find_value(stored, VM_ID)
    old = str(present.value) if present is not None else ""
    new = str(wanted.value)
    if old and new.casefold() != old.casefold():
        raise RefusalError(Status.ERROR_INVALID_STATE, f"the VM has the VmId {old} for good; it cannot become {new!r}")
    if new and not _is_guid(new):
        raise CallerError(Status.ERROR_INVALID_DATA, f"VmId {new!r} is not a GUID")


def _is_guid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
