"""Looking after a store: how much it holds, what is wrong with it, and forgetting old changes.

The coordinator compacts; ``quorate validate`` and the events tell of a store that runs full. Revisions are the store's
own, as the contract counts them.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoreMember:
    """One of the servers that keep the store; engines without servers have none."""

    name: str
    address: str
    is_healthy: bool
    is_leader: bool
    sentence: str
    """What is known of it, for people: version and size of a healthy one, why the other is not."""


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How a store is doing."""

    revision: int
    size_bytes: int
    """What it takes on the disk (of etcd: on the member where it takes most)."""
    in_use_bytes: int
    """The part of it that holds something; the rest is free for what is written next."""
    quota_bytes: int | None
    """At which size writes are refused; None: not known, or never."""
    alarms: tuple[str, ...]
    """What the store itself complains of, as sentences; () is well."""
    members: tuple[StoreMember, ...]


class StoreMaintenance(Protocol):
    """What a store offers to whoever looks after it. Every method may raise StoreUnavailable."""

    async def status(self) -> StoreStatus:
        """Look. A member that does not answer is told of in the status, as long as one does answer."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget the changes up to a revision (what stands now stays): watches from before raise Compacted.

        A revision that is forgotten already changes nothing; one that is still to come is a ValueError.
        """
        ...

    async def defragment(self) -> None:
        """Give the free part of the file back to the disk. Slow, and the store may pause for it: only when asked."""
        ...
