"""What this node can say of itself and of the cluster when somebody validates it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import quorate
from quorate.clusapi.errors import ClusterError
from quorate.cluster.picture import Picture
from quorate.database.maintenance import StoreMaintenance, StoreStatus
from quorate.peers.identity import NodeIdentity
from quorate.server.inspection import NodeHealth, StorageFact
from quorate.service.configuration import NodeConfiguration

_CERTIFICATE_FOR: Final = 60.0
"""Seconds for which what a certificate says is remembered: every status page asks."""


def _nothing() -> None:
    return None


@dataclass(slots=True)
class Inspection:
    """Implements `server.inspection.NodeInspection`."""

    configuration: NodeConfiguration
    store: StoreMaintenance
    guard_is_live: Callable[[], bool]
    make_picture: Callable[[], Picture | None] = _nothing
    _certificate: tuple[float, datetime | None] = field(default=(0.0, None), init=False)

    def health(self) -> NodeHealth:
        """How this node is."""
        configuration = self.configuration
        return NodeHealth(
            time=time.time(),
            version=quorate.__version__,
            guard=self.guard_is_live(),
            certificate_expires=self._expires(),
            storages=tuple(
                StorageFact(name, str(path), name in configuration.shared_storages)
                for name, path in sorted(configuration.storages.items())
            ),
        )

    async def store_status(self) -> StoreStatus:
        """How the cluster database is."""
        return await self.store.status()

    def picture(self) -> Picture | None:
        """The cluster as the coordinator would see it now."""
        return self.make_picture()

    def _expires(self) -> datetime | None:
        if self.configuration.certificates is None:
            return None
        asked, expires = self._certificate
        now = time.monotonic()
        if not asked or now - asked > _CERTIFICATE_FOR:
            expires = _read_expiry(NodeIdentity(self.configuration.certificates))
            self._certificate = (now, expires)
        return expires


def _read_expiry(identity: NodeIdentity) -> datetime | None:
    from quorate.peers.authority import describe  # where certificates are used at all: cryptography is large

    try:
        return describe(identity.load().certificate).not_after
    except ClusterError:
        return None  # a node without certificates does not get this far
