"""Operations on the cluster as a whole."""

from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import ClusterEnum, NetworkRole
from quorate.clusapi.status import Status
from quorate.clusapi.versions import API_BUILD
from quorate.database.coordination import coordinating_node
from quorate.server import lookup, object_codes, view
from quorate.server.call import Call
from quorate.server.controlled import cluster_object
from quorate.server.entries import entry, fitting
from quorate.server.handlers.networks import describe_networks
from quorate.server.version import API_MAJOR, API_MINOR, VENDOR, program_version

_VOLUMES: Final = ClusterEnum.SHARED_VOLUME_GROUP | ClusterEnum.SHARED_VOLUME_RESOURCE
_KINDS: Final = int(ClusterEnum.ALL | ClusterEnum.INTERNAL_NETWORK | _VOLUMES)


async def get_information(call: Call) -> Values:
    """Name and version."""
    levels = [info.levels for info in call.snapshot.nodes.values()]
    return Values(
        {
            "name": call.snapshot.cluster.name,
            "node": call.services.node_name,
            "major_version": API_MAJOR,
            "minor_version": API_MINOR,
            "build_number": API_BUILD,
            "vendor": VENDOR,
            "version": program_version(),
            "highest_version": min((known.highest_version for known in levels), default=0),
            "lowest_version": max((known.lowest_version for known in levels), default=0),
            "version_flags": int(len(set(levels)) > 1),
        }
    )


async def create_enum(call: Call) -> Values:
    """Objects of the kinds that the mask asks for; kinds that a cluster has none of are simply empty.

    Raises CallerError 87 for a mask that holds no kind, or bits that are none ([MS-CMRP] 3.1.4.2.8).
    """
    mask, snapshot = call.inputs.number("mask"), call.snapshot
    if not mask or mask & ~_KINDS:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"mask: 0x{mask:X} holds no kind of object, or unknown bits")
    names = sorted(snapshot.resource_types, key=str.casefold)
    types = (entry(ClusterEnum.RESTYPE, name, name) for name in names) if mask & ClusterEnum.RESTYPE else ()
    internal = (
        entry(ClusterEnum.INTERNAL_NETWORK, info.id, info.name)
        for info in sorted(snapshot.networks.values(), key=lambda info: info.metric)  # in order of preference
        if mask & ClusterEnum.INTERNAL_NETWORK and info.role & NetworkRole.INTERNAL
    )
    return Values(
        {
            "entries": (
                *fitting(mask, ClusterEnum.NODE, snapshot.nodes.values()),
                *types,
                *fitting(mask, ClusterEnum.RESOURCE, snapshot.resources.values()),
                *fitting(mask, ClusterEnum.GROUP, snapshot.groups.values()),
                *fitting(mask, ClusterEnum.NETWORK, snapshot.networks.values()),
                *fitting(mask, ClusterEnum.NETINTERFACE, snapshot.network_interfaces.values()),
                *internal,
            )
        }
    )


async def control(call: Call) -> Values:
    """A control code for the cluster."""
    return await object_codes.answer(call, cluster_object(call))


async def get_status(call: Call) -> Values:
    """Nodes, groups and virtual machines at one look."""
    seen = await view.collect(call)
    snapshot = call.snapshot
    coordinator = coordinating_node(snapshot)
    silent = call.services.silent_view()
    cluster: JsonObject = {
        "name": snapshot.cluster.name,
        "id": snapshot.cluster.instance_id,
        "coordinator": "" if coordinator is None else lookup.node_name(snapshot, coordinator),
        "database": "" if silent is None else silent.sentence,
    }
    return Values(
        {
            "cluster": cluster,
            "nodes": tuple(seen.nodes()),
            "groups": tuple(seen.groups()),
            "virtual_machines": tuple(seen.virtual_machines()),
            "networks": tuple(describe_networks(call)),
        }
    )
