"""What is measured before a virtual machine is moved: what its guest was given here, and what another host has for it.

Drivers look and answer with these; the rules that judge them are the brains' (`quorate.migration.host_rules`). Sizes
are bytes. What could not be found out is None, or empty, and says so in its field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from quorate.clusapi.json_types import (
    JsonObject,
    JsonValue,
    json_flag,
    json_int,
    json_object,
    json_objects,
    json_text,
    json_texts,
)

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class FileSight:
    """A file that a virtual machine needs, as one host finds it; it was opened for reading and closed again."""

    path: str
    """Where this host has it; a storage may lie elsewhere on another one."""
    volume: str = ""
    """What the machine's definition calls it, the same on every host: storage and volume."""
    read_only: bool = False
    is_disk: bool = True
    """Not a kernel or an initrd, of which every node may well have a copy."""
    trouble: str = ""
    """Why it cannot be used, to go after a comma: "which this host does not have"; empty: it can."""
    machine: str = ""
    """The boot id of the kernel that looked: numbers of files mean the same only to one kernel."""
    device: int = 0
    inode: int = 0
    file_system: str = ""
    """As /proc/self/mountinfo calls it: ext4, nfs4; empty: not told."""
    virtual_size: int = 0
    """What the guest sees; 0: not told."""
    locks: bool | None = None
    """Whether files can be locked there."""
    lock_seen: bool | None = None
    """Whether a lock as QEMU takes it is seen on the file."""

    def to_json(self) -> dict[str, JsonValue]:
        """Write it."""
        return {
            "path": self.path,
            "volume": self.volume,
            "read_only": self.read_only,
            "is_disk": self.is_disk,
            "trouble": self.trouble,
            "machine": self.machine,
            "device": str(self.device),
            "inode": str(self.inode),
            "file_system": self.file_system,
            "virtual_size": str(self.virtual_size),
            "locks": self.locks,
            "lock_seen": self.lock_seen,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read it; what is missing was not told."""
        return cls(
            path=json_text(value, "path"),
            volume=json_text(value, "volume"),
            read_only=json_flag(value, "read_only"),
            is_disk=json_flag(value, "is_disk"),
            trouble=json_text(value, "trouble"),
            machine=json_text(value, "machine"),
            device=json_int(value, "device"),
            inode=json_int(value, "inode"),
            file_system=json_text(value, "file_system"),
            virtual_size=json_int(value, "virtual_size"),
            locks=_flag_or_none(value, "locks"),
            lock_seen=_flag_or_none(value, "lock_seen"),
        )


@dataclass(frozen=True, slots=True)
class NetworkSight:
    """What a network card is to be plugged into, as one host finds it."""

    name: str
    """For people: bridge br0, switch lan, tap t0, user."""
    trouble: str = ""
    """Why it cannot be plugged in, to go after a comma; empty: it can."""
    doubt: str = ""
    """What may go wrong all the same, as a clause."""


@dataclass(frozen=True, slots=True)
class HostSight:
    """What one host has for one virtual machine."""

    kind: str
    """ "qemu" or "fake": a driver's own word."""
    version: Version
    accelerator: str
    machine_types: frozenset[str]
    memory_free: int
    overhead: int = 0
    """What a process takes besides the guest's memory."""
    cpu_features: frozenset[str] | None = None
    """Every feature that a guest can have here; None: not found out yet."""
    loses_writes: bool = False
    """TCG before QEMU 9 loses guest writes during pre-copy when the memory is a multiple of 256 KiB."""
    lacks_firmware: bool = False
    """The guest starts with UEFI, and this host has none."""
    networks: tuple[NetworkSight, ...] = ()
    files: tuple[FileSight, ...] = ()
    huge_pages: Mapping[int, int] = field(default_factory=dict)
    """Free bytes in huge pages, by their size."""


@dataclass(frozen=True, slots=True)
class GuestSight:
    """What a guest has been given by the process in which it runs, and the files as its own host finds them."""

    version: Version | None = None
    """Of the QEMU that runs it."""
    cpu_features: frozenset[str] | None = None
    blocked: tuple[str, ...] = ()
    """What the process itself says stands against a migration: devices that are passed through, above all."""
    huge_page: int = 0
    """The size of the huge pages that its memory is in; 0: none."""
    files: tuple[FileSight, ...] = ()

    def to_json(self) -> dict[str, JsonValue]:
        """Write it for the host that shall be compared with it."""
        return {
            "version": None if self.version is None else list(self.version),
            "cpu_features": None if self.cpu_features is None else sorted(self.cpu_features),
            "blocked": list(self.blocked),
            "huge_page": str(self.huge_page),
            "files": [file.to_json() for file in self.files],
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read it; an older node tells nothing, and then nothing is known."""
        version = value.get("version")
        numbers = [part for part in version if isinstance(part, int)] if isinstance(version, list) else []
        return cls(
            version=(numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else None,
            cpu_features=None if value.get("cpu_features") is None else frozenset(json_texts(value, "cpu_features")),
            blocked=json_texts(value, "blocked"),
            huge_page=json_int(value, "huge_page"),
            files=tuple(FileSight.from_json(file) for file in json_objects(value, "files")),
        )

    @classmethod
    def of_message(cls, body: JsonObject) -> Self:
        """Read it out of a message that may have none."""
        return cls.from_json(json_object(body, "guest"))

    def file(self, volume: str) -> FileSight | None:
        """The file of this volume, as the guest's own host finds it."""
        return next((file for file in self.files if file.volume == volume), None)


def _flag_or_none(value: JsonObject, name: str) -> bool | None:
    found = value.get(name)
    return found if isinstance(found, bool) else None
