"""What this node may conclude about the others, and what it has promised them: the hands of `cluster/observer.py`.

Everything here belongs to the loop. What is told to people and to placement (`node_state`) may err; what somebody's
lease may be ended on (`may_end`) may not.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState, NodeStatus
from quorate.cluster import observer
from quorate.cluster.lease import MARGIN
from quorate.cluster.observer import EndVerdict, Judge, Subject
from quorate.cluster.promise import Answer, Promises, Request, Situation
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.guard_file import boottime
from quorate.engine.lease import LeaseKeeper, lease_to_brain
from quorate.engine.view import ClusterView

LOOK: Final = 1.0
"""Seconds between two looks at the most: a lease that falls silent changes nothing that the view would tell."""


@dataclass(frozen=True, slots=True)
class _Ending:
    """A lease that this node has found to be over: its end may be on its way to the database."""

    incarnation: str
    revision: int


class Membership:
    """The other nodes as this one may judge them."""

    def __init__(self, me: NodeId, view: ClusterView, lease: LeaseKeeper) -> None:
        """Judge as node ``me``, whose daemon starts now: promises of an earlier one are not known to it (R10)."""
        self._me = me
        self._view = view
        self._lease = lease
        self._started = boottime()
        self._promises = Promises()
        self._ending: dict[NodeId, _Ending] = {}
        self._states: Mapping[NodeId, NodeState] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._unsubscribe: Callable[[], None] = lambda: None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Follow the view, which has been started, and the clock."""
        self._view.judge_by(self.node_state)
        self._unsubscribe = self._view.subscribe(self._on_view)
        self._look()

    def close(self) -> None:
        """Follow no more."""
        self._unsubscribe()
        if self._timer is not None:
            self._timer.cancel()

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when the state of a node has changed, be it by time alone; returns the unsubscription."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    # --- for people and for placement --------------------------------------------------------------------------------

    def node_state(self, node: NodeId) -> NodeState:
        """State of a node: Unknown where this node cannot tell, as the database does not answer it either.

        This node itself is Down while its lease is not held; if it goes on by promises its status says Isolated.
        """
        snapshot = self._view.snapshot
        info, lease, sighting = snapshot.nodes.get(node), snapshot.leases.get(node), self._view.sighting(node)
        if info is None:
            return NodeState.UNKNOWN
        is_held = self._lease.is_held
        if node == self._me and (not is_held or self._lease.is_joining):
            return NodeState.JOINING if is_held else NodeState.DOWN
        if lease is None or sighting is None:
            return NodeState.DOWN
        record = lease_to_brain(lease.value)
        if node == self._me:
            record = replace(record, ended=False, joining=False)  # it knows better than the view, which comes later
            return observer.node_state(record, boottime(), boottime(), paused=info.paused)
        return observer.node_state(record, sighting.at, boottime(), paused=info.paused, is_blind=not is_held)

    def node_status(self, node: NodeId) -> NodeStatus:
        """What the record says besides the state; Isolated is this node, when it goes on by promises alone."""
        info = self._view.snapshot.nodes.get(node)
        status = NodeStatus.NORMAL if info is None else info.status & ~NodeStatus.ISOLATED
        if node == self._me and self._lease.may_run and not self._lease.is_held:
            status |= NodeStatus.ISOLATED
        return status

    def is_writable(self) -> bool:
        """Tell whether the database has answered this node lately."""
        return self._lease.is_writable

    # --- for taking over ---------------------------------------------------------------------------------------------

    def may_end(self, node: NodeId, *, fenced: bool = False) -> EndVerdict:
        """Tell whether this node may end the lease of another one, as the newest snapshot has it (I4, R9, R10).

        ``fenced``: a fence agent has switched it off, or a person says that it is dead. The transaction must compare
        the lease's revision in that snapshot, and the key of this node: one that was evicted was asked for no promise.
        """
        snapshot = self._view.snapshot
        info, lease, sighting = snapshot.nodes.get(node), snapshot.leases.get(node), self._view.sighting(node)
        name = f"node {node}" if info is None else info.name
        if node == self._me:
            return EndVerdict(False, None, "a node does not end its own lease")
        if lease is None or sighting is None:
            return EndVerdict(False, None, f"{name} has no lease")
        now, holder = boottime(), self._lease.holder()
        subject = Subject(name, lease_to_brain(lease.value), lease.revision, sighting.at)
        judge = Judge(
            is_held=holder.is_held(now),
            since_revision=holder.since_revision,
            admitted=snapshot.admissions.get(self._me),
            started=self._started,
            promised_until=self._promises.outstanding(node, now),
            held_since=holder.held_since,
        )
        verdict = observer.may_end(subject, judge, now, fenced=fenced)
        if verdict.allowed:
            self._ending[node] = _Ending(lease.value.incarnation, lease.revision)
        return verdict

    def has_promised(self, node: NodeId) -> bool:
        """Tell whether this node has promised another one to take nothing over, and must keep to it."""
        return self._promises.outstanding(node, boottime()) is not None

    def answer(self, request: Request) -> Answer:
        """Promise, or refuse to. The promise holds from this moment, before anybody has heard of it."""
        situation = Situation(self._lease.is_writable, self._ended_incarnation(request.node))
        self._promises, answer = self._promises.answer(request, situation, boottime())
        return answer

    def _ended_incarnation(self, node: NodeId) -> str:
        lease, ending = self._view.snapshot.leases.get(node), self._ending.get(node)
        if lease is not None and lease.value.ended:
            return lease.value.incarnation
        return "" if ending is None else ending.incarnation

    # --- what changes ------------------------------------------------------------------------------------------------

    def _on_view(self, snapshot: ClusterSnapshot) -> None:
        for node, ending in tuple(self._ending.items()):
            lease = snapshot.leases.get(node)
            if lease is None or (lease.revision != ending.revision and not lease.value.ended):
                del self._ending[node]  # it was renewed before our word could land
        self._look()

    def _look(self) -> None:
        """Compare with what was known, tell if it changed, and look again when time alone may change it."""
        states = {node: self.node_state(node) for node in self._view.snapshot.nodes}
        if states != self._states:
            self._states = states
            for callback in tuple(self._callbacks):
                callback()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._pause(), self._look)

    def _pause(self) -> float:
        now = boottime()
        ends = [self._lease.holder().lease_until]
        for node, lease in self._view.snapshot.leases.items():
            sighting = self._view.sighting(node)
            if sighting is not None:
                ends.append(sighting.at + lease.value.duration + MARGIN)
        return min(LOOK, *(end - now + 0.001 for end in ends if end > now), LOOK)
