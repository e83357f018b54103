"""What the guard decides about itself, at moments of the test's own; what it does to processes is in tests/contract."""

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.guard_rig import GuardRig, guard_rig

from quorate.engine.guard_file import GUARD_FILE, GuardFile, Party, boottime
from quorate.service.guard import IDLE, UNKNOWN, Guard, Words
from quorate.service.guard_qemus import Qemus, name_of

LEASE = 5.0


class Watched:
    """A guard whose rounds the test does."""

    def __init__(self, rig: GuardRig, *, stay: bool = False) -> None:
        self.file = GuardFile(rig.runtime / GUARD_FILE)
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        words = Words(write)
        self.guard = Guard(self.file, Qemus(rig.runtime, words.tell), None, words, stay=stay)
        self._words = words
        self._write = write

    def round(self, now: float) -> str:
        """Do a round; answers why the guard would end, if it would."""
        self.guard.round(now)
        return self.guard._reason_to_end(now)

    def log(self) -> str:
        self._words.flush()
        try:
            return os.read(self._read, 1 << 16).decode()
        except BlockingIOError:
            return ""

    def close(self) -> None:
        self.file.close()
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[GuardRig]:
    with guard_rig(tmp_path) as made:
        yield made


@pytest.fixture
def watched(rig: GuardRig) -> Iterator[Watched]:
    made = Watched(rig)
    yield made
    made.close()


def test_without_daemon_and_virtual_machine_it_ends_after_a_while(rig: GuardRig, watched: Watched) -> None:
    deadline = rig.let_run(LEASE)
    assert watched.round(deadline + IDLE - 1) == ""
    assert watched.round(deadline + IDLE + 1) == f"no daemon and no virtual machine for {IDLE:.0f} s"


def test_it_stays_for_those_whom_systemd_starts(rig: GuardRig) -> None:
    watched = Watched(rig, stay=True)
    assert watched.round(rig.let_run(LEASE) + 10 * IDLE) == ""
    watched.close()


def test_a_daemon_that_lives_without_a_lease_keeps_it(rig: GuardRig, watched: Watched) -> None:
    rig.file.pulse_writer(Party.DAEMON)()
    long_past = rig.let_run(-2 * IDLE) + 2 * IDLE
    assert watched.round(long_past + IDLE - 1) == ""
    assert watched.round(long_past + IDLE + 1) != ""


def test_a_virtual_machine_keeps_it(rig: GuardRig, watched: Watched) -> None:
    rig.qemu()
    far = boottime() + 1000 * IDLE
    rig.file.write_word(far, LEASE)
    assert watched.round(far - 1) == ""


def test_what_no_daemon_vouches_for_may_run_for_a_while_only(rig: GuardRig, watched: Watched) -> None:
    qemu = rig.qemu("orphan")
    began = boottime()
    watched.round(began + UNKNOWN - 1)
    assert qemu.poll() is None
    watched.round(began + UNKNOWN + 1)
    assert qemu.wait(10) == -signal.SIGKILL
    assert "no daemon has said within 30 s until when it may run" in watched.log()


def test_what_it_says_is_said_once(rig: GuardRig, watched: Watched) -> None:
    deadline = rig.let_run(LEASE)
    for number in range(5):
        watched.round(deadline + number)
    assert watched.log().count("no virtual machine runs here; the node's lease was over 0.000 s ago") == 1
    rig.file.write_word(deadline + 100.0, LEASE)
    for number in range(5):
        watched.round(deadline + 10.0 + number)
    assert watched.log().count("the lease is held again, for 90.0 s") == 1


def test_a_lapse_that_the_daemon_has_seen_first_is_made_up_for(rig: GuardRig, watched: Watched) -> None:
    qemu = rig.qemu("frozen")
    deadline = rig.let_run(LEASE)
    watched.round(deadline - 1.0)
    rig.file.write_word(deadline + 0.01 + LEASE, LEASE)  # won again, by a renewal that was sent after the deadline
    watched.round(deadline + 0.02)
    assert qemu.wait(10) == -signal.SIGKILL
    assert "the lease is held again" in watched.log()


def test_a_lease_that_was_carried_on_in_time_has_not_lapsed_however_late_that_is_heard(
    rig: GuardRig, watched: Watched
) -> None:
    qemu = rig.qemu("late")
    deadline = rig.let_run(LEASE)
    watched.round(deadline - 1.0)
    rig.file.write_word(deadline - 0.01 + LEASE, LEASE)
    watched.round(deadline + 0.02)
    for late in (1.0, 2.0, 3.0):
        rig.file.write_word(deadline + late * LEASE, LEASE)  # the first of these is not heard in time
    watched.round(deadline + 2.5 * LEASE)
    assert qemu.poll() is None
    assert "lease" not in watched.log().replace("no lease", "")


def test_a_virtual_machine_that_cannot_be_held_at_first_is_held_later(rig: GuardRig, watched: Watched) -> None:
    qemu = rig.qemu("unheld")
    deadline = rig.let_run(LEASE)
    with pytest.MonkeyPatch.context() as patch:

        def open_none(pid: int, flags: int = 0) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        patch.setattr(os, "pidfd_open", open_none)
        watched.round(deadline - 3.0)
    assert "cannot be seen to now: Too many open files" in watched.log()
    watched.round(deadline - 1.0)
    watched.round(deadline)
    assert qemu.wait(10) == -signal.SIGKILL


def test_a_name_is_found_in_a_command_line() -> None:
    assert name_of(("qemu", "-name", "guest=a,,b,debug-threads=on", "-S")) == "a,b"
    assert name_of(("qemu", "-S")) == "a virtual machine"
