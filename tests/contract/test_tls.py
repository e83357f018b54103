"""The clients' door over TLS: who may enter and what for, and that nobody who may not keeps it busy."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.contract.tls_rig import Rig, running_rig
from tests.unit.peers.certificates import OTHER_INSTANCE, Authorities, now
from tests.waiting import PATIENCE

from quorate.cli.main import run as run_command
from quorate.client import connect
from quorate.client.address import node_addresses
from quorate.client.credentials import add_user
from quorate.client.functions import CloseCluster, OpenCluster, OpenClusterEx
from quorate.clusapi.control_codes import CLUSCTL_CLUSTER_SET_COMMON_PROPERTIES
from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import json_text
from quorate.clusapi.operation_types import Access
from quorate.clusapi.operations import OPERATIONS
from quorate.clusapi.status import Status
from quorate.database.credentials import UserRecord
from quorate.peers.authority import describe, issue_user, new_request
from quorate.peers.identity import write_private
from quorate.peers.tls import HANDSHAKE_TIMEOUT, client_context
from quorate.server.validation.facts import Situation
from quorate.server.validation.users import check_users
from quorate.service.certificates import CertificateKeeper

ONE = NodeId("1")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with running_rig(tmp_path) as rig:
        yield rig


def refused(error: type[ClusterError], status: Status) -> "pytest.RaisesExc[ClusterError]":
    return pytest.raises(error, check=lambda raised: raised.status is status)


def group_names(rig: Rig) -> set[str]:
    return {group.name for group in rig.run(rig.database.snapshot()).groups.values()}


# --- users who may enter ---------------------------------------------------------------------------------------------


def test_a_user_with_full_access_does_everything_under_its_name(rig: Rig) -> None:
    client = rig.client(rig.user("alice"))
    assert client.call("GetClusterInformation").text("name") == "prod"
    client.call("CreateGroup", name="web")
    assert "web" in group_names(rig)
    assert [event["actor"] for event in rig.events("group.added")] == ["alice"]


def test_a_user_with_read_access_is_refused_every_change(rig: Rig) -> None:
    client = rig.client(rig.user("bob", "read"))
    assert client.call("ListNodes").objects("nodes")
    for name, operation in OPERATIONS.items():
        if operation.access is Access.FULL:
            inputs = {field.name: _anything(field.type.value) for field in operation.inputs if not field.optional}
            with refused(CallerError, Status.ERROR_ACCESS_DENIED):
                client.call(name, full_access=True, **inputs)
    with refused(CallerError, Status.ERROR_ACCESS_DENIED):
        client.call("ClusterControl", control_code=CLUSCTL_CLUSTER_SET_COMMON_PROPERTIES, in_buffer=b"")
    assert group_names(rig) == {"Cluster Group"}


def _anything(kind: str) -> Any:
    return {"u32": 1, "u64": 1, "bytes": b"x", "flag": True, "ids": (), "object": {}}.get(kind, "1")


def test_a_user_with_full_access_may_renounce_it(rig: Rig) -> None:
    credentials = rig.user("alice")

    async def look() -> None:
        async with connect(rig.url(), credentials=str(credentials), read_only=True) as cluster:
            assert await cluster.call("ListGroups")
            with refused(CallerError, Status.ERROR_ACCESS_DENIED):
                await cluster.call("CreateGroup", name="web")

    asyncio.run(look())


def test_the_asynchronous_client_does_the_same(rig: Rig) -> None:
    credentials = rig.user("alice")

    async def work() -> None:
        async with connect(rig.url(), credentials=str(credentials)) as cluster:
            await cluster.call("CreateGroup", name="web")
            status = await cluster.status()
            assert [json_text(node, "name") for node in status["nodes"]] == ["node1", "node2"]  # type: ignore[arg-type, union-attr]

    asyncio.run(work())


def test_the_functions_of_clusapi_open_a_cluster_by_its_url(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORATE_CREDENTIALS", str(rig.user("alice")))
    cluster = OpenCluster(rig.url())
    assert CloseCluster(cluster)
    monkeypatch.setenv("QUORATE_CREDENTIALS", str(rig.user("bob", "read")))
    assert CloseCluster(OpenClusterEx(rig.url(), 1))


def test_a_request_for_another_node_keeps_its_caller(rig: Rig) -> None:
    """Forwarding goes between the nodes; the other one refuses in the same way."""
    with refused(CallerError, Status.ERROR_ACCESS_DENIED):
        rig.client(rig.user("bob", "read"), rig.url("2")).call("DeleteGroup", group="Cluster Group")
    with refused(RefusalError, Status.ERROR_CORE_RESOURCE):
        rig.client(rig.user("alice"), rig.url("2")).call("DeleteGroup", group="Cluster Group")


def test_who_came_from_where_and_what_came_of_it_is_written_down(rig: Rig) -> None:
    alice, bob = rig.client(rig.user("alice")), rig.client(rig.user("bob", "read"))
    alice.call("CreateGroup", name="web")
    with refused(CallerError, Status.ERROR_ACCESS_DENIED):
        bob.call("DeleteGroup", group="web")
    with refused(CallerError, Status.ERROR_GROUP_NOT_FOUND):
        alice.call("DeleteGroup", group="gone")
    bob.call("ListGroups")
    rig.run(rig.database.credentials.remove_user("bob"))
    rig.run(rig.seen_by_all())
    with refused(CallerError, Status.ERROR_LOGON_FAILURE):
        bob.call("ListGroups")
    rig.run(rig.audits[NodeId("1")].close())
    told = [event for event in rig.run(rig.database.latest_events(100)) if event.kind.startswith("audit.")]
    assert [event.sentence for event in told] == [
        "alice logged on at 127.0.0.1",
        'alice at 127.0.0.1 asked for CreateGroup of "web": done',
        "bob logged on at 127.0.0.1",
        'bob at 127.0.0.1 was refused DeleteGroup of "web": it needs full access',
        'alice at 127.0.0.1 asked for DeleteGroup of "gone": not done, status 5013 ERROR_GROUP_NOT_FOUND',
        '"bob" at 127.0.0.1 was not let in: '
        'the certificate of "bob" counts no more: the user was removed, or has a newer one',
        "alice logged on at 127.0.0.1; once more in a minute",
        "bob logged on at 127.0.0.1; once more in a minute",
        "bob at 127.0.0.1 asked once without changing anything",
    ]
    assert alice.call("GetEvents", kind="audit").objects("events")
    plain = alice.call("GetEvents", limit=100).objects("events")
    assert not [event for event in plain if str(event["kind"]).startswith("audit")], "only for who asks for it"


def test_events_are_followed_over_tls(rig: Rig) -> None:
    client = rig.client(rig.user("bob", "read"))
    rig.client(rig.user("alice")).call("CreateGroup", name="web")
    stream = client.stream("/v1/events?after=0")
    kinds = []
    for _, event in stream:
        kinds.append((event["kind"], event["actor"]))
        if len(kinds) == 1:
            rig.client(rig.user("alice")).call("CreateGroup", name="db")
        if kinds.count(("group.added", "alice")) == 2:
            break
    assert isinstance(stream, Generator)
    stream.close()


# --- users who may not -----------------------------------------------------------------------------------------------


def test_a_removed_user_is_refused_at_once_and_its_streams_end(rig: Rig) -> None:
    credentials = rig.user("bob", "read")
    client = rig.client(credentials)
    rig.client(rig.user("alice")).call("CreateGroup", name="web")
    ended = threading.Event()
    followed = threading.Event()

    def follow() -> None:
        try:
            for _ in client.stream("/v1/events?after=0"):
                followed.set()
        except FaultError:
            pass
        ended.set()

    follower = threading.Thread(target=follow)
    follower.start()
    assert followed.wait(PATIENCE)
    rig.client(rig.user("alice")).call("RemoveUser", name="Bob")
    rig.run(rig.seen_by_all())
    with refused(CallerError, Status.ERROR_LOGON_FAILURE) as raised:
        client.call("ListNodes")
    assert 'the certificate of "bob" counts no more' in raised.value.sentence
    assert ended.wait(PATIENCE)
    follower.join()
    assert [event["object_name"] for event in rig.events("user.removed")] == ["Bob"]


def test_a_replaced_certificate_is_refused(rig: Rig) -> None:
    old = rig.user("alice")
    new = rig.directory / "new"
    rig.listed(rig.authorities.credentials(new, "alice"))
    with refused(CallerError, Status.ERROR_LOGON_FAILURE):
        rig.client(old).call("CreateGroup", name="web")
    rig.client(new).call("CreateGroup", name="web")


def test_a_user_gets_another_certificate_with_the_old_one(rig: Rig, tmp_path: Path) -> None:
    """The answer brings the new one, though the old one counts no more from that moment on."""
    old = rig.user("alice")
    for number in range(5):
        new = tmp_path / str(number)
        add_user(rig.client(old), "alice", "full", new, replace=True)
        rig.run(rig.seen_by_all())
        with refused(CallerError, Status.ERROR_LOGON_FAILURE):
            rig.client(old).call("ListNodes")
        old = new
    assert rig.client(old).call("ListNodes")


def test_a_certificate_that_was_never_listed_is_refused(rig: Rig, tmp_path: Path) -> None:
    rig.authorities.credentials(tmp_path / "mallory", "mallory")
    with refused(CallerError, Status.ERROR_LOGON_FAILURE):
        rig.client(tmp_path / "mallory").call("ListNodes")


def test_a_role_is_what_the_cluster_gave(rig: Rig, tmp_path: Path) -> None:
    """A certificate that says more than the list is good for what the list says."""
    certificate = rig.authorities.credentials(tmp_path / "eve", "eve", "full")
    facts = describe(certificate)
    record = UserRecord("eve", facts.serial, "read", facts.not_after)
    rig.run(rig.database.credentials.add_user(record))
    rig.run(rig.seen_by_all())
    client = rig.client(tmp_path / "eve")
    client.call("ListNodes")
    with refused(CallerError, Status.ERROR_ACCESS_DENIED):
        client.call("CreateGroup", name="web")


def strange(rig: Rig, directory: Path) -> Path:
    """Of another authority of the same name, but trusting the cluster's nodes."""
    Authorities.make(rig.authorities.instance_id).credentials(directory, "alice")
    write_private(directory / "ca.crt", rig.authorities.nodes.certificate_pem)
    return directory


