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
    MemorySight,
    MigrationChanged,
    MigrationParameters,
    MigrationSample,
    MigrationStatus,
    MigrationTls,
    Mute,
    PassStarted,
    ProcessSight,
    Progress,
    RunState,
    Speaking,
    VmPaths,
)
from quorate.hypervisor.qemu import migration
from quorate.hypervisor.qemu.connections import break_connections
from quorate.hypervisor.qemu.encryption import (
    ADMITTED,
    CREDENTIALS,
    Endpoint,
    admission,
    credentials,
    directory_of_certificates,
    encryption_parameters,
)
from quorate.hypervisor.qemu.events import run_state, translate
from quorate.hypervisor.qemu.files import remove_files, tail
from quorate.hypervisor.qemu.host import free_port
from quorate.hypervisor.qemu.image_file import Reading, see_through
from quorate.hypervisor.qemu.memory_sight import (
    LEAST_SAMPLED,
    dirty_rate_arguments,
    memory_in_use,
    page_marks,
    seconds_measured,
    thread_seconds,
    written_at_rate,
    written_between,
)
from quorate.hypervisor.qemu.monitor import Monitor
from quorate.hypervisor.qemu.process import ProcessHandle, RunFile, owner_of
from quorate.hypervisor.qemu.tap_ear import heard_by, taps_of
from quorate.hypervisor.subscribers import Subscribers
from quorate.hypervisor.whole_files import file_faults, partial_file, sync_into_place

