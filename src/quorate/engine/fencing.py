"""The hands of fencing: asks the budget, runs agents, and keeps what they prove.

One node fences at a time, the coordinator, which says whom it suspects. What is proven is proven of one renewal of one
lease: an agent that has switched off the wrong machine is found out by the next sign of life of the right one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.cluster import fencing as brain
from quorate.cluster.fence_budget import DEFAULT_PERIOD, DEFAULT_SHARE, Budget, Leave, PoweredOff, plan_leave
from quorate.cluster.fencing import Fence, News, Phase
from quorate.database.fence_records import FenceAgent, FenceHistory
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.context import EngineContext
from quorate.engine.fence_agents import Answer, FenceAgents, Said
from quorate.engine.supervised import spawn

ANSWER_DEADLINE: Final = 3.0
"""Seconds that the database has for what is asked of it."""
_KINDS: Final = {
    News.BEGUN: EventKind.NODE_FENCING,
    News.FENCED: EventKind.NODE_FENCED,
    News.FAILED: EventKind.NODE_FENCE_FAILED,
    News.HELD: EventKind.NODE_FENCE_HELD,
}

_log = structlog.get_logger("fence")


class Fencing:
    """The fencing of other nodes by this one."""

    def __init__(self, context: EngineContext, agents: FenceAgents, now: Callable[[], float]) -> None:
        """Fence nobody until it is asked for; ``now`` is the cluster's time, which the budget is counted in."""
        self._context = context
        self._agents = agents
        self._now = now
        self._fences: dict[NodeId, Fence] = {}
        self._known: dict[NodeId, tuple[FenceAgent, ...]] = {}
        self._begun_at: dict[NodeId, int] = {}
        """The revision of each suspect's lease when it was suspected first."""
        self._reading: set[NodeId] = set()
        self._callbacks: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsubscribe = context.view.subscribe(self._on_snapshot)

    async def close(self) -> None:
        """Ask agents no more; those under way are ended."""
        self._unsubscribe()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when a proof has come, or is void; returns the unsubscription."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    # --- what the coordinator asks -----------------------------------------------------------------------------------

    def begin(self, node: NodeId, sentence: str) -> None:
        """Have a silent node switched off, if it has agents. To be called again and again while it is silent."""
        if node in self._reading or node == self._context.node:
            return
        fence = self._fences.get(node)
        if fence is not None and fence.phase not in (Phase.IDLE, Phase.FAILED, Phase.HELD):
            return
        self._reading.add(node)
        spawn(self._tasks, self._begin(node, sentence), f"the fencing of node {node}")

    def proof(self, node: NodeId) -> bool:
        """Tell whether it is proven that the node is off, and has been since the last renewal of its lease."""
        fence, lease = self._fences.get(node), self._context.view.snapshot.leases.get(node)
        return fence is not None and fence.phase is Phase.OFF and lease is not None and lease.revision <= fence.revision

    def describe(self, node: NodeId) -> str:
        """Say how the fencing of a node stands; empty when nothing was begun."""
        fence = self._fences.get(node)
        return "" if fence is None else fence.sentence

    async def _begin(self, node: NodeId, sentence: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_DEADLINE):
                self._known[node] = await self._context.database.fences.of(node)
        except (ClusterError, TimeoutError) as error:
            _log.warning("how a node is switched off could not be read", node=node, error=str(error))
            return
        finally:
            self._reading.discard(node)
        lease, fence = self._context.view.snapshot.leases.get(node), self._fences.get(node)
        if lease is not None:
            if fence is None or fence.phase is Phase.IDLE:
                self._begun_at[node] = lease.revision
            self._post(node, brain.Suspected(len(self._known[node]), sentence))

    # --- the brain ---------------------------------------------------------------------------------------------------

    def _post(self, node: NodeId, event: brain.Event) -> None:
        before = self._fences.get(node, Fence(self._context.name_of(node)))
        step = before.step(event, self._context.now())
        self._fences[node] = step.state
        if step.state.phase is not before.phase:
            phases = f"{before.phase.value} -> {step.state.phase.value}"
            _log.info("fencing", node=step.state.name, phase=phases, on=type(event).__name__)
        for effect in step.effects:
            self._do(node, effect)
        if Phase.OFF in (before.phase, step.state.phase) and before.phase is not step.state.phase:
            for callback in tuple(self._callbacks):
                callback()

    def _do(self, node: NodeId, effect: object) -> None:
        match effect:
            case brain.AskLeave(attempt):
                self._spawn(node, self._ask_leave(node, attempt))
            case brain.PowerOff(attempt, agent):
                self._spawn(node, self._power_off(node, attempt, agent))
            case brain.LookAt(attempt, agent):
                self._spawn(node, self._look_at(node, attempt, agent))
            case brain.Tell(news, sentence):
                _log.warning("fencing", node=self._context.name_of(node), sentence=sentence)
                self._spawn(node, self._tell(node, _KINDS[news], sentence))
            case _:
                raise AssertionError(f"the brain of fencing asks for {effect!r}, which has no hand")

    def _spawn(self, node: NodeId, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        spawn(self._tasks, run(), f"the fencing of node {node}")

    def _on_snapshot(self, snapshot: ClusterSnapshot) -> None:
        """Notice who gives a sign of life; that somebody has ended a lease is none."""
        for node, fence in tuple(self._fences.items()):
            lease = snapshot.leases.get(node)
            if lease is None:
                del self._fences[node]  # evicted
                self._begun_at.pop(node, None)
                continue
            known = fence.revision if fence.phase is Phase.OFF else self._begun_at.get(node, lease.revision)
            if lease.revision > known and not lease.value.ended and fence.phase is not Phase.IDLE:
                _log.info("a node that was to be fenced gives a sign of life", node=fence.name)
                self._begun_at.pop(node, None)
                self._post(node, brain.Returned())

    # --- the budget --------------------------------------------------------------------------------------------------

    async def _ask_leave(self, node: NodeId, attempt: int) -> None:
        snapshot = self._context.view.snapshot
        name, nodes, budget, now = self._context.name_of(node), len(snapshot.nodes), budget_of(snapshot), self._now()

        def decide(known: FenceHistory) -> tuple[FenceHistory | None, Leave]:
            history = tuple(PoweredOff(entry, at) for entry, at in known.entries)
            leave = plan_leave(node, name, history, nodes, budget, now)
            entries = tuple((entry.node, entry.at) for entry in leave.history)
            return (replace(known, entries=entries) if leave.given else None), leave

        try:
            async with asyncio.timeout(ANSWER_DEADLINE):
                leave = await self._context.database.fences.note(decide)
        except (ClusterError, TimeoutError) as error:
            sentence = f"{name} is not switched off, as the budget cannot be asked: {error}"
            self._post(node, brain.LeaveRefused(attempt, sentence))
            return
        self._post(node, brain.LeaveGiven(attempt) if leave.given else brain.LeaveRefused(attempt, leave.sentence))

    # --- the agents --------------------------------------------------------------------------------------------------

    async def _power_off(self, node: NodeId, attempt: int, agent: int) -> None:
        said = await self._agents.power_off(self._known[node][agent])
        await self._on_said(node, attempt, said)

    async def _look_at(self, node: NodeId, attempt: int, agent: int) -> None:
        said = await self._agents.status(self._known[node][agent])
        await self._on_said(node, attempt, said)

    async def _on_said(self, node: NodeId, attempt: int, said: Said) -> None:
        match said.answer:
            case Answer.DONE | Answer.OFF:
                self._post(node, await self._proven(node, attempt, said))
            case Answer.ON:
                self._post(node, brain.FoundOn(attempt))
            case Answer.FAILED:
                self._post(node, brain.AgentFailed(attempt, said.sentence))

    async def _proven(self, node: NodeId, attempt: int, said: Said) -> brain.Event:
        """Read which renewal was the last one: what was written before the node went off may be seen only now."""
        try:
            async with asyncio.timeout(ANSWER_DEADLINE):
                lease = await self._context.database.get_lease(node)
        except (ClusterError, TimeoutError) as error:
            return brain.AgentFailed(attempt, f"{said.sentence}, but its lease could not be read: {error}")
        return brain.FoundOff(attempt, 0 if lease is None else lease.revision, said.sentence)

    async def _tell(self, node: NodeId, kind: EventKind, sentence: str) -> None:
        event = EventRecord.of(
            kind,
            time=datetime.now(UTC),
            node=self._context.node,
            object_id=node,
            object_name=self._context.name_of(node),
            sentence=sentence,
            actor=f"node {self._context.node}",
        )
        try:
            await self._context.database.append_events((event,))
        except ClusterError as error:
            _log.warning("an event was not written", sentence=error.sentence)


def budget_of(snapshot: ClusterSnapshot) -> Budget:
    """What the cluster's properties allow."""
    properties = snapshot.cluster.properties
    return Budget(
        share=properties.number("FenceBudgetShare", DEFAULT_SHARE),
        period=float(properties.number("FenceBudgetPeriod", DEFAULT_PERIOD)),
    )
