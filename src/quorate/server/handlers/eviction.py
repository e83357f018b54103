"""A node is evicted: it leaves for good, with nothing running on it and nothing left to it.

::

    up      refused while it owns groups with resources, or a QEMU of it lives; else paused, looked at again, evicted
    down    what it owns goes to the node that evicts it first, by CAS on the lease record that is over for everybody

Before the second look its doors are closed (`Members.close_doors`): no gift that is on its way lands any more.
"""

from dataclasses import replace
from datetime import UTC, datetime

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import json_object, json_objects
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import MigrationState, NodeState, ResourceState, VmState
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.cluster_database import ConflictingOwnership
from quorate.database.contract import Compare
from quorate.database.member_records import EvictedNode
from quorate.database.members import Eviction
from quorate.database.records import Lease, Ownership, RunState, Versioned
from quorate.database.snapshot import ClusterSnapshot, GroupInfo, NodeInfo
from quorate.engine.run_changes import vm_in_state
from quorate.server import lookup, view
from quorate.server.call import Call, done


async def evict(call: Call) -> Values:
    """Take a node out of the cluster."""
    info = lookup.node(call.snapshot, call.inputs.text("node"))
    heir = _heir(call, info)
    is_down = call.services.node_state(info.id) is NodeState.DOWN
    await _check(call, call.snapshot, info, is_down)
    database, paused_here = call.services.database, not is_down and not info.paused
    if paused_here:  # so that it is given nothing new while we look again
        await database.set_node_paused(info.id, True)
    closed_at = await database.members.close_doors(info.id)
    try:
        snapshot = await database.snapshot()
        await _check(call, snapshot, info, is_down)
        lease = snapshot.leases.get(info.id)
        for group in _hosted(snapshot, info.id):
            await _take(call, snapshot, group, heir, lease)
        await _remove(call, await database.snapshot(), info, heir, closed_at)
    except ClusterError:
        await database.members.open_doors(info.id, closed_at)
        if paused_here:
            await database.set_node_paused(info.id, False)
        raise
    await _forget(call, info.id)
    return done().with_value("sentence", await _left_to_do(call))


async def _left_to_do(call: Call) -> str | None:
    try:
        access = await call.services.database.members.store_access()
    except RefusalError:
        return None  # all its nodes live on one machine
    if not access.key:
        return None
    return "it still has the key to etcd that all nodes share: if the machine is not yours any more, replace that key"


def _heir(call: Call, info: NodeInfo) -> NodeId:
    """The node that takes what is left. Raises RefusalError: 5939 for the last node, 5005 when no other is up."""
    if len(call.snapshot.nodes) == 1:
        raise RefusalError(
            Status.ERROR_CLUSTER_EVICT_INVALID_REQUEST,
            f"{info.name} is the last node of the cluster: without it there is none",
        )
    services = call.services
    others = [services.node_id, *(node for node in call.snapshot.nodes if services.node_state(node) is NodeState.UP)]
    found = next((node for node in others if node != info.id), None)
    if found is None:
        raise RefusalError(
            Status.ERROR_HOST_NODE_NOT_AVAILABLE, f"no other node is up to take over what {info.name} leaves: start one"
        )
    return found


async def _check(call: Call, snapshot: ClusterSnapshot, info: NodeInfo, is_down: bool) -> None:
    """Refuse with 5009 while anything runs on the node; with 1237 while nobody can tell yet."""
    hosted = _hosted(snapshot, info.id)
    names = ", ".join(group.name for group in hosted[:5]) + (", …" if len(hosted) > 5 else "")
    if is_down:
        lease = snapshot.leases.get(info.id)
        if hosted and lease is not None and not lease.value.ended:
            raise RefusalError(
                Status.ERROR_RETRY,
                f"{info.name} is down, but its lease is not over for certain yet, and it owns {names}: try again soon",
            )
        return
    if hosted:
        raise RefusalError(
            Status.ERROR_CANT_EVICT_ACTIVE_NODE,
            f"{info.name} is up and owns {names}: move that away first, or stop its daemon",
        )
    report = (await view.collect(call, frozenset({info.id}))).reports.get(info.id, {})
    if machines := json_objects(json_object(report, "processes"), "qemu"):
        raise RefusalError(
            Status.ERROR_CANT_EVICT_ACTIVE_NODE,
            f"{info.name} is up and {len(machines)} QEMU of it still live: wait until its migrations are over",
        )


def _hosted(snapshot: ClusterSnapshot, node: NodeId) -> list[GroupInfo]:
    """What a node owns that something may run of; a group without resources is a mere entry, as the cluster's own."""
    return [group for group in snapshot.groups_of(node) if not snapshot.is_bare(group)]


async def _take(
    call: Call, snapshot: ClusterSnapshot, group: GroupInfo, heir: NodeId, lease: Versioned[Lease] | None
) -> None:
    """Take a group from a node whose lease is over (rule R9); what may be resumed is a saved image at most (I5)."""
    ownership, run = snapshot.ownership[group.id], snapshot.run[group.id]
    node, after = ownership.value.holder, _run_of_heir(run.value, heir)
    image = None if after.vm is None else after.vm.saved_image
    taken = Ownership(heir, ownership.value.epoch + 1, image, extra=ownership.value.extra)
    sentence = f'"{group.name}" was taken from {lookup.node_name(snapshot, node)}, which is evicted'
    event = call.event(EventKind.GROUP_OWNER, group.id, group.name, sentence, heir, node)
    provided = (Compare(keys.lease(node), 0 if lease is None else lease.revision),)
    answer = await call.services.database.change_ownership(
        group.id, ownership, taken, after, (event,), provided=provided
    )
    if isinstance(answer, ConflictingOwnership):
        raise RefusalError(Status.ERROR_RETRY, f'"{group.name}" has changed hands meanwhile: try again')


def _run_of_heir(run: RunState, heir: NodeId) -> RunState:
    """Nothing of the group runs: its machine is off, unless it was saved."""
    vm = run.vm
    if vm is not None:
        state = VmState.OFF if vm.saved_image is None else VmState.SAVED
        vm = replace(vm_in_state(vm, state, vm.sentence), migration_state=int(MigrationState.NO_MIGRATION))
    states = dict.fromkeys(run.resource_states, int(ResourceState.OFFLINE))
    return replace(run, default_owner=heir, resource_states=states, vm=vm)


async def _remove(call: Call, snapshot: ClusterSnapshot, info: NodeInfo, heir: NodeId, closed_at: int) -> None:
    empty = [group.id for group in snapshot.groups_of(info.id) if snapshot.is_bare(group)]
    note = EvictedNode(info.name, datetime.now(UTC), call.context.actor)
    sentence = f"{info.name} (node {info.id}) was evicted from the cluster; its certificate is good no more"
    event = call.event(EventKind.NODE_EVICTED, info.id, info.name, sentence)
    await call.services.database.members.evict(Eviction(info.id, note, heir, closed_at, empty), (event,))


async def _forget(call: Call, node: NodeId) -> None:
    """Take the node off the lists of preferred and possible owners. An empty list of possible owners stays one."""
    database = call.services.database
    snapshot = await database.snapshot()
    for group in snapshot.groups.values():
        if node in group.preferred_owners:
            left = [other for other in group.preferred_owners if other != node and other in snapshot.nodes]
            await database.set_preferred_owners(group.id, left)
    for resource in snapshot.resources.values():
        if "PossibleOwners" in resource.properties and node in resource.possible_owners:
            await database.set_possible_owners(
                resource.id, [other for other in resource.possible_owners if other != node and other in snapshot.nodes]
            )
