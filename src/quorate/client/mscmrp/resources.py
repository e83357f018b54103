"""Operations on resources."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from quorate.client.mscmrp.common import about, changes, controls, enumerates, identity, relates, renames
from quorate.client.mscmrp.kinds import GROUP, NODE, RESOURCE, SET_PRIVATE
from quorate.client.mscmrp.migration import modern_answer
from quorate.client.mscmrp.session import Outputs, Performer, Session, refusal
from quorate.clusapi.errors import CallerError, ClusterError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_types import Access
from quorate.clusapi.operation_values import Values
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list
from quorate.clusapi.states import ClusterEnum, ResourceEnum
from quorate.clusapi.status import Status
from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp import resource_methods as r
from quorate.mscmrp.shapes import ControlIn, HandleContextIn, HandleFlagsIn, HandleIn, TwoHandlesIn

_RELATED: Final = {
    int(ResourceEnum.DEPENDS): ClusterEnum.RESOURCE,
    int(ResourceEnum.PROVIDES): ClusterEnum.RESOURCE,
    int(ResourceEnum.NODES): ClusterEnum.NODE,
}


async def find(session: Session, inputs: Values) -> Outputs:
    """Id, name, type and group."""
    name = inputs.text("resource")
    async with session.opened(RESOURCE, name) as handle:
        id_, own = await identity(session, RESOURCE, handle, name)
        type_ = (await session.call(r.GET_RESOURCE_TYPE, HandleIn(handle), about(RESOURCE, name))).text
        state = await session.call(r.GET_RESOURCE_STATE, HandleIn(handle), about(RESOURCE, name))
    group = await session.named(ClusterEnum.GROUP, state.group_name or "")
    return {"id": id_, "name": own, "type": type_ or "", "group": group.id}


async def get_state(session: Session, inputs: Values) -> Outputs:
    """State, owner and group."""
    name = inputs.text("resource")
    async with session.opened(RESOURCE, name) as handle:
        told = await session.call(r.GET_RESOURCE_STATE, HandleIn(handle), about(RESOURCE, name))
        return {"state": told.state, "node": told.node_name or "", "group": told.group_name or ""}


async def create(session: Session, inputs: Values) -> Outputs:
    """Add a resource to a group, and set its private properties; if these are refused, it is removed again."""
    group, name, type_ = inputs.text("group"), inputs.text("name"), inputs.text("type")
    wanted = _property_list(inputs.json("parameters"))
    async with session.opened(GROUP, group, Access.FULL) as owner:
        asked = r.CreateResourceIn(owner, name, type_, inputs.optional_number("flags") or 0)
        async with session.created(r.CREATE_RESOURCE, asked, RESOURCE, about(RESOURCE, name)) as handle:
            if wanted is not None:
                await _set_private(session, handle, name, wanted)
            id_, own = await identity(session, RESOURCE, handle, name)
            return {"id": id_, "name": own}


async def online(session: Session, inputs: Values) -> Outputs:
    """Bring it online."""
    name = inputs.text("resource")
    async with session.opened(RESOURCE, name, Access.FULL) as handle:
        asked = HandleContextIn(handle, inputs.optional_number("flags") or 0)
        return await session.change(r.ONLINE_RESOURCE_EX, asked, about(RESOURCE, name))


async def offline(session: Session, inputs: Values) -> Outputs:
    """Take it offline."""
    name = inputs.text("resource")
    async with session.opened(RESOURCE, name, Access.FULL) as handle:
        buffer = inputs.optional_data("in_buffer") or b""
        asked = HandleContextIn(handle, inputs.optional_number("flags") or 0, buffer)
        return await session.change(r.OFFLINE_RESOURCE_EX, asked, about(RESOURCE, name))


async def control(session: Session, inputs: Values) -> Outputs:
    """A control code; a migration of a server that does it otherwise is asked for otherwise."""
    answer = await controls(RESOURCE, "resource")(session, inputs)
    return await modern_answer(session, inputs, answer) or answer


async def change_group(session: Session, inputs: Values) -> Outputs:
    """Put it into another group."""
    if inputs.optional_number("flags"):
        raise CallerError(Status.ERROR_CALL_NOT_IMPLEMENTED, "flags: ChangeResourceGroup has none in MS-CMRP")
    return await relates(RESOURCE, "resource", r.CHANGE_RESOURCE_GROUP, GROUP, "group")(session, inputs)


async def can_be_dependent(session: Session, inputs: Values) -> Outputs:
    """Whether it could depend on another one: the status is the answer."""
    name, provider = inputs.text("resource"), inputs.text("depends_on")
    async with session.opened(RESOURCE, name) as handle, session.opened(RESOURCE, provider) as other:
        told = await session.ask(r.CAN_RESOURCE_BE_DEPENDENT, TwoHandlesIn(handle, other))
    sentence = None if told.status == 0 else f"{about(RESOURCE, name)}: {Status(told.status).meaning}"
    return {"status": told.status, "sentence": sentence}


async def restart(session: Session, inputs: Values) -> Outputs:
    """Take it offline and bring it online again."""
    name = inputs.text("resource")
    async with session.opened(RESOURCE, name, Access.FULL) as handle:
        asked = HandleFlagsIn(handle, inputs.optional_number("flags") or 0)
        return await session.change(r.RESTART_RESOURCE, asked, about(RESOURCE, name))


async def change_csv_state(session: Session, inputs: Values) -> Outputs:
    """Make a disk a shared volume, or take it back."""
    name, state, volume = inputs.text("resource"), inputs.number("state"), inputs.optional_text("volume")
    async with session.opened(RESOURCE, name, Access.FULL) as handle:
        if volume is None:
            return await session.change(r.CHANGE_CSV_STATE, HandleFlagsIn(handle, state), about(RESOURCE, name))
        asked = r.ChangeCsvStateExIn(handle, state, volume)
        return await session.change(r.CHANGE_CSV_STATE_EX, asked, about(RESOURCE, name))


async def get_network_name(session: Session, inputs: Values) -> Outputs:
    """The network name that it depends on."""
    name = inputs.text("resource")
    async with session.opened(RESOURCE, name) as handle:
        told = await session.call(r.GET_RESOURCE_NETWORK_NAME, HandleIn(handle), about(RESOURCE, name))
        return {"name": told.text or ""}


async def get_expression(session: Session, inputs: Values) -> Outputs:
    """What it depends on."""
    name = inputs.text("resource")
    async with session.opened(RESOURCE, name) as handle:
        told = await session.call(r.GET_RESOURCE_DEPENDENCY_EXPRESSION, HandleIn(handle), about(RESOURCE, name))
        return {"expression": told.text or ""}


async def set_expression(session: Session, inputs: Values) -> Outputs:
    """Set what it depends on."""
    name = inputs.text("resource")
    async with session.opened(RESOURCE, name, Access.FULL) as handle:
        asked = r.SetResourceDependencyExpressionIn(handle, inputs.text("expression"))
        return await session.change(r.SET_RESOURCE_DEPENDENCY_EXPRESSION, asked, about(RESOURCE, name))


async def _set_private(session: Session, handle: ContextHandle, name: str, wanted: bytes) -> None:
    code = RESOURCE.code(SET_PRIVATE)
    answer = await session.ask(r.RESOURCE_CONTROL, ControlIn(handle, code, wanted, 0))
    if answer.status not in (Status.ERROR_SUCCESS, Status.ERROR_RESOURCE_PROPERTIES_STORED):
        with suppress(ClusterError):  # the first error is the one to be told
            await session.ask(r.DELETE_RESOURCE, HandleIn(handle))
        raise refusal(answer.status, f"the parameters of {about(RESOURCE, name)}")


def _property_list(parameters: JsonObject) -> bytes | None:
    """Private properties as a control code takes them. Raises CallerError 87."""
    if not parameters:
        return None
    items: list[tuple[str, PropertyFormat, int | str]] = []
    for name, value in parameters.items():
        if isinstance(value, str):
            items.append((name, PropertyFormat.SZ, value))
        elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFFFFFF:
            items.append((name, PropertyFormat.DWORD, value))
        else:
            sentence = f"parameters: {name} is neither a text nor an unsigned number"
            raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
    return pack_property_list(PropertyList.of(items))


PERFORMERS: Final[Mapping[str, Performer]] = {
    "GetResourceId": find,
    "GetResourceState": get_state,
    "CreateResource": create,
    "DeleteResource": changes(RESOURCE, "resource", r.DELETE_RESOURCE),
    "OnlineResource": online,
    "OfflineResource": offline,
    "FailResource": changes(RESOURCE, "resource", r.FAIL_RESOURCE),
    "AddResourceNode": relates(RESOURCE, "resource", r.ADD_RESOURCE_NODE, NODE, "node"),
    "RemoveResourceNode": relates(RESOURCE, "resource", r.REMOVE_RESOURCE_NODE, NODE, "node"),
    "RestartResource": restart,
    "ChangeCsvState": change_csv_state,
    "GetResourceNetworkName": get_network_name,
    "ResourceControl": control,
    "CreateResEnum": enumerates(RESOURCE, "resource", r.CREATE_RES_ENUM, _RELATED),
    "SetResourceName": renames(RESOURCE, "resource", r.SET_RESOURCE_NAME),
    "ChangeResourceGroup": change_group,
    "AddResourceDependency": relates(RESOURCE, "resource", r.ADD_RESOURCE_DEPENDENCY, RESOURCE, "depends_on"),
    "RemoveResourceDependency": relates(RESOURCE, "resource", r.REMOVE_RESOURCE_DEPENDENCY, RESOURCE, "depends_on"),
    "CanResourceBeDependent": can_be_dependent,
    "SetResourceDependencyExpression": set_expression,
    "GetResourceDependencyExpression": get_expression,
}
