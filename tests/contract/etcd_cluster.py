"""A real etcd cluster for tests: members with mutual TLS, on loopback or in network namespaces.

::

    with EtcdCluster(tmp_path) as etcd:                       # three members on loopback, healthy
        etcd.endpoints, etcd.authority.certificate, etcd.client.certificate, etcd.client.key
        etcd.leader().kill(); ...; etcd.members[0].freeze(); ...; etcd.members[0].thaw()

    places = [Place("10.7.0.1", ("ip", "netns", "exec", "q1")), Place("10.7.0.2", ("ip", "netns", "exec", "q2"))]
    with EtcdCluster(tmp_path, places) as etcd: ...           # one member in each namespace

Every member is a child of the test and is ended by its pid, whatever happens: by leaving the ``with`` block, by the end
of the interpreter, and, should the test be killed, by a reaper that hears of that.
"""

import atexit
import contextlib
import errno
import http.client
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.contract.etcd_certificates import Authority, KeyPair
from tests.waiting import PATIENCE

from quorate.database.etcd.settings import EtcdSettings

ROOT: Final = Path(__file__).resolve().parents[2]
_PORTS: Final = range(20_000, 32_000)  # below those that the kernel gives to outgoing connections
_ASK: Final = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.contract.etcd_cluster import ask
print(ask(sys.argv[2], int(sys.argv[3]), sys.argv[4], *sys.argv[5:8]))
"""

# Ends the processes whose pids it was told (+PID) and not untold (-PID) when its input ends: when the test is no more.
_REAPER: Final = """
import os, sys
pids = set()
for line in sys.stdin:
    (pids.add if line[0] == "+" else pids.discard)(int(line[1:]))
for pid in pids:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass
"""


def etcd_program() -> Path:
    """The server: what scripts/setup has unpacked, else the machine's own."""
    unpacked = ROOT / "build" / "etcd" / "etcd"
    if unpacked.exists():
        return unpacked
    found = shutil.which("etcd")
    if found is None:
        raise FileNotFoundError("there is no etcd for the tests: call scripts/setup test")
    return Path(found)


