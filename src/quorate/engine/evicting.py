"""EvictNode: a node leaves for good, with nothing running on it and nothing left to it.

::

    up      refused while it owns groups with resources, or a QEMU of it lives; else paused, looked at again, evicted
    down    what it owns goes to the node that evicts it first, by CAS on the lease record that is over for everybody

Before the second look its doors are closed (`Members.close_doors`): no gift that is on its way lands any more.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.states import MigrationState, NodeState, ResourceState, VmState
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase, ConflictingOwnership
from quorate.database.contract import Compare
from quorate.database.member_records import EvictedNode
from quorate.database.members import Eviction
from quorate.database.records import Lease, Ownership, RunState, Versioned
from quorate.database.snapshot import ClusterSnapshot, GroupInfo, NodeInfo
from quorate.engine.run_changes import vm_in_state


class MakeEvents(Protocol):
    """Makes the events that go with a change."""

    def __call__(
        self,
        kind: EventKind,
        object_id: str,
        object_name: str,
        sentence: str,
        after: JsonValue = None,
        before: JsonValue = None,
    ) -> Sequence[EventRecord]:
        """Make those of one change, as of now."""


@dataclass(frozen=True, slots=True)
class Evicting:
    """What evicts nodes, on the node that is asked to."""

    database: ClusterDatabase
    node: NodeId
    """The node that does it: the heir, unless it leaves itself."""
    node_state: Callable[[NodeId], NodeState]
    qemus_of: Callable[[NodeId], Awaitable[int]]
    """How many QEMUs live on a node that is up."""
    events: MakeEvents

    async def evict(self, snapshot: ClusterSnapshot, info: NodeInfo, note: EvictedNode) -> None:
        """Take a node out of the cluster; the note of it stays.

        Raises:
            RefusalError: 5939, it is the last one; 5005, no other is up; 5009, something runs on it; 1237, nobody can
                tell yet.
            CallerError: 5042, it is in the cluster no more.
        """
        heir = self._heir(snapshot, info)
        is_down = self.node_state(info.id) is NodeState.DOWN
        await self._check(snapshot, info, is_down)
        database, paused_here = self.database, not is_down and not info.paused
        if paused_here:  # so that it is given nothing new while we look again
            await database.set_node_paused(info.id, True)
        closed_at = await database.members.close_doors(info.id)
        try:
            snapshot = await database.snapshot()
            await self._check(snapshot, info, is_down)
            lease = snapshot.leases.get(info.id)
            for group in _hosted(snapshot, info.id):
                await self._take(snapshot, group, info, heir, lease)
            await self._remove(await database.snapshot(), info, heir, closed_at, note)
        except ClusterError:
            await database.members.open_doors(info.id, closed_at)
            if paused_here:
                await database.set_node_paused(info.id, False)
            raise
        await self._forget(info.id)

    def _heir(self, snapshot: ClusterSnapshot, info: NodeInfo) -> NodeId:
        """The node that takes what is left."""
        if len(snapshot.nodes) == 1:
            raise RefusalError(
                Status.ERROR_CLUSTER_EVICT_INVALID_REQUEST,
                f"{info.name} is the last node of the cluster: without it there is none",
            )
        others = [self.node, *(node for node in snapshot.nodes if self.node_state(node) is NodeState.UP)]
        found = next((node for node in others if node != info.id), None)
        if found is None:
            raise RefusalError(
                Status.ERROR_HOST_NODE_NOT_AVAILABLE,
                f"no other node is up to take over what {info.name} leaves: start one",
            )
        return found

    async def _check(self, snapshot: ClusterSnapshot, info: NodeInfo, is_down: bool) -> None:
        """Refuse with 5009 while anything runs on the node; with 1237 while nobody can tell yet."""
        hosted = _hosted(snapshot, info.id)
        names = ", ".join(group.name for group in hosted[:5]) + (", …" if len(hosted) > 5 else "")
        if is_down:
            lease = snapshot.leases.get(info.id)
            if hosted and lease is not None and not lease.value.ended:
                raise RefusalError(
                    Status.ERROR_RETRY,
                    f"{info.name} is down, but its lease is not over for certain yet, and it owns {names}: "
                    "try again soon",
                )
            return
        if hosted:
            raise RefusalError(
                Status.ERROR_CANT_EVICT_ACTIVE_NODE,
                f"{info.name} is up and owns {names}: move that away first, or stop its daemon",
            )
        if number := await self.qemus_of(info.id):
            raise RefusalError(
                Status.ERROR_CANT_EVICT_ACTIVE_NODE,
                f"{info.name} is up and {number} QEMU of it still live: wait until its migrations are over",
            )

    async def _take(
        self,
        snapshot: ClusterSnapshot,
        group: GroupInfo,
        info: NodeInfo,
        heir: NodeId,
        lease: Versioned[Lease] | None,
    ) -> None:
        """Take a group from a node whose lease is over (rule R9); what may be resumed is a saved image at most (I5)."""
        ownership, run = snapshot.ownership[group.id], snapshot.run[group.id]
        after = _run_of_heir(run.value, heir)
        image = None if after.vm is None else after.vm.saved_image
        taken = Ownership(heir, ownership.value.epoch + 1, image, extra=ownership.value.extra)
        sentence = f'"{group.name}" was taken from {info.name}, which is evicted'
        events = self.events(EventKind.GROUP_OWNER, group.id, group.name, sentence, heir, info.id)
        provided = (Compare(keys.lease(info.id), 0 if lease is None else lease.revision),)
        answer = await self.database.change_ownership(group.id, ownership, taken, after, events, provided=provided)
        if isinstance(answer, ConflictingOwnership):
            raise RefusalError(Status.ERROR_RETRY, f'"{group.name}" has changed hands meanwhile: try again')

    async def _remove(
        self, snapshot: ClusterSnapshot, info: NodeInfo, heir: NodeId, closed_at: int, note: EvictedNode
    ) -> None:
        empty = [group.id for group in snapshot.groups_of(info.id) if snapshot.is_bare(group)]
        sentence = f"{info.name} (node {info.id}) was evicted from the cluster; its certificate is good no more"
        events = self.events(EventKind.NODE_EVICTED, info.id, info.name, sentence)
        await self.database.members.evict(Eviction(info.id, note, heir, closed_at, empty), events)

    async def _forget(self, node: NodeId) -> None:
        """Take the node off the lists of preferred and possible owners. An empty list of possible owners stays one."""
        database = self.database
        snapshot = await database.snapshot()
        for group in snapshot.groups.values():
            if node in group.preferred_owners:
                left = [other for other in group.preferred_owners if other != node and other in snapshot.nodes]
                await database.set_preferred_owners(group.id, left)
        for resource in snapshot.resources.values():
            if "PossibleOwners" in resource.properties and node in resource.possible_owners:
                owners = [other for other in resource.possible_owners if other != node and other in snapshot.nodes]
                await database.set_possible_owners(resource.id, owners)


def _hosted(snapshot: ClusterSnapshot, node: NodeId) -> list[GroupInfo]:
    """What a node owns that something may run of; a group without resources is a mere entry, as the cluster's own."""
    return [group for group in snapshot.groups_of(node) if not snapshot.is_bare(group)]


def _run_of_heir(run: RunState, heir: NodeId) -> RunState:
    """Nothing of the group runs: its machine is off, unless it was saved."""
    vm = run.vm
    if vm is not None:
        state = VmState.OFF if vm.saved_image is None else VmState.SAVED
        vm = replace(vm_in_state(vm, state, vm.sentence), migration_state=int(MigrationState.NO_MIGRATION))
    states = dict.fromkeys(run.resource_states, int(ResourceState.OFFLINE))
    return replace(run, default_owner=heir, resource_states=states, vm=vm)
