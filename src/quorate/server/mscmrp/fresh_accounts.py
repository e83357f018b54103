"""The accounts as they are when somebody logs on: a user who was added at another node a moment ago is let in.

What a node has seen of the cluster may be some milliseconds old. So the database is asked before a password is looked
at; while it is silent, what the node has seen last counts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from quorate.clusapi.errors import ClusterError
from quorate.database.accounts import Account
from quorate.database.records import Versioned
from quorate.database.snapshot import ClusterSnapshot

PATIENCE: Final = 1.0
"""Seconds that a logon waits for a silent database."""


class FreshAccounts:
    """The newest that is known: what the node's view has seen, or what was read for a logon."""

    def __init__(self, seen: Callable[[], ClusterSnapshot], read: Callable[[], Awaitable[ClusterSnapshot]]) -> None:
        """``seen`` gives the view's snapshot, ``read`` one of now; it may raise ClusterError."""
        self._seen = seen
        self._read = read
        self._newest: ClusterSnapshot | None = None

    def records(self) -> Mapping[str, Versioned[Account]]:
        """The accounts by folded name."""
        seen, newest = self._seen(), self._newest
        if newest is not None and newest.revision <= seen.revision:
            newest = self._newest = None
        return (newest or seen).accounts

    async def refresh(self) -> None:
        """Know what is so at this moment, unless the database is silent."""
        try:
            async with asyncio.timeout(PATIENCE):
                read = await self._read()
        except (ClusterError, TimeoutError):
            return
        if self._newest is None or self._newest.revision < read.revision:
            self._newest = read
