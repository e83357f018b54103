"""START and CANCEL as the contract has them, the queue before them, and what other nodes say about migrations."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError, FaultError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import GroupId, NodeId, SessionId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState, OfflineAction, VmState
from quorate.clusapi.status import E_FAIL, Status
from quorate.cluster.failover import GiverWord
from quorate.database.contract import StoreUnavailable
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.hosted import LATER, HostedVm, to_brain, to_database
from quorate.engine.incoming_session import IncomingSession
from quorate.engine.outgoing_news import fresh_progress
from quorate.engine.outgoing_session import OutgoingSession
from quorate.engine.places import DEFAULT_PARALLEL, Places
from quorate.engine.selection import choose, describe
from quorate.engine.supervised import spawn
from quorate.engine.virtual_machines import VirtualMachines
from quorate.hosting.contract import Report
from quorate.hypervisor import contract as hv
from quorate.hypervisor.definition_json import parse_definition
from quorate.hypervisor.pinned import Pinned
from quorate.migration import incoming_events as i
from quorate.migration import outgoing_events as e
from quorate.migration.incoming import Incoming, begin
from quorate.migration.incoming import Outcome as IncomingOutcome
from quorate.migration.outgoing import Outcome, Outgoing
from quorate.migration.ownership import OwnershipRecord
from quorate.peers.messages import GiverQuestion, OfSession, Prepare, SessionAnswer

MULTIFD_CHANNELS: Final = 2
"""Two threads on either side: on two cores they still outrun one stream, as finding zero pages, copying and the first
touch of the destination's memory overlap."""
PREFAULT: Final = False
"""Touching the destination's memory before the copy begins costs as long as touching it on arrival does, and takes what
the guest never used as well; docs/benchmarks.md has the figures."""
CANCEL_PATIENCE: Final = 2.0
"""Seconds that CANCEL waits for the transfer to have ended, so that state 4 is what the caller sees next."""

_log = structlog.get_logger("migration")


