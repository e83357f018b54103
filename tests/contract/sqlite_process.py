"""A process of its own for the tests of the sqlite engine: ``sqlite_process.py <role> <database> <name> <count>``.

Reports on its standard output, line by line.
"""

import sys
import time
from pathlib import Path

from quorate.database.contract import Compare, Put
from quorate.database.sqlite import SqliteBlockingStore
from quorate.database.sqlite_file import SqliteFile


def write_until_killed(store: SqliteBlockingStore, checkpointing: SqliteFile, name: str, begin: int) -> None:
    """Write numbered transactions of two records, report each when it was acknowledged, checkpoint now and then."""
    number = begin
    while True:
        data = str(number).encode()
        size = (number * 37) % 6000  # sometimes more than a page
        store.transact([], [Put(f"written/{name}/{number:06d}", data.ljust(size)), Put(f"last/{name}", data)])
        print(number, flush=True)
        number += 1
        if number % 7 == 0:
            checkpointing.checkpoint()


def increment(store: SqliteBlockingStore, times: int) -> None:
    """Raise a counter by compare-and-swap."""
    done = 0
    while done < times:
        record = store.get("counter")
        compare = Compare("counter", record.revision if record else 0)
        value = str((int(record.value) if record else 0) + 1).encode()
        done += store.transact([compare], [Put("counter", value)]).succeeded
    print(done, flush=True)


def signal(store: SqliteBlockingStore, times: int) -> None:
    """Write, and report when the answer came (CLOCK_MONOTONIC is the same in all processes of a machine)."""
    for number in range(times):
        revision = store.transact([], [Put("signal", str(number).encode())]).revision
        print(revision, time.monotonic(), flush=True)
        time.sleep(0.01)


if __name__ == "__main__":
    role, path, name, count = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    opened = SqliteBlockingStore(path, busy_wait=10)
    print("ready", flush=True)
    if role == "write":
        write_until_killed(opened, SqliteFile(path, 10), name, count)
    elif role == "increment":
        increment(opened, count)
    else:
        signal(opened, count)
