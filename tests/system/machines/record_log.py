"""Every write of the cluster database with the moment at which a stranger saw it: what a test judges afterwards.

A process of its own, on a machine that nobody kills, follows etcd and writes one JSON line for each revision; it
decodes nothing, so that it costs the cluster next to nothing.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TextIO

from tests.system.machines.fabric import Machine
from tests.waiting import PATIENCE

from quorate.database.contract import Change
from quorate.database.etcd.settings import EtcdSettings
from quorate.database.etcd.store import EtcdStore
from quorate.service.configuration import read_configuration

ROOT: Final = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Written:
    """What one revision changed, and when it was seen (seconds since the epoch)."""

    at: float
    changes: tuple[Change, ...]


class RecordLog:
    """The log of one cluster, kept while the context is open; begins with what is there already."""

    def __init__(self, machine: Machine, configuration: Path, directory: Path) -> None:
        """Follow, from this machine, the etcd that a node's configuration names."""
        self._machine = machine
        self._configuration = configuration
        self._path = directory / "records.jsonl"
        self._log = directory / "records.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0

    def __enter__(self) -> Self:
        command: list[str | Path] = [sys.executable, "-m", __name__, self._configuration, self._path]
        self._process = self._machine.spawn(command, self._log, env={"PYTHONPATH": str(ROOT)})
        deadline = time.monotonic() + PATIENCE
        while not self._path.exists() or not self._path.stat().st_size:
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def news(self) -> Iterator[Written]:
        """What was written since the last call, in order; the first of all is what was there."""
        with self._path.open("rb") as lines:
            lines.seek(self._read)
            for line in lines:
                if not line.endswith(b"\n"):  # it is not whole yet
                    return
                self._read += len(line)
                found = json.loads(line)
                yield Written(found["at"], tuple(_change(*words) for words in found["changes"]))


def _change(key: str, value: str | None, revision: int) -> Change:
    return Change(key, None if value is None else value.encode(), revision)


async def follow(settings: EtcdSettings, path: Path) -> None:
    """Write down what is there, and then what changes, until the process is ended."""
    store = EtcdStore(settings)
    await store.open()
    with path.open("w", encoding="utf-8", buffering=1) as out:
        before = await store.range("private/")
        _note(out, [Change(record.key, record.value, record.revision) for record in before.records])
        async with aclosing(store.watch("private/", before.revision)) as batches:
            async for batch in batches:
                _note(out, batch)


def _note(out: TextIO, changes: Sequence[Change]) -> None:
    listed = [(c.key, None if c.value is None else c.value.decode(), c.revision) for c in changes]
    out.write(json.dumps({"at": time.time(), "changes": listed}) + "\n")


if __name__ == "__main__":
    database = read_configuration(Path(sys.argv[1])).database
    assert isinstance(database, EtcdSettings)
    asyncio.run(follow(database, Path(sys.argv[2])))
