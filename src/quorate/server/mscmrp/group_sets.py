"""The methods on group sets, and on what groups and sets depend on."""

from collections.abc import Mapping
from typing import Final

from quorate.mscmrp import group_set_methods as methods
from quorate.mscmrp.group_set_methods import AddGroupToGroupSetExIn
from quorate.mscmrp.shapes import EnumOut, HandleIn, StatusOut
from quorate.server.mscmrp import patterns
from quorate.server.mscmrp.binding import Handler, answer, handlers
from quorate.server.mscmrp.calls import Inputs, WireCall
from quorate.server.mscmrp.cluster import check_options
from quorate.server.mscmrp.handles import OpenCluster, OpenGroup, OpenGroupSet
from quorate.server.mscmrp.patterns import enum_out, status_out


async def add_group_ex(wire: WireCall, inputs: AddGroupToGroupSetExIn) -> StatusOut:
    """Put a group into a set, with its domains if it has any."""
    it = wire.find(inputs.handle, OpenGroupSet)
    group = wire.find(inputs.other, OpenGroup)
    check_options(inputs.reserved)
    asked: Inputs = {"group_set": it.id, "group": group.id}
    if inputs.use_domains:
        asked |= {"fault_domain": inputs.fault_domain, "update_domain": inputs.update_domain}
    return status_out(await wire.ask("AddGroupToGroupSet", asked, it))


async def create_enum(wire: WireCall, inputs: HandleIn) -> EnumOut:
    """List the sets."""
    it = wire.find(inputs.handle, OpenCluster)
    return enum_out(await wire.ask("CreateGroupSetEnum", {}, it))


_SET: Final = (OpenGroupSet, "group_set")
_GROUP: Final = (OpenGroup, "group")
_PROVIDER_SET: Final = (OpenGroupSet, "provider_set")
_CONTROL: Final = (OpenGroupSet, "GroupSetControl", "group_set")

HANDLERS: Final[Mapping[int, Handler]] = handlers(
    answer(methods.CREATE_GROUP_SET, patterns.creates(OpenGroupSet, "CreateGroupSet", "name")),
    answer(methods.OPEN_GROUP_SET, patterns.opens(OpenGroupSet, "GetGroupSetId", "group_set")),
    answer(methods.CLOSE_GROUP_SET, patterns.closes(OpenGroupSet)),
    answer(methods.DELETE_GROUP_SET, patterns.changes(OpenGroupSet, "DeleteGroupSet", "group_set")),
    answer(
        methods.ADD_GROUP_TO_GROUP_SET,
        patterns.relates(OpenGroupSet, "AddGroupToGroupSet", "group_set", *_GROUP),
    ),
    answer(methods.REMOVE_GROUP_FROM_GROUP_SET, patterns.changes(OpenGroup, "RemoveGroupFromGroupSet", "group")),
    answer(
        methods.MOVE_GROUP_TO_GROUP_SET,
        patterns.relates(OpenGroupSet, "MoveGroupToGroupSet", "group_set", *_GROUP),
    ),
    answer(
        methods.ADD_GROUP_SET_DEPENDENCY,
        patterns.relates(OpenGroupSet, "AddGroupSetDependency", "group_set", *_PROVIDER_SET),
    ),
    answer(
        methods.ADD_GROUP_TO_GROUP_SET_DEPENDENCY,
        patterns.relates(OpenGroup, "AddGroupToGroupSetDependency", "group", *_PROVIDER_SET),
    ),
    answer(methods.NODE_GROUP_SET_CONTROL, patterns.controls_at_node(*_CONTROL)),
    answer(methods.GROUP_SET_CONTROL, patterns.controls(*_CONTROL)),
    answer(
        methods.SET_GROUP_DEPENDENCY_EXPRESSION,
        patterns.changes_text(OpenGroup, "SetGroupDependencyExpression", "group", "expression"),
    ),
    answer(
        methods.REMOVE_CLUSTER_GROUP_DEPENDENCY,
        patterns.relates(OpenGroup, "RemoveGroupDependency", "group", OpenGroup, "depends_on"),
    ),
    answer(
        methods.SET_GROUP_SET_DEPENDENCY_EXPRESSION,
        patterns.changes_text(OpenGroupSet, "SetGroupSetDependencyExpression", "group_set", "expression"),
    ),
    answer(
        methods.REMOVE_GROUP_SET_DEPENDENCY,
        patterns.relates(OpenGroupSet, "RemoveGroupSetDependency", "group_set", *_PROVIDER_SET),
    ),
    answer(
        methods.REMOVE_CLUSTER_GROUP_TO_GROUP_SET_DEPENDENCY,
        patterns.relates(OpenGroup, "RemoveGroupToGroupSetDependency", "group", *_PROVIDER_SET),
    ),
    answer(methods.CREATE_GROUP_SET_ENUM, create_enum),
    answer(methods.ADD_GROUP_TO_GROUP_SET_EX, add_group_ex),
)
