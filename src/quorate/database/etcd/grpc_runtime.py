"""The one place that imports gRPC, with what must be said before: take ``grpc`` from here.

Importing it costs tens of milliseconds and megabytes; so only what really talks to etcd imports this module.
"""

import os
from contextlib import suppress
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.database.etcd.settings import EtcdSettings

# A daemon starts QEMUs: gRPC must not put its handlers for fork in the way. It is told before it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# What goes wrong is told by our own sentences; gRPC's C core would write to the daemon's standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio

__all__ = ["HAS_LEADER", "OPTIONS", "Credentials", "grpc"]

HAS_LEADER: Final = (("hasleader", "true"),)
"""Metadata of every call: a member that has lost its leader refuses instead of waiting (and ends its watches)."""

OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_receive_message_length", -1),  # etcd bounds what it takes, not what it answers
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # nothing is ever sent twice behind our back
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # one store's broken connection is no other's
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),  # bounds an attempt to connect, too
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Credentials:
    """TLS for one etcd. The files are read again for every new connection: certificates are renewed meanwhile."""

    def __init__(self, settings: EtcdSettings) -> None:
        """Raises CallerError when the files do not serve."""
        self._settings = settings
        self._is_tls = settings.parsed()[0].is_tls
        self._files = settings.checked_credentials()

    def newest(self) -> grpc.ChannelCredentials | None:
        """What the files say now, or said last; None without TLS."""
        with suppress(CallerError):
            self._files = self._settings.checked_credentials()
        return grpc.ssl_channel_credentials(*self._files) if self._is_tls else None