def expired(rig: Rig, directory: Path) -> Path:
    rig.listed(rig.authorities.credentials(directory, "alice", days=1, at=now() - timedelta(days=3)))
    return directory


def of_a_node(rig: Rig, directory: Path) -> Path:
    identity = rig.authorities.identity(directory, "1")
    for old, new in (("node.crt", "user.crt"), ("node.key", "user.key"), ("nodes-ca.crt", "ca.crt")):
        (identity.directory / old).rename(identity.directory / new)
    return directory


def of_another_cluster(rig: Rig, directory: Path) -> Path:
    """Signed by our authority for another instance: our authority never does, but who knows."""
    rig.user("alice")
    key, request = new_request("alice")
    certificate = issue_user(rig.authorities.users, request, "alice", "full", OTHER_INSTANCE, now())
    rig.authorities.credentials(directory, "alice")
    write_private(directory / "user.key", key)
    write_private(directory / "user.crt", certificate)
    return directory


@pytest.mark.parametrize("make", [strange, expired, of_a_node, of_another_cluster])
@pytest.mark.parametrize("operation", ["ListNodes", "CreateGroup"])
def test_a_wrong_certificate_is_refused_and_nothing_changes(
    rig: Rig, tmp_path: Path, make: Callable[[Rig, Path], Path], operation: str
) -> None:
    credentials = make(rig, tmp_path / "wrong")
    inputs: dict[str, Any] = {"name": "web"} if operation == "CreateGroup" else {}
    with refused(CallerError, Status.ERROR_LOGON_FAILURE) as raised:
        rig.client(credentials).call(operation, **inputs)
    assert "certificate" in raised.value.sentence
    assert group_names(rig) == {"Cluster Group"}

    async def ask() -> None:
        async with connect(rig.url(), credentials=str(credentials)) as cluster:
            with refused(CallerError, Status.ERROR_LOGON_FAILURE):
                await cluster.call(operation, **inputs)

    asyncio.run(ask())


