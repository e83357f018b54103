"""How the watchdog is fed: no machine is reset that could end its virtual machines, and none that could not runs on."""

import fcntl
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.service.guard_watchdog import FEED, MARGIN, Watchdog, may_be_fed, seconds_for

ROUND = 0.05


@dataclass
class Machine:
    """A machine with a watchdog, a guard that does its rounds, and a daemon that renews a lease."""

    duration: float
    seconds: int | None
    deadline: float = 0.0
    fed_at: float = 0.0
    due: float = 0.0
    now: float = 0.0
    hunger: list[float] = field(default_factory=list)
    """The times without food that were ended."""

    def round(self, *, may_run: bool) -> None:
        self.now += ROUND
        if self.now >= self.due and (not may_run or may_be_fed(self.now, self.deadline, self.duration, self.seconds)):
            self.hunger.append(self.now - self.fed_at)
            self.fed_at, self.due = self.now, self.now + FEED


@pytest.mark.parametrize(("duration", "seconds"), [(3.0, 2), (5.0, 3), (6.0, 3), (10.0, 5), (240.0, 60), (0.75, 2)])
def test_it_bites_after_half_a_lease(duration: float, seconds: int) -> None:
    assert seconds_for(duration) == seconds


@settings(deadline=None)
@given(
    duration=st.floats(3.0, 20.0),
    delays=st.lists(st.floats(0.0, 1.0), min_size=5, max_size=40),
)
def test_no_machine_is_reset_whose_lease_is_renewed_in_time_or_whose_virtual_machines_end_at_the_deadline(
    duration: float, delays: list[float]
) -> None:
    """A renewal may come at the last moment, and not at all: then the guard ends everything within two rounds."""
    machine = Machine(duration, seconds_for(duration))
    assert machine.seconds is not None
    for share in delays:
        machine.deadline = machine.now + duration
        until = machine.now + share * (duration + 1.0)
        while machine.now < until:
            machine.round(may_run=machine.now < machine.deadline + 2 * ROUND)
    assert max(machine.hunger, default=0.0) < machine.seconds


@given(duration=st.floats(3.0, 240.0), begin=st.floats(0.0, 1000.0))
def test_a_machine_that_cannot_end_its_virtual_machines_is_reset_before_others_take_over(
    duration: float, begin: float
) -> None:
    seconds = seconds_for(duration)
    deadline = begin + duration
    last = max(
        t
        for t in (begin + n * ROUND for n in range(int((duration + 10) / ROUND)))
        if may_be_fed(t, deadline, duration, seconds)
    )
    assert last + seconds <= deadline + MARGIN + 1e-6
    assert last >= begin


@pytest.mark.parametrize("seconds", [None, 30])
def test_one_that_bites_too_late_for_the_lease_is_at_least_not_fed_after_the_deadline(seconds: int | None) -> None:
    assert may_be_fed(99.9, 100.0, 5.0, seconds)
    assert not may_be_fed(100.0, 100.0, 5.0, seconds)


def test_the_device_is_told_its_time_and_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ioctl(descriptor: int, request: int, argument: bytes) -> bytes:
        assert request == 0xC0045706
        asked.extend(struct.unpack("i", argument))
        return struct.pack("i", 30)  # it knows better

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    path = tmp_path / "watchdog"
    path.touch()
    told: list[str] = []
    watchdog = Watchdog(path, told.append)
    watchdog.tend(100.0, 105.0, 5.0, may_run=True)
    watchdog.tend(100.1, 105.0, 5.0, may_run=True)  # not due
    watchdog.tend(100.3, 105.0, 5.0, may_run=True)
    assert (asked, path.read_bytes()) == ([3], b"\0\0")
    assert told == [
        f"{path} bites after 30 s at the earliest, which is long for a lease of 5 s: a machine that hangs may be reset "
        "only after another node has taken over"
    ]
    watchdog.tend(110.0, 105.0, 5.0, may_run=True)
    assert path.read_bytes() == b"\0\0"
    assert told[-1].endswith("what runs here cannot be ended, and the machine will be reset")
    watchdog.tend(110.1, 105.0, 5.0, may_run=False)
    watchdog.leave()
    assert path.read_bytes() == b"\0\0\0V"


def test_what_is_no_watchdog_keeps_its_own_time(tmp_path: Path) -> None:
    path = tmp_path / "watchdog"
    path.touch()
    with path.open("rb") as file, pytest.raises(OSError, match="Inappropriate ioctl"):
        fcntl.ioctl(file, 0xC0045706, struct.pack("i", 1))
    told: list[str] = []
    watchdog = Watchdog(path, told.append)
    watchdog.tend(100.0, 105.0, 5.0, may_run=True)
    assert "keeps its own time" in told[0]
    assert path.read_bytes() == b"\0"
