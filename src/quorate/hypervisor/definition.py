"""What a virtual machine consists of: validated, versioned data, the same on every node.

A :class:`VmDefinition` is immutable and says nothing of a node: disks are named by storage and volume, networks by
switch. :func:`quorate.hypervisor.definition_json.parse_definition` reads it strictly,
:func:`complete_definition` gives every device its id, address, MAC and serial once, and :func:`check_definition` looks
at this node's files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import VmId
from quorate.clusapi.status import Status

DEFINITION_SCHEMA: Final = 1
DEFAULT_STORAGE: Final = "default"
"""The storage whose volumes are absolute paths."""


class Firmware(StrEnum):
    """What starts the guest."""

    BIOS = "bios"
    UEFI = "uefi"


class DiskFormat(StrEnum):
    """How a disk's file is laid out; never guessed from its content, which the guest controls."""

    QCOW2 = "qcow2"
    RAW = "raw"


class NicKind(StrEnum):
    """Where a network card is plugged in."""

    USER = "user"  # a private network inside the hypervisor process; its connections do not survive a migration
    TAP = "tap"
    BRIDGE = "bridge"
    SWITCH = "switch"  # a switch object of the cluster, mapped to a bridge on each node


@dataclass(frozen=True, slots=True)
class BuiltinGuest:
    """The guest that the project assembles itself: it counts, dirties memory and prints its count on COM1."""

    beat_hz: int = 100
    dirty_bytes: int = 0  # memory it rewrites again and again
    dirty_bytes_per_second: int = 0
    fill_bytes: int = 0  # memory it fills once, before the first beat, with half-random pages


@dataclass(frozen=True, slots=True)
class KernelGuest:
    """A Linux kernel that is started directly."""

    kernel: Path
    initrd: Path | None = None
    append: str = ""


Guest: TypeAlias = BuiltinGuest | KernelGuest


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk: a volume of a storage."""

    volume: str  # in the default storage an absolute path; elsewhere a path below the storage's directory
    storage: str = DEFAULT_STORAGE
    format: DiskFormat = DiskFormat.QCOW2
    id: str = ""
    serial: str = ""
    pci: str = ""  # slot on the root bus, such as "08"
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Nic:
    """One network card."""

    kind: NicKind
    target: str = ""  # the tap, bridge or switch
    model: str = "virtio-net-pci"
    mac: str = ""
    id: str = ""
    pci: str = ""


@dataclass(frozen=True, slots=True)
class VmDefinition:
    """One virtual machine; ``guest`` None boots from the disks."""

    name: str
    memory_bytes: int
    vcpus: int = 1
    firmware: Firmware = Firmware.BIOS
    guest: Guest | None = None
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    rtc_base: str = "utc"  # utc, localtime or a moment such as 2026-01-31T12:00:00
    agent: bool = True
    rng: bool = True
    extra: Mapping[str, object] = field(default_factory=dict)  # of a newer schema; written again


def invalid(key: str, reason: str) -> CallerError:
    """Make the error for a wrong definition: which key, and why."""
    return CallerError(Status.ERROR_INVALID_PARAMETER, f"{key}: {reason}")


# --- Made once ----------------------------------------------------------------------------------------------------

RNG_SLOT: Final = "02"
AGENT_SLOT: Final = "03"
_DEVICE_SLOTS: Final = tuple(f"{number:02x}" for number in range(0x04, 0x1E))  # q35 keeps 00, 1e and 1f for itself


def complete_definition(definition: VmDefinition, vm_id: VmId) -> VmDefinition:
    """Give each device what it lacks: id, PCI slot, and a MAC or serial made from the VM's id.

    What is there stays; doing it again changes nothing. Raises CallerError when the slots run out.
    """
    devices: tuple[Disk | Nic, ...] = (*definition.disks, *definition.nics)
    slots = iter(sorted(set(_DEVICE_SLOTS) - {device.pci for device in devices}))
    names = {device.id for device in devices}
    disks = []
    for number, disk in enumerate(definition.disks):
        identity = disk.id or _free_name("disk", number, names)
        serial = disk.serial or _digest(vm_id, identity).hex()[:20]
        disks.append(replace(disk, id=identity, serial=serial, pci=disk.pci or _next_slot(slots)))
    nics = []
    for number, nic in enumerate(definition.nics):
        identity = nic.id or _free_name("nic", number, names)
        mac = nic.mac or _made_mac(vm_id, identity)
        nics.append(replace(nic, id=identity, mac=mac, pci=nic.pci or _next_slot(slots)))
    return replace(definition, disks=tuple(disks), nics=tuple(nics))


def _free_name(kind: str, number: int, taken: set[str]) -> str:
    while (name := f"{kind}{number}") in taken:
        number += 1
    taken.add(name)
    return name


def _next_slot(slots: Iterable[str]) -> str:
    for slot in slots:
        return slot
    raise invalid("disks", f"a machine has room for {len(_DEVICE_SLOTS)} disks and network cards in all")


def _digest(vm_id: VmId, device: str) -> bytes:
    return hashlib.sha256(f"{vm_id}/{device}".encode()).digest()


def _made_mac(vm_id: VmId, device: str) -> str:
    """52 is a locally administered unicast prefix; 40 bits of the digest keep MACs of a site apart."""
    return ":".join(f"{byte:02x}" for byte in (0x52, *_digest(vm_id, device)[:5]))


# --- This node's files --------------------------------------------------------------------------------------------


def volume_path(disk: Disk, storages: Mapping[str, Path]) -> Path:
    """Tell which file a disk is on this node; ``storages`` maps the named storages to their directories here."""
    if disk.storage == DEFAULT_STORAGE:
        return Path(disk.volume)
    if disk.storage not in storages:
        raise invalid(f"disks.{disk.id or disk.volume}.storage", f"this node has no storage {disk.storage!r}")
    return storages[disk.storage] / disk.volume


def check_definition(
    definition: VmDefinition, roots: Sequence[Path], storages: Mapping[str, Path] | None = None
) -> None:
    """Check what the definition needs of this node's files: there, readable, and below one of ``roots``.

    Links are followed before the comparison, so that none leads out of the roots. Raises CallerError
    ERROR_INVALID_PARAMETER with the key and the reason. Looks at the disk: not for the event loop of a busy daemon.
    """
    real_roots = frozenset(root.resolve() for root in roots)
    for number, disk in enumerate(definition.disks):
        access = os.R_OK if disk.read_only else os.R_OK | os.W_OK
        _check_file(f"disks[{number}].volume", volume_path(disk, storages or {}), real_roots, access)
    if isinstance(definition.guest, KernelGuest):
        _check_file("guest.kernel", definition.guest.kernel, real_roots, os.R_OK)
        if definition.guest.initrd is not None:
            _check_file("guest.initrd", definition.guest.initrd, real_roots, os.R_OK)


def _check_file(key: str, path: Path, roots: AbstractSet[Path], access: int) -> None:
    if not path.is_absolute():
        raise invalid(key, f"{path} is not an absolute path")
    real = path.resolve()
    if not any(real.is_relative_to(root) for root in roots):
        allowed = ", ".join(sorted(map(str, roots))) or "none"
        raise invalid(key, f"{path} lies outside the directories that this node allows ({allowed})")
    if not real.exists():
        raise invalid(key, f"{path} does not exist")
    if not (real.is_file() or real.is_block_device()):
        raise invalid(key, f"{path} is neither a file nor a block device")
    if not os.access(real, access):
        raise invalid(key, f"{path} may not be {'written' if access & os.W_OK else 'read'} by this account")
