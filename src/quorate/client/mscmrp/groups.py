"""Operations on groups."""

from collections.abc import Mapping
from typing import Final

from quorate.client.mscmrp.common import about, controls, enumerates, finds, identity, renames
from quorate.client.mscmrp.kinds import GROUP, NODE
from quorate.client.mscmrp.session import Outputs, Performer, Session
from quorate.clusapi.errors import CallerError
from quorate.clusapi.operation_types import Access
from quorate.clusapi.operation_values import Values
from quorate.clusapi.property_lists import pack_multi_sz
from quorate.clusapi.states import ClusterEnum, GroupEnum
from quorate.clusapi.status import Status
from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp import group_methods as g
from quorate.mscmrp.shapes import HandleContextIn, HandleFlagsIn, HandleIn, NameIn
from quorate.mscmrp.types import CreateGroupInfo

_MEMBERS: Final = {int(GroupEnum.CONTAINS): ClusterEnum.RESOURCE, int(GroupEnum.NODES): ClusterEnum.NODE}


async def get_state(session: Session, inputs: Values) -> Outputs:
    """State and owner."""
    name = inputs.text("group")
    async with session.opened(GROUP, name) as handle:
        told = await session.call(g.GET_GROUP_STATE, HandleIn(handle), about(GROUP, name))
        return {"state": told.state, "node": told.node_name or ""}


async def create(session: Session, inputs: Values) -> Outputs:
    """Make an empty group."""
    name, type_ = inputs.text("name"), inputs.optional_number("group_type")
    created = (
        session.created(g.CREATE_GROUP, NameIn(name), GROUP, about(GROUP, name))
        if type_ is None
        else session.created(
            g.CREATE_GROUP_EX, g.CreateGroupExIn(name, CreateGroupInfo(1, type_)), GROUP, about(GROUP, name)
        )
    )
    async with created as handle:
        id_, own = await identity(session, GROUP, handle, name)
        return {"id": id_, "name": own}


async def delete(session: Session, inputs: Values) -> Outputs:
    """Delete a group that is empty, or with all that it holds."""
    name = inputs.text("group")
    async with session.opened(GROUP, name, Access.FULL) as handle:
        asked = g.DeleteGroupIn(handle, inputs.flag("force"))
        return await session.change(g.DELETE_GROUP, asked, about(GROUP, name))


async def online(session: Session, inputs: Values) -> Outputs:
    """Bring it online; elsewhere by moving it there first, as ClusAPI's own library does."""
    name, node = inputs.text("group"), inputs.optional_text("destination")
    if node is not None:
        owner = str((await get_state(session, inputs))["node"])
        wanted = await session.named(ClusterEnum.NODE, node)
        if wanted.name.casefold() != owner.casefold():
            moved = await move(session, Values({"group": name, "destination": node}))
            if moved["status"]:
                return moved
    async with session.opened(GROUP, name, Access.FULL) as handle:
        return await session.change(g.ONLINE_GROUP_EX, _context(handle, inputs), about(GROUP, name))


async def offline(session: Session, inputs: Values) -> Outputs:
    """Take it offline."""
    name = inputs.text("group")
    async with session.opened(GROUP, name, Access.FULL) as handle:
        return await session.change(g.OFFLINE_GROUP_EX, _context(handle, inputs), about(GROUP, name))


async def move(session: Session, inputs: Values) -> Outputs:
    """Move it to another node, or to the best one."""
    name, destination = inputs.text("group"), inputs.optional_text("destination")
    async with session.opened(GROUP, name, Access.FULL) as handle:
        if destination is None:
            return await session.change(g.MOVE_GROUP_EX, _context(handle, inputs), about(GROUP, name))
        async with session.opened(NODE, destination) as node:
            flags, buffer = inputs.optional_number("flags") or 0, inputs.optional_data("in_buffer") or b""
            asked = g.MoveGroupToNodeExIn(handle, node, flags, buffer)
            return await session.change(
                g.MOVE_GROUP_TO_NODE_EX, asked, f"{about(GROUP, name)}, {about(NODE, destination)}"
            )


async def cancel_operation(session: Session, inputs: Values) -> Outputs:
    """Cancel a move under way."""
    name = inputs.text("group")
    async with session.opened(GROUP, name, Access.FULL) as handle:
        asked = HandleFlagsIn(handle, inputs.optional_number("flags") or 0)
        return await session.change(g.CANCEL_CLUSTER_GROUP_OPERATION, asked, about(GROUP, name))


async def set_node_list(session: Session, inputs: Values) -> Outputs:
    """Set the nodes that it prefers."""
    name, nodes = inputs.text("group"), inputs.ids("nodes")
    if any(not node for node in nodes):
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "nodes: a node has a name")
    data = pack_multi_sz(nodes)
    units = tuple(int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2))
    async with session.opened(GROUP, name, Access.FULL) as handle:
        asked = g.SetGroupNodeListIn(handle, units)
        return await session.change(g.SET_GROUP_NODE_LIST, asked, about(GROUP, name))


def _context(handle: ContextHandle, inputs: Values) -> HandleContextIn:
    return HandleContextIn(handle, inputs.optional_number("flags") or 0, inputs.optional_data("in_buffer") or b"")


PERFORMERS: Final[Mapping[str, Performer]] = {
    "GetGroupId": finds(GROUP, "group"),
    "GetGroupState": get_state,
    "CreateGroup": create,
    "DeleteGroup": delete,
    "OnlineGroup": online,
    "OfflineGroup": offline,
    "MoveGroup": move,
    "CancelGroupOperation": cancel_operation,
    "SetGroupName": renames(GROUP, "group", g.SET_GROUP_NAME),
    "SetGroupNodeList": set_node_list,
    "GroupControl": controls(GROUP, "group"),
    "CreateGroupResourceEnum": enumerates(GROUP, "group", g.CREATE_GROUP_RESOURCE_ENUM, _MEMBERS),
}
