"""A node's configuration: one TOML file, read strictly.

node = "1"                        # the node's number in the cluster
database = "cluster.sqlite"       # relative paths are relative to the file
state = "nodes/1"
saved = "saved"
runtime = "/run/user/1000/quorate/3f2a1b0c/1"
storage_roots = ["/srv/vms"]      # disks must lie below one of these
scripts_directory = "scripts"     # what "Generic Script" resources may run

[storages]
fast = "/srv/fast"                # a named storage, and its directory on this node

[switches]
lan = "br0"                       # a switch, and its bridge on this node
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status

_KNOWN: Final = frozenset(
    {
        "node",
        "database",
        "state",
        "saved",
        "runtime",
        "storage_roots",
        "scripts_directory",
        "storages",
        "switches",
        "qemu_account",
        "accelerator_cache",
    }
)
RUNTIME_LENGTH: Final = 60
"""Bytes that the path of a runtime directory may have, so that every socket path in it stays under 107."""


@dataclass(frozen=True, slots=True)
class NodeConfiguration:
    """What a node's daemon is told. Every path is absolute."""

    node: NodeId
    database: Path
    state: Path
    saved: Path
    runtime: Path
    storage_roots: tuple[Path, ...]
    scripts_directory: Path | None = None
    storages: dict[str, Path] = field(default_factory=dict)
    switches: dict[str, str] = field(default_factory=dict)
    qemu_account: str | None = None
    accelerator_cache: Path | None = None


def read_configuration(path: Path) -> NodeConfiguration:
    """Read a node's configuration.

    Raises:
        CallerError: 87, with the key and the reason.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(path, "", f"cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, "", f"is not TOML: {error}") from error
    unknown = sorted(set(fields) - _KNOWN)
    if unknown:
        raise _wrong(path, unknown[0], f"is not a key of a node's configuration ({', '.join(sorted(_KNOWN))})")
    reader = _Reader(path, fields)
    configuration = NodeConfiguration(
        node=NodeId(reader.text("node")),
        database=reader.path("database"),
        state=reader.path("state"),
        saved=reader.path("saved"),
        runtime=reader.path("runtime"),
        storage_roots=tuple(reader.resolve(text) for text in reader.texts("storage_roots")),
        scripts_directory=reader.path("scripts_directory") if "scripts_directory" in fields else None,
        storages={name: reader.resolve(text) for name, text in reader.table("storages").items()},
        switches=reader.table("switches"),
        qemu_account=reader.text("qemu_account") if "qemu_account" in fields else None,
        accelerator_cache=reader.path("accelerator_cache") if "accelerator_cache" in fields else None,
    )
    if len(str(configuration.runtime).encode()) > RUNTIME_LENGTH:
        raise _wrong(path, "runtime", f"{configuration.runtime} has more than {RUNTIME_LENGTH} bytes: choose a shorter")
    return configuration


class _Reader:
    """Takes typed values out of the file's table."""

    def __init__(self, path: Path, fields: dict[str, object]) -> None:
        self._path = path
        self._fields = fields

    def text(self, key: str) -> str:
        value = self._fields.get(key)
        if not isinstance(value, str) or not value:
            raise _wrong(self._path, key, "must be a text that is not empty")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._fields.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _wrong(self._path, key, "must be a list of texts")
        return tuple(value)

    def table(self, key: str) -> dict[str, str]:
        value = self._fields.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise _wrong(self._path, key, "must be a table of texts")
        return dict(value)

    def path(self, key: str) -> Path:
        return self.resolve(self.text(key))

    def resolve(self, text: str) -> Path:
        return (self._path.parent / text).absolute()


def _wrong(path: Path, key: str, reason: str) -> CallerError:
    where = f"{path}: {key}" if key else str(path)
    return CallerError(Status.ERROR_INVALID_PARAMETER, f"{where} {reason}")
