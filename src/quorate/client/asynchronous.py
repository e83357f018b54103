"""The same calls without blocking: for programs that use asyncio."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from quorate.client import wire
from quorate.client.address import NodeAddress
from quorate.client.blocking import CALL_TIMEOUT, CONNECT_TIMEOUT, silence
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
                data = await _exchange(node, streams, request)
                if wire.HEAD_END in data:
                    return wire.call_answer(operation, data)
                last = silence(node, data)
            except OSError as error:  # TimeoutError is one
                last = error
            if not wire.can_be_repeated(operation) and not await _is_refused(node, last):
                raise wire.broken(f"{node.called} did not answer: it is not known whether it was done")
        raise wire.failed(last, f"no node of the cluster answers: {last}")

    async def stream(self, target: str) -> AsyncIterator[tuple[str, JsonObject]]:
        """Follow an event stream until it ends. Raises ClusterError when it does not begin or breaks."""
        last: OSError | None = None
        for node in self._nodes:
            try:
                streams = await _open(node)
            except OSError as error:
                last = error
                continue
            async with _closing(node, streams) as (reader, writer):
                writer.write(wire.stream_request(target))
                try:
                    async for part in _parts(node, reader):
                        yield part
                except OSError as error:
                    raise wire.broken(f"the stream from {node.called} broke: {error}") from error
            return
        raise wire.failed(last, f"no node of the cluster answers: {last}")


async def _open(node: NodeAddress) -> _Streams:
    async with asyncio.timeout(CONNECT_TIMEOUT):
        if node.remote is not None:
            from quorate.client.tls import open_asynchronous

            return await open_asynchronous(node)
        return await asyncio.open_unix_connection(node.socket, limit=1 << 20)


@asynccontextmanager
async def _closing(node: NodeAddress, streams: _Streams) -> AsyncIterator[_Streams]:
    try:
        yield streams
    finally:
        if node.remote is not None:
            from quorate.client.tls import close_asynchronous

            await close_asynchronous(streams[1])
        else:
            streams[1].close()


async def _exchange(node: NodeAddress, streams: _Streams, request: bytes) -> bytes:
    """Send a request and read until the other side closes. Raises OSError."""
    async with _closing(node, streams) as (reader, writer), asyncio.timeout(CALL_TIMEOUT):
        writer.write(request)
        try:
            return await reader.read()
        except OSError:
            if node.remote is None:
                raise
            return b""  # the end of a connection by a side that refuses our certificate comes in many forms


async def _is_refused(node: NodeAddress, last: OSError) -> bool:
    """Find out, by a question, whether a silent end was the refusal of our certificate: then nothing was done."""
    if not isinstance(last, wire.NotTrusted):
        return False
    operation = OPERATIONS["GetClusterInformation"]
    try:
        request = wire.call_request(operation, Values({}), full_access=False)
        return not await _exchange(node, await _open(node), request)
    except OSError:
        return False


async def _parts(node: NodeAddress, reader: asyncio.StreamReader) -> AsyncIterator[tuple[str, JsonObject]]:
    parser = wire.StreamReader()
    first = await reader.readline()
    if not first:
        raise silence(node, first)
    code = wire.head_status(first)
    while (await reader.readline()).strip():
        continue
    if code != 200:
        raise wire.stream_error(await reader.read())
    while line := await reader.readline():
        for part in parser.feed(line.rstrip(b"\r\n")):
            yield part
