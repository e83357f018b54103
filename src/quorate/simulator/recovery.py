"""What a simulated daemon does first, as `engine/recovery.py` does in production."""

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import GroupId, ImageId
from quorate.clusapi.machine import Step
from quorate.clusapi.states import MigrationState, VmState
from quorate.clusapi.status import E_FAIL
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.hosted import to_brain
from quorate.engine.journal import IncomingNote, OutgoingNote
from quorate.engine.recovery import found_incoming, found_outgoing, migration_status_of, run_state_of
from quorate.hypervisor import contract as hv
from quorate.migration.incoming import Phase
from quorate.migration.recovery import Concern, Found, FoundIncoming, plan_take_on
from quorate.simulator.holding import Held
from quorate.simulator.incoming import IncomingSession
from quorate.simulator.instance import Instance
from quorate.simulator.outgoing import SERVING, OutgoingSession
from quorate.simulator.trace import Kind

if TYPE_CHECKING:
    from quorate.simulator.daemon import Daemon

PATIENCE: Final = 3.0
"""Seconds that a daemon waits for its QEMUs to speak before it comes up without those that do not."""
PAUSE: Final = 0.5


async def recover(daemon: "Daemon") -> None:
    """Take on everything that an earlier daemon of this node left behind."""
    machine, owner = daemon.machine, daemon.owner
    snapshot = daemon.view.snapshot
    concerned = set(machine.outgoing_notes) | set(machine.incoming_notes)
    concerned |= {qemu.group for qemu in machine.qemus}
    concerned |= {
        group
        for group in daemon.world.holders.groups_of(daemon.node, snapshot.ownership)
        if _is_under_way(snapshot, group)
    }
    left = len(concerned)
    done = daemon.life.future()
    for group in sorted(concerned):
        owner.recovering.add(group)
        task = daemon.life.spawn(
            _Recovery(daemon, snapshot, group).run(), f"the recovery of {daemon.world.name_of(group)}"
        )

        def count() -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set((True,))

        task.over.then(count)
    if concerned:
        await daemon.life.within(PATIENCE, done)


def _is_under_way(snapshot: ClusterSnapshot, group: GroupId) -> bool:
    run = snapshot.run.get(group)
    vm = None if run is None else run.value.vm
    return vm is not None and MigrationState(vm.migration_state).is_under_way


