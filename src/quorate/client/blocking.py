"""Calls that block: for the shell and for the C-shaped functions. Any thread may call; each call has its connection."""

import socket
from collections.abc import Iterator
from typing import Final

from quorate.client import wire
from quorate.client.address import NodeAddress, node_addresses
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
    def at(cls, address: str | None = None) -> "BlockingClient":
        """Find the cluster. Raises ClusterError when there is none."""
        return cls(node_addresses(address))

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
                with connection:
                    connection.settimeout(CALL_TIMEOUT)
                    connection.sendall(request)
                    data = b"".join(iter(lambda: connection.recv(_CHUNK), b""))  # noqa: B023
                if wire.HEAD_END in data:
                    return wire.call_answer(operation, data)
                last = ConnectionResetError("the connection ended before the answer")
            except OSError as error:
                last = error
            if not wire.can_be_repeated(operation):
                raise wire.broken(f"{_called(node)} did not answer: {last}; it is not known whether it was done")
        raise wire.unreachable(self._nobody(last))

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
                    yield from _parts(connection)
                except OSError as error:
                    raise wire.broken(f"the stream from {_called(node)} broke: {error}") from error
            return
        raise wire.unreachable(self._nobody(last))

    def _nobody(self, last: OSError | None) -> str:
        names = ", ".join(_called(node) for node in self._nodes)
        return f'no node of the cluster answers ({names}): {last}; "quorate up" starts a pocket cluster'


def _open(node: NodeAddress) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_TIMEOUT)
        connection.connect(node.socket)
    except OSError:
        connection.close()
        raise
    return connection


def _parts(connection: socket.socket) -> Iterator[tuple[str, JsonObject]]:
    reader = wire.StreamReader()
    with connection.makefile("rb") as lines:
        code = wire.head_status(lines.readline())
        while lines.readline().strip():
            continue
        if code != 200:
            raise wire.stream_error(lines.read())
        for line in lines:
            yield from reader.feed(line.rstrip(b"\r\n"))


def _called(node: NodeAddress) -> str:
    return node.name or node.socket
