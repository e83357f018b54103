"""Users with passwords: given, changed, taken away; what is kept is a hash, and nothing shows it."""

import asyncio
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeNode, FakeWorld, running_fake_cluster

from quorate.cli.main import run
from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.accounts import Account, Accounts
from quorate.database.backup import read_backup, write_backup
from quorate.database.credentials import UserRecord
from quorate.dcerpc.ntlm_crypto import nt_hash

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "grüner Tee 7"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 2) as world:
        yield world


@pytest.fixture
def client(world: FakeWorld) -> BlockingClient:
    return BlockingClient.at(str(world.directory))


def node(world: FakeWorld) -> FakeNode:
    return world.nodes[NodeId("1")]


def accounts(world: FakeWorld) -> Accounts:
    snapshot = asyncio.run(node(world).database.snapshot())
    return Accounts(lambda: snapshot.accounts)


def users(client: BlockingClient) -> list[JsonObject]:
    return list(client.call("ListUsers").objects("users"))


def refusal(client: BlockingClient, operation: str, **inputs: str) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        client.call(operation, full_access=True, **inputs)
    return caught.value


def test_what_is_kept_of_a_password_is_its_hash(world: FakeWorld, client: BlockingClient) -> None:
    client.call("AddUserAccount", name="Alice", role="full", password=SECRET)

    found = accounts(world).find("ALICE")
    assert found is not None
    assert (found.name, found.role, found.full_access, found.nt_hash) == ("Alice", "full", True, nt_hash(SECRET))
    records = asyncio.run(node(world).database.store.range("")).records
    assert not [record.key for record in records if SECRET.encode() in record.value or b"Tee" in record.value]
    holding = [record.key for record in records if nt_hash(SECRET).hex().encode() in record.value]
    assert holding == [keys.account("alice")], "and events have none of it"
    assert nt_hash(SECRET).hex() not in repr(found) and repr(nt_hash(SECRET)) not in repr(found)


def test_a_password_is_changed_and_taken_away_with_its_user(world: FakeWorld, client: BlockingClient) -> None:
    client.call("AddUserAccount", name="bob", role="read", password=SECRET)
    client.call("SetUserPassword", name="BOB", password="another one 8")
    found = accounts(world).find("bob")
    assert found is not None and (found.role, found.nt_hash) == ("read", nt_hash("another one 8"))

    client.call("RemoveUser", name="Bob")
    assert accounts(world).find("bob") is None
    assert refusal(client, "RemoveUser", name="bob").status is Status.ERROR_NOT_FOUND
    kinds = [event["kind"] for event in client.call("GetEvents", kind="user").objects("events")]
    assert kinds == ["user.password", "user.password", "user.removed"]


def test_one_user_may_have_both_credentials_with_one_role(world: FakeWorld, client: BlockingClient) -> None:
    record = UserRecord("carol", "0A", "read", NOW)
    asyncio.run(node(world).database.credentials.add_user(record))
    error = refusal(client, "AddUserAccount", name="Carol", role="full", password=SECRET)
    assert (error.status, "role read already" in error.sentence) == (Status.ERROR_INVALID_PARAMETER, True)
    client.call("AddUserAccount", name="carol", role="read", password=SECRET)
    client.call("AddUserAccount", name="dave", role="full", password=SECRET)
    with pytest.raises(ClusterError, match="role full already"):
        asyncio.run(node(world).database.credentials.add_user(UserRecord("dave", "0B", "read", NOW)))

    carol, dave = users(client)
    assert (carol["name"], carol["has_certificate"], carol["serial"], carol["has_password"]) == (
        "carol",
        True,
        "0A",
        True,
    )
    assert (dave["name"], dave["has_certificate"], dave["serial"], dave["not_after"]) == ("dave", False, "", "")
    assert dave["password_changed"] and not dave["expired"]
    client.call("RemoveUser", name="carol")
    assert [user["name"] for user in users(client)] == ["dave"]


