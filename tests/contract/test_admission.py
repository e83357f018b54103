"""A cluster of several machines on a real etcd: made, joined, left, backed up, by the commands as people type them.

Every row of bad input: a clear error with its status, and nothing changed.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.contract.etcd_certificates import Authority
from tests.contract.etcd_cluster import EtcdCluster, free_port

from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.json_types import json_int, json_objects, json_text
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.backup import EPOCH_STEP
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Put
from quorate.database.etcd.settings import EtcdSettings
from quorate.database.member_records import JoinToken
from quorate.database.snapshot import ClusterSnapshot
from quorate.peers.client import Peers, PeerUnreachable
from quorate.peers.identity import NodeIdentity
from quorate.peers.join_token import JoinWord
from quorate.peers.tls import NodeTls
from quorate.service.configuration import read_configuration
from quorate.service.installation import prefix_of
from quorate.service.keeper import NOT_A_MEMBER
from quorate.service.stores import new_etcd_store

QUORATE = Path(sys.executable).with_name("quorate")
UP = 60.0
CHANGES_BY_ITSELF = (
    *(keys.LEASES, keys.EVENTS, keys.NODE_FACTS, keys.COORDINATOR),
    *(keys.registry_key(path) for path in (keys.NETWORKS, keys.NETWORK_INTERFACES)),
)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def status(self) -> int:
        return json_int(json.loads(self.err)["error"], "status")


class Lab:
    """Machines as directories of this one, with ports of their own; etcd is real and shared."""

    def __init__(self, directory: Path, etcd: EtcdCluster) -> None:
        self.directory = directory
        self.etcd = etcd
        self.runtime = Path(tempfile.mkdtemp(prefix="qa"))
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.systemd: dict[str, socket.socket] = {}
        self.heard: dict[str, list[str]] = {}

    def settings(self, cluster: str = "lab") -> EtcdSettings:
        etcd = self.etcd
        return EtcdSettings(
            etcd.endpoints, etcd.authority.certificate, etcd.client.certificate, etcd.client.key, prefix_of(cluster)
        )

    def access(self) -> list[str | Path]:
        etcd = self.etcd
        files = (etcd.authority.certificate, etcd.client.certificate, etcd.client.key)
        options = [f"--etcd-{what}={file}" for what, file in zip(("ca", "cert", "key"), files, strict=True)]
        return ["--etcd", ",".join(etcd.endpoints), *options]

    def place(self, name: str) -> list[str | Path]:
        doors = ["--listen", f"127.0.0.1:{free_port()}", "--peers", f"127.0.0.1:{free_port()}"]
        return ["--node", name, *doors, "--state", self.directory / name, "--runtime", self.runtime / name]

    def run(self, *words: str | Path, before: tuple[str, ...] = ()) -> Done:
        """Type a command."""
        argv = [*before, str(QUORATE), *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def at(self, name: str, *words: str | Path) -> Done:
        """Type a command that concerns the cluster, on a machine."""
        return self.run("--cluster", self.directory / name, *words)

    def token(self, name: str = "n1") -> str:
        return self.at(name, "node", "token").out.strip().splitlines()[-1]

    def dump(self, cluster: str = "lab") -> dict[str, bytes]:
        """What the database holds, but for what changes by itself."""

        async def read() -> dict[str, bytes]:
            store = new_etcd_store(self.settings(cluster))
            try:
                records = (await store.range("")).records
            finally:
                await store.close()
            return {record.key: record.value for record in records if not record.key.startswith(CHANGES_BY_ITSELF)}

        return asyncio.run(read())

    def snapshot(self) -> ClusterSnapshot:
        async def read() -> ClusterSnapshot:
            store = new_etcd_store(self.settings())
            try:
                return await ClusterDatabase(store).snapshot()
            finally:
                await store.close()

        return asyncio.run(read())

    # --- daemons ---------------------------------------------------------------------------------------------------

    def start(self, name: str) -> float:
        """Start a node's daemon and wait until it is up; the seconds that it took."""
        begun = time.monotonic()
        with (self.directory / f"{name}.log").open("ab") as log:
            argv = [str(QUORATE), "node", "run", "--config", str(self.directory / name / "node.toml")]
            environment = {**os.environ, "NOTIFY_SOCKET": self._listen(name), "WATCHDOG_USEC": "600000000"}
            self.daemons[name] = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        self.wait(lambda: self._runs(name) and self.state_of(name) == 0, f"{name} is up")
        self.wait(lambda: self._runs(name) and "READY=1" in self._hear(name), f"systemd hears that {name} is up")
        return time.monotonic() - begun

    def _listen(self, name: str) -> str:
        """Take systemd's place for a daemon."""
        path = self.runtime / f"{name}.notify"
        path.unlink(missing_ok=True)
        if name in self.systemd:
            self.systemd[name].close()
        self.heard.pop(name, None)
        self.systemd[name] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.systemd[name].bind(str(path))
        return str(path)

    def notices(self, name: str) -> list[str]:
        """What a daemon has told systemd since it was asked last."""
        self._hear(name)
        return self.heard.pop(name)

    def _hear(self, name: str) -> list[str]:
        heard = self.heard.setdefault(name, [])
        with suppress(BlockingIOError):
            while True:
                heard += self.systemd[name].recv(4096).decode().splitlines()
        return heard

    def _runs(self, name: str) -> bool:
        assert self.daemons[name].poll() is None, self.log(name)[-3000:]
        return True

    def state_of(self, name: str) -> int:
        nodes = json_objects(BlockingClient.at(str(self.directory / name)).call("ListNodes").as_json(), "nodes")
        return next(json_int(node, "state", -1) for node in nodes if json_text(node, "name") == name)

    def stop(self, name: str) -> int:
        """Stop a daemon as systemd does; its exit code."""
        daemon = self.daemons.pop(name)
        daemon.terminate()
        return daemon.wait(120)

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + UP
        while time.monotonic() < deadline:
            with suppress(ClusterError):
                if condition():
                    return
            time.sleep(0.05)
        logs = "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self.daemons)
        raise AssertionError(f"not within {UP:.0f} s: {what}\n{logs}")

    def close(self) -> None:
        for daemon in self.daemons.values():
            daemon.kill()
            daemon.wait()
        for path in Path("/proc").iterdir():  # the guards
            if path.name.isdigit() and str(self.runtime).encode() in _command_line(path):
                with suppress(ProcessLookupError):
                    os.kill(int(path.name), signal.SIGKILL)
        for listener in self.systemd.values():
            listener.close()
        shutil.rmtree(self.runtime, ignore_errors=True)


