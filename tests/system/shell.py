"""The command line as a person uses it: a process of its own, in a directory of its own, on a cluster of its own."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quorate.clusapi.json_types import JsonObject

COMMAND = (sys.executable, "-m", "quorate.cli.main")
TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class Shell:
    """Types commands. ``place`` is the current directory; the cluster is the one that the environment names."""

    def __init__(self, place: Path, cluster: Path) -> None:
        self.place = place
        self.cluster = cluster

    def run(self, *arguments: str, code: int = 0) -> Answer:
        """Run a command to its end, with nobody at the keyboard, and check its exit code."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.place,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        answer = Answer(done.returncode, done.stdout, done.stderr)
        assert answer.code == code, (arguments, answer)
        assert "Traceback" not in answer.err, answer.err
        return answer

    def json(self, *arguments: str, code: int = 0) -> JsonObject:
        """Run a command with --json and read the one object that it prints."""
        found = json.loads(self.run(*arguments, "--json", code=code).out)
        assert isinstance(found, dict)
        return found

    def refusal(self, *arguments: str, code: int) -> JsonObject:
        """Run a command that fails with --json, and read what it says about that."""
        answer = self.run(*arguments, "--json", code=code)
        found = json.loads(answer.err)["error"]
        assert isinstance(found, dict)
        return found

    def answer_at_terminal(self, reply: str, *arguments: str) -> Answer:
        """Run a command with somebody at the keyboard, who types one line."""
        master, slave = pty.openpty()
        try:
            with subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=self.place,
                env=self._environment(),
                stdin=slave,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                os.write(master, f"{reply}\n".encode())
                out, err = process.communicate(timeout=TIMEOUT)
                return Answer(process.returncode, out, err)
        finally:
            os.close(master)
            os.close(slave)

    @contextmanager
    def background(self, *arguments: str) -> Iterator["Background"]:
        """Run a command that goes on for a while; it is ended at the latest when the block is left."""
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.place,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield Background(process)
        finally:
            process.kill()
            process.communicate()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "QUORATE_CLUSTER": str(self.cluster), "COLUMNS": "100"}


class Background:
    """A command that is running."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def line(self) -> str:
        """The next line that it prints; "" at its end, which comes when it has said nothing for too long."""
        assert self._process.stdout is not None
        too_long = threading.Timer(TIMEOUT, self._process.kill)
        too_long.start()
        try:
            return self._process.stdout.readline().rstrip("\n")
        finally:
            too_long.cancel()

    def interrupt(self) -> Answer:
        """Press Ctrl-C and wait for the end."""
        self._process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> Answer:
        out, err = self._process.communicate(timeout=TIMEOUT)
        return Answer(self._process.returncode, out, err)
