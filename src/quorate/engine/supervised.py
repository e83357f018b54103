"""Tasks that nobody awaits: their failures are logged, never lost."""

import asyncio
from collections.abc import Coroutine

import structlog

_log = structlog.get_logger("engine")


def spawn(tasks: set[asyncio.Task[None]], work: Coroutine[object, object, None], what: str) -> asyncio.Task[None]:
    """Run ``work`` as a task that ``tasks`` keeps alive; say so if it breaks."""
    task = asyncio.get_running_loop().create_task(work, name=what)
    tasks.add(task)

    def on_done(done: asyncio.Task[None]) -> None:
        tasks.discard(done)
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.error("a task broke", task=what, error=repr(error), exc_info=error)

    task.add_done_callback(on_done)
    return task
