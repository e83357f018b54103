"""The guard as a process: what it kills and when, what it spares, when it ends, and how it feeds the watchdog."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
from tests.contract.guard_rig import LIMIT, GuardRig, guard_rig

from quorate.engine.guard_file import GUARD_FILE, GuardFile, boottime
from quorate.service.guard_watchdog import MARGIN

NOBODY = 65534


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[GuardRig]:
    with guard_rig(tmp_path) as made:
        yield made


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def _told_of_the_end(rig: GuardRig, name: str, pid: int) -> float:
    """Wait until the guard has told of a QEMU's end; answers how many seconds after the deadline it was killed."""
    rig.wait(lambda: f"QEMU {pid}) has ended" in rig.log(), "the guard has noticed")
    killed = re.search(rf"killed {name} \(.*, QEMU {pid}\): the node's lease was over (\d+\.\d+)", rig.log())
    assert killed is not None, rig.log()
    return float(killed[1])


# --- killing ---------------------------------------------------------------------------------------------------------


def test_what_runs_is_killed_when_the_deadline_has_passed_and_not_before(rig: GuardRig) -> None:
    rig.let_run(LIMIT)
    rig.guard()
    for _ in range(10):  # on a busy machine everybody is late now and then, this test as well
        qemus = [rig.qemu(f"web{number}") for number in range(5)]
        deadline = rig.let_run(0.5)
        ends = [rig.end_of(qemu) for qemu in qemus]
        assert min(ends) >= deadline
        lateness = [_told_of_the_end(rig, f"web{number}", qemu.pid) for number, qemu in enumerate(qemus)]
        if max(ends) < deadline + MARGIN and max(lateness) < 0.1:
            return
    raise AssertionError(f"never in time\n{rig.log()}")


def test_a_deadline_that_moves_on_kills_nobody(rig: GuardRig) -> None:
    rig.let_run(LIMIT)
    rig.guard()
    for duration in (0.5, 2.0, 8.0, 32.0):  # a test that comes late itself proves nothing: then it takes more time
        qemu = rig.qemu()
        deadline, is_in_time = rig.let_run(duration), True
        for _ in range(10):
            rig.rounds(3)
            before, deadline = deadline, rig.let_run(duration)
            is_in_time &= boottime() < before
        lives = qemu.poll() is None
        is_in_time &= boottime() < deadline
        assert rig.end_of(qemu) >= deadline or not is_in_time
        if is_in_time:
            break
    assert lives and is_in_time


def test_one_that_stands_still_is_killed_as_well(rig: GuardRig) -> None:
    deadline = rig.let_run(0.5)
    qemu = rig.qemu()
    _stop(qemu)
    rig.guard()
    assert rig.end_of(qemu) >= deadline


def test_one_whose_pid_the_daemon_had_no_time_to_note_is_found_and_killed(rig: GuardRig) -> None:
    deadline = rig.let_run(0.5)
    rig.guard()
    qemu = rig.qemu(noted=False)
    assert rig.end_of(qemu) >= deadline


def test_what_appears_after_the_deadline_is_killed_until_a_daemon_has_a_lease_again(rig: GuardRig) -> None:
    rig.let_run(0.0)
    rig.guard()
    assert rig.end_of(rig.qemu("late1"))
    assert rig.end_of(rig.qemu("late2", noted=False))
    rig.let_run(LIMIT)
    rig.wait(lambda: "the lease is held again" in rig.log(), "the guard has heard it")
    spared = rig.qemu("spared")
    rig.rounds()
    assert spared.poll() is None


def test_one_whose_run_file_goes_stays_guarded(rig: GuardRig) -> None:
    deadline = rig.let_run(1.0)
    qemu = rig.qemu()
    rig.guard()
    rig.rounds()
    for path in rig.runtime.glob("*.run"):
        path.unlink()
    assert rig.end_of(qemu) >= deadline


def test_a_process_that_has_the_pid_of_a_qemu_by_now_is_left_alone(rig: GuardRig) -> None:
    rig.let_run(0.0)
    other = rig.qemu(wrong=True)
    rig.guard()
    assert rig.end_of(rig.qemu("the right one"))
    rig.rounds()
    assert other.poll() is None


def test_a_guard_that_comes_when_all_is_long_past_kills_at_once(rig: GuardRig) -> None:
    rig.let_run(-3600.0)
    qemu = rig.qemu()
    rig.guard()
    assert rig.end_of(qemu)


def test_a_guard_that_is_killed_and_comes_back_knows_the_deadline(rig: GuardRig) -> None:
    deadline = rig.let_run(1.5)
    qemu = rig.qemu()
    first = rig.guard()
    first.kill()
    first.wait()
    rig.guard()
    assert rig.end_of(qemu) >= deadline


def test_a_deadline_of_an_earlier_boot_of_the_machine_says_nothing(rig: GuardRig) -> None:
    earlier = GuardFile(rig.runtime / GUARD_FILE, boot=uuid.uuid4().bytes)
    earlier.write_word(1.0, 5.0)
    earlier.close()
    qemu = rig.qemu()
    rig.guard()
    rig.rounds()
    assert qemu.poll() is None
    rig.let_run(0.0)
    assert rig.end_of(qemu)


def test_what_cannot_be_understood_is_told_and_harms_nobody_else(rig: GuardRig) -> None:
    rig.let_run(0.5)
    (rig.runtime / "newer.run").write_text('{"schema": 99}')
    (rig.runtime / "broken.run").write_text("no JSON")
    qemu = rig.qemu()
    rig.guard()
    assert rig.end_of(qemu)
    rig.wait(lambda: "newer.run is not understood (schema 99, not 1)" in rig.log(), "the guard says so")
    rig.wait(lambda: "broken.run is not understood" in rig.log(), "the guard says so")


