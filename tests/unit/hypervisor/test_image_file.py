from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.hypervisor.qemu import image_file
from quorate.hypervisor.qemu.image_file import Reading, see_through


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_file, "_REPORT_EVERY", 0.005)


def test_the_one_who_waits_is_told_until_the_work_is_done() -> None:
    told: list[int] = []

    async def main() -> str:
        enough = asyncio.Event()

        async def work() -> str:
            await enough.wait()
            return "done"

        def report(done: int) -> None:
            told.append(done)
            if len(told) == 3:
                enough.set()

        return await see_through(work(), lambda: 7, report)

    assert asyncio.run(main()) == "done"
    assert told == [7, 7, 7]


def test_what_stands_still_for_too_long_is_given_up() -> None:
    count = iter(range(5))

    async def main() -> None:
        work = asyncio.create_task(asyncio.sleep(3600))
        with pytest.raises(FaultError, match=r"stood still for 0\.05 s"):
            await see_through(work, lambda: next(count, 5), None, patience=0.05)
        assert next(count, None) is None
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(main())


def test_an_error_of_the_work_is_the_outcome() -> None:
    async def work() -> None:
        raise FaultError(Status.ERROR_GEN_FAILURE, "it broke")

    with pytest.raises(FaultError, match="it broke"):
        asyncio.run(see_through(work(), lambda: 0, None))


def test_it_is_seen_how_far_another_one_has_read(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(10_000))
    with path.open("rb") as ours:
        reading = Reading(os.getpid(), ours.fileno())
        assert reading.bytes_read() == 0
        with path.open("rb", buffering=0) as theirs:
            theirs.read(4321)
            assert reading.bytes_read() == 4321
        assert reading.bytes_read() == 4321  # closed again
