"""Live migration at servers that know nothing of CLUSCTL_RESOURCE_VM_START_MIGRATION: a move of the group, whose
property list asks for a live migration.

Source: [MS-CMRP] 3.1.4.2.132, 3.1.4.3.1.49; the page of MoveClusterGroupEx.
"""

from typing import Final

from quorate.client.mscmrp.common import about
from quorate.client.mscmrp.kinds import GROUP, NODE, RESOURCE
from quorate.client.mscmrp.session import Outputs, Session, control_outputs
from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION, CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.clusapi.operation_types import Access
from quorate.clusapi.operation_values import Values
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list, parse_sz
from quorate.clusapi.states import LIVE_MIGRATION_MOVE_FLAGS, VmResdllContext
from quorate.clusapi.status import Status
from quorate.mscmrp import group_methods as g
from quorate.mscmrp import resource_methods as r
from quorate.mscmrp.shapes import ControlOut, HandleContextIn, HandleFlagsIn, HandleIn, StatusOut

VIRTUAL_MACHINE: Final = "Virtual Machine"
_CODES: Final = frozenset({CLUSCTL_RESOURCE_VM_START_MIGRATION, CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION})


async def modern_answer(session: Session, inputs: Values, answer: Outputs) -> Outputs | None:
    """Start or cancel a migration in the other way, when a server does not know the code of a virtual machine.

    None when there is nothing of that kind to do.
    """
    code = inputs.number("control_code")
    if code not in _CODES or answer["status"] != Status.ERROR_INVALID_FUNCTION:
        return None
    name = inputs.text("resource")
    async with session.opened(RESOURCE, name) as handle:
        type_ = (await session.call(r.GET_RESOURCE_TYPE, HandleIn(handle), about(RESOURCE, name))).text or ""
        group = (await session.call(r.GET_RESOURCE_STATE, HandleIn(handle), about(RESOURCE, name))).group_name or ""
    if type_.casefold() != VIRTUAL_MACHINE.casefold():
        return None
    if code == CLUSCTL_RESOURCE_VM_START_MIGRATION:
        told = await _move(session, group, inputs.optional_data("in_buffer"))
    else:
        async with session.opened(GROUP, group, Access.FULL) as handle:
            told = await session.ask(g.CANCEL_CLUSTER_GROUP_OPERATION, HandleFlagsIn(handle, 0))
    accepted = told.status == Status.ERROR_IO_PENDING
    return control_outputs(ControlOut(status=0 if accepted else told.status), code)


async def _move(session: Session, group: str, node_name: bytes | None) -> StatusOut:
    items = [(VIRTUAL_MACHINE, PropertyFormat.DWORD, int(VmResdllContext.LIVE_MIGRATION))]
    context = pack_property_list(PropertyList.of(items))
    async with session.opened(GROUP, group, Access.FULL) as handle:
        if not node_name:
            return await session.ask(g.MOVE_GROUP_EX, HandleContextIn(handle, int(LIVE_MIGRATION_MOVE_FLAGS), context))
        async with session.opened(NODE, parse_sz(node_name)) as node:
            asked = g.MoveGroupToNodeExIn(handle, node, int(LIVE_MIGRATION_MOVE_FLAGS), context)
            return await session.ask(g.MOVE_GROUP_TO_NODE_EX, asked)