def free_port(address: str = "127.0.0.1") -> int:
    """A port on which nobody listens at the moment."""
    for _ in range(200):
        port = random.choice(_PORTS)
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            return port
    raise OSError(errno.EADDRINUSE, f"no free port at {address}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member runs: its address, the command before its own (a namespace), its ports (0: a free one)."""

    address: str = "127.0.0.1"
    command_prefix: tuple[str, ...] = ()
    client_port: int = 0
    peer_port: int = 0

    def with_ports(self) -> "Place":
        """The same place with its ports chosen; in a namespace, where the address cannot be tried, etcd's own."""
        if self.command_prefix:
            return Place(self.address, self.command_prefix, self.client_port or 2379, self.peer_port or 2380)
        return Place(
            self.address, (), self.client_port or free_port(self.address), self.peer_port or free_port(self.address)
        )


class EtcdMember:
    """One member's process."""

    def __init__(self, cluster: "EtcdCluster", name: str, place: Place) -> None:
        self.name = name
        self.place = place
        self.client_url = f"https://{_host(place.address)}:{place.client_port}"
        self.peer_url = f"https://{_host(place.address)}:{place.peer_port}"
        self.data = cluster.directory / name
        self.log = cluster.directory / f"{name}.log"
        self._cluster = cluster
        self._pair = cluster.authority.issue(name, [place.address, "localhost"])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process; a member that does not run has none."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Tell whether the process exists, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process, for the first time or again; does not wait until it serves."""
        assert not self.is_running, f"{self.name} runs"
        cluster = self._cluster
        command = [
            *self.place.command_prefix,
            str(etcd_program()),
            f"--name={self.name}",
            f"--data-dir={self.data}",
            f"--listen-client-urls={self.client_url}",
            f"--advertise-client-urls={self.client_url}",
            f"--listen-peer-urls={self.peer_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            "--initial-cluster=" + ",".join(f"{member.name}={member.peer_url}" for member in cluster.members),
            f"--initial-cluster-token={cluster.token}",
            "--client-cert-auth",
            f"--trusted-ca-file={cluster.authority.certificate}",
            f"--cert-file={self._pair.certificate}",
            f"--key-file={self._pair.key}",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={cluster.authority.certificate}",
            f"--peer-cert-file={self._pair.certificate}",
            f"--peer-key-file={self._pair.key}",
            "--pre-vote=true",  # who was cut off must not overthrow the leader on its return
            "--logger=zap",
            "--log-level=warn",
            *cluster.options,
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        cluster.tell_reaper(f"+{self._process.pid}")

    def kill(self) -> None:
        """End the process at once, as by ``kill -9``; its data stays."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait(PATIENCE)
            self._cluster.tell_reaper(f"-{self._process.pid}")
            self._process = None

    def freeze(self) -> None:
        """Stop the process without ending it (SIGSTOP): its connections stay open, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def ask(self, path: str) -> dict[str, object]:
        """Ask over HTTP; from inside the member's namespace if it has one. Raises OSError when it does not answer."""
        pair = self._cluster.operator
        files = [str(self._cluster.authority.certificate), str(pair.certificate), str(pair.key)]
        place = self.place
        if not place.command_prefix:
            return _object(ask(place.address, place.client_port, path, *files))
        command = [
            *place.command_prefix, sys.executable, "-c", _ASK, str(ROOT), place.address, str(place.client_port),
            path, *files,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode != 0:
            raise OSError(done.stderr.strip().rpartition("\n")[2])
        return _object(done.stdout)

    def is_healthy(self) -> bool:
        """Tell whether the member serves and knows a leader."""
        try:
            return self.is_running and self.ask("/health").get("health") == "true"
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def is_leader(self) -> bool:
        """Tell whether the member leads. Raises OSError when it does not answer."""
        status = self.ask("/v3/maintenance/status")
        header = status["header"]
        assert isinstance(header, dict)
        return bool(status.get("leader") == header["member_id"])


class EtcdCluster:
    """Several members that form one cluster."""

    def __init__(
        self,
        directory: Path,
        places: Sequence[Place] = (Place(), Place(), Place()),
        *,
        options: Sequence[str] = (),
    ) -> None:
        """Prepare data, logs and certificates below ``directory``; ``options`` are more arguments for every member."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.options = tuple(options)
        self.token = f"quorate-test-{random.getrandbits(48):x}"
        self.authority = Authority(directory / "tls")
        self.client: KeyPair = self.authority.issue("client", common_name="quorate")
        self.operator: KeyPair = self.authority.issue("operator")
        self._reaper: subprocess.Popen[str] | None = None
        self.members: list[EtcdMember] = []
        self.members.extend(
            EtcdMember(self, f"etcd{number}", place.with_ports()) for number, place in enumerate(places, 1)
        )

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The members' addresses for clients."""
        return tuple(member.client_url for member in self.members)

    def settings(self, prefix: str = "quorate/test/") -> EtcdSettings:
        """For a store in this cluster, as the client "quorate"."""
        pair = self.client
        return EtcdSettings(self.endpoints, self.authority.certificate, pair.certificate, pair.key, prefix)

    def new_prefix(self) -> str:
        """A prefix that no store has used yet."""
        return f"quorate/{random.getrandbits(48):x}/"

    def start(self, timeout: float = 2 * PATIENCE) -> None:
        """Start all members and wait until each is healthy."""
        atexit.register(self.close)
        for member in self.members:
            member.start()
        self.wait_healthy(timeout)

    def wait_healthy(self, timeout: float = 2 * PATIENCE) -> None:
        """Wait until every member that runs is healthy. A member that ends meanwhile is an error."""
        running = [member for member in self.members if member.is_running]
        self._wait(lambda: all(member.is_healthy() for member in running), timeout, running)

    def leader(self, timeout: float = PATIENCE) -> EtcdMember:
        """The member that leads; waits until there is one."""
        found: list[EtcdMember] = []

        def look() -> bool:
            for member in self.members:
                with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                    if member.is_running and member.is_leader():
                        found.append(member)
                        return True
            return False

        self._wait(look, timeout, [])
        return found[0]

    def tell_reaper(self, line: str) -> None:
        """Tell the reaper, which is there from the first line on, of a process that began or ended."""
        if self._reaper is None:
            self._reaper = subprocess.Popen(
                [sys.executable, "-c", _REAPER], stdin=subprocess.PIPE, text=True, start_new_session=True
            )
        assert self._reaper.stdin is not None
        self._reaper.stdin.write(f"{line}\n")
        self._reaper.stdin.flush()

    def close(self) -> None:
        """End every member, frozen ones too."""
        atexit.unregister(self.close)
        for member in self.members:
            member.kill()
        if self._reaper is not None:
            self._reaper.communicate(timeout=PATIENCE)
            self._reaper = None

    def _wait(self, condition: Callable[[], bool], timeout: float, expected: Sequence[EtcdMember]) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            ended = [member for member in expected if not member.is_running]
            if ended or time.monotonic() > deadline:
                logs = "\n".join(f"--- {m.name}\n{_tail(m.log)}" for m in ended or self.members)
                raise RuntimeError(f"etcd {'ended' if ended else f'is not ready after {timeout:g} s'}\n{logs}")
            time.sleep(0.05)

    def __enter__(self) -> "EtcdCluster":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def ask(address: str, port: int, path: str, ca: str, certificate: str, key: str) -> str:
    """One HTTP request to a member: GET for /health, POST of an empty object for what lies below /v3/."""
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    connection = http.client.HTTPSConnection(address, port, timeout=2.0, context=context)
    try:
        if path.startswith("/v3/"):
            connection.request("POST", path, body=b"{}", headers={"Content-Type": "application/json"})
        else:
            connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def _object(text: str) -> dict[str, object]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"not an object: {text!r}")
    return value


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:]) if path.exists() else "(no log)"
