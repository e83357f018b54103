"""The common properties of resources and resource types, which the host handles for every type.

The numbers are those of the pages resource-common-properties and resource-type-common-properties; times are
milliseconds there and here. What the cluster keeps or computes (Type, StatusInformation…) is read-only.
"""

from typing import Final

from quorate.clusapi.property_lists import PropertyFormat
from quorate.hosting.contract import Parameters
from quorate.hosting.property_table import DWORD_MAX, PropertyDefinition, PropertyTable, find_value
from quorate.hosting.resource_type import TypeTraits

_SZ: Final = PropertyFormat.SZ
_DWORD: Final = PropertyFormat.DWORD
_MULTI_SZ: Final = PropertyFormat.MULTI_SZ
_ULARGE: Final = PropertyFormat.ULARGE_INTEGER

RESTART_PERIOD: Final = "RestartPeriod"
RETRY_PERIOD: Final = "RetryPeriodOnFailure"
USE_TYPE_VALUE: Final = DWORD_MAX
"""A poll interval of a resource that says: as the resource type has it. So does 1."""

RESOURCE_COMMON: Final = PropertyTable(
    (
        PropertyDefinition("AdminExtensions", _MULTI_SZ, ()),
        PropertyDefinition("DeadlockTimeout", _DWORD, 300_000, minimum=1000),
        PropertyDefinition("DebugPrefix", _SZ, ""),
        PropertyDefinition("Description", _SZ, ""),
        PropertyDefinition("EmbeddedFailureAction", _DWORD, 2, maximum=2),
        PropertyDefinition("IsAlivePollInterval", _DWORD, 60_000, minimum=10, also=frozenset({1})),
        PropertyDefinition("LastOperationStatusCode", _ULARGE, 0, read_only=True),
        PropertyDefinition("LooksAlivePollInterval", _DWORD, USE_TYPE_VALUE, minimum=10),
        PropertyDefinition("MonitorProcessId", _DWORD, 0, read_only=True),
        PropertyDefinition("Name", _SZ, ""),
        PropertyDefinition("PendingTimeout", _DWORD, 180_000, minimum=10),
        PropertyDefinition("PersistentState", _DWORD, 0, maximum=1),
        PropertyDefinition("ResourceSpecificData1", _ULARGE, 0, read_only=True),
        PropertyDefinition("ResourceSpecificData2", _ULARGE, 0, read_only=True),
        PropertyDefinition("ResourceSpecificStatus", _SZ, ""),
        PropertyDefinition("RestartAction", _DWORD, 2, maximum=2),
        PropertyDefinition("RestartDelay", _DWORD, 500, read_only=True),
        PropertyDefinition(RESTART_PERIOD, _DWORD, 900_000),
        PropertyDefinition("RestartThreshold", _DWORD, 3),
        PropertyDefinition(RETRY_PERIOD, _DWORD, 3_600_000),
        PropertyDefinition("SeparateMonitor", _DWORD, 0, maximum=1, when_online=True),
        PropertyDefinition("StatusInformation", _ULARGE, 0, read_only=True),
        PropertyDefinition("Type", _SZ, "", read_only=True),
    ),
    closed=True,
)

TYPE_COMMON: Final = PropertyTable(
    (
        PropertyDefinition("AdminExtensions", _MULTI_SZ, ()),
        PropertyDefinition("DeadlockTimeout", _DWORD, 300_000, minimum=30_000),
        PropertyDefinition("DebugControlFunctions", _DWORD, 0, maximum=1),
        PropertyDefinition("DebugPrefix", _SZ, ""),
        PropertyDefinition("Description", _SZ, ""),
        PropertyDefinition("DllName", _SZ, "", read_only=True),
        PropertyDefinition("DumpLogQuery", _MULTI_SZ, ()),
        PropertyDefinition("DumpPolicy", _ULARGE, 0),
        PropertyDefinition("EnabledEventLogs", _MULTI_SZ, ()),
        PropertyDefinition("IsAlivePollInterval", _DWORD, 60_000, minimum=1),
        PropertyDefinition("LooksAlivePollInterval", _DWORD, 5_000, minimum=1),
        PropertyDefinition("Name", _SZ, "", read_only=True),  # RW on the page; but a type is found by its name
        PropertyDefinition("PendingTimeout", _DWORD, 180_000, minimum=10),
    ),
    closed=True,
)


def effective_traits(traits: TypeTraits, of_type: Parameters, of_resource: Parameters) -> TypeTraits:
    """The times that hold for a resource: its own where set, else its type's where set, else the implementation's."""
    return TypeTraits(
        notifies_failure=traits.notifies_failure,
        looks_alive_interval=_interval("LooksAlivePollInterval", traits.looks_alive_interval, of_type, of_resource),
        is_alive_interval=_interval("IsAlivePollInterval", traits.is_alive_interval, of_type, of_resource),
        pending_timeout=_seconds("PendingTimeout", traits.pending_timeout, of_type, of_resource),
        deadlock_timeout=_seconds("DeadlockTimeout", traits.deadlock_timeout, of_type, of_resource),
    )


def _interval(name: str, otherwise: float, of_type: Parameters, of_resource: Parameters) -> float:
    own = find_value(of_resource, name)
    if own is not None and own.value in (1, USE_TYPE_VALUE):
        return _seconds(name, otherwise, of_type)
    return _seconds(name, otherwise, of_type, of_resource)


def _seconds(name: str, otherwise: float, *places: Parameters) -> float:
    """The value in the last place that sets one."""
    for place in reversed(places):
        found = find_value(place, name)
        if found is not None and isinstance(found.value, int):
            return found.value / 1000
    return otherwise
