"""Operations on group sets, and on what groups wait for when they start. Part of the operations table.

A group set holds groups; a group is in one set at most. A set or a group depends on others: when the cluster starts a
group by itself, it waits until what the group depends on is ready, or GroupDependencyTimeout is over. What a person
brings online starts at once. Sources: [object-model] "Group set", [MS-CMRP] 3.1.4.2.164 to 3.1.4.2.184.
"""

from typing import Final

from quorate.clusapi.operation_declarations import ENTRIES, ID, NAME, STATUS, change, control, read
from quorate.clusapi.operation_types import Field, FieldType, Place

_T = FieldType
_SET: Final = Field("group_set", _T.TEXT, "the group set, by id or name")
_GROUP: Final = Field("group", _T.TEXT, "the group, by id or name")
_PROVIDER_SET: Final = Field("provider_set", _T.TEXT, "the group set that must be ready before it, by id or name")
_PROVIDER: Final = Field("depends_on", _T.TEXT, "the group that must be online before it, by id or name")
_EXPRESSION: Final = Field("expression", _T.TEXT, "[id] and ([id] or [id])…; names are taken as well; empty: nothing")
_ANY: Final = Place.ANYWHERE

GROUP_SET_OPERATIONS: Final = (
    change("CreateGroupSet", "Make an empty group set.", (Field("name", _T.TEXT, "its name"),), (ID, NAME), _ANY, 163),
    read("GetGroupSetId", "Find a group set.", (_SET,), (ID, NAME), _ANY, 164),
    change(
        "DeleteGroupSet", "Delete a group set on which nothing depends; its groups stay.", (_SET,), (STATUS,), _ANY, 166
    ),
    change(
        "AddGroupToGroupSet",
        "Put a group that is in no set into one.",
        (
            _SET,
            _GROUP,
            Field("fault_domain", _T.U32, "its FaultDomain from now on", optional=True),
            Field("update_domain", _T.U32, "its UpdateDomain from now on", optional=True),
        ),
        (STATUS,),
        _ANY,
        167,
        183,
    ),
    change("RemoveGroupFromGroupSet", "Take a group out of its set.", (_GROUP,), (STATUS,), _ANY, 168),
    change(
        "MoveGroupToGroupSet", "Put a group into a set, out of the one it is in.", (_SET, _GROUP), (STATUS,), _ANY, 169
    ),
    change(
        "AddGroupSetDependency",
        "Let the groups of a set wait for another set, besides what they wait for already.",
        (_SET, _PROVIDER_SET),
        (STATUS,),
        _ANY,
        171,
    ),
    change(
        "SetGroupSetDependencyExpression",
        "Set which sets the groups of a set wait for, alternatives included.",
        (_SET, _EXPRESSION),
        (STATUS,),
        _ANY,
        177,
    ),
    change(
        "RemoveGroupSetDependency",
        "Let the groups of a set not wait for another set any more.",
        (_SET, _PROVIDER_SET),
        (STATUS,),
        _ANY,
        178,
    ),
    change("AddGroupDependency", "Let a group wait for another one.", (_GROUP, _PROVIDER), (STATUS,), _ANY),
    change(
        "SetGroupDependencyExpression",
        "Set which groups a group waits for, alternatives included.",
        (_GROUP, _EXPRESSION),
        (STATUS,),
        _ANY,
        175,
    ),
    change(
        "RemoveGroupDependency", "Let a group not wait for another any more.", (_GROUP, _PROVIDER), (STATUS,), _ANY, 176
    ),
    change(
        "AddGroupToGroupSetDependency", "Let a group wait for a set.", (_GROUP, _PROVIDER_SET), (STATUS,), _ANY, 172
    ),
    change(
        "RemoveGroupToGroupSetDependency",
        "Let a group not wait for a set any more.",
        (_GROUP, _PROVIDER_SET),
        (STATUS,),
        _ANY,
        179,
    ),
    control("GroupSetControl", "A control code for a group set.", (_SET,), _ANY, 174, 173),
    read("CreateGroupSetEnum", "List the group sets.", (), (ENTRIES,), _ANY, 180),
    read(
        "ListGroupSets",
        "Every group set with its groups, what it waits for, and whether it is ready.",
        (),
        (Field("group_sets", _T.OBJECTS, "id, name, groups, depends_on, ready, properties of its start"),),
        _ANY,
    ),
)
