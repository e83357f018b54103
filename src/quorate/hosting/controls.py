"""Who answers a control code, and in which order.

::

    the code is none at all (of object 0)                                        1  ERROR_INVALID_FUNCTION
    the object of the code is another one (a group's code on a resource)        87  ERROR_INVALID_PARAMETER
    the code is internal (bit 20): for the cluster to send, not for callers      1  ERROR_INVALID_FUNCTION
    the resource is not hosted here, VM START and CANCEL                      5023  ERROR_INVALID_STATE
    the resource is not hosted here, any other code                           5015  ERROR_HOST_NODE_NOT_RESOURCE_OWNER
    a code that no type ever sees                                                   the cluster
    every other code         1. the resource type   2. the hosting default   3. the cluster

The next one is asked only when the one before answers ERROR_INVALID_FUNCTION. Private properties that an answer changes
are stored before the caller hears of it. An output that does not fit is not returned: the status is ERROR_MORE_DATA,
``required`` says how much room it takes.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from quorate.clusapi import control_codes as codes
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.errors import CallerError, ClusterError, RefusalError
from quorate.clusapi.property_lists import PropertyFormat, PropertyValue
from quorate.clusapi.status import Status
from quorate.hosting.cluster_handling import NEVER_FOR_TYPES
from quorate.hosting.common_properties import RESOURCE_COMMON, RESTART_PERIOD, RETRY_PERIOD, TYPE_COMMON
from quorate.hosting.contract import (
    NOT_MINE,
    ClusterHandling,
    ControlAnswer,
    ControlResult,
    Parameters,
    PropertyOwner,
    PropertyScope,
    PropertyStore,
    ResourceProperties,
    TypeProperties,
)
from quorate.hosting.hosted_resource import HostedResource
from quorate.hosting.property_codes import PropertyRequest, answer_from_table, request_of, stored_answer
from quorate.hosting.property_table import NO_TABLE, PropertyTable, find_value, with_changes
from quorate.hosting.resource_state import State
from quorate.hosting.resource_type import ResourceType

_INTERNAL: Final = 0x00100000
_MIGRATION: Final = frozenset({codes.CLUSCTL_RESOURCE_VM_START_MIGRATION, codes.CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION})
_STORED: Final = frozenset({Status.ERROR_SUCCESS, Status.ERROR_RESOURCE_PROPERTIES_STORED})
_NOT_ONLINE: Final = frozenset({State.OFFLINE.shown, State.FAILED.shown})


class Controls:
    """The dispatch of control codes on one node."""

    def __init__(self, store: PropertyStore, cluster: ClusterHandling) -> None:
        """Take where properties are kept, and the cluster's own handling."""
        self._store = store
        self._cluster = cluster

    async def resource_control(
        self,
        resource: HostedResource | None,
        code: int,
        data: bytes | None,
        out_size: int | None,
        process_id: Callable[[], int],
    ) -> ControlResult:
        """Answer a code for a resource; None when this node does not host it."""

        async def answer() -> ControlAnswer:
            _check_code(code, ControlObject.RESOURCE)
            return await self._resource_answer(_hosted(resource, code), code, data, process_id)

        return await _result(answer, out_size)

    async def resource_type_control(
        self,
        type_: ResourceType,
        code: int,
        data: bytes | None,
        out_size: int | None,
        call: Callable[[Parameters], Awaitable[ControlAnswer]],
    ) -> ControlResult:
        """Answer a code for a type; ``call`` calls the entry point, timed."""

        async def answer() -> ControlAnswer:
            _check_code(code, ControlObject.RESOURCE_TYPE)
            return await self._type_answer(type_, code, data, call)

        return await _result(answer, out_size)

    # --- Resources ---------------------------------------------------------------------------------------------

    async def _resource_answer(
        self, resource: HostedResource, code: int, data: bytes | None, process_id: Callable[[], int]
    ) -> ControlAnswer:
        facts = resource.facts
        if code in NEVER_FOR_TYPES:
            return await self._cluster.resource_control(facts, code, data)
        private = ResourceProperties(facts.id, PropertyScope.PRIVATE)
        stored = await self._store.read(private)
        answer = await resource.control(code, data, stored)
        if answer.status == Status.ERROR_INVALID_FUNCTION:
            answer = await self._private_default(code, data, stored)
        if answer.status == Status.ERROR_INVALID_FUNCTION:
            answer = await self._common_default(resource, code, data, process_id)
        if answer.status == Status.ERROR_INVALID_FUNCTION:
            answer = await self._cluster.resource_control(facts, code, data)
        await self._keep(private, answer)
        return answer

    async def _common_default(
        self, resource: HostedResource, code: int, data: bytes | None, process_id: Callable[[], int]
    ) -> ControlAnswer:
        request = request_of(code, PropertyScope.COMMON)
        if request is None:
            return NOT_MINE
        owner = ResourceProperties(resource.facts.id, PropertyScope.COMMON)
        live = {  # the name and the type that are stored are newer, if they are
            "Name": PropertyValue.of(PropertyFormat.SZ, resource.facts.name),
            "Type": PropertyValue.of(PropertyFormat.SZ, resource.facts.type),
            "MonitorProcessId": PropertyValue.of(PropertyFormat.DWORD, process_id()),
            "LastOperationStatusCode": PropertyValue.of(PropertyFormat.ULARGE_INTEGER, int(resource.last_status)),
            "StatusInformation": PropertyValue.of(PropertyFormat.ULARGE_INTEGER, int(resource.status_information)),
        }
        stored = with_changes(live, await self._store.read(owner))
        is_online = resource.state not in _NOT_ONLINE
        answer = await self._common(owner, RESOURCE_COMMON, request, stored, data, is_online=is_online)
        if request is PropertyRequest.SET:
            await resource.refresh()
        return answer

    # --- Types -------------------------------------------------------------------------------------------------

    async def _type_answer(
        self,
        type_: ResourceType,
        code: int,
        data: bytes | None,
        call: Callable[[Parameters], Awaitable[ControlAnswer]],
    ) -> ControlAnswer:
        private = TypeProperties(type_.name, PropertyScope.PRIVATE)
        stored = await self._store.read(private)
        try:
            answer = await call(stored)
        except ClusterError as error:
            is_common = request_of(code, PropertyScope.COMMON) is not None
            if error.status != Status.ERROR_CLUSTER_RESOURCE_TYPE_NOT_FOUND or not is_common:
                raise
            answer = NOT_MINE  # nothing that is installed here carries it out; its common properties are the cluster's
        if answer.status == Status.ERROR_INVALID_FUNCTION:
            answer = await self._private_default(code, data, stored, of_type=True)
        if answer.status == Status.ERROR_INVALID_FUNCTION:
            answer = await self._type_default(type_, code, data)
        if answer.status == Status.ERROR_INVALID_FUNCTION:
            answer = await self._cluster.resource_type_control(type_.name, code, data)
        await self._keep(private, answer)
        return answer

    async def _type_default(self, type_: ResourceType, code: int, data: bytes | None) -> ControlAnswer:
        if code == codes.CLUSCTL_RESOURCE_TYPE_GET_COMMON_RESOURCE_PROPERTY_FMTS:
            return ControlAnswer(Status.ERROR_SUCCESS, RESOURCE_COMMON.pack_formats({}))
        request = request_of(code, PropertyScope.COMMON)
        if request is None:
            return NOT_MINE
        owner = TypeProperties(type_.name, PropertyScope.COMMON)
        live = {"Name": PropertyValue.of(PropertyFormat.SZ, type_.name)}
        stored = with_changes(live, await self._store.read(owner))  # CreateResourceType may give it another to show
        return await self._common(owner, TYPE_COMMON, request, stored, data, is_online=False)

    # --- Both --------------------------------------------------------------------------------------------------

    async def _private_default(
        self, code: int, data: bytes | None, stored: Parameters, *, of_type: bool = False
    ) -> ControlAnswer:
        """For a type that leaves its private properties to the host: stored and returned, never checked."""
        request = request_of(code, PropertyScope.PRIVATE)
        if request is None:
            return NOT_MINE
        return answer_from_table(request, NO_TABLE, stored, data, of_type=of_type)

    async def _common(
        self,
        owner: PropertyOwner,
        table: PropertyTable,
        request: PropertyRequest,
        stored: Parameters,
        data: bytes | None,
        *,
        is_online: bool,
    ) -> ControlAnswer:
        if request not in (PropertyRequest.SET, PropertyRequest.VALIDATE):
            return answer_from_table(request, table, stored, data)
        changes = table.parse_changes(data)
        _check_name(changes, stored)
        _check_retry(table, changes, stored)
        if request is PropertyRequest.VALIDATE:
            return ControlAnswer(Status.ERROR_SUCCESS)
        answer = stored_answer(table, changes, is_online=is_online)
        if answer.changes:
            await self._store.write(owner, answer.changes)
        return ControlAnswer(answer.status, sentence=answer.sentence)

    async def _keep(self, owner: PropertyOwner, answer: ControlAnswer) -> None:
        if answer.changes and answer.status in _STORED:
            await self._store.write(owner, answer.changes)