def _command_line(path: Path) -> bytes:
    try:
        return (path / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, etcd: EtcdCluster) -> Iterator[Lab]:
    """A cluster of one node, whose daemon runs."""
    directory = tmp_path_factory.mktemp("admission")
    (directory / "apart").mkdir()
    made = Lab(directory, etcd)
    try:
        done = made.run("cluster", "create", "Lab", *made.access(), *made.place("n1"))
        assert done.code == 0, done.err
        made.start("n1")
        yield made
    finally:
        made.close()


@pytest.fixture
def token(lab: Lab) -> str:
    """A token that nobody has used."""
    return lab.token()


def unchanged(lab: Lab, call: Callable[[], Done]) -> Done:
    """Type a command that is refused: nothing has changed after it, neither in etcd nor on this machine."""
    for _ in range(5):  # a daemon that was started a moment ago may have something to write as well, but only once
        before, files = lab.dump(), sorted(lab.directory.rglob("*"))
        done = call()
        assert done.code != 0, done.out
        after = lab.dump()
        if after == before:
            break
    assert (done.out, after) == ("", before)
    ours = [path for path in sorted(lab.directory.rglob("*")) if path not in files and "apart" not in path.parts]
    assert [path for path in ours if not any(f"/{name}" in str(path) for name in ("n1", *lab.daemons))] == []
    return done


def test_systemd_hears_that_the_daemon_is_up_and_alive(lab: Lab) -> None:
    notices = lab.notices("n1")
    assert "WATCHDOG=1" in notices
    assert notices[-2:] == ["READY=1", "STATUS=node 1 is up"]


# --- A cluster is made -----------------------------------------------------------------------------------------------


