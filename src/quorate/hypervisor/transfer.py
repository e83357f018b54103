"""Transfers of a memory image: how to copy, and how far it is. Part of the contract; import it from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

Progress: TypeAlias = Callable[[int], None]
"""Is told how many bytes of a saved image have been written or read: at the beginning, at the end, and at least once a
second between, also while the number stands still because the disk does, or is made to take what is written."""


class MigrationStatus(StrEnum):
    """Where the transfer of a memory image stands, on either side."""

    NONE = "none"  # none was ever started here
    SETUP = "setup"  # listening, or connecting
    ACTIVE = "active"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE = "device"  # sending the devices' state
    POSTCOPY = "postcopy"  # the destination has the devices' state and can run; the source sends the rest on demand
    POSTCOPY_PAUSED = "postcopy-paused"  # the connection broke: each side keeps what it has
    POSTCOPY_RECOVER = "postcopy-recover"  # connecting anew, and telling each other what is missing
    COMPLETED = "completed"  # everything was sent or loaded: proves nothing about the guest
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Answer whether nothing more will happen in this transfer."""
        return self in (MigrationStatus.COMPLETED, MigrationStatus.FAILED, MigrationStatus.CANCELLED)

    @property
    def is_postcopy(self) -> bool:
        """Answer whether the guest's memory lies on both sides: neither can do without the other."""
        return self in (MigrationStatus.POSTCOPY, MigrationStatus.POSTCOPY_PAUSED, MigrationStatus.POSTCOPY_RECOVER)


@dataclass(frozen=True, slots=True)
class MigrationSample:
    """One look at a transfer; all counters are since its beginning."""

    status: MigrationStatus
    total: int = 0
    transferred: int = 0
    remaining: int = 0
    dirty_bytes_per_second: float = 0.0  # 0 until the second pass has begun: not yet known
    bytes_per_second: float = 0.0  # while there was something to copy, zero pages left out; 0: not yet known
    passes: int = 0
    pass_seconds: float = 0.0  # since it last looked for dirty pages: what was dirtied since is not in ``remaining``
    sentence: str = ""  # why it failed
    throttle: int = 0  # percent of the time for which the processors are held back; it ends with the transfer


@dataclass(frozen=True, slots=True)
class MigrationTls:
    """Mutual TLS of a transfer: what to show, and who has to be at the other end. All files are in PEM.

    They are read when the transfer begins: one that begins after they were replaced goes by the new ones.
    """

    authority: Path
    """Who has to have signed the certificate of the other end."""
    certificate: Path
    key: Path
    peer: str
    """At the source a host name or address that the destination's certificate is good for; at the destination the
    subject of the source's certificate, such as "CN=1,O=11111111-2222-3333-4444-555555555555"."""


@dataclass(frozen=True, slots=True)
class MigrationParameters:
    """How to copy. Both sides must be given the same number of multifd channels, and TLS or not.

    The hypervisor does not stop the guest by itself at the end: the engine does, with ``Instance.stop``.
    It should do so soon after next to nothing is left (in the first pass too: QEMU looks again after 100 ms at the
    earliest), since a QEMU that is kept waiting there slows the guest down.
    """

    max_bandwidth: int = 0  # bytes per second, 0 = unlimited
    downtime_limit_ms: int = 1
    multifd_channels: int = 0  # 0 = one stream
    may_throttle: bool = False  # ``Instance.throttle`` will be obeyed
    unix_socket: Path | None = None  # where to listen; None and no tcp_host: VmPaths.migration_socket
    tcp_host: str | None = None  # listen on this address instead
    tcp_port: int = 0  # 0 = any free one
    compressed: bool = False  # by zstd; only with multifd channels, and on both sides
    tls: MigrationTls | None = None  # None: everybody on the way can read along
    post_copy: bool = False  # the transfer may switch to post-copy; both sides alike, and then without multifd channels


@dataclass(frozen=True, slots=True)
class MemorySight:
    """How much of a guest's memory is in use, or how much of it was written within some seconds."""

    in_use: int = 0  # bytes that are not zero
    seconds: float = 0.0  # for how long it was watched; 0: it was not
    written: int = 0  # different bytes that were written meanwhile
    trouble: str = ""  # why it is not known, as a clause; empty: it is