def test_a_server_of_another_cluster_is_told_nothing(rig: Rig) -> None:
    credentials = rig.user("alice")
    write_private(credentials / "ca.crt", Authorities.make().nodes.certificate_pem)
    with refused(CallerError, Status.ERROR_LOGON_FAILURE) as raised:
        rig.client(credentials).call("CreateGroup", name="web")
    assert "did not prove to be a node of the cluster" in raised.value.sentence
    assert group_names(rig) == {"Cluster Group"}


def test_a_node_must_be_who_its_address_says(rig: Rig) -> None:
    """127.0.0.2 leads there as well, but the certificate does not name it."""
    credentials = rig.user("alice")
    listening = f"https://127.0.0.2:{rig.port()}"
    with socket.create_server(("127.0.0.2", rig.port())) as door:
        threading.Thread(target=lambda: _pass_on(door, rig.port())).start()
        with refused(CallerError, Status.ERROR_LOGON_FAILURE) as raised:
            rig.client(credentials, listening).call("ListNodes")
    assert "IP address mismatch" in raised.value.sentence


def _pass_on(door: socket.socket, port: int) -> None:
    """Carry one connection to the real door."""
    connection, _ = door.accept()
    with connection, socket.create_connection(("127.0.0.1", port)) as behind:
        there = threading.Thread(target=_copy, args=(connection, behind))
        there.start()
        _copy(behind, connection)
        there.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


