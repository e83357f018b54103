"""Which networks the cluster has: a pure plan from what one node finds on itself and what the database knows already.

A network is a set of subnets that are reached through the same adapters; an interface is one adapter of one node on one
network. Whichever node finds a subnet first makes the network; every other node finds it there. A node has one
interface on a network: a second adapter in the same subnet is left alone, since nothing decides through which of the
two a packet leaves.

An interface is known again by its adapter's name, or by being the only one that its node has on that network: so an
adapter that was renamed, or put under a bridge that took its addresses over, keeps its object. Objects of an adapter
that is gone, and of a node that is no longer in the cluster, are removed; a network without interfaces goes with them.
"""

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import NetworkId, NetworkInterfaceId, NodeId
from quorate.clusapi.states import NetworkRole

T = TypeVar("T")

_NAME: Final = re.compile(r"Cluster Network (\d+)", re.IGNORECASE)
_INTERNAL_METRIC: Final = 40_240
_CLIENT_METRIC: Final = 70_240
_METRIC_STEP: Final = 16


@dataclass(frozen=True, slots=True)
class FoundInterface:
    """An adapter of this node that may carry the cluster's traffic, as the kernel shows it."""

    adapter: str  # the kernel's name
    adapter_id: str  # its hardware address
    addresses: tuple[str, ...]  # "10.0.0.1/24": IPv4 first, the adapter's first address first; may be none
    dhcp: bool = False

    @property
    def subnets(self) -> tuple[str, ...]:
        """The subnets of its addresses, each once, IPv4 first."""
        return tuple(dict.fromkeys(str(ipaddress.ip_interface(address).network) for address in self.addresses))


@dataclass(frozen=True, slots=True)
class KnownNetwork:
    """A network in the database."""

    id: NetworkId
    name: str
    subnets: tuple[str, ...]
    metric: int


@dataclass(frozen=True, slots=True)
class KnownInterface:
    """An interface in the database."""

    id: NetworkInterfaceId
    name: str
    node: NodeId
    network: NetworkId
    adapter: str
    adapter_id: str
    addresses: tuple[str, ...]
    dhcp: bool


@dataclass(frozen=True, slots=True)
class NewNetwork:
    """A network to be made."""

    id: NetworkId
    name: str
    subnets: tuple[str, ...]
    role: NetworkRole
    metric: int


@dataclass(frozen=True, slots=True)
class Planned(Generic[T]):
    """One thing to do: the object as it shall be, or that is removed, with the sentence of its event."""

    what: T
    sentence: str


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """What is to be written, all at once. Removals stand alone: what takes their names comes with the next plan."""

    new_networks: tuple[Planned[NewNetwork], ...] = ()
    grown_networks: tuple[Planned[KnownNetwork], ...] = ()  # with subnets that they did not have
    new_interfaces: tuple[Planned[KnownInterface], ...] = ()
    changed_interfaces: tuple[Planned[KnownInterface], ...] = ()
    removed_interfaces: tuple[Planned[KnownInterface], ...] = ()
    removed_networks: tuple[Planned[KnownNetwork], ...] = ()
    left_alone: tuple[str, ...] = ()  # sentences: adapters that are not used, and why

    @property
    def is_empty(self) -> bool:
        """Answer whether there is nothing to write."""
        return not (
            self.new_networks
            or self.grown_networks
            or self.new_interfaces
            or self.changed_interfaces
            or self.removed_interfaces
            or self.removed_networks
        )


@dataclass(frozen=True, slots=True)
class NetworkSituation:
    """What a plan is made from."""

    node: NodeId
    node_name: str
    nodes: frozenset[NodeId]  # of the cluster
    up: frozenset[NodeId]  # those of them that are up: what the database says of the others may have been long ago
    networks: tuple[KnownNetwork, ...]
    interfaces: tuple[KnownInterface, ...]
    role: NetworkRole = NetworkRole.INTERNAL_AND_CLIENT  # of a new network: DefaultNetworkRole
    gone: frozenset[str] = frozenset()  # adapters of this node that have been away for so long that they do not count


