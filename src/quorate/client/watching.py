"""Following a migration with calls that block."""

import time
from collections.abc import Iterator

from quorate.client.blocking import BlockingClient
from quorate.client.following import PATIENCE, RETRY_AFTER, Follower, MigrationResult, progress_target, silent
from quorate.clusapi.errors import FaultError, error_from_status
from quorate.clusapi.json_types import json_int, json_text
from quorate.clusapi.progress import MigrationProgress


class MigrationWatch:
    """One migration that was started. Iterate to watch it; ``result`` is there when the iteration has ended."""

    def __init__(self, client: BlockingClient, vm: str) -> None:
        """Follow the running migration of a VM."""
        self._client = client
        self._vm = vm
        self._follower = Follower()

    @property
    def result(self) -> MigrationResult | None:
        """How it ended; None while it has not."""
        return self._follower.result

    def __iter__(self) -> Iterator[MigrationProgress]:
        heard = time.monotonic()
        while self._follower.result is None:
            try:
                for kind, part in self._client.stream(progress_target(self._vm)):
                    if kind == "error":
                        raise error_from_status(json_int(part, "status", 1), json_text(part, "sentence"))
                    heard = time.monotonic()
                    yield self._follower.take(part)
            except FaultError as error:
                broken = error
            else:
                broken = silent(self._vm)
            if self._follower.result is None:
                if time.monotonic() - heard > PATIENCE:
                    raise broken
                time.sleep(RETRY_AFTER)
