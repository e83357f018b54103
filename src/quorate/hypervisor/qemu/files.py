"""The files around one QEMU."""

from __future__ import annotations

from pathlib import Path

import structlog

from quorate.clusapi.identity import VmId
from quorate.hypervisor.contract import VmPaths
from quorate.hypervisor.qemu.process import VmLock
from quorate.hypervisor.whole_files import words

_log = structlog.get_logger("hypervisor")


def remove_files(paths: VmPaths, vm_id: VmId) -> None:
    """Remove what belongs to an instance that has ended, unless a new one has begun already.

    The serial log and UEFI's variables stay; the log of QEMU's own messages stays if it says anything. What the system
    does not let us remove is left: the instance has ended all the same.
    """
    try:
        lock = VmLock.try_take(paths.lock(vm_id))
        if lock is not None:
            try:
                _remove_all(paths, vm_id)
            finally:
                lock.discard()
    except OSError as error:
        _log.warning("files of an ended virtual machine were left behind", vm_id=vm_id, sentence=words(error))


def _remove_all(paths: VmPaths, vm_id: VmId) -> None:
    for path in (paths.run_file(vm_id), paths.rom(vm_id), paths.control_socket(vm_id)):
        path.unlink(missing_ok=True)
    for path in (paths.migration_socket(vm_id), paths.agent_socket(vm_id)):
        path.unlink(missing_ok=True)
    log = paths.process_log(vm_id)
    if log.exists() and log.stat().st_size == 0:
        log.unlink()


def tail(path: Path, length: int = 500) -> str:
    """Give the end of a text file, in one line; empty if there is none."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    return "; ".join(content[-length:].decode(errors="replace").split("\n")).strip("; ")
