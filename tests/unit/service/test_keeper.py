"""What the keeper decides by itself; what it does to processes is in tests/system."""

from pathlib import Path

from quorate.service import keeper
from quorate.service.keeper import LONGEST_PAUSE, PAUSE, STEADY, Pace, open_log


def test_a_daemon_that_dies_again_and_again_is_started_ever_later() -> None:
    pace, now, pauses = Pace(), 0.0, []
    for _ in range(8):
        pace = pace.after_death(began=now, now=now + 0.1)
        now = pace.due
        pauses.append(pace.pause)
    assert pauses == [PAUSE, 0.4, 0.8, 1.6, 3.2, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_a_daemon_that_has_lived_long_is_started_again_soon() -> None:
    tired = Pace(LONGEST_PAUSE, 0.0)
    assert tired.after_death(began=0.0, now=STEADY).pause == PAUSE
    assert tired.after_death(began=0.0, now=STEADY - 1).pause == LONGEST_PAUSE


def test_a_log_that_has_grown_long_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    for text in (b"first", b"x" * keeper.LONGEST_LOG, b"last"):
        with open_log(path) as log:
            log.write(text)
    assert path.read_bytes() == b"last"
    assert (tmp_path / "daemon.log.1").read_bytes().startswith(b"firstx")
