"""EvictNode: a node leaves for good, with nothing running on it and nothing left to it.

Silence says nothing about what runs. So a node leaves by one of two proofs only::

    its lease is over    as a fact of the database, or it never had one: the eviction compares that record, and what the
                         node owns goes first where the coordinator would send it, by the same compare
    its own word         it owns no group with resources, and has answered that no QEMU of it lives

Before the look that counts its doors are closed (`Members.close_doors`): no gift that is on its way lands any more.
A gift that has landed and is not marked yet comes first: while the giver of what the node owns lives, that one may take
it back with its memory (rule R8); and what the node itself gave is of its memory until the new owner has marked it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.states import NodeState
from quorate.clusapi.status import Status
from quorate.cluster.failover import Stays, TakeOver, is_waited_for, plan_take_over
from quorate.cluster.picture import LeaseView, Picture
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase, ConflictingOwnership
from quorate.database.contract import Compare
from quorate.database.member_records import EvictedNode
from quorate.database.members import Eviction
from quorate.database.records import Ownership
from quorate.database.snapshot import ClusterSnapshot, GroupInfo, NodeInfo
from quorate.engine.coordinator import node_key
from quorate.engine.run_changes import run_after_take_over


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
    """The node that does it: the heir of groups without resources, unless it leaves itself."""
    node_state: Callable[[NodeId], NodeState]
    qemus_of: Callable[[NodeId], Awaitable[int | None]]
    """How many QEMUs live on a node that is up, as it says itself; None: it does not answer."""
    picture: Callable[[], Picture | None]
    """The cluster as the coordinator would see it now; None where nothing can be planned."""
    events: MakeEvents

    async def evict(self, snapshot: ClusterSnapshot, info: NodeInfo, note: EvictedNode) -> None:
        """Take a node out of the cluster; the note of it stays.

        Raises:
            RefusalError: 5939, it is the last one; 5005, no other is up; 5009, something runs on it; 5071, no other can
                take what it owns; 1237, nobody can tell yet.
            CallerError: 5042, it is in the cluster no more.
        """
        heir = self._heir(snapshot, info)
        over = await self._check(snapshot, info)
        self._plan(snapshot, info, over)
        database = self.database
        paused_here = self.node_state(info.id) is not NodeState.DOWN and not info.paused
        if paused_here:  # so that it is given nothing new while we look again
            await database.set_node_paused(info.id, True)
        closed_at = await database.members.close_doors(info.id)
        try:
            snapshot = await database.snapshot()
            lease = await self._check(snapshot, info)
            for decision in self._plan(snapshot, info, lease):
                await self._take(snapshot, decision, info, lease)
            snapshot = await database.snapshot()
            empty = [group.id for group in snapshot.groups_of(info.id) if snapshot.is_bare(group)]
            await self._remove(info, Eviction(info.id, note, heir, closed_at, empty, lease))
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

    async def _check(self, snapshot: ClusterSnapshot, info: NodeInfo) -> int | None:
        """Refuse with 5009 while anything runs on the node; with 1237 while nobody can tell.

        Answers the revision of the lease that is over, 0 for none; None: it goes on, and the node has let it go.
        """
        _check_gifts(snapshot, info)
        hosted, lease = _hosted(snapshot, info.id), snapshot.leases.get(info.id)
        over = 0 if lease is None else lease.revision if lease.value.ended else None
        if self.node_state(info.id) is NodeState.DOWN:
            if over is not None:
                return over
            owns = f", and it owns {_names(hosted)}" if hosted else ""
            raise RefusalError(
                Status.ERROR_RETRY,
                f"{info.name} is down, but its lease is not over for certain yet{owns}: try again soon",
            )
        if hosted:
            raise RefusalError(
                Status.ERROR_CANT_EVICT_ACTIVE_NODE,
                f"{info.name} is up and owns {_names(hosted)}: move that away first, or stop its daemon",
            )
        number = await self.qemus_of(info.id)
        if number is None and over is None:
            raise RefusalError(
                Status.ERROR_RETRY,
                f"{info.name} does not say whether a QEMU of it lives, and its lease is not over for certain yet: "
                "try again soon",
            )
        if number:
            raise RefusalError(
                Status.ERROR_CANT_EVICT_ACTIVE_NODE,
                f"{info.name} is up and {number} QEMU of it still live: wait until its migrations are over",
            )
        return over

    def _plan(self, snapshot: ClusterSnapshot, info: NodeInfo, over: int | None) -> list[TakeOver]:
        """Where everything goes that the node owns. Raises RefusalError 5071; 1237, the picture is not of now."""
        hosted = _hosted(snapshot, info.id)
        picture = self.picture() if hosted else None
        if not hosted:
            return []
        if over is None or picture is None or info.id not in picture.nodes:
            raise _not_now(hosted)
        if is_waited_for(picture, info.id):
            raise RefusalError(
                Status.ERROR_RETRY,
                f"{info.name} owns {_names(hosted)} and has not been up since the database was restored: "
                "it is waited for (ClusterGroupWaitDelay)",
            )
        decisions = {one.group: one for one in plan_take_over(_without(picture, info.id, over))}
        plan, staying = [], []
        for group in hosted:
            decision, seen = decisions.get(group.id), picture.groups.get(group.id)
            if isinstance(decision, Stays):
                staying.append(decision.sentence)
            elif isinstance(decision, TakeOver) and seen and seen.revision == snapshot.ownership[group.id].revision:
                plan.append(decision)
            else:
                raise _not_now([group])
        if staying:
            raise RefusalError(
                Status.ERROR_NODE_CANT_HOST_RESOURCE,
                f"{'; '.join(staying[:5])}: let another node be a possible owner, or delete what stays",
            )
        return plan

    async def _take(self, snapshot: ClusterSnapshot, decision: TakeOver, info: NodeInfo, lease: int | None) -> None:
        """Take a group from a node whose lease is over (rule R9); what may be resumed is a saved image at most (I5)."""
        assert lease is not None, "a node that owns something is evicted by the end of its lease only"
        group, heir = snapshot.groups[decision.group], decision.destination
        ownership, run = snapshot.ownership[group.id], snapshot.run[group.id]
        after = run_after_take_over(run.value, decision)
        image = None if after.vm is None else after.vm.saved_image
        taken = Ownership(heir, ownership.value.epoch + 1, image, extra=ownership.value.extra)
        sentence = f'"{group.name}" was taken from {info.name}, which is evicted: {decision.sentence}'
        events = self.events(EventKind.GROUP_OWNER, group.id, group.name, sentence, heir, info.id)
        provided = (Compare(keys.lease(info.id), lease), node_key(snapshot, heir))
        answer = await self.database.change_ownership(group.id, ownership, taken, after, events, provided=provided)
        if isinstance(answer, ConflictingOwnership):
            raise _not_now([group])

    async def _remove(self, info: NodeInfo, eviction: Eviction) -> None:
        sentence = f"{info.name} (node {info.id}) was evicted from the cluster; its certificate is good no more"
        events = self.events(EventKind.NODE_EVICTED, info.id, info.name, sentence)
        await self.database.members.evict(eviction, events)

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


def _names(groups: Sequence[GroupInfo]) -> str:
    return ", ".join(group.name for group in groups[:5]) + (", …" if len(groups) > 5 else "")


def _not_now(groups: Sequence[GroupInfo]) -> RefusalError:
    return RefusalError(Status.ERROR_RETRY, f"{_names(groups)} changes hands at this moment: try again")


def _without(picture: Picture, node: NodeId, lease: int) -> Picture:
    """The cluster with a node whose lease is over, which the picture may not show yet."""
    known = picture.nodes[node]
    dead = replace(known, state=NodeState.DOWN, lease=replace(known.lease or LeaseView(lease, ""), is_ended=True))
    return replace(picture, nodes={**picture.nodes, node: dead})


def _check_gifts(snapshot: ClusterSnapshot, info: NodeInfo) -> None:
    """Refuse with 1237 while a live migration has given, and its end is open: both sides settle that by themselves."""
    for id_, ownership in snapshot.ownership.items():
        record, group = ownership.value, snapshot.groups.get(id_)
        if group is None or record.giver in (None, record.holder):
            continue
        if record.giver == info.id:
            raise RefusalError(
                Status.ERROR_RETRY,
                f"{info.name} has given {group.name} away, and its new owner has not said yet that it runs: "
                "try again soon",
            )
        giver = None if record.giver is None else snapshot.nodes.get(record.giver)
        if record.holder == info.id and giver is not None and not _is_over(snapshot, giver.id):
            raise RefusalError(
                Status.ERROR_RETRY,
                f"{giver.name} was giving {group.name} to {info.name} and may still take it back with its memory: "
                "try again soon",
            )


def _is_over(snapshot: ClusterSnapshot, node: NodeId) -> bool:
    """A node's lease is over as a fact of the database."""
    lease = snapshot.leases.get(node)
    return lease is not None and lease.value.ended


def _hosted(snapshot: ClusterSnapshot, node: NodeId) -> list[GroupInfo]:
    """What a node owns that something may run of; a group without resources is a mere entry, as the cluster's own."""
    return [group for group in snapshot.groups_of(node) if not snapshot.is_bare(group)]
