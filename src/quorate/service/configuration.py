"""A node's configuration: one TOML file, read strictly.

node = "1"                        # the node's number in the cluster
database = "cluster.sqlite"       # relative paths are relative to the file
state = "nodes/1"
saved = "saved"
runtime = "/run/user/1000/quorate/3f2a1b0c/1"
storage_roots = ["/srv/vms"]      # disks must lie below one of these
shared_storages = ["fast"]        # storages in which every node sees the same files
scripts_directory = "scripts"     # what "Generic Script" resources may run
guard = "own"                     # or "external": systemd, not the daemon, starts the guard
watchdog = "/dev/watchdog"        # is fed by the guard that the daemon starts; an external one is told elsewhere
fence_directory = "/usr/sbin"     # where the programs fence_… are that switch other nodes off
memory = 65536                    # MiB for virtual machines; without it the host's memory less RootMemoryReserved
driver = "qemu"                   # or "fake": virtual machines that live in the daemon and die with it, for trials

# On several machines:
listen = "192.0.2.7:7443"         # where clients of other machines are answered, over TLS
peers = "192.0.2.7:7400"          # where the other nodes are answered, over TLS; moves of memory come in there too
certificates = "certificates"     # the node's key and certificates (peers/identity.py)

[etcd]                            # instead of `database`
endpoints = ["https://192.0.2.7:2379", "https://192.0.2.8:2379", "https://192.0.2.9:2379"]
prefix = "quorate/lab/"           # the part of etcd that belongs to this cluster
ca = "etcd/ca.pem"                # who has signed the members' certificates
cert = "etcd/client.pem"          # this node's own certificate for etcd, and its key
key = "etcd/client.key"

[storages]
fast = "/srv/fast"                # a named storage, and its directory on this node

[switches]
lan = "br0"                       # a switch, and its bridge on this node

[mscmrp]                          # programs that speak ClusAPI's wire protocol are answered; not without this table
listen = "192.0.2.7:49152"
endpoint_mapper = true            # at port 135 of the same address it is told where that is
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.cluster.memory import MIB
from quorate.database.etcd.settings import EtcdSettings
from quorate.engine.fence_agents import AGENTS_DIRECTORY

_KNOWN: Final = frozenset(
    {
        "node",
        "database",
        "etcd",
        "state",
        "saved",
        "runtime",
        "storage_roots",
        "scripts_directory",
        "storages",
        "shared_storages",
        "switches",
        "qemu_account",
        "accelerator_cache",
        "listen",
        "peers",
        "certificates",
        "guard",
        "watchdog",
        "fence_directory",
        "memory",
        "driver",
        "mscmrp",
    }
)
RUNTIME_LENGTH: Final = 60
"""Bytes that the path of a runtime directory may have, so that every socket path in it stays under 107."""


@dataclass(frozen=True, slots=True)
class MscmrpSettings:
    """Where MS-CMRP is spoken, and whether port 135 of the same address tells so."""

    listen: HostPort
    endpoint_mapper: bool = False


@dataclass(frozen=True, slots=True)
class NodeConfiguration:
    """What a node's daemon is told. Every path is absolute."""

    node: NodeId
    database: Path | EtcdSettings
    """The file of the embedded store, or where etcd is."""
    state: Path
    saved: Path
    runtime: Path
    storage_roots: tuple[Path, ...]
    scripts_directory: Path | None = None
    storages: dict[str, Path] = field(default_factory=dict)
    shared_storages: frozenset[str] = frozenset()
    switches: dict[str, str] = field(default_factory=dict)
    qemu_account: str | None = None
    accelerator_cache: Path | None = None
    listen: HostPort | None = None
    peers: HostPort | None = None
    certificates: Path | None = None
    guard_is_external: bool = False
    watchdog: Path | None = None
    fence_directory: Path = AGENTS_DIRECTORY
    memory: int | None = None
    """Bytes for virtual machines; None: the host's memory less what is reserved."""
    is_fake: bool = False
    """The driver is the fake one."""
    mscmrp: MscmrpSettings | None = None


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
        database=_database(path, fields, reader),
        state=reader.path("state"),
        saved=reader.path("saved"),
        runtime=reader.path("runtime"),
        storage_roots=tuple(reader.resolve(text) for text in reader.texts("storage_roots")),
        scripts_directory=reader.path("scripts_directory") if "scripts_directory" in fields else None,
        storages={name: reader.resolve(text) for name, text in reader.table("storages").items()},
        shared_storages=_shared_storages(path, fields, reader),
        switches=reader.table("switches"),
        qemu_account=reader.text("qemu_account") if "qemu_account" in fields else None,
        accelerator_cache=reader.path("accelerator_cache") if "accelerator_cache" in fields else None,
        listen=_door(path, fields, "listen"),
        peers=_door(path, fields, "peers"),
        certificates=reader.path("certificates") if "certificates" in fields else None,
        guard_is_external=_guard_is_external(path, fields),
        watchdog=reader.path("watchdog") if "watchdog" in fields else None,
        fence_directory=reader.path("fence_directory") if "fence_directory" in fields else AGENTS_DIRECTORY,
        memory=_memory(path, fields),
        is_fake=_is_fake(path, fields),
        mscmrp=_mscmrp(path, fields),
    )
    if len(str(configuration.runtime).encode()) > RUNTIME_LENGTH:
        raise _wrong(path, "runtime", f"{configuration.runtime} has more than {RUNTIME_LENGTH} bytes: choose a shorter")
    return configuration


