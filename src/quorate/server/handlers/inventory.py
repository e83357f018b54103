"""The operation GetInventory."""

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_object, json_objects, json_text
from quorate.clusapi.operation_values import Values
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import GroupType
from quorate.clusapi.status import Status
from quorate.cluster.picture import GroupPicture, NodePicture, Picture
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.values import RegistryType
from quorate.server import view
from quorate.server.call import Call


async def get_inventory(call: Call) -> Values:
    """What decides where groups go, as the coordinator would see it now; changes nothing.

    Raises FaultError 1062 where nothing can be planned.
    """
    picture = call.services.inspection.picture()
    if picture is None:
        raise FaultError(Status.ERROR_SERVICE_NOT_ACTIVE, "this node has not seen the cluster yet: ask another one")
    seen = await view.collect(call)
    measured = {
        json_text(machine, "group"): MigrationProgress.from_json(json_object(machine, "progress"))
        for report in seen.reports.values()
        for machine in json_objects(report, "virtual_machines")
    }
    groups = sorted(picture.groups.values(), key=lambda group: group.id)
    return Values(
        {
            "revision": picture.revision,
            "properties": _properties(call.snapshot),
            "nodes": tuple(_node(node) for node in picture.nodes.values()),
            "groups": tuple(
                _group(picture, group, _rates(call.snapshot, group.id, measured.get(group.id))) for group in groups
            ),
        }
    )


def _properties(snapshot: ClusterSnapshot) -> JsonObject:
    """The numbers among the cluster's properties that somebody has set."""
    values = snapshot.cluster.properties
    return {name: values.number(name) for name, value in values.items() if value.type is RegistryType.DWORD}


def _node(node: NodePicture) -> JsonObject:
    return {
        "id": node.id,
        "name": node.name,
        "state": node.state.dword,
        "state_name": node.state.name,
        "status": int(node.status),
        "status_names": [bit.name for bit in node.status],
        "memory": None if node.memory is None else str(node.memory),
    }


def _group(picture: Picture, group: GroupPicture, rates: JsonObject) -> JsonObject:
    def names(nodes: tuple[NodeId, ...]) -> list[JsonValue]:
        return [picture.name(node) for node in nodes if node in picture.nodes]

    in_order = tuple(picture.nodes)
    possible = in_order if group.possible is None else tuple(node for node in in_order if node in group.possible)
    return {
        "id": group.id,
        "name": group.name,
        "is_vm": group.group_type == GroupType.VIRTUAL_MACHINE,
        "node": picture.name(group.owner),
        "priority": group.priority,
        "wanted": group.wanted,
        "runs": group.runs,
        "memory": str(group.memory),
        "possible": names(possible),
        "preferred": names(group.preferred),
        "classes": sorted(group.classes),
        "failback": group.failback,
        "locked": group.locked,
        "move_type": int(group.how),
        "status": int(group.status),
        "sentence": group.sentence,
        **rates,
    }


def _rates(snapshot: ClusterSnapshot, group: GroupId, progress: MigrationProgress | None) -> JsonObject:
    """What was measured of its migration that goes on, or else of the last one."""
    run = snapshot.run.get(group)
    vm = None if run is None else run.value.vm
    if progress is not None and progress.rate > 0 and progress.passes > 1:
        return {"rate": progress.rate, "dirty_rate": progress.dirty_rate}
    if vm is not None and vm.last_rate:
        return {"rate": float(vm.last_rate), "dirty_rate": float(vm.last_dirty_rate)}
    return {"rate": None, "dirty_rate": None}
