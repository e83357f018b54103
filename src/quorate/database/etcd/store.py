"""The store in etcd, for asyncio."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from quorate.database.contract import (
    Change,
    Compare,
    Outcome,
    Record,
    Snapshot,
    StoreUnavailable,
    Write,
    check_key,
    check_transaction,
)
from quorate.database.etcd.client import EtcdClient
from quorate.database.etcd.settings import EtcdSettings, EtcdTimings
from quorate.database.etcd.watch import watch

OPEN_WAIT: Final = 4.0
"""Seconds within which somebody who opens a store hears what is wrong; an election may be under way."""


class EtcdStore:
    """A node's store in etcd. Belongs to the loop that first uses it."""

    def __init__(self, settings: EtcdSettings, timings: EtcdTimings | None = None) -> None:
        """Connect at first use. Raises CallerError for what is wrong with the settings or their files."""
        self.client = EtcdClient(settings, EtcdTimings() if timings is None else timings)

    async def open(self, wait: float = OPEN_WAIT) -> None:
        """Ask etcd now, to hear early what is wrong with it.

        Raises:
            FaultError: 5059, TLS is impossible with every member; 5, etcd does not let us; 5925, there is no quorum;
                1460, no answer; 1017 and 5904, what lies below the prefix is not ours to use.
        """
        try:
            await self.client.run(self.client.space.revision(), wait)
        except StoreUnavailable as error:
            raise self.client.rotation.explain(error) from None

    async def get(self, key: str) -> Record | None:
        """Read one record."""
        check_key(key)
        return await self.client.run(self.client.space.get(key))

    async def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        """Read all records under the prefixes at one revision."""
        return await self.client.run(self.client.space.range(prefixes, after))

    async def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        """Write everything if every compare holds."""
        check_transaction(compares, writes)
        return await self.client.run(self.client.space.transact(compares, writes))

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[tuple[Change, ...], None]:
        """Tell the changes under a prefix after a revision."""
        self.client.check_open()
        async with aclosing(watch(self.client, prefix, after)) as batches:
            async for batch in batches:
                yield batch

    async def close(self) -> None:
        """End all watches and let go of the connections."""
        await self.client.close()