def plan_networks(found: Sequence[FoundInterface], situation: NetworkSituation, ids: Iterable[str]) -> NetworkPlan:
    """Say what must be written so that the database shows what this node finds. ``ids`` are for new objects.

    Done again on what it led to, the plan is empty. An adapter whose address another node has too is left alone: a
    subnet that exists on every machine by itself (a bridge of some other program) connects nothing.
    """
    removals = _plan_removals(situation)
    return _Planner(found, situation, iter(ids)).plan() if removals.is_empty else removals


def auto_metric(role: NetworkRole, taken: Collection[int]) -> int:
    """The metric of a network whose AutoMetric is 1: internal ones come first, no two are the same."""
    metric = _INTERNAL_METRIC if role is NetworkRole.INTERNAL else _CLIENT_METRIC
    while metric in taken:
        metric += _METRIC_STEP
    return metric


def free_name(names: Iterable[str]) -> str:
    """The first "Cluster Network N" that is not taken."""
    taken = {int(match[1]) for name in names if (match := _NAME.fullmatch(name))}
    number = 1
    while number in taken:
        number += 1
    return f"Cluster Network {number}"


def interface_name(node_name: str, adapter: str) -> str:
    """What an interface is called."""
    return f"{node_name} - {adapter}"


def _plan_removals(situation: NetworkSituation) -> NetworkPlan:
    removed: list[Planned[KnownInterface]] = []
    for interface in situation.interfaces:
        if interface.node not in situation.nodes:
            removed.append(Planned(interface, f'"{interface.name}" was removed: its node has left the cluster'))
        elif interface.node == situation.node and interface.adapter in situation.gone:
            sentence = f'"{interface.name}" was removed: {situation.node_name} has no adapter {interface.adapter} now'
            removed.append(Planned(interface, sentence))
    left = {interface.network for interface in situation.interfaces} - _only(removed, situation.interfaces)
    empty = [network for network in situation.networks if network.id not in left]
    return NetworkPlan(
        removed_interfaces=tuple(removed),
        removed_networks=tuple(
            Planned(network, f'network "{network.name}" was removed: no node has an interface on it')
            for network in empty
        ),
    )


def _only(removed: Sequence[Planned[KnownInterface]], interfaces: Sequence[KnownInterface]) -> set[NetworkId]:
    """The networks all of whose interfaces are removed."""
    going = {planned.what.id for planned in removed}
    staying = {interface.network for interface in interfaces if interface.id not in going}
    return {interface.network for interface in interfaces} - staying


