"""Writes the coordinator's record, and what changes with it. ``ClusterDatabase.coordination``.

Each write compares what it was decided on, so that two coordinators at once do no harm: one of them is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeStatus
from quorate.database import keys
from quorate.database.administration import STATUS_INFORMATION, changed_key
from quorate.database.contract import Compare, Store
from quorate.database.events import EventLog
from quorate.database.failover_records import CoordinatorRecord
from quorate.database.plan import Plan
from quorate.database.records import Lease, Versioned
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.values import RegistryValue


class Coordination:
    """Everything about the coordinator in the database."""

    def __init__(self, store: Store, log: EventLog) -> None:
        """Write into this store."""
        self._store = store
        self._log = log

    async def take_role(
        self,
        new: CoordinatorRecord,
        expected: int,
        *,
        ends: tuple[NodeId, Versioned[Lease]] | None = None,
        provided: Sequence[Compare] = (),
        events: Sequence[EventRecord] = (),
    ) -> int:
        """Write the record over the one of revision ``expected`` (0: there is none), and end a lease with it.

        Answers the store's revision, 0 when something stood elsewhere. Raises StoreUnavailable.
        """
        plan = Plan()
        plan.compares[keys.COORDINATOR] = expected
        plan.put(keys.COORDINATOR, new.encode())
        if ends is not None:
            node, lease = ends
            plan.compares[keys.lease(node)] = lease.revision
            plan.put(keys.lease(node), replace(lease.value, ended=True).encode())
        for compare in provided:
            plan.compares[compare.key] = compare.revision
        return await self._commit(plan, events)

    async def note(
        self,
        new: CoordinatorRecord,
        expected: int,
        statuses: Mapping[NodeId, NodeStatus],
        events: Sequence[EventRecord] = (),
    ) -> int:
        """Write the coordinator's record again, with StatusInformation of nodes; answers as ``take_role``."""
        plan = Plan()
        plan.compares[keys.COORDINATOR] = expected
        plan.put(keys.COORDINATOR, new.encode())
        for node, status in statuses.items():
            record = await self._store.get(keys.registry_key(keys.node_path(node)))
            if record is None:
                return 0  # evicted meanwhile: look again
            plan.replace(record, changed_key(record, {STATUS_INFORMATION: RegistryValue.dword(int(status))}))
        return await self._commit(plan, events)

    async def _commit(self, plan: Plan, events: Sequence[EventRecord]) -> int:
        self._log.add(plan, events)
        outcome = await plan.commit(self._store)
        return outcome.revision if outcome.succeeded else 0


def coordinating_node(snapshot: ClusterSnapshot) -> NodeId | None:
    """The node that coordinates, as the database has it: its role is of a lease that goes on. None: nobody does."""
    role = snapshot.coordinator
    lease = None if role is None else snapshot.leases.get(role.value.node)
    if role is None or lease is None or lease.value.ended or lease.value.incarnation != role.value.incarnation:
        return None
    return role.value.node
