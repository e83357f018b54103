"""What a daemon does first: find the QEMUs that an earlier one left, and go on with what its journals know.

Nothing is assumed. A QEMU that runs and that the record gives us is adopted and nobody notices; a migration goes on as
`migration.recovery` says; a QEMU that the record does not give us, and that no journal explains, is ended (R11).
"""

import asyncio
from dataclasses import replace
from typing import Protocol

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import GroupId, ImageId, VmId
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState, VmState
from quorate.clusapi.status import E_FAIL
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.context import EngineContext
from quorate.engine.groups import Groups
from quorate.engine.hosted import HostedVm, to_brain
from quorate.engine.incoming_session import IncomingSession
from quorate.engine.journal import IncomingNote, OutgoingNote
from quorate.engine.migrations import Migrations
from quorate.engine.outgoing_news import fresh_progress
from quorate.engine.outgoing_session import OutgoingSession
from quorate.engine.supervised import spawn
from quorate.hypervisor import contract as hv
from quorate.migration.recovery import (
    Concern,
    Found,
    FoundIncoming,
    plan_take_on,
    recover_incoming,
    recover_outgoing,
)

_log = structlog.get_logger("recovery")


ADOPTION_PATIENCE = 3.0
"""Seconds that a daemon waits for its QEMUs to speak before it comes up without those that do not."""
ADOPTION_PAUSE = 0.5

_BACKGROUND: set[asyncio.Task[None]] = set()


async def recover(context: EngineContext, migrations: Migrations, groups: Groups) -> None:
    """Take on everything that an earlier daemon of this node left behind.

    A mute QEMU holds up nobody but its own virtual machine: that is taken on when it speaks again, or is gone. Nobody
    touches it until then, as it may well be running.
    """
    snapshot = await context.database.snapshot()
    outgoing = {note.group: note for note in context.journals.outgoing()}
    incoming = {note.group: note for note in context.journals.incoming()}
    tasks = []
    for group in snapshot.groups.values():
        resource = snapshot.vm_resource(group.id)
        if resource is None or resource.vm_id is None or group.id not in snapshot.ownership:
            continue
        recovery = _Recovery(context, migrations, groups, snapshot, group.id, resource.vm_id)
        migrations.recovering.add(group.id)
        work = recovery.run(outgoing.get(group.id), incoming.get(group.id))
        tasks.append(spawn(_BACKGROUND, work, f"the recovery of {group.name}"))
    migrations.has_looked = True
    if not tasks:
        return
    await asyncio.wait(tasks, timeout=ADOPTION_PATIENCE)


