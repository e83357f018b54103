"""Networks, network interfaces and what nodes reach on them, as the database holds them.

A network's key has the names of its common properties; its subnets are the pairs of IPv4Addresses with
IPv4PrefixLengths and of IPv6Addresses with IPv6PrefixLengths. An interface's key names its node and its network by id,
and keeps its addresses with their prefix lengths in the value Addresses, which no property shows.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from quorate.clusapi.identity import NetworkId, NetworkInterfaceId, NodeId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.states import NetworkRole
from quorate.database.documents import Fields, parse_document, write_document
from quorate.database.records import Versioned
from quorate.database.values import KeyRecord, RegistryValue, RegistryValues

ADDRESSES: Final = "Addresses"
DEFAULT_METRIC: Final = 100


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """A network; ``subnets`` as "10.0.0.0/24", IPv4 first."""

    id: NetworkId
    name: str
    role: NetworkRole
    metric: int
    auto_metric: bool
    subnets: tuple[str, ...]
    properties: RegistryValues
    revision: int


@dataclass(frozen=True, slots=True)
class NetworkInterfaceInfo:
    """A network interface; ``addresses`` as "10.0.0.1/24", IPv4 first."""

    id: NetworkInterfaceId
    name: str
    node: NodeId
    network: NetworkId
    adapter: str
    adapter_id: str
    addresses: tuple[str, ...]
    dhcp: bool
    properties: RegistryValues
    revision: int

    @property
    def address(self) -> str:
        """The address that it is reached at: the first, without its prefix length; empty for none."""
        return self.addresses[0].partition("/")[0] if self.addresses else ""


def network_info(key: Versioned[KeyRecord]) -> NetworkInfo:
    """Read a network's key."""
    values = key.value.values
    return NetworkInfo(
        id=NetworkId(key.value.name),
        name=values.text("Name"),
        role=NetworkRole(values.number("Role", NetworkRole.INTERNAL_AND_CLIENT) & NetworkRole.INTERNAL_AND_CLIENT),
        metric=values.number("Metric", DEFAULT_METRIC),
        auto_metric=values.number("AutoMetric", 1) != 0,
        subnets=tuple(
            f"{address}/{length}"
            for version in ("IPv4", "IPv6")
            for address, length in zip(
                values.texts(f"{version}Addresses"), values.texts(f"{version}PrefixLengths"), strict=False
            )
        ),
        properties=values,
        revision=key.revision,
    )


def interface_info(key: Versioned[KeyRecord]) -> NetworkInterfaceInfo:
    """Read an interface's key."""
    values = key.value.values
    return NetworkInterfaceInfo(
        id=NetworkInterfaceId(key.value.name),
        name=values.text("Name"),
        node=NodeId(values.text("Node")),
        network=NetworkId(values.text("Network")),
        adapter=values.text("Adapter"),
        adapter_id=values.text("AdapterId"),
        addresses=values.texts(ADDRESSES),
        dhcp=values.number("DhcpEnabled") != 0,
        properties=values,
        revision=key.revision,
    )


def subnet_values(subnets: Sequence[str]) -> dict[str, RegistryValue | None]:
    """The values of a network's key that say its subnets."""
    networks = [ipaddress.ip_network(subnet) for subnet in subnets]
    first = next((network for network in networks if network.version == 4), networks[0] if networks else None)
    values: dict[str, RegistryValue | None] = {
        "Address": RegistryValue.sz("" if first is None else str(first.network_address)),
        "AddressMask": RegistryValue.sz("" if first is None else str(first.netmask)),
    }
    for version in (4, 6):
        of_version = [network for network in networks if network.version == version]
        addresses, lengths = ([str(n.network_address) for n in of_version], [str(n.prefixlen) for n in of_version])
        values[f"IPv{version}Addresses"] = RegistryValue.multi_sz(*addresses) if addresses else None
        values[f"IPv{version}PrefixLengths"] = RegistryValue.multi_sz(*lengths) if lengths else None
    return values


def address_values(addresses: Sequence[str]) -> dict[str, RegistryValue | None]:
    """The values of an interface's key that say its addresses."""
    bare = [ipaddress.ip_interface(address).ip for address in addresses]
    values: dict[str, RegistryValue | None] = {
        ADDRESSES: RegistryValue.multi_sz(*addresses) if addresses else None,
        "Address": RegistryValue.sz(str(bare[0]) if bare else ""),
    }
    for version in (4, 6):
        of_version = [str(address) for address in bare if address.version == version]
        values[f"IPv{version}Addresses"] = RegistryValue.multi_sz(*of_version) if of_version else None
    return values


# --- What nodes reach ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InterfaceReach:
    """What a node says of one of its interfaces: whether its link is up, who answers on it and who does not.

    Of a node that is in neither list nothing is known yet.
    """

    link: bool
    reached: frozenset[NodeId] = frozenset()
    missed: frozenset[NodeId] = frozenset()


@dataclass(frozen=True, slots=True)
class Reach:
    """The record ``private/reach/<node>``, written by the node itself and only when it changes."""

    interfaces: Mapping[NetworkInterfaceId, InterfaceReach] = field(default_factory=dict)
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        interfaces: dict[str, JsonValue] = {
            id_: {"link": reach.link, "reached": sorted(reach.reached), "missed": sorted(reach.missed)}
            for id_, reach in self.interfaces.items()
        }
        return write_document(self.VERSION, {"interfaces": interfaces}, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        what = "what a node reaches"
        fields = Fields(what, parse_document(data, cls.VERSION, what))
        found = fields.object_("interfaces")
        interfaces = {}
        for id_ in found:
            one = Fields(what, Fields(what, found).object_(id_))
            interfaces[NetworkInterfaceId(id_)] = InterfaceReach(
                one.flag("link"), _nodes(one.texts("reached")), _nodes(one.texts("missed"))
            )
        return cls(interfaces, fields.rest())


def _nodes(texts: Iterable[str]) -> frozenset[NodeId]:
    return frozenset(NodeId(text) for text in texts)


@dataclass(frozen=True, slots=True)
class Announced:
    """The record ``private/announced``: the states that the event log has told of last.

    Whoever coordinates writes it together with the events, so that every change is told once, whoever saw it.
    """

    networks: Mapping[NetworkId, int] = field(default_factory=dict)
    interfaces: Mapping[NetworkInterfaceId, int] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: dict[str, JsonValue] = {
            "networks": {str(id_): state for id_, state in self.networks.items()},
            "interfaces": {str(id_): state for id_, state in self.interfaces.items()},
            "alarms": list(self.alarms),
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        what = "the record of what was announced"
        fields = Fields(what, parse_document(data, cls.VERSION, what))
        networks, interfaces = fields.object_("networks"), fields.object_("interfaces")
        return cls(
            networks={NetworkId(id_): Fields(what, networks).number(id_) for id_ in networks},
            interfaces={NetworkInterfaceId(id_): Fields(what, interfaces).number(id_) for id_ in interfaces},
            alarms=fields.texts("alarms"),
            extra=fields.rest(),
        )
