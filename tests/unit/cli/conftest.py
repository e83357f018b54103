"""What the tests of the command line share."""

from dataclasses import asdict

import pytest

from quorate.cli.session import Session, session


@pytest.fixture
def fresh_session(monkeypatch: pytest.MonkeyPatch) -> Session:
    """The command line's options, none given.

    The one session itself is emptied: a command that is imported while another stands in its place keeps that for good.
    """
    for name, value in asdict(Session()).items():
        monkeypatch.setattr(session, name, value)
    for name in ("QUORATE_CLUSTER", "QUORATE_USER", "QUORATE_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)
    return session
