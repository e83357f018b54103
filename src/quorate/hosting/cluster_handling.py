"""The cluster's own answers to control codes of resources and resource types: asked when nobody else knows.

Codes in :data:`NEVER_FOR_TYPES` are the cluster's alone; no resource type ever sees them (control-codes.md §4, rule 5).
"""

import struct
from collections.abc import Mapping
from typing import Final

from quorate.clusapi import control_codes as codes
from quorate.clusapi.property_lists import pack_multi_sz, pack_sz, pack_value_list
from quorate.clusapi.states import Characteristics, ObjectFlags, ResourceClass
from quorate.clusapi.status import Status
from quorate.hosting.contract import NOT_MINE, ClusterHandling, ControlAnswer, ResourceFacts

_DWORD: Final = struct.Struct("<I")

NEVER_FOR_TYPES: Final = frozenset(
    {
        codes.CLUSCTL_RESOURCE_GET_NAME,
        codes.CLUSCTL_RESOURCE_GET_ID,
        codes.CLUSCTL_RESOURCE_GET_RESOURCE_TYPE,
        codes.CLUSCTL_RESOURCE_ADD_REGISTRY_CHECKPOINT,
        codes.CLUSCTL_RESOURCE_ADD_REGISTRY_CHECKPOINT_32BIT,
        codes.CLUSCTL_RESOURCE_ADD_REGISTRY_CHECKPOINT_64BIT,
        codes.CLUSCTL_RESOURCE_DELETE_REGISTRY_CHECKPOINT,
        codes.CLUSCTL_RESOURCE_GET_REGISTRY_CHECKPOINTS,
        codes.CLUSCTL_RESOURCE_ADD_CRYPTO_CHECKPOINT,
        codes.CLUSCTL_RESOURCE_DELETE_CRYPTO_CHECKPOINT,
        codes.CLUSCTL_RESOURCE_GET_CRYPTO_CHECKPOINTS,
    }
)

# The base of a code is the code without its object: the same operation of a resource and of its type.
_BASE: Final = 0x00FFFFFF
_PLAIN: Final[Mapping[int, bytes]] = {
    codes.CLUSCTL_RESOURCE_GET_CHARACTERISTICS & _BASE: _DWORD.pack(Characteristics.NONE),
    codes.CLUSCTL_RESOURCE_GET_FLAGS & _BASE: _DWORD.pack(ObjectFlags.NONE),
    codes.CLUSCTL_RESOURCE_GET_CLASS_INFO & _BASE: struct.pack("<II", ResourceClass.UNKNOWN, 0),
    codes.CLUSCTL_RESOURCE_GET_REQUIRED_DEPENDENCIES & _BASE: pack_value_list(()),
    codes.CLUSCTL_RESOURCE_GET_REGISTRY_CHECKPOINTS & _BASE: pack_multi_sz(()),
    codes.CLUSCTL_RESOURCE_GET_CRYPTO_CHECKPOINTS & _BASE: pack_multi_sz(()),
}


class PlainClusterHandling(ClusterHandling):
    """Answers from what the host knows of the object; whatever nobody said about a type is nothing special."""

    async def resource_control(self, resource: ResourceFacts, code: int, data: bytes | None) -> ControlAnswer:
        """Answer name, id and type of a resource, and plain facts."""
        match code:
            case codes.CLUSCTL_RESOURCE_GET_NAME:
                return ControlAnswer(Status.ERROR_SUCCESS, pack_sz(resource.name))
            case codes.CLUSCTL_RESOURCE_GET_ID:
                return ControlAnswer(Status.ERROR_SUCCESS, pack_sz(resource.id))
            case codes.CLUSCTL_RESOURCE_GET_RESOURCE_TYPE:
                return ControlAnswer(Status.ERROR_SUCCESS, pack_sz(resource.type))
        return _plain(code)

    async def resource_type_control(self, type_name: str, code: int, data: bytes | None) -> ControlAnswer:
        """Answer plain facts of a type."""
        return _plain(code)


def _plain(code: int) -> ControlAnswer:
    found = _PLAIN.get(code & _BASE)
    return NOT_MINE if found is None else ControlAnswer(Status.ERROR_SUCCESS, found)
