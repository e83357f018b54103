"""The page that daemon and guard share: nothing that is torn, old or of another boot is ever taken for a deadline."""

import mmap
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quorate.engine.guard_file import LAYOUT, SIZE, GuardFile, Party, Word, boottime

TIMES = st.floats(min_value=0.0, max_value=1e9, allow_nan=False)
FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def file(tmp_path: Path) -> Iterator[GuardFile]:
    made = GuardFile(tmp_path / "guard")
    yield made
    made.close()


def _bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def test_a_new_file_says_nothing(file: GuardFile) -> None:
    assert file.word() is None
    assert file.pulse(Party.GUARD) is None
    assert file.pulse(Party.DAEMON) is None
    assert not file.is_locked()


def test_the_newest_word_counts_and_outlives_its_writer(file: GuardFile) -> None:
    for number in range(1, 6):
        file.write_word(100.0 + number, 5.0)
        assert file.word() == Word(number, 100.0 + number, 5.0)
    again = GuardFile(file.path)
    again.write_word(200.0, 3.0)
    assert file.word() == Word(6, 200.0, 3.0)
    again.close()


@FIXTURE
@given(first=TIMES, second=TIMES, third=TIMES, cut=st.integers(0, SIZE))
def test_of_a_word_that_is_torn_anywhere_the_one_before_counts(
    file: GuardFile, first: float, second: float, third: float, cut: int
) -> None:
    for deadline in (first, second):
        file.write_word(deadline, 5.0)
    old, before = file.word(), _bytes_of(file.path)
    file.write_word(third, 5.0)
    new, after = file.word(), _bytes_of(file.path)
    torn = after[:cut] + before[cut:]
    with file.path.open("r+b") as raw:
        raw.write(torn)
    assert file.word() in (old, new)
    again = GuardFile(file.path)  # a daemon that goes on after that is heard
    again.write_word(4711.0, 5.0)
    found = file.word()
    assert found is not None
    assert found.deadline == 4711.0
    again.close()


@FIXTURE
@given(noise=st.binary(min_size=SIZE - 16, max_size=SIZE - 16))
def test_noise_is_no_word_and_no_pulse(file: GuardFile, noise: bytes) -> None:
    with file.path.open("r+b") as raw:
        raw.seek(16)
        raw.write(noise)
    assert (file.word(), file.pulse(Party.GUARD)) == (None, None)


def test_words_and_pulses_of_another_boot_are_none(file: GuardFile) -> None:
    other = GuardFile(file.path, boot=uuid.uuid4().bytes)
    other.write_word(1e9, 5.0)
    other.pulse_writer(Party.GUARD)()
    assert (file.word(), file.pulse(Party.GUARD)) == (None, None)
    assert other.word() is not None
    other.close()


def test_a_file_of_another_layout_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "guard"
    path.write_bytes(b"something else".ljust(SIZE, b"x"))
    file = GuardFile(path)
    assert file.word() is None
    file.write_word(1.0, 5.0)
    assert file.word() == Word(1, 1.0, 5.0)
    file.close()


def test_a_pulse_tells_who_lives_and_since_when(file: GuardFile) -> None:
    before = boottime()
    file.pulse_writer(Party.DAEMON)()
    pulse = file.pulse(Party.DAEMON)
    assert pulse is not None
    assert (pulse.pid, pulse.layout) == (os.getpid(), LAYOUT)
    assert pulse.start_ticks > 0
    assert before <= pulse.at <= boottime()
    assert file.pulse(Party.GUARD) is None


def test_who_looks_at_the_lock_does_not_take_it(file: GuardFile) -> None:
    guard = GuardFile(file.path)
    assert not file.is_locked()
    assert guard.try_lock()
    assert file.is_locked()
    other = GuardFile(file.path)
    assert not other.try_lock()
    other.close()
    guard.close()
    assert not file.is_locked()


def test_a_file_that_was_replaced_is_known_to_reach_nobody(file: GuardFile) -> None:
    assert file.is_in_place()
    file.path.rename(file.path.with_name("elsewhere"))
    assert not file.is_in_place()
    file.path.write_bytes(b"")
    assert not file.is_in_place()


def test_the_page_fits(file: GuardFile) -> None:
    assert mmap.PAGESIZE >= SIZE
    assert file.path.stat().st_size == SIZE
