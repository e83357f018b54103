"""Looking at the files of a virtual machine as this host finds them: opened for reading, compared, never changed.

It may block for as long as a storage hangs: for a thread, not for an event loop.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.host_sight import FileSight
from quorate.hypervisor.definition import Disk, DiskFormat, KernelGuest, VmDefinition, volume_path
from quorate.hypervisor.whole_files import words

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_MOUNTS: Final = Path("/proc/self/mountinfo")
_QCOW2: Final = b"QFI\xfb"
_HEADER: Final = struct.Struct(">4sIQIIQ")  # magic, version, offset and length of the backing file's name, bits, size
_LONGEST_CHAIN: Final = 32
_FLOCK: Final = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid
_LOCKED_BYTES: Final = (100, 164)  # from where, how many: QEMU's image locks (block/file-posix.c)
_ABSENT: Final = "which this host does not have"


def look_at_files(definition: VmDefinition, storages: Mapping[str, Path]) -> tuple[FileSight, ...]:
    """Look at every disk, and at the kernel that is started directly."""
    found = [_disk(disk, storages) for disk in definition.disks]
    if isinstance(definition.guest, KernelGuest):
        found += [_plain(path) for path in (definition.guest.kernel, definition.guest.initrd) if path is not None]
    return tuple(found)


def _disk(disk: Disk, storages: Mapping[str, Path]) -> FileSight:
    volume = f"{disk.storage}:{disk.volume}"
    try:
        path = volume_path(disk, storages)
    except CallerError:
        trouble = f"on the storage {disk.storage!r}, which this host does not have"
        return FileSight(disk.volume, volume, disk.read_only, trouble=trouble)
    sight = FileSight(str(path), volume, disk.read_only)
    try:
        sight = _seen(sight, path, disk)
    except FileNotFoundError:
        return replace(sight, trouble=_ABSENT)
    except OSError as error:
        return replace(sight, trouble=f"which this host cannot read: {words(error)}")
    if not disk.read_only and not os.access(path, os.W_OK):
        return replace(sight, trouble="which this host may not write")
    return sight


def _plain(path: Path) -> FileSight:
    sight = FileSight(str(path), read_only=True, is_disk=False)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return replace(sight, trouble=_ABSENT)
    except OSError as error:
        return replace(sight, trouble=f"which this host cannot read: {words(error)}")
    os.close(descriptor)
    return sight


def _seen(sight: FileSight, path: Path, disk: Disk) -> FileSight:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not make us wait
    try:
        status = os.fstat(descriptor)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            return replace(sight, trouble="which is neither a file nor a block device on this host")
        if disk.format is DiskFormat.QCOW2:
            size, trouble = _qcow2(path, descriptor)
        else:
            size, trouble = os.lseek(descriptor, 0, os.SEEK_END), ""
        locks, lock_seen = _locks(descriptor)
    finally:
        os.close(descriptor)
    return replace(
        sight,
        trouble=trouble,
        machine=_BOOT_ID.read_text().strip(),
        device=status.st_dev,
        inode=status.st_ino,
        file_system=_file_system(status.st_dev),
        virtual_size=size,
        locks=locks,
        lock_seen=lock_seen,
    )


def _qcow2(path: Path, descriptor: int) -> tuple[int, str]:
    """Tell how large the disk of an image is, and why the image is of no use here, its backing files included."""
    size, backing = _header(descriptor)
    if size is None:
        return 0, "which is no qcow2 image on this host"
    for _ in range(_LONGEST_CHAIN):
        if not backing:
            break
        path = path.parent / backing
        try:
            below = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            return size, f"whose backing file this host cannot read: {error.strerror} ({path})"
        try:
            _, backing = _header(below)
        finally:
            os.close(below)
    return size, ""


def _header(descriptor: int) -> tuple[int | None, str]:
    """Tell the virtual size and the backing file of a qcow2 image; None of what is none."""
    data = os.pread(descriptor, _HEADER.size, 0)
    if len(data) < _HEADER.size:
        return None, ""
    magic, _, offset, length, _, size = _HEADER.unpack(data)
    if magic != _QCOW2:
        return None, ""
    name = os.pread(descriptor, min(length, 1023), offset).decode(errors="replace") if offset else ""
    return size, "" if name.startswith(("json:", "nbd:", "http")) else name.removeprefix("file:")


def _locks(descriptor: int) -> tuple[bool | None, bool | None]:
    """Tell whether files can be locked here, and whether a lock of QEMU is seen on this one; only asked, not taken."""
    start, length = _LOCKED_BYTES
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
    except OSError:
        return False, None
    return True, _FLOCK.unpack(answer)[0] != fcntl.F_UNLCK


def _file_system(device: int) -> str:
    """The type of the file system with this device number; empty where it is not mounted here under that number."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError):
        for line in _MOUNTS.read_text(errors="replace").splitlines():
            fields, _, rest = line.partition(" - ")
            if fields.split()[2] == wanted:
                return rest.split()[0]
    return ""


def huge_pages() -> dict[int, int]:
    """Tell the free bytes in huge pages of this host, by their size."""
    free: dict[int, int] = {}
    for directory in Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB"):
        found = re.fullmatch(r"hugepages-(\d+)kB", directory.name)
        with suppress(OSError, ValueError):
            if found is not None:
                size = int(found[1]) << 10
                free[size] = int((directory / "free_hugepages").read_text()) * size
    return free
