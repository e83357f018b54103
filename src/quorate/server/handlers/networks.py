"""Operations on networks and network interfaces."""

from collections.abc import Mapping, Sequence

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import NetworkId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import NetworkEnum, NetworkInterfaceState, NetworkRole
from quorate.clusapi.status import Status
from quorate.cluster.network_rules import plan_priority_order
from quorate.cluster.network_states import InterfaceFinding, NetworkFinding
from quorate.database.network_objects import NetworkInfo, NetworkInterfaceInfo
from quorate.database.plan import check_name
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.network_picture import network_findings
from quorate.server import lookup, object_codes
from quorate.server.call import Call, done
from quorate.server.controlled_networks import interface_object, network_name, network_object, network_settings
from quorate.server.entries import fitting

_NOWHERE = InterfaceFinding(NetworkInterfaceState.UNKNOWN, "it is on no network")


async def get_id(call: Call) -> Values:
    """Find a network."""
    info = _network(call)
    return Values({"id": info.id, "name": info.name})


async def get_state(call: Call) -> Values:
    """State of a network, from what its nodes reach."""
    return Values({"state": _findings(call)[_network(call).id].state.dword})


async def set_name(call: Call) -> Values:
    """Give a network another name."""
    info, name = _network(call), call.inputs.text("name")
    check_name("network", name)
    if name != info.name:
        sentence = f'network "{info.name}" is "{name}" now'
        event = call.event(EventKind.NETWORK_PROPERTY, info.id, name, sentence, {"Name": name}, {"Name": info.name})
        await call.services.database.networks.configure(info.id, lambda *_: {}, name=name, events=(event,))
    return done()


async def set_priority_order(call: Call) -> Values:
    """Let the networks for the cluster's own traffic be preferred in this order; all of them must be named."""
    order = [lookup.network(call.snapshot, text) for text in call.inputs.ids("networks")]
    metrics = _priority_metrics(call.snapshot, [info.id for info in order])
    if any(info.metric != metrics[info.id] for info in order):
        names = ", ".join(f'"{info.name}"' for info in order)
        sentence = f"the cluster's own traffic takes networks in this order: {names}"
        events = [
            call.event(
                EventKind.NETWORK_PROPERTY,
                info.id,
                info.name,
                sentence,
                {"Metric": metrics[info.id]},
                {"Metric": info.metric},
            )
            for info in order
        ]
        ids = [info.id for info in order]
        networks = call.services.database.networks
        await networks.order(lambda snapshot: _priority_metrics(snapshot, ids), events=events)
    return done()


def _priority_metrics(snapshot: ClusterSnapshot, order: Sequence[NetworkId]) -> Mapping[NetworkId, int]:
    """The metrics of networks in an order. Raises CallerError 87 unless all internal ones are named once, 5060."""
    found = [snapshot.networks[id_] for id_ in order if id_ in snapshot.networks]
    for info in found:
        if not info.role & NetworkRole.INTERNAL:
            sentence = f'"{info.name}" does not carry the cluster\'s own traffic (role {int(info.role)})'
            raise RefusalError(Status.ERROR_CLUSTER_NETWORK_NOT_INTERNAL, sentence)
    internal = [info for info in snapshot.networks.values() if info.role & NetworkRole.INTERNAL]
    if len(found) != len(order) or {*order} != {info.id for info in internal} or len({*order}) != len(order):
        names = ", ".join(f'"{info.name}"' for info in internal)
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"networks: each of {names} must be named, once")
    return dict(zip(order, plan_priority_order([network_settings(info) for info in found]), strict=True))


async def control(call: Call) -> Values:
    """A control code for a network."""
    return await object_codes.answer(call, network_object(call, _network(call)))


async def create_enum(call: Call) -> Values:
    """The interfaces on a network."""
    info, mask = _network(call), call.inputs.number("mask")
    return Values({"entries": fitting(mask, NetworkEnum.NETINTERFACES, _interfaces(call.snapshot, info.id))})


async def list_all(call: Call) -> Values:
    """Every network with state, role, metric, subnets and interfaces."""
    return Values({"networks": tuple(describe_networks(call))})


