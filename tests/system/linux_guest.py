"""A real Linux as a guest: Debian's cloud kernel, an initramfs with our own init, a qcow2 disk, and what it tells.

The init (guest/recorder.c) writes records to the disk and says on the serial port which of them are durable. Whoever
knows what it said can hold the disk against it afterwards. Everything is made at test time, without root.
"""

import gzip
import json
import lzma
import re
import stat
import struct
import subprocess
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from quorate.clusapi.json_types import JsonObject

_ROOT: Final = Path(__file__).resolve().parents[2]
_KERNELS: Final = _ROOT / "build" / "kernel"
_GUESTS: Final = Path(__file__).with_name("guest")
RECORDER: Final = _GUESTS / "recorder.c"
"""It writes records, and says which of them are durable."""
ACTOR: Final = _GUESTS / "actor.c"
"""It shuts itself down, starts anew or crashes when its disk says so."""
_COMPILER: Final = ("gcc", "-std=gnu17", "-O2", "-static", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror")
_MODULES: Final = ("virtio_pci", "virtio_blk")
_APPEND: Final = "console=ttyS0 quiet panic=1 oops=panic no_timer_check"  # a busy host is late with the timer
_RECORD: Final = struct.Struct("<8sQQQ476xI")
_MAGIC: Final = b"QRECORD1"
_STARTED: Final = re.compile(rb"S ([0-9a-f]{16}) (\d+) (\d+)")
_DURABLE: Final = re.compile(rb"R (\d+) (\d+) (\d+)")


# --- making it -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinuxGuest:
    """What it boots from."""

    kernel: Path
    initrd: Path

    def definition(self, name: str, disk: Path, memory: str = "256M", format_: str = "qcow2") -> JsonObject:
        """The definition of a VM that runs it."""
        guest = {"kind": "kernel", "kernel": str(self.kernel), "initrd": str(self.initrd), "append": _APPEND}
        return {"name": name, "memory": memory, "guest": guest, "disks": [{"volume": str(disk), "format": format_}]}


def build_guest(directory: Path, source: Path = RECORDER) -> LinuxGuest:
    """Compile an init and pack it with the modules that it needs."""
    kernels = sorted(_KERNELS.glob("vmlinuz-*"))
    assert kernels, f"there is no kernel in {_KERNELS}: scripts/setup test fetches one"
    kernel = kernels[-1]
    modules = _modules(_KERNELS / "lib" / "modules" / kernel.name.removeprefix("vmlinuz-"))
    init = directory / source.stem
    subprocess.run((*_COMPILER, "-o", init, source), check=True)
    order = "".join(f"{name}\n" for name, _ in modules).encode()
    entries = [
        _entry("dev", stat.S_IFDIR | 0o755),
        _entry("modules", stat.S_IFDIR | 0o755),
        _entry("modules/order", stat.S_IFREG | 0o644, order),
        *(_entry(f"modules/{name}", stat.S_IFREG | 0o644, content) for name, content in modules),
        _entry("init", stat.S_IFREG | 0o755, init.read_bytes()),
        _entry("TRAILER!!!", 0),
    ]
    initrd = directory / "initrd.gz"
    initrd.write_bytes(gzip.compress(b"".join(entries), compresslevel=6))
    return LinuxGuest(kernel, initrd)


def make_disk(path: Path, size: str = "4G") -> Path:
    """Make a thin qcow2."""
    subprocess.run(("qemu-img", "create", "-q", "-f", "qcow2", path, size), check=True)
    return path


def _entry(name: str, mode: int, content: bytes = b"") -> bytes:
    """One file of a cpio archive of the kind that the kernel unpacks."""
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields) + encoded
    return _padded(header) + _padded(content)


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 4)


def _modules(directory: Path) -> list[tuple[str, bytes]]:
    """The modules that the disk needs, what others need first; what is built into the kernel is left out."""
    built_in = {_module_name(line) for line in (directory / "modules.builtin").read_text().splitlines()}
    files = {_module_name(path.name): path for path in directory.rglob("*.ko*")}
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in found or name in built_in:
            return
        content = _module_content(files[name])
        for needed in _depends(content):
            add(needed)
        found[name] = content

    for name in _MODULES:
        add(name)
    return [(f"{name}.ko", content) for name, content in found.items()]


