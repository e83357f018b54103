"""A simulated daemon's part in the coordination: the hands of `cluster/coordinator.py` and `cluster/movements.py`.

As `engine/coordinator.py` and `engine/movements.py` are in production; the transactions are production's own.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import GroupId
from quorate.cluster import coordinator_work as w
from quorate.cluster import movements as m
from quorate.cluster.coordinator import Phase
from quorate.cluster.failover import GiverWord
from quorate.cluster.moves import Change, DropDrain, DropMove, PutDrain, PutMove
from quorate.database import keys
from quorate.database.cluster_database import ConflictingOwnership
from quorate.database.contract import Compare, Put, StoreUnavailable
from quorate.database.move_records import MoveWrite
from quorate.database.moves import DrainWrite
from quorate.database.records import Ownership, RunState
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.coordinator import node_key, to_coordinator_record
from quorate.engine.queue_records import put_drain, put_move
from quorate.engine.run_changes import run_after_take_over
from quorate.simulator.brains import Hand
from quorate.simulator.kernel import EPSILON, Timer
from quorate.simulator.store import NodeStore
from quorate.simulator.trace import Kind

if TYPE_CHECKING:
    from quorate.simulator.daemon import Daemon

GIVER_DEADLINE: Final = 1.0
SHORTEST: Final = 0.02
"""Seconds between two looks, however much changes."""
FROZEN: Final = 0.25
"""Seconds between two looks while this node may decide nothing."""


class ClusterClock:
    """The cluster's time on one node, as `engine/cluster_clock.py` reads it."""

    def __init__(self, daemon: "Daemon") -> None:
        """Follow the coordinator's record."""
        self._daemon = daemon
        self._revision = 0
        self._noted = 0.0
        self._seen_at = 0.0
        daemon.view.subscribe(self._on_view)
        self._on_view()

    def now(self) -> float:
        """Seconds for which the cluster has had a coordinator."""
        if self._revision == 0:
            return 0.0
        return self._noted + self._daemon.machine.clock.boottime() - self._seen_at

    def _on_view(self) -> None:
        record = self._daemon.view.snapshot.coordinator
        if record is None or record.revision == self._revision:
            return
        self._noted = max(record.value.clock, self.now() if self._revision else 0.0)
        self._revision, self._seen_at = record.revision, self._daemon.machine.clock.boottime()


