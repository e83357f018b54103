"""The client's side of TLS: what it shows, and whom it believes. Loaded only for a cluster on other machines."""

import asyncio
import functools
import socket
import ssl
from contextlib import suppress
from pathlib import Path

from quorate.client.address import CLUSTER_CA, USER_CERTIFICATE, USER_KEY, NodeAddress
from quorate.client.wire import NotTrusted
from quorate.peers.tls import client_context, tune_connection

STREAM_LIMIT = 1 << 20


def open_blocking(node: NodeAddress, timeout: float) -> ssl.SSLSocket:
    """Connect, the handshake included. Raises OSError: NotTrusted when either side does not believe the other."""
    context, place = _context(node), node.remote
    assert place is not None, "a socket of this machine needs no TLS"
    connection = socket.create_connection((place.host, place.port), timeout=timeout)
    tune_connection(connection)
    try:
        return context.wrap_socket(connection, server_hostname=place.host)
    except ssl.SSLError as error:
        connection.close()
        raise _not_trusted(node, error) from error
    except OSError:
        connection.close()
        raise


async def open_asynchronous(node: NodeAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The same without blocking; the caller sets the deadline."""
    context, place = _context(node), node.remote
    assert place is not None, "a socket of this machine needs no TLS"
    try:
        streams = await asyncio.open_connection(
            place.host, place.port, ssl=context, server_hostname=place.host, limit=STREAM_LIMIT
        )
    except ssl.SSLError as error:
        raise _not_trusted(node, error) from error
    tune_connection(streams[1].get_extra_info("socket"))
    return streams


async def close_asynchronous(writer: asyncio.StreamWriter) -> None:
    """Close at once, and wait until the system has it back."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


def refused_silently(node: NodeAddress) -> NotTrusted:
    """What is said when a node ends a connection without any answer: so it does with a certificate that it refuses."""
    return NotTrusted(
        f"{node.called} closed the connection without a word: it takes the certificate in {node.credentials} for "
        'expired or for that of another cluster; "quorate user add" on a node of the cluster makes a new one'
    )


def _context(node: NodeAddress) -> ssl.SSLContext:
    directory = node.credentials
    assert directory is not None, "whoever gives a URL gives credentials"
    files = (directory / USER_CERTIFICATE, directory / USER_KEY, directory / CLUSTER_CA)
    try:
        return _made_context(*files, tuple(file.stat().st_mtime_ns for file in files))
    except (ssl.SSLError, OSError) as error:
        raise NotTrusted(f"the credentials in {directory} do not serve for TLS: {error}") from error


@functools.lru_cache(maxsize=8)
def _made_context(certificate: Path, key: Path, authority: Path, times: tuple[int, ...]) -> ssl.SSLContext:
    """Make a context once for files as they are: ``times`` tells when they were changed."""
    return client_context(certificate, key, authority)


def _not_trusted(node: NodeAddress, error: ssl.SSLError) -> NotTrusted:
    place, authority = node.remote, (node.credentials or Path()) / CLUSTER_CA
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotTrusted(f"{place} did not prove to be a node of the cluster of {authority}: {error.verify_message}")
    return NotTrusted(f"{place} speaks no TLS 1.3 as this cluster's nodes do: {error.reason or error}")
