"""A guest that is held back while it is copied: by how much, from when on, and that it never outlasts the transfer."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.test_qemu_switch_over import SLOW, Pair, run, until
from tests.waiting import PATIENCE

from quorate.hypervisor.contract import Instance, MigrationStatus
from quorate.hypervisor.serial_watch import SerialWatch

pytestmark = pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU")

HELD_BACK = replace(SLOW, may_throttle=True)
PERCENT = 90
"""It sleeps 90 ms of 100, so a timer that ticks 100 times a second is heard some 20 times."""


@pytest.fixture
def root() -> Iterator[Path]:
    """Short, since sockets lie below."""
    directory = Path(tempfile.mkdtemp(prefix="qt"))
    yield directory
    shutil.rmtree(directory)


async def beats_per_second(watch: SerialWatch) -> float:
    """How often the guest is heard over some time."""
    began, before = time.monotonic(), len(watch.lines)
    await asyncio.sleep(0.6)
    return (len(watch.lines) - before) / (time.monotonic() - began)


async def until_fast(watch: SerialWatch, beats: float) -> None:
    deadline = time.monotonic() + PATIENCE
    while await beats_per_second(watch) < beats:
        assert time.monotonic() < deadline, "the guest is still held back"


async def hold_back(pair: Pair, watch: SerialWatch) -> tuple[Instance, Instance]:
    """A transfer of a guest that is held back by now, and beats as seldom as that."""
    source, destination, uri = await pair.start()
    await until_fast(watch, 60)
    await source.migrate(uri, HELD_BACK)
    await source.throttle(PERCENT)
    deadline = time.monotonic() + PATIENCE
    while (sample := await source.migration()).throttle != PERCENT:
        assert time.monotonic() < deadline, sample
        await asyncio.sleep(0.02)
    while await beats_per_second(watch) > 45:
        assert time.monotonic() < deadline, "the guest was never held back"
    return source, destination


def watched(root: Path, body: Callable[[Pair, SerialWatch], Awaitable[None]]) -> None:
    async def main(pair: Pair) -> None:
        log = pair.paths["a"].serial_log(pair.vm_id)
        with SerialWatch(log, poll=0.01) as watch:
            await body(pair, watch)

    run(root, main)


def test_the_throttle_ends_when_the_transfer_is_cancelled(root: Path) -> None:
    async def body(pair: Pair, watch: SerialWatch) -> None:
        source, _ = await hold_back(pair, watch)
        await source.migrate_cancel()
        await until(source, MigrationStatus.CANCELLED, MigrationStatus.FAILED)
        assert (await source.migration()).throttle == 0
        await until_fast(watch, 60)

    watched(root, body)


def test_the_throttle_ends_when_the_destination_dies_though_nobody_says_a_word_to_qemu(root: Path) -> None:
    async def body(pair: Pair, watch: SerialWatch) -> None:
        source, destination = await hold_back(pair, watch)
        await source.release()  # as when the daemon is killed
        try:
            destination.kill()
            await until_fast(watch, 60)
        finally:
            os.kill(source.pid, signal.SIGKILL)  # nobody else would: it was let go of

    watched(root, body)
