"""Operations that make, delete and list resource types. Part of the table in :mod:`quorate.clusapi.operations`."""

from typing import Final

from quorate.clusapi.operation_declarations import ENTRIES, ENUM_MASK, STATUS, change, read
from quorate.clusapi.operation_types import Field, FieldType, Place

_T = FieldType
_TYPE: Final = Field("type", _T.TEXT, "name of the type")
_ANY: Final = Place.ANYWHERE

RESOURCE_TYPE_OPERATIONS: Final = (
    change(
        "CreateResourceType",
        "Register a resource type; what carries it out must be installed on the nodes.",
        (
            Field("name", _T.TEXT, "its name: that of a Python entry point in the group quorate.resource_types"),
            Field("display_name", _T.TEXT, "the name to show; empty: its name", optional=True),
            Field("dll_name", _T.TEXT, "kept and shown as DllName; nothing is loaded from it", optional=True),
            Field("looks_alive", _T.U32, "LooksAlivePollInterval in ms; absent or 0xFFFFFFFF: 5000", optional=True),
            Field("is_alive", _T.U32, "IsAlivePollInterval in ms; absent or 0xFFFFFFFF: 60000", optional=True),
        ),
        (STATUS,),
        _ANY,
        26,
    ),
    change(
        "DeleteResourceType", "Delete a resource type of which there is no resource.", (_TYPE,), (STATUS,), _ANY, 27
    ),
    read(
        "CreateResTypeEnum",
        "List the nodes that can carry a resource type out, and its resources.",
        (_TYPE, ENUM_MASK),
        (ENTRIES,),
        _ANY,
        103,
    ),
)
