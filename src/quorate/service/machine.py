"""What one machine of a cluster has on its disk, and how it comes there: whole, or not at all.

/var/lib/quorate/             the state directory, 0700
    node.toml                 the node's configuration; written last: where it is, the machine is a member
    cluster.json              where the node answers clients of this machine
    certificates/             who the node is (peers/identity.py)
    etcd/                     ca.pem, client.pem, client.key: how etcd is reached
    vms/, images/, saved/     virtual machines
/run/quorate/node/            sockets and journals; what is there need not outlive the machine
"""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quorate.client.address import CLUSTER_FILE, MACHINE_DIRECTORY
from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import CallerError, FaultError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.database.etcd.settings import EtcdSettings
from quorate.database.member_records import StoreAccess
from quorate.database.plan import check_name
from quorate.peers.identity import NodeIdentity, write_private
from quorate.service.configuration import RUNTIME_LENGTH

DEFAULT_STATE: Final = MACHINE_DIRECTORY
DEFAULT_RUNTIME: Final = Path("/run/quorate/node")
NODE_FILE: Final = "node.toml"
CERTIFICATES: Final = "certificates"
_ETCD: Final = "etcd"
_IMAGES: Final = "images"


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine as its administrator wants it to be a node."""

    name: str
    listen: HostPort
    """Where it answers clients over HTTPS."""
    peers: HostPort
    """Where it answers the other nodes."""
    state: Path = DEFAULT_STATE
    runtime: Path | None = None
    saved: Path | None = None
    storage_roots: Sequence[Path] = field(default=())

    @property
    def sockets(self) -> Path:
        """The directory of its sockets."""
        if self.runtime is not None:
            return self.runtime.absolute()
        if self.state == DEFAULT_STATE:
            return DEFAULT_RUNTIME
        place = hashlib.sha256(str(self.state.absolute()).encode()).hexdigest()[:10]
        return Path("/run/quorate" if os.getuid() == 0 else f"/tmp/quorate-{os.getuid()}") / place / "node"

    @property
    def identity(self) -> NodeIdentity:
        """Its certificates."""
        return NodeIdentity(self.state.absolute() / CERTIFICATES)

    @property
    def configuration(self) -> Path:
        """Its configuration."""
        return self.state.absolute() / NODE_FILE

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names and addresses under which its certificate is good."""
        return tuple(dict.fromkeys((self.listen.host, self.peers.host)))

    def check(self) -> None:
        """Refuse what cannot be, before anything is asked or written. Raises CallerError, RefusalError 5065."""
        check_name("node", self.name)
        for option, place in (("--listen", self.listen), ("--peers", self.peers)):
            if place.port == 0:
                raise _wrong(f"{option} {place}: a port from 1 to 65535 is needed, the same at every start")
            if place.is_wildcard:
                raise _wrong(f"{option} {place}: name this machine's own address, at which the others reach it")
        if str(self.listen) == str(self.peers):
            raise _wrong(f"--listen and --peers are both {self.listen}: clients and nodes need a port each")
        if len(os.fsencode(self.sockets)) > RUNTIME_LENGTH:
            raise _wrong(f"--runtime {self.sockets}: more than {RUNTIME_LENGTH} bytes, choose a shorter one")
        if self.configuration.exists():
            raise RefusalError(
                Status.ERROR_CLUSTER_NODE_ALREADY_MEMBER,
                f"this machine is a node already: {self.configuration} is there; a machine that shall join another "
                "cluster is evicted first, and its state directory removed",
            )


def file_settings(machine: Machine, access: StoreAccess) -> EtcdSettings:
    """The etcd settings of a machine, with the files that ``write_store_access`` makes."""
    place = machine.state.absolute() / _ETCD
    return EtcdSettings(
        endpoints=access.endpoints,
        ca=place / "ca.pem" if access.ca else None,
        cert=place / "client.pem" if access.certificate else None,
        key=place / "client.key" if access.key else None,
        prefix=access.prefix,
    )


