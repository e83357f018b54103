"""Starting, saving, shutting down and turning off one virtual machine of this node.

Every start begins with an answered write of ownership of our own (R1), under one incarnation of a held lease (R2). A
saved image is taken off the record before the guest that was restored from it may run: its disks are newer from then
on, and the image is never resumed again (I5), whatever becomes of this daemon. Who was paused when he was saved is
paused when he is restored, wherever that is.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog

from quorate.clusapi.errors import CallerError, ClusterError, RefusalError
from quorate.clusapi.identity import ImageId
from quorate.clusapi.states import VmState
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.contract import StoreUnavailable
from quorate.database.values import RegistryValue
from quorate.engine.admission import Admission
from quorate.engine.context import EngineContext
from quorate.engine.host_check import check_can_run
from quorate.engine.hosted import HostedVm
from quorate.engine.vcpus import let_run
from quorate.hosting.contract import Report
from quorate.hypervisor import contract as hv
from quorate.hypervisor.definition import VmDefinition
from quorate.hypervisor.definition_json import parse_definition
from quorate.hypervisor.pinned import Pinned

GUEST_SHUTDOWN_TIMEOUT: Final = 120.0
"""Seconds that a guest has for its own shutdown."""
LANDING_PAUSE: Final = 0.5
"""Seconds between two tries to write what everything else waits for."""

_log = structlog.get_logger("vm")


class Power:
    """What is done to a VM whose lock is held."""

    def __init__(
        self, context: EngineContext, watch: Callable[[HostedVm, hv.Instance], None], admission: Admission
    ) -> None:
        """``watch`` is called with every QEMU that is started, ``admission`` is asked before."""
        self._context = context
        self._watch = watch
        self._admission = admission

    # --- starting --------------------------------------------------------------------------------------------------

    async def start(self, vm: HostedVm, report: Report) -> None:
        """Restore the saved image, if there is one, else start from the disks.

        Raises:
            RefusalError: 5957, the node has not the memory; nothing has changed.
            ClusterError: it did not start, with the reason.
        """
        definition, pinned = await self.definition(vm)
        needed = definition.memory_bytes if pinned is None else pinned.memory_bytes
        async with self._admission.admitted(vm.group, vm.name, needed):
            await self._start(vm, definition, pinned, report)

    async def _start(self, vm: HostedVm, definition: VmDefinition, pinned: Pinned | None, report: Report) -> None:
        saved = Path(vm.vm.saved_path) if vm.vm.saved_path and vm.vm.saved_image else None
        image = vm.vm.saved_image if saved is not None and vm.vm.saved_image else self._context.new_image()
        stands = saved is not None and vm.vm.paused
        progress = _Checkpoints(report)
        progress.next(f"starting {vm.name}")
        before = vm.state
        await self._context.guard.wait_live(f"the start of {vm.name}")  # before anything has changed
        incarnation = self._context.lease.incarnation
        await vm.keep(image, "the start", VmState.STARTING, f"starting on {self._context.node_name}")
        try:
            instance = await self._launch(vm, definition, pinned, image, saved, progress)
            vm.check_ours("the start")
            if not stands:
                await let_run(self._context, instance, vm.name, "the start", incarnation, new=True)
        except asyncio.CancelledError:
            await self._on_start_failed(vm, before, image, saved, "the start was ended")
            raise
        except ClusterError as error:
            await self._on_start_failed(vm, before, image, saved, f"did not start: {error.sentence}")
            raise
        if not stands:
            how = "restored" if saved is not None else "started"
            await vm.set_state(VmState.RUNNING, f"{how} on {self._context.node_name}")
        if saved is not None:
            await asyncio.to_thread(_remove, saved)  # to free some GiB takes its time

    async def _launch(
        self,
        vm: HostedVm,
        definition: VmDefinition,
        pinned: Pinned | None,
        image: ImageId,
        saved: Path | None,
        progress: "_Checkpoints",
    ) -> hv.Instance:
        if pinned is None:
            pinned = await self._pin(vm, definition)
        await check_can_run(self._context.hypervisor, definition, pinned)
        request = hv.LaunchRequest(
            vm_id=vm.vm_id,
            name=vm.name,
            image=image,
            definition=definition,
            pinned=pinned,
            paths=self._context.paths.vm,
            launch=hv.Restore(saved) if saved is not None else hv.Fresh(),
        )
        vm.exited = ""
        vm.instance = await self._context.hypervisor.launch(request, progress.moved(f"restoring {vm.name}"))
        self._watch(vm, vm.instance)
        if saved is not None:
            state, sentence = VmState.STARTING, "restored"
            if (
                vm.vm.paused
            ):  # in one write: what is off the record as an image must not be taken for one that is to run
                state, sentence = VmState.PAUSED, f"restored on {self._context.node_name}, and paused as it was"
            await self._land(lambda: vm.set_saved(state, sentence, None, None), progress)
        return vm.instance

    async def _on_start_failed(
        self, vm: HostedVm, before: VmState, image: ImageId, saved: Path | None, sentence: str
    ) -> None:
        ran = vm.instance is not None and not await _stands(vm.instance)
        await self._discard(vm)
        if saved is not None and not ran:
            await vm.set_saved(before, sentence, image, str(saved))
        else:
            await vm.set_state(VmState.OFF if ran else before, sentence)

    async def definition(self, vm: HostedVm) -> tuple[VmDefinition, Pinned | None]:
        """Read a VM's definition, and what was pinned at its first start."""
        parameters = await self._context.database.key_values(await self._configuration(vm), private=True)
        definition = parse_definition(parameters.text("Definition"))
        pinned = parameters.text("Pinned")
        return definition, Pinned.from_json(pinned) if pinned else None

    async def _pin(self, vm: HostedVm, definition: VmDefinition) -> Pinned:
        pinned = await self._context.hypervisor.pin(definition)
        await self._context.database.set_parameters(
            await self._configuration(vm), {"Pinned": RegistryValue.sz(pinned.to_json())}
        )
        return pinned

    async def _configuration(self, vm: HostedVm) -> str:
        """The registry path of a VM's configuration resource; the whole database is read only where it is very new."""
        found = self._context.view.snapshot.vm_configuration(vm.group)
        if found is None:
            found = (await self._context.database.snapshot()).vm_configuration(vm.group)
        if found is None:
            raise CallerError(Status.ERROR_RESOURCE_NOT_FOUND, f"{vm.name} has no configuration resource")
        return keys.resource_path(found.id)

    # --- stopping --------------------------------------------------------------------------------------------------

    async def save(self, vm: HostedVm, instance: hv.Instance, report: Report) -> None:
        """Write the guest's memory to a file and end its QEMU; if that fails the guest goes on."""
        path = self._context.paths.saved_image(vm.vm_id, instance.image)
        was_running = vm.state is VmState.RUNNING
        progress = _Checkpoints(report)
        progress.next(f"saving {vm.name}")
        await vm.set_state(VmState.SAVING, f"saving to {path}")
        try:
            await instance.stop()
            await instance.save(path, progress.moved(f"saving {vm.name}"))
        except ClusterError as error:
            await self._go_on_unsaved(vm, instance, was_running, f"could not be saved: {error.sentence}")
            raise
        # The memory is in the file and in QEMU; neither is given up before the record says which one counts.
        sentence = f"saved on {self._context.node_name}"
        await self._land(lambda: vm.set_saved(VmState.SAVED, sentence, instance.image, str(path)), progress)
        await self._discard(vm)

    async def _go_on_unsaved(self, vm: HostedVm, instance: hv.Instance, was_running: bool, sentence: str) -> None:
        if not was_running:
            await vm.set_state(VmState.PAUSED, sentence)
            return
        try:
            await vm.run_on(instance, "going on after a failed save")
        except ClusterError as error:
            await vm.set_state(VmState.PAUSED, f"{sentence}; it stands until it is resumed: {error.sentence}")
            return
        await vm.set_state(VmState.RUNNING, sentence)

    async def turn_off(self, vm: HostedVm) -> None:
        """End the QEMU now."""
        await self._discard(vm)
        await self._write_off(vm, "turned off")

    async def shut_down(self, vm: HostedVm, instance: hv.Instance, report: Report, *, force: bool) -> None:
        """Press the guest's power button and wait; with ``force`` it is turned off if it does not obey."""
        before = vm.state
        await vm.set_state(VmState.STOPPING, "shutting down")
        progress = _Checkpoints(report)
        obeyed = asyncio.Event()
        unsubscribe = instance.subscribe(
            lambda event: obeyed.set() if isinstance(event, hv.GuestShutdown | hv.Exited) else None
        )
        try:
            await instance.shutdown_guest()
            deadline = self._context.now() + GUEST_SHUTDOWN_TIMEOUT
            while not await _happens(obeyed, 1.0) and self._context.now() < deadline:
                progress.next(f"{vm.name} is shutting down")
        except ClusterError as error:
            await vm.set_state(before, f"did not shut down: {error.sentence}")
            raise
        finally:
            unsubscribe()
        if obeyed.is_set():
            await self._discard(vm)
            await self._write_off(vm, "shut down")
            return
        if force:
            await self.turn_off(vm)
            return
        await vm.set_state(before, "did not shut down in time")
        raise RefusalError(
            Status.ERROR_TIMEOUT,
            f"the guest of {vm.name} did not shut down within {GUEST_SHUTDOWN_TIMEOUT:.0f} s: turn it off, or save it",
        )

    async def _discard(self, vm: HostedVm) -> None:
        if vm.instance is not None:
            instance, vm.instance = vm.instance, None
            instance.kill()
            await instance.wait_gone()

    async def _write_off(self, vm: HostedVm, sentence: str) -> None:
        try:
            await vm.set_state(VmState.OFF, f"{sentence} on {self._context.node_name}")
        except RefusalError as error:
            _log.warning("a virtual machine's state was not written", vm=vm.name, sentence=error.sentence)

    async def _land(self, write: Callable[[], Awaitable[None]], progress: "_Checkpoints") -> None:
        """Repeat a write until the database has answered it; nothing goes on before."""
        while True:
            try:
                await write()
                return
            except StoreUnavailable as error:
                progress.next(f"waiting for the database: {error.sentence}")
                await asyncio.sleep(LANDING_PAUSE)


class _Checkpoints:
    """Numbers the reports: PendingTimeout runs from one to the next."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last = 0

    def next(self, sentence: str) -> None:
        self._last += 1
        self._report(self._last, sentence)

    def moved(self, doing: str) -> Callable[[int], None]:
        """Make the driver's reports ours: each says that it lives, with the bytes that are through."""
        return lambda done: self.next(f"{doing}: {done / 2**20:.0f} MiB")


def _remove(saved: Path) -> None:
    """Remove a saved image that is off the record; one that stays costs room and nothing else."""
    try:
        saved.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("a saved image was not removed", path=str(saved), error=str(error))


async def _happens(event: asyncio.Event, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _stands(instance: hv.Instance) -> bool:
    """Tell whether the vCPUs surely have not run since the start: a `cont` that failed leaves them where they were."""
    try:
        return await instance.run_state() is hv.RunState.PAUSED
    except ClusterError:
        return False
