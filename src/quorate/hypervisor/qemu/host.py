"""What the QEMU of this host is and can."""

from __future__ import annotations

import asyncio
import mmap
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.hypervisor.whole_files import file_faults

BINARIES: Final = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm")
_UEFI: Final = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
)
_ASK_DEADLINE: Final = 10.0


@dataclass(frozen=True, slots=True)
class QemuBinary:
    """One QEMU program."""

    path: str
    version: tuple[int, int, int]
    machine_types: frozenset[str]
    newest_machine: str


async def examine(binary: str | None) -> QemuBinary:
    """Ask the QEMU program (by default the first that is found) for its version and machine types."""
    path = next((found for name in ([binary] if binary else BINARIES) if (found := shutil.which(name))), None)
    if path is None:
        raise FaultError(Status.ERROR_FILE_NOT_FOUND, "QEMU is not installed; install qemu-system-x86, 10 or newer")
    version = re.search(r"version (\d+)\.(\d+)\.(\d+)", await _ask(path, "--version"))
    if version is None:
        raise FaultError(Status.ERROR_GEN_FAILURE, f"{path} does not tell its version")
    machines = await _ask(path, "-machine", "help")
    newest = re.search(r"^q35\s.*\(alias of (pc-q35-[\w.]+)\)", machines, re.MULTILINE)
    if newest is None:
        raise FaultError(Status.ERROR_NOT_SUPPORTED, f"{path} knows no q35 machine")
    types = frozenset(re.findall(r"^(\S+)", machines, re.MULTILINE))
    return QemuBinary(path, (int(version[1]), int(version[2]), int(version[3])), types, newest[1])


def has_zstd(path: str) -> bool:
    """Answer whether a QEMU was built with zstd, for files as for migrations: whether it is linked to the library."""
    try:
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b"libzstd.so") >= 0
    except (OSError, ValueError):
        return False


async def _ask(path: str, *arguments: str) -> str:
    pipe = asyncio.subprocess.PIPE
    with file_faults(f"{path} cannot be asked"):
        process = await asyncio.create_subprocess_exec(path, *arguments, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    try:
        async with asyncio.timeout(_ASK_DEADLINE):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise FaultError(Status.ERROR_TIMEOUT, f"{path} does not answer") from None
    return output.decode(errors="replace")


def uefi_files() -> tuple[Path, Path] | None:
    """Find UEFI's code and the template of its variables."""
    for code, variables in _UEFI:
        if Path(code).exists() and Path(variables).exists():
            return Path(code), Path(variables)
    return None


def memory() -> tuple[int, int]:
    """Tell total and available memory of the host in bytes."""
    fields = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE))
    return int(fields["MemTotal"]) * 1024, int(fields["MemAvailable"]) * 1024


def free_port(host: str) -> int:
    """Find a TCP port of this address that nobody listens at; raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.bind((host, 0))
        return int(trial.getsockname()[1])
