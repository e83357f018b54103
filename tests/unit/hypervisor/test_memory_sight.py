"""Looking at a process's memory from outside: a process of our own that has some."""

import mmap
import os
import threading
import time

from tests.waiting import PATIENCE

from quorate.hypervisor.qemu import memory_sight

SIZE = 96 << 20
PAGE = 4096


def test_how_much_is_in_use_and_how_much_of_it_is_written() -> None:
    with mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        assert memory_sight.memory_in_use(os.getpid(), SIZE).in_use == 0
        for offset in range(0, SIZE // 2, PAGE):
            memory[offset] = 1
        for offset in range(SIZE // 2, SIZE * 3 // 4, PAGE):
            memory[offset] = 0  # touched, and yet nothing that would have to be sent
        seen = memory_sight.memory_in_use(os.getpid(), SIZE)
        assert not seen.trouble
        assert abs(seen.in_use - SIZE // 2) <= SIZE // 100
        before = memory_sight.page_marks(os.getpid(), SIZE)
        for offset in range(0, SIZE // 4, PAGE):
            memory[offset + 5] = 7
        after = memory_sight.page_marks(os.getpid(), SIZE)
        written = memory_sight.written_between(before, after, SIZE, 2.0)
        assert abs(written.written - SIZE // 4) <= SIZE // 100
        assert written.seconds == 2.0


def test_a_process_that_is_gone_tells_nothing() -> None:
    assert "cannot be looked at" in memory_sight.memory_in_use(2**22, SIZE).trouble
    assert memory_sight.written_between([], [], SIZE, 1.0).trouble
    assert memory_sight.thread_seconds(2**22, [2**22]) == 0.0


def test_a_thread_that_works_gets_on() -> None:
    """The kernel brings the account up to date with its next tick."""
    me = threading.get_native_id()
    before, deadline = memory_sight.thread_seconds(os.getpid(), [me]), time.monotonic() + PATIENCE
    while memory_sight.thread_seconds(os.getpid(), [me]) == before:
        assert time.monotonic() < deadline, "this thread did nothing but work"
    assert memory_sight.thread_seconds(os.getpid(), [me]) > before


def test_older_qemus_count_in_whole_seconds_and_what_they_cut_off_is_added() -> None:
    assert memory_sight.dirty_rate_arguments(0.2, (10, 0, 2))["calc-time"] == 200
    assert memory_sight.dirty_rate_arguments(0.2, (7, 2, 0))["calc-time"] == 1
    assert memory_sight.seconds_measured(0.2, (7, 2, 0)) == 1.0
    assert memory_sight.written_at_rate(0, 3.0) == 0
    assert memory_sight.written_at_rate(5, 2.0) == 11 << 20
