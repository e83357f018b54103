"""Operations that make, delete and list resource types."""

from typing import Final

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.operation_values import Values
from quorate.clusapi.property_lists import Property, PropertyFormat, PropertyValue
from quorate.clusapi.resource_types import IS_ALIVE_MS, LOOKS_ALIVE_MS, standard_type
from quorate.clusapi.states import ResourceTypeEnum
from quorate.clusapi.status import Status
from quorate.database.snapshot import ResourceTypeInfo
from quorate.database.values import RegistryValue
from quorate.hosting.common_properties import TYPE_COMMON
from quorate.server.call import Call, done
from quorate.server.entries import fitting

_DEFAULT: Final = 0xFFFFFFFF


async def create(call: Call) -> Values:
    """Register a type; a resource of it goes online where a package with that entry point is installed."""
    inputs = call.inputs
    name = inputs.text("name")
    properties = {
        "Name": RegistryValue.sz(inputs.optional_text("display_name") or name),
        "DllName": RegistryValue.sz(inputs.optional_text("dll_name") or ""),
        "LooksAlivePollInterval": _interval(call, "looks_alive", "LooksAlivePollInterval", LOOKS_ALIVE_MS),
        "IsAlivePollInterval": _interval(call, "is_alive", "IsAlivePollInterval", IS_ALIVE_MS),
    }
    event = call.event(EventKind.RESOURCE_TYPE_ADDED, name, name, f'the resource type "{name}" was registered')
    await call.services.database.resource_types.create(name, properties, events=(event,))
    return done()


async def delete(call: Call) -> Values:
    """Delete a type of which there is no resource."""
    name = _type(call).name
    event = call.event(EventKind.RESOURCE_TYPE_DELETED, name, name, f'the resource type "{name}" was deleted')
    await call.services.database.resource_types.delete(name, events=(event,))
    return done()


async def create_enum(call: Call) -> Values:
    """The nodes that can carry it out, none for a type that is only registered; and the resources of the type."""
    info, mask, snapshot = _type(call), call.inputs.number("mask"), call.snapshot
    folded = info.name.casefold()
    facts = standard_type(info.name)
    nodes = () if facts is not None and facts.is_only_registered else tuple(snapshot.nodes.values())
    resources = [one for one in snapshot.resources.values() if one.type.casefold() == folded]
    return Values(
        {
            "entries": (
                *fitting(mask, ResourceTypeEnum.NODES, nodes),
                *fitting(mask, ResourceTypeEnum.RESOURCES, resources),
            )
        }
    )


def check_can_be_made(info: ResourceTypeInfo) -> None:
    """Refuse a resource of a type that this cluster does not carry out. Raises RefusalError 5079."""
    facts = standard_type(info.name)
    if facts is not None and facts.refusal:
        sentence = f'no resource of the type "{info.name}" can be made here: {facts.refusal}'
        raise RefusalError(Status.ERROR_CLUSTER_RESTYPE_NOT_SUPPORTED, sentence)


def _interval(call: Call, name: str, property_: str, otherwise: int) -> RegistryValue:
    given = call.inputs.optional_number(name)
    number = otherwise if given is None or given == _DEFAULT else given
    definition = TYPE_COMMON.find(property_)
    assert definition is not None, "it is a common property"
    try:
        definition.check(Property(property_, (PropertyValue.of(PropertyFormat.DWORD, number),)))
    except CallerError as error:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{name}: {error.sentence}") from None
    return RegistryValue.dword(number)


def _type(call: Call) -> ResourceTypeInfo:
    return call.snapshot.resource_type(call.inputs.text("type"))
