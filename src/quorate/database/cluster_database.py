"""The cluster database as the rest of Quorate uses it: typed, with snapshots, ownership by compare-and-swap and events.

::

    registry (cluster/)   ◀── Administration: objects made, deleted, renamed, configured
    ownership, run state  ◀── here: by the owner, by a giver, by a taker
    events                ◀── written in the transaction that they tell of
    leases                ◀── the lease thread writes them through its own BlockingStore; here they are read, and ended
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime

from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.administration import Events, random_id
from quorate.database.contract import Compacted, Compare, Outcome, Put, Store, Write
from quorate.database.coordination import Coordination
from quorate.database.creation import VirtualMachineIds
from quorate.database.credentials import Credentials
from quorate.database.events import EventLog, EventQuery
from quorate.database.fence_records import Fences
from quorate.database.following import Follower, Revisions
from quorate.database.group_sets import GroupSetRecords
from quorate.database.members import Members
from quorate.database.migration_history import MigrationHistory
from quorate.database.move_records import MoveWrite, QueuedWrite
from quorate.database.moves import Moves
from quorate.database.network_records import NetworkRecords
from quorate.database.plan import Plan, commit_until_done
from quorate.database.records import Admission, Lease, NodeFacts, Ownership, RunState, Versioned
from quorate.database.registry import Registry
from quorate.database.resource_relations import ResourceRelations
from quorate.database.resource_types import ResourceTypeRecords
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.snapshot_builder import SnapshotBuilder
from quorate.database.standard_objects import add_standard_objects
from quorate.database.values import RegistryValues

__all__ = ["ClusterDatabase", "ConflictingOwnership", "Events", "VirtualMachineIds"]


@dataclass(frozen=True, slots=True)
class ConflictingOwnership:
    """A compare-and-swap that did not happen: what stands there now, None when the group is gone."""

    current: Versioned[Ownership] | None


class ClusterDatabase(ResourceRelations):
    """All reading and writing of the cluster database. One per process and node: it numbers the node's events.

    Every method may raise StoreUnavailable; of a write it is then not known whether it landed.
    """

    def __init__(self, store: Store, *, new_id: Callable[[], str] = random_id) -> None:
        """Work on this store, which stays the caller's to close; ``new_id`` makes GUIDs."""
        super().__init__(store, EventLog(store), new_id)
        self.registry = Registry(store, self._log)
        self.resource_types = ResourceTypeRecords(store, self._log)
        self.group_sets = GroupSetRecords(store, self._log)
        self.members = Members(store, self._log)
        self.credentials = Credentials(store, self._log)
        self.networks = NetworkRecords(store, self._log)
        self.coordination = Coordination(store, self._log)
        self.fences = Fences(store, self._log)
        self.moves = Moves(store, self._log)
        self.migrations = MigrationHistory(store)
        self._followers: list[Follower] = []
        self._revisions = Revisions(store)

    @property
    def store(self) -> Store:
        """The store underneath."""
        return self._store

    # --- Ownership and run state -----------------------------------------------------------------------------------

    async def get_ownership(self, group: GroupId) -> Versioned[Ownership]:
        """Who owns a group. Raises CallerError ERROR_GROUP_NOT_FOUND."""
        record = await self._store.get(keys.ownership(group))
        if record is None:
            raise _no_group(group)
        return Versioned(Ownership.decode(record.value), record.revision)

    async def get_run_state(self, group: GroupId) -> Versioned[RunState]:
        """A group's run state. Raises CallerError ERROR_GROUP_NOT_FOUND."""
        record = await self._store.get(keys.run(group))
        if record is None:
            raise _no_group(group)
        return Versioned(RunState.decode(record.value), record.revision)

    async def change_ownership(
        self,
        group: GroupId,
        expected: Versioned[Ownership],
        new: Ownership,
        run: RunState | None = None,
        events: Events = (),
        *,
        provided: Sequence[Compare] = (),
    ) -> Versioned[Ownership] | ConflictingOwnership:
        """Compare-and-swap the whole ownership record; the epoch must rise by exactly one (else ValueError).

        ``run`` is written along with it. ``provided`` must hold too: a taker names the lease record that it judged.
        A node that is being evicted, or was, is given nothing: the record then stands as it was. A repeated write of
        one that is evicted meanwhile would make it the holder of what it can hold no lease for.
        StoreUnavailable says nothing about whether it landed: settle that by another change of one's own (rule R1).
        """
        if new.epoch != expected.value.epoch + 1:
            raise ValueError(f"epoch {expected.value.epoch} must become {expected.value.epoch + 1}, not {new.epoch}")
        plan = Plan()
        plan.compares[keys.ownership(group)] = expected.revision
        plan.put(keys.ownership(group), new.encode())
        if new.holder != expected.value.holder:
            plan.compares[keys.leaving(new.holder)] = 0
            plan.compares[keys.evicted(new.holder)] = 0
        if run is not None:
            plan.put(keys.run(group), run.encode())
        for compare in provided:
            plan.compares[compare.key] = compare.revision
        self._log.add(plan, events)
        outcome = await plan.commit(self._store)
        if outcome.succeeded:
            return Versioned(new, outcome.revision)
        current = outcome.compared[0]
        return ConflictingOwnership(
            None if current is None else Versioned(Ownership.decode(current.value), current.revision)
        )

    async def write_run_state(
        self,
        group: GroupId,
        ownership: Versioned[Ownership],
        run: RunState,
        events: Events = (),
        *,
        over: int | None = None,
    ) -> int:
        """Write a group's run state, only while the ownership record stands at that revision; gives its own, or 0.

        ``over`` is the revision of the run state that the owner wrote last, as far as it knows. It is compared too: an
        earlier write of the owner that was never answered may still land, but not over this one. One that has landed
        meanwhile is written over.
        """
        outcome, _ = await self._write_run(group, ownership, run, None, events, over)
        return outcome.revision if outcome.succeeded else 0

    async def write_queued_run_state(
        self,
        group: GroupId,
        ownership: Versioned[Ownership],
        run: RunState,
        move: MoveWrite,
        events: Events = (),
        *,
        over: int | None = None,
    ) -> tuple[QueuedWrite, int]:
        """Write a group's run state together with its entry in the queue of moves, both or none; and the revision.

        ``over`` as in `write_run_state`.
        """
        outcome, is_ours = await self._write_run(group, ownership, run, move, events, over)
        if outcome.succeeded:
            return QueuedWrite.LANDED, outcome.revision
        return (QueuedWrite.QUEUE_MOVED if is_ours else QueuedWrite.NOT_OWNER), outcome.revision

    async def _write_run(
        self,
        group: GroupId,
        ownership: Versioned[Ownership],
        run: RunState,
        move: MoveWrite | None,
        events: Events,
        over: int | None,
    ) -> tuple[Outcome, bool]:
        """Write a run state; tells besides whether the ownership record stood as it was known."""
        if over is None:
            found = await self._store.get(keys.run(group))
            over = 0 if found is None else found.revision
        while True:
            plan = Plan()
            plan.compares[keys.ownership(group)] = ownership.revision
            plan.compares[keys.run(group)] = over
            plan.put(keys.run(group), run.encode())
            if move is not None:
                move.add_to(plan)
            self._log.add(plan, events)
            outcome = await plan.commit(self._store)
            if outcome.succeeded:
                return outcome, True
            holder, current = outcome.compared[:2]
            is_ours = holder is not None and holder.revision == ownership.revision
            if not is_ours or current is None or current.revision == over:
                return outcome, is_ours
            over = current.revision  # an earlier write of the owner's own, whose answer was lost

    async def write_node_facts(self, node: NodeId, facts: NodeFacts) -> None:
        """Tell the other nodes how to reach this one. Raises CallerError ERROR_CLUSTER_NODE_NOT_FOUND."""
        plan = Plan()
        await self._node_record(node)
        plan.put(keys.node_facts(node), facts.encode())
        await plan.commit(self._store)

    async def get_lease(self, node: NodeId) -> Versioned[Lease] | None:
        """A node's last sign of life; None when it never gave one."""
        record = await self._store.get(keys.lease(node))
        return None if record is None else Versioned(Lease.decode(record.value), record.revision)

    async def end_lease(
        self,
        node: NodeId,
        expected: Versioned[Lease],
        events: Events = (),
        provided: Sequence[Compare] = (),
        writes: Sequence[Write] = (),
    ) -> bool:
        """Make it a fact that a node's lease is over, while the record stands as it was judged; answers whether.

        ``provided`` must hold too and ``writes`` land with it: the coordinator takes its role in the same transaction,
        and compares the key of its own node, as one that was evicted meanwhile was asked for no promise (rule R10).
        ValueError: it is ended already.
        """
        if expected.value.ended:
            raise ValueError(f"the lease of node {node} is ended already")
        plan = Plan()
        plan.compares[keys.lease(node)] = expected.revision
        plan.put(keys.lease(node), replace(expected.value, ended=True).encode())
        for compare in provided:
            plan.compares[compare.key] = compare.revision
        for write in writes:
            plan.writes[write.key] = write.value if isinstance(write, Put) else None
        self._log.add(plan, events)
        return (await plan.commit(self._store)).succeeded

    async def note_admissions(self) -> None:
        """Write down that nodes are admitted whose admission an older version did not note.

        That is later than they really were, which errs to the safe side: who saw this record saw the node too.
        """

        async def plan() -> tuple[Plan, None]:
            snapshot = await self.snapshot()
            planned = Plan()
            for node in snapshot.nodes.values():
                if node.id not in snapshot.admissions:
                    planned.compares[keys.registry_key(keys.node_path(node.id))] = node.revision
                    planned.create(keys.admission(node.id), Admission().encode())
            return planned, None

        await commit_until_done(self._store, plan)

    async def add_standard_objects(self) -> bool:
        """Add the standard objects that an older version did not make; tells whether there were any.

        Raises CallerError ERROR_OBJECT_ALREADY_EXISTS when the name of one is taken.
        """
        return await add_standard_objects(self._store, self._new_id)

    # --- Events ----------------------------------------------------------------------------------------------------

    async def append_events(self, events: Sequence[EventRecord]) -> int:
        """Write events that belong to no other change; returns their sequence."""
        return await self._log.append(events)

    async def events(self, after: int = 0, limit: int | None = None) -> tuple[EventRecord, ...]:
        """The oldest events after a sequence, in order: ``limit``, or more to keep those of one sequence together."""
        return await self._log.after(after, limit)

    async def latest_events(self, limit: int) -> tuple[EventRecord, ...]:
        """The newest events, oldest first."""
        return await self._log.latest(limit)

    async def select_events(self, query: EventQuery) -> tuple[EventRecord, ...]:
        """The events that a query asks for, oldest first."""
        return await self._log.select(query)

    def watch_events(self, after: int) -> AsyncGenerator[tuple[EventRecord, ...], None]:
        """Events after a sequence as they are written. Raises Compacted: read ``events`` and watch from the last."""
        return self._log.watch(after)

    async def prune_events(self, keep: int, before: datetime | None = None) -> int:
        """Delete the events of before a moment, of the others all but the newest ``keep``; returns how many went."""
        return await self._log.prune(keep, before)

    # --- Following -------------------------------------------------------------------------------------------------

    async def snapshot(self) -> ClusterSnapshot:
        """The cluster as it is now: from what is followed where somebody does, else from all records.

        Raises RefusalError ERROR_CLUSTER_NOT_INSTALLED when none was created here.
        """
        follower = await self._up_to_date()
        return await super().snapshot() if follower is None else follower.snapshot

    async def key_values(self, path: str, *, private: bool = False) -> RegistryValues:
        """The values of an object's key, or of the key Parameters below it; none when there is no such key."""
        follower = await self._up_to_date()
        if follower is None:
            return await super().key_values(path, private=private)
        return follower.key_values(keys.below(path) if private else path)

    async def _up_to_date(self) -> Follower | None:
        """One who has come to where the store is now; None: nobody follows, or the watch stands still."""
        if self._followers:
            now = await self._revisions.now()
            for follower in tuple(self._followers):
                if await follower.reach(now):
                    return follower
        return None

    async def follow(self) -> AsyncGenerator[ClusterSnapshot, None]:
        """The cluster now, and again after every change of it (renewed leases too), in order.

        Close it when done (``contextlib.aclosing``). Ends when the store is closed. After StoreUnavailable begin anew.
        """
        while True:
            follower = Follower(await self._store.range(*SnapshotBuilder.PREFIXES))
            self._followers.append(follower)
            try:
                yield follower.seen
                async with aclosing(self._store.watch("", follower.revision)) as batches:
                    async for batch in batches:
                        if follower.apply(batch):
                            yield follower.seen
                return
            except Compacted:
                continue  # too slow for the log of changes: read everything again
            finally:
                self._followers.remove(follower)

    async def wait_until(self, condition: Callable[[ClusterSnapshot], bool]) -> ClusterSnapshot:
        """Wait until a condition holds and return the snapshot in which it does. Raises FaultError when closed."""
        async with aclosing(self.follow()) as snapshots:
            async for snapshot in snapshots:
                if condition(snapshot):
                    return snapshot
        raise FaultError(Status.ERROR_OPERATION_ABORTED, "the cluster database was closed while waiting")


def _no_group(group: GroupId) -> CallerError:
    return CallerError(Status.ERROR_GROUP_NOT_FOUND, f"the cluster has no group with the id {group!r}")
