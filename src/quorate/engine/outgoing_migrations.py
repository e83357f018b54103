"""START and CANCEL as the contract has them, and how migrations away from this node end."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.host_sight import GuestSight
from quorate.clusapi.identity import GroupId, NodeId, SessionId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.states import MigrationState, OfflineAction, VmState
from quorate.clusapi.status import E_FAIL, Status
from quorate.cluster.moves import Cause, Move, Stage
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.chronicle import Chronicle
from quorate.engine.foresight import Foresight, Foretold, Proposal
from quorate.engine.hosted import HostedVm, to_brain
from quorate.engine.migration_policies import policies_of, policy_of
from quorate.engine.outgoing_news import fresh_progress
from quorate.engine.outgoing_session import OutgoingSession
from quorate.engine.queue_link import QueueLink, Shown
from quorate.engine.selection import Judged, Question, Selection, describe, was_started
from quorate.engine.supervised import spawn
from quorate.engine.transports import CarriedSpeeds, source_tls, wishes_of
from quorate.engine.virtual_machines import VirtualMachines
from quorate.hosting.contract import Report
from quorate.hypervisor import contract as hv
from quorate.hypervisor.definition_json import parse_definition
from quorate.hypervisor.pinned import Pinned
from quorate.migration import outgoing_events as e
from quorate.migration.convergence import Convergence
from quorate.migration.machine_rules import (
    MachineState,
    judge_machine,
    judge_not_locked,
    judge_not_moving,
    judge_running,
)
from quorate.migration.outgoing import Outcome, Outgoing
from quorate.migration.policy import Policy
from quorate.migration.rules import Finding, first_refusal, require
from quorate.migration.transport import Transport, Way, Wishes, can_post_copy, plan_transport
from quorate.peers.messages import Prepare

LOOK_PATIENCE: Final = 1.0
"""Seconds that a QEMU has to say what its guest was given; one that is silent does not keep START waiting."""
CANCEL_PATIENCE: Final = 2.0
"""Seconds that CANCEL waits for the transfer to have ended, so that state 4 is what the caller sees next."""

_log = structlog.get_logger("migration")


@dataclass(frozen=True, slots=True)
class DryRun:
    """What START would answer, by every rule, and how the migration would go; nothing was begun."""

    destination: str
    """The name of the node; empty: none could be chosen."""
    findings: tuple[Finding, ...]
    refusal: ClusterError | None
    """With which START would refuse."""
    foretold: Foretold | None
    """None where START would refuse."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """A migration that may be."""

    session: SessionId
    destination: NodeId
    definition: JsonObject
    pinned: JsonObject
    transport: Transport
    policy: Policy
    others: tuple[Policy, ...]
    """Those that it might have followed instead."""
    can_post_copy: bool
    """The cluster allows it, and both ends can."""
    drained: str = ""
    """The drain that it is made for, by id."""

    @property
    def may_post_copy(self) -> bool:
        """Both sides are made ready for it."""
        return self.can_post_copy and self.policy.post_copy


class OutgoingMigrations(VirtualMachines):
    """The virtual machines of this node with their migrations away from here."""

    on_left: Callable[[GroupId], Awaitable[None]]
    """Awaited when a VM lives elsewhere after a migration."""
    on_image_lost: Callable[[GroupId, str], Awaitable[None]]
    """Awaited when a migration has cost a VM of ours its QEMU: it is to be started from its disks."""
    on_fruitless: Callable[[Move, str, bool], None]
    """Called when nothing has come of a move that has an entry in the queue; and whether somebody has cancelled it."""

    queue: QueueLink
    chronicle: Chronicle
    foresight: Foresight
    outgoing: dict[GroupId, OutgoingSession]
    links: CarriedSpeeds
    _left: set[OutgoingSession]
    """Those whose VM lives elsewhere already."""

    # --- stopping a VM that is being migrated ----------------------------------------------------------------------

    async def offline(self, group_id: GroupId, action: OfflineAction, report: Report) -> None:
        """Take a VM off; a migration that is under way is cancelled first, or waited for if it is too late for that."""
        checkpoint = 0
        while True:
            while not await self._end_migration(group_id):
                checkpoint += 1
                report(checkpoint, "waiting for the migration to end")
            async with self.hold(group_id) as vm:
                if group_id not in self.outgoing:
                    await self.take_off(vm, action, report)
                    return

    async def terminate(self, group_id: GroupId) -> None:
        """Turn a VM off now; a migration that is under way is cancelled first, or waited for."""
        while not await self._end_migration(group_id):
            continue
        await super().terminate(group_id)

    async def _end_migration(self, group_id: GroupId) -> bool:
        """Wait a second for the migration of a VM to have ended; answers whether none is under way."""
        session = self.outgoing.get(group_id)
        if session is None:
            waiting = self.queue.waiting(group_id)
            if (
                waiting is not None and waiting.cause is Cause.ASKED
            ):  # what leaves a drained node leaves it all the same
                await self._leave_queue(group_id)
            return group_id not in self.outgoing
        if session.brain.migration_state.is_cancellable:
            session.post(e.CancelRequested())
        try:
            async with asyncio.timeout(1.0):
                await session.ended.wait()
        except TimeoutError:
            return False
        return group_id not in self.outgoing

    # --- START and CANCEL ------------------------------------------------------------------------------------------

    async def start_migration(
        self, group_id: GroupId, destination: str | None, policy: str = "", bandwidth_limit: int = 0
    ) -> None:
        """Check what START checks from "VmState is 2" on; return when the migration is accepted."""
        vm = self.get(group_id)
        if vm.lock.locked():
            require(judge_machine(self.machine_state(vm)))
        async with self.hold(group_id):
            require(judge_machine(replace(self.machine_state(vm), busy=False)))
            instance = self._running_instance(vm)
            plan = await self._plan(group_id, destination, policy, bandwidth_limit)
            await self._accept(vm, instance, plan, policy, bandwidth_limit)

    async def carry(self, move: Move) -> None:
        """Migrate a virtual machine whose move has begun; return when it is under way.

        Raises:
            ClusterError: nothing was begun, with the reason.
        """
        assert move.destination is not None, "a move that has begun goes somewhere"
        vm = self.get(move.group)
        async with self.hold(move.group):
            instance = self._running_instance(vm)
            name = self.context.name_of(move.destination)
            plan = await self._plan(move.group, name, move.policy, move.bandwidth_limit)
            plan = replace(plan, drained=_drained(move))
            if move.session:
                plan = replace(plan, session=SessionId(move.session))
            self.chronicle.asked(plan.session, move)
            before = vm.progress
            vm.show(fresh_progress(self.context.node_name, name, plan.session))
            sentence = f"migration begins {move.sentence or f'to {name}'}"
            event = self._event(EventKind.MIGRATION_STARTED, vm, sentence, plan)
            try:
                await vm.set_migration(MigrationState.SETUP, 0, sentence, (event,))
            except ClusterError:
                self.chronicle.dropped(plan.session)
                vm.show(before)
                raise
            self._begin(vm, instance, plan)

    def machine_state(self, vm: HostedVm, snapshot: ClusterSnapshot | None = None) -> MachineState:
        """What the rules about a virtual machine itself go by; whether it is locked only with a ``snapshot``."""
        info = None if snapshot is None else snapshot.groups.get(vm.group)
        try:
            self.queue.check_free(vm.group, vm.name, Status.ERROR_INVALID_STATE)
            queued = ""
        except RefusalError as refusal:
            queued = refusal.sentence
        moves = vm.group in self.outgoing or vm.progress.is_running
        return MachineState(
            name=vm.name,
            node=self.context.node_name,
            state=VmState.OFF if vm.state is VmState.RUNNING and vm.instance is None else vm.state,
            busy=vm.lock.locked(),
            moving_to=vm.progress.destination if moves else None,
            queued=queued,
            locked=info is not None and bool(info.properties.number("LockedFromMoving")),
        )

    def _running_instance(self, vm: HostedVm) -> hv.Instance:
        require((judge_running(self.machine_state(vm)),))
        assert vm.instance is not None, "what runs has a process"
        return vm.instance

    async def _plan(self, group_id: GroupId, destination: str | None, policy: str, bandwidth_limit: int) -> "_Planned":
        """Choose where to, and ask whether that can be. Raises ClusterError as the START table says."""
        snapshot = await self.context.database.snapshot()
        vm = self.get(group_id)
        require((judge_not_locked(self.machine_state(vm, snapshot)),))
        question = await self._question(vm, snapshot)
        chosen = await self._selection(vm, snapshot, question).choose(destination)
        assert chosen.way is not None, "who was chosen has answered"
        session, node = SessionId(str(uuid.uuid4())), chosen.candidate.node
        followed, wishes = policy_of(snapshot, group_id, policy), wishes_of(snapshot, group_id, bandwidth_limit)
        able = can_post_copy(wishes, chosen.way)
        return _Planned(
            session,
            node,
            question.definition,
            question.pinned,
            self._transport(wishes, node, chosen.way, post_copy=able and followed.post_copy),
            followed,
            policies_of(snapshot, group_id),
            can_post_copy=able,
        )

    def _transport(self, wishes: Wishes, node: NodeId, way: Way, *, post_copy: bool) -> Transport:
        """Choose how memory goes to a node, with what is remembered of the link to it."""
        link = self.links.speed(node, self.foresight.speeds.of(node))
        return plan_transport(wishes, replace(way, link=link), post_copy=post_copy)

    async def _question(self, vm: HostedVm, snapshot: ClusterSnapshot) -> Question:
        """What other nodes are asked about a VM. Raises RefusalError 5023: it was never started."""
        definition, pinned = describe(snapshot, vm.group)
        parsed, as_pinned = parse_definition(json.dumps(definition)), Pinned.from_json(json.dumps(pinned))
        try:
            async with asyncio.timeout(LOOK_PATIENCE):
                guest = await self.context.hypervisor.look_at(vm.instance, parsed, as_pinned)
        except (ClusterError, TimeoutError) as error:
            _log.warning("it is not known what a guest was given", vm=vm.name, sentence=str(error))
            guest = GuestSight()  # the rules that compare with it say that they could not
        return Question(definition, pinned, guest)

    def _selection(self, vm: HostedVm, snapshot: ClusterSnapshot, question: Question | None) -> Selection:
        return Selection(self.context, snapshot, vm.group, question, self.queue.conflict)

    async def why_not(self, group_id: GroupId, destination: str | None) -> tuple[Judged, ...]:
        """Find out how every rule stands for a node, or for all others; nothing is changed.

        Raises:
            CallerError: 5042, 87: not that node.
        """
        snapshot = await self.context.database.snapshot()
        vm = self.get(group_id)
        own = judge_machine(self.machine_state(vm, snapshot))
        question = await self._question(vm, snapshot) if was_started(snapshot, group_id) else None
        selection = self._selection(vm, snapshot, question)
        asked = selection.others() if destination is None else (selection.find(destination),)
        judged = await asyncio.gather(*(selection.judge(one, thorough=True) for one in asked))
        return tuple(replace(one, findings=(*own, *one.findings)) for one in judged)

    # --- what would be ---------------------------------------------------------------------------------------------

    async def dry_run(
        self, group_id: GroupId, destination: str | None, policy: str = "", bandwidth_limit: int = 0
    ) -> DryRun:
        """Find out what START would answer, and if it would begin, how the migration would go.

        Raises:
            CallerError: 5042, 87: not that node.
            RefusalError: 5023, a migration of it has begun meanwhile.
            FaultError: its process does not answer.
        """
        snapshot, vm = await self.context.database.snapshot(), self.get(group_id)
        own = judge_machine(self.machine_state(vm, snapshot))
        question = await self._question(vm, snapshot) if was_started(snapshot, group_id) else None
        selection = self._selection(vm, snapshot, question)
        named = None if destination is None else selection.find(destination)
        refusal = first_refusal(own)
        if named is None:
            if refusal is not None:
                return DryRun("", own, refusal.error(), None)
            try:
                named = (await selection.choose(None)).candidate
            except ClusterError as error:
                return DryRun("", own, error, None)
        judged = await selection.judge(named, thorough=True)
        findings = (*own, *judged.findings)
        refusal = first_refusal(findings)
        if refusal is not None or question is None or judged.way is None:
            return DryRun(named.name, findings, None if refusal is None else refusal.error(), None)
        followed, wishes = policy_of(snapshot, group_id, policy), wishes_of(snapshot, group_id, bandwidth_limit)
        able = can_post_copy(wishes, judged.way)
        transport = self._transport(wishes, named.node, judged.way, post_copy=able and followed.post_copy)
        instance, memory = self._running_instance(vm), Pinned.from_json(json.dumps(question.pinned)).memory_bytes
        others = policies_of(snapshot, group_id)
        foretold = await self.foresight.look_and_foretell(
            vm,
            instance,
            Proposal(named.node, transport, memory, followed, others, can_post_copy=able),
            is_moved=lambda: judge_not_moving(self.machine_state(vm)).sentence,
            is_loaded=self._what_is_copied,
        )
        return DryRun(named.name, findings, None, foretold)

    def _what_is_copied(self) -> str:
        """Say which memory goes over the links of this node at this moment; empty: none."""
        names = ", ".join(session.name for session in self.outgoing.values())
        return f"the link was not tried, as {names} is being migrated over it" if names else ""

    async def _foretell(self, vm: HostedVm, plan: "_Planned") -> None:
        """Foretell a migration that has begun, from what is known: it waits for nothing of this."""
        memory = Pinned.from_json(json.dumps(plan.pinned)).memory_bytes
        able = plan.can_post_copy
        proposal = Proposal(plan.destination, plan.transport, memory, plan.policy, plan.others, can_post_copy=able)
        foretold = await self.foresight.foretell_move(vm, proposal)
        self.chronicle.foretold(plan.session, foretold.to_json())

    def _event(self, kind: EventKind, vm: HostedVm, sentence: str, plan: "_Planned") -> EventRecord:
        name = self.context.name_of(plan.destination)
        return self.context.event(
            kind, vm.group, sentence, before=self.context.node_name, after=name, cause=plan.session
        )

    async def _accept(
        self, vm: HostedVm, instance: hv.Instance, plan: "_Planned", policy: str, bandwidth_limit: int
    ) -> None:
        """Make it known, durably, and let it begin if there is a place. Nothing has changed if this raises."""
        name = self.context.name_of(plan.destination)
        move = Move(
            group=vm.group,
            source=self.context.node,
            cause=Cause.ASKED,
            asked_at=0.0,
            destination=plan.destination,
            session=plan.session,
            policy=policy,
            bandwidth_limit=bandwidth_limit,
        )

        def shown(written: Move) -> Shown:
            waits = written.stage is Stage.WAITING
            sentence = f"migration to {name} {'waits for a place' if waits else 'accepted'}"
            kind = EventKind.MIGRATION_QUEUED if waits else EventKind.MIGRATION_STARTED
            change = vm.migration_change(MigrationState.SETUP, 0, sentence)
            return Shown(change, (self._event(kind, vm, sentence, plan),))

        before = vm.progress
        vm.show(fresh_progress(self.context.node_name, name, plan.session))
        self.chronicle.asked(plan.session)
        try:
            written = await self.queue.ask(vm, move, shown)
        except ClusterError:
            self.chronicle.dropped(plan.session)
            vm.show(before)
            raise
        if written.stage is Stage.WAITING:
            vm.show(replace(vm.progress, queued=True))
        else:
            self._begin(vm, instance, plan)

    def _begin(self, vm: HostedVm, instance: hv.Instance, plan: "_Planned") -> None:
        self.chronicle.begun(plan.session)
        vm.progress = replace(vm.progress, transport=plan.transport.describe())
        session = self._new_session(vm, instance, plan)
        self.outgoing[vm.group] = session
        session.carry_on(())
        session.post(e.PlaceFree())
        spawn(self._tasks, self._foretell(vm, plan), f"the forecast of the migration {plan.session}")

    def _new_session(self, vm: HostedVm, instance: hv.Instance, plan: "_Planned") -> OutgoingSession:
        image, transport = self.context.new_image(), plan.transport
        brain = Outgoing(
            session=plan.session,
            me=self.context.node,
            destination=plan.destination,
            image=instance.image,
            destination_image=image,
            record=to_brain(vm.ownership),
            since=self.context.now(),
            convergence=Convergence(plan.policy, may_post_copy=plan.may_post_copy),
        )
        post_copy = plan.may_post_copy
        prepare = Prepare(
            session=plan.session,
            group=vm.group,
            vm_id=vm.vm_id,
            name=vm.name,
            source=self.context.node,
            image=image,
            source_image=instance.image,
            definition=plan.definition,
            pinned=plan.pinned,
            channels=transport.channels,
            encrypted=transport.encrypted,
            compressed=transport.compressed,
            host=transport.address,
            transport=transport.describe(),
            post_copy=post_copy,
        )
        parameters = hv.MigrationParameters(
            max_bandwidth=transport.max_bandwidth,
            multifd_channels=transport.channels,
            compressed=transport.compressed,
            may_throttle=plan.policy.throttle_most > 0,
            tls=source_tls(self.context, plan.destination) if transport.encrypted else None,
            post_copy=post_copy,
        )
        session = OutgoingSession(vm, brain, prepare, parameters, self.on_outgoing_ended, plan.drained, transport)
        session.on_serving = self.leave
        session.on_guest_ended = self.on_instance_event
        return session

    async def cancel_migration(self, group_id: GroupId) -> None:
        """Cancel in MigrationState 1 or 2, or what waits in the queue; the VM never stops."""
        vm = self.get(group_id)
        if group_id not in self.outgoing and await self._leave_queue(group_id):
            return
        session = self.outgoing.get(group_id)
        if session is None or not session.brain.migration_state.is_cancellable:
            state = vm.migration_state if session is None else session.brain.migration_state
            raise RefusalError(
                Status.ERROR_INVALID_STATE,
                f"{vm.name} has no migration that could be cancelled: MigrationState is {int(state)} "
                f"({state.name.lower()}), and must be 1 or 2",
            )
        session.post(e.CancelRequested())
        try:
            async with asyncio.timeout(CANCEL_PATIENCE):
                await session.ended.wait()
        except TimeoutError:
            _log.warning("a cancelled transfer has not ended yet", vm=vm.name)

    def cancel_if_possible(self, group_id: GroupId) -> None:
        """Cancel what is under way, unless it is too late for that."""
        session = self.outgoing.get(group_id)
        if session is not None and session.brain.migration_state.is_cancellable:
            session.post(e.CancelRequested())

    async def _leave_queue(self, group_id: GroupId) -> bool:
        """Take a VM off the queue that waits there; answers whether it did. One that begins right now is waited for."""
        deadline = self.context.now() + CANCEL_PATIENCE
        while group_id not in self.outgoing and self.context.now() < deadline:
            move = self.queue.find(group_id)
            if move is None or move.stage is Stage.FAILED:
                return False
            if move.stage is Stage.WAITING:
                name = self.context.name_of(move.destination) if move.destination is not None else "another node"
                if await self.queue.give_up(move, "somebody has cancelled its move", is_final=True):
                    self.chronicle.dropped(SessionId(move.session))
                    await self._show_end(
                        self.get(group_id),
                        MigrationState.CANCELED,
                        0,
                        f"migration to {name}: cancelled before it began",
                        EventKind.MIGRATION_CANCELLED,
                        move.session,
                    )
                    return True
            elif self.queue.carried.get(group_id) == move.revision and not self.get(group_id).lock.locked():
                return False
            await asyncio.sleep(0.01)
        return False

    # --- how outgoing migrations end -------------------------------------------------------------------------------

    async def on_outgoing_ended(self, session: OutgoingSession) -> None:
        """Do what the outcome of a session away from here asks for."""
        vm, brain = session.vm, session.brain
        try:
            match brain.outcome:
                case Outcome.DONE | Outcome.OVERTAKEN:
                    self._learn_speed(session)
                    await self._tell_figures(session)
                    session.vm.instance = None
                    await self.leave(session)
                case Outcome.CANCELLED:
                    await self._write_end(session, MigrationState.CANCELED, 0, EventKind.MIGRATION_CANCELLED)
                case Outcome.FAILED:
                    await self._write_end(session, MigrationState.FAILURE, E_FAIL, EventKind.MIGRATION_FAILED)
                case Outcome.IMAGE_LOST:
                    await self._write_end(session, MigrationState.FAILURE, E_FAIL, EventKind.MIGRATION_FAILED)
                    vm.instance = None
                    await self.on_image_lost(vm.group, brain.reason)
                case None:
                    raise AssertionError("a session ended without an outcome")
        finally:
            if self.outgoing.get(vm.group) is session:
                del self.outgoing[vm.group]
            if brain.outcome not in (Outcome.DONE, Outcome.OVERTAKEN):
                self._end_entry(session)
            self.chronicle.left(session)
            spawn(self._tasks, self.foresight.recall_soon(), "what was learnt from a migration")
            self._left.discard(session)
        if vm.exited and vm.instance is not None:
            self.report_lost(vm, vm.exited)  # it ended while its migration did, when nobody else was listening

    def _learn_speed(self, session: OutgoingSession) -> None:
        """What a migration got across, its link carries at least."""
        if session.transport is not None:
            brain, rate = session.brain, session.vm.progress.rate
            self.links.learn(brain.destination, session.transport, brain.transferred, rate)

    async def _tell_figures(self, session: OutgoingSession) -> None:
        """Keep what the source measured: the destination knows nothing of it."""
        brain = session.brain
        figures: dict[str, JsonValue] = {
            "bytes": str(brain.transferred),
            "passes": brain.convergence.seen_pass,
            "moments": dict(session.moments),
            "transport": "" if session.transport is None else session.transport.describe(),
            "reasons": [] if session.transport is None else list(session.transport.reasons),
        }
        _log.info("migration figures", vm=session.vm.name, session=brain.session, **figures)
        sentence = f"sent {brain.transferred} bytes in {brain.convergence.seen_pass} passes"
        event = self.context.event(
            EventKind.MIGRATION_STOPPED_SOURCE, session.vm.group, sentence, after=figures, cause=brain.session
        )
        try:
            await self.context.database.append_events((event,))
        except ClusterError as error:
            _log.warning("the figures of a migration were not written", sentence=error.sentence)

    async def leave(self, session: OutgoingSession) -> None:
        """The VM lives elsewhere, and nothing of its group is this node's any more: told once.

        In post-copy the QEMU here lives on with the session, to send pages.
        """
        if session not in self._left:
            self._left.add(session)
            self.let_go(session.vm.group)
            self.foresight.forget(session.vm.group)
            await self.on_left(session.vm.group)

    def serving(self) -> Iterator[HostedVm]:
        """The VMs that live elsewhere already, and whose QEMU here may hold the only copy of a page."""
        for session in self._left:
            instance = session.vm.instance
            if self.outgoing.get(session.vm.group) is session and instance is not None and not instance.is_gone:
                yield session.vm

    def committed(self) -> dict[GroupId, int]:
        """Bytes that the VMs with a process here take; in post-copy that is so on both sides."""
        snapshot = self.context.view.snapshot
        return {vm.group: self._memory.of(snapshot, vm.group) for vm in self.serving()} | super().committed()

    def _end_entry(self, session: OutgoingSession) -> None:
        """Nothing has come of a move: its entry, if it has one, is ended as well."""
        group, brain = session.vm.group, session.brain
        move = self.queue.find(group)
        if move is not None and move.stage is Stage.BEGUN:
            self.queue.carried[group] = move.revision
            self.on_fruitless(move, brain.reason, brain.outcome is Outcome.CANCELLED)

    async def _write_end(self, session: OutgoingSession, state: MigrationState, reason: int, kind: EventKind) -> None:
        brain = session.brain
        sentence = f"migration to {self.context.name_of(brain.destination)}: {brain.reason}"
        await self._show_end(session.vm, state, reason, sentence, kind, brain.session)

    async def show_failure(self, vm: HostedVm, sentence: str) -> None:
        """Show that a migration which never began has failed."""
        await self._show_end(vm, MigrationState.FAILURE, E_FAIL, sentence, EventKind.MIGRATION_FAILED, "")

    async def _show_end(
        self, vm: HostedVm, state: MigrationState, reason: int, sentence: str, kind: EventKind, cause: str
    ) -> None:
        vm.show(
            replace(vm.progress, state=state, failure_reason=reason, phase="ended", queued=False, sentence=sentence)
        )
        event = self.context.event(kind, vm.group, sentence, cause=cause)
        try:
            await vm.tell(vm.migration_change(state, reason, sentence), (event,))
        except RefusalError as error:
            _log.warning("the end of a migration was not written", vm=vm.name, sentence=error.sentence)


def _drained(move: Move) -> str:
    """The drain that a group is noted with once it has moved: what comes back from one is noted no more."""
    return move.drain if move.cause is Cause.DRAIN else ""
