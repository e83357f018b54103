"""Operations on names, on what resources depend on, and on the group that they are in; part of the operations table."""

from typing import Final

from quorate.clusapi.operation_declarations import STATUS, change, read
from quorate.clusapi.operation_types import Field, FieldType, Place

_T = FieldType
_GROUP: Final = Field("group", _T.TEXT, "the group, by id or name")
_RESOURCE: Final = Field("resource", _T.TEXT, "the resource, by id or name")
_PROVIDER: Final = Field("depends_on", _T.TEXT, "the resource that must be online before it, by id or name")
_EXPRESSION: Final = Field("expression", _T.TEXT, "[id] and ([id] or [id])…; names are taken as well; empty: nothing")
_NEW_NAME: Final = Field("name", _T.TEXT, "its name from now on")
_ANY: Final = Place.ANYWHERE
_OF_RESOURCE: Final = Place.RESOURCE_OWNER

RELATION_OPERATIONS: Final = (
    change("SetGroupName", "Give a group another name.", (_GROUP, _NEW_NAME), (STATUS,), _ANY, 46),
    change("SetResourceName", "Give a resource another name.", (_RESOURCE, _NEW_NAME), (STATUS,), _ANY, 13),
    change(
        "ChangeResourceGroup",
        "Put a resource, with what depends on it and what it depends on, into another group of the same owner.",
        (_RESOURCE, _GROUP, Field("flags", _T.U32, "CHANGE_RESOURCE_GROUP_… flags", optional=True)),
        (STATUS,),
        _OF_RESOURCE,
        25,
    ),
    change(
        "AddResourceDependency",
        "Let a resource depend on another one of its group, besides what it depends on already.",
        (_RESOURCE, _PROVIDER),
        (STATUS,),
        _OF_RESOURCE,
        19,
    ),
    change(
        "RemoveResourceDependency",
        "Let a resource not depend on another one any more.",
        (_RESOURCE, _PROVIDER),
        (STATUS,),
        _OF_RESOURCE,
        20,
    ),
    read(
        "CanResourceBeDependent",
        "Tell whether AddResourceDependency would be allowed.",
        (_RESOURCE, _PROVIDER),
        (
            Field("status", _T.U32, "0, or why not"),
            Field("sentence", _T.TEXT, "for people: why not", optional=True),
        ),
        _ANY,
        21,
    ),
    change(
        "SetResourceDependencyExpression",
        "Set what a resource depends on, alternatives included.",
        (_RESOURCE, _EXPRESSION),
        (STATUS,),
        _OF_RESOURCE,
        109,
    ),
    read(
        "GetResourceNetworkName",
        "The network name that a resource depends on, directly or by way of others.",
        (_RESOURCE,),
        (Field("name", _T.TEXT, 'the Name of the nearest resource of the type "Network Name"'),),
        _ANY,
        112,
    ),
    read(
        "GetResourceDependencyExpression",
        "What a resource depends on, as an expression on ids.",
        (_RESOURCE,),
        (_EXPRESSION,),
        _ANY,
        110,
    ),
)