_POLL: Final = 0.01
_SILENT_TRANSFER: Final = 10.0  # a file that has not grown for so long will not
_LATE_MEASUREMENT: Final = 2.0  # so much longer than asked for may a measurement of the dirty rate take
_BETWEEN_ANSWERS: Final = 60.0  # QEMU answers once in 128 MiB while it loads
_GREETING: Final = 3.0  # one that greets later may wait for the other end of a connection, and hear nothing
_CANCEL_ANSWER: Final = 0.1  # a QEMU whose main loop turns answers within a millisecond
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
        self._is_stopped = False  # by us, since the transfer began
        self._waits_for_us = False  # all is sent but what a running guest would change
        self._told = MigrationStatus.NONE  # by the last event
        self._is_post_copy = False  # told to switch: what it waits for at the end is `enter_postcopy`
        self._switching: asyncio.Task[None] | None = None
        self._finished = asyncio.Event()
        self._finishing: asyncio.Task[None] | None = None
        socket = Path(run_file.control_socket)
        self._monitor = Monitor(self._vm_id, socket, process, self._on_event, self._on_speech)
        process.watch(self._on_exit)

    async def connect(self, deadline: float) -> None:
        """Take up the control connection; done once, by the driver."""
        connecting = asyncio.ensure_future(self._monitor.connect(deadline))
        try:
            await asyncio.wait((connecting,), timeout=_GREETING)
            if not connecting.done():
                await self._break_connections()
            await connecting
        finally:
            connecting.cancel()

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
    def is_gone(self) -> bool:
        """Tell whether QEMU has ended."""
        return self._process.is_gone

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
        """Stop the vCPUs for good; what is left of a transfer is sent from then on.

        A QEMU before 8.1 may just be ending the transfer by itself: if it fails at that, it runs the guest again.
        """
        # QEMU answers in order. Asked later, it would answer when the rest is sent, and ownership would wait for that.
        _, state = await asyncio.gather(self._monitor.execute("stop"), self.run_state())
        while state is RunState.SAVING and not migration.is_stopped_by_us_alone(self._monitor.version):
            await asyncio.sleep(_POLL)
            state = await self.run_state()
        if state.vcpus_run:
            raise FaultError(Status.ERROR_INVALID_STATE, "QEMU let the guest run again after it was stopped")
        self._is_stopped = True
        self._switch_over_if_ready()

    async def shutdown_guest(self) -> None:
        """Press the power button."""
        await self._monitor.execute("system_powerdown")

    async def reset(self) -> None:
        """Press the reset button."""
        await self._monitor.execute("system_reset")

    async def sight(self) -> ProcessSight:
        """Ask for what the first vCPU lacks of its model, and what blocks a migration; neither makes the guest wait."""
        cpus, transfer = await asyncio.gather(
            self._monitor.execute("query-cpus-fast"), self._monitor.execute("query-migrate")
        )
        withheld: object = []
        if isinstance(cpus, list) and cpus and isinstance(cpus[0], Mapping):
            asked = {"path": cpus[0].get("qom-path"), "property": "unavailable-features"}
            with suppress(FaultError):  # a QEMU that does not know the property withholds nothing that it tells of
                withheld = await self._monitor.execute("qom-get", asked)
        blocked = transfer.get("blocked-reasons", []) if isinstance(transfer, Mapping) else []
        return ProcessSight(self._monitor.version, frozenset(_texts(withheld)), tuple(_texts(blocked)))

    async def memory_in_use(self) -> MemorySight:
        """Look at a sample of the memory."""
        size = await self._memory_bytes()
        return await asyncio.to_thread(memory_in_use, self.pid, size)

    async def memory_written(self, seconds: float) -> MemorySight:
        """Have QEMU measure how fast the guest writes; a guest that is too small for QEMU is watched from here."""
        size = await self._memory_bytes()
        if size < LEAST_SAMPLED:
            return await self._watch_memory(size, seconds)
        version = self._monitor.version
        await self._monitor.execute("calc-dirty-rate", dirty_rate_arguments(seconds, version))
        watched = seconds_measured(seconds, version)
        deadline = time.monotonic() + watched + _LATE_MEASUREMENT
        while time.monotonic() < deadline:
            answer = await self._monitor.execute("query-dirty-rate")
            if isinstance(answer, Mapping) and answer.get("status") == "measured":
                rate = answer.get("dirty-rate")
                return MemorySight(
                    seconds=watched, written=written_at_rate(rate if isinstance(rate, int) else 0, watched)
                )
            await asyncio.sleep(_POLL)
        return MemorySight(trouble="QEMU does not come to an end with measuring")

    async def _watch_memory(self, size: int, seconds: float) -> MemorySight:
        try:
            began, before = time.monotonic(), await asyncio.to_thread(page_marks, self.pid, size)
            await asyncio.sleep(seconds)
            ended, after = time.monotonic(), await asyncio.to_thread(page_marks, self.pid, size)
        except OSError as error:
            return MemorySight(trouble=f"its process cannot be looked into: {error.strerror or error}")
        return written_between(before, after, size, ended - began)

    async def vcpu_seconds(self) -> float:
        """Tell what the threads of the vCPUs have used."""
        answer = await self._monitor.execute("query-cpus-fast")
        threads = (
            [cpu.get("thread-id") for cpu in answer if isinstance(cpu, Mapping)] if isinstance(answer, list) else []
        )
        return thread_seconds(self.pid, [thread for thread in threads if isinstance(thread, int)])

    async def _memory_bytes(self) -> int:
        answer = await self._monitor.execute("query-memory-size-summary")
        size = answer.get("base-memory") if isinstance(answer, Mapping) else None
        return size if isinstance(size, int) else 0

    async def announce(self) -> None:
        """Have the network cards announce their addresses."""
        await self._monitor.execute("announce-self", _ANNOUNCE)

    async def heard(self, addresses: frozenset[str], seconds: float) -> frozenset[str] | None:
        """Listen at QEMU's taps."""
        if self._process.is_gone:
            raise HypervisorGone(self._vm_id, "its QEMU is gone")
        return await heard_by(taps_of(self.pid), addresses, seconds)

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
        self._subscribers.clear()
        if self._finishing is not None:
            await self._finished.wait()
            self._subscribers.clear()
            return
        self._process.close()
        await self._monitor.close()
        self._finished.set()

    # --- memory images ---

    async def save(self, path: Path, report: Progress | None = None) -> None:
        """Write the image to a file beside ``path``, make it durable, and only then give it its name."""
        state = await self.run_state()
        if state not in (RunState.PAUSED, RunState.POSTMIGRATE):
            raise RefusalError(Status.ERROR_INVALID_STATE, f"only a stopped guest can be saved; it is {state.value}")
        with file_faults(f"the memory image {path} could not be written"), partial_file(path) as (partial, descriptor):

            def written() -> int:
                return os.fstat(descriptor).st_size

            try:
                await self._prepare(migration.file_capabilities(self._monitor.version), MigrationParameters())
                await self._monitor.execute("migrate", {"uri": await self._file_uri(partial, descriptor)})
                await see_through(self._end_of_transfer(path), written, report, _SILENT_TRANSFER)
                await see_through(asyncio.to_thread(sync_into_place, descriptor, partial, path), written, report)
            except BaseException:
                with suppress(FaultError):  # a transfer that went on would stop the guest again at its end
                    await self.migrate_cancel()
                raise
            if report is not None:
                report(written())

    async def load(self, path: Path, report: Progress | None) -> None:
        """Take in the image of a file (the driver calls it while launching); the guest stays stopped."""
        with file_faults(f"the saved image {path} cannot be read"):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                await self._prepare(migration.file_capabilities(self._monitor.version), MigrationParameters())
                await self._monitor.execute("migrate-incoming", {"uri": await self._file_uri(path, descriptor)})
                await see_through(self._end_of_transfer(path), Reading(self.pid, descriptor).bytes_read, report)
                if report is not None:
                    report(os.fstat(descriptor).st_size)
            finally:
                os.close(descriptor)

    async def listen(self, parameters: MigrationParameters) -> str:
        """Begin to wait for the source."""
        default = self._paths.migration_socket(self._vm_id)
        uri = migration.listen_uri(parameters, default)
        if parameters.tcp_host is None:
            with file_faults(f"nobody can be let listen at {uri}"):
                (parameters.unix_socket or default).unlink(missing_ok=True)
        capabilities = migration.destination_capabilities(parameters)
        await self._prepare(capabilities, parameters, Endpoint.DESTINATION)
        await self._monitor.execute("migrate-incoming", {"uri": uri})
        self._monitor.set_busy(True)
        return migration.bound_uri(uri, await self._monitor.execute("query-migrate"))

    async def migrate(self, uri: str, parameters: MigrationParameters) -> None:
        """Begin to send the image."""
        address = migration.check_uri(uri)
        self._rates = migration.Rates()
        if parameters.post_copy and not migration.is_stopped_by_us_alone(self._monitor.version):
            raise RefusalError(Status.ERROR_NOT_SUPPORTED, "post-copy needs QEMU 8.1, as an older one stops the guest")
        capabilities = migration.source_capabilities(parameters, self._monitor.version)
        await self._prepare(capabilities, parameters, Endpoint.SOURCE)
        if parameters.may_throttle:
            await self.throttle(0)
        self._is_stopped = self._is_post_copy = False
        self._note_address(address)
        await self._monitor.execute("migrate", {"uri": address})
        self._monitor.set_busy(True)

    def _switch_over_if_ready(self) -> None:
        """Let QEMU send the rest, once the vCPUs have been stopped for good and it waits for that."""
        if self._is_stopped and self._waits_for_us and not self._is_post_copy:
            self._waits_for_us = False
            self._switching = asyncio.create_task(self._switch_over(), name=f"qemu-switch-over-{self._vm_id}")

    async def _switch_over(self) -> None:
        with suppress(FaultError):  # cancelled or gone meanwhile: its own events say so
            await self._monitor.execute("migrate-continue", {"state": "pre-switchover"})

    async def take_up(self) -> None:
        """Go on where an earlier daemon left off: it may have ended between `stop` and the rest of the transfer."""
        self._is_stopped = not (await self.run_state()).vcpus_run
        sample = await self.migration()
        self._told = sample.status
        self._waits_for_us = sample.status is MigrationStatus.PRE_SWITCHOVER
        # Whether it was told to switch to post-copy cannot be asked. If it may have been, only the brain lets it go on:
        # now, or when it comes to wait.
        self._is_post_copy = sample.status.is_postcopy or await self._may_postcopy()
        self._switch_over_if_ready()

    async def _may_postcopy(self) -> bool:
        answer = await self._monitor.execute("query-migrate-capabilities")
        states = answer if isinstance(answer, list) else []
        return any(one == {"capability": "postcopy-ram", "state": True} for one in states)

    async def begin_postcopy(self) -> None:
        """Let the transfer switch when the guest stands."""
        self._is_post_copy = True  # also where its answer does not come
        await self._monitor.execute("migrate-start-postcopy")

    async def enter_postcopy(self) -> None:
        """Send the devices' state."""
        await self._monitor.execute("migrate-continue", {"state": "pre-switchover"})

    async def pause_postcopy(self) -> None:
        """Give the connection up."""
        if self._has_broken():
            await self._break_connections()  # before 9.1, QEMU does not tell of one that is just being made anew
            return
        try:
            await self._monitor.execute("migrate-pause", oob=True)
        except FaultError:
            await self._break_connections()  # one that is being made anew: QEMU does not take it for under way yet
            await asyncio.sleep(_POLL)  # the news that it broke by itself may be just behind
            if not self._has_broken():
                raise

    def _has_broken(self) -> bool:
        return self._told is MigrationStatus.POSTCOPY_PAUSED

    async def listen_again(self, parameters: MigrationParameters) -> str:
        """Wait for the source of a paused post-copy, at a port of our choice: which one is bound could not be asked."""
        default = self._paths.migration_socket(self._vm_id)
        with file_faults("nobody can be let listen for the rest of a guest"):
            if parameters.tcp_host is None:
                (parameters.unix_socket or default).unlink(missing_ok=True)
            else:
                parameters = replace(parameters, tcp_port=parameters.tcp_port or free_port(parameters.tcp_host))
        uri = migration.listen_uri(parameters, default)
        await self._monitor.execute("migrate-recover", {"uri": uri}, oob=True)
        return uri

    async def migrate_again(self, uri: str) -> None:
        """Go on over a new connection."""
        self._note_address(migration.check_uri(uri))
        await self._monitor.execute("migrate", {"uri": uri, "resume": True})

    def _note_address(self, address: str) -> None:
        """Note where memory is sent to, for the next daemon too: it may find a QEMU that only waits for that."""
        self._run_file = replace(self._run_file, sends_to=address)
        with file_faults("it cannot be noted where memory is sent to"):
            self._run_file.write(self._paths.run_file(self._vm_id))

    async def migrate_cancel(self) -> None:
        """Give the transfer up, also one over a link that takes nothing any more.

        QEMU breaks the first channel only; a thread that waits for another one to take its bytes waits for as long as
        TCP tries, a quarter of an hour. If that is the last of the memory, it waits under QEMU's big lock: no command
        is answered, `cont` neither. `yank` breaks every channel, and is heard all the same. What it does not know of,
        as the handshake is not over yet, is broken from here.
        """
        if self._told.is_postcopy:
            sentence = "post-copy is under way: nothing can take it back"
            raise FaultError(Status.ERROR_INVALID_STATE, sentence)
        cancelling = asyncio.ensure_future(self._monitor.execute("migrate_cancel"))
        try:
            await asyncio.wait((cancelling,), timeout=_CANCEL_ANSWER)
            with suppress(FaultError):  # it is over already: there is nothing to break
                await self._monitor.execute("yank", {"instances": [{"type": "migration"}]}, oob=True)
            await asyncio.wait((cancelling,), timeout=_CANCEL_ANSWER)
            if not cancelling.done():
                await self._break_connections()
            await cancelling
        finally:
            cancelling.cancel()

    async def _break_connections(self) -> None:
        """Wake a QEMU that waits for the other end and hears nothing; raises FaultError."""
        address = migration.tcp_address(self._run_file.sends_to)
        if address is not None:
            with file_faults("the connections of QEMU to the destination cannot be broken"):
                await asyncio.to_thread(break_connections, self.pid, *address)

    async def throttle(self, percent: int) -> None:
        """Set what QEMU shall throttle to when it next may."""
        await self._monitor.execute("migrate-set-parameters", migration.throttle_parameters(percent))

    async def migration(self) -> MigrationSample:
        """Look at the transfer."""
        answer = await self._monitor.execute("query-migrate")
        return migration.sample_from(answer, self._rates, time.monotonic())

    async def _prepare(
        self, capabilities: Mapping[str, object], parameters: MigrationParameters, endpoint: Endpoint | None = None
    ) -> None:
        if parameters.tls is not None and endpoint is not None:
            await self._show(parameters.tls, endpoint)
        await self._monitor.execute("migrate-set-capabilities", capabilities)
        encryption = encryption_parameters(parameters.tls, endpoint)
        await self._monitor.execute(
            "migrate-set-parameters", {**migration.transfer_parameters(parameters), **encryption}
        )

    async def _show(self, tls: MigrationTls, endpoint: Endpoint) -> None:
        """Give QEMU what it shows to the other end, as it is now, and whom it lets in. Raises FaultError."""
        for name in (CREDENTIALS, ADMITTED):
            with suppress(FaultError):  # there is none, as a rule
                await self._monitor.execute("object-del", {"id": name})
        place, owner = self._paths.migration_certificates(self._vm_id), owner_of(self.pid)
        with (
            file_faults("the certificates for the migration cannot be had"),
            directory_of_certificates(place, tls, owner) as directory,
        ):
            await self._monitor.execute("object-add", credentials(directory, endpoint))
        if endpoint is Endpoint.DESTINATION:
            await self._monitor.execute("object-add", admission(tls))

    async def _file_uri(self, path: Path, descriptor: int) -> str:
        if migration.has_file_uri(self._monitor.version):
            return f"file:{path}"
        await self._monitor.pass_file("image", descriptor)
        return "fd:image"

    async def _end_of_transfer(self, path: Path) -> None:
        """Wait for the end of a transfer to or from the file; raises FaultError if it failed."""
        while True:
            answer = await self._monitor.execute("query-migrate", deadline=_BETWEEN_ANSWERS)
            sample = migration.sample_from(answer, self._rates, time.monotonic())
            if sample.status is MigrationStatus.COMPLETED:
                return
            if sample.status.is_final:
                reason = sample.sentence or f"QEMU said {sample.status.value}"
                raise FaultError(Status.ERROR_GEN_FAILURE, f"the memory image {path} was not transferred: {reason}")
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
                self._told = status
                if status.is_final:
                    self._run_file = replace(self._run_file, sends_to="")
                self._monitor.set_busy(not status.is_final)
                self._waits_for_us = status is MigrationStatus.PRE_SWITCHOVER
                self._switch_over_if_ready()
                if status is MigrationStatus.POSTCOPY and self._run_file.incoming and not self._loaded:
                    await self._until_it_can_run()
                self._loaded |= status in (MigrationStatus.COMPLETED, MigrationStatus.POSTCOPY)
                if status is MigrationStatus.FAILED:
                    event = replace(event, sentence=await self._why_failed())
        self._subscribers.publish(event)

    async def _until_it_can_run(self) -> None:
        """It says that it is in post-copy before it has read the devices' state; if it cannot, it ends."""
        with suppress(FaultError):
            while True:
                if await self.run_state() is not RunState.INMIGRATE or not (await self.migration()).status.is_postcopy:
                    return
                await asyncio.sleep(_POLL / 5)

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


def _obituary(code: int | None, last_words: str) -> str:
    how = "has ended" if code is None else f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"QEMU {how}" + (f": {last_words}" if last_words else "")


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
