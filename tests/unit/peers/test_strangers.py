"""Who shows no certificate at the nodes' door may ask to be let in, and is told nothing else."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.unit.peers.certificates import INSTANCE, Authorities
from tests.waiting import PATIENCE

from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.status import Status
from quorate.peers import server
from quorate.peers.admission_messages import ADMISSION_KINDS
from quorate.peers.identity import NodeIdentity
from quorate.peers.server import PeerServer, TlsDoor
from quorate.peers.tls import NodeTls
from quorate.peers.wire import pack_frame, read_frame, unpack_error

ONE, TWO = NodeId("1"), NodeId("2")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(scope="module")
def authorities() -> Authorities:
    return Authorities.make()


@pytest.fixture
def node(authorities: Authorities, tmp_path: Path) -> NodeIdentity:
    return authorities.identity(tmp_path / "node", "2")


@asynccontextmanager
async def door(identity: NodeIdentity, heard: list[tuple[NodeId | None, str]]) -> AsyncIterator[int]:
    async def answer(sender: NodeId | None, kind: str, body: JsonObject) -> JsonObject:
        heard.append((sender, kind))
        return {"echo": body}

    listening = PeerServer(TlsDoor(HostPort("127.0.0.1", 0), NodeTls(identity, INSTANCE), lambda _: True), answer)
    await listening.start()
    try:
        yield int(listening.address.rpartition(":")[2])
    finally:
        await listening.close()


@asynccontextmanager
async def connected(port: int, certified: NodeIdentity | None = None) -> AsyncIterator[Streams]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certified is not None:
        context.load_cert_chain(certified.certificate, certified.key)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(streams: Streams, kind: str, body: JsonObject) -> dict[str, JsonValue] | None:
    reader, writer = streams
    writer.write(pack_frame({"id": 1, "kind": kind, "body": body}))
    async with asyncio.timeout(PATIENCE):
        return await read_frame(reader)


def test_a_stranger_may_ask_to_be_let_in(node: NodeIdentity) -> None:
    heard: list[tuple[NodeId | None, str]] = []

    async def main() -> None:
        async with door(node, heard) as port, connected(port) as streams:
            for kind in sorted(ADMISSION_KINDS):
                assert await ask(streams, kind, {"x": 1}) == {"v": 1, "id": 1, "body": {"echo": {"x": 1}}}

    asyncio.run(main())
    assert heard == [(None, kind) for kind in sorted(ADMISSION_KINDS)]


@pytest.mark.parametrize("kind", ["ping", "forward", "prepare", "promise", "yours", ""])
def test_a_stranger_is_told_nothing_else(node: NodeIdentity, kind: str) -> None:
    heard: list[tuple[NodeId | None, str]] = []

    async def main() -> None:
        async with door(node, heard) as port, connected(port) as streams:
            answer = await ask(streams, kind, {})
            assert answer is not None
            error = unpack_error(answer["error"])
            assert isinstance(error, ClusterError)
            assert (error.status, "it showed no certificate" in error.sentence) == (Status.ERROR_ACCESS_DENIED, True)
            assert await streams[0].read() == b"", "and the connection ends"

    asyncio.run(main())
    assert heard == []


def test_who_shows_a_certificate_of_somebody_else_is_no_stranger_but_refused(
    authorities: Authorities, node: NodeIdentity, tmp_path: Path
) -> None:
    heard: list[tuple[NodeId | None, str]] = []
    other = Authorities.make("another cluster").identity(tmp_path / "other", "1")

    async def main() -> None:
        async with door(node, heard) as port:
            with pytest.raises((ClusterError, OSError)):
                async with connected(port, other) as streams:
                    assert await ask(streams, "authority", {}) is None
                    raise ConnectionResetError

    asyncio.run(main())
    assert heard == []


def test_a_stranger_with_a_long_message_or_none_is_not_waited_for(
    node: NodeIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[NodeId | None, str]] = []
    monkeypatch.setattr(server, "STRANGER_PATIENCE", 0.2)

    async def main() -> None:
        async with door(node, heard) as port:
            for said in (b"", (server.STRANGER_FRAME + 1).to_bytes(4, "big")):
                async with connected(port) as (reader, writer), asyncio.timeout(PATIENCE):
                    writer.write(said)
                    assert await reader.read() == b""

    asyncio.run(main())
    assert heard == []