class _Planner:
    """Takes the adapters one by one."""

    def __init__(self, found: Sequence[FoundInterface], situation: NetworkSituation, ids: Iterator[str]) -> None:
        self._found = sorted(found, key=lambda interface: _natural(interface.adapter))
        self._situation = situation
        self._ids = ids
        self._networks = {network.id: network for network in situation.networks}
        self._mine = [interface for interface in situation.interfaces if interface.node == situation.node]
        self._taken: dict[NetworkId, str] = {}  # networks on which this node has its interface, and its adapter
        self._new: dict[NetworkId, NewNetwork] = {}
        self._grown: dict[NetworkId, str] = {}
        self._made: list[Planned[KnownInterface]] = []
        self._changed: list[Planned[KnownInterface]] = []
        self._left_alone: list[str] = []

    def plan(self) -> NetworkPlan:
        known = {interface.adapter for interface in self._mine}
        for interface in sorted(self._found, key=lambda found: found.adapter not in known):
            if interface.addresses:
                self._place(interface)
        if displaced := self._displaced():
            return NetworkPlan(removed_interfaces=displaced, left_alone=tuple(self._left_alone))
        return NetworkPlan(
            new_networks=tuple(
                Planned(network, f'network "{network.name}" ({", ".join(network.subnets)}) was found by '
                        f"{self._situation.node_name}")
                for network in self._new.values()
            ),
            grown_networks=tuple(Planned(self._networks[id_], why) for id_, why in self._grown.items()),
            new_interfaces=tuple(self._made),
            changed_interfaces=tuple(self._changed),
            left_alone=tuple(self._left_alone),
        )  # fmt: skip

    def _all(self) -> tuple[KnownNetwork | NewNetwork, ...]:
        return (*self._networks.values(), *self._new.values())

    def _place(self, found: FoundInterface) -> None:
        if (twin := self._twin(found)) is not None:
            self._left_alone.append(f"{found.adapter} is left alone: {twin}")
            return
        network = self._network_of(found)
        if network is not None and network in self._taken:
            self._left_alone.append(
                f'{found.adapter} is left alone: {self._taken[network]} is on the same network, and a node uses one '
                "adapter of each network"
            )  # fmt: skip
            return
        if network is None:
            network = self._new_network(found)
        else:
            self._grow(network, found)
        self._taken[network] = found.adapter
        self._record(found, network)

    def _twin(self, found: FoundInterface) -> str | None:
        """Say that another node has the same address, which then is none of a common network."""
        for other in self._situation.interfaces:
            both = set(other.addresses) & set(found.addresses)
            if both and other.node != self._situation.node and other.node in self._situation.up:
                return f'"{other.name}" has the same address {min(both)}, so that it is no network between them'
        return None

    def _network_of(self, found: FoundInterface) -> NetworkId | None:
        for subnet in found.subnets:
            for network in self._all():
                if subnet in network.subnets:
                    return network.id
        return None

    def _new_network(self, found: FoundInterface) -> NetworkId:
        networks = self._all()
        network = NewNetwork(
            id=NetworkId(next(self._ids)),
            name=free_name(network.name for network in networks),
            subnets=found.subnets,
            role=self._situation.role,
            metric=auto_metric(self._situation.role, {network.metric for network in networks}),
        )
        self._new[network.id] = network
        return network.id

    def _grow(self, id_: NetworkId, found: FoundInterface) -> None:
        """Give a network the subnets of this adapter that no network has yet."""
        taken = {subnet for network in self._all() for subnet in network.subnets}
        more = tuple(subnet for subnet in found.subnets if subnet not in taken)
        if not more:
            return
        if id_ in self._new:
            self._new[id_] = replace(self._new[id_], subnets=(*self._new[id_].subnets, *more))
            return
        network = self._networks[id_]
        self._networks[id_] = replace(network, subnets=(*network.subnets, *more))
        self._grown[id_] = (
            f'network "{network.name}" has the subnet {", ".join(more)} too: {self._situation.node_name} '
        )
        self._grown[id_] += f"has it on {found.adapter}"

    def _record(self, found: FoundInterface, network: NetworkId) -> None:
        old = self._known(found, network)
        name = interface_name(self._situation.node_name, found.adapter)
        addresses = found.addresses
        if old is None:
            id_ = NetworkInterfaceId(next(self._ids))
            new = KnownInterface(
                id_, name, self._situation.node, network, found.adapter, found.adapter_id, addresses, found.dhcp
            )
            self._made.append(Planned(new, f'"{name}" was found with {addresses[0]}'))
            return
        new = replace(
            old,
            name=name,
            network=network,
            adapter=found.adapter,
            adapter_id=found.adapter_id,
            addresses=addresses,
            dhcp=found.dhcp,
        )
        if new != old:
            self._changed.append(Planned(new, _difference(old, new)))

    def _displaced(self) -> tuple[Planned[KnownInterface], ...]:
        """Interfaces on networks to which another adapter of this node has come."""
        kept = {planned.what.id for planned in self._changed}
        return tuple(
            Planned(old, f'"{old.name}" was removed: {self._taken[old.network]} is on its network now')
            for old in self._mine
            if self._taken.get(old.network, old.adapter) != old.adapter and old.id not in kept
        )

    def _known(self, found: FoundInterface, network: NetworkId) -> KnownInterface | None:
        for interface in self._mine:
            if interface.adapter == found.adapter:
                return interface
        usable = {other.adapter for other in self._found if other.addresses}
        for interface in self._mine:
            if interface.network == network and interface.adapter not in usable:
                return interface
        return None


def _difference(old: KnownInterface, new: KnownInterface) -> str:
    if old.name != new.name:
        return f'"{old.name}" is "{new.name}" now: the addresses of its network are there'
    if old.addresses != new.addresses:
        return f'"{new.name}" has {", ".join(new.addresses)} now, no longer {", ".join(old.addresses) or "none"}'
    return f'"{new.name}" has another adapter now: {new.adapter_id}'


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts eth2 before eth10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text))
