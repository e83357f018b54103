"""The guests that are moved, the same for every way of moving them."""

import asyncio
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quorate.clusapi.identity import ImageId, VmId
from quorate.clusapi.json_types import JsonObject
from quorate.hypervisor.contract import Launch, LaunchRequest, VmPaths
from quorate.hypervisor.definition import BuiltinGuest, VmDefinition, complete_definition
from quorate.hypervisor.pinned import Pinned
from quorate.hypervisor.qemu.driver import QemuHypervisor, QemuSettings

MIB: Final = 1 << 20
BEAT_HZ: Final = 1000
_CHUNK: Final = bytes(MIB)


@dataclass(frozen=True, slots=True)
class Workload:
    """A guest and what it does while it is moved."""

    name: str
    sentence: str
    memory_bytes: int
    guest: BuiltinGuest

    def definition(self) -> VmDefinition:
        """Give the machine."""
        return VmDefinition(name=f"bench-{self.name}", memory_bytes=self.memory_bytes, guest=self.guest)

    def to_json(self) -> JsonObject:
        """Give the machine as CreateVirtualMachine takes it."""
        guest = self.guest
        return {
            "name": f"bench-{self.name}",
            "memory": f"{self.memory_bytes // MIB}M",
            "guest": {
                "kind": "builtin",
                "beat_hz": guest.beat_hz,
                "fill_bytes": guest.fill_bytes,
                "dirty_bytes": guest.dirty_bytes,
                "dirty_bytes_per_second": guest.dirty_bytes_per_second,
            },
        }


IDLE: Final = Workload("idle", "256 MB, idle", 256 * MIB, BuiltinGuest(beat_hz=BEAT_HZ))
BUSY: Final = Workload(
    "busy",
    "1 GB, 700 MB filled with half-random pages, 128 MB of them rewritten at 300 MB/s",
    1024 * MIB,
    BuiltinGuest(
        beat_hz=BEAT_HZ, fill_bytes=(700 - 128) * MIB, dirty_bytes=128 * MIB, dirty_bytes_per_second=300 * MIB
    ),
)
WORKLOADS: Final = (IDLE, BUSY)


def pin(workload: Workload, cache: Path) -> Pinned:
    """Let the driver decide what the guest sees, as for any virtual machine."""
    return asyncio.run(QemuHypervisor(QemuSettings(cache=cache)).pin(workload.definition()))


def launch_request(workload: Workload, pinned: Pinned, paths: VmPaths, vm_id: VmId, launch: Launch) -> LaunchRequest:
    """Ask for one QEMU with this guest."""
    definition = complete_definition(workload.definition(), vm_id)
    return LaunchRequest(
        vm_id=vm_id,
        name=definition.name,
        image=ImageId(f"{vm_id}-{paths.directory.name}"),
        definition=definition,
        pinned=pinned,
        paths=paths,
        launch=launch,
    )


def touch_memory(size: int) -> None:
    """Allocate so much memory, write to all of it and free it.

    On a virtual host memory that was never used is much slower to take than memory that was: without this the first
    run would pay for all the others.
    """
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)  # as QEMU does with a guest's memory
        for offset in range(0, size, MIB):
            memory[offset : offset + MIB] = _CHUNK