class Coordination:
    """One node's part in the coordination."""

    def __init__(self, daemon: "Daemon") -> None:
        """Follow from `start` on."""
        self._daemon = daemon
        self.brain = daemon.world.brains.coordinator(daemon.node)
        self.movements = daemon.world.brains.movements(daemon.node)
        self._timer: Timer | None = None
        self._moving: Timer | None = None
        self._looked_at = -1.0

    def start(self) -> None:
        """Take part."""
        self._daemon.membership.on_change = self.look_soon
        self.look_soon()

    @property
    def decides(self) -> bool:
        """Tell whether this node decides about groups: a follower does not."""
        return self.brain.phase is not Phase.FOLLOWER

    @property
    def is_acting(self) -> bool:
        """Tell whether this node coordinates the cluster."""
        return self.brain.phase is Phase.COORDINATOR

    def on_view(self, *, of_groups_alone: bool) -> None:
        """Something has come."""
        if self.decides or not of_groups_alone:
            self.look_soon()

    def look_soon(self) -> None:
        """Something has changed."""
        self._look_at(max(self._daemon.life.kernel.now, self._looked_at + SHORTEST))

    def _look_at(self, true: float) -> None:
        if self._timer is not None:
            if self._timer.at <= true:
                return
            self._timer.cancel()
        self._timer = self._daemon.life.kernel.at(true, self._look, self._daemon.life, routine=True)

    def _wake(self, at: float) -> None:
        """Look at this moment on CLOCK_BOOTTIME, or earlier."""
        kernel = self._daemon.life.kernel
        seconds = self._daemon.machine.clock.seconds_until(at) + EPSILON
        self._look_at(max(kernel.now + seconds, self._looked_at + SHORTEST))

    def _look(self) -> None:
        self._timer = None
        self._looked_at = self._daemon.life.kernel.now
        if self._daemon.keeper.is_held and self._daemon.keeper.is_writable:
            quiet = self._quiet_until()
            if quiet is not None:
                self._wake(quiet)
                return
            picture = self._daemon.picture()
            self._post(w.Looked(picture))
            self._post_movements(w.Looked(picture))
        else:
            self._look_at(self._looked_at + FROZEN)

    def _quiet_until(self) -> float | None:
        """In a calm world: until when a follower finds nothing to do, as somebody coordinates and no lease is silent.

        None: it has to look.
        """
        daemon, brain = self._daemon, self.brain
        if not daemon.world.is_calm or brain.phase is not Phase.FOLLOWER or brain.overdue:
            return None
        snapshot = daemon.view.snapshot
        role = snapshot.coordinator
        lease = None if role is None else snapshot.leases.get(role.value.node)
        if role is None or role.value.node == daemon.node or lease is None or lease.value.ended:
            return None
        return daemon.membership.fresh_until() if lease.value.incarnation == role.value.incarnation else None

    def _post(self, event: w.Event) -> None:
        before = self.brain
        step = before.step(event, self._daemon.machine.clock.boottime())
        self.brain = step.state
        if step.state.phase is not before.phase:
            self._daemon.say(Kind.DECISION, f"coordinator {before.phase.value} -> {step.state.phase.value}")
        for effect in step.effects:
            self._do(effect)

    def _do(self, effect: object) -> None:
        spawn = self._daemon.life.spawn
        match effect:
            case w.WakeAt(at):
                self._wake(at)
            case w.TakeRole():
                spawn(self._take_role(effect), "taking the role")
            case w.EndLease():
                spawn(self._end_lease(effect), "the end of a lease")
            case w.Take():
                spawn(self._take(effect), "a take-over")
            case w.Ask():
                spawn(self._ask(effect), "asking a giver")
            case w.NoteRole():
                spawn(self._note_role(effect), "the coordinator's note")
            case w.Say(group, sentence):
                self._daemon.say(Kind.SAY, f"{self._daemon.world.name_of(group)} stays: {sentence}")
            case _:
                raise AssertionError(f"the coordinator's brain asks for {effect!r}, which has no hand")

    async def _answered(self, write: Awaitable[int]) -> tuple[w.Outcome, int]:
        try:
            revision = await write
        except StoreUnavailable:
            return w.Outcome.UNANSWERED, 0
        except ClusterError:
            return w.Outcome.REFUSED, 0
        return (w.Outcome.LANDED, revision) if revision else (w.Outcome.REFUSED, 0)

    # --- the role and leases -----------------------------------------------------------------------------------------

    async def _take_role(self, effect: w.TakeRole) -> None:
        snapshot = self._daemon.view.snapshot
        ends = None
        if effect.ends is not None:
            lease = snapshot.leases.get(effect.ends.node)
            if lease is None or lease.revision != effect.ends.revision or lease.value.ended:
                self._post(w.RoleAnswered(w.Outcome.REFUSED))
                return
            ends = (effect.ends.node, lease)
        writing = self._daemon.database.coordination.take_role(
            to_coordinator_record(effect.role), effect.expected, ends=ends, provided=self._as_member(snapshot)
        )
        outcome, revision = await self._answered(writing)
        if effect.ends is not None:
            self._say_decided(effect.ends.sentence, outcome)
        self._say_decided(effect.sentence, outcome)
        self._post(w.RoleAnswered(outcome, revision))

    def _say_decided(self, sentence: str, outcome: w.Outcome) -> None:
        """Tell the trace what was written; nothing of what somebody else had written before."""
        match outcome:
            case w.Outcome.LANDED:
                self._daemon.say(Kind.DECISION, sentence)
            case w.Outcome.UNANSWERED:
                self._daemon.say(Kind.DECISION, f"{sentence} (the database has not answered)")
            case _:
                pass

    async def _note_role(self, effect: w.NoteRole) -> None:
        writing = self._daemon.database.coordination.note(
            to_coordinator_record(effect.role), effect.expected, effect.statuses
        )
        outcome, revision = await self._answered(writing)
        self._post(w.RoleAnswered(outcome, revision))

    def _as_member(self, snapshot: ClusterSnapshot) -> tuple[Compare, ...]:
        return (node_key(snapshot, self._daemon.node),)

    async def _end_lease(self, effect: w.EndLease) -> None:
        snapshot = self._daemon.view.snapshot
        lease = snapshot.leases.get(effect.node)
        if lease is None or lease.revision != effect.revision or lease.value.ended:
            self._post(w.LeaseAnswered(effect.node, w.Outcome.REFUSED))
            return

        async def write() -> int:
            provided = self._as_member(snapshot)
            return int(await self._daemon.database.end_lease(effect.node, lease, provided=provided))

        outcome, _ = await self._answered(write())
        self._say_decided(effect.sentence, outcome)
        if outcome is w.Outcome.LANDED:
            self._daemon.world.counts.ended_leases += 1
        self._post(w.LeaseAnswered(effect.node, outcome))

    # --- take-over ---------------------------------------------------------------------------------------------------

    async def _take(self, effect: w.Take) -> None:
        outcome, revision = await self._answered(self._take_over(effect))
        self._say_decided(effect.decision.sentence, outcome)
        if outcome is w.Outcome.LANDED:
            self._daemon.world.counts.take_overs += 1
        self._post(w.TakeAnswered(effect.group, outcome, revision))

    async def _take_over(self, effect: w.Take) -> int:
        snapshot = self._daemon.view.snapshot
        decision, group = effect.decision, effect.group
        old, run = snapshot.ownership.get(group), snapshot.run.get(group)
        if old is None or run is None or old.revision != effect.revision or decision.destination not in snapshot.nodes:
            return 0
        after = run_after_take_over(run.value, decision)
        image = None if after.vm is None else after.vm.saved_image
        new = Ownership(decision.destination, effect.epoch + 1, image, extra=old.value.extra)
        provided: tuple[Compare, ...] = (
            Compare(keys.lease(effect.holder), effect.lease_revision),
            node_key(snapshot, decision.destination),
        )
        if Hand.COMPARE in self._daemon.world.brains.weaknesses:
            return await self._write_blindly(group, new, after)
        answer = await self._daemon.database.change_ownership(group, old, new, after, provided=provided)
        return 0 if isinstance(answer, ConflictingOwnership) else answer.revision

    async def _write_blindly(self, group: GroupId, new: Ownership, run: RunState) -> int:
        """Write over whatever stands there: what production never does."""
        daemon = self._daemon
        store = NodeStore(daemon.world.store, daemon.machine.way, daemon.life)
        writes = (Put(keys.ownership(group), new.encode()), Put(keys.run(group), run.encode()))
        return (await store.transact((), writes)).revision

    async def _ask(self, effect: w.Ask) -> None:
        question = effect.question
        word = GiverWord.WAIT
        with suppress(ClusterError):  # as one that cannot say yet
            word = await self._daemon.call(question.giver, "giver", (question.group, question.epoch), GIVER_DEADLINE)
        self._post(w.GiverAnswered(question.group, question.epoch, word))

    # --- drains and the queue ----------------------------------------------------------------------------------------

    def _post_movements(self, event: m.Event) -> None:
        step = self.movements.step(event, self._daemon.machine.clock.boottime())
        self.movements = step.state
        for effect in step.effects:
            match effect:
                case m.Commit(number, changes, turn):
                    self._daemon.life.spawn(self._commit(number, changes, turn), "the queue of moves")
                case w.WakeAt(at):
                    self._wake_for_moves(at)
                case _:
                    raise AssertionError(f"the brain of movements asks for {effect!r}, which has no hand")

    def _wake_for_moves(self, at: float) -> None:
        """Look at this moment, which has nothing to do with leases."""
        if self._moving is not None:
            self._moving.cancel()
        seconds = self._daemon.machine.clock.seconds_until(at) + EPSILON
        self._moving = self._daemon.life.later(max(SHORTEST, seconds), self.look_soon)

    async def _commit(self, number: int, changes: tuple[Change, ...], turn: int | None) -> None:
        moves: list[MoveWrite] = []
        drains: list[DrainWrite] = []
        for change in changes:
            self._daemon.say(Kind.DECISION, describe(change, self._daemon.world.name_of))
            match change:
                case PutMove(move, expected):
                    moves.append(put_move(move, expected))
                case DropMove(group, expected, _):
                    moves.append(MoveWrite(group, None, expected))
                case PutDrain(drain, expected, _):
                    drains.append(put_drain(drain, expected))
                case DropDrain(node, expected, _):
                    drains.append(DrainWrite(node, None, expected))
        provided = self._as_member(self._daemon.view.snapshot)
        writing = self._daemon.database.moves.commit(moves, drains, turn=turn, provided=provided)
        outcome, revision = await self._answered(writing)
        self._post_movements(m.Answered(number, outcome, revision))


def describe(change: Change, name_of: Callable[[object], str]) -> str:
    """Say to people what is written about a move or a drain."""
    match change:
        case PutMove(move, _):
            return f"{name_of(move.group)}: move {move.stage.value} ({move.cause.value}) {move.sentence}"
        case DropMove(group, _, sentence):
            return f"{name_of(group)}: off the queue: {sentence}"
        case PutDrain(drain, _, sentence):
            return f"drain of {name_of(drain.node)}: {drain.stage.value} {sentence}"
        case DropDrain(node, _, sentence):
            return f"drain of {name_of(node)} is forgotten: {sentence}"
