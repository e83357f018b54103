"""Calls that block: for the shell and for the C-shaped functions. Any thread may call; each call has its connection."""

import socket
from collections.abc import Iterator
from typing import Final

from quorate.client import wire
from quorate.client.account import Account, account_of
from quorate.client.address import NodeAddress, node_addresses, wire_address
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_values import FieldValue, Values
from quorate.clusapi.operations import OPERATIONS
from quorate.clusapi.status import Status

CONNECT_TIMEOUT: Final = 2.0
CALL_TIMEOUT: Final = 120.0
_CHUNK: Final = 65536


class BlockingClient:
    """A cluster, by way of whichever of its nodes answers."""

    def __init__(self, nodes: tuple[NodeAddress, ...]) -> None:
        """Reach these nodes, the first that answers first."""
        self._nodes = nodes

    @classmethod
    def at(
        cls, address: str | None = None, credentials: str | None = None, account: Account | None = None
    ) -> "BlockingClient":
        """Find the cluster; see :mod:`quorate.client.address`. Raises ClusterError when there is none.

        ``account`` is who logs on where the address is one of MS-CMRP; None is what the environment names.
        """
        servers = wire_address(address)
        if servers is not None:
            from quorate.client.mscmrp.clients import BlockingWireClient

            return BlockingWireClient.reaching(servers, account or account_of())
        return cls(node_addresses(address, credentials))

    @property
    def nodes(self) -> tuple[NodeAddress, ...]:
        """The nodes' addresses."""
        return self._nodes

    def call(self, name: str, /, *, full_access: bool = True, **inputs: FieldValue) -> Values:
        """Carry out an operation. Raises ClusterError; after 1726 it is not known whether a change happened."""
        operation = OPERATIONS.get(name)
        if operation is None:
            raise CallerError(Status.ERROR_CALL_NOT_IMPLEMENTED, f'there is no operation "{name}"')
        request = wire.call_request(operation, Values(inputs), full_access=full_access)
        last: OSError | None = None
        for node in self._nodes:
            try:
                connection = _open(node)
            except OSError as error:
                last = error
                continue
            try:
                data = _exchange(node, connection, request)
                if wire.HEAD_END in data:
                    return wire.call_answer(operation, data)
                last = silence(node, data)
            except OSError as error:
                last = error
            if not wire.can_be_repeated(operation) and not _is_refused(node, last):
                raise wire.broken(f"{node.called} did not answer: {last}; it is not known whether it was done")
        raise wire.failed(last, self._nobody(last))

    def stream(self, target: str) -> Iterator[tuple[str, JsonObject]]:
        """Follow an event stream until it ends. Raises ClusterError when it does not begin or breaks."""
        last: OSError | None = None
        for node in self._nodes:
            try:
                connection = _open(node)
            except OSError as error:
                last = error
                continue
            with connection:
                connection.settimeout(None)
                try:
                    connection.sendall(wire.stream_request(target))
                    yield from _parts(node, connection)
                except OSError as error:
                    raise wire.broken(f"the stream from {node.called} broke: {error}") from error
            return
        raise wire.failed(last, self._nobody(last))

    def _nobody(self, last: OSError | None) -> str:
        names = ", ".join(node.called for node in self._nodes)
        hint = "" if any(node.remote for node in self._nodes) else '; "quorate up" starts a pocket cluster'
        return f"no node of the cluster answers ({names}): {last}{hint}"


def _open(node: NodeAddress) -> socket.socket:
    if node.remote is not None:
        from quorate.client.tls import open_blocking

        return open_blocking(node, CONNECT_TIMEOUT)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_TIMEOUT)
        connection.connect(node.socket)
    except OSError:
        connection.close()
        raise
    return connection


def _exchange(node: NodeAddress, connection: socket.socket, request: bytes) -> bytes:
    """Send a request and read until the other side closes; the connection is closed afterwards. Raises OSError."""
    with connection:
        connection.settimeout(CALL_TIMEOUT)
        try:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(_CHUNK), b""))
        except TimeoutError:
            raise
        except OSError:
            if node.remote is None:
                raise
            return b""  # the end of a connection by a side that refuses our certificate comes in many forms


def silence(node: NodeAddress, data: bytes) -> OSError:
    """What it means that a connection ended before the answer."""
    if node.remote is not None and not data:
        from quorate.client.tls import refused_silently

        return refused_silently(node)
    return ConnectionResetError("the connection ended before the answer")


def _is_refused(node: NodeAddress, last: OSError) -> bool:
    """Find out, by a question, whether a silent end was the refusal of our certificate: then nothing was done."""
    if not isinstance(last, wire.NotTrusted):
        return False
    operation = OPERATIONS["GetClusterInformation"]
    try:
        return not _exchange(node, _open(node), wire.call_request(operation, Values({}), full_access=False))
    except OSError:
        return False


def _parts(node: NodeAddress, connection: socket.socket) -> Iterator[tuple[str, JsonObject]]:
    reader = wire.StreamReader()
    with connection.makefile("rb") as lines:
        first = lines.readline()
        if not first:
            raise silence(node, first)
        code = wire.head_status(first)
        while lines.readline().strip():
            continue
        if code != 200:
            raise wire.stream_error(lines.read())
        for line in lines:
            yield from reader.feed(line.rstrip(b"\r\n"))