def test_a_second_cluster_of_the_same_name_is_refused(lab: Lab) -> None:
    done = unchanged(lab, lambda: lab.run("--json", "cluster", "create", "LAB", *lab.access(), *lab.place("nx")))
    assert (done.code, done.status) == (1, Status.ERROR_CLUSTER_CANT_CREATE_DUP_CLUSTER_NAME)


def test_another_cluster_lives_in_the_same_etcd(lab: Lab) -> None:
    before = lab.dump()
    assert lab.run("cluster", "create", "Other", *lab.access(), *lab.place("other")).code == 0
    assert lab.dump() == before
    assert set(lab.dump("other")) & set(before), "the same keys below another prefix"
    again = lab.run("--json", "cluster", "create", "Third", *lab.access(), *lab.place("other"))
    assert again.status == Status.ERROR_CLUSTER_NODE_ALREADY_MEMBER


@pytest.mark.parametrize("what", ["ca", "client", "none", "key"])
def test_wrong_certificates_for_etcd_are_told_apart(what: str, lab: Lab) -> None:
    etcd, other = lab.etcd, Authority(lab.directory / "apart" / f"wrong-{what}", "other")
    pair = other.issue("client")
    ca, cert, key = etcd.authority.certificate, etcd.client.certificate, etcd.client.key
    files = {
        "ca": [f"--etcd-ca={other.certificate}", f"--etcd-cert={cert}", f"--etcd-key={key}"],
        "client": [f"--etcd-ca={ca}", f"--etcd-cert={pair.certificate}", f"--etcd-key={pair.key}"],
        "none": [f"--etcd-ca={ca}"],
        "key": [f"--etcd-ca={ca}", f"--etcd-cert={cert}", f"--etcd-key={pair.key}"],
    }[what]
    words = ["--json", "cluster", "create", "New", "--etcd", etcd.endpoints[0], *files]
    done = unchanged(lab, lambda: lab.run(*words, *lab.place("nx")))
    assert (done.code, done.status) == (1, Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT)
    assert lab.dump("new") == {}


def test_what_is_typed_wrongly_is_refused_at_once(lab: Lab) -> None:
    access, place = lab.access(), lab.place("nx")
    deaf = ["here" if place[number - 1] == "--listen" else word for number, word in enumerate(place)]
    wrong: list[tuple[list[str | Path], int]] = [
        (["New", "--etcd", "http//x", *place], Status.ERROR_INVALID_PARAMETER),
        (
            ["New", "--etcd", "https://127.0.0.1:1", "--etcd-ca", "/no/such/file", *place],
            Status.ERROR_INVALID_PARAMETER,
        ),
        (["New", *access, *deaf], Status.ERROR_INVALID_PARAMETER),
        (["", *access, *place], Status.ERROR_INVALID_NAME),
        (["New", *access, "--node", " ", *place[2:]], Status.ERROR_INVALID_NAME),
    ]
    for words, status in wrong:
        done = unchanged(lab, lambda words=words: lab.run("--json", "cluster", "create", *words))  # type: ignore[misc]
        assert (done.code, done.status) == (2, status), done.err


def test_nobody_there_is_no_etcd(lab: Lab) -> None:
    words = ["--json", "cluster", "create", "New", "--etcd", "http://127.0.0.1:1", *lab.place("nx")]
    done = unchanged(lab, lambda: lab.run(*words))
    assert (done.code, done.status) == (3, Status.RPC_S_SERVER_UNAVAILABLE)


# --- A machine joins -------------------------------------------------------------------------------------------------


