"""Resource types that the cluster knows and does not carry out: they answer what they are, and nothing goes online.

No resource of such a type can be made; one that is there all the same (restored, or written into the registry) can be
looked at and deleted.
"""

import struct
from typing import Final

from quorate.clusapi import control_codes as codes
from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.resource_types import STANDARD_TYPES, StandardType
from quorate.clusapi.states import ObjectFlags, ResourceState
from quorate.clusapi.status import Status
from quorate.hosting.contract import NOT_MINE, ControlAnswer, Parameters
from quorate.hosting.resource_type import Lost, OfflineRequest, OpenedResource, ReportStatus, TypeTraits

_DWORD: Final = struct.Struct("<I")
_CLASS_INFO: Final = struct.Struct("<II")
_OPERATION_BITS: Final = 0x00FFFFFF


class RegisteredType:
    """One standard type; everything of the ResourceType contract that asks it to do something is refused."""

    def __init__(self, facts: StandardType) -> None:
        """Take the facts of the type."""
        self._facts = facts

    @property
    def name(self) -> str:
        """The name of the type."""
        return self._facts.name

    @property
    def traits(self) -> TypeTraits:
        """Nothing of it is ever online, so that nothing is polled."""
        return TypeTraits(notifies_failure=True)

    async def open(self, resource: OpenedResource, lost: Lost) -> None:
        """Nothing to build."""

    async def prepare(self, resource: OpenedResource, limit: float, *, patient: bool) -> None:
        """Nothing to prepare."""

    async def close(self, resource_id: ResourceId) -> None:
        """Nothing to forget."""

    async def online(self, resource_id: ResourceId, parameters: Parameters, report: ReportStatus) -> Status:
        """Refuse. Raises RefusalError 5079."""
        sentence = f'resources of the type "{self.name}" cannot go online here: {self._facts.refusal}'
        raise RefusalError(Status.ERROR_CLUSTER_RESTYPE_NOT_SUPPORTED, sentence)

    async def offline(self, resource_id: ResourceId, request: OfflineRequest, report: ReportStatus) -> Status:
        """It never went online."""
        return Status.ERROR_SUCCESS

    async def terminate(self, resource_id: ResourceId) -> None:
        """Nothing runs."""

    async def looks_alive(self, resource_id: ResourceId) -> bool:
        """Nothing is alive."""
        return False

    async def is_alive(self, resource_id: ResourceId) -> bool:
        """Nothing is alive."""
        return False

    async def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        """Answer the facts of the type; all else is the host's."""
        return answer_facts(self._facts, code)

    async def resource_type_control(self, code: int, data: bytes | None, parameters: Parameters) -> ControlAnswer:
        """Answer the facts of the type; all else is the host's."""
        return answer_facts(self._facts, code)

    def state_after_stop(self, parameters: Parameters) -> ResourceState:
        """Nothing stops by itself."""
        return ResourceState.OFFLINE

    async def on_deadlock(self, resource_id: ResourceId | None, sentence: str) -> None:
        """Nothing to get rid of."""


def answer_facts(facts: StandardType, code: int) -> ControlAnswer:
    """Answer what a type says of itself, to a code of the type or of a resource of it; ``NOT_MINE`` for other codes."""
    match code & _OPERATION_BITS:
        case operation if operation == codes.CLUSCTL_RESOURCE_GET_CHARACTERISTICS & _OPERATION_BITS:
            answer = _DWORD.pack(facts.characteristics)
        case operation if operation == codes.CLUSCTL_RESOURCE_GET_FLAGS & _OPERATION_BITS:
            answer = _DWORD.pack(ObjectFlags.NONE)
        case operation if operation == codes.CLUSCTL_RESOURCE_GET_CLASS_INFO & _OPERATION_BITS:
            answer = _CLASS_INFO.pack(facts.class_, facts.subclass)
        case operation if operation == codes.CLUSCTL_RESOURCE_GET_REQUIRED_DEPENDENCIES & _OPERATION_BITS:
            answer = facts.required_dependencies
        case _:
            return NOT_MINE
    return ControlAnswer(Status.ERROR_SUCCESS, answer)


def registered_types() -> tuple[RegisteredType, ...]:
    """Every standard type that this cluster only knows."""
    return tuple(RegisteredType(facts) for facts in STANDARD_TYPES.values() if facts.is_only_registered)
