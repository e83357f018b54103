"""Writes the queue of moves and the drains. ``ClusterDatabase.moves``.

Each write compares what it was decided on: of two that decide the same thing at once, one is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeDrainStatus, NodeStatus
from quorate.database import keys
from quorate.database.administration import STATUS_INFORMATION, changed_key
from quorate.database.contract import Compare, Store
from quorate.database.events import EventLog
from quorate.database.move_records import BIT_OF, DRAIN_BITS, DrainRecord, MoveWrite, take_turn
from quorate.database.plan import Plan
from quorate.database.values import KeyRecord, RegistryValue

NO_TARGET: Final = 0xFFFFFFFF
"""NodeDrainTarget without a target."""


@dataclass(frozen=True, slots=True)
class DrainWrite:
    """A change of one drain, and of what its node shows of it, as part of a transaction."""

    node: NodeId
    record: DrainRecord | None
    """None: there is none any more."""
    expected: int
    status: NodeDrainStatus = NodeDrainStatus.NOT_INITIATED
    paused: bool | None = None
    """What becomes of the pause; None: nothing."""
    adds: NodeStatus = NodeStatus.NORMAL
    """Bits of StatusInformation that the node gets besides."""
    removes: NodeStatus = NodeStatus.NORMAL


class Moves:
    """Everything about the queue and drains in the database."""

    def __init__(self, store: Store, log: EventLog) -> None:
        """Write into this store."""
        self._store = store
        self._log = log

    async def commit(
        self,
        moves: Sequence[MoveWrite] = (),
        drains: Sequence[DrainWrite] = (),
        *,
        turn: int | None = None,
        provided: Sequence[Compare] = (),
        events: Sequence[EventRecord] = (),
    ) -> int:
        """Write all of it or nothing; with ``turn`` moves begin by it.

        Answers the store's revision, 0 when something stood elsewhere. Raises StoreUnavailable.
        """
        plan = Plan()
        for compare in provided:
            plan.compares[compare.key] = compare.revision
        for move in moves:
            move.add_to(plan)
        if turn is not None:
            take_turn(plan, turn)
        for drain in drains:
            await self._add_drain(plan, drain)
        self._log.add(plan, events)
        outcome = await plan.commit(self._store)
        return outcome.revision if outcome.succeeded else 0

    async def _add_drain(self, plan: Plan, drain: DrainWrite) -> None:
        key = keys.drain(drain.node)
        plan.compares[key] = drain.expected
        if drain.record is not None or drain.expected:
            plan.writes[key] = None if drain.record is None else drain.record.encode()
        node = await self._store.get(keys.registry_key(keys.node_path(drain.node)))
        if node is None:
            return  # evicted: there is nobody to show it
        before = NodeStatus(KeyRecord.decode(node.value).values.number(STATUS_INFORMATION))
        status = before & ~(DRAIN_BITS | drain.removes) | BIT_OF[drain.status] | drain.adds
        target = None if drain.record is None or drain.status is NodeDrainStatus.NOT_INITIATED else drain.record.target
        values = {
            STATUS_INFORMATION: RegistryValue.dword(int(status)),
            "NodeDrainStatus": RegistryValue.dword(int(drain.status)),
            "NodeDrainTarget": RegistryValue.dword(NO_TARGET if target is None else int(target)),
        }
        if drain.paused is not None:
            values["Paused"] = RegistryValue.dword(drain.paused)
        plan.replace(node, changed_key(node, values))
