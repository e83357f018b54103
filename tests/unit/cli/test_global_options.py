"""The options that may stand anywhere."""

from pathlib import Path

import pytest

from quorate.cli.main import run
from quorate.cli.session import Session, take_global_options
from quorate.client.account import Account
from quorate.client.blocking import BlockingClient

pytestmark = pytest.mark.usefixtures("fresh_session")


def test_they_are_taken_wherever_they_stand(fresh_session: Session) -> None:
    given = ["--cluster", "here", "vm", "--user=alice", "list", "--password-file", "file", "--json", "--", "--user"]
    assert take_global_options(given) == ["vm", "list", "--", "--user"]
    assert fresh_session == Session("here", None, "alice", "file", True)


def test_the_commands_on_users_have_a_password_file_of_their_own(fresh_session: Session) -> None:
    given = ["--password-file", "mine", "user", "add", "alice", "--password-file", "hers"]
    assert take_global_options(given) == ["user", "add", "alice", "--password-file", "hers"]
    assert fresh_session.password_file == "mine"


@pytest.mark.parametrize("option", ["--cluster", "--credentials", "--user", "--password-file"])
def test_an_option_without_its_value_is_a_mistake(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", option]) == 2
    assert f"{option} needs " in capsys.readouterr().err


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[Account | None]:
    accounts: list[Account | None] = []

    def at(address: str | None = None, credentials: str | None = None, account: Account | None = None) -> None:
        accounts.append(account)

    monkeypatch.setattr(BlockingClient, "at", at)
    return accounts


def test_who_logs_on_is_taken_from_the_options(
    fresh_session: Session, reached: list[Account | None], tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("secret\n")
    fresh_session.user, fresh_session.password_file = "alice", str(tmp_path / "password")
    fresh_session.client()
    fresh_session.cluster = "ncacn_ip_tcp:192.0.2.7[49152]"
    fresh_session.client()
    assert reached == [None, Account("alice", "secret")]


def test_a_password_is_asked_for_on_a_terminal(
    fresh_session: Session, reached: list[Account | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_session.user, fresh_session.cluster = "alice", "ncacn_ip_tcp:192.0.2.7"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "typed")
    fresh_session.client()
    assert reached == [Account("alice", "typed")]
