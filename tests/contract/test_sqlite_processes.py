"""The sqlite engine between processes: crashes, lost updates, and how soon watchers hear."""

import asyncio
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

from tests.waiting import PATIENCE

from quorate.database.contract import Put
from quorate.database.sqlite import SqliteBlockingStore, SqliteStore

PROGRAM = Path(__file__).with_name("sqlite_process.py")


@contextmanager
def process(role: str, database: Path, name: str, count: int) -> Iterator[subprocess.Popen[str]]:
    """A writer process, ended by its pid whatever happens."""
    command = [sys.executable, str(PROGRAM), role, str(database), name, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def lines(running: subprocess.Popen[str]) -> Iterator[str]:
    assert running.stdout is not None
    return (line.strip() for line in running.stdout)


def test_kill_9_at_any_point_loses_no_acknowledged_transaction(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    database = tmp_path / "database.sqlite"
    store = SqliteBlockingStore(database)
    next_numbers = {"one": 0, "two": 0}
    for _ in range(6):
        with (
            process("write", database, "one", next_numbers["one"]) as one,
            process("write", database, "two", next_numbers["two"]) as two,
        ):
            running = {"one": one, "two": two}
            reports = {name: lines(of) for name, of in running.items()}
            for report in reports.values():
                assert next(report) == "ready"
            acknowledged = {name: [int(next(report))] for name, report in reports.items()}
            for name in sorted(running, key=lambda _: chance.random()):
                time.sleep(chance.uniform(0, 0.03))
                running[name].kill()
                acknowledged[name] += [int(line) for line in reports[name] if line]
        for name, numbers in acknowledged.items():
            present = [int(record.value) for record in store.range(f"written/{name}/").records]
            last = store.get(f"last/{name}")
            assert last is not None
            assert present == list(range(len(present)))
            assert present[-1] == int(last.value), "half a transaction"
            assert numbers == list(range(next_numbers[name], numbers[-1] + 1))
            assert numbers[-1] <= present[-1] <= numbers[-1] + 1, "one may have landed without its acknowledgement"
            next_numbers[name] = present[-1] + 1
    snapshot = store.range("")
    assert snapshot.revision == sum(next_numbers.values())
    store.close()


def test_the_log_of_changes_survives_kill_9_without_a_gap(tmp_path: Path) -> None:
    database = tmp_path / "database.sqlite"
    for begin in (0, 1000):
        with process("write", database, "one", begin) as running:
            report = lines(running)
            while True:
                if (line := next(report)) != "ready" and int(line) >= begin + 5:
                    break
            running.kill()

    async def read() -> None:
        store = SqliteStore(database)
        revision = (await store.range("")).revision
        seen = []
        async with asyncio.timeout(PATIENCE), aclosing(store.watch("", 0)) as changes:
            async for batch in changes:
                seen.append(batch[0].revision)
                assert [change.key.split("/")[0] for change in batch] == ["last", "written"]
                if seen[-1] == revision:
                    break
        assert seen == list(range(1, revision + 1))
        await store.close()

    asyncio.run(read())


def test_two_processes_incrementing_by_compare_and_swap_lose_no_update(tmp_path: Path) -> None:
    database = tmp_path / "database.sqlite"
    with process("increment", database, "", 150) as one, process("increment", database, "", 150) as two:
        assert [*lines(one)] == [*lines(two)] == ["ready", "150"]
    store = SqliteBlockingStore(database)
    record = store.get("counter")
    assert record is not None
    assert (record.value, record.revision) == (b"300", 300)
    store.close()


def test_a_watcher_hears_another_processs_write_by_the_datagram_alone(tmp_path: Path) -> None:
    database = tmp_path / "database.sqlite"
    writes = 20

    async def measure() -> dict[int, float]:
        store = SqliteStore(database, poll=None)
        heard: dict[int, float] = {}
        with process("signal", database, "", writes) as running:
            async with asyncio.timeout(PATIENCE), aclosing(store.watch("signal", 0)) as changes:
                async for batch in changes:
                    heard[batch[0].revision] = time.monotonic()
                    if len(heard) == writes:
                        break
            answered = dict(line.split() for line in lines(running) if line != "ready")
        await store.close()
        return {revision: when - float(answered[str(revision)]) for revision, when in heard.items()}

    delays = sorted(asyncio.run(measure()).values())
    print(
        f"heard after the writer's answer: median {statistics.median(delays) * 1000:.2f} ms, worst {delays[-1]:.4f} s"
    )
    assert statistics.median(delays) < 0.020


def test_a_killed_watchers_socket_is_removed_by_the_next_writer(tmp_path: Path) -> None:
    database = tmp_path / "database.sqlite"
    program = (
        "import asyncio, sys; from pathlib import Path; from quorate.database.sqlite import SqliteStore\n"
        "async def main():\n"
        "    async for batch in SqliteStore(Path(sys.argv[1])).watch('', 0): print('heard', flush=True)\n"
        "asyncio.run(main())"
    )
    store = SqliteBlockingStore(database)
    store.get("open")
    signals = tmp_path / "database.sqlite.signals"
    with subprocess.Popen([sys.executable, "-c", program, str(database)], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        try:
            while not list(signals.glob("*")):
                time.sleep(0.01)
            assert [path.name.split("-")[0] for path in signals.iterdir()] == [str(running.pid)]
        finally:
            running.kill()
    assert len(list(signals.iterdir())) == 1
    store.transact([], [Put("a", b"")])
    assert not list(signals.iterdir())
    store.close()
