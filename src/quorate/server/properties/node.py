"""The common properties of nodes.

NodeWeight is 0 on the page, but a new node has a vote. NeedsPreventQuorum, IsPrimary and UniqueID are left out: their
formats are documented nowhere.
"""

from typing import Final

from quorate.clusapi.property_lists import PropertyFormat
from quorate.hosting.property_table import DWORD_MAX, PropertyDefinition, PropertyTable

_SZ: Final = PropertyFormat.SZ
_DWORD: Final = PropertyFormat.DWORD
_MULTI_SZ: Final = PropertyFormat.MULTI_SZ

NODE_COMMON: Final = PropertyTable(
    (
        PropertyDefinition("AdminExtensions", _MULTI_SZ, ()),
        PropertyDefinition("BuildNumber", _DWORD, 0, maximum=0xFFFFFFF, read_only=True),
        PropertyDefinition("CSDVersion", _SZ, "", read_only=True),
        PropertyDefinition("Description", _SZ, ""),
        PropertyDefinition("DynamicWeight", _DWORD, 0, maximum=1, read_only=True),
        PropertyDefinition("EnableEventLogReplication", _DWORD, 1, maximum=1),
        PropertyDefinition("FaultDomain", _MULTI_SZ, (), read_only=True),
        PropertyDefinition("FaultDomainId", _SZ, ""),
        PropertyDefinition("MajorVersion", _DWORD, 4, minimum=4, maximum=0xFFFFFFF, read_only=True),
        PropertyDefinition("Manufacturer", _SZ, "", read_only=True),
        PropertyDefinition("MinorVersion", _DWORD, 0, maximum=0xFFFFFFF, read_only=True),
        PropertyDefinition("Model", _SZ, "", read_only=True),
        PropertyDefinition("NodeDrainStatus", _DWORD, 0, maximum=3, read_only=True),
        PropertyDefinition("NodeDrainTarget", _DWORD, DWORD_MAX, read_only=True),
        PropertyDefinition("NodeHighestVersion", _DWORD, 0x100E0, minimum=0x100E0, maximum=0xFFFFFFF, read_only=True),
        PropertyDefinition("NodeLowestVersion", _DWORD, 0x100E0, minimum=0x100E0, maximum=0xFFFFFF, read_only=True),
        PropertyDefinition("NodeName", _SZ, "", read_only=True),
        PropertyDefinition("NodeWeight", _DWORD, 1, maximum=1),
        PropertyDefinition("SerialNumber", _SZ, "", read_only=True),
        PropertyDefinition("StatusInformation", _DWORD, 0, maximum=0x3F, read_only=True),
    ),
    closed=True,
)
