"""The common properties of networks.

Name is read-only on the page, which tells to call SetClusterNetworkName; here a changed Name renames, as with groups.
Setting Metric sets AutoMetric to 0; setting AutoMetric to 1 lets the cluster choose the Metric again. LinkSpeed,
RdmaCapable and RssCapable are left out: their formats are documented nowhere.
"""

from typing import Final

from quorate.clusapi.property_lists import PropertyFormat
from quorate.hosting.property_table import PropertyDefinition, PropertyTable

_SZ: Final = PropertyFormat.SZ
_DWORD: Final = PropertyFormat.DWORD
_MULTI_SZ: Final = PropertyFormat.MULTI_SZ

NAME: Final = "Name"
ROLE: Final = "Role"
METRIC: Final = "Metric"
AUTO_METRIC: Final = "AutoMetric"

NETWORK_COMMON: Final = PropertyTable(
    (
        PropertyDefinition("Address", _SZ, "", read_only=True),
        PropertyDefinition("AddressMask", _SZ, "", read_only=True),
        PropertyDefinition("AdminExtensions", _MULTI_SZ, ()),
        PropertyDefinition(AUTO_METRIC, _DWORD, 1, maximum=1),
        PropertyDefinition("Description", _SZ, ""),
        PropertyDefinition("IPv4Addresses", _MULTI_SZ, (), read_only=True),
        PropertyDefinition("IPv4PrefixLengths", _MULTI_SZ, (), read_only=True),
        PropertyDefinition("IPv6Addresses", _MULTI_SZ, (), read_only=True),
        PropertyDefinition("IPv6PrefixLengths", _MULTI_SZ, (), read_only=True),
        PropertyDefinition(METRIC, _DWORD, 100, minimum=1, maximum=0x0FFFFFFF),
        PropertyDefinition(NAME, _SZ, ""),
        PropertyDefinition(ROLE, _DWORD, 3, maximum=3),
    ),
    closed=True,
)
