"""The same seed gives the same trace, whatever the process that plays it hashes with."""

import hashlib
import os
import subprocess
import sys

from quorate.cli.quiet import no_logs
from quorate.simulator.history import Shape, play
from quorate.simulator.world import Options

SHAPE = Shape(minutes=4.0, faults=6, commands=12, episodes=2)


def fingerprint(seed: int) -> str:
    """What happened in a short history, line by line."""
    with no_logs():
        run = play(seed, SHAPE, options=Options(trace=True))
    lines = "\n".join(f"{line.at!r} {line.kind.value} {line.where} {line.what}" for line in run.trace)
    assert run.violation is None and run.events > 100 and lines
    return hashlib.sha256(lines.encode()).hexdigest()


def test_the_hashes_of_a_process_change_nothing() -> None:
    program = "from tests.unit.simulator.test_same_trace import fingerprint; print(fingerprint(7), end='')"
    found = {fingerprint(7)}  # of this process, whose hashes nobody has chosen
    for hashes in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hashes}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_another_seed_is_another_history() -> None:
    assert fingerprint(7) == fingerprint(7) != fingerprint(8)