class _Recovery:
    """The recovery of one VM."""

    def __init__(
        self,
        context: EngineContext,
        migrations: Migrations,
        groups: Groups,
        snapshot: ClusterSnapshot,
        group: GroupId,
        vm_id: VmId,
    ) -> None:
        self._context = context
        self._migrations = migrations
        self._groups = groups
        self._snapshot = snapshot
        self._group = group
        self._vm_id = vm_id
        self._name = snapshot.groups[group].name

    async def run(self, outgoing: OutgoingNote | None, incoming: IncomingNote | None) -> None:
        """Take the VM on, or end what is left of it here; nobody concludes anything about it until that is done."""
        while True:
            instance = await self._adopt()
            try:
                await self._take_on(outgoing, incoming, instance)
                break
            except ClusterError as error:
                _log.warning("a virtual machine is not taken on yet", vm=self._name, sentence=error.sentence)
                if instance is not None:
                    await instance.release()
                await asyncio.sleep(ADOPTION_PAUSE)
                await self._read_again()
        self._migrations.recovering.discard(self._group)
        self._groups.look_again()

    async def _take_on(
        self, outgoing: OutgoingNote | None, incoming: IncomingNote | None, instance: hv.Instance | None
    ) -> None:
        plan = plan_take_on(
            to_brain(self._snapshot.ownership[self._group]),
            self._context.node,
            None if instance is None else instance.image,
            None if outgoing is None else outgoing.journal,
            None if incoming is None else incoming.journal,
        )
        instance = await self._of_image(instance, plan.image)
        if plan.concern is Concern.OUTGOING and outgoing is not None:
            await self.carry_on_outgoing(outgoing, instance)
        elif plan.concern is Concern.INCOMING and incoming is not None:
            await self.carry_on_incoming(incoming, instance)
        elif plan.concern is Concern.OWN:
            self._context.journals.forget_outgoing(self._vm_id)
            self._context.journals.forget_incoming(self._vm_id)
            await self.take_back_own(instance)

    async def _of_image(self, instance: hv.Instance | None, image: ImageId | None) -> hv.Instance | None:
        """A QEMU that holds another image than the one that counts may never run again (I5): it is ended."""
        if instance is not None and instance.image != image:
            await self._end(instance)
            return None
        return instance

    async def _end(self, instance: hv.Instance) -> None:
        _log.warning("a QEMU whose image does not count is ended", vm=self._name, pid=instance.pid)
        instance.kill()
        await instance.wait_gone()

    async def _read_again(self) -> None:
        try:
            self._snapshot = await self._context.database.snapshot()
        except ClusterError as error:
            _log.warning("the cluster was not read again", sentence=error.sentence)

    async def _adopt(self) -> hv.Instance | None:
        """Find the VM's QEMU, however long it is mute; what the records say may have changed by then."""
        began = self._context.now()
        while True:
            try:
                instance = await self._context.hypervisor.adopt(self._vm_id, self._context.paths.vm)
                break
            except ClusterError as error:
                _log.warning("a QEMU does not speak; its virtual machine waits", vm=self._name, sentence=error.sentence)
                await asyncio.sleep(ADOPTION_PAUSE)
        if self._context.now() - began > ADOPTION_PAUSE:
            await self._read_again()
        return instance

    def _hosted(self, instance: hv.Instance | None) -> HostedVm:
        vm = HostedVm(
            self._context,
            self._group,
            self._vm_id,
            self._snapshot.ownership[self._group],
            self._snapshot.run[self._group].value,
            instance,
        )
        self._migrations.take_on(vm)
        self._groups.own(vm)
        return vm

    # --- migrations ------------------------------------------------------------------------------------------------

    async def carry_on_outgoing(self, note: OutgoingNote, instance: hv.Instance | None) -> None:
        found = Found.GONE
        if instance is not None:
            found = await found_outgoing(instance)
        vm = self._hosted(instance)
        record = to_brain(self._snapshot.ownership[self._group])
        step = recover_outgoing(note.journal, record, found, self._context.now())
        session = OutgoingSession(vm, step.state, None, hv.MigrationParameters(), self._migrations.on_outgoing_ended)
        session.on_serving = self._migrations.leave
        session.on_guest_ended = self._migrations.on_instance_event
        self._migrations.outgoing[self._group] = session
        _log.info("a migration goes on", vm=self._name, phase=step.state.phase.value, found=found.value)
        session.carry_on(step.effects)

    async def carry_on_incoming(self, note: IncomingNote, instance: hv.Instance | None) -> None:
        found, status = FoundIncoming.GONE, hv.MigrationStatus.NONE
        if instance is not None:
            found = await found_incoming(instance)
            may_run = found is not FoundIncoming.RECEIVING or note.journal.cont_may_be_out
            status = await migration_status_of(instance, must_say=may_run)
        record = to_brain(self._snapshot.ownership[self._group])
        step = recover_incoming(
            note.journal,
            record,
            found,
            self._context.now(),
            pages_missing=status.is_postcopy,
            pages_stopped=status.is_postcopy and status is not hv.MigrationStatus.POSTCOPY,
        )
        session = IncomingSession(
            self._context,
            self._group,
            self._vm_id,
            self._name,
            step.state,
            self._migrations.on_incoming_ended,
            instance=instance,
        )
        self._migrations.follow_incoming(session)
        _log.info("a migration goes on", vm=self._name, phase=step.state.phase.value, found=found.value)
        session.carry_on(step.effects)

    # --- VMs that are ours -----------------------------------------------------------------------------------------

    async def take_back_own(self, instance: hv.Instance | None) -> None:
        """Adopt the QEMU of a VM of ours; nothing else may have touched it since."""
        vm = self._hosted(instance)
        entry = self._snapshot.moves.get(self._group)
        if entry is not None and entry.value.source == self._context.node and vm.migration_state.is_under_way:
            destination = "" if entry.value.destination is None else self._context.name_of(entry.value.destination)
            fresh = fresh_progress(self._context.node_name, destination, entry.value.session)
            vm.show(replace(fresh, queued=True))  # it goes on waiting, or begins anew
        elif vm.migration_state.is_under_way:
            sentence = "the daemon was restarted before the migration began"
            await vm.set_migration(MigrationState.FAILURE, E_FAIL, sentence)
            vm.show(MigrationProgress(state=MigrationState.FAILURE, failure_reason=E_FAIL, sentence=sentence))
        if instance is not None:
            await self._bring_in_line(vm, instance)

    async def _bring_in_line(self, vm: HostedVm, instance: hv.Instance) -> None:
        """Make what QEMU does and what the run state says agree. The record names this node and this image."""
        state = await run_state_of(instance)
        if state in (hv.RunState.SHUTDOWN, hv.RunState.PANICKED):
            if state is hv.RunState.SHUTDOWN:
                self._migrations.mark_shut_down_by_guest(self._group)
            await self._end(instance)
            vm.instance = None
            return
        sentence = f"adopted by the restarted daemon, pid {instance.pid}"
        await vm.tell(lambda run: run, (self._context.event(EventKind.VM_ADOPTED, vm.group, sentence),))
        if state is hv.RunState.RUNNING:
            if vm.state is not VmState.RUNNING:
                await vm.set_saved(VmState.RUNNING, "found running by the restarted daemon", None, None)
        elif vm.state in (VmState.SAVED, VmState.OFF) or state is hv.RunState.INMIGRATE:
            # Saved, or being restored from a file that is still there: the file counts.
            await self._end(instance)
            vm.instance = None
            await vm.set_state(VmState.SAVED if vm.vm.saved_image else VmState.OFF, "not running")
        elif vm.state is not VmState.PAUSED and state is not hv.RunState.UNKNOWN:
            # Stopped, or not yet run, by a daemon that did not live to finish what it wanted.
            if vm.vm.paused:
                await vm.set_saved(VmState.PAUSED, "found by the restarted daemon, and paused as it was", None, None)
                return
            if vm.vm.saved_image is not None:  # restored from it: off the record before the guest may run (I5)
                await vm.set_saved(vm.state, "restored", None, None)
            await vm.run_on(instance, "going on after the restart of the daemon")
            await vm.set_saved(VmState.RUNNING, "found stopped by the restarted daemon, and continued", None, None)


