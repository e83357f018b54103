"""One living QEMU, as the contract has it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import FaultError, RefusalError
from quorate.clusapi.identity import ImageId, VmId
from quorate.clusapi.status import Status
from quorate.hypervisor.contract import (
    Exited,
    HypervisorGone,
    InstanceEvent,
    MigrationChanged,
    MigrationParameters,
    MigrationSample,
    MigrationStatus,
    Mute,
    PassStarted,
    RunState,
    Speaking,
    VmPaths,
)
from quorate.hypervisor.qemu import migration
from quorate.hypervisor.qemu.events import run_state, translate
from quorate.hypervisor.qemu.files import remove_files, sync_into_place, tail
from quorate.hypervisor.qemu.monitor import Monitor
from quorate.hypervisor.qemu.process import ProcessHandle, RunFile
from quorate.hypervisor.subscribers import Subscribers

_POLL: Final = 0.01
_SILENT_TRANSFER: Final = 10.0  # a file that has not grown for so long will not
_ANNOUNCE: Final = {"initial": 50, "max": 550, "rounds": 5, "step": 100}  # milliseconds


class QemuInstance:
    """Implements :class:`quorate.hypervisor.contract.Instance`."""

    def __init__(self, run_file: RunFile, paths: VmPaths, process: ProcessHandle) -> None:
        self._run_file = run_file
        self._vm_id = VmId(run_file.vm_id)
        self._paths = paths
        self._process = process
        self._subscribers = Subscribers()
        self._rates = migration.Rates()
        self._loaded = False
        self._finished = asyncio.Event()
        self._finishing: asyncio.Task[None] | None = None
        socket = Path(run_file.control_socket)
        self._monitor = Monitor(self._vm_id, socket, process, self._on_event, self._on_speech)
        process.watch(self._on_exit)

    async def connect(self, deadline: float) -> None:
        """Take up the control connection; done once, by the driver."""
        await self._monitor.connect(deadline)

    @property
    def vm_id(self) -> VmId:
        """The VM's id."""
        return self._vm_id

    @property
    def image(self) -> ImageId:
        """The id of the memory image it holds."""
        return ImageId(self._run_file.image)

    @property
    def pid(self) -> int:
        """The process id of QEMU."""
        return self._process.pid

    @property
    def started_at(self) -> float:
        """Seconds since the epoch at which QEMU was started."""
        return self._run_file.started_at

    @property
    def command_line(self) -> tuple[str, ...]:
        """The arguments that QEMU was started with."""
        return self._run_file.argv

    # --- the guest ---

    async def run_state(self) -> RunState:
        """Ask whether the vCPUs run."""
        answer = await self._monitor.execute("query-status")
        return run_state(answer.get("status") if isinstance(answer, Mapping) else None)

    async def cont(self) -> None:
        """Start the vCPUs; refused while the image is still to come, which QEMU would take as "run when loaded"."""
        if self._run_file.incoming and not self._loaded and await self.run_state() is RunState.INMIGRATE:
            raise RefusalError(Status.ERROR_INVALID_STATE, "the memory image has not been loaded yet")
        await self._monitor.execute("cont")

    async def stop(self) -> None:
        """Stop the vCPUs; QEMU answers when they stand."""
        await self._monitor.execute("stop")

    async def shutdown_guest(self) -> None:
        """Press the power button."""
        await self._monitor.execute("system_powerdown")

    async def reset(self) -> None:
        """Press the reset button."""
        await self._monitor.execute("system_reset")

    async def announce(self) -> None:
        """Have the network cards announce their addresses."""
        await self._monitor.execute("announce-self", _ANNOUNCE)

    # --- the process ---

    async def quit(self, timeout: float) -> None:
        """End QEMU, after ``timeout`` by force."""
        try:
            async with asyncio.timeout(timeout):
                with suppress(HypervisorGone):
                    await self._monitor.execute("quit", deadline=timeout)
                await self._finished.wait()
        except (TimeoutError, FaultError):
            self.kill()
        await self._finished.wait()

    def kill(self) -> None:
        """SIGKILL by pidfd."""
        self._process.kill()

    async def wait_gone(self) -> None:
        """Wait until QEMU has ended and its files are gone."""
        await self._finished.wait()

    async def release(self) -> None:
        """Let go of QEMU; it goes on."""
        if self._finishing is not None:
            await self._finished.wait()
            return
        self._subscribers.clear()
        self._process.close()
        await self._monitor.close()
        self._finished.set()

    # --- memory images ---

    async def save(self, path: Path) -> None:
        """Write the image to a file beside ``path``, make it durable, and only then give it its name."""
        state = await self.run_state()
        if state not in (RunState.PAUSED, RunState.POSTMIGRATE):
            raise RefusalError(Status.ERROR_INVALID_STATE, f"only a stopped guest can be saved; it is {state.value}")
        partial = path.with_name(path.name + ".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            await self._prepare(migration.file_capabilities(self._monitor.version), MigrationParameters())
            uri = await self._file_uri(partial, descriptor)
            await self._monitor.execute("migrate", {"uri": uri})
            await self._wait_transfer()
            await asyncio.to_thread(sync_into_place, descriptor, partial, path)
        finally:
            os.close(descriptor)
            partial.unlink(missing_ok=True)

    async def load(self, path: Path) -> None:
        """Take in the image of a file (the driver calls it while launching); the guest stays stopped."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise FaultError(Status.ERROR_FILE_NOT_FOUND, f"the saved image cannot be read: {error}") from error
        try:
            await self._prepare(migration.file_capabilities(self._monitor.version), MigrationParameters())
            await self._monitor.execute("migrate-incoming", {"uri": await self._file_uri(path, descriptor)})
            await self._wait_transfer()
        finally:
            os.close(descriptor)

    async def listen(self, parameters: MigrationParameters) -> str:
        """Begin to wait for the source."""
        default = self._paths.migration_socket(self._vm_id)
        uri = migration.listen_uri(parameters, default)
        (parameters.unix_socket or default).unlink(missing_ok=True)
        await self._prepare(migration.destination_capabilities(parameters), parameters)
        await self._monitor.execute("migrate-incoming", {"uri": uri})
        self._monitor.set_busy(True)
        return migration.bound_uri(uri, await self._monitor.execute("query-migrate"))

    async def migrate(self, uri: str, parameters: MigrationParameters) -> None:
        """Begin to send the image."""
        address = migration.check_uri(uri)
        self._rates = migration.Rates()
        await self._prepare(migration.source_capabilities(parameters, self._monitor.version), parameters)
        await self._monitor.execute("migrate", {"uri": address})
        self._monitor.set_busy(True)

    async def migrate_cancel(self) -> None:
        """Give the transfer up."""
        await self._monitor.execute("migrate_cancel")

    async def migration(self) -> MigrationSample:
        """Look at the transfer."""
        answer = await self._monitor.execute("query-migrate")
        return migration.sample_from(answer, self._rates, time.monotonic())

    async def _prepare(self, capabilities: Mapping[str, object], parameters: MigrationParameters) -> None:
        await self._monitor.execute("migrate-set-capabilities", capabilities)
        await self._monitor.execute("migrate-set-parameters", migration.transfer_parameters(parameters))

    async def _file_uri(self, path: Path, descriptor: int) -> str:
        if migration.has_file_uri(self._monitor.version):
            return f"file:{path}"
        await self._monitor.pass_file("image", descriptor)
        return "fd:image"

    async def _wait_transfer(self) -> None:
        """Wait for the end of a transfer to or from a file; raises FaultError if it failed or does not move."""
        seen, since = -1, time.monotonic()
        while True:
            sample = await self.migration()
            if sample.status is MigrationStatus.COMPLETED:
                return
            if sample.status.is_final:
                reason = sample.sentence or f"QEMU said {sample.status.value}"
                raise FaultError(Status.ERROR_GEN_FAILURE, f"the memory image was not transferred: {reason}")
            if sample.transferred != seen:
                seen, since = sample.transferred, time.monotonic()
            elif sample.total and time.monotonic() - since > _SILENT_TRANSFER:
                await self.migrate_cancel()
                raise FaultError(Status.ERROR_TIMEOUT, f"the memory image stood still for {_SILENT_TRANSFER:g} s")
            await asyncio.sleep(_POLL)

    # --- events ---

    def subscribe(self, callback: Callable[[InstanceEvent], None]) -> Callable[[], None]:
        """Have ``callback`` called with each event from now on."""
        return self._subscribers.add(callback)

    async def _on_event(self, name: str, data: Mapping[str, object]) -> None:
        event = translate(name, data)
        match event:
            case None:
                return
            case PassStarted(number):
                self._rates.pass_started(number, time.monotonic())
            case MigrationChanged(status):
                self._monitor.set_busy(not status.is_final)
                self._loaded |= status is MigrationStatus.COMPLETED
                if status is MigrationStatus.FAILED:
                    event = replace(event, sentence=await self._why_failed())
        self._subscribers.publish(event)

    async def _why_failed(self) -> str:
        with suppress(FaultError):
            answer = await self._monitor.execute("query-migrate", deadline=1.0)
            if isinstance(answer, Mapping) and answer.get("error-desc"):
                return str(answer["error-desc"])
        return "QEMU gave no reason"

    def _on_speech(self, speaking: bool, since: float) -> None:
        self._subscribers.publish(Speaking() if speaking else Mute(since))

    def _on_exit(self, code: int | None) -> None:
        self._finishing = asyncio.create_task(self._finish(code), name=f"qemu-finish-{self._vm_id}")

    async def _finish(self, code: int | None) -> None:
        """The process has ended: hand on what it said last, tidy up, tell."""
        await self._monitor.drain(1.0)
        await self._monitor.close()
        last_words = tail(self._paths.process_log(self._vm_id))
        remove_files(self._paths, self._vm_id)
        self._finished.set()
        self._subscribers.publish(Exited(code, _obituary(code, last_words)))
        self._subscribers.clear()


def _obituary(code: int | None, last_words: str) -> str:
    how = "has ended" if code is None else f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"QEMU {how}" + (f": {last_words}" if last_words else "")
