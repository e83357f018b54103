"""The files around one QEMU."""

from __future__ import annotations

import os
from pathlib import Path

from quorate.clusapi.identity import VmId
from quorate.hypervisor.contract import VmPaths
from quorate.hypervisor.qemu.process import VmLock


def remove_files(paths: VmPaths, vm_id: VmId) -> None:
    """Remove what belongs to an instance that has ended, unless a new one has begun already.

    The serial log and UEFI's variables stay; the log of QEMU's own messages stays if it says anything.
    """
    lock = VmLock.try_take(paths.lock(vm_id))
    if lock is None:
        return
    for path in (paths.run_file(vm_id), paths.rom(vm_id), paths.control_socket(vm_id)):
        path.unlink(missing_ok=True)
    for path in (paths.migration_socket(vm_id), paths.agent_socket(vm_id)):
        path.unlink(missing_ok=True)
    log = paths.process_log(vm_id)
    if log.exists() and log.stat().st_size == 0:
        log.unlink()
    lock.discard()


def tail(path: Path, length: int = 500) -> str:
    """Give the end of a text file, in one line; empty if there is none."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    return "; ".join(content[-length:].decode(errors="replace").split("\n")).strip("; ")


def sync_into_place(descriptor: int, partial: Path, path: Path) -> None:
    """Make a written file durable, and then give it its name, durably too."""
    os.fsync(descriptor)
    partial.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
