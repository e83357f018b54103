"""The property store over the cluster database: properties are values of registry keys.

Common properties are values of ``Resources\\<id>`` and ``ResourceTypes\\<name>``, private ones of the key
``Parameters`` below. The registry knows fewer formats than property lists do; a value in another format (LONG,
FILETIME…) is refused, since it would come back as something else.
"""

from collections.abc import Mapping
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.property_lists import PropertyFormat, PropertyValue
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.values import RegistryType, RegistryValue
from quorate.hosting.contract import (
    Changes,
    Parameters,
    PropertyOwner,
    PropertyScope,
    PropertyStore,
    ResourceProperties,
)

_FORMATS: Final[Mapping[RegistryType, PropertyFormat]] = {
    RegistryType.SZ: PropertyFormat.SZ,
    RegistryType.EXPAND_SZ: PropertyFormat.EXPAND_SZ,
    RegistryType.BINARY: PropertyFormat.BINARY,
    RegistryType.DWORD: PropertyFormat.DWORD,
    RegistryType.MULTI_SZ: PropertyFormat.MULTI_SZ,
    RegistryType.QWORD: PropertyFormat.ULARGE_INTEGER,
}
_TYPES: Final[Mapping[int, RegistryType]] = {format_: kind for kind, format_ in _FORMATS.items()}
_NAME: Final = "name"


class RegistryProperties(PropertyStore):
    """Reads and writes the properties of resources and resource types in the cluster database."""

    def __init__(self, database: ClusterDatabase) -> None:
        """Take the database, which stays the caller's to close."""
        self._database = database

    async def read(self, owner: PropertyOwner) -> Parameters:
        """All stored values; a key that is not there holds none."""
        path = _path(owner)
        return from_registry(await self._database.key_values(path, private=owner.scope is PropertyScope.PRIVATE))

    async def write(self, owner: PropertyOwner, changes: Changes) -> None:
        """Store all changes or none; a changed name of a resource renames it."""
        values = to_registry({name: value for name, value in changes.items() if not _is_name(owner, name)})
        if owner.scope is PropertyScope.PRIVATE:
            await self._database.set_parameters(_path(owner), values)
        elif isinstance(owner, ResourceProperties):
            name = next((value for name, value in changes.items() if value and _is_name(owner, name)), None)
            new_name = None if name is None else str(name.value)
            await self._database.configure_resource(owner.resource_id, values, name=new_name)
        else:
            await self._database.set_values(_path(owner), values)


def _is_name(owner: PropertyOwner, name: str) -> bool:
    common = isinstance(owner, ResourceProperties) and owner.scope is PropertyScope.COMMON
    return common and name.casefold() == _NAME


def _path(owner: PropertyOwner) -> str:
    if isinstance(owner, ResourceProperties):
        return keys.resource_path(owner.resource_id)
    return keys.resource_type_path(owner.type_name)


def from_registry(values: Mapping[str, RegistryValue]) -> Parameters:
    """The values of a registry key as properties."""
    return {name: PropertyValue.of(_FORMATS[value.type], value.data) for name, value in values.items()}


def to_registry(changes: Changes) -> dict[str, RegistryValue | None]:
    """Changed properties as values of a registry key. Raises CallerError 13 for a format that it does not know."""
    return {name: None if value is None else _value(name, value) for name, value in changes.items()}


def _value(name: str, value: PropertyValue) -> RegistryValue:
    kind = _TYPES.get(value.syntax.format_word)
    data = value.value
    if kind is None or not isinstance(data, int | str | bytes | tuple):
        raise CallerError(
            Status.ERROR_INVALID_DATA,
            f"property {name} is a {value.syntax.name}; the cluster database keeps DWORDs, 64-bit numbers, "
            "texts, lists of texts and bytes",
        )
    if isinstance(data, tuple):
        return RegistryValue.multi_sz(*(text for text in data if isinstance(text, str)))
    return RegistryValue(kind, data)
