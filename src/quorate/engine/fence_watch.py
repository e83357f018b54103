"""Who is to be fenced: silent nodes whose lease proves nothing, or not yet; asked for by one node at a time."""

import asyncio
from typing import Final, Protocol

import structlog

from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState
from quorate.cluster.fence_budget import asks_agents
from quorate.cluster.observer import EndVerdict
from quorate.engine.context import EngineContext
from quorate.engine.fencing import Fencing
from quorate.engine.guard_file import boottime

LOOK: Final = 0.5
"""Seconds between two looks."""

_log = structlog.get_logger("fence")


class Judgement(Protocol):
    """What this node knows of the others (`engine/membership.py`)."""

    def node_state(self, node: NodeId) -> NodeState:
        """State of a node."""
        ...

    def may_end(self, node: NodeId, *, fenced: bool = False) -> EndVerdict:
        """Whether this node may end that node's lease."""
        ...

    def is_writable(self) -> bool:
        """Tell whether the database has answered this node lately."""
        ...


class FenceWatch:
    """Watches the other nodes, and begins what is to be begun."""

    def __init__(self, context: EngineContext, fencing: Fencing, judgement: Judgement) -> None:
        """Watch nobody until `start`."""
        self._context = context
        self._fencing = fencing
        self._judgement = judgement
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._run(), name="who is to be fenced")

    async def close(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:  # noqa: BLE001 - the supervisor of the watch: without it a dead node might never be proven so
                _log.exception("looking for nodes to be fenced broke; it is tried again")
            await asyncio.sleep(LOOK)

    def look(self) -> None:
        """Ask for whom it is time; nothing while this node cannot judge, or another one does."""
        if not self._context.lease.is_held or not self._judgement.is_writable() or not self._is_ours():
            return
        snapshot = self._context.view.snapshot
        after = float(snapshot.cluster.properties.number("FenceAfter", 0))
        for node, lease in snapshot.leases.items():
            sighting = self._context.view.sighting(node)
            if node == self._context.node or lease.value.ended or sighting is None:
                continue
            silent = boottime() - sighting.at
            is_over = self._judgement.node_state(node) is NodeState.DOWN
            if not is_over and not 0.0 < after <= silent:
                continue
            verdict = self._judgement.may_end(node)
            if asks_agents(silent, after, is_over=is_over, may_end=verdict.allowed):
                name = self._context.name_of(node)
                self._fencing.begin(node, f"{name} has been silent for {silent:.1f} s: {verdict.sentence}")

    def _is_ours(self) -> bool:
        """Tell whether this node coordinates, or would be the next to: of those that are up, the lowest number."""
        snapshot = self._context.view.snapshot
        up = [n for n in snapshot.nodes if self._judgement.node_state(n) in (NodeState.UP, NodeState.PAUSED)]
        role = snapshot.coordinator
        if role is not None and role.value.node in up:
            return role.value.node == self._context.node
        return bool(up) and min(up, key=_number) == self._context.node


def _number(node: NodeId) -> tuple[int, str]:
    return len(node), node
