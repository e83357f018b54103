"""PauseNode and ResumeNode: what a person asks of a node, checked and written; the coordinator does the rest."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeDrainStatus, NodePauseFlags, NodeResumeFailbackType, NodeState, NodeStatus
from quorate.clusapi.status import Status
from quorate.cluster.moves import DRAIN_STATUS, Drain, DrainStage
from quorate.database.moves import DrainWrite
from quorate.database.snapshot import ClusterSnapshot, NodeInfo
from quorate.engine.context import EngineContext
from quorate.engine.queue_records import put_drain, to_drain

ATTEMPTS: Final = 20
"""How often a write is planned anew because the coordinator was quicker."""

MakeEvents = Callable[[str], Sequence[EventRecord]]
"""Makes the events that go with a change, from its sentence."""


class Draining:
    """What people ask of nodes."""

    def __init__(self, context: EngineContext, now: Callable[[], float]) -> None:
        """``now`` is the cluster's time."""
        self._context = context
        self._now = now

    async def pause(self, node: NodeId, events: MakeEvents) -> None:
        """Let a node take no new groups; those it has stay, and a drain that goes on goes on."""
        for _ in range(ATTEMPTS):
            snapshot = await self._context.database.snapshot()
            info, drain = snapshot.node(node), _drain_of(snapshot, node)
            kept = drain if drain is not None and drain.stage is not DrainStage.RETURNING else None
            write = DrainWrite(node, None, 0 if drain is None else drain.revision, paused=True)
            if kept is not None:
                write = replace(put_drain(kept, kept.revision), paused=True)
            if await self._write(write, events(f"{info.name} was paused and takes no new groups")):
                return
        raise _too_fast(info)

    async def drain(self, node: NodeId, target: NodeId | None, flags: NodePauseFlags, events: MakeEvents) -> None:
        """Pause a node and begin to move everything off it.

        Raises:
            CallerError: 87, the target is the node itself; 5042, a node is unknown.
            RefusalError: 5962, it is being drained; 5050, it is not up; 5005, the target is not up.
        """
        for _ in range(ATTEMPTS):
            snapshot = await self._context.database.snapshot()
            info, before = snapshot.node(node), _drain_of(snapshot, node)
            self._check(snapshot, info, before, target)
            groups = len(snapshot.groups_of(node))
            drain = Drain(
                node=node,
                id=str(uuid.uuid4())
                if before is None
                else before.id,  # what is away since then comes back with the rest
                started=self._now(),
                target=target,
                flags=flags,
                total=groups,
                sentence=f"{info.name} is being drained",
            )
            avoids = flags & NodePauseFlags.AVOID_PLACEMENT
            write = replace(
                put_drain(drain, 0 if before is None else before.revision),
                paused=True,
                adds=NodeStatus.AVOID_PLACEMENT if avoids else NodeStatus.NORMAL,
            )
            where = "" if target is None else f" to {snapshot.node(target).name}"
            counted = "1 group is" if groups == 1 else f"{groups} groups are"
            if await self._write(write, events(f"{info.name} is being drained: {counted} to be moved{where}")):
                return
        raise _too_fast(info)

    async def resume(self, node: NodeId, failback: NodeResumeFailbackType, events: MakeEvents) -> None:
        """End a pause, a drain and a quarantine; what was drained comes back as ``failback`` says.

        Raises:
            RefusalError: 5058, the node is neither paused nor quarantined.
        """
        for _ in range(ATTEMPTS):
            snapshot = await self._context.database.snapshot()
            info, drain = snapshot.node(node), _drain_of(snapshot, node)
            if not info.paused and not info.status & NodeStatus.QUARANTINED:
                sentence = f"{info.name} is neither paused nor quarantined"
                raise RefusalError(Status.ERROR_CLUSTER_NODE_NOT_PAUSED, sentence)
            expected = 0 if drain is None else drain.revision
            write = DrainWrite(node, None, expected)
            comes_back = ""
            if drain is not None and failback is not NodeResumeFailbackType.DO_NOT_FAIL_BACK:
                write = put_drain(replace(drain, stage=DrainStage.RETURNING, failback=failback, troubles={}), expected)
                at_once = failback is NodeResumeFailbackType.FAIL_BACK_IMMEDIATELY
                comes_back = (
                    ": what was drained from it comes back"
                    if at_once
                    else ": what was drained comes back by its policy"
                )
            removes = NodeStatus.QUARANTINED | NodeStatus.AVOID_PLACEMENT
            write = replace(write, status=NodeDrainStatus.NOT_INITIATED, paused=False, removes=removes)
            if await self._write(write, events(f"{info.name} was resumed{comes_back}")):
                return
        raise _too_fast(info)

    def _check(self, snapshot: ClusterSnapshot, info: NodeInfo, drain: Drain | None, target: NodeId | None) -> None:
        if drain is not None and DRAIN_STATUS[drain.stage] is NodeDrainStatus.IN_PROGRESS:
            sentence = f"{info.name} is being drained already: wait for that, or resume it"
            raise RefusalError(Status.ERROR_CLUSTER_NODE_DRAIN_IN_PROGRESS, sentence)
        state = self._context.view.node_state(info.id)
        if state not in (NodeState.UP, NodeState.PAUSED):
            sentence = (
                f"{info.name} is {state.name.lower()}: nothing can be moved off it; what it had is taken over by "
                "failover, and `quorate node pause` keeps it from taking groups when it comes back"
            )
            raise RefusalError(Status.ERROR_CLUSTER_NODE_DOWN, sentence)
        if target is None:
            return
        if target == info.id:
            sentence = f"{info.name} cannot be drained to itself: name another node, or none"
            raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
        to, its_state = snapshot.node(target), self._context.view.node_state(target)
        if its_state is not NodeState.UP or to.paused:
            state_name = "paused" if to.paused else its_state.name.lower()
            sentence = f"{to.name} is {state_name}, and everything is to go there: name a node that is up, or none"
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_AVAILABLE, sentence)

    async def _write(self, write: DrainWrite, events: Sequence[EventRecord]) -> bool:
        return await self._context.database.moves.commit(drains=(write,), events=events) > 0


def _drain_of(snapshot: ClusterSnapshot, node: NodeId) -> Drain | None:
    found = snapshot.drains.get(node)
    return None if found is None else to_drain(node, found)


def _too_fast(info: NodeInfo) -> RefusalError:
    return RefusalError(Status.ERROR_RETRY, f"{info.name} is changing too fast: try again")
