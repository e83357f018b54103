"""What a daemon does first: find the QEMUs that an earlier one left, and go on with what its journals know.

Nothing is assumed. A QEMU that runs and that the record gives us is adopted and nobody notices; a migration goes on as
`migration.recovery` says; a QEMU that the record does not give us, and that no journal explains, is ended (R11).
"""

import asyncio

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import GroupId, VmId
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
from quorate.engine.outgoing_session import OutgoingSession
from quorate.hypervisor import contract as hv
from quorate.migration.recovery import Found, FoundIncoming, recover_incoming, recover_outgoing

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
    tasks = set()
    for group in snapshot.groups.values():
        resource = snapshot.vm_resource(group.id)
        if resource is None or resource.vm_id is None or group.id not in snapshot.ownership:
            continue
        recovery = _Recovery(context, migrations, groups, snapshot, group.id, resource.vm_id)
        migrations.recovering.add(group.id)
        tasks.add(asyncio.create_task(recovery.run(outgoing.get(group.id), incoming.get(group.id))))
    if not tasks:
        return
    done, late = await asyncio.wait(tasks, timeout=ADOPTION_PATIENCE)
    for task in done:
        task.result()
    for task in late:
        _BACKGROUND.add(task)
        task.add_done_callback(_on_late_recovery)


def _on_late_recovery(task: asyncio.Task[None]) -> None:
    _BACKGROUND.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a virtual machine was not taken on", error=repr(error))


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
        """Take the VM on, or end what is left of it here."""
        instance = await self._adopt()
        if outgoing is not None:
            await self.carry_on_outgoing(outgoing, instance)
        elif incoming is not None:
            await self.carry_on_incoming(incoming, instance)
        elif self._snapshot.owner_of(self._group) == self._context.node:
            await self.take_back_own(instance)
        elif instance is not None:
            _log.warning("a QEMU of a virtual machine that is not ours is ended", vm=self._name, pid=instance.pid)
            instance.kill()
            await instance.wait_gone()
        self._migrations.recovering.discard(self._group)

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
            self._snapshot = await self._context.database.snapshot()
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
        if instance is not None and instance.image != note.journal.image:
            instance = None
        found = Found.GONE
        if instance is not None:
            state = await _run_state(instance)
            found = Found.RUNNING if state is hv.RunState.RUNNING else Found.PAUSED
        vm = self._hosted(instance)
        record = to_brain(self._snapshot.ownership[self._group])
        step = recover_outgoing(note.journal, record, found, self._context.now())
        session = OutgoingSession(vm, step.state, None, hv.MigrationParameters(), self._migrations.on_outgoing_ended)
        self._migrations.outgoing[self._group] = session
        _log.info("a migration goes on", vm=self._name, phase=step.state.phase.value, found=found.value)
        session.carry_on(step.effects)

    async def carry_on_incoming(self, note: IncomingNote, instance: hv.Instance | None) -> None:
        if instance is not None and instance.image != note.journal.image:
            instance = None
        found = FoundIncoming.GONE
        if instance is not None:
            found = await _found_incoming(instance)
        record = to_brain(self._snapshot.ownership[self._group])
        step = recover_incoming(note.journal, record, found, self._context.now())
        session = IncomingSession(
            self._context,
            self._group,
            self._vm_id,
            self._name,
            step.state,
            self._migrations.on_incoming_ended,
            instance=instance,
        )
        self._migrations.incoming[note.journal.session] = session
        _log.info("a migration goes on", vm=self._name, phase=step.state.phase.value, found=found.value)
        session.carry_on(step.effects)

    # --- VMs that are ours -----------------------------------------------------------------------------------------

    async def take_back_own(self, instance: hv.Instance | None) -> None:
        """Adopt the QEMU of a VM of ours; nothing else may have touched it since."""
        vm = self._hosted(instance)
        if vm.migration_state.is_under_way:
            sentence = "the daemon was restarted before the migration began"
            await vm.set_migration(MigrationState.FAILURE, E_FAIL, sentence, queued=False)
            vm.show(MigrationProgress(state=MigrationState.FAILURE, failure_reason=E_FAIL, sentence=sentence))
        if instance is None:
            return
        try:
            await self._bring_in_line(vm, instance)
        except ClusterError as error:
            _log.error("a virtual machine could not be brought in line", vm=vm.name, sentence=error.sentence)

    async def _bring_in_line(self, vm: HostedVm, instance: hv.Instance) -> None:
        """Make what QEMU does and what the run state says agree."""
        state = await _run_state(instance)
        if vm.state in (VmState.SAVED, VmState.OFF) or state in (hv.RunState.SHUTDOWN, hv.RunState.PANICKED):
            instance.kill()
            await instance.wait_gone()
            vm.instance = None
            return
        event = self._context.event(
            EventKind.VM_ADOPTED, vm.group, f"adopted by the restarted daemon, pid {instance.pid}"
        )
        await self._context.database.append_events((event,))
        if state is hv.RunState.RUNNING:
            if vm.state is not VmState.RUNNING:
                await vm.set_state(VmState.RUNNING, "found running by the restarted daemon")
        elif vm.state is VmState.STARTING or state is hv.RunState.INMIGRATE:
            instance.kill()
            await instance.wait_gone()
            vm.instance = None
        elif vm.state is not VmState.PAUSED and state is not hv.RunState.UNKNOWN:
            # Stopped by a daemon that did not live to finish what it wanted; R1: a write of our own comes first.
            await vm.keep(instance.image, "going on after the restart of the daemon")
            await instance.cont()
            await vm.set_state(VmState.RUNNING, "found stopped by the restarted daemon, and continued")


async def _run_state(instance: hv.Instance) -> hv.RunState:
    try:
        return await instance.run_state()
    except ClusterError:
        return hv.RunState.UNKNOWN


async def _found_incoming(instance: hv.Instance) -> FoundIncoming:
    match await _run_state(instance):
        case hv.RunState.RUNNING:
            return FoundIncoming.RUNNING
        case hv.RunState.PAUSED:
            return FoundIncoming.LOADED
        case _:
            return FoundIncoming.RECEIVING
