"""The word that people carry from one machine to the other."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.peers.join_token import PREFIX, JoinWord

WORD = JoinWord("prod", ("10.0.0.1:7444", "[fd00::2]:7444"), "ab" * 32, "0123456789abcdef", "secret-with_marks")
TEXTS = st.text(min_size=1, max_size=40)


def test_a_token_is_one_word_that_survives_a_shell() -> None:
    text = WORD.write()
    assert set(text) <= {*string.ascii_letters, *string.digits, "-", "_"}
    assert len(text) < 500
    assert JoinWord.parse(f"  {text}\n") == WORD


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3), TEXTS, TEXTS, TEXTS)
def test_what_is_written_is_read(cluster: str, addresses: list[str], fingerprint: str, id_: str, secret: str) -> None:
    word = JoinWord(cluster, tuple(addresses), fingerprint, id_, secret)
    assert JoinWord.parse(word.write()) == word


def test_a_token_that_was_not_copied_whole_is_noticed() -> None:
    text = WORD.write()
    for cut in range(1, len(text) - 1, 7):
        with pytest.raises(CallerError) as caught:
            JoinWord.parse(text[:cut])
        assert caught.value.status == Status.ERROR_INVALID_PARAMETER
        assert "this is no token to join with" in caught.value.sentence


@given(st.integers(len(PREFIX), len(WORD.write()) - 1), st.sampled_from(string.ascii_letters + string.digits))
def test_a_letter_that_was_changed_is_noticed(place: int, letter: str) -> None:
    text = WORD.write()
    changed = f"{text[:place]}{letter}{text[place + 1 :]}"
    try:
        assert JoinWord.parse(changed) == WORD, "the last letter may have bits that mean nothing"
    except CallerError:
        assert changed != text


@pytest.mark.parametrize(
    "text", ["", "hello", PREFIX, f"{PREFIX}====", f"{PREFIX}AAAA", "quorate-join-é", "x" * 10_000]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(CallerError, match="this is no token"):
        JoinWord.parse(text)
