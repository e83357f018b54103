"""The guests that are moved, the same for every way of moving them."""

import asyncio
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


RATES: Final = (0, 50, 300)
"""Megabytes that a guest rewrites each second."""


@dataclass(frozen=True, slots=True)
class _Size:
    """How large a guest is; MiB."""

    name: str
    memory: int
    used: int
    """Filled with half-random pages: written to, or left alone."""
    written: int
    """The part that is rewritten again and again."""


_SIZES: Final = (
    _Size("256M", 256, 180, 64),
    _Size("1G", 1024, 700, 128),
    _Size("4G", 4096, 1900, 128),  # the built-in guest reaches what lies below 2 GiB, where q35 has its hole
)


def _workload(size: _Size, rate: int) -> Workload:
    written = size.written if rate else 0
    does = f"{written} MiB of it rewritten at {rate} MB/s" if rate else "nothing written"
    guest = BuiltinGuest(
        beat_hz=BEAT_HZ,
        fill_bytes=(size.used - written) * MIB,
        dirty_bytes=written * MIB,
        dirty_bytes_per_second=rate * 1_000_000,
    )
    sentence = f"{size.memory} MiB, {size.used} MiB of it filled with half-random pages, {does}"
    return Workload(f"{size.name}-{rate or 'idle'}", sentence, size.memory * MIB, guest)


WORKLOADS: Final = tuple(_workload(size, rate) for size in _SIZES for rate in RATES)
"""The matrix: every size with every rate."""


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


@contextmanager
def touched_memory(size: int) -> Iterator[Callable[[], None]]:
    """Take so much memory and write to all of it; give what frees it, which is to be called just before a measurement.

    On a virtual host memory that was never used, or not for seconds, is much slower to take than memory that was just
    freed: without this one run would pay for others.
    """
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)  # as QEMU does with a guest's memory
        for offset in range(0, size, mmap.PAGESIZE):
            memory[offset] = 1
        yield memory.close
