"""The common properties of groups.

Name is read-only on the page, which tells to call SetClusterGroupName; here a changed Name renames, as with resources.
PersistentState and DefaultOwner are kept with the group's run state, all else in the group's key.
"""

from typing import Final

from quorate.clusapi.property_lists import PropertyFormat
from quorate.clusapi.states import GroupPriority, GroupType
from quorate.hosting.property_table import DWORD_MAX, PropertyDefinition, PropertyTable

_SZ: Final = PropertyFormat.SZ
_DWORD: Final = PropertyFormat.DWORD
_MULTI_SZ: Final = PropertyFormat.MULTI_SZ
_ULARGE: Final = PropertyFormat.ULARGE_INTEGER
_NONE: Final = frozenset({DWORD_MAX})

NAME: Final = "Name"
PERSISTENT_STATE: Final = "PersistentState"
DEFAULT_OWNER: Final = "DefaultOwner"

GROUP_COMMON: Final = PropertyTable(
    (
        PropertyDefinition("AdminExtensions", _MULTI_SZ, ()),
        PropertyDefinition("AntiAffinityClassNames", _MULTI_SZ, ()),
        PropertyDefinition("AutoFailbackType", _DWORD, 0, maximum=1),
        PropertyDefinition("CCFEpoch", _ULARGE, 0),  # 0 to 0 on the page, which stands for no limits
        PropertyDefinition("ColdStartSetting", _DWORD, 0, maximum=2),
        PropertyDefinition(DEFAULT_OWNER, _DWORD, DWORD_MAX, maximum=512, also=_NONE),
        PropertyDefinition("Description", _SZ, ""),
        PropertyDefinition("FailbackWindowEnd", _DWORD, DWORD_MAX, maximum=23, also=_NONE),
        PropertyDefinition("FailbackWindowStart", _DWORD, DWORD_MAX, maximum=23, also=_NONE),
        PropertyDefinition("FailoverPeriod", _DWORD, 6, maximum=1193),
        PropertyDefinition("FailoverThreshold", _DWORD, DWORD_MAX),
        PropertyDefinition("FaultDomain", _DWORD, 0),  # no page
        PropertyDefinition("GroupStartDelay", _DWORD, 0, maximum=1_800_000),
        PropertyDefinition("GroupType", _DWORD, int(GroupType.UNKNOWN), minimum=100, maximum=9999, read_only=True),
        PropertyDefinition("LockedFromMoving", _DWORD, 0, maximum=1),
        PropertyDefinition(NAME, _SZ, ""),
        PropertyDefinition(PERSISTENT_STATE, _DWORD, 0, maximum=1),
        PropertyDefinition("PlacementOptions", _DWORD, 0, maximum=1),
        PropertyDefinition("PreferredSite", _MULTI_SZ, ()),
        PropertyDefinition("Priority", _DWORD, int(GroupPriority.MEDIUM), maximum=int(GroupPriority.HIGH)),
        PropertyDefinition("ResiliencyPeriod", _DWORD, 0),
        PropertyDefinition("StatusInformation", _ULARGE, 0, maximum=0x7FF, read_only=True),
        PropertyDefinition("UpdateDomain", _DWORD, 0),  # no page
    ),
    closed=True,
)