def _module_name(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")


def _module_content(path: Path) -> bytes:
    match path.suffix:
        case ".xz":
            return lzma.decompress(path.read_bytes())
        case ".gz":
            return gzip.decompress(path.read_bytes())
        case ".zst":
            return subprocess.run(("zstd", "-dcq", path), check=True, capture_output=True).stdout
        case _:
            return path.read_bytes()


def _depends(content: bytes) -> list[str]:
    """What a module says that it needs; depmod has not been run on an unpacked package."""
    found = re.search(rb"\0depends=([^\0]*)\0", content)
    names = found[1].decode().split(",") if found else []
    return [name.replace("-", "_") for name in names if name]


# --- what it said --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """What the guest said on its serial port, all of it understood."""

    runs: tuple[str, ...]  # one for each boot
    capacity: int
    durable: int  # every record up to this one
    checked: int  # records of the last run that it read again and found right
    lines: int
    longest_silence_ms: int  # by the guest's own clock, between two lines of one run


class Transcript:
    """The serial output of one guest as it would have been on one line, put together from the logs of several nodes.

    A guest that moves is cut anywhere, also within a line; as only one node's log grows at a time, what each visit
    added to its log, one visit after another, is exactly what the guest said. A byte too many, too few or at the wrong
    place makes a line that nobody understands.
    """

    def __init__(self) -> None:
        self._ends: dict[Path, int] = {}
        self._visits: list[bytes] = []
        self._current: Path | None = None

    def follow(self, log: Path, *, cut: bool = False) -> None:
        """The guest is, or will be, on the node that keeps this log; what it was on before says nothing any more.

        ``cut``: it was ended in the middle of a line perhaps, and does not go on with it.
        """
        self._close_visit(cut=cut)
        self._current = log

    def text(self) -> bytes:
        """Everything until now."""
        return b"".join(self._visits) + self._news()

    def visit(self) -> list[bytes]:
        """The complete lines that the guest said from the present node."""
        return self._news().split(b"\n")[:-1]

    def said(self) -> Said:
        """Understand all of it; raises AssertionError at the first line that is not as it should be."""
        return understand(self.text())

    def durable_here(self) -> int:
        """The last record that was reported from the present node in a whole line; 0 when none was."""
        return max((int(found[1]) for line in self.visit() if (found := _DURABLE.fullmatch(line))), default=0)

    def _news(self) -> bytes:
        if self._current is None or not self._current.exists():
            return b""
        with self._current.open("rb") as file:
            file.seek(self._ends.get(self._current, 0))
            return file.read()

    def _close_visit(self, *, cut: bool) -> None:
        if self._current is not None:
            news = self._news()
            self._ends[self._current] = self._ends.get(self._current, 0) + len(news)
            self._visits.append(news[: news.rfind(b"\n") + 1] if cut else news)


def understand(text: bytes) -> Said:
    """Read the guest's own words; only the kernel may speak before it, and nobody in between."""
    start = text.find(b"S ") if text.startswith(b"S ") else text.find(b"\nS ") + 1
    assert start > 0 or text.startswith(b"S "), f"the guest has not started: {text[-500:]!r}"
    runs: list[str] = []
    capacity = durable = checked = lines = clock = silence = 0
    for line in text[start:].split(b"\n")[:-1]:
        lines += 1
        if started := _STARTED.fullmatch(line):
            runs.append(started[1].decode())
            first, capacity, checked, clock = int(started[2]), int(started[3]), 0, 0
            assert first > durable, f"record {durable} was durable, and the next run begins at {first}"
            durable = first - 1
        elif said := _DURABLE.fullmatch(line):
            number, now_checked, now = (int(value) for value in said.groups())
            assert number > durable, f"after record {durable} came {line!r}"
            assert now_checked >= checked, f"after {checked} records were checked came {line!r}"
            assert now >= clock, f"the guest's clock went back: {clock}, then {line!r}"
            silence = max(silence, now - clock if clock else 0)
            durable, checked, clock = number, now_checked, now
        else:
            raise AssertionError(f"line {lines} of the guest, after record {durable}: {line!r}")
    return Said(tuple(runs), capacity, durable, checked, lines, silence)


# --- what is on its disk -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OnDisk:
    """The records that a disk holds, numbered from 1 without a hole."""

    records: int
    runs: tuple[str, ...]  # in the order of their records
    longest_pause_ms: float  # by the guest's own clock, between two records of one run
    image: JsonObject = field(default_factory=dict)  # what qemu-img check says


def read_disk(disk: Path, work: Path) -> OnDisk:
    """Take the disk apart with nothing of ours in the way: qemu-img checks it, and reads it."""
    check = subprocess.run(("qemu-img", "check", "--output=json", "-f", "qcow2", disk), capture_output=True, text=True)
    image = json.loads(check.stdout)
    assert not image.get("corruptions") and not image.get("check-errors"), image
    raw = work / f"{disk.stem}.raw"
    subprocess.run(("qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw), check=True)
    try:
        with raw.open("rb") as file:
            records = list(_records(iter(lambda: file.read(_RECORD.size), b"")))
    finally:
        raw.unlink()
    pauses = [after - before for (run, before), (other, after) in pairwise(records) if run == other]
    assert all(pause >= 0 for pause in pauses), "the guest's clock went back between two records"
    runs = dict.fromkeys(f"{run:016x}" for run, _ in records)
    return OnDisk(len(records), tuple(runs), max(pauses, default=0) / 1e6, image)


def _records(sectors: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Give run and time of each record, as far as they are there, intact and numbered in turn."""
    for number, sector in enumerate(sectors, 1):
        if len(sector) < _RECORD.size:
            return
        magic, found, run, monotonic_ns, crc = _RECORD.unpack(sector)
        if magic != _MAGIC or found != number or crc != zlib.crc32(sector[:-4]):
            return
        yield run, monotonic_ns


__all__ = ["LinuxGuest", "OnDisk", "Said", "Transcript", "build_guest", "make_disk", "read_disk", "understand"]
