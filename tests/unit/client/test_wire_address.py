"""Addresses of servers of MS-CMRP, and who logs on there."""

from pathlib import Path

import pytest

from quorate.client.account import Account, account_of, has_password
from quorate.client.address import cluster_place, wire_address
from quorate.client.blocking import BlockingClient
from quorate.client.mscmrp.places import Place, parse_places
from quorate.clusapi.errors import CallerError


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUORATE_CLUSTER", "QUORATE_USER", "QUORATE_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("ncacn_ip_tcp:node1[49152]", [Place("node1", 49152)]),
        ("ncacn_ip_tcp:192.0.2.7", [Place("192.0.2.7", 0)]),
        ("ncacn_ip_tcp:2001:db8::7[1]", [Place("2001:db8::7", 1)]),
        ("ncacn_ip_tcp:a[1],ncacn_ip_tcp:b[2], c", [Place("a", 1), Place("b", 2), Place("c", 0)]),
    ],
)
def test_places_are_read_and_written(text: str, places: list[Place]) -> None:
    assert list(parse_places(text)) == places
    assert list(parse_places(",".join(map(str, places)))) == places


@pytest.mark.parametrize(
    "text",
    [
        "ncacn_ip_tcp:",
        "ncacn_ip_tcp:a[0]",
        "ncacn_ip_tcp:a[65536]",
        "ncacn_ip_tcp:a[1,seal]",
        "ncacn_ip_tcp:a[",
        "ncacn_ip_tcp:[1]",
        "ncacn_ip_tcp:a/b",
        "ncacn_ip_tcp:a,",
    ],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(CallerError) as caught:
        parse_places(text)
    assert caught.value.status == 87


def test_an_address_of_the_protocol_is_no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wire_address("/var/lib/quorate") is None
    monkeypatch.setenv("QUORATE_CLUSTER", "ncacn_ip_tcp:a")
    assert wire_address() == "ncacn_ip_tcp:a"
    assert wire_address("here") is None
    with pytest.raises(CallerError, match="a directory is needed"):
        cluster_place()


def test_an_account_is_put_together_from_what_is_given_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_bytes("straße\r\nsecond line\n".encode())
    assert account_of("alice", "secret") == Account("alice", "secret")
    assert account_of("DOM\\alice", None, str(file)) == Account("alice", "straße", "DOM")
    assert not has_password()
    monkeypatch.setenv("QUORATE_USER", "bob")
    monkeypatch.setenv("QUORATE_PASSWORD_FILE", str(file))
    assert has_password()
    assert account_of() == Account("bob", "straße")
    assert "straße" not in repr(account_of())


@pytest.mark.parametrize(
    ("user", "file", "status", "words"),
    [
        (None, "password", 87, "needs a user"),
        ("alice", None, 87, "needs a password"),
        ("alice", "missing", 2, "cannot be read"),
        ("alice", "empty", 87, "is empty"),
        ("alice", "binary", 2, "no text in UTF-8"),
    ],
)
def test_what_is_missing_of_an_account_is_said(
    user: str | None, file: str | None, status: int, words: str, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "empty").write_text("\nsecret\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\n")
    with pytest.raises(CallerError, match=words) as caught:
        account_of(user, None, None if file is None else str(tmp_path / file))
    assert caught.value.status == status


def test_a_client_without_an_account_is_refused_before_anything_is_reached() -> None:
    with pytest.raises(CallerError, match="needs a user"):
        BlockingClient.at("ncacn_ip_tcp:192.0.2.1[1]")