async def get_interface_id(call: Call) -> Values:
    """Find a network interface."""
    info = _interface(call)
    return Values({"id": info.id, "name": info.name})


async def get_interface_state(call: Call) -> Values:
    """State of a network interface."""
    info = _interface(call)
    return Values({"state": _of_interface(_findings(call), info).state.dword})


async def get_interface(call: Call) -> Values:
    """Which interface a node has on a network; CallerError 5047 when it has none."""
    node = lookup.node(call.snapshot, call.inputs.text("node"))
    network = _network(call)
    for info in _interfaces(call.snapshot, network.id):
        if info.node == node.id:
            return Values({"id": info.id, "name": info.name})
    raise CallerError(
        Status.ERROR_CLUSTER_NETINTERFACE_NOT_FOUND, f'{node.name} has no interface on the network "{network.name}"'
    )


async def interface_control(call: Call) -> Values:
    """A control code for a network interface."""
    return await object_codes.answer(call, interface_object(call, _interface(call)))


async def create_interface_enum(call: Call) -> Values:
    """The interfaces of a node, on a network, or all."""
    node_text, network_text = call.inputs.optional_text("node"), call.inputs.optional_text("network")
    node = None if node_text is None else lookup.node(call.snapshot, node_text)
    network = None if network_text is None else lookup.network(call.snapshot, network_text)
    found = [
        info
        for info in call.snapshot.network_interfaces.values()
        if (node is None or info.node == node.id) and (network is None or info.network == network.id)
    ]
    return Values({"entries": fitting(NetworkEnum.ALL, NetworkEnum.NETINTERFACES, found)})


async def list_interfaces(call: Call) -> Values:
    """Every network interface with state, node, network and addresses."""
    findings = _findings(call)
    ordered = sorted(call.snapshot.network_interfaces.values(), key=lambda info: info.name.casefold())
    return Values({"interfaces": tuple(_described(call.snapshot, findings, info) for info in ordered)})


def describe_networks(call: Call) -> list[dict[str, JsonValue]]:
    """Every network, by name."""
    findings = _findings(call)
    return [
        {
            "id": info.id,
            "name": info.name,
            "state": findings[info.id].state.dword,
            "state_name": findings[info.id].state.name,
            "sentence": findings[info.id].sentence,
            "role": int(info.role),
            "metric": info.metric,
            "auto_metric": info.auto_metric,
            "subnets": list(info.subnets),
            "interfaces": [
                _described(call.snapshot, findings, member) for member in _interfaces(call.snapshot, info.id)
            ],
        }
        for info in sorted(call.snapshot.networks.values(), key=lambda info: info.name.casefold())
    ]


_Findings = Mapping[NetworkId, NetworkFinding]


def _findings(call: Call) -> _Findings:
    return network_findings(call.snapshot, call.services.node_state)


def _described(snapshot: ClusterSnapshot, findings: _Findings, info: NetworkInterfaceInfo) -> dict[str, JsonValue]:
    found = _of_interface(findings, info)
    return {
        "id": info.id,
        "name": info.name,
        "state": found.state.dword,
        "state_name": found.state.name,
        "sentence": found.sentence,
        "node": lookup.node_name(snapshot, info.node),
        "node_id": info.node,
        "network": network_name(snapshot, info),
        "network_id": info.network,
        "adapter": info.adapter,
        "addresses": list(info.addresses),
    }


def _of_interface(findings: _Findings, info: NetworkInterfaceInfo) -> InterfaceFinding:
    network = findings.get(info.network)
    return _NOWHERE if network is None else network.interfaces[info.id]


def _interfaces(snapshot: ClusterSnapshot, network: NetworkId) -> list[NetworkInterfaceInfo]:
    found = (info for info in snapshot.network_interfaces.values() if info.network == network)
    return sorted(found, key=lambda info: info.name.casefold())


def _network(call: Call) -> NetworkInfo:
    return lookup.network(call.snapshot, call.inputs.text("network"))


def _interface(call: Call) -> NetworkInterfaceInfo:
    return lookup.network_interface(call.snapshot, call.inputs.text("interface"))
