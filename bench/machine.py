"""The machine that the figures come from: what it can do, and whether it is quiet."""

import ctypes
import mmap
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.guests import MIB

QUIET: Final = 0.15
"""Share of the machine that others may use before a run."""
_LOOK: Final = 0.5
"""Seconds over which that share is measured."""
_BLOCK: Final = 64 * MIB
_TOUCHED: Final = 512 * MIB
_TIMES: Final = 3
"""How often each limit is measured; the best counts, for others only slow it."""
_SEND: Final = """
import socket, sys
size, piece = int(sys.argv[2]), 1 << 20
memory = memoryview(bytearray(b"1") * size)
with socket.socket(fileno=int(sys.argv[1])) as to:
    to.recv(1)
    for offset in range(0, size, piece):
        to.sendall(memory[offset : offset + piece])
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """What bounds every migration on this machine. Speeds in bytes per second."""

    system: str
    processor: str
    cores: int
    memory_bytes: int
    qemu: str
    accelerator: str
    memcpy: float
    """Copying memory with one thread."""
    touch_fresh: float
    """Writing to new memory for the first time, as it comes."""
    touch_warm: float
    """The same right after it was used and freed: on a virtual host the host need not find it anew."""
    copy_unix: float
    """Copying memory from one process to another through a unix socket, which is how memory migrates on one machine."""
    copy_tcp: float
    """The same over TCP on loopback."""
    busy: float
    """Share of the machine that others used when the runs began."""

    @property
    def data_limit(self) -> float:
        """Give what bounds the data phase of a migration from a QEMU to another one on this machine."""
        return min(self.touch_warm, self.copy_unix)

    def to_json(self) -> Mapping[str, object]:
        """Write it for programs."""
        return asdict(self)


def examine(accelerator: str) -> Machine:
    """Measure."""
    busy = busy_share()
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        qemu=_qemu_version(),
        accelerator=accelerator,
        memcpy=_memcpy(),
        touch_fresh=_touch(),
        touch_warm=max(_touch() for _ in range(_TIMES)),
        copy_unix=max(_copy(*socket.socketpair()) for _ in range(_TIMES)),
        copy_tcp=max(_copy(*_loopback()) for _ in range(_TIMES)),
        busy=busy,
    )


def busy_share(seconds: float = _LOOK) -> float:
    """Give the share of all cores that was used in the next seconds."""
    busy, total = _ticks()
    time.sleep(seconds)
    busy_after, total_after = _ticks()
    return (busy_after - busy) / max(1, total_after - total)


def wait_quiet(patience: float) -> float:
    """Wait until others leave the machine alone, at most so long; give the share that they use."""
    deadline = time.monotonic() + patience
    while (share := busy_share()) > QUIET and time.monotonic() < deadline:
        continue
    return share


def _ticks() -> tuple[int, int]:
    """Clock ticks of all cores so far: not idle, and all."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def _memcpy() -> float:
    source, target = ctypes.create_string_buffer(_BLOCK), ctypes.create_string_buffer(_BLOCK)
    ctypes.memset(source, 1, _BLOCK)
    ctypes.memmove(target, source, _BLOCK)  # both are there now
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        ctypes.memmove(target, source, _BLOCK)
        best = min(best, time.perf_counter() - began)
    return _BLOCK / best


def _touch() -> float:
    """Write to each page of new memory once, in huge pages as QEMU has them."""
    began = time.perf_counter()
    with mmap.mmap(-1, _TOUCHED, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for offset in range(0, _TOUCHED, mmap.PAGESIZE):
            memory[offset] = 1
        return _TOUCHED / (time.perf_counter() - began)


def _loopback() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = socket.create_connection(server.getsockname())
        here, _ = server.accept()
        return there, here


def _copy(there: socket.socket, here: socket.socket) -> float:
    """Have another process send memory, and read it into memory that is there already."""
    command = [sys.executable, "-c", _SEND, str(there.fileno()), str(_TOUCHED)]
    memory = memoryview(bytearray(b"1") * _TOUCHED)
    with here, subprocess.Popen(command, pass_fds=(there.fileno(),)):
        there.close()
        here.sendall(b"?")
        got = here.recv_into(memory)
        began, first = time.perf_counter(), got
        while number := here.recv_into(memory[got:] or memory):
            got += number
        return (got - first) / (time.perf_counter() - began)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _qemu_version() -> str:
    binary = shutil.which("qemu-system-x86_64") or "qemu-system-x86_64"
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return said.split("version", 1)[1].split()[0]