class MachineFiles:
    """Writes the files of a machine. Used as a context: what was written is taken back unless it was kept."""

    def __init__(self, machine: Machine) -> None:
        """Write nothing yet."""
        self._machine = machine
        self._state = machine.state.absolute()
        self._made: list[Path] = []
        self._kept = False

    def __enter__(self) -> "MachineFiles":
        parents = [path for path in (self._state, *self._state.parents) if not path.exists()]
        names = () if parents else (NODE_FILE, CLUSTER_FILE, CERTIFICATES, _ETCD, _IMAGES)
        self._made = [*(path for name in names if not (path := self._state / name).exists()), *parents]
        try:
            self._state.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _io(self._state, error) from error
        found = self._state.stat()
        if found.st_uid != os.getuid():
            raise CallerError(Status.ERROR_ACCESS_DENIED, f"{self._state} belongs to another account")
        if stat.S_IMODE(found.st_mode) & 0o077:
            self._state.chmod(0o700)
        return self

    def __exit__(self, *_: object) -> None:
        for path in () if self._kept else self._made:
            if path in self._state.parents:
                with suppress(OSError):  # somebody else has put something there meanwhile
                    path.rmdir()
            elif path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def keep(self) -> None:
        """Leave what was written where it is."""
        self._kept = True

    def write_store_access(self, access: StoreAccess) -> EtcdSettings:
        """Write what opens etcd, and give its settings with these files. Raises FaultError 1117."""
        place = self._state / _ETCD
        try:
            place.mkdir(exist_ok=True, mode=0o700)
            files = {"ca.pem": access.ca, "client.pem": access.certificate, "client.key": access.key}
            for name, content in files.items():
                if content:
                    write_private(place / name, content.encode())
        except OSError as error:
            raise _io(place, error) from error
        return file_settings(self._machine, access)

    def write_configuration(self, node: NodeId, cluster: str, settings: EtcdSettings) -> Path:
        """Write the node's configuration, with which the machine is a member; returns its path."""
        machine = self._machine
        described = {"id": node, "name": machine.name, "http": str(machine.sockets / "http")}
        text = json.dumps({"version": 1, "name": cluster, "nodes": [described]}, indent=2) + "\n"
        try:
            (self._state / _IMAGES).mkdir(exist_ok=True, mode=0o700)
            write_private(self._state / CLUSTER_FILE, text.encode())
            write_private(machine.configuration, _configuration(machine, node, settings).encode())
        except OSError as error:
            raise _io(self._state, error) from error
        return machine.configuration


def _configuration(machine: Machine, node: NodeId, settings: EtcdSettings) -> str:
    state = machine.state.absolute()

    def short(path: Path) -> str:
        return json.dumps(str(path.relative_to(state)) if path.is_relative_to(state) else str(path))

    etcd = [f"endpoints = {json.dumps(list(settings.endpoints))}", f"prefix = {json.dumps(settings.prefix)}"]
    for name, path in (("ca", settings.ca), ("cert", settings.cert), ("key", settings.key)):
        etcd += [f"{name} = {short(path)}"] if path is not None else []
    guard = (
        ["# systemd starts the guard: quorate-guard.service.", 'guard = "external"'] if state == DEFAULT_STATE else []
    )
    roots = [root.absolute() for root in machine.storage_roots] or [state / _IMAGES]
    lines = [
        f"# {machine.name}, a node of a cluster of several machines. Relative paths are relative to this file.",
        f"node = {json.dumps(node)}",
        'state = "."',
        f"runtime = {json.dumps(str(machine.sockets))}",
        "# Saved virtual machines: only from storage that every node sees can another node go on with one.",
        f"saved = {short(machine.saved.absolute() if machine.saved else state / 'saved')}",
        "# Disks of virtual machines must lie below one of these.",
        f"storage_roots = [{', '.join(short(root) for root in roots)}]",
        f"listen = {json.dumps(str(machine.listen))}",
        f"peers = {json.dumps(str(machine.peers))}",
        f"certificates = {short(machine.identity.directory)}",
        *guard,
        "",
        "[etcd]",
        *etcd,
    ]
    return "\n".join(lines) + "\n"


def _wrong(sentence: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, sentence)


def _io(path: Path, error: OSError) -> FaultError:
    return FaultError(Status.ERROR_IO_DEVICE, f"{path} cannot be written: {error.strerror}")
