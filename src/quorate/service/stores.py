"""The cluster database's store as the configuration names it: a file of this machine, or etcd.

etcd's client is imported here and only where etcd is used: gRPC costs a process 12 MiB and 0.1 s.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import FaultError, RefusalError
from quorate.clusapi.status import Status
from quorate.database.contract import BlockingStore, Store
from quorate.database.etcd.settings import EtcdSettings
from quorate.database.maintenance import StoreMaintenance
from quorate.database.sqlite import SqliteBlockingStore, SqliteStore
from quorate.database.sqlite_maintenance import SqliteMaintenance
from quorate.server.properties.cluster import explain_short_lease

SHORTEST_LEASE_ON_ETCD: Final = 3.0
"""Seconds. When its leader dies etcd answers nobody for 1 to 2.5 s; a shorter lease would end for that alone."""


@dataclass(frozen=True, slots=True)
class Stores:
    """A process's ways to the cluster database; ``store`` is the owner's to close."""

    store: Store
    maintenance: StoreMaintenance
    open_blocking: Callable[[], BlockingStore]
    """Opens another one, on connections of its own, for a thread."""
    shortest_lease: float
    """Seconds that a lease must have at least where the database is kept so; 0: no matter."""

    def check_lease(self, duration: float) -> None:
        """Refuse a lease that is too short for this store. Raises RefusalError."""
        if duration < self.shortest_lease:
            sentence = explain_short_lease(duration, self.shortest_lease)
            raise RefusalError(Status.ERROR_CLUSTER_INVALID_REQUEST, sentence)


async def open_stores(database: Path | EtcdSettings) -> Stores:
    """Open the cluster database and hear whether it can be used.

    Raises:
        CallerError: 87, the settings or their files are wrong.
        FaultError: it does not answer, is not ours, or gRPC is not installed.
    """
    if isinstance(database, Path):
        sqlite = SqliteStore(database)
        await sqlite.open()
        return Stores(sqlite, SqliteMaintenance(database), lambda: SqliteBlockingStore(database), shortest_lease=0.0)
    try:
        from quorate.database.etcd.blocking import EtcdBlockingStore
        from quorate.database.etcd.maintenance import EtcdMaintenance
        from quorate.database.etcd.store import EtcdStore
    except ModuleNotFoundError as error:
        raise _no_grpc(error) from error
    etcd = EtcdStore(database)
    try:
        await etcd.open()
    except BaseException:
        await etcd.close()
        raise
    return Stores(etcd, EtcdMaintenance(etcd), lambda: EtcdBlockingStore(database), SHORTEST_LEASE_ON_ETCD)


def new_etcd_store(settings: EtcdSettings) -> Store:
    """A store in etcd that connects at first use; for who makes a cluster or joins one. Raises CallerError."""
    try:
        from quorate.database.etcd.store import EtcdStore
    except ModuleNotFoundError as error:
        raise _no_grpc(error) from error
    return EtcdStore(settings)


def _no_grpc(error: ModuleNotFoundError) -> FaultError:
    if error.name is None or error.name.partition(".")[0] != "grpc":
        raise error
    return FaultError(
        Status.ERROR_NOT_READY,
        "a cluster database in etcd needs gRPC for Python, which is not installed here: install quorate[machines]",
    )
