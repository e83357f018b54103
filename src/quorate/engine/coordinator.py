"""The hands of the coordinator's brain: pictures in, transactions out.

Nothing is decided while this node's lease is not held or the database does not answer. Every transaction compares what
it was decided on; one that is refused is planned anew on the next picture, one without an answer lands once at most.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import json_text
from quorate.clusapi.states import NodeState
from quorate.cluster import coordinator_work as w
from quorate.cluster.coordinator import Coordinator as Brain
from quorate.cluster.failover import GiverWord
from quorate.cluster.picture import Role
from quorate.database import keys
from quorate.database.cluster_database import ConflictingOwnership
from quorate.database.contract import Compare, StoreUnavailable
from quorate.database.failover_records import CoordinatorRecord, LapseNote
from quorate.database.records import Ownership
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.context import EngineContext
from quorate.engine.fault_points import FaultPoints, Point
from quorate.engine.guard_file import boottime
from quorate.engine.movements import Movements
from quorate.engine.pictures import PictureOf
from quorate.engine.run_changes import run_after_take_over
from quorate.engine.supervised import spawn
from quorate.peers.messages import GiverQuestion

AT_ONCE: Final = 16
"""Take-overs under way at a time: enough to hide the database's answers, few enough to leave it room for leases."""
ANSWER_DEADLINE: Final = 3.0
"""Seconds after which a write counts as unanswered."""
GIVER_DEADLINE: Final = 1.0
"""Seconds that a giver has to say what became of its gift."""
SHORTEST: Final = 0.02
"""Seconds between two looks, however much changes."""
FROZEN: Final = 0.25
"""Seconds between two looks while this node may decide nothing."""

_log = structlog.get_logger("coordinator")


