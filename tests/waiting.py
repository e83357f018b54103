"""Waiting for what must come to pass: as long as a machine may take that is busy with something else."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 60.0
"""Seconds. Only a failure lasts that long; what a test proves about time it has to say itself."""


def slowness() -> float:
    """How many times longer things may take than where a processor is to spare for each; at least 1.

    For limits that are a promise to those who use Quorate: they hold as they are on a machine with nothing else to do.
    """
    return max(1.0, 2.0 * os.getloadavg()[0] / (os.cpu_count() or 1))


async def until(condition: Callable[[], object]) -> None:
    """Return as soon as a condition holds. Raises TimeoutError when it does not come to."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - whatever the condition is, nothing tells
            await asyncio.sleep(0.005)


def wait_until(condition: Callable[[], object]) -> None:
    """The same for who has no loop."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.002)
