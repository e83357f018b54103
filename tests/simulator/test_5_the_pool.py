"""Random histories on several processes: however such a run ends, none of its processes is left behind."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "quorate.cli.main", "simulate", "--random", "100000", "--jobs", "2"]
PATIENCE = 120.0
"""Seconds that a very busy machine may take for anything here."""


@pytest.fixture
def playing(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Histories that two processes play."""
    process = subprocess.Popen(COMMAND, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: process.poll() is not None or len(children(process.pid)) == 2)
        assert process.poll() is None, process.communicate()[1]
        yield process
    finally:
        process.kill()
        process.communicate()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_tells_what_it_has_and_ends_its_pool(
    playing: "subprocess.Popen[str]", number: signal.Signals
) -> None:
    pool = children(playing.pid)
    for _ in range(2):  # `make` sends on what a timeout has sent to both
        playing.send_signal(number)
        if number is signal.SIGINT:
            break
    told, complaints = playing.communicate(timeout=PATIENCE)
    assert playing.returncode == 130
    assert " histories, from seed 1, in " in told
    assert "No law was broken, and it was interrupted." in told
    assert all(" histories, " in line for line in complaints.splitlines())
    assert all(map(is_gone, pool))


def test_one_process_that_is_ended_tells_what_it_has(tmp_path: Path) -> None:
    command = [*COMMAND[:-2], "--jobs", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: process.poll() is not None or catches(process.pid, signal.SIGTERM))
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert "No law was broken, and it was interrupted." in told


def catches(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler for a signal."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


def test_a_pool_ends_with_the_one_that_began_it(playing: "subprocess.Popen[str]") -> None:
    pool = children(playing.pid)
    playing.kill()
    wait_until(lambda: all(map(is_gone, pool)))
