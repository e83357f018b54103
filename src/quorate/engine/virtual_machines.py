"""The virtual machines of the groups that this node owns: started, stopped, saved, watched.

What may run is decided by ownership alone: every start begins with an answered write of ownership of our own (R1), and
nothing here ever starts a vCPU without it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path

import structlog

from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import GroupId, ImageId
from quorate.clusapi.states import MigrationState, OfflineAction, VmState
from quorate.clusapi.status import Status
from quorate.database.contract import StoreUnavailable
from quorate.database.values import RegistryValue
from quorate.engine.context import EngineContext
from quorate.engine.hosted import HostedVm
from quorate.hosting.contract import Report, VmFacts
from quorate.hypervisor import contract as hv
from quorate.hypervisor.definition import VmDefinition
from quorate.hypervisor.definition_json import parse_definition
from quorate.hypervisor.pinned import Pinned

GUEST_SHUTDOWN_TIMEOUT = 120.0
"""Seconds that a guest has for its own shutdown."""

_log = structlog.get_logger("vm")


class VirtualMachines:
    """Implements the protocol of the same name of `hosting`, but for migrations, which `Migrations` adds."""

    def __init__(self, context: EngineContext) -> None:
        """Know no VM until one is taken on."""
        self.context = context
        self.on_vm_failed: Callable[[GroupId, str, bool], None] = lambda group, sentence, by_guest: None
        """Called when a VM is gone that we did not stop; the last argument tells whether its guest shut itself down."""
        self._vms: dict[GroupId, HostedVm] = {}
        self._shut_down_by_guest: set[GroupId] = set()
        self._stopping: set[GroupId] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # --- which VMs there are ---------------------------------------------------------------------------------------

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

    def take_on(self, vm: HostedVm) -> None:
        """Have a VM from now on; its QEMU, if it has one, is watched."""
        self._vms[vm.group] = vm
        if vm.instance is not None:
            self._watch(vm, vm.instance)

    def let_go(self, group: GroupId) -> None:
        """Have a VM no more. What became of its QEMU is somebody else's matter."""
        self._vms.pop(group, None)
        self._shut_down_by_guest.discard(group)

    # --- VirtualMachines of hosting --------------------------------------------------------------------------------

    async def online(self, group_id: GroupId, report: Report) -> None:
        """Start the VM; a saved image is restored, else it starts from its disks."""
        vm = self.get(group_id)
        async with vm.lock:
            if vm.instance is not None:
                return
            saved = Path(vm.vm.saved_path) if vm.vm.saved_path and vm.vm.saved_image else None
            image = vm.vm.saved_image if saved is not None and vm.vm.saved_image else self.context.new_image()
            report(1, f"starting {vm.name}")
            before = vm.state
            await vm.keep(image, "the start")
            await vm.set_state(VmState.STARTING, f"starting on {self.context.node_name}")
            try:
                await self._launch(vm, image, hv.Restore(saved) if saved is not None else hv.Fresh())
                report(2, f"{vm.name} runs")
            except asyncio.CancelledError:
                await self._discard(vm)
                await self._write_off(vm, "the start was ended")
                raise
            except ClusterError as error:
                ran = vm.instance is not None and not await _stands(vm.instance)
                await self._discard(vm)
                sentence = f"did not start: {error.sentence}"
                if saved is None or ran:
                    await vm.set_state(VmState.OFF if ran else before, sentence)
                else:
                    await vm.set_state(before, sentence, saved_image=image, saved_path=str(saved))
                raise
            how = "restored" if saved is not None else "started"
            await vm.set_state(VmState.RUNNING, f"{how} on {self.context.node_name}", saved_image=None, saved_path=None)
            if saved is not None:
                saved.unlink(missing_ok=True)

    async def offline(self, group_id: GroupId, action: OfflineAction, report: Report) -> None:
        """Take the VM off as ``action`` says. A migration that can still be cancelled is cancelled by the caller."""
        vm = self.get(group_id)
        async with vm.lock:
            if vm.instance is None:
                return
            self._stopping.add(group_id)
            try:
                match action:
                    case OfflineAction.SAVE:
                        await self._save(vm, vm.instance, report)
                    case OfflineAction.TURN_OFF:
                        await self._turn_off(vm)
                    case _:
                        await self._shut_down(vm, vm.instance, report, force=action is OfflineAction.SHUTDOWN_FORCE)
            finally:
                self._stopping.discard(group_id)

    async def terminate(self, group_id: GroupId) -> None:
        """Turn the VM off now."""
        vm = self._vms.get(group_id)
        if vm is None or vm.instance is None:
            return
        self._stopping.add(group_id)
        try:
            await self._turn_off(vm)
        finally:
            self._stopping.discard(group_id)

    def looks_alive(self, group_id: GroupId) -> bool:
        """Answer from what is known already."""
        vm = self._vms.get(group_id)
        return vm is not None and vm.instance is not None

    async def is_alive(self, group_id: GroupId) -> bool:
        """Ask the hypervisor."""
        vm = self._vms.get(group_id)
        if vm is None or vm.instance is None:
            return False
        try:
            return await vm.instance.run_state() in (hv.RunState.RUNNING, hv.RunState.PAUSED, hv.RunState.SAVING)
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
        definition, pinned = await self.definition(vm)
        if pinned is not None:
            await self.context.hypervisor.check_can_run(definition, pinned)

    async def pause(self, group_id: GroupId) -> None:
        """Stop the vCPUs; the VM stays online."""
        vm = self.get(group_id)
        async with vm.lock:
            instance = self._running(vm, VmState.RUNNING)
            await vm.set_state(VmState.PAUSING, "pausing")
            await instance.stop()
            await vm.set_state(VmState.PAUSED, "paused")

    async def resume(self, group_id: GroupId) -> None:
        """Let the vCPUs run again, after a write of ownership of our own (R1)."""
        vm = self.get(group_id)
        async with vm.lock:
            instance = self._running(vm, VmState.PAUSED)
            await vm.set_state(VmState.RESUMING, "resuming")
            await vm.keep(instance.image, "resuming")
            await instance.cont()
            await vm.set_state(VmState.RUNNING, "resumed")

    async def set_migration_state_idle(self, group_id: GroupId) -> None:
        """Write MigrationState 0 after 4 or 5."""
        vm = self.get(group_id)
        if vm.progress.is_running or vm.migration_state.is_under_way:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{vm.name} is being migrated: cancel that first")
        if vm.migration_state is MigrationState.NO_MIGRATION:
            return
        await vm.set_migration(MigrationState.NO_MIGRATION, 0, "", queued=False)
        vm.show(replace(vm.progress, state=MigrationState.NO_MIGRATION, percent=0, failure_reason=0, sentence=""))

    # --- starting --------------------------------------------------------------------------------------------------

    async def definition(self, vm: HostedVm) -> tuple[VmDefinition, Pinned | None]:
        """Read a VM's definition, and what was pinned at its first start."""
        configuration = (await self.context.database.snapshot()).vm_configuration(vm.group)
        if configuration is None:
            raise CallerError(Status.ERROR_RESOURCE_NOT_FOUND, f"{vm.name} has no configuration resource")
        definition = parse_definition(configuration.parameters.text("Definition"))
        pinned = configuration.parameters.text("Pinned")
        return definition, Pinned.from_json(pinned) if pinned else None

    async def _launch(self, vm: HostedVm, image: ImageId, launch: hv.Launch) -> None:
        definition, pinned = await self.definition(vm)
        if pinned is None:
            pinned = await self._pin(vm, definition)
        await self.context.hypervisor.check_can_run(definition, pinned)
        request = hv.LaunchRequest(
            vm_id=vm.vm_id,
            name=vm.name,
            image=image,
            definition=definition,
            pinned=pinned,
            paths=self.context.paths.vm,
            launch=launch,
        )
        incarnation = self.context.lease.incarnation
        vm.exited = ""
        vm.instance = await self.context.hypervisor.launch(request)
        self._watch(vm, vm.instance)
        if isinstance(launch, hv.Restore):
            # Once it runs its disks are newer than the saved image, which is never resumed again then (I5), whatever
            # becomes of this daemon.
            await vm.set_state(VmState.STARTING, "restored", saved_image=None, saved_path=None)
        if self.context.lease.incarnation != incarnation:
            raise FaultError(
                Status.ERROR_CLUSTER_NODE_NOT_MEMBER,
                "the node's lease ran out while the virtual machine was being started: not run (R2)",
            )
        await vm.instance.cont()

    async def _pin(self, vm: HostedVm, definition: VmDefinition) -> Pinned:
        pinned = await self.context.hypervisor.pin(definition)
        configuration = (await self.context.database.snapshot()).vm_configuration(vm.group)
        assert configuration is not None, "read a moment ago"
        await self.context.database.set_values(
            f"Resources\\{configuration.id}\\Parameters", {"Pinned": RegistryValue.sz(pinned.to_json())}
        )
        return pinned

    async def _discard(self, vm: HostedVm) -> None:
        if vm.instance is not None:
            instance, vm.instance = vm.instance, None
            instance.kill()
            await instance.wait_gone()

    # --- stopping --------------------------------------------------------------------------------------------------

    async def _save(self, vm: HostedVm, instance: hv.Instance, report: Report) -> None:
        path = self.context.paths.saved_image(vm.vm_id, instance.image)
        was_running = vm.state is VmState.RUNNING
        await vm.set_state(VmState.SAVING, f"saving to {path}")
        report(1, f"saving {vm.name}")
        try:
            await instance.stop()
            await instance.save(path)
        except ClusterError as error:
            path.unlink(missing_ok=True)
            if was_running:
                await vm.keep(instance.image, "going on after a failed save")
                await instance.cont()
            await vm.set_state(
                VmState.RUNNING if was_running else VmState.PAUSED, f"could not be saved: {error.sentence}"
            )
            raise
        await vm.set_state(
            VmState.SAVED, f"saved on {self.context.node_name}", saved_image=instance.image, saved_path=str(path)
        )
        await self._discard(vm)

    async def _turn_off(self, vm: HostedVm) -> None:
        await self._discard(vm)
        await self._write_off(vm, "turned off")

    async def _shut_down(self, vm: HostedVm, instance: hv.Instance, report: Report, *, force: bool) -> None:
        before = vm.state
        await vm.set_state(VmState.STOPPING, "shutting down")
        obeyed = asyncio.Event()
        unsubscribe = instance.subscribe(
            lambda event: obeyed.set() if isinstance(event, hv.GuestShutdown | hv.Exited) else None
        )
        try:
            await instance.shutdown_guest()
            for second in range(int(GUEST_SHUTDOWN_TIMEOUT)):
                try:
                    async with asyncio.timeout(1.0):
                        await obeyed.wait()
                    break
                except TimeoutError:
                    report(second + 1, f"{vm.name} is shutting down")
        finally:
            unsubscribe()
        if obeyed.is_set():
            await self._discard(vm)
            await self._write_off(vm, "shut down")
            return
        if force:
            await self._turn_off(vm)
            return
        await vm.set_state(before, "did not shut down in time")
        raise RefusalError(
            Status.ERROR_TIMEOUT,
            f"the guest of {vm.name} did not shut down within {GUEST_SHUTDOWN_TIMEOUT:.0f} s: turn it off, or save it",
        )

    async def _write_off(self, vm: HostedVm, sentence: str) -> None:
        try:
            await vm.set_state(VmState.OFF, f"{sentence} on {self.context.node_name}")
        except (RefusalError, StoreUnavailable) as error:
            _log.warning("a virtual machine's state was not written", vm=vm.name, sentence=error.sentence)

    def _running(self, vm: HostedVm, wanted: VmState) -> hv.Instance:
        if vm.instance is None or vm.state is not wanted:
            raise RefusalError(
                Status.ERROR_INVALID_STATE,
                f"{vm.name} is {vm.state.name.lower()}, and must be {wanted.name.lower()} for this",
            )
        if vm.progress.is_running:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{vm.name} is being migrated: cancel that first")
        return vm.instance

    # --- watching --------------------------------------------------------------------------------------------------

    def _watch(self, vm: HostedVm, instance: hv.Instance) -> None:
        def on_event(event: hv.InstanceEvent) -> None:
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

        instance.subscribe(on_event)

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
        by_guest = vm.group in self._shut_down_by_guest
        self._shut_down_by_guest.discard(vm.group)
        what = "the guest shut itself down" if by_guest else f"its QEMU is gone: {sentence}"
        _log.warning("a virtual machine is gone", vm=vm.name, sentence=what)
        self._spawn(self._write_lost(vm, what, by_guest))

    async def _write_lost(self, vm: HostedVm, sentence: str, by_guest: bool) -> None:
        event = self.context.event(EventKind.VM_FAILED, vm.group, sentence)
        try:
            await vm.write(lambda run: run, () if by_guest else (event,))
            await vm.set_state(VmState.OFF, sentence)
        except (RefusalError, StoreUnavailable) as error:
            _log.warning("a virtual machine's state was not written", vm=vm.name, sentence=error.sentence)
        self.on_vm_failed(vm.group, sentence, by_guest)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _stands(instance: hv.Instance) -> bool:
    """Tell whether the vCPUs surely have not run since the start: a `cont` that failed leaves them where they were."""
    try:
        return await instance.run_state() is hv.RunState.PAUSED
    except ClusterError:
        return False