class _Recovery:
    """The recovery of one virtual machine."""

    def __init__(self, daemon: "Daemon", snapshot: ClusterSnapshot, group: GroupId) -> None:
        self._daemon = daemon
        self._snapshot = snapshot
        self._group = group
        resource = snapshot.vm_resource(group)
        self._vm_id = None if resource is None else resource.vm_id

    async def run(self) -> None:
        """Take it on, or end what is left of it here."""
        machine = self._daemon.machine
        while True:
            instance = await self._adopt()
            try:
                await self._take_on(
                    machine.outgoing_notes.get(self._group), machine.incoming_notes.get(self._group), instance
                )
                break
            except ClusterError:
                await self._daemon.life.sleep(PAUSE)
                await self._read_again()
        self._daemon.owner.recovering.discard(self._group)
        self._daemon.owner.look_again(self._group)

    async def _take_on(
        self, outgoing: OutgoingNote | None, incoming: IncomingNote | None, instance: Instance | None
    ) -> None:
        plan = plan_take_on(
            to_brain(self._snapshot.ownership[self._group]),
            self._daemon.node,
            None if instance is None else instance.image,
            None if outgoing is None else outgoing.journal,
            None if incoming is None else incoming.journal,
        )
        instance = await self._of_image(instance, plan.image)
        if plan.concern is Concern.OUTGOING and outgoing is not None:
            await self._carry_on_outgoing(outgoing, instance)
        elif plan.concern is Concern.INCOMING and incoming is not None:
            await self._carry_on_incoming(incoming, instance)
        elif plan.concern is Concern.OWN:
            self._daemon.machine.outgoing_notes.pop(self._group, None)
            self._daemon.machine.incoming_notes.pop(self._group, None)
            await self._take_back_own(instance)

    async def _of_image(self, instance: Instance | None, image: ImageId | None) -> Instance | None:
        if instance is not None and instance.image != image:
            await self._end(instance)
            return None
        return instance

    async def _end(self, instance: Instance) -> None:
        instance.kill()
        await instance.wait_gone()

    async def _read_again(self) -> None:
        with suppress(ClusterError):  # what was known before holds no less than it did
            self._snapshot = await self._daemon.database.snapshot()

    async def _adopt(self) -> Instance | None:
        """Find the VM's QEMU, however long it is mute."""
        waited = False
        while True:
            found = [qemu for qemu in self._daemon.machine.qemus if qemu.group == self._group]
            if not found:
                break
            if not found[0].is_still:
                break
            waited = True
            await self._daemon.life.sleep(PAUSE)
        if waited:
            await self._read_again()
        return Instance(self._daemon, found[0]) if found else None

    def _held(self, instance: Instance | None) -> Held:
        ownership, run = self._snapshot.ownership[self._group], self._snapshot.run[self._group].value
        held = Held(self._daemon, self._group, self._vm_id, ownership, run, instance)
        self._daemon.owner.own(held)
        return held

    # --- migrations --------------------------------------------------------------------------------------------------

    async def _carry_on_outgoing(self, note: OutgoingNote, instance: Instance | None) -> None:
        found = Found.GONE
        if instance is not None:
            found = await found_outgoing(instance)
        daemon = self._daemon
        held = self._held(instance)
        record = to_brain(self._snapshot.ownership[self._group])
        now = daemon.machine.clock.monotonic()
        step = daemon.world.brains.recover_outgoing(note.journal, record, found, now)
        session = OutgoingSession(held, step.state, None, daemon.migrations._on_outgoing_ended)
        session.on_serving = daemon.migrations.leave
        daemon.migrations.outgoing[self._group] = session
        self._tell(f"source {step.state.phase.value}", found.value)
        if step.state.phase in SERVING:
            daemon.migrations.leave(session)
        session.carry_on(step.effects)

    async def _carry_on_incoming(self, note: IncomingNote, instance: Instance | None) -> None:
        found = FoundIncoming.GONE if instance is None else await found_incoming(instance)
        daemon = self._daemon
        record = to_brain(self._snapshot.ownership[self._group])
        now = daemon.machine.clock.monotonic()
        status = hv.MigrationStatus.NONE
        if instance is not None:
            may_run = found is not FoundIncoming.RECEIVING or note.journal.cont_may_be_out
            status = await migration_status_of(instance, must_say=may_run)
        step = daemon.world.brains.recover_incoming(note.journal, record, found, now)
        stopped = status.is_postcopy and status is not hv.MigrationStatus.POSTCOPY
        if step.state.phase is not Phase.RECEIVING:
            step = Step(replace(step.state, pages_missing=status.is_postcopy, pages_stopped=stopped), step.effects)
        session = IncomingSession(
            daemon, self._group, note.vm_id, step.state, daemon.migrations.on_incoming_ended, instance=instance
        )
        session.on_fetching = daemon.migrations.on_fetching
        daemon.migrations.incoming[note.journal.session] = session
        self._tell(f"destination {step.state.phase.value}", found.value)
        session.carry_on(step.effects)

    def _tell(self, what: str, found: str) -> None:
        world = self._daemon.world
        world.counts.recoveries += 1
        self._daemon.say(Kind.DECISION, f"{world.name_of(self._group)} goes on as {what}, its QEMU is {found}")

    # --- virtual machines that are ours ------------------------------------------------------------------------------

    async def _take_back_own(self, instance: Instance | None) -> None:
        held = self._held(instance)
        entry = self._snapshot.moves.get(self._group)
        waits = entry is not None and entry.value.source == self._daemon.node
        if held.migration_state.is_under_way and not waits:
            sentence = "the daemon was restarted before the migration began"
            await held.write(held.migration_change(MigrationState.FAILURE, E_FAIL, sentence))
        if instance is not None:
            await self._bring_in_line(held, instance)

    async def _bring_in_line(self, held: Held, instance: Instance) -> None:
        """Make what QEMU does and what the run state says agree."""
        state = await run_state_of(instance)
        if state is hv.RunState.SHUTDOWN:
            self._daemon.owner.mark_shut_down_by_guest(self._group)
            held.instance = None
            await self._end(instance)
        elif state is hv.RunState.RUNNING:
            if held.state is not VmState.RUNNING:
                await held.set_saved(VmState.RUNNING, None, None)
        elif held.state in (VmState.SAVED, VmState.OFF) or state is hv.RunState.INMIGRATE:
            held.instance = None
            await self._end(instance)
            await held.set_state(VmState.SAVED if held.vm.saved_image else VmState.OFF)
        elif held.state is not VmState.PAUSED and state is not hv.RunState.UNKNOWN:
            if held.vm.paused:
                await held.set_saved(VmState.PAUSED, None, None)
                return
            if held.vm.saved_image is not None:
                await held.set_saved(held.state, None, None)
            await held.run_on(instance)
            await held.set_saved(VmState.RUNNING, None, None)