class Membership(Protocol):
    """What the coordinator needs of `engine/membership.py` besides the pictures."""

    def is_writable(self) -> bool:
        """Tell whether the database has answered this node lately."""
        ...

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when what is known of the nodes has changed; returns the unsubscription."""
        ...


class Coordinator:
    """One node's part in the coordination of the cluster."""

    def __init__(self, context: EngineContext, membership: Membership, picture: PictureOf) -> None:
        """Follow until `start`."""
        self._context = context
        self._membership = membership
        self._picture = picture
        self._brain = Brain(context.node)
        self._movements = Movements(context, self._answered, self._wake)
        self._faults = FaultPoints(context.node_name)
        self._looking = asyncio.Event()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def brain(self) -> Brain:
        """What this node knows of the role."""
        return self._brain

    def start(self) -> None:
        """Take part."""
        self._context.view.subscribe(lambda snapshot: self._looking.set())
        self._membership.subscribe(self._looking.set)
        self._looking.set()
        self._task = asyncio.create_task(self._run(), name="coordinator")

    def look_again(self) -> None:
        """Look once more: something has changed that neither the view nor the membership shows."""
        self._looking.set()

    async def close(self) -> None:
        """Take part no more; a write under way lands or does not."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = [task for task in (self._task, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._movements.close()

    # --- events in, effects out -------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._looking.wait()
            self._looking.clear()
            self._wake_at = None
            try:
                self._look()
            except Exception:  # noqa: BLE001 - the supervisor of the coordinator: a node that stops looking helps nobody
                _log.exception("the coordinator broke; it looks again")
                self._wake(boottime() + FROZEN)
            await asyncio.sleep(SHORTEST)

    def _look(self) -> None:
        if self._context.lease.is_held and self._membership.is_writable():
            looked = w.Looked(self._picture())
            self._post(looked)
            self._movements.look(looked)
        else:
            self._wake(boottime() + FROZEN)

    def _post(self, event: w.Event) -> None:
        before = self._brain
        step = before.step(event, boottime())
        self._brain = step.state
        if step.state.phase is not before.phase:
            _log.info("coordinator", phase=f"{before.phase.value} -> {step.state.phase.value}", on=type(event).__name__)
        for effect in step.effects:
            self._do(effect)

    def _do(self, effect: object) -> None:
        match effect:
            case w.TakeRole():
                self._spawn(self._take_role(effect), "taking the coordinator's role")
            case w.EndLease():
                self._spawn(self._end_lease(effect), f"the end of the lease of node {effect.node}")
            case w.Take():
                self._spawn(self._take(effect), f"the take-over of {effect.group}")
            case w.Ask():
                self._spawn(self._ask(effect), f"asking the giver of {effect.question.group}")
            case w.NoteRole():
                self._spawn(self._note_role(effect), "the coordinator's note")
            case w.Say():
                self._spawn(self._say(effect), f"saying why {effect.group} stays")
            case w.WakeAt(at):
                self._wake(at)
            case _:
                raise AssertionError(f"the coordinator's brain asks for {effect!r}, which has no hand")

    def _spawn(self, work: Awaitable[None], what: str) -> None:
        async def run() -> None:
            await work

        spawn(self._tasks, run(), what)

    def _wake(self, at: float) -> None:
        """Look at this moment, or earlier if that was asked for before."""
        if self._wake_at is not None and self._wake_at <= at:
            return
        self._wake_at = at
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - boottime()), self._looking.set)

    async def _answered(self, write: Awaitable[int]) -> tuple[w.Outcome, int]:
        """What became of a write that answers the store's revision, 0 when it was refused."""
        try:
            async with asyncio.timeout(ANSWER_DEADLINE):
                revision = await write
        except (StoreUnavailable, TimeoutError) as error:
            _log.warning("the database did not answer the coordinator", sentence=str(error))
            return w.Outcome.UNANSWERED, 0
        except ClusterError as error:
            _log.warning("the coordinator was refused", sentence=error.sentence)
            return w.Outcome.REFUSED, 0
        return (w.Outcome.LANDED, revision) if revision else (w.Outcome.REFUSED, 0)

    # --- the role ---------------------------------------------------------------------------------------------------

    async def _take_role(self, effect: w.TakeRole) -> None:
        snapshot = self._context.view.snapshot
        ends = None
        if effect.ends is not None:
            lease = snapshot.leases.get(effect.ends.node)
            if lease is None or lease.revision != effect.ends.revision or lease.value.ended:
                self._post(w.RoleAnswered(w.Outcome.REFUSED))  # it has moved since the picture was made
                return
            ends = (effect.ends.node, lease)
        events = [self._node_event(EventKind.CLUSTER_COORDINATOR, self._context.node, effect.sentence)]
        if effect.ends is not None:
            events.insert(0, self._down_event(effect.ends))
        writing = self._context.database.coordination.take_role(
            to_coordinator_record(effect.role),
            effect.expected,
            ends=ends,
            provided=self._as_member(snapshot),
            events=events,
        )
        outcome, revision = await self._answered(writing)
        if outcome is w.Outcome.LANDED:
            _log.info("this node coordinates the cluster", sentence=effect.sentence)
        self._post(w.RoleAnswered(outcome, revision))

    async def _note_role(self, effect: w.NoteRole) -> None:
        events = [self._node_event(EventKind.NODE_STATE, node, said) for node, said in effect.sentences.items()]
        writing = self._context.database.coordination.note(
            to_coordinator_record(effect.role), effect.expected, effect.statuses, events
        )
        outcome, revision = await self._answered(writing)
        self._post(w.RoleAnswered(outcome, revision))

    def _as_member(self, snapshot: ClusterSnapshot) -> tuple[Compare, ...]:
        """This node is in the cluster: one that was evicted meanwhile was asked for no promise (R10)."""
        return (node_key(snapshot, self._context.node),)

    # --- ends of leases ---------------------------------------------------------------------------------------------

    async def _end_lease(self, effect: w.EndLease) -> None:
        snapshot = self._context.view.snapshot
        lease = snapshot.leases.get(effect.node)
        if lease is None or lease.revision != effect.revision or lease.value.ended:
            self._post(w.LeaseAnswered(effect.node, w.Outcome.REFUSED))
            return

        async def write() -> int:
            events = (self._down_event(effect),)
            ended = await self._context.database.end_lease(
                effect.node, lease, events, provided=self._as_member(snapshot)
            )
            return int(ended)

        outcome, _ = await self._answered(write())
        if outcome is w.Outcome.LANDED:
            _log.warning("a node is down", node=self._context.name_of(effect.node), sentence=effect.sentence)
        self._post(w.LeaseAnswered(effect.node, outcome))

    # --- take-over --------------------------------------------------------------------------------------------------

    async def _take(self, effect: w.Take) -> None:
        async with self._places:
            await self._faults.reach(Point.TAKING_OVER)
            outcome, revision = await self._answered(self._take_over(effect))
        _log.info("take-over", outcome=outcome.value, sentence=effect.decision.sentence)
        self._post(w.TakeAnswered(effect.group, outcome, revision))

    async def _take_over(self, effect: w.Take) -> int:
        """Give the group away; answers the store's revision, 0 when anything stood elsewhere than it was read."""
        snapshot = self._context.view.snapshot
        decision, group = effect.decision, effect.group
        old, run = snapshot.ownership.get(group), snapshot.run.get(group)
        if old is None or run is None or old.revision != effect.revision or decision.destination not in snapshot.nodes:
            return 0
        after = run_after_take_over(run.value, decision)
        image = None if after.vm is None else after.vm.saved_image
        new = Ownership(decision.destination, effect.epoch + 1, image, extra=old.value.extra)
        event = self._context.event(
            EventKind.GROUP_OWNER,
            group,
            decision.sentence,
            before=self._context.name_of(effect.holder),
            after=self._context.name_of(decision.destination),
        )
        provided = (
            Compare(keys.lease(effect.holder), effect.lease_revision),
            node_key(snapshot, decision.destination),
        )
        answer = await self._context.database.change_ownership(group, old, new, after, (event,), provided=provided)
        return 0 if isinstance(answer, ConflictingOwnership) else answer.revision

    async def _ask(self, effect: w.Ask) -> None:
        question = effect.question
        message = GiverQuestion(question.group, question.epoch)
        word = GiverWord.WAIT
        try:
            answer = await self._context.peers.call(question.giver, "giver", message.to_json(), GIVER_DEADLINE)
            word = GiverWord(json_text(answer, "word"))
        except ClusterError as error:
            _log.info("a giver did not answer", group=question.group, sentence=error.sentence)
        except ValueError:
            _log.warning("a giver gave an answer that is none", group=question.group)
        self._post(w.GiverAnswered(question.group, question.epoch, word))

    async def _say(self, effect: w.Say) -> None:
        event = self._context.event(EventKind.GROUP_STATE, effect.group, effect.sentence)
        _log.warning("a group stays with a dead node", sentence=effect.sentence)
        try:
            await self._context.database.append_events((event,))
        except ClusterError as error:
            _log.warning("an event was not written", sentence=error.sentence)

    # --- events -----------------------------------------------------------------------------------------------------

    def _down_event(self, end: w.EndLease) -> EventRecord:
        return self._node_event(EventKind.NODE_STATE, end.node, end.sentence, after=NodeState.DOWN.name.lower())

    def _node_event(self, kind: EventKind, node: NodeId, sentence: str, after: str | None = None) -> EventRecord:
        return EventRecord.of(
            kind,
            time=datetime.now(UTC),
            node=self._context.node,
            object_id=node,
            object_name=self._context.name_of(node),
            sentence=sentence,
            after=after,
            actor=f"node {self._context.node}",
        )


def node_key(snapshot: ClusterSnapshot, node: NodeId) -> Compare:
    """A node is in the cluster as it was seen."""
    return Compare(keys.registry_key(keys.node_path(node)), snapshot.nodes[node].revision)


def to_coordinator_record(role: Role) -> CoordinatorRecord:
    """Give the database a role as a brain has it."""
    return CoordinatorRecord(
        node=role.node,
        incarnation=role.incarnation,
        clock=role.clock,
        formed=role.formed,
        lapses=tuple(LapseNote(one.node, one.incarnation, one.at) for one in role.lapses),
        quarantined=dict(role.quarantined),
    )
