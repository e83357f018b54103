"""Who is to be fenced: silent nodes whose lease proves nothing, or not yet; asked for by one node at a time."""

import asyncio
from collections.abc import Collection
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
        if not self._context.lease.is_held or not self._judgement.is_writable():
            return
        snapshot = self._context.view.snapshot
        after = float(snapshot.cluster.properties.number("FenceAfter", 0))
        silent = {node: seconds for node in snapshot.leases if (seconds := self._silence(node, after)) is not None}
        if not silent or not self._is_ours(silent):
            return
        for node, seconds in silent.items():
            verdict = self._judgement.may_end(node)
            is_over = self._judgement.node_state(node) is NodeState.DOWN
            if asks_agents(seconds, after, is_over=is_over, may_end=verdict.allowed):
                name = self._context.name_of(node)
                self._fencing.begin(node, f"{name} has been silent for {seconds:.1f} s: {verdict.sentence}")

    def _silence(self, node: NodeId, after: float) -> float | None:
        """Seconds for which another node has been silent, if that is long enough to be thought about."""
        lease, sighting = self._context.view.snapshot.leases[node], self._context.view.sighting(node)
        if node == self._context.node or lease.value.ended or sighting is None:
            return None
        seconds = boottime() - sighting.at
        is_long = 0.0 < after <= seconds or self._judgement.node_state(node) is NodeState.DOWN
        return seconds if is_long else None

    def _is_ours(self, silent: Collection[NodeId]) -> bool:
        """Tell whether this node coordinates, or would be the next to: the lowest number that is not silent."""
        snapshot = self._context.view.snapshot
        states = (NodeState.UP, NodeState.PAUSED)
        up = [n for n in snapshot.nodes if n not in silent and self._judgement.node_state(n) in states]
        role = snapshot.coordinator
        if role is not None and role.value.node in up:
            return role.value.node == self._context.node
        return bool(up) and min(up, key=_number) == self._context.node


def _number(node: NodeId) -> tuple[int, str]:
    return len(node), node
