"""The virtual machines of the groups that this node owns: started, stopped, saved, watched.

What may run is decided by ownership alone: every start begins with an answered write of ownership of our own (R1), and
nothing here ever starts a vCPU without it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import GroupId, NetworkId
from quorate.clusapi.states import MigrationState, OfflineAction, VmState
from quorate.clusapi.status import Status
from quorate.database.contract import StoreUnavailable
from quorate.engine.admission import Admission
from quorate.engine.context import EngineContext
from quorate.engine.group_pictures import VmMemory
from quorate.engine.host_check import check_can_run
from quorate.engine.hosted import HostedVm
from quorate.engine.power import Power
from quorate.engine.supervised import spawn
from quorate.hosting.contract import Report, VmFacts
from quorate.hypervisor import contract as hv

_ALIVE: Final = (hv.RunState.RUNNING, hv.RunState.PAUSED, hv.RunState.SAVING, hv.RunState.POSTMIGRATE)
"""A guest that is in one of these has lost nothing: the last is one that stands after it was sent, and can go on."""

_log = structlog.get_logger("vm")


class VirtualMachines:
    """Implements the protocol of the same name of `hosting`, but for migrations, which `Migrations` adds."""

    def __init__(self, context: EngineContext, memory: int | None = None) -> None:
        """Know no VM until one is taken on; ``memory`` is what the node's configuration gives to VMs, in bytes."""
        self.context = context
        self.admission = Admission(context, memory, self.committed)
        self.on_vm_failed: Callable[[GroupId, str, bool], None] = lambda group, sentence, by_guest: None
        """Called when a VM is gone that we did not stop; the last argument tells whether its guest shut itself down."""
        self._vms: dict[GroupId, HostedVm] = {}
        self.lost_with_lease: set[GroupId] = set()
        """VMs whose QEMU ended when the node's lease had lapsed: the guard has done its duty, they have not failed."""
        self._shut_down_by_guest: set[GroupId] = set()
        self._stopping: set[GroupId] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._memory = VmMemory()
        self.power = Power(context, self.watch, self.admission)

    # --- which VMs there are ---------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End what is done besides: nothing that runs is touched, and no migration."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def all(self) -> tuple[HostedVm, ...]:
        """Every VM of this node."""
        return tuple(self._vms.values())

    def find(self, group: GroupId) -> HostedVm | None:
        """The VM of a group, if this node has it."""
        return self._vms.get(group)

    def get(self, group: GroupId) -> HostedVm:
        """The VM of a group. Raises RefusalError 5016 when this node does not have it."""
        vm = self._vms.get(group)
        if vm is None:
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, "this node does not own the virtual machine")
        return vm

    def committed(self) -> dict[GroupId, int]:
        """Bytes that the VMs with a process here take."""
        snapshot = self.context.view.snapshot
        return {vm.group: self._memory.of(snapshot, vm.group) for vm in self._vms.values() if vm.instance is not None}

    def mark_shut_down_by_guest(self, group: GroupId) -> None:
        """Remember that a guest shut itself down while no daemon was there to see it."""
        self._shut_down_by_guest.add(group)

    def take_on(self, vm: HostedVm) -> None:
        """Have a VM from now on; its QEMU, if it has one, is watched."""
        self._vms[vm.group] = vm
        if vm.instance is not None:
            self.watch(vm, vm.instance)

    def let_go(self, group: GroupId) -> None:
        """Have a VM no more. What became of its QEMU is somebody else's matter."""
        self._vms.pop(group, None)
        self._shut_down_by_guest.discard(group)
        self.lost_with_lease.discard(group)

    # --- VirtualMachines of hosting --------------------------------------------------------------------------------

    async def online(self, group_id: GroupId, report: Report) -> None:
        """Start the VM; a saved image is restored, else it starts from its disks."""
        async with self.hold(group_id) as vm:
            if vm.instance is None:
                await self.power.start(vm, report)

    async def offline(self, group_id: GroupId, action: OfflineAction, report: Report) -> None:
        """Take the VM off as ``action`` says."""
        async with self.hold(group_id) as vm:
            await self.take_off(vm, action, report)

    async def take_off(self, vm: HostedVm, action: OfflineAction, report: Report) -> None:
        """Take a VM off that is held."""
        if vm.instance is None:
            return
        self._stopping.add(vm.group)
        try:
            match action:
                case OfflineAction.SAVE:
                    await self.power.save(vm, vm.instance, report)
                case OfflineAction.TURN_OFF:
                    await self.power.turn_off(vm)
                case _:
                    force = action is OfflineAction.SHUTDOWN_FORCE
                    await self.power.shut_down(vm, vm.instance, report, force=force)
        finally:
            self._stopping.discard(vm.group)

    async def terminate(self, group_id: GroupId) -> None:
        """Turn the VM off now, whatever is being done to it."""
        vm = self._vms.get(group_id)
        if vm is None or vm.instance is None:
            return
        self._stopping.add(group_id)
        try:
            await self.power.turn_off(vm)
        finally:
            self._stopping.discard(group_id)

    @asynccontextmanager
    async def hold(self, group_id: GroupId) -> AsyncIterator[HostedVm]:
        """Have a VM to oneself; a QEMU that ended meanwhile is seen to afterwards."""
        vm = self.get(group_id)
        try:
            async with vm.lock:
                yield vm
        finally:
            if vm.exited and vm.instance is not None and not vm.progress.is_running and vm.group not in self._stopping:
                self.report_lost(vm, vm.exited)

    def looks_alive(self, group_id: GroupId) -> bool:
        """Answer from what is known already."""
        vm = self._vms.get(group_id)
        return vm is not None and vm.instance is not None

    async def is_alive(self, group_id: GroupId) -> bool:
        """Ask the hypervisor."""
        vm = self._vms.get(group_id)
        if vm is None or vm.instance is None:
            return False
        if vm.is_fetching:  # while its guest waits for a page its QEMU answers nobody, and must not be ended for that
            return not vm.instance.is_gone
        try:
            return await vm.instance.run_state() in _ALIVE
        except ClusterError:
            return False

    def facts(self, group_id: GroupId) -> VmFacts:
        """What is known of the VM now."""
        vm = self.get(group_id)
        progress = vm.progress
        under_way = progress.is_running
        return VmFacts(
            vm_state=vm.state,
            migration_state=progress.state if under_way else vm.migration_state,
            migration_progress=progress.percent,
            migration_failure_reason=vm.vm.migration_failure_reason,
            queued=progress.queued,
            sentence=progress.sentence or vm.vm.sentence,
        )

    async def refresh_configuration(self, group_id: GroupId) -> None:
        """Read the VM's definition again and check that this node still has what it asks for."""
        vm = self.get(group_id)
        definition, pinned = await self.power.definition(vm)
        if pinned is not None:
            running_here = vm.instance is not None
            await check_can_run(self.context.hypervisor, definition, pinned, running_here=running_here)

    def networks(self) -> dict[NetworkId, str]:
        """The names of the cluster's networks."""
        return {network.id: network.name for network in self.context.view.snapshot.networks.values()}

    async def pause(self, group_id: GroupId) -> None:
        """Stop the vCPUs; the VM stays online.

        Raises:
            RefusalError: 5023, it does not run, or is being migrated; 5016, this node no longer owns it.
            StoreUnavailable: the database does not answer; it runs on.
            FaultError: QEMU does not answer, and whether it stands is not known: it counts as paused.
        """
        async with self.hold(group_id) as vm:
            instance = self._running(vm, VmState.RUNNING)
            try:  # with it the wish lands, which whoever comes after this daemon goes by
                await vm.land_state(VmState.PAUSING, "pausing")
            except StoreUnavailable as error:
                await vm.set_state(VmState.RUNNING, f"not paused: {error.sentence}")
                raise
            try:
                await instance.stop()
            except ClusterError as error:
                # Whether it stands is not known: as a paused one it can be resumed, whichever it is.
                await vm.set_state(VmState.PAUSED, f"not known to stand: {error.sentence}: resume it")
                raise
            await vm.set_state(VmState.PAUSED, "paused")

    async def resume(self, group_id: GroupId) -> None:
        """Let the vCPUs run again, after a write of ownership of our own (R1)."""
        async with self.hold(group_id) as vm:
            instance = self._running(vm, VmState.PAUSED)
            await vm.set_state(VmState.RESUMING, "resuming")
            try:
                await vm.run_on(instance, "resuming")
            except ClusterError as error:
                await vm.set_state(VmState.PAUSED, f"not resumed: {error.sentence}")
                raise
            await vm.set_state(VmState.RUNNING, "resumed")

    async def set_migration_state_idle(self, group_id: GroupId) -> None:
        """Write MigrationState 0 after 4 or 5."""
        vm = self.get(group_id)
        if vm.progress.is_running or vm.migration_state.is_under_way:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{vm.name} is being migrated: cancel that first")
        if vm.migration_state is MigrationState.NO_MIGRATION:
            return
        await vm.set_migration(MigrationState.NO_MIGRATION, 0, "")
        vm.show(replace(vm.progress, state=MigrationState.NO_MIGRATION, percent=0, failure_reason=0, sentence=""))

    def _running(self, vm: HostedVm, wanted: VmState) -> hv.Instance:
        if vm.instance is None or vm.state is not wanted:
            raise RefusalError(
                Status.ERROR_INVALID_STATE,
                f"{vm.name} is {vm.state.name.lower()}, and must be {wanted.name.lower()} for this",
            )
        if vm.progress.is_running:
            sentence = f"{vm.name} is being migrated: wait for that, or cancel it as long as that can be"
            raise RefusalError(Status.ERROR_INVALID_STATE, sentence)
        return vm.instance

    # --- watching --------------------------------------------------------------------------------------------------

    def watch(self, vm: HostedVm, instance: hv.Instance) -> None:
        """Hear what becomes of a VM's QEMU."""
        vm.incarnation = self.context.lease.incarnation

        instance.subscribe(lambda event: self.on_instance_event(vm, instance, event))

    def on_instance_event(self, vm: HostedVm, instance: hv.Instance, event: hv.InstanceEvent) -> None:
        """Do what follows from what a VM's QEMU has told."""
        match event:
            case hv.GuestShutdown(by_guest=True) if vm.group not in self._stopping:
                # QEMU stays until it is ended, so that a daemon that was away can still tell what happened.
                self._shut_down_by_guest.add(vm.group)
                instance.kill()
            case hv.GuestPanicked():
                _log.warning("the guest has crashed", vm=vm.name)
                instance.kill()
            case hv.Exited(_, sentence) if vm.instance is instance:
                self._on_exited(vm, sentence)
            case _:
                pass

    def _on_exited(self, vm: HostedVm, sentence: str) -> None:
        """The QEMU of a VM of ours is gone; while a migration is under way its brain decides what that means."""
        vm.exited = sentence
        if vm.group in self._stopping or vm.progress.is_running or vm.lock.locked():
            return
        self.report_lost(vm, sentence)

    def report_lost(self, vm: HostedVm, sentence: str) -> None:
        """Write that a VM is off and have its resource fail, or go offline if its guest shut itself down."""
        vm.instance = None
        vm.exited = ""
        if vm.incarnation and not (self.context.lease.is_held and self.context.lease.incarnation == vm.incarnation):
            self.lost_with_lease.add(vm.group)
        by_guest = vm.group in self._shut_down_by_guest
        self._shut_down_by_guest.discard(vm.group)
        what = "the guest shut itself down" if by_guest else f"its QEMU is gone: {sentence}"
        _log.warning("a virtual machine is gone", vm=vm.name, sentence=what)
        spawn(self._tasks, self._write_lost(vm, what, by_guest), f"the loss of {vm.name}")

    async def _write_lost(self, vm: HostedVm, sentence: str, by_guest: bool) -> None:
        event = self.context.event(EventKind.VM_FAILED, vm.group, sentence)
        try:
            await vm.tell(lambda run: run, () if by_guest else (event,))
            await vm.set_state(VmState.OFF, sentence)
        except RefusalError as error:
            _log.warning("a virtual machine's state was not written", vm=vm.name, sentence=error.sentence)
        self.on_vm_failed(vm.group, sentence, by_guest)
