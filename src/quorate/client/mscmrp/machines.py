"""Virtual machines: groups with their two resources, as the private properties of these describe them."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from quorate.client.mscmrp.kinds import GET_PRIVATE, GET_RO_PRIVATE, GROUP, RESOURCE
from quorate.client.mscmrp.migration import VIRTUAL_MACHINE
from quorate.client.mscmrp.properties import number_of, text_of
from quorate.client.mscmrp.session import Outputs, Performer, Session
from quorate.client.mscmrp.whole import (
    SeenGroup,
    SeenResource,
    cluster_json,
    each,
    group_json,
    groups,
    interfaces,
    networks,
    nodes,
    one_group,
    resources,
)
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_types import Access
from quorate.clusapi.operation_values import Values
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list
from quorate.clusapi.states import GroupState, GroupStatus, MigrationState, ResourceState, VmResdllContext, VmState
from quorate.clusapi.status import Status
from quorate.mscmrp import group_methods as g
from quorate.mscmrp.shapes import HandleContextIn, HandleIn

E = TypeVar("E", MigrationState, VmState)
CONFIGURATION: Final = "Virtual Machine Configuration"
_LOOK_EVERY: Final = 0.1
_LOOKS: Final = 300
_SETTLED: Final = (ResourceState.OFFLINE, ResourceState.FAILED)


@dataclass(frozen=True, slots=True)
class SeenMachine:
    """A virtual machine: its group, its resources, and the private properties of both."""

    group: SeenGroup
    resource: SeenResource
    configuration: SeenResource | None
    properties: PropertyList
    configured: PropertyList

    @property
    def vm_id(self) -> str:
        """Its VmId."""
        return text_of(self.properties, "VmId") or text_of(self.configured, "VmId")

    def progress(self) -> MigrationProgress:
        """How far its migration is, as far as properties tell."""
        queued = bool(self.group.status_information & GroupStatus.WAITING_IN_QUEUE_FOR_MOVE)
        state = _enum(MigrationState, number_of(self.properties, "MigrationState"), MigrationState.NO_MIGRATION)
        if queued and state is MigrationState.NO_MIGRATION:
            state = MigrationState.SETUP
        return MigrationProgress(
            state=state,
            percent=number_of(self.properties, "MigrationProgress"),
            failure_reason=number_of(self.properties, "MigrationFailureReason"),
            queued=queued,
            source=self.resource.node if state.is_under_way else "",
        )

    def to_json(self) -> JsonObject:
        """Write it as the operations do, without its definition."""
        vm_state = _enum(VmState, number_of(self.properties, "VmState"), VmState.UNKNOWN)
        state = self.resource.state
        node = self.group.node
        return {
            "name": self.group.name,
            "vm": self.vm_id,
            "group": self.group.id,
            "vm_resource": self.resource.id,
            "configuration_resource": "" if self.configuration is None else self.configuration.id,
            "node": node.name,
            "node_id": node.id,
            "epoch": 0,
            "resource_state": state.dword,
            "resource_state_name": state.name,
            "sentence": "",
            "condition": "",
            "reason": "",
            "vm_state": int(vm_state),
            "vm_state_name": vm_state.name,
            "migration": self.progress().to_json(),
            "serial_log": "",
            "pid": None,
            "command": [],
        }

    def definition(self) -> JsonObject:
        """What it is made of, where the server is one of ours and tells."""
        try:
            told = json.loads(text_of(self.configured, "Definition") or "{}")
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}


def _enum(kind: type[E], number: int, otherwise: E) -> E:
    try:
        return kind(number)
    except ValueError:
        return otherwise


async def machines(session: Session, seen: Sequence[SeenResource], owners: Sequence[SeenGroup]) -> list[SeenMachine]:
    """The virtual machines among resources, by name."""
    of_type = [item for item in seen if _is(item, VIRTUAL_MACHINE)]
    found = await each(of_type, lambda item: _machine(session, item, seen, owners))
    return sorted(found, key=lambda item: item.group.name.casefold())


async def _machine(
    session: Session, resource: SeenResource, seen: Sequence[SeenResource], owners: Sequence[SeenGroup]
) -> SeenMachine:
    group = next((group for group in owners if group.id == resource.group_id), None)
    if group is None:
        raise CallerError(Status.ERROR_GROUP_NOT_FOUND, f'the group of "{resource.name}" is gone')
    mates = (item for item in seen if item.group_id == resource.group_id)
    configuration = next((item for item in mates if _is(item, CONFIGURATION)), None)
    properties = await _private(session, resource)
    configured = PropertyList(()) if configuration is None else await _private(session, configuration)
    return SeenMachine(group, resource, configuration, properties, configured)


async def _private(session: Session, resource: SeenResource) -> PropertyList:
    async with session.opened(RESOURCE, resource.id) as handle:
        return await session.properties(RESOURCE, handle, GET_PRIVATE, GET_RO_PRIVATE)


def _is(resource: SeenResource, type_: str) -> bool:
    return resource.type.casefold() == type_.casefold()


async def find(session: Session, text: str) -> SeenMachine:
    """A virtual machine by its VmId, or by its group's id or name. Raises CallerError 5013."""
    try:
        group, members = await one_group(session, text)
    except CallerError as error:
        if error.status != Status.ERROR_GROUP_NOT_FOUND:
            raise
        found = await machines(session, await resources(session), await groups(session))
        found = [machine for machine in found if machine.vm_id.casefold() == text.casefold()]
    else:
        found = await machines(session, members, (group,))
    if not found:
        raise CallerError(Status.ERROR_GROUP_NOT_FOUND, f'there is no virtual machine "{text}"')
    return found[0]