def test_a_machine_joins_runs_is_evicted_and_hears_of_it(lab: Lab, token: str) -> None:
    another = lab.token()
    joined = lab.run("node", "join", token, *lab.place("n2"))
    assert joined.code == 0, joined.err
    assert 'this machine is node 2, "n2", of the cluster "Lab"' in joined.out
    seconds = lab.start("n2")
    print(f"from the start of the daemon to Up: {seconds:.2f} s")
    lab.wait(lambda: _sees(lab, "n1", "n2") == 0, "n1 sees n2 up")

    used = unchanged(lab, lambda: lab.run("--json", "node", "join", token, *lab.place("n3")))
    assert (used.code, used.status) == (1, Status.ERROR_CLUSTER_OBJECT_ALREADY_USED)
    taken = unchanged(lab, lambda: lab.run("--json", "node", "join", another, *lab.place("N2")))
    assert (taken.code, taken.status) == (2, Status.ERROR_CLUSTER_NODE_EXISTS)

    asked = lab.at("n1", "--json", "node", "evict", "n2")
    assert (asked.code, asked.status) == (2, Status.ERROR_INVALID_PARAMETER), "nobody is here to answer"
    assert lab.at("n1", "node", "evict", "n2", "--yes").code == 0
    assert lab.daemons["n2"].wait(120) == NOT_A_MEMBER
    assert "n2 was evicted from the cluster at" in lab.log("n2")
    assert list(lab.snapshot().nodes) == ["1"]
    assert list(lab.snapshot().leases) == ["1"], "nothing brings its lease back"
    lab.daemons.pop("n2")
    again = lab.run("node", "run", "--config", lab.directory / "n2" / "node.toml")
    assert again.code == NOT_A_MEMBER
    _check_refused_by_peers(lab)

    early = unchanged(lab, lambda: lab.run("--json", "node", "join", another, *lab.place("n3")))
    assert (early.code, early.status) == (1, Status.ERROR_RETRY)
    assert lab.at("n1", "cluster", "set", "AddEvictDelay=0").code == 0
    assert lab.run("node", "join", another, *lab.place("n3")).code == 0
    assert lab.snapshot().node("n3").id == "3", "a number is never given twice"


def _sees(lab: Lab, one: str, other: str) -> int:
    nodes = json_objects(BlockingClient.at(str(lab.directory / one)).call("ListNodes").as_json(), "nodes")
    return next(json_int(node, "state", -1) for node in nodes if json_text(node, "name") == other)


def _check_refused_by_peers(lab: Lab) -> None:
    """The evicted node's certificate is genuine, in time, and good for nothing."""
    snapshot = lab.snapshot()
    configuration = read_configuration(lab.directory / "n2" / "node.toml")
    address = read_configuration(lab.directory / "n1" / "node.toml").peers
    assert configuration.certificates is not None
    tls = NodeTls(NodeIdentity(configuration.certificates), snapshot.cluster.instance_id)

    async def call() -> None:
        peers = Peers(lambda _: f"tcp:{address}", tls)
        with pytest.raises(ClusterError, match="evicted") as caught:
            await peers.call(snapshot.node("n1").id, "ping", {}, 5.0)
        assert not isinstance(caught.value, PeerUnreachable)
        await peers.close()

    asyncio.run(call())


def test_an_expired_token_is_refused(lab: Lab, token: str) -> None:
    word = JoinWord.parse(token)

    async def expire() -> None:
        store = new_etcd_store(lab.settings())
        record = await store.get(keys.token(word.id))
        assert record is not None
        old = JoinToken.decode(record.value)
        new = JoinToken(old.secret_hash, datetime.now(UTC) - timedelta(seconds=1), old.actor)
        await store.transact([], [Put(record.key, new.encode())])
        await store.close()

    asyncio.run(expire())
    done = unchanged(lab, lambda: lab.run("--json", "node", "join", token, *lab.place("nx")))
    assert (done.code, done.status) == (2, Status.ERROR_ACCOUNT_EXPIRED)


@pytest.mark.parametrize("spoil", ["x", "quorate-join-AAAA"])
def test_what_is_no_token_is_refused(spoil: str, lab: Lab) -> None:
    done = unchanged(lab, lambda: lab.run("--json", "node", "join", spoil, *lab.place("nx")))
    assert (done.code, done.status) == (2, Status.ERROR_INVALID_PARAMETER)


@pytest.mark.skipif(shutil.which("faketime") is None, reason="this machine has no faketime")
@pytest.mark.parametrize("shift", ["-3600s", "+90s"])
def test_a_machine_whose_clock_is_wrong_is_refused_with_the_seconds(shift: str, lab: Lab, token: str) -> None:
    words = ["--json", "node", "join", token, *lab.place("nx")]
    done = unchanged(lab, lambda: lab.run(*words, before=("faketime", "-f", shift)))
    assert (done.code, done.status) == (1, Status.ERROR_TIME_SKEW)
    seconds = 3600 if shift.startswith("-") else 90
    assert any(f" {number} s " in done.err for number in range(seconds - 5, seconds + 6)), done.err