def _memory(path: Path, fields: dict[str, object]) -> int | None:
    value = fields.get("memory")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _wrong(path, "memory", "must be a number of MiB, 1 or more")
    return value * MIB


def _is_fake(path: Path, fields: dict[str, object]) -> bool:
    if fields.get("driver", "qemu") not in ("qemu", "fake"):
        raise _wrong(path, "driver", 'must be "qemu" or "fake" (virtual machines that live in the daemon, for trials)')
    return fields.get("driver") == "fake"


def _mscmrp(path: Path, fields: dict[str, object]) -> MscmrpSettings | None:
    table = fields.get("mscmrp")
    if table is None:
        return None
    if not isinstance(table, dict):
        raise _wrong(path, "mscmrp", "must be a table: listen, endpoint_mapper")
    if unknown := sorted(set(table) - {"listen", "endpoint_mapper"}):
        raise _wrong(path, f"mscmrp.{unknown[0]}", "is not a key of mscmrp (listen, endpoint_mapper)")
    place = _place(path, "mscmrp.listen", table.get("listen"))
    mapper = table.get("endpoint_mapper", False)
    if not isinstance(mapper, bool):
        raise _wrong(path, "mscmrp.endpoint_mapper", "must be true or false")
    return MscmrpSettings(place, mapper)


_ETCD_KEYS: Final = frozenset({"endpoints", "prefix", "ca", "cert", "key"})


def _database(path: Path, fields: dict[str, object], reader: "_Reader") -> Path | EtcdSettings:
    """Where the cluster database is: a file or etcd, never both."""
    if "etcd" not in fields:
        return reader.path("database")
    if "database" in fields:
        raise _wrong(path, "database", "and etcd exclude each other: the cluster database is in one of them")
    table = fields["etcd"]
    if not isinstance(table, dict):
        raise _wrong(path, "etcd", "must be a table: endpoints, prefix, ca, cert, key")
    if unknown := sorted(set(table) - _ETCD_KEYS):
        raise _wrong(path, f"etcd.{unknown[0]}", f"is not a key of etcd ({', '.join(sorted(_ETCD_KEYS))})")
    inner = _Reader(path, {f"etcd.{key}": value for key, value in table.items()})
    settings = EtcdSettings(
        endpoints=inner.texts("etcd.endpoints"),
        ca=inner.path("etcd.ca") if "ca" in table else None,
        cert=inner.path("etcd.cert") if "cert" in table else None,
        key=inner.path("etcd.key") if "key" in table else None,
        prefix=inner.text("etcd.prefix"),
    )
    try:
        settings.parsed()
    except CallerError as error:
        raise CallerError(error.status, f"{path}: {error.sentence}") from error
    return settings


def _door(path: Path, fields: dict[str, object], key: str) -> HostPort | None:
    """Where the node answers other machines: an address of its own, and what is shown there must be known."""
    value = fields.get(key)
    if value is None:
        return None
    place = _place(path, key, value)
    if place.is_wildcard and (key == "peers" or "peers" not in fields):
        raise _wrong(path, key, f"is {value}, which others cannot connect to: name this node's own address")
    if "certificates" not in fields:
        raise _wrong(path, key, "needs certificates as well: the directory of the node's key and certificates")
    return place


def _place(path: Path, key: str, value: object) -> HostPort:
    if not isinstance(value, str):
        raise _wrong(path, key, 'must be a text, "HOST:PORT"')
    try:
        return HostPort.parse(value)
    except CallerError as error:
        raise _wrong(path, key, f"is wrong: {error.sentence}") from error


def _guard_is_external(path: Path, fields: dict[str, object]) -> bool:
    if fields.get("guard", "own") not in ("own", "external"):
        raise _wrong(path, "guard", 'must be "own" (the daemon starts the guard) or "external" (somebody else does)')
    return fields.get("guard") == "external"


def _shared_storages(path: Path, fields: dict[str, object], reader: "_Reader") -> frozenset[str]:
    """Which storages every node sees: disks on the others cannot follow their machine to another node."""
    names = reader.texts("shared_storages") if "shared_storages" in fields else ()
    if unknown := sorted(set(names) - set(reader.table("storages"))):
        raise _wrong(path, "shared_storages", f"names {unknown[0]!r}, which is none of the storages")
    return frozenset(names)


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