def _check_code(code: int, object_: ControlObject) -> None:
    if not code >> 24:
        raise CallerError(Status.ERROR_INVALID_FUNCTION, f"0x{code:08X} is a control code of no object")
    if code >> 24 != object_:
        sentence = f"control code 0x{code:08X} is addressed to object {code >> 24}, not to a {object_.name.lower()}"
        raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
    if code & _INTERNAL:
        sentence = f"control code 0x{code:08X} is internal: the cluster sends it to resource types, nobody else does"
        raise CallerError(Status.ERROR_INVALID_FUNCTION, sentence)


def _hosted(resource: HostedResource | None, code: int) -> HostedResource:
    if resource is not None:
        return resource
    if code in _MIGRATION:
        raise RefusalError(Status.ERROR_INVALID_STATE, "this node does not host the VM: no VM of that name runs here")
    raise RefusalError(Status.ERROR_HOST_NODE_NOT_RESOURCE_OWNER, "this node does not host the resource")


def _check_name(changes: dict[str, PropertyValue], stored: Parameters) -> None:
    """Refuse a name of nothing, and leave out a name that is the present one: then nothing is renamed."""
    name = changes.get("Name")
    if name is None:
        return
    if not str(name.value).strip():
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "a name needs at least one character")
    if name == find_value(stored, "Name"):
        del changes["Name"]


