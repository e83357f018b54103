"""The common properties of group sets.

StartupCount, StartupDelay and StartupSetting are the older names of ReadyCount, ReadyDelay and ReadySetting; they are
kept and shown, and decide nothing.
"""

from typing import Final

from quorate.clusapi.property_lists import PropertyFormat
from quorate.hosting.property_table import DWORD_MAX, PropertyDefinition, PropertyTable

_DWORD: Final = PropertyFormat.DWORD

GROUP_SET_COMMON: Final = PropertyTable(
    (
        PropertyDefinition("IsGlobal", _DWORD, 0, maximum=1),
        PropertyDefinition("Name", PropertyFormat.SZ, "", read_only=True),
        PropertyDefinition("ReadyCount", _DWORD, DWORD_MAX),
        PropertyDefinition("ReadyDelay", _DWORD, 0),
        PropertyDefinition("ReadySetting", _DWORD, 2, minimum=1, maximum=4),
        PropertyDefinition("StartupCount", _DWORD, DWORD_MAX),
        PropertyDefinition("StartupDelay", _DWORD, 20),  # the page names a symbol only
        PropertyDefinition("StartupSetting", _DWORD, 1, minimum=1, maximum=4),
        PropertyDefinition("StatusInformation", PropertyFormat.ULARGE_INTEGER, 0, maximum=8, read_only=True),
    ),
    closed=True,
)
