"""Operations on the cluster as a whole."""

from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import ClusterEnum
from quorate.server import object_codes, view
from quorate.server.call import Call
from quorate.server.controlled import cluster_object
from quorate.server.entries import entry, fitting
from quorate.server.version import API_BUILD, API_MAJOR, API_MINOR, VENDOR, program_version

_PAGE = 100


async def get_information(call: Call) -> Values:
    """Name and version."""
    return Values(
        {
            "name": call.snapshot.cluster.name,
            "node": call.services.node_name,
            "major_version": API_MAJOR,
            "minor_version": API_MINOR,
            "build_number": API_BUILD,
            "vendor": VENDOR,
            "version": program_version(),
        }
    )


async def create_enum(call: Call) -> Values:
    """Objects of the kinds that the mask asks for; kinds that a cluster has none of are simply empty."""
    mask, snapshot = call.inputs.number("mask"), call.snapshot
    names = sorted(snapshot.resource_types, key=str.casefold)
    types = (entry(ClusterEnum.RESTYPE, name, name) for name in names) if mask & ClusterEnum.RESTYPE else ()
    return Values(
        {
            "entries": (
                *fitting(mask, ClusterEnum.NODE, snapshot.nodes.values()),
                *types,
                *fitting(mask, ClusterEnum.RESOURCE, snapshot.resources.values()),
                *fitting(mask, ClusterEnum.GROUP, snapshot.groups.values()),
            )
        }
    )


async def control(call: Call) -> Values:
    """A control code for the cluster."""
    return await object_codes.answer(call, cluster_object(call))


async def get_status(call: Call) -> Values:
    """Nodes, groups and virtual machines at one look."""
    seen = await view.collect(call)
    cluster: JsonObject = {"name": call.snapshot.cluster.name, "id": call.snapshot.cluster.instance_id}
    return Values(
        {
            "cluster": cluster,
            "nodes": tuple(seen.nodes()),
            "groups": tuple(seen.groups()),
            "virtual_machines": tuple(seen.virtual_machines()),
        }
    )


async def get_events(call: Call) -> Values:
    """Events after a sequence, or the newest ones."""
    database = call.services.database
    after, limit = call.inputs.optional_number("after"), call.inputs.optional_number("limit") or _PAGE
    events = await (database.latest_events(limit) if after is None else database.events(after, limit))
    return Values({"events": tuple(event.to_json() for event in events)})