def _check_retry(table: PropertyTable, changes: Mapping[str, PropertyValue], stored: Parameters) -> None:
    """Refuse a RetryPeriodOnFailure that is shorter than RestartPeriod, which is its least value."""
    if find_value(changes, RETRY_PERIOD) is None:
        return
    after = with_changes(stored, changes)
    retry, period = table.number(after, RETRY_PERIOD), table.number(after, RESTART_PERIOD)
    if retry < period:
        sentence = f"property {RETRY_PERIOD} takes numbers from {RESTART_PERIOD} on, {period}; {retry} is below"
        raise CallerError(Status.ERROR_INVALID_DATA, sentence)


async def _result(answer: Callable[[], Awaitable[ControlAnswer]], out_size: int | None) -> ControlResult:
    """Turn an answer or a refusal into what the caller gets."""
    try:
        found = await answer()
    except ClusterError as error:
        return ControlResult(error.status, b"", 0, error.sentence)
    if found.status == Status.ERROR_INVALID_FUNCTION:
        return ControlResult(found.status, b"", 0, found.sentence or "nobody knows this control code for this object")
    size = len(found.output)
    if out_size is not None and size > out_size:
        sentence = f"the output takes {size} bytes; there is room for {out_size}"
        return ControlResult(Status.ERROR_MORE_DATA, b"", size, sentence)
    return ControlResult(found.status, found.output, size, found.sentence)