@pytest.mark.skipif(shutil.which("faketime") is None, reason="this machine has no faketime")
def test_a_cluster_is_not_made_on_a_machine_whose_clock_is_not_that_of_etcd(lab: Lab) -> None:
    words = ["--json", "cluster", "create", "New", *lab.access(), *lab.place("nx")]
    done = unchanged(lab, lambda: lab.run(*words, before=("faketime", "-f", "-120s")))
    assert (done.code, done.status) == (1, Status.ERROR_TIME_SKEW)
    assert "etcd's member" in done.err


# --- Properties and levels -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "status"),
    [
        ("Nonsense=1", Status.ERROR_INVALID_PARAMETER),
        ("AddEvictDelay=601", Status.ERROR_INVALID_DATA),
        ("AddEvictDelay=soon", Status.ERROR_INVALID_PARAMETER),
        ("ClusterFunctionalLevel=99", Status.ERROR_INVALID_PARAMETER),
        ("SameSubnetDelay=250", Status.ERROR_INVALID_PARAMETER),  # 1.25 s: too short for etcd
    ],
)
def test_an_unknown_property_and_one_out_of_range_change_nothing(assignment: str, status: Status, lab: Lab) -> None:
    done = unchanged(lab, lambda: lab.at("n1", "--json", "cluster", "set", assignment))
    assert (done.code, done.status) == (2, status)


def test_a_cluster_of_one_version_has_nothing_to_upgrade(lab: Lab) -> None:
    before = lab.dump()
    done = lab.at("n1", "cluster", "upgrade", "--yes")
    assert (done.code, "there is nothing to raise" in done.out) == (0, True)
    assert lab.dump() == before


# --- Backup and restore ----------------------------------------------------------------------------------------------


def test_a_backup_of_etcd_is_restored_while_no_node_is_up(lab: Lab) -> None:
    file = lab.directory / "apart" / "backup"
    made = lab.at("n1", "cluster", "backup", file)
    assert made.code == 0, made.err
    assert "it holds the cluster's secrets" in made.out
    assert lab.at("n1", "cluster", "rename", "Later").code == 0
    up = unchanged(lab, lambda: lab.at("n1", "--json", "cluster", "restore", file, "--yes"))
    assert (up.code, up.status) == (1, Status.ERROR_CLUSTER_NODE_UP)
    assert lab.stop("n1") == 0
    assert lab.notices("n1") == ["STOPPING=1", "STATUS=going down; virtual machines go on"]
    done = lab.at("n1", "cluster", "restore", file, "--yes")
    assert done.code == 0, done.err
    snapshot = lab.snapshot()
    assert snapshot.cluster.name == "Lab"
    assert all(ownership.value.epoch > EPOCH_STEP for ownership in snapshot.ownership.values())
    lab.start("n1")
    events = lab.at("n1", "events").out
    assert "was restored from the backup of" in " ".join(events.split())


# --- etcd without quorum: the last, since it is not given back -------------------------------------------------------


def test_an_etcd_without_quorum_makes_no_cluster(lab: Lab) -> None:
    lab.stop("n1")
    before = sorted(lab.directory.rglob("*"))
    for member in lab.etcd.members[:2]:
        member.kill()
    words = ["--json", "cluster", "create", "New", *lab.access(), *lab.place("nx")]
    lab.wait(lambda: lab.run(*words).status == Status.ERROR_CLUSTER_NO_QUORUM, "the last member knows")
    done = lab.run(*words)
    assert (done.code, done.status) == (3, Status.ERROR_CLUSTER_NO_QUORUM)
    assert "bring more than half of its members back" in done.err
    assert [path for path in sorted(lab.directory.rglob("*")) if path not in before and "apart" not in path.parts] == []
    for member in lab.etcd.members[:2]:
        member.start()
    lab.etcd.wait_healthy()
    assert lab.dump("new") == {}
