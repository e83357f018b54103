"""The QEMU driver: starts QEMUs, and finds those that an earlier daemon started."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.host_sight import GuestSight, HostSight
from quorate.clusapi.identity import VmId
from quorate.clusapi.status import Status
from quorate.hypervisor.builtin_guest import build_rom
from quorate.hypervisor.compression import measure_compression
from quorate.hypervisor.contract import HostFacts, Incoming, Instance, LaunchRequest, Progress, Restore, VmPaths
from quorate.hypervisor.definition import BuiltinGuest, Firmware, VmDefinition, volume_path
from quorate.hypervisor.pinned import Accelerator, Pinned
from quorate.hypervisor.qemu.accelerator import find_accelerator
from quorate.hypervisor.qemu.arguments import HostSide, build_arguments
from quorate.hypervisor.qemu.cpu_features import EVERYTHING, CpuFeatures, feature_names
from quorate.hypervisor.qemu.file_sight import huge_pages, look_at_files
from quorate.hypervisor.qemu.files import remove_files, tail
from quorate.hypervisor.qemu.host import QemuBinary, examine, has_zstd, memory, uefi_files
from quorate.hypervisor.qemu.instance import QemuInstance
from quorate.hypervisor.qemu.network_sight import look_at_networks
from quorate.hypervisor.qemu.process import (
    ProcessHandle,
    RunFile,
    VmLock,
    find_by_arguments,
    listening_socket,
    spawn,
    start_time,
)
from quorate.hypervisor.qemu.user_faults import why_no_postcopy
from quorate.hypervisor.whole_files import file_faults, made_beside

_START_DEADLINE: Final = 15.0
_PREFAULT_BYTES_PER_SECOND: Final = 200 << 20  # the slowest seen is 350 MB/s
_OVERHEAD: Final = 64 << 20  # what a QEMU needs besides the guest's memory
_TCG_SAFE_SINCE: Final = (9, 0, 0)
_TCG_GRANULE: Final = 256 << 10
_TCG_PADDING: Final = 8 << 10
_CPU_MODELS: Final = {Accelerator.TCG: "qemu64", Accelerator.KVM: "Nehalem"}  # run on every host of their kind


@dataclass(frozen=True, slots=True)
class QemuSettings:
    """How this node runs QEMU."""

    cache: Path  # the file that keeps the answer of the KVM trial
    binary: str | None = None
    storages: Mapping[str, Path] = field(default_factory=dict)
    switches: Mapping[str, str] = field(default_factory=dict)  # switch -> bridge
    account: str | None = None  # unprivileged account for QEMU; needs a daemon that is root
    cpu_model: str | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


class QemuHypervisor:
    """Implements :class:`quorate.hypervisor.contract.Hypervisor`."""

    def __init__(self, settings: QemuSettings) -> None:
        self._settings = settings
        self._binary: QemuBinary | None = None
        self._accelerator: Accelerator | None = None
        self._features: CpuFeatures | None = None
        self._compression: float | None = None
        self._examining = asyncio.Lock()

    async def host_facts(self) -> HostFacts:
        """Tell what this host can run."""
        binary, accelerator = await self._examined()
        total, free = memory()
        return HostFacts(
            kind="qemu",
            version=binary.version,
            accelerator=accelerator,
            machine_type=binary.newest_machine,
            cpu_model=self._cpu_model(accelerator),
            memory_total=total,
            memory_free=free,
            no_post_copy=why_no_postcopy(self._settings.account),
        )

    async def pin(self, definition: VmDefinition) -> Pinned:
        """Decide what the guest will see."""
        binary, accelerator = await self._examined()
        size = definition.memory_bytes
        if _loses_writes(accelerator, binary.version, size):
            size += _TCG_PADDING
        return Pinned(binary.newest_machine, accelerator, self._cpu_model(accelerator), size)

    async def learn(self) -> None:
        """Find out how fast memory is compressed, and which CPU features guests can have here."""
        binary, _ = await self._examined()
        if await asyncio.to_thread(has_zstd, binary.path):
            self._compression = await asyncio.to_thread(measure_compression)
        features, accelerator = await self._cpu_features()
        await features.learn((EVERYTHING, self._cpu_model(accelerator)))

    @property
    def compression(self) -> float | None:
        """How fast one processor compresses, as `learn` has found out."""
        return self._compression

    async def measure(self, definition: VmDefinition, pinned: Pinned) -> HostSight:
        """Look what this host has for a VM."""
        binary, accelerator = await self._examined()
        features, _ = await self._cpu_features()
        settings = self._settings
        return HostSight(
            kind="qemu",
            version=binary.version,
            accelerator=accelerator.value,
            machine_types=binary.machine_types,
            memory_free=memory()[1],
            overhead=_OVERHEAD,
            cpu_features=features.known(EVERYTHING),
            loses_writes=_loses_writes(pinned.accelerator, binary.version, pinned.memory_bytes),
            lacks_firmware=definition.firmware is Firmware.UEFI and uefi_files() is None,
            networks=tuple(look_at_networks(definition.nics, settings.switches)),
            files=await asyncio.to_thread(look_at_files, definition, settings.storages),
            huge_pages=huge_pages(),
        )

    async def look_at(self, instance: Instance | None, definition: VmDefinition, pinned: Pinned) -> GuestSight:
        """Look what a VM of this host has been given."""
        files = await asyncio.to_thread(look_at_files, definition, self._settings.storages)
        if instance is None:
            return GuestSight(files=files)
        said, (features, _) = await asyncio.gather(instance.sight(), self._cpu_features())
        model = features.known(pinned.cpu_model)
        return GuestSight(
            version=said.version,
            cpu_features=None if model is None else model - feature_names(said.withheld),
            blocked=said.blocked,
            files=files,
        )

    async def launch(self, request: LaunchRequest, report: Progress | None = None) -> Instance:
        """Start a QEMU with its vCPUs stopped."""
        binary, _ = await self._examined()
        failure = f"{request.name} could not be started"
        with file_faults(failure, Status.ERROR_RESOURCE_FAILED):
            block_devices = await asyncio.to_thread(self._block_devices, request.definition)
            lock = VmLock.take(request.paths.lock(request.vm_id), request.vm_id)
        try:
            with file_faults(failure, Status.ERROR_RESOURCE_FAILED):
                run_file, process = self._start(request, binary, lock, block_devices)
        except ClusterError:
            lock.hand_over()
            remove_files(request.paths, request.vm_id)
            raise
        lock.hand_over()
        instance = QemuInstance(run_file, request.paths, process)
        try:
            with file_faults("its process could not be noted"):
                run_file.write(request.paths.run_file(request.vm_id))
            await instance.connect(_greeting_deadline(request))
            if isinstance(request.launch, Restore):
                await instance.load(request.launch.path, report)
        except ClusterError as error:
            said = tail(request.paths.process_log(request.vm_id))
            await _end(instance)
            reason = f"{error.sentence}; it said: {said}" if said else error.sentence
            raise FaultError(Status.ERROR_RESOURCE_FAILED, f"{failure}: {reason}") from error
        except BaseException:
            await asyncio.shield(_end(instance))
            raise
        return instance

    async def adopt(self, vm_id: VmId, paths: VmPaths) -> Instance | None:
        """Take over a QEMU that an earlier daemon started."""
        with file_faults(f"it cannot be told whether a QEMU of the virtual machine {vm_id} lives"):
            run_file = RunFile.read(paths.run_file(vm_id))
            if run_file is None or run_file.vm_id != vm_id:
                return None
            if run_file.pid == 0:
                run_file = _find_started(run_file, paths.run_file(vm_id))
            process = ProcessHandle.find(run_file.pid, run_file.start_ticks) if run_file.pid else None
        if process is None:
            remove_files(paths, vm_id)
            return None
        instance = QemuInstance(run_file, paths, process)
        try:
            await instance.connect(_START_DEADLINE)
            await instance.take_up()
        except ClusterError:
            if process.is_gone:
                await instance.wait_gone()
                return None
            await instance.release()
            raise
        return instance

    # --- what this host is ---

    async def _examined(self) -> tuple[QemuBinary, Accelerator]:
        async with self._examining:
            if self._binary is None:
                self._binary = await examine(self._settings.binary)
            if self._accelerator is None:
                cache, environment = self._settings.cache, self._settings.environment
                with file_faults("it cannot be told whether KVM runs guests here"):
                    found = await find_accelerator(self._binary.path, self._binary.version, cache, environment)
                self._accelerator = found
            return self._binary, self._accelerator

    def _cpu_model(self, accelerator: Accelerator) -> str:
        return self._settings.cpu_model or _CPU_MODELS[accelerator]

    async def _cpu_features(self) -> tuple[CpuFeatures, Accelerator]:
        binary, accelerator = await self._examined()
        if self._features is None:
            kept = self._settings.cache.with_name("cpu-features.json")
            self._features = CpuFeatures(binary.path, binary.version, accelerator, kept)
        return self._features, accelerator

    # --- starting ---

    def _block_devices(self, definition: VmDefinition) -> frozenset[Path]:
        """Which disks are block devices; on a thread, since a storage that hangs must not hold up the daemon."""
        volumes = [volume_path(disk, self._settings.storages) for disk in definition.disks]
        return frozenset(path for path in volumes if path.is_block_device())

    def _start(
        self, request: LaunchRequest, binary: QemuBinary, lock: VmLock, block_devices: frozenset[Path]
    ) -> tuple[RunFile, ProcessHandle]:
        """Write the files that QEMU needs and start it; raises OSError."""
        paths, vm_id = request.paths, request.vm_id
        if isinstance(request.definition.guest, BuiltinGuest):
            with made_beside(paths.rom(vm_id)) as new:
                new.write_bytes(build_rom(request.definition.guest))
        uefi = uefi_files() if request.definition.firmware is Firmware.UEFI else None
        if uefi is not None and not paths.firmware_variables(vm_id).exists():
            with made_beside(paths.firmware_variables(vm_id)) as new:
                shutil.copyfile(uefi[1], new)
        paths.process_log(vm_id).unlink(missing_ok=True)
        with listening_socket(paths.control_socket(vm_id)) as listener:
            host = HostSide(
                binary=binary.path,
                control_descriptor=listener.fileno(),
                storages=self._settings.storages,
                switches=self._settings.switches,
                block_devices=block_devices,
                processors=os.cpu_count() or 1,
                uefi_code=uefi[0] if uefi else None,
                account=self._settings.account,
            )
            argv = build_arguments(request, host)
            run_file = _run_file(request, binary, argv)
            run_file.write(paths.run_file(vm_id))
            process = ProcessHandle.of_child(
                spawn(argv, paths.process_log(vm_id), (listener.fileno(), lock.descriptor))
            )
        return replace(run_file, pid=process.pid, start_ticks=start_time(process.pid) or 0), process


def _run_file(request: LaunchRequest, binary: QemuBinary, argv: list[str]) -> RunFile:
    return RunFile(
        vm_id=request.vm_id,
        image=request.image,
        pid=0,
        start_ticks=0,
        started_at=time.time(),
        qemu_version=binary.version,
        argv=tuple(argv),
        control_socket=str(request.paths.control_socket(request.vm_id)),
        serial_log=str(request.paths.serial_log(request.vm_id)),
        incoming=isinstance(request.launch, Incoming),
    )


def _find_started(run_file: RunFile, path: Path) -> RunFile:
    """Find the QEMU whose pid the daemon had no time to note, and note it; pid 0 if it is gone, or never was."""
    pid = find_by_arguments(run_file.argv)
    if pid is None:
        return run_file
    found = replace(run_file, pid=pid, start_ticks=start_time(pid) or 0)
    with suppress(OSError):  # it will be found this way again
        found.write(path)
    return found


def _greeting_deadline(request: LaunchRequest) -> float:
    """QEMU greets after it has touched all of the memory, if it is to."""
    prefault = isinstance(request.launch, Incoming) and request.launch.prefault
    return _START_DEADLINE + (request.pinned.memory_bytes / _PREFAULT_BYTES_PER_SECOND if prefault else 0.0)


async def _end(instance: QemuInstance) -> None:
    instance.kill()
    await instance.wait_gone()


def _loses_writes(accelerator: Accelerator, version: tuple[int, int, int], size: int) -> bool:
    """TCG before QEMU 9 loses guest writes during pre-copy when the memory is a multiple of 256 KiB."""
    return accelerator is Accelerator.TCG and version < _TCG_SAFE_SINCE and size % _TCG_GRANULE == 0