class HasRunState(Protocol):
    """A QEMU that can be asked what it does."""

    async def run_state(self) -> hv.RunState:
        """Ask it. Raises ClusterError."""
        ...


async def run_state_of(instance: HasRunState) -> hv.RunState:
    """Ask a QEMU what it does; UNKNOWN when it does not say."""
    try:
        return await instance.run_state()
    except ClusterError:
        return hv.RunState.UNKNOWN


class HasTransfer(HasRunState, Protocol):
    """A QEMU that can be asked for its transfer too."""

    async def migration(self) -> hv.MigrationSample:
        """Look at it. Raises ClusterError."""
        ...


async def migration_status_of(instance: HasTransfer, *, must_say: bool) -> hv.MigrationStatus:
    """Ask a QEMU how far its transfer is; NONE when it does not say.

    Of one that runs, or may be let run, it ``must_say``: the source would be told that no page is missing. Raises
    ClusterError then.
    """
    try:
        return (await instance.migration()).status
    except ClusterError:
        if must_say:
            raise
        return hv.MigrationStatus.NONE


async def found_outgoing(instance: HasTransfer) -> Found:
    """Tell what is left of a source's QEMU. Raises ClusterError: whether it serves pages must be known."""
    status = (await instance.migration()).status
    if status.is_postcopy:
        return Found.SERVING
    if status is hv.MigrationStatus.PRE_SWITCHOVER:
        return Found.READY
    return Found.RUNNING if await run_state_of(instance) is hv.RunState.RUNNING else Found.PAUSED


async def found_incoming(instance: HasRunState) -> FoundIncoming:
    """Tell what is left of a destination's QEMU."""
    match await run_state_of(instance):
        case hv.RunState.RUNNING:
            return FoundIncoming.RUNNING
        case hv.RunState.PAUSED:
            return FoundIncoming.LOADED
        case _:
            return FoundIncoming.RECEIVING
