"""What the tests of hosting share."""

import pytest
from tests.waiting import PATIENCE

from quorate.hosting import hosted_group


@pytest.fixture(autouse=True)
def answer_within(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is pending because the machine is busy; a test of what is pending for long says how long that is."""
    monkeypatch.setattr(hosted_group, "ANSWER_WITHIN", PATIENCE)