class Migrations(VirtualMachines):
    """The virtual machines of this node with their migrations, outgoing and incoming."""

    on_arrived: Callable[[HostedVm], Awaitable[None]]
    """Awaited when a VM runs here after a migration."""
    on_left: Callable[[GroupId], Awaitable[None]]
    """Awaited when a VM lives elsewhere after a migration."""
    on_image_lost: Callable[[GroupId, str], Awaitable[None]]
    """Awaited when a migration has cost a VM of ours its QEMU: it is to be started from its disks."""

    outgoing: dict[GroupId, OutgoingSession]
    incoming: dict[SessionId, IncomingSession]
    recovering: set[GroupId]
    """The VMs of which an earlier daemon left a QEMU that has not spoken yet: nothing is concluded about them."""

    def prepare_sessions(self) -> None:
        """Begin with none."""
        self.outgoing = {}
        self.incoming = {}
        self.recovering = set()
        self._places = Places(
            lambda: self.context.view.snapshot.cluster.properties.number("MaximumParallelMigrations", DEFAULT_PARALLEL)
        )
        self.context.view.subscribe(self._on_snapshot)

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
            return True
        if session.brain.migration_state.is_cancellable:
            session.post(e.CancelRequested())
        try:
            async with asyncio.timeout(1.0):
                await session.ended.wait()
        except TimeoutError:
            return False
        return group_id not in self.outgoing

    # --- START and CANCEL ------------------------------------------------------------------------------------------

    async def start_migration(self, group_id: GroupId, destination: str | None) -> None:
        """Check what START checks from "VmState is 2" on; return when the migration is accepted."""
        vm = self.get(group_id)
        if vm.lock.locked():
            state = vm.state.name.lower()
            sentence = f"{vm.name} is {state}, and something is being done to it: wait until that is over"
            raise RefusalError(Status.ERROR_INVALID_STATE, sentence)
        async with self.hold(group_id):
            instance = self._check_startable(vm)
            snapshot = await self.context.database.snapshot()
            if snapshot.groups[group_id].properties.number("LockedFromMoving"):
                raise RefusalError(
                    Status.ERROR_CLUSTER_RESOURCE_LOCKED_STATUS,
                    f"{vm.name} is locked from moving: set its group's LockedFromMoving to 0 first",
                )
            definition, pinned = describe(snapshot, group_id)
            chosen = await choose(self.context, snapshot, group_id, destination, definition, pinned)
            session = self._new_session(vm, instance, chosen, definition, pinned)
            await self._accept(vm, session, chosen)

    def _check_startable(self, vm: HostedVm) -> hv.Instance:
        if vm.group in self.outgoing or vm.progress.is_running:
            raise RefusalError(
                Status.ERROR_INVALID_STATE,
                f"{vm.name} is being migrated to {vm.progress.destination} already: wait for that, or cancel it",
            )
        if vm.state is not VmState.RUNNING or vm.instance is None:
            raise RefusalError(
                Status.ERROR_INVALID_STATE,
                f"{vm.name} is {vm.state.name.lower()} on {self.context.node_name}: only a running one can be migrated",
            )
        return vm.instance

    def _new_session(
        self, vm: HostedVm, instance: hv.Instance, destination: NodeId, definition: JsonObject, pinned: JsonObject
    ) -> OutgoingSession:
        session = SessionId(str(uuid.uuid4()))
        image = self.context.new_image()
        brain = Outgoing(
            session=session,
            me=self.context.node,
            destination=destination,
            image=instance.image,
            destination_image=image,
            record=to_brain(vm.ownership),
            since=self.context.now(),
        )
        prepare = Prepare(
            session=session,
            group=vm.group,
            vm_id=vm.vm_id,
            name=vm.name,
            source=self.context.node,
            image=image,
            source_image=instance.image,
            definition=definition,
            pinned=pinned,
            channels=MULTIFD_CHANNELS,
        )
        parameters = hv.MigrationParameters(multifd_channels=MULTIFD_CHANNELS)
        return OutgoingSession(vm, brain, prepare, parameters, self.on_outgoing_ended)

    async def _accept(self, vm: HostedVm, session: OutgoingSession, destination: NodeId) -> None:
        """Make it known, durably, and let it begin if there is a place. Nothing has changed if this raises."""
        name = self.context.name_of(destination)
        waits = not self._places.reserve(session.brain.session)
        sentence = f"migration to {name} {'waits for a place' if waits else 'accepted'}"
        kind = EventKind.MIGRATION_QUEUED if waits else EventKind.MIGRATION_STARTED
        event = self.context.event(
            kind, vm.group, sentence, before=self.context.node_name, after=name, cause=session.brain.session
        )
        before = vm.progress
        vm.show(fresh_progress(self.context.node_name, name, session.brain.session))
        self.outgoing[vm.group] = session
        try:
            await vm.set_migration(MigrationState.SETUP, 0, sentence, (event,), queued=waits)
        except ClusterError:
            del self.outgoing[vm.group]
            self._places.leave(session.brain.session)
            vm.show(before)
            raise
        session.carry_on(())
        self._places.accept(session)

    async def cancel_migration(self, group_id: GroupId) -> None:
        """Cancel in MigrationState 1 or 2; the VM never stops."""
        vm = self.get(group_id)
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

    # --- how outgoing migrations end -------------------------------------------------------------------------------

    async def on_outgoing_ended(self, session: OutgoingSession) -> None:
        """Do what the outcome of a session away from here asks for."""
        vm, brain = session.vm, session.brain
        try:
            match brain.outcome:
                case Outcome.DONE | Outcome.OVERTAKEN:
                    await self._tell_figures(session)
                    self._forget_source(session)
                    await self.on_left(vm.group)
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
            self._places.leave(brain.session)
        if vm.exited and vm.instance is not None:
            self.report_lost(vm, vm.exited)  # it ended while its migration did, when nobody else was listening

    async def _tell_figures(self, session: OutgoingSession) -> None:
        """Keep what the source measured: the destination knows nothing of it."""
        brain = session.brain
        figures: dict[str, JsonValue] = {
            "bytes": str(brain.transferred),
            "passes": brain.convergence.seen_pass,
            "moments": dict(session.moments),
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

    def _forget_source(self, session: OutgoingSession) -> None:
        session.vm.instance = None
        self.let_go(session.vm.group)

    async def _write_end(self, session: OutgoingSession, state: MigrationState, reason: int, kind: EventKind) -> None:
        vm, brain = session.vm, session.brain
        sentence = f"migration to {self.context.name_of(brain.destination)}: {brain.reason}"
        vm.show(
            replace(vm.progress, state=state, failure_reason=reason, phase="ended", queued=False, sentence=sentence)
        )
        event = self.context.event(kind, vm.group, sentence, cause=brain.session)
        try:
            await vm.set_migration(state, reason, sentence, (event,), queued=False)
        except ClusterError as error:
            _log.warning("the end of a migration was not written", vm=vm.name, sentence=error.sentence)

    # --- the destination's side ------------------------------------------------------------------------------------

    async def on_assess(self, definition: JsonObject, pinned: JsonObject) -> dict[str, JsonValue]:
        """Answer whether this node could run a VM now. Raises RefusalError 5953 or 5957."""
        wanted, as_pinned = parse_definition(json.dumps(definition)), Pinned.from_json(json.dumps(pinned))
        await self.context.hypervisor.check_can_run(wanted, as_pinned)  # the contract's order: 5953 before 5957
        await self.admission.check(None, wanted.name, as_pinned.memory_bytes)
        facts = await self.context.hypervisor.host_facts()
        return {"memory_free": str(facts.memory_free)}

    async def on_prepare(self, message: Prepare) -> None:
        """Begin to receive a VM; `prepared` or `failed` follows. Raises RefusalError 5957."""
        if message.session in self.incoming:
            return
        pinned = Pinned.from_json(json.dumps(message.pinned))
        await self.admission.reserve(message.group, message.name, pinned.memory_bytes)
        request = hv.LaunchRequest(
            vm_id=message.vm_id,
            name=message.name,
            image=message.image,
            definition=parse_definition(json.dumps(message.definition)),
            pinned=pinned,
            paths=self.context.paths.vm,
            launch=hv.Incoming(prefault=PREFAULT),
        )
        brain = Incoming(
            session=message.session,
            me=self.context.node,
            source=message.source,
            image=message.image,
            source_image=message.source_image,
        )
        step = begin(brain, self.context.now())
        session = IncomingSession(
            self.context,
            message.group,
            message.vm_id,
            message.name,
            step.state,
            self.on_incoming_ended,
            request=request,
            parameters=hv.MigrationParameters(multifd_channels=message.channels, tcp_host=self.context.migration_host),
            after=self._in_the_way(message),
        )
        self.incoming[message.session] = session
        session.carry_on(step.effects)

    def _in_the_way(self, message: Prepare) -> asyncio.Event | None:
        """What an arriving VM has to wait for: its last migration away, or one to here that was just given up."""
        sessions: list[OutgoingSession | IncomingSession] = [
            session for session in self.incoming.values() if session.vm_id == message.vm_id
        ]
        if (leaving := self.outgoing.get(message.group)) is not None:
            sessions.append(leaving)
        if len(sessions) < 2:
            return sessions[0].ended if sessions else None
        gone = asyncio.Event()

        async def wait() -> None:
            await asyncio.gather(*(session.ended.wait() for session in sessions))
            gone.set()

        spawn(self._tasks, wait(), f"the way of {message.name} is free")
        return gone

    async def on_incoming_ended(self, session: IncomingSession) -> None:
        """Do what the outcome of a session to here asks for; until then nobody else takes the group on."""
        _log.info("arrival figures", vm=session.name, session=session.brain.session, moments=dict(session.moments))
        try:
            match session.brain.outcome:
                case IncomingOutcome.RUNS:
                    vm = await self._hosted_after(session)
                    self.take_on(vm)
                    await self.on_arrived(vm)
                case IncomingOutcome.IMAGE_LOST:
                    vm = await self._hosted_after(session)
                    vm.instance = None
                    self.take_on(vm)
                    await self.on_arrived(vm)
                    await self.on_image_lost(session.group, session.brain.reason)
                case _:
                    pass
        finally:
            self.incoming.pop(session.brain.session, None)
            if not any(other.group == session.group for other in self.incoming.values()):
                self.admission.release(session.group)

    async def _hosted_after(self, session: IncomingSession) -> HostedVm:
        """The VM as this node owns it now, by the records that the session wrote last."""
        record, run = session.brain.record, session.run
        while record is None or run is None:  # recovered, and lost before it wrote anything: nothing is urgent
            try:
                record = to_brain(await self.context.database.get_ownership(session.group))
                run = (await self.context.database.get_run_state(session.group)).value
            except StoreUnavailable:
                await asyncio.sleep(LATER)
        vm = HostedVm(self.context, session.group, session.vm_id, to_database(record), run, session.instance)
        source, here = self.context.name_of(session.brain.source), self.context.node_name
        vm.progress = MigrationProgress(
            state=MigrationState.NO_MIGRATION,
            percent=100,
            session=session.brain.session,
            source=source,
            destination=here,
            phase="done",
            sentence=f"moved from {source} to {here}",
        )
        return vm

    # --- words of other nodes --------------------------------------------------------------------------------------

    def on_message(self, kind: str, message: OfSession) -> dict[str, JsonValue]:
        """Hand a word about a session to its brain; one of another session is nothing (R3)."""
        outgoing = next((s for s in self.outgoing.values() if s.brain.session == message.session), None)
        incoming = self.incoming.get(message.session)
        match kind:
            case "session":
                if incoming is not None:
                    return incoming.describe().to_json()
                return SessionAnswer(known=outgoing is not None).to_json()
            case "prepared" if outgoing is not None:
                outgoing.post(e.Prepared(message.uri))
            case "failed" if outgoing is not None:
                outgoing.post(e.DestinationFailed(message.sentence))
            case "abandon" if incoming is not None:
                incoming.post(i.Abandoned(message.sentence))
            case "yours" if incoming is not None:
                incoming.post(i.Yours(self._told(incoming, message)))
            case _:
                raise FaultError(Status.ERROR_NOT_FOUND, f"{self.context.node_name} has no such session for {kind!r}")
        return {}

    def _told(self, session: IncomingSession, message: OfSession) -> OwnershipRecord:
        """The record that the source tells of: it was written by the source, so that its fields are known."""
        brain = session.brain
        return OwnershipRecord(brain.me, message.epoch, brain.image, brain.source, brain.source_image, message.revision)

    def _on_snapshot(self, snapshot: ClusterSnapshot) -> None:
        for group, session in tuple(self.outgoing.items()):
            ownership = snapshot.ownership.get(group)
            if ownership is not None:
                session.post(e.RecordSeen(to_brain(ownership)))
        for incoming in tuple(self.incoming.values()):
            ownership = snapshot.ownership.get(incoming.group)
            if ownership is not None:
                incoming.on_record(to_brain(ownership))
        self._places.fill()

    # --- what the coordinator asks (R8) ----------------------------------------------------------------------------

    def on_giver(self, question: GiverQuestion) -> GiverWord:
        """Answer what became of a gift of ours whose receiver has died: is `yours` out?"""
        session = self.outgoing.get(question.group)
        if session is not None:
            return session.word_of_gift(question.epoch)
        return GiverWord.WAIT if question.group in self.recovering else GiverWord.GONE