def test_one_that_comes_before_the_first_daemon_makes_the_directory(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    guard = subprocess.Popen([sys.executable, "-m", "quorate.service.guard", str(runtime)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + LIMIT
        while not (runtime / GUARD_FILE).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        guard.kill()
        guard.wait()


# --- there is one, and it ends in order ------------------------------------------------------------------------------


def test_a_node_has_one_guard(rig: GuardRig) -> None:
    rig.let_run(LIMIT)
    rig.guard()
    assert rig.guard(ready=False).wait(LIMIT) == 1
    assert "another guard guards" in rig.log()


def test_told_to_end_it_ends_when_no_virtual_machine_lives(rig: GuardRig) -> None:
    rig.let_run(LIMIT)
    qemu = rig.qemu()
    guard = rig.guard()
    guard.terminate()
    rig.rounds()
    assert guard.poll() is None, "a virtual machine lives"
    qemu.kill()
    assert guard.wait(LIMIT) == 0
    assert not rig.file.is_locked()


def test_a_daemon_that_writes_again_keeps_the_guard_that_was_told_to_end(rig: GuardRig) -> None:
    rig.let_run(LIMIT)
    qemu = rig.qemu()
    guard = rig.guard()
    guard.terminate()
    rig.rounds()
    rig.let_run(LIMIT)
    rig.rounds()
    qemu.kill()
    qemu.wait()
    rig.rounds()
    assert guard.poll() is None


def test_it_ends_when_its_directory_is_gone_and_nobody_is_left_to_guard(rig: GuardRig) -> None:
    rig.let_run(0.5)
    qemu = rig.qemu()
    guard = rig.guard()
    (rig.runtime / GUARD_FILE).unlink()
    assert rig.end_of(qemu), "the deadline that it knows counts"
    assert guard.wait(LIMIT) == 0


# --- the watchdog ----------------------------------------------------------------------------------------------------


class Device:
    """What stands for /dev/watchdog: a fifo, of which the test reads what it is fed."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path, 0o666)
        path.chmod(0o666)
        self.path = path
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.fed: list[tuple[float, bytes]] = []

    def read(self) -> bytes:
        """Take in what came; answers it."""
        try:
            food = os.read(self._reader, 4096)
        except BlockingIOError:
            return b""
        if food:
            self.fed.append((boottime(), food))
        return food

    def close(self) -> None:
        os.close(self._reader)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path / "watchdog")
    yield made
    made.close()


def test_the_watchdog_is_fed_while_the_lease_is_held_and_left_in_order(rig: GuardRig, device: Device) -> None:
    rig.let_run(LIMIT)
    qemu = rig.qemu()
    guard = rig.guard("--watchdog", str(device.path))
    for _ in range(3):
        rig.wait(lambda: device.read() == b"\0", "it is fed")
    qemu.kill()
    guard.terminate()
    assert guard.wait(LIMIT) == 0
    device.read()
    assert b"".join(food for _, food in device.fed).strip(b"\0") == b"V"


def test_a_killed_guard_leaves_the_watchdog_armed(rig: GuardRig, device: Device) -> None:
    rig.let_run(LIMIT)
    guard = rig.guard("--watchdog", str(device.path))
    rig.wait(lambda: device.read() != b"", "it is fed")
    guard.kill()
    guard.wait()
    device.read()
    assert b"V" not in b"".join(food for _, food in device.fed)
    rig.guard("--watchdog", str(device.path))
    rig.wait(lambda: device.read() == b"\0", "the next guard feeds it")


def test_the_watchdog_is_fed_on_once_everything_is_dead(rig: GuardRig, device: Device) -> None:
    deadline = rig.let_run(0.5)
    qemu = rig.qemu()
    rig.guard("--watchdog", str(device.path))
    rig.end_of(qemu)
    rig.wait(lambda: device.read() != b"" and boottime() > deadline + 2 * MARGIN, "it is fed after the deadline")


@pytest.mark.skipif(os.getuid() != 0 or not which("setpriv"), reason="one whom the guard may not kill is needed")
def test_the_watchdog_starves_while_one_cannot_be_killed(rig: GuardRig, device: Device) -> None:
    """As with a QEMU that hangs in the kernel: SIGKILL does not reach it."""
    rig.let_run(LIMIT)
    qemu = rig.qemu(account=NOBODY)
    rig.guard("--watchdog", str(device.path), through=("setpriv", "--bounding-set", "-kill"))
    rig.wait(lambda: device.read() != b"", "it is fed")
    rig.let_run(0.5)
    rig.wait(lambda: "is not fed" in rig.log(), "the guard says that it is not fed any more")
    device.read()
    rig.rounds(20)
    assert device.read() == b""
    for words in ("cannot be killed: Operation not permitted", "is not fed", "may still run"):
        rig.wait(lambda words=words: words in rig.log(), "the guard says so")  # type: ignore[misc]
    qemu.kill()
    qemu.wait()
    rig.wait(lambda: device.read() == b"\0", "it is fed again when nothing can run any more")


def test_a_watchdog_that_is_not_there_is_told_at_once(rig: GuardRig) -> None:
    assert rig.guard("--watchdog", str(rig.runtime / "none"), ready=False).wait(LIMIT) == 1
    assert "No such file or directory" in rig.log()
