"""The same calls without blocking: for programs that use asyncio."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from quorate.client import wire
from quorate.client.address import NodeAddress
from quorate.client.blocking import CALL_TIMEOUT, CONNECT_TIMEOUT
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_values import FieldValue, Values
from quorate.clusapi.operations import OPERATIONS
from quorate.clusapi.status import Status

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class AsyncClient:
    """A cluster, by way of whichever of its nodes answers."""

    def __init__(self, nodes: tuple[NodeAddress, ...], *, full_access: bool = True) -> None:
        """Reach these nodes, the first that answers first; without full access the nodes refuse changes (status 5)."""
        self._nodes = nodes
        self._full_access = full_access

    async def call(self, name: str, /, **inputs: FieldValue) -> Values:
        """Carry out an operation. Raises ClusterError; after 1726 it is not known whether a change happened."""
        operation = OPERATIONS.get(name)
        if operation is None:
            raise CallerError(Status.ERROR_CALL_NOT_IMPLEMENTED, f'there is no operation "{name}"')
        request = wire.call_request(operation, Values(inputs), full_access=self._full_access)
        last: OSError | None = None
        for node in self._nodes:
            try:
                streams = await _open(node)
            except OSError as error:
                last = error
                continue
            try:
                async with _closing(streams) as (reader, writer), asyncio.timeout(CALL_TIMEOUT):
                    writer.write(request)
                    data = await reader.read()
                if wire.HEAD_END in data:
                    return wire.call_answer(operation, data)
                last = ConnectionResetError("the connection ended before the answer")
            except OSError as error:  # TimeoutError is one
                last = error
            if not wire.can_be_repeated(operation):
                raise wire.broken(f"{node.name or node.socket} did not answer: it is not known whether it was done")
        raise wire.unreachable(f"no node of the cluster answers: {last}")

    async def stream(self, target: str) -> AsyncIterator[tuple[str, JsonObject]]:
        """Follow an event stream until it ends. Raises ClusterError when it does not begin or breaks."""
        last: OSError | None = None
        for node in self._nodes:
            try:
                streams = await _open(node)
            except OSError as error:
                last = error
                continue
            async with _closing(streams) as (reader, writer):
                writer.write(wire.stream_request(target))
                try:
                    async for part in _parts(reader):
                        yield part
                except OSError as error:
                    raise wire.broken(f"the stream from {node.name or node.socket} broke: {error}") from error
            return
        raise wire.unreachable(f"no node of the cluster answers: {last}")


async def _open(node: NodeAddress) -> _Streams:
    async with asyncio.timeout(CONNECT_TIMEOUT):
        return await asyncio.open_unix_connection(node.socket, limit=1 << 20)


@asynccontextmanager
async def _closing(streams: _Streams) -> AsyncIterator[_Streams]:
    try:
        yield streams
    finally:
        streams[1].close()


async def _parts(reader: asyncio.StreamReader) -> AsyncIterator[tuple[str, JsonObject]]:
    parser = wire.StreamReader()
    code = wire.head_status(await reader.readline())
    while (await reader.readline()).strip():
        continue
    if code != 200:
        raise wire.stream_error(await reader.read())
    while line := await reader.readline():
        for part in parser.feed(line.rstrip(b"\r\n")):
            yield part