async def get(session: Session, inputs: Values) -> Outputs:
    """Everything about one."""
    machine = await find(session, inputs.text("vm"))
    return {"virtual_machine": {**machine.to_json(), "definition": machine.definition()}}


async def list_all(session: Session, inputs: Values) -> Outputs:
    """Every one."""
    found = await machines(session, await resources(session), await groups(session))
    return {"virtual_machines": tuple(machine.to_json() for machine in found)}


async def get_progress(session: Session, inputs: Values) -> Outputs:
    """How far the migration of one is."""
    machine = await find(session, inputs.text("vm"))
    progress, node = machine.progress(), machine.resource.node or machine.group.node.name
    if (
        not progress.is_running
    ):  # it may have ended since the owner was told: who is told of the end is told the new one
        async with session.opened(GROUP, machine.group.id) as handle:
            state = await session.call(g.GET_GROUP_STATE, HandleIn(handle), f'virtual machine "{machine.group.name}"')
        node = state.node_name or node
    return {"progress": progress.to_json(), "node": node}


async def delete(session: Session, inputs: Values) -> Outputs:
    """Delete one that is off, with its resources."""
    machine = await find(session, inputs.text("vm"))
    if machine.resource.state not in _SETTLED and inputs.flag("turn_off"):
        await _turn_off(session, machine)
        machine = await find(session, machine.group.id)
    state, name = machine.resource.state, machine.group.name
    if state not in _SETTLED:
        sentence = f'"{name}" is {state.name.lower().replace("_", " ")}; stop it first, or have it turned off'
        raise RefusalError(Status.ERROR_RESOURCE_ONLINE, sentence)
    async with session.opened(GROUP, machine.group.id, Access.FULL) as handle:
        return await session.change(g.DELETE_GROUP, g.DeleteGroupIn(handle, True), f'virtual machine "{name}"')


async def _turn_off(session: Session, machine: SeenMachine) -> None:
    items = [(VIRTUAL_MACHINE, PropertyFormat.DWORD, int(VmResdllContext.TURN_OFF))]
    context = pack_property_list(PropertyList.of(items))
    about = f'virtual machine "{machine.group.name}"'
    async with session.opened(GROUP, machine.group.id, Access.FULL) as handle:
        await session.change(g.OFFLINE_GROUP_EX, HandleContextIn(handle, 0, context), about)
        for _ in range(_LOOKS):
            told = await session.call(g.GET_GROUP_STATE, HandleIn(handle), about)
            if told.state != GroupState.PENDING:
                return
            await asyncio.sleep(_LOOK_EVERY)


async def get_status(session: Session, inputs: Values) -> Outputs:
    """Nodes, groups and virtual machines at one look."""
    seen, owners = await resources(session), await groups(session)
    members = await interfaces(session)
    return {
        "cluster": await cluster_json(session),
        "nodes": tuple(await nodes(session)),
        "groups": tuple(group_json(group, seen) for group in owners),
        "virtual_machines": tuple(machine.to_json() for machine in await machines(session, seen, owners)),
        "networks": tuple(await networks(session, members)),
    }


PERFORMERS: Final[Mapping[str, Performer]] = {
    "GetVirtualMachine": get,
    "ListVirtualMachines": list_all,
    "GetMigrationProgress": get_progress,
    "DeleteVirtualMachine": delete,
    "GetStatus": get_status,
}
