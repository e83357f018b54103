"""A migration under way, as an object to wait for or to look at."""

import asyncio
from collections.abc import AsyncIterator

from quorate.client.asynchronous import AsyncClient
from quorate.client.following import PATIENCE, RETRY_AFTER, Follower, MigrationResult, progress_target, silent
from quorate.clusapi.errors import FaultError, error_from_status
from quorate.clusapi.json_types import json_int, json_text
from quorate.clusapi.progress import MigrationProgress

__all__ = ["Migration", "MigrationResult"]


class Migration:
    """One migration that was started. Iterate to watch it; dropping it leaves the migration running."""

    def __init__(self, client: AsyncClient, vm: str) -> None:
        """Follow the running migration of a VM."""
        self._client = client
        self._vm = vm
        self._follower = Follower()

    async def __aiter__(self) -> AsyncIterator[MigrationProgress]:
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while self._follower.result is None:
            try:
                async for kind, part in self._client.stream(progress_target(self._vm)):
                    if kind == "error":
                        raise error_from_status(json_int(part, "status", 1), json_text(part, "sentence"))
                    heard = loop.time()
                    yield self._follower.take(part)
            except FaultError as error:
                broken = error
            else:
                broken = silent(self._vm)
            if self._follower.result is None:
                if loop.time() - heard > PATIENCE:
                    raise broken
                await asyncio.sleep(RETRY_AFTER)

    async def result(self) -> MigrationResult:
        """Wait until it is over. Raises FaultError when no node tells about it any more."""
        async for _ in self:
            continue
        result = self._follower.result
        assert result is not None  # the loop above ends with one
        return result
