"""Does KVM really run a guest here? Tried, not assumed.

/dev/kvm may exist, open, and still run nothing (nested virtualisation). The built-in guest is started under KVM and
must print a line. The answer is kept in a file, good for this boot of the host and this version of QEMU.
``QUORATE_ACCELERATOR`` (tcg or kvm) decides without a trial.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.hypervisor.builtin_guest import build_rom
from quorate.hypervisor.definition import BuiltinGuest
from quorate.hypervisor.pinned import Accelerator
from quorate.hypervisor.qemu.process import ProcessHandle, spawn
from quorate.hypervisor.whole_files import made_beside

VARIABLE: Final = "QUORATE_ACCELERATOR"
_TRIAL_SECONDS: Final = 1.5
_POLL: Final = 0.005
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_KVM: Final = Path("/dev/kvm")


async def find_accelerator(
    binary: str, version: tuple[int, int, int], cache: Path, environment: Mapping[str, str]
) -> Accelerator:
    """Decide what runs guests here; ``cache`` is the file that keeps the answer of a trial."""
    if wanted := environment.get(VARIABLE):
        try:
            return Accelerator(wanted)
        except ValueError:
            raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{VARIABLE} is {wanted!r}; use tcg or kvm") from None
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return Accelerator.TCG
    key = f"{_BOOT_ID.read_text().strip()} {version}"
    if (known := _read(cache, key)) is not None:
        return known
    accelerator = Accelerator.KVM if await _runs_a_guest(binary) else Accelerator.TCG
    with suppress(OSError), made_beside(cache, f".{os.getpid()}") as new:  # not kept, it is tried again next time
        new.write_text(json.dumps({"key": key, "accelerator": accelerator.value}))
    return accelerator


def _read(cache: Path, key: str) -> Accelerator | None:
    try:
        content = json.loads(cache.read_text())
        return Accelerator(content["accelerator"]) if content["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


async def _runs_a_guest(binary: str) -> bool:
    """Start the built-in guest under KVM in a directory of its own, and wait for its first line."""
    directory = Path(tempfile.mkdtemp(prefix="quorate-kvm-"))
    try:
        rom, serial = directory / "rom", directory / "serial"
        rom.write_bytes(build_rom(BuiltinGuest()))
        options = f"-nodefaults -no-user-config -display none -machine q35 -accel kvm -m 64M -bios {rom}"
        arguments = [binary, *options.split(), "-serial", f"file:{serial}", "-sandbox", "on,spawn=deny"]
        process = ProcessHandle.of_child(spawn(arguments, directory / "log", ()))
        process.watch(lambda _code: None)
        try:
            return await _prints(serial, process)
        finally:
            process.kill()
            await process.wait_gone()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _has_line(serial: Path) -> bool:
    return serial.exists() and b"\n" in serial.read_bytes()


async def _prints(serial: Path, process: ProcessHandle) -> bool:
    for _ in range(round(_TRIAL_SECONDS / _POLL)):
        if process.is_gone:
            return False
        if _has_line(serial):
            return True
        await asyncio.sleep(_POLL)
    return False