# --- who does not speak as one should --------------------------------------------------------------------------------


def test_plain_http_gets_no_answer(rig: Rig) -> None:
    with socket.create_connection(("127.0.0.1", rig.port()), timeout=60) as connection:
        connection.sendall(b"POST /v1/GetStatus HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}")
        said = b"".join(iter(lambda: _received(connection), b""))
    assert b"HTTP" not in said
    assert rig.client(rig.user("alice")).call("ListNodes")


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def test_older_tls_is_not_spoken(rig: Rig) -> None:
    credentials = rig.user("alice")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(credentials / "ca.crt")
    context.load_cert_chain(credentials / "user.crt", credentials / "user.key")
    with (
        socket.create_connection(("127.0.0.1", rig.port()), timeout=60) as connection,
        pytest.raises(OSError),
    ):
        context.wrap_socket(connection, server_hostname="127.0.0.1")


def test_a_handshake_has_five_seconds() -> None:
    assert HANDSHAKE_TIMEOUT == 5.0


def test_who_is_slow_at_the_handshake_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate.server.https.HANDSHAKE_TIMEOUT", 0.3)
    with running_rig(tmp_path) as rig, socket.create_connection(("127.0.0.1", rig.port()), timeout=60) as slow:
        slow.sendall(b"\x16\x03\x01\x02\x00")
        assert _received(slow) == b""
        monkeypatch.undo()
        assert rig.client(rig.user("alice")).call("ListNodes")


def shaken(rig: Rig) -> ssl.SSLSocket:
    """A connection of a user who may enter."""
    credentials = rig.user("alice")
    context = client_context(credentials / "user.crt", credentials / "user.key", credentials / "ca.crt")
    connection = socket.create_connection(("127.0.0.1", rig.port()), timeout=60)
    return context.wrap_socket(connection, server_hostname="127.0.0.1")


