"""Operations on group sets, and on what groups and sets depend on."""

from collections.abc import Mapping
from typing import Final

from quorate.client.mscmrp.common import about, changes, controls, finds, identity, relates, renames
from quorate.client.mscmrp.kinds import GET_COMMON, GROUP, GROUP_SET
from quorate.client.mscmrp.session import Listed, Outputs, Performer, Session, listed, listed_outputs
from quorate.clusapi.control_codes import (
    CLUSCTL_GROUPSET_GET_GROUPS,
    CLUSCTL_GROUPSET_GET_PROVIDER_GROUPSETS,
    ControlObject,
)
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.operation_types import Access
from quorate.clusapi.operation_values import Values
from quorate.clusapi.property_lists import TextBufferError, parse_multi_sz
from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp import group_set_methods as s
from quorate.mscmrp.shapes import HandleIn, NameIn, TwoHandlesIn

_OPERATION: Final = 0x00FFFFFF
_READY: Final = {"ready_count": "ReadyCount", "ready_delay": "ReadyDelay", "ready_setting": "ReadySetting"}


async def create(session: Session, inputs: Values) -> Outputs:
    """Make an empty set."""
    name = inputs.text("name")
    async with session.created(s.CREATE_GROUP_SET, NameIn(name), GROUP_SET, about(GROUP_SET, name)) as handle:
        id_, own = await identity(session, GROUP_SET, handle, name)
        return {"id": id_, "name": own}


async def add_group(session: Session, inputs: Values) -> Outputs:
    """Put a group into a set, in domains if they are given."""
    name, group = inputs.text("group_set"), inputs.text("group")
    domains = inputs.optional_number("fault_domain"), inputs.optional_number("update_domain")
    words = f"{about(GROUP_SET, name)}, {about(GROUP, group)}"
    async with session.opened(GROUP_SET, name, Access.FULL) as handle, session.opened(GROUP, group) as other:
        if domains == (None, None):
            return await session.change(s.ADD_GROUP_TO_GROUP_SET, TwoHandlesIn(handle, other), words)
        asked = s.AddGroupToGroupSetExIn(handle, other, domains[0] or 0, domains[1] or 0, True)
        return await session.change(s.ADD_GROUP_TO_GROUP_SET_EX, asked, words)


async def create_enum(session: Session, inputs: Values) -> Outputs:
    """List the sets."""
    return listed_outputs(await sets(session))


async def sets(session: Session) -> list[Listed]:
    """Every set: the protocol lists their names; each tells its id."""
    async with session.cluster() as cluster:
        told = await session.call(s.CREATE_GROUP_SET_ENUM, HandleIn(cluster), "the list of group sets")
    found: list[Listed] = []
    for entry in listed(told.entries):
        async with session.opened(GROUP_SET, entry.name or "") as handle:
            found.append(Listed(ControlObject.GROUPSET, *await identity(session, GROUP_SET, handle, entry.name or "")))
    return found


async def list_all(session: Session, inputs: Values) -> Outputs:
    """Every set with its groups and the sets that it depends on; when it is ready the protocol does not tell."""
    found: list[JsonObject] = []
    for item in await sets(session):
        async with session.opened(GROUP_SET, item.id) as handle:
            groups: list[JsonValue] = [*await _names(session, handle, CLUSCTL_GROUPSET_GET_GROUPS)]
            providers = await _names(session, handle, CLUSCTL_GROUPSET_GET_PROVIDER_GROUPSETS)
            values = {one.name: one.value for one in await session.properties(GROUP_SET, handle, GET_COMMON)}
        depends_on = " and ".join(f"[{name}]" for name in providers)
        ready = {key: value for key, name in _READY.items() if isinstance(value := values.get(name), int)}
        found.append({"id": item.id, "name": item.name, "groups": groups, "depends_on": depends_on, **ready})
    return {"group_sets": tuple(found)}


async def _names(session: Session, handle: ContextHandle, code: int) -> tuple[str, ...]:
    try:
        return parse_multi_sz(await session.read(GROUP_SET, handle, code & _OPERATION))
    except TextBufferError:
        return ()


PERFORMERS: Final[Mapping[str, Performer]] = {
    "CreateGroupSet": create,
    "GetGroupSetId": finds(GROUP_SET, "group_set"),
    "DeleteGroupSet": changes(GROUP_SET, "group_set", s.DELETE_GROUP_SET),
    "AddGroupToGroupSet": add_group,
    "RemoveGroupFromGroupSet": changes(GROUP, "group", s.REMOVE_GROUP_FROM_GROUP_SET),
    "MoveGroupToGroupSet": relates(GROUP_SET, "group_set", s.MOVE_GROUP_TO_GROUP_SET, GROUP, "group"),
    "AddGroupSetDependency": relates(GROUP_SET, "group_set", s.ADD_GROUP_SET_DEPENDENCY, GROUP_SET, "provider_set"),
    "RemoveGroupSetDependency": relates(
        GROUP_SET, "group_set", s.REMOVE_GROUP_SET_DEPENDENCY, GROUP_SET, "provider_set"
    ),
    "SetGroupSetDependencyExpression": renames(
        GROUP_SET, "group_set", s.SET_GROUP_SET_DEPENDENCY_EXPRESSION, "expression"
    ),
    "SetGroupDependencyExpression": renames(GROUP, "group", s.SET_GROUP_DEPENDENCY_EXPRESSION, "expression"),
    "RemoveGroupDependency": relates(GROUP, "group", s.REMOVE_CLUSTER_GROUP_DEPENDENCY, GROUP, "depends_on"),
    "AddGroupToGroupSetDependency": relates(
        GROUP, "group", s.ADD_GROUP_TO_GROUP_SET_DEPENDENCY, GROUP_SET, "provider_set"
    ),
    "RemoveGroupToGroupSetDependency": relates(
        GROUP, "group", s.REMOVE_CLUSTER_GROUP_TO_GROUP_SET_DEPENDENCY, GROUP_SET, "provider_set"
    ),
    "GroupSetControl": controls(GROUP_SET, "group_set"),
    "CreateGroupSetEnum": create_enum,
    "ListGroupSets": list_all,
}
