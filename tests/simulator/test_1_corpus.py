"""First of all: no history that once broke a law breaks one again."""

import pytest
from tests.simulator.files import CORPUS, files, play_file


@pytest.mark.parametrize("name", files(CORPUS))
def test_a_past_failure_stays_one_of_the_past(name: str) -> None:
    play_file(CORPUS / name)