@pytest.mark.parametrize("said", [b"", b"POST /v1/GetStatus HT", b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n"])
def test_who_is_slow_with_a_request_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr("quorate.server.https._HEAD_TIMEOUT", 1.0)
    with running_rig(tmp_path) as rig, shaken(rig) as slow:
        slow.sendall(said)
        if said.endswith(b"\r\n"):  # one request is answered; of the next only the beginning comes
            assert b" 404 " in slow.recv(65536)
            slow.sendall(b"GET")
        with suppress(OSError):
            while slow.recv(65536):
                pass


def test_who_is_slow_with_a_body_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate.server.http._BODY_TIMEOUT", 0.3)
    with running_rig(tmp_path) as rig, shaken(rig) as slow:
        slow.sendall(b"POST /v1/GetStatus HTTP/1.0\r\ncontent-length: 20\r\n\r\n{")
        answer = b"".join(iter(lambda: slow.recv(65536), b""))
    assert b" 400 " in answer
    assert b"the body did not come within" in answer


def test_a_head_and_a_body_have_a_size(rig: Rig) -> None:
    with shaken(rig) as connection:
        connection.sendall(b"POST /v1/GetStatus HTTP/1.0\r\nx: " + b"x" * 20000)
        assert b" 400 " in connection.recv(65536)
    with shaken(rig) as connection:
        size = (8 << 20) + 1
        connection.sendall(f"POST /v1/GetStatus HTTP/1.0\r\ncontent-length: {size}\r\n\r\n".encode())
        answer = connection.recv(65536)  # by what the head says; what follows is not waited for
    assert b" 400 " in answer


# --- how a cluster is named ------------------------------------------------------------------------------------------


def nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"https://127.0.0.1:{taken.getsockname()[1]}"


def test_the_next_address_is_tried_when_one_does_not_answer(rig: Rig) -> None:
    client = rig.client(rig.user("alice"), nobody(), rig.url("2"), rig.url("1"))
    assert client.call("GetClusterInformation").text("node") == "node2"
    client.call("CreateGroup", name="web")
    with refused(FaultError, Status.RPC_S_SERVER_UNAVAILABLE):
        rig.client(rig.user("alice"), nobody()).call("ListNodes")


@pytest.mark.parametrize("url", ["https://", "https://host", "https://host:99999", "https://a b:1", "https://host:0"])
def test_a_url_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    with refused(CallerError, Status.ERROR_INVALID_PARAMETER):
        node_addresses(url, str(tmp_path))


def test_missing_credentials_are_named(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("QUORATE_CREDENTIALS", raising=False)
    with refused(CallerError, Status.ERROR_FILE_NOT_FOUND) as raised:
        node_addresses(rig.url())
    assert "quorate user add" in raised.value.sentence
    credentials = rig.user("alice")
    (credentials / "user.key").unlink()
    with pytest.raises(CallerError, match=r"user\.key"):
        rig.client(credentials)
    write_private(credentials / "user.key", b"nonsense")
    with refused(CallerError, Status.ERROR_LOGON_FAILURE):
        rig.client(credentials).call("ListNodes")


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = run_command(list(words))
        out, err = self._capsys.readouterr()
        return code, out, err


def test_from_the_first_command_to_another_machine_and_out_again(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An administrator on a node certifies a user, who works from elsewhere until removed."""
    shell, config = Shell(capsys), tmp_path / "config"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config))
    monkeypatch.delenv("QUORATE_CREDENTIALS", raising=False)
    on_node = ("--cluster", str(rig.sockets / "1" / "http"))
    out = config / "quorate" / "prod"
    assert shell(*on_node, "user", "add", "carol", "--role", "read", "--out", str(out))[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["ca.crt", "cluster.json", "user.crt", "user.key"]
    assert oct((out / "user.key").stat().st_mode & 0o777) == "0o600"
    listed = json.loads((out / "cluster.json").read_text())
    assert listed["name"] == "prod"
    assert [node["http"] for node in listed["nodes"]] == [rig.url("1"), rig.url("2")]
    rig.run(rig.seen_by_all())

    for place in ("prod", str(out), rig.url("1"), rig.url("2")):  # by its name, its directory, a node's URL
        code, seen, _ = shell("--cluster", place, "--json", "status")
        assert (code, json.loads(seen)["cluster"]["name"]) == (0, "prod")
    code, _, said = shell("--cluster", "prod", "node", "pause", "node2")
    assert code == 2
    assert "status 5 ERROR_ACCESS_DENIED" in said

    code, seen, _ = shell("--cluster", "prod", "--json", "user", "list")
    assert [(user["name"], user["role"], user["expired"]) for user in json.loads(seen)["users"]] == [
        ("carol", "read", False)
    ]
    again = (*on_node, "user", "add", "Carol", "--role", "full", "--out", str(tmp_path / "again"))
    code, _, said = shell(*again)
    assert "status 5010" in said
    assert not (tmp_path / "again" / "user.key").exists()
    code, _, said = shell(*on_node, "user", "add", "dave", "--role", "full", "--out", str(out))
    assert "holds credentials already" in said
    assert shell(*again, "--replace")[0] == 0
    rig.run(rig.seen_by_all())
    assert shell("--cluster", "prod", "status")[0] == 2  # the old certificate
    assert shell("--cluster", rig.url(), "--credentials", str(tmp_path / "again"), "node", "pause", "node2")[0] == 0

    assert shell(*on_node, "user", "remove", "carol", "--yes")[0] == 0
    rig.run(rig.seen_by_all())
    code, _, said = shell("--cluster", rig.url(), f"--credentials={tmp_path / 'again'}", "status")
    assert code == 2
    assert "status 1326 ERROR_LOGON_FAILURE" in said
    code, _, said = shell(*on_node, "user", "remove", "carol", "--yes")
    assert "status 1168" in said
    assert [event["kind"] for event in (*rig.events("user.certified"), *rig.events("user.removed"))] == [
        "user.certified",
        "user.certified",
        "user.removed",
    ]


@pytest.mark.parametrize(
    "inputs",
    [
        {"name": "x" * 65, "role": "full"},
        {"name": "", "role": "full"},
        {"name": "x", "role": "root"},
        {"name": "x", "role": "full", "days": 0x7FFFFFFF},
        {"name": "x", "role": "full", "request": b"nonsense"},
    ],
)
def test_bad_input_certifies_nobody(rig: Rig, inputs: dict[str, Any]) -> None:
    client = rig.client(rig.user("alice"))
    with pytest.raises(CallerError):
        client.call("IssueUserCertificate", **{"request": new_request("x")[1], **inputs})
    assert [user.name for user in rig.run(rig.database.credentials.users())] == ["alice"]


# --- renewal ---------------------------------------------------------------------------------------------------------


def test_a_certificate_is_renewed_while_the_doors_stay_open(rig: Rig, tmp_path: Path) -> None:
    credentials = rig.user("bob", "read")
    rig.client(rig.user("alice")).call("CreateGroup", name="web")
    doors, view = rig.doors[ONE], rig.views[ONE]
    tls = doors._tls
    assert tls is not None
    before = describe(tls.identity.load().certificate)
    clock = [now()]
    keeper = CertificateKeeper(ONE, tls, view, rig.database, ["127.0.0.1", "node1.example"], lambda: clock[0])

    assert rig.run(keeper.renew_if_due()) is False
    followed, ended = threading.Event(), threading.Event()

    def follow() -> None:
        try:
            for _ in rig.client(credentials).stream("/v1/events?after=0"):
                followed.set()
        except ClusterError:
            pass
        ended.set()

    follower = threading.Thread(target=follow)
    follower.start()
    assert followed.wait(PATIENCE)
    calling = rig.run(rig.doors[NodeId("2")].peers.call(ONE, "ping", {}, 5.0))
    clock[0] = before.not_after - timedelta(days=29)
    assert rig.run(keeper.renew_if_due()) is True
    assert rig.run(keeper.renew_if_due()) is False

    after = describe(tls.identity.load().certificate)
    assert after.serial != before.serial
    assert after.names == (*before.names, "node1.example") or set(after.names) == {*before.names, "node1.example"}
    assert after.not_after == (clock[0] + timedelta(days=90)).replace(microsecond=0)
    assert not ended.is_set()  # what stood goes on
    assert rig.run(rig.doors[NodeId("2")].peers.call(ONE, "ping", {}, 5.0)) == calling
    renewed = rig.events("node.certificate")
    assert [(event["object_name"], event["actor"]) for event in renewed] == [("node1", "node 1")]
    rig.run(rig.database.credentials.remove_user("bob"))
    assert ended.wait(PATIENCE)
    follower.join()


def test_new_connections_show_the_renewed_certificate(rig: Rig) -> None:
    tls = rig.doors[ONE]._tls
    assert tls is not None
    first = serial_at(rig)
    later = describe(tls.identity.load().certificate).not_after - timedelta(days=29)
    # Made a month ago for this purpose: what is renewed must be good now.
    rig.authorities.identity(tls.identity.directory, "1", at=now() - timedelta(days=61))
    assert later > now()
    keeper = CertificateKeeper(ONE, tls, rig.views[ONE], rig.database, [])
    rig.run(keeper.look())
    assert len(rig.events("node.certificate")) == 1
    second = serial_at(rig)
    assert second != first
    assert second == describe(tls.identity.load().certificate).serial
    assert rig.client(rig.user("alice")).call("ListNodes")


def serial_at(rig: Rig) -> str:
    with shaken(rig) as connection:
        certificate = connection.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def test_an_evicted_node_renews_nothing(rig: Rig) -> None:
    tls = rig.doors[ONE]._tls
    assert tls is not None
    keeper = CertificateKeeper(NodeId("9"), tls, rig.views[ONE], rig.database, [], lambda: now() + timedelta(days=365))
    assert rig.run(keeper.renew_if_due()) is False


def test_a_certificate_about_to_expire_is_told_of_once(rig: Rig, tmp_path: Path) -> None:
    rig.user("alice")
    rig.listed(rig.authorities.credentials(tmp_path / "bob", "bob", "read", days=10))
    for node, doors in rig.doors.items():
        assert doors._tls is not None
        keeper = CertificateKeeper(node, doors._tls, rig.views[node], rig.world.nodes[node].database, [])
        rig.run(keeper.look())
        rig.run(rig.seen_by_all())
        rig.run(keeper.look())
    told = rig.events("user.expires")
    assert [event["object_name"] for event in told] == ["bob"]
    assert "quorate user add bob --role read --replace" in json_text(told[0], "sentence")


def test_validate_tells_of_it_as_well() -> None:
    at = now()
    fresh = UserRecord("alice", "01", "full", at + timedelta(days=300))
    ending = UserRecord("bob", "02", "read", at + timedelta(days=3, hours=1))
    over = UserRecord("carl", "03", "read", at - timedelta(days=3))

    def found(*users: UserRecord) -> list[tuple[str, str]]:
        situation = Situation(at, "node1", one_machine=False, nodes=(), users=users)
        return [(str(finding.verdict), finding.measured) for finding in check_users(situation)]

    assert found() == []
    assert found(fresh) == [("ok", "1 user")]
    assert found(fresh, ending, over) == [("warning", "3 days"), ("warning", "-3 days")]


# --- without several machines ----------------------------------------------------------------------------------------


def test_a_pocket_cluster_certifies_nobody(tmp_path: Path) -> None:
    from tests.unit.server.fake import running_fake_cluster

    from quorate.client.blocking import BlockingClient

    with running_fake_cluster(tmp_path, 1):
        client = BlockingClient.at(str(tmp_path))
        request = new_request("x")[1]
        with refused(RefusalError, Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT):
            client.call("IssueUserCertificate", name="x", role="full", request=request)
        assert client.call("ListUsers").objects("users") == ()


def test_the_key_of_an_authority_is_out_of_reach(rig: Rig) -> None:
    """No path of the registry leads out of its own namespace."""
    client = rig.client(rig.user("alice"))
    secret = rig.authorities.users.key_pem.decode()
    for name in ("GetStatus", "ListNodes", "ListGroups", "ListResources", "GetEvents", "ListUsers"):
        values = client.call(name).as_json()
        assert secret.splitlines()[1] not in json.dumps(values)