def test_what_cannot_be_is_refused_before_anything_changes(client: BlockingClient) -> None:
    cases = (
        ({"password": "short"}, Status.ERROR_PASSWORD_RESTRICTION),
        ({"password": "x" * 257}, Status.ERROR_PASSWORD_RESTRICTION),
        ({"password": "with\0nothing"}, Status.ERROR_PASSWORD_RESTRICTION),
        ({"password": "ALICE-THE-1"}, Status.ERROR_PASSWORD_RESTRICTION),
        ({"role": "admin"}, Status.ERROR_INVALID_PARAMETER),
        ({"name": "dom\\alice"}, Status.ERROR_INVALID_NAME),
        ({"name": "alice@dom"}, Status.ERROR_INVALID_NAME),
        ({"name": "x" * 65}, Status.ERROR_INVALID_NAME),
        ({"name": " "}, Status.ERROR_INVALID_NAME),
    )
    good = {"name": "alice-the-1", "role": "full", "password": "long enough"}
    for inputs, status in cases:
        error = refusal(client, "AddUserAccount", **good | inputs)
        assert error.status is status, inputs
    assert users(client) == []


def test_a_refusal_does_not_show_the_password(client: BlockingClient) -> None:
    for password in ("short", "x" * 257):
        error = refusal(client, "AddUserAccount", name="alice", role="full", password=password)
        assert password not in error.sentence


def test_who_has_a_password_is_not_given_one_twice_and_who_has_none_cannot_change_it(client: BlockingClient) -> None:
    assert refusal(client, "SetUserPassword", name="alice", password=SECRET).status is Status.ERROR_NOT_FOUND
    client.call("AddUserAccount", name="alice", role="full", password=SECRET)
    again = refusal(client, "AddUserAccount", name="ALICE", role="full", password="something else")
    assert again.status is Status.ERROR_OBJECT_ALREADY_EXISTS


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        Account("a", "full", b"x" * 15, NOW).encode(),
        Account("a", "full", b"x" * 16, NOW).encode().replace(b'"version":1', b'"version":2'),
        Account("a", "full", b"x" * 16, NOW).encode().replace(b"7878", b"zz78"),
    ],
)
def test_a_record_that_is_damaged_or_newer_is_refused_and_not_shown(data: bytes) -> None:
    with pytest.raises(ClusterError) as caught:
        Account.decode(data)
    assert b"x".hex() * 4 not in caught.value.sentence


def test_a_record_survives_writing_with_what_a_newer_node_wrote() -> None:
    account = Account("a", "full", bytes(range(16)), NOW, {"new": 1})
    assert Account.decode(account.encode()) == account


def test_accounts_come_back_with_a_backup(world: FakeWorld, client: BlockingClient) -> None:
    client.call("AddUserAccount", name="alice", role="full", password=SECRET)
    facts, text = write_backup(asyncio.run(node(world).database.store.range("")), "test", NOW)

    assert keys.account("alice") in read_backup(text).records
    assert "alice" not in str(facts) and nt_hash(SECRET).hex() not in str(facts)


# --- The command line ------------------------------------------------------------------------------------------------


def test_the_command_line_takes_a_password_from_a_file_or_its_input(
    world: FakeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster, file = ("--cluster", str(world.directory)), tmp_path / "password"
    file.write_text(f"{SECRET}\r\nnot this line\n")
    assert run([*cluster, "user", "add", "alice", "--role", "full", "--password-file", str(file)]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("the second one\n"))
    assert run([*cluster, "user", "passwd", "alice", "--password-file", "-"]) == 0
    found = accounts(world).find("alice")
    assert found is not None and found.nt_hash == nt_hash("the second one")
    assert run([*cluster, "user", "list"]) == 0
    out = capsys.readouterr().out
    assert '"alice" may do everything, and logs on with the password' in out
    assert SECRET not in out and found.nt_hash.hex() not in out


def test_the_command_line_asks_twice_on_a_terminal(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, typed = ("--cluster", str(world.directory)), [SECRET, SECRET, "one of two", "two of two"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: typed.pop(0))
    assert run([*cluster, "user", "add", "alice", "--role", "read"]) == 0
    assert run([*cluster, "user", "passwd", "alice"]) == 2
    found = accounts(world).find("alice")
    assert found is not None and found.nt_hash == nt_hash(SECRET)


def test_the_command_line_refuses_what_does_not_fit_together(
    world: FakeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ["--cluster", str(world.directory), "user", "add", "alice", "--role", "full"]
    monkeypatch.setattr("sys.stdin", io.StringIO())
    for arguments, words in (
        (["--out", str(tmp_path / "o"), "--password-file", "-"], "one at a time"),
        (["--days", "3", "--password-file", "-"], "need --out"),
        (["--password-file", str(tmp_path / "none")], "cannot be read"),
        ([], "no terminal"),
    ):
        assert run([*add, *arguments]) == 2
        assert words in " ".join(capsys.readouterr().err.split())
