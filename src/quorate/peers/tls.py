"""Mutual TLS 1.3: the contexts that are made of a node's files, and what the other side has shown.

Both sides show a certificate, but for a machine that asks to be let in. Whose it must be is not the host name's
business but the certificate's: a node is its number (CN) in its cluster (O), wherever it may be reached just now.

The contexts of a daemon live as long as it does. When the files were replaced, :meth:`NodeTls.refresh` loads them into
the same contexts: connections that stand go on, new ones are made with what is new.
"""

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.peers.identity import NodeIdentity

HANDSHAKE_TIMEOUT: Final = 5.0
"""Seconds that a handshake may take, so that nobody keeps a place by being slow."""
USER_TIMEOUT: Final = 5.0
"""Seconds that sent data may stay unacknowledged before the system gives a connection up."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What the certificate of the other side says; the handshake has proven it."""

    subject: str
    organization: str
    role: str
    serial: str
    not_after: datetime

    def is_expired(self, now: datetime) -> bool:
        """Tell whether its time is over: a handshake checks that once, a connection may outlive it."""
        return now > self.not_after


def presented(certificate: object) -> Presented | None:
    """Read what `getpeercert` (or a transport's ``peercert``) gives; None when nothing was shown."""
    if not isinstance(certificate, Mapping) or not certificate:
        return None
    subject: dict[str, str] = {}
    for group in certificate.get("subject", ()):
        subject.update(group)
    return Presented(
        subject=subject.get("commonName", ""),
        organization=subject.get("organizationName", ""),
        role=subject.get("organizationalUnitName", ""),
        serial=str(certificate.get("serialNumber", "")),
        not_after=datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC),
    )


class NodeTls:
    """The TLS contexts of one node."""

    def __init__(self, identity: NodeIdentity, instance_id: str) -> None:
        """Read the node's files. Raises FaultError: 2 for one that is missing, 13 for one that does not fit."""
        self.identity = identity
        self.instance_id = instance_id
        identity.load()  # says which file is missing
        self._stamp = identity.stamp()
        try:
            self.peers_server = server_context(identity.certificate, identity.key, identity.nodes_ca)
            self.peers_client = client_context(identity.certificate, identity.key, identity.nodes_ca)
            self.users_server = server_context(identity.certificate, identity.key, identity.users_ca)
        except (ssl.SSLError, OSError) as error:
            raise _unfit(identity, error) from error
        self.peers_client.check_hostname = False  # :meth:`why_not_node` checks who it is
        # A machine that joins has no certificate yet; who shows none is answered nothing else (peers/server.py).
        self.peers_server.verify_mode = ssl.CERT_OPTIONAL

    def refresh(self) -> bool:
        """Load the files again if one was replaced; answers whether. Raises FaultError, and goes on with the old."""
        stamp = self.identity.stamp()
        if stamp == self._stamp:
            return False
        identity = self.identity
        try:
            for context, authority in (
                (self.peers_server, identity.nodes_ca),
                (self.peers_client, identity.nodes_ca),
                (self.users_server, identity.users_ca),
            ):
                context.load_verify_locations(authority)
                context.load_cert_chain(identity.certificate, identity.key)
        except (ssl.SSLError, OSError) as error:
            raise _unfit(identity, error) from error
        self._stamp = stamp
        return True

    def why_not_node(self, shown: Presented | None, node: NodeId | None = None) -> str:
        """Say why a certificate is not that of ``node`` (None: of any node) of this cluster; empty: it is."""
        if shown is None:
            return "it showed no certificate"
        if shown.organization != self.instance_id:
            return f"its certificate is of another cluster ({shown.organization or 'none'})"
        if node is not None and shown.subject != node:
            return f"its certificate is that of node {shown.subject}"
        if shown.is_expired(datetime.now(UTC)):
            return "its certificate has expired"
        return ""


def server_context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """A context for listening that wants certificates signed by ``authority``. Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # no resumption: every connection shows its certificate anew
    return _prepared(context, certificate, key, authority)


def client_context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """A context for connecting to servers that ``authority`` has signed. Raises OSError, ssl.SSLError."""
    return _prepared(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, key, authority)


def _prepared(context: ssl.SSLContext, certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    context.load_verify_locations(authority)
    context.load_cert_chain(certificate, key)
    return context


def tune_connection(connection: object) -> None:
    """Have the system notice a dead connection: by data that nobody acknowledges, and by asking when it is idle."""
    if not hasattr(connection, "setsockopt"):
        return
    with suppress(OSError):  # it has ended already, which whoever reads it will find
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_NODELAY, 1),
            (socket.TCP_KEEPIDLE, 5),
            (socket.TCP_KEEPINTVL, 1),
            (socket.TCP_KEEPCNT, 5),
            (socket.TCP_USER_TIMEOUT, int(USER_TIMEOUT * 1000)),
        ):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _unfit(identity: NodeIdentity, error: OSError) -> FaultError:
    return FaultError(
        Status.ERROR_INVALID_DATA, f"the certificates in {identity.directory} do not serve for TLS: {error}"
    )
