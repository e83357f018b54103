"""Networks and network interfaces as what control codes are sent to."""

from collections.abc import Sequence

from quorate.clusapi.control_codes import (
    CLUSCTL_NETINTERFACE_GET_NETWORK,
    CLUSCTL_NETINTERFACE_GET_NODE,
    ControlObject,
)
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.property_lists import PropertyFormat, PropertyValue, pack_sz
from quorate.cluster.network_rules import NetworkChange, NetworkSettings, plan_network_change
from quorate.database import keys
from quorate.database.network_objects import NetworkInfo, NetworkInterfaceInfo
from quorate.database.registry import ValueChanges
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.values import RegistryValue
from quorate.hosting.property_table import find_value, with_changes
from quorate.hosting.registry_properties import from_registry, to_registry
from quorate.server import lookup
from quorate.server.call import Call
from quorate.server.controlled import KeyWriter
from quorate.server.object_codes import Changes, ControlledObject
from quorate.server.properties.network import AUTO_METRIC, METRIC, NAME, NETWORK_COMMON, ROLE
from quorate.server.properties.network_interface import NETWORK_INTERFACE_COMMON

_ADDRESS_TYPES = frozenset({"ip address", "ipv6 address"})


def network_object(call: Call, info: NetworkInfo) -> ControlledObject:
    """A network."""

    async def write(changes: Changes, events: Sequence[EventRecord]) -> None:
        name = changes.get(NAME)

        def plan(snapshot: ClusterSnapshot, network: NetworkInfo) -> ValueChanges:
            return _values(snapshot, network, changes)

        new_name = None if name is None else str(name.value)
        await call.services.database.networks.configure(info.id, plan, name=new_name, events=events)

    return ControlledObject(
        kind=ControlObject.NETWORK,
        id=info.id,
        name=info.name,
        path=keys.network_path(info.id),
        table=NETWORK_COMMON,
        common=from_registry(info.properties),
        changed=EventKind.NETWORK_PROPERTY,
        write=write,
    )


def interface_object(call: Call, info: NetworkInterfaceInfo) -> ControlledObject:
    """A network interface; its node and its network are stored by id and shown by name."""
    names = {
        "Node": lookup.node_name(call.snapshot, info.node),
        "Network": network_name(call.snapshot, info),
    }
    path = keys.network_interface_path(info.id)
    shown = {name: PropertyValue.of(PropertyFormat.SZ, value) for name, value in names.items()}
    return ControlledObject(
        kind=ControlObject.NETINTERFACE,
        id=info.id,
        name=info.name,
        path=path,
        table=NETWORK_INTERFACE_COMMON,
        common=with_changes(from_registry(info.properties), shown),
        changed=EventKind.NETINTERFACE_PROPERTY,
        write=KeyWriter(call, path),
        more={
            CLUSCTL_NETINTERFACE_GET_NODE: pack_sz(names["Node"]),
            CLUSCTL_NETINTERFACE_GET_NETWORK: pack_sz(names["Network"]),
        },
    )


def network_name(snapshot: ClusterSnapshot, info: NetworkInterfaceInfo) -> str:
    """The name of the network that an interface is on."""
    network = snapshot.networks.get(info.network)
    return info.network if network is None else network.name


def _values(snapshot: ClusterSnapshot, info: NetworkInfo, changes: Changes) -> ValueChanges:
    """The values to write; what the rules refuse is refused here, on the snapshot that is written to."""
    role, metric, automatic = (_number(changes, name) for name in (ROLE, METRIC, AUTO_METRIC))
    rest = {name: value for name, value in changes.items() if name not in (NAME, ROLE, METRIC, AUTO_METRIC)}
    values = dict(to_registry(rest))
    if role is None and metric is None and automatic is None:
        return values
    change = NetworkChange(role, metric, None if automatic is None else automatic != 0)
    others = [network_settings(other) for other in snapshot.networks.values() if other.id != info.id]
    after = plan_network_change(change, network_settings(info), others, _dependents(snapshot, info))
    values[ROLE] = RegistryValue.dword(after.role)
    values[METRIC] = RegistryValue.dword(after.metric)
    values[AUTO_METRIC] = RegistryValue.dword(after.auto_metric)
    return values


def network_settings(info: NetworkInfo) -> NetworkSettings:
    """What the rules about networks look at."""
    return NetworkSettings(info.name, info.role, info.metric, info.auto_metric)


def _number(changes: Changes, name: str) -> int | None:
    value = find_value(changes, name)
    return value.value if value is not None and isinstance(value.value, int) else None


def _dependents(snapshot: ClusterSnapshot, info: NetworkInfo) -> list[str]:
    """The IP addresses for clients that lie on a network."""
    wanted = {info.id.casefold(), info.name.casefold()}
    return sorted(
        resource.name
        for resource in snapshot.resources.values()
        if resource.type.casefold() in _ADDRESS_TYPES and resource.parameters.text("Network").casefold() in wanted
    )
