"""The common properties of network interfaces. Node and Network are names, as the pages have them."""

from typing import Final

from quorate.clusapi.property_lists import PropertyFormat
from quorate.hosting.property_table import PropertyDefinition, PropertyTable

_SZ: Final = PropertyFormat.SZ
_MULTI_SZ: Final = PropertyFormat.MULTI_SZ

NETWORK_INTERFACE_COMMON: Final = PropertyTable(
    (
        PropertyDefinition("Adapter", _SZ, "", read_only=True),
        PropertyDefinition("AdapterId", _SZ, "", read_only=True),
        PropertyDefinition("Address", _SZ, "", read_only=True),
        PropertyDefinition("AdminExtensions", _MULTI_SZ, ()),
        PropertyDefinition("Description", _SZ, ""),
        PropertyDefinition("DhcpEnabled", PropertyFormat.DWORD, 0, maximum=1, read_only=True),
        PropertyDefinition("IPv4Addresses", _MULTI_SZ, (), read_only=True),
        PropertyDefinition("IPv6Addresses", _MULTI_SZ, (), read_only=True),
        PropertyDefinition("Name", _SZ, "", read_only=True),
        PropertyDefinition("Network", _SZ, "", read_only=True),
        PropertyDefinition("Node", _SZ, "", read_only=True),
    ),
    closed=True,
)
