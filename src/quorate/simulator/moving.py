"""Moves of a simulated node's groups: live and offline, asked for, queued, or decided by a policy.

As `engine/migrations.py`, `selection.py`, `moves.py` and `errands.py` are in production; the queue's records are read
and written by production's own `engine/queue_link.py`.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.identity import GroupId, NodeId, SessionId
from quorate.clusapi.states import GroupStatus, MigrationState, NodeState, NodeStatus, VmResdllContext, VmState
from quorate.clusapi.status import E_FAIL, Status
from quorate.cluster.failover import FailoverDecision, GiverWord
from quorate.cluster.moves import Cause as MoveCause
from quorate.cluster.moves import Move, Stage
from quorate.cluster.placement import Room, check_node, choose
from quorate.cluster.queue import Carry, belongs, plan_carry
from quorate.database.contract import StoreUnavailable
from quorate.database.records import RunState
from quorate.database.snapshot import ClusterSnapshot, NodeInfo
from quorate.engine.hosted import to_brain, to_database
from quorate.engine.move_types import default_move_type
from quorate.engine.queue_link import QueueLink, Shown
from quorate.engine.queue_records import to_drain, to_move
from quorate.engine.run_changes import run_after_errand, run_after_failover, run_after_move, run_after_wait
from quorate.migration import incoming_events as i
from quorate.migration import outgoing_events as e
from quorate.migration.incoming import Outcome as IncomingOutcome
from quorate.migration.incoming import begin
from quorate.migration.outgoing import Outcome
from quorate.migration.ownership import Cas, CasAnswered, CasKind, OwnershipRecord
from quorate.migration.preflight import (
    Assessment,
    Candidate,
    check_candidate,
    check_destination,
    choose_destination,
)
from quorate.simulator.brains import Hand
from quorate.simulator.holding import LATER, Held
from quorate.simulator.incoming import IncomingSession
from quorate.simulator.kernel import Future, Timer
from quorate.simulator.network import Unreachable
from quorate.simulator.outgoing import OfSession, OutgoingSession, Prepare, SessionAnswer
from quorate.simulator.owner import Cause
from quorate.simulator.trace import Kind

if TYPE_CHECKING:
    from quorate.engine.context import EngineContext
    from quorate.engine.hosted import OwnedGroup
    from quorate.simulator.daemon import Daemon

ANSWER_DEADLINE: Final = 1.0
"""Seconds that a node has to say whether it could run a VM."""
CANCEL_PATIENCE: Final = 2.0
AGAIN: Final = 0.25
"""Seconds after which is looked again at an entry that has to wait for something done here."""
_WAITS: Final = int(GroupStatus.PHYSICAL_RESOURCES_LACKING | GroupStatus.OFFLINE_DUE_TO_ANTIAFFINITY_CONFLICT)


class Migrations:
    """Live migrations of one node, to it and away from it."""

    def __init__(self, daemon: "Daemon") -> None:
        """Know of none."""
        self._daemon = daemon
        self.outgoing: dict[GroupId, OutgoingSession] = {}
        self.incoming: dict[SessionId, IncomingSession] = {}
        self.queue = QueueLink(cast("EngineContext", daemon))
        self.queue.bind(daemon.picture)

    # --- START and CANCEL --------------------------------------------------------------------------------------------

    async def start_migration(self, held: Held, destination: str | None) -> None:
        """Check what START checks; return when the migration is accepted. Raises ClusterError."""
        if held.lock.is_locked:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"something is being done to {held.name}")
        try:
            async with held.lock:
                may_be_two = Hand.QUEUE in self._daemon.world.brains.weaknesses
                if (held.group in self.outgoing or held.is_moving_live) and not may_be_two:
                    raise RefusalError(Status.ERROR_INVALID_STATE, f"{held.name} is being migrated already")
                self._check_runs(held)
                if not may_be_two:
                    self.queue.check_free(held.group, held.name, Status.ERROR_INVALID_STATE)
                chosen = await self._choose(held.group, destination)
                await self._accept(held, chosen)
        finally:
            self._daemon.owner.see_to_exited(held)

    def _check_runs(self, held: Held) -> None:
        if held.state is not VmState.RUNNING or held.instance is None:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{held.name} does not run")

    async def _choose(self, group: GroupId, wanted: str | None) -> NodeId:
        daemon = self._daemon
        snapshot = await daemon.database.snapshot()
        if group not in snapshot.groups or snapshot.groups[group].properties.number("LockedFromMoving"):
            raise RefusalError(Status.ERROR_CLUSTER_RESOURCE_LOCKED_STATUS, "it is locked from moving")
        needed = daemon.world.memory_of(group)
        if wanted is not None:
            node = snapshot.find_node(wanted)
            candidate = None if node is None else self._candidate(snapshot, group, node)
            chosen = check_destination(daemon.node, candidate, wanted).node
            assessment = await self._assess(chosen, needed)
            if assessment.refusal is not None:
                raise assessment.refusal
            return chosen
        others = [self._candidate(snapshot, group, n) for n in snapshot.nodes.values() if n.id != daemon.node]
        judged = [check_candidate(candidate) for candidate in others]
        found = [assessment for assessment in judged if assessment is not None]
        for candidate, out in zip(others, judged, strict=True):
            if out is None:
                found.append(await self._assess(candidate.node, needed))
        return choose_destination(tuple(found))

    def _candidate(self, snapshot: ClusterSnapshot, group: GroupId, node: NodeInfo) -> Candidate:
        state = self._daemon.membership.node_state(node.id)
        return Candidate(
            node=node.id,
            name=node.name,
            state=NodeState.PAUSED if state is NodeState.UP and node.paused else state,
            isolated=bool(node.status & NodeStatus.ISOLATED),
            quarantined=bool(node.status & NodeStatus.QUARANTINED),
            possible_owner=all(node.id in r.possible_owners for r in snapshot.resources_of(group)),
        )

    async def _assess(self, node: NodeId, needed: int) -> Assessment:
        try:
            free = await self._daemon.call(node, "assess", needed, ANSWER_DEADLINE)
        except Unreachable as error:
            return Assessment(node, RefusalError(Status.ERROR_CLUSTER_NODE_DOWN, error.sentence), 0)
        except ClusterError as error:
            return Assessment(node, RefusalError(error.status, error.sentence), 0)
        return Assessment(node, None, free)

    async def _accept(self, held: Held, destination: NodeId) -> None:
        """Make it known, durably, and let it begin if there is a place."""
        session = self._daemon.world.new_session()
        move = Move(held.group, self._daemon.node, MoveCause.ASKED, 0.0, destination=destination, session=session)
        change = held.migration_change(MigrationState.SETUP, 0, "accepted")
        written = await self.queue.ask(cast("OwnedGroup", held), move, lambda move: Shown(change, ()))
        if written.stage is not Stage.WAITING:
            self._begin(held, session, destination, "")

    async def carry(self, move: Move) -> None:
        """Migrate a virtual machine whose move has begun. Raises ClusterError: nothing was begun."""
        assert move.destination is not None, "a move that has begun goes somewhere"
        held = self._daemon.owner.held.get(move.group)
        if held is None:
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, "it is not ours any more")
        try:
            async with held.lock:
                self._check_runs(held)
                await self._choose(move.group, self._daemon.world.name_of(move.destination))
                session = SessionId(move.session) if move.session else self._daemon.world.new_session()
                await held.write(held.migration_change(MigrationState.SETUP, 0, "begun"))
                self._begin(held, session, move.destination, move.drain if move.cause is MoveCause.DRAIN else "")
        finally:
            self._daemon.owner.see_to_exited(held)

    def _begin(self, held: Held, session: SessionId, destination: NodeId, drained: str) -> None:
        daemon = self._daemon
        if held.instance is None or held.vm_id is None:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{held.name} does not run any more")
        image = daemon.world.new_image()
        here = held.instance.image
        brain = daemon.world.brains.outgoing(session, daemon.node, destination, here, image, to_brain(held.ownership))
        brain = replace(brain, since=daemon.machine.clock.monotonic())
        post_copy = held.group in daemon.world.may_post_copy
        if post_copy:
            policy = replace(brain.convergence.policy, throttle_limit=0)
            brain = replace(brain, convergence=replace(brain.convergence, policy=policy, may_post_copy=True))
        prepare = Prepare(session, held.group, held.vm_id, daemon.node, image, here, post_copy)
        self.outgoing[held.group] = OutgoingSession(held, brain, prepare, self._on_outgoing_ended, drained)
        self.outgoing[held.group].on_serving = self.leave
        daemon.world.counts.migrations += 1
        self.outgoing[held.group].carry_on(())
        self.outgoing[held.group].post(e.PlaceFree())

    async def cancel_migration(self, held: Held) -> None:
        """Cancel in MigrationState 1 or 2, or what waits in the queue. Raises RefusalError."""
        if held.group not in self.outgoing and await self._leave_queue(held):
            return
        session = self.outgoing.get(held.group)
        if session is None or not session.brain.migration_state.is_cancellable:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{held.name} has no migration that could be cancelled")
        session.post(e.CancelRequested())
        await self._daemon.life.within(CANCEL_PATIENCE, session.ended)

    def cancel_if_possible(self, group: GroupId) -> None:
        """Cancel what is under way, unless it is too late for that."""
        session = self.outgoing.get(group)
        if session is not None and session.brain.migration_state.is_cancellable:
            session.post(e.CancelRequested())

    async def _leave_queue(self, held: Held) -> bool:
        """Take a VM off the queue that waits there; answers whether it did."""
        life = self._daemon.life
        deadline = life.kernel.now + CANCEL_PATIENCE
        while held.group not in self.outgoing and life.kernel.now < deadline:
            move = self.queue.find(held.group)
            if move is None or move.stage is Stage.FAILED:
                return False
            if move.stage is Stage.WAITING:
                if await self.queue.give_up(move, "somebody has cancelled its move", is_final=True):
                    await self._show_end(held, MigrationState.CANCELED, 0, "cancelled before it began")
                    return True
            elif self.queue.carried.get(held.group) == move.revision and not held.lock.is_locked:
                return False
            await life.sleep(0.05)
        return False

    async def end_migration(self, held: Held) -> bool:
        """Wait a second for the migration of a VM to have ended; answers whether none is under way."""
        session = self.outgoing.get(held.group)
        if session is None:
            await self._leave_queue(held)
            return held.group not in self.outgoing
        if session.brain.migration_state.is_cancellable:
            session.post(e.CancelRequested())
        await self._daemon.life.within(1.0, session.ended)
        return held.group not in self.outgoing

    # --- how they end ------------------------------------------------------------------------------------------------

    def leave(self, session: OutgoingSession) -> None:
        """The VM lives elsewhere, and the QEMU here lives on to send its pages."""
        self._daemon.world.counts.post_copies += 1
        self._daemon.owner.hand_over(session.group)

    async def _on_outgoing_ended(self, session: OutgoingSession) -> None:
        held, brain, counts = session.held, session.brain, self._daemon.world.counts
        try:
            match brain.outcome:
                case Outcome.DONE | Outcome.OVERTAKEN:
                    counts.completed += brain.outcome is Outcome.DONE
                    held.instance = None
                    self._daemon.owner.let_go(held.group)
                case Outcome.CANCELLED:
                    counts.cancelled += 1
                    await self._show_end(held, MigrationState.CANCELED, 0, brain.reason)
                case Outcome.FAILED:
                    counts.failed += 1
                    await self._show_end(held, MigrationState.FAILURE, E_FAIL, brain.reason)
                case Outcome.IMAGE_LOST:
                    counts.failed += 1
                    await self._show_end(held, MigrationState.FAILURE, E_FAIL, brain.reason)
                    self._daemon.owner.report_lost(held, brain.reason)
                case None:
                    raise AssertionError("a session ended without an outcome")
        finally:
            if self.outgoing.get(held.group) is session:
                del self.outgoing[held.group]
            if brain.outcome not in (Outcome.DONE, Outcome.OVERTAKEN):
                self._end_entry(session)
        self._daemon.owner.look_again(held.group)
        if held.exited and held.instance is not None:
            self._daemon.owner.report_lost(held, held.exited)

    def _end_entry(self, session: OutgoingSession) -> None:
        move = self.queue.find(session.group)
        if move is not None and move.stage is Stage.BEGUN:
            self.queue.carried[session.group] = move.revision
            is_final = session.brain.outcome is Outcome.CANCELLED
            self._daemon.errands.on_fruitless(move, session.brain.reason, is_final)

    async def show_failure(self, held: Held, sentence: str) -> None:
        """Show that a migration which never began has failed."""
        await self._show_end(held, MigrationState.FAILURE, E_FAIL, sentence)

    async def _show_end(self, held: Held, state: MigrationState, reason: int, sentence: str) -> None:
        with suppress(RefusalError):  # it is somebody else's by now
            await held.tell(held.migration_change(state, reason, sentence))

    # --- the destination's side --------------------------------------------------------------------------------------

    def on_assess(self, needed: int) -> int:
        """Answer how much memory is free if a VM fits. Raises RefusalError 5957."""
        self._daemon.owner.admission.check(None, needed)
        return self._daemon.machine.memory

    def on_prepare(self, message: Prepare) -> None:
        """Begin to receive a VM. Raises RefusalError 5052, 5957."""
        if message.session in self.incoming:
            return
        daemon = self._daemon
        if not daemon.keeper.is_held:
            sentence = f"{daemon.node_name} does not hold its lease now: nothing may begin to run there"
            raise RefusalError(Status.ERROR_CLUSTER_NODE_NOT_MEMBER, sentence)
        daemon.owner.admission.reserve(message.group)
        brain = daemon.world.brains.incoming(
            message.session, daemon.node, message.source, message.image, message.source_image
        )
        step = begin(brain, daemon.machine.clock.monotonic())
        session = IncomingSession(
            daemon,
            message.group,
            message.vm_id,
            step.state,
            self.on_incoming_ended,
            after=self._in_the_way(message),
        )
        session.on_fetching = self.on_fetching
        self.incoming[message.session] = session
        session.carry_on(step.effects)

    def _in_the_way(self, message: Prepare) -> "Future[None] | None":
        """What an arriving VM has to wait for: its last migration away, or one to here that was just given up."""
        ends = [session.ended for session in self.incoming.values() if session.group == message.group]
        leaving = self.outgoing.get(message.group)
        if leaving is not None:
            ends.append(leaving.ended)
        if not ends:
            return None
        free: Future[None] = self._daemon.life.future()

        async def wait() -> None:
            for ended in ends:
                await ended
            free.set(None)

        self._daemon.life.spawn(wait(), "the way is free")
        return free

    def on_fetching(self, session: IncomingSession) -> None:
        """Have the VM, which runs here though pages of it are missing."""
        record, run = session.brain.record, session.run
        assert record is not None and run is not None, "the record was marked"
        owner, daemon = self._daemon.owner, self._daemon
        held = Held(daemon, session.group, session.vm_id, to_database(record), run, session.instance)
        held.is_moving_live = True
        session.held = held
        owner.own(held)
        owner.attached.add(held.group)
        owner.show_that_it_runs(held)

    async def _end_fetching(self, session: IncomingSession, held: Held) -> None:
        owner = self._daemon.owner
        held.is_moving_live = False
        runs = session.brain.outcome is IncomingOutcome.RUNS
        if owner.held.get(held.group) is not held:
            return
        state = MigrationState.NO_MIGRATION if runs else MigrationState.FAILURE
        await self._show_end(held, state, 0 if runs else E_FAIL, session.brain.reason)
        if held.instance is not None and held.instance.is_gone and not held.is_stopping:
            owner.report_lost(held, session.brain.reason or "its QEMU is gone")

    async def on_incoming_ended(self, session: IncomingSession) -> None:
        """Do what the outcome of a session to here asks for."""
        owner = self._daemon.owner
        try:
            match session.brain.outcome:
                case IncomingOutcome.RUNS | IncomingOutcome.IMAGE_LOST if session.held is not None:
                    await self._end_fetching(session, session.held)
                case IncomingOutcome.RUNS | IncomingOutcome.IMAGE_LOST | IncomingOutcome.NOT_ARRIVED:
                    held = await self._held_after(session)
                    if held is not None:
                        owner.own(held)
                        owner.attached.add(held.group)
                        if session.brain.outcome is IncomingOutcome.NOT_ARRIVED:
                            owner.lost_at_boot.add(held.group)
                        if session.brain.outcome is not IncomingOutcome.RUNS:
                            owner.report_lost(held, session.brain.reason)
                        elif held.instance is not None and held.instance.is_gone:
                            owner.report_lost(held, "its QEMU is gone")
                        else:
                            owner.show_that_it_runs(held)
                case _:
                    pass
        finally:
            self.incoming.pop(session.brain.session, None)
            if not any(other.group == session.group for other in self.incoming.values()):
                owner.admission.release(session.group)
        owner.look_again(session.group)

    async def _held_after(self, session: IncomingSession) -> Held | None:
        record, run = session.brain.record, session.run
        database = self._daemon.database
        while record is None or run is None:
            try:
                record = to_brain(await database.get_ownership(session.group))
                run = (await database.get_run_state(session.group)).value
            except StoreUnavailable:
                await self._daemon.life.sleep(LATER)
        return Held(self._daemon, session.group, session.vm_id, to_database(record), run, session.instance)

    # --- words of other nodes ----------------------------------------------------------------------------------------

    def on_message(self, kind: str, message: OfSession) -> object:
        """Hand a word about a session to its brain; one of another session is nothing (R3). Raises FaultError."""
        outgoing = next((s for s in self.outgoing.values() if s.brain.session == message.session), None)
        incoming = self.incoming.get(message.session)
        if incoming is None and Hand.SESSION in self._daemon.world.brains.weaknesses and self.incoming:
            incoming = next(iter(self.incoming.values()))
        match kind:
            case "session":
                if incoming is not None:
                    return incoming.describe()
                is_certain = message.group not in self._daemon.owner.recovering
                return SessionAnswer(known=outgoing is not None, is_certain=is_certain)
            case "recover" if outgoing is not None:
                outgoing.post(e.Recover(message.uri))
            case "pages paused" if incoming is not None:
                incoming.post(i.PagesPaused(message.sentence))
            case "prepared" if outgoing is not None:
                outgoing.post(e.Prepared(message.uri))
            case "failed" if outgoing is not None:
                outgoing.post(e.DestinationFailed(message.sentence))
            case "abandon" if incoming is not None:
                incoming.post(i.Abandoned(message.sentence))
            case "yours" if incoming is not None:
                brain = incoming.brain
                told = OwnershipRecord(
                    brain.me, message.epoch, brain.image, brain.source, brain.source_image, message.revision
                )
                incoming.post(i.Yours(told))
            case _:
                raise FaultError(Status.ERROR_NOT_FOUND, f"there is no such session for {kind!r}")
        return None

    def on_view(self, snapshot: ClusterSnapshot, touched: set[GroupId] | None) -> None:
        """Show the records that have changed to the sessions."""
        for group, session in tuple(self.outgoing.items()):
            ownership = snapshot.ownership.get(group)
            if ownership is not None and (touched is None or group in touched):
                session.post(e.RecordSeen(to_brain(ownership)))
        for incoming in tuple(self.incoming.values()):
            ownership = snapshot.ownership.get(incoming.group)
            if ownership is not None and (touched is None or incoming.group in touched):
                incoming.on_record(to_brain(ownership))

    def on_giver(self, group: GroupId, epoch: int) -> GiverWord:
        """Answer what became of a gift of ours whose receiver has died."""
        session = self.outgoing.get(group)
        if session is not None:
            return session.word_of_gift(epoch)
        return GiverWord.WAIT if group in self._daemon.owner.recovering else GiverWord.GONE


class Moves:
    """Moves of groups that take them offline, if they are not."""

    def __init__(self, daemon: "Daemon") -> None:
        """Move nothing."""
        self._daemon = daemon
        self.moving: set[GroupId] = set()

    async def move(self, held: Held, wanted: NodeId | None) -> None:
        """Move a group; return when it is under way. Raises ClusterError."""
        daemon = self._daemon
        if wanted == daemon.node:
            return
        if daemon.migrations.queue.waiting(held.group) is not None:
            raise RefusalError(Status.ERROR_CLUSTER_GROUP_QUEUED, f"{held.name} waits in the queue")
        if held.state is VmState.RUNNING:
            how = default_move_type(await daemon.database.snapshot(), held.group)
            if how is VmResdllContext.LIVE_MIGRATION:
                name = None if wanted is None else daemon.world.name_of(wanted)
                await daemon.migrations.start_migration(held, name)
                return
        if held.group in daemon.migrations.outgoing or held.group in self.moving:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{held.name} is being moved")
        destination = self._choose(held, wanted)
        self.moving.add(held.group)
        daemon.life.spawn(self._move_offline(held, destination), f"the move of {held.name}")

    def _choose(self, held: Held, wanted: NodeId | None) -> NodeId:
        picture = self._daemon.picture()
        group = picture.groups.get(held.group)
        if group is None:
            raise RefusalError(Status.ERROR_GROUP_NOT_FOUND, f"{held.name} is being deleted")
        room, to_run = Room(picture), held.run.persistent_state
        if wanted is not None:
            node = picture.nodes.get(wanted)
            if node is None:
                raise CallerError(Status.ERROR_CLUSTER_NODE_NOT_FOUND, "there is no such node")
            refusal = check_node(picture, room, group, node, to_run=to_run)
            if refusal is None:
                return wanted
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_AVAILABLE, refusal.sentence)
        choice = choose(picture, room, group, without=frozenset({self._daemon.node}), to_run=to_run)
        if choice.node is None:
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_AVAILABLE, choice.sentence)
        return choice.node

    async def _move_offline(self, held: Held, destination: NodeId) -> None:
        wanted_online = held.run.persistent_state

        try:
            await self._take_offline(held, "save")
            await self._give(held, destination, lambda run: run_after_move(run, destination, wanted=wanted_online))
        except ClusterError as error:
            self._daemon.say(Kind.SAY, f"{held.name} was not moved: {error.sentence}")
            if wanted_online:
                self._daemon.starts.request(held.group, Cause.BOOT)
        finally:
            self.moving.discard(held.group)

    async def carry(self, held: Held, move: Move) -> None:
        """Move a group whose move has begun. Raises ClusterError: it is still ours."""
        destination = move.destination
        assert destination is not None, "a move that has begun goes somewhere"
        wanted_online = held.run.persistent_state

        def change(run: RunState) -> RunState:
            return run_after_errand(run, move, destination, wanted=wanted_online)

        self.moving.add(held.group)
        try:
            await self._take_offline(held, _HOW.get(move.how, "save"))
            await self._give(held, destination, change)
        except ClusterError:
            if wanted_online:
                self._daemon.starts.request(held.group, Cause.BOOT)
            raise
        finally:
            self.moving.discard(held.group)

    async def fail_over(self, held: Held, decision: FailoverDecision) -> None:
        """Give a group to the node that the policy has chosen. Raises ClusterError: it is still ours."""
        destination = decision.destination
        assert destination is not None, "there is somewhere to go"

        def change(run: RunState) -> RunState:
            return run_after_failover(run, decision, destination)

        self.moving.add(held.group)
        try:
            await self._take_offline(held, "turn off")
            await self._give(held, destination, change)
        finally:
            self.moving.discard(held.group)

    async def give_parked(self, held: Held, destination: NodeId) -> None:
        """Give a group that waits for room to a node that has it. Raises ClusterError: it is still ours."""
        self.moving.add(held.group)
        try:
            self._check_is_off(held)
            await self._give(held, destination, lambda run: run_after_wait(run, destination))
        finally:
            self.moving.discard(held.group)

    async def _take_offline(self, held: Held, how: str) -> None:
        await self._daemon.owner.offline(held, how, None)
        self._check_is_off(held)

    def _check_is_off(self, held: Held) -> None:
        if held.instance is not None:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{held.name} did not go off")

    async def _give(self, held: Held, destination: NodeId, change: Callable[[RunState], RunState]) -> None:
        held.check_ours()
        record = to_brain(held.ownership)
        answer = await held.change_owner(Cas(CasKind.GIVE, 1, record, destination, record.image), change)
        if not isinstance(answer, CasAnswered):
            status = Status.ERROR_CLUSTER_DATABASE_UPDATE_CONDITION_FAILED
            raise RefusalError(status, f"the record of {held.name} was not changed")


_HOW: Final = {
    VmResdllContext.SAVE: "save",
    VmResdllContext.SHUTDOWN: "shut down",
    VmResdllContext.SHUTDOWN_FORCE: "shut down",
    VmResdllContext.TURN_OFF: "turn off",
}


class Errands:
    """The owner's part in the queue: what has begun is carried out, and what comes to nothing is ended."""

    def __init__(self, daemon: "Daemon") -> None:
        """Carry out nothing until something changes."""
        self._daemon = daemon
        self._timer: Timer | None = None
        self._ended: dict[GroupId, tuple[Move, str, bool]] = {}
        self._carried_with: dict[GroupId, tuple[int | None, Held]] = {}
        self._under_way: set[Held] = set()

    def note(self, held: Held) -> None:
        """What a virtual machine shows is known, or has changed: it may be a move that somebody has to look after."""
        if held.migration_state.is_under_way:
            self._under_way.add(held)
        else:
            self._under_way.discard(held)

    def forget(self, held: Held) -> None:
        """Look after a virtual machine no more: it has gone."""
        self._under_way.discard(held)

    def look(self) -> None:
        """Look at every entry of this node once."""
        daemon = self._daemon
        snapshot, me = daemon.view.snapshot, daemon.node
        is_late = False
        for group, found in snapshot.moves.items():
            record = found.value
            if record.source == me and record.stage == Stage.BEGUN.value and snapshot.owner_of(group) == me:
                is_late |= self._look_at(snapshot, to_move(group, found))
        self._look_after_lost(snapshot)
        if is_late and self._timer is None:
            self._timer = daemon.life.later(AGAIN, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self.look()

    def _look_at(self, snapshot: ClusterSnapshot, move: Move) -> bool:
        daemon, group = self._daemon, move.group
        queue = daemon.migrations.queue
        held = daemon.owner.held.get(group)
        is_here = held is not None and group in daemon.owner.attached
        if queue.carried.get(group) == move.revision:
            if held is not None and is_here and self._has_come_back(move, held) and group not in self._ended:
                self.on_fruitless(move, "it has been elsewhere meanwhile, and has come back", False)
            else:
                self._cancel_if_over(snapshot, move)
            return False
        if held is None or not is_here or not daemon.keeper.is_held:
            return True
        carrying = plan_carry(move, None if held.vm_id is None else held.state, is_busy=self._is_busy(held))
        if carrying.carry is Carry.LATER:
            return True
        queue.carried[group] = move.revision
        self._carried_with[group] = move.revision, held
        match carrying.carry:
            case Carry.LIVE:
                daemon.life.spawn(self._carry(held, move, live=True), f"the migration of {held.name}")
            case Carry.OFFLINE:
                daemon.life.spawn(self._carry(held, move, live=False), f"the move of {held.name}")
            case _:
                daemon.life.spawn(self._fail(held, move, carrying.why), f"the end of the move of {held.name}")
        return False

    def _has_come_back(self, move: Move, held: Held) -> bool:
        """Tell whether a group was elsewhere since its move was taken up, and is now taken on anew."""
        revision, before = self._carried_with.get(move.group, (None, held))
        if revision != move.revision:
            self._carried_with[move.group] = move.revision, held
            return False
        return held is not before

    def _is_busy(self, held: Held) -> bool:
        daemon = self._daemon
        if daemon.owner.is_busy(held.group) or held.group in daemon.moves.moving:
            return True
        return daemon.starts.is_coming(held.group) or held.lock.is_locked

    def _cancel_if_over(self, snapshot: ClusterSnapshot, move: Move) -> None:
        if not move.is_of_coordinator:
            return
        drains = {
            node: to_drain(node, found) for node, found in snapshot.drains.items() if found.value.id == move.drain
        }
        if not belongs(drains, move):
            self._daemon.migrations.cancel_if_possible(move.group)

    def _look_after_lost(self, snapshot: ClusterSnapshot) -> None:
        """A virtual machine that shows a move of which no entry is left was taken off by somebody else."""
        daemon = self._daemon
        if not self._under_way:
            return
        for held in tuple(daemon.owner.held.values()):
            if held not in self._under_way or held.vm_id is None:
                continue
            if held.group not in daemon.owner.attached or self._is_busy(held):
                continue
            if daemon.migrations.queue.find(held.group) is not None or snapshot.revision < held.ownership.revision:
                continue
            work = daemon.migrations.show_failure(held, "it was taken off the queue of moves")
            daemon.life.spawn(work, f"the end of the move of {held.name}")

    async def _carry(self, held: Held, move: Move, *, live: bool) -> None:
        try:
            if live:
                await self._daemon.migrations.carry(move)
            else:
                await self._daemon.moves.carry(held, move)
        except ClusterError as error:
            await self._fail(held, move, error.sentence)

    async def _fail(self, held: Held, move: Move, sentence: str) -> None:
        if move.cause is MoveCause.ASKED:
            await self._daemon.migrations.show_failure(held, sentence)
        self.on_fruitless(move, sentence, False)

    def on_fruitless(self, move: Move, sentence: str, is_final: bool) -> None:
        """End the entry of a move of which nothing came."""
        self._ended[move.group] = (move, sentence, is_final)
        self._daemon.life.spawn(self._give_up(move.group), "the end of an entry")

    async def _give_up(self, group: GroupId) -> None:
        while (ended := self._ended.get(group)) is not None:
            move, sentence, is_final = ended
            try:
                await self._daemon.migrations.queue.give_up(move, sentence, is_final=is_final)
            except StoreUnavailable:
                await self._daemon.life.sleep(LATER)
                continue
            if self._ended.get(group) is ended:
                del self._ended[group]


Answer = Any
