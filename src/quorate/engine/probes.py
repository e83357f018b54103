"""The probes' datagrams: a question from one interface of one node to one of another, and its answer.

A datagram is 36 bytes: ``QRN1``, Q or A, three zero bytes, the cluster's id (16 bytes), the sequence (8, big-endian),
the asking node's number (4). The answer is the question with A for Q, so that whoever lies about its address gets
nothing multiplied; questions from addresses that are no interface of the cluster get no answer at all.

Each interface has a socket bound to its own address: the question leaves where the kernel routes that subnet, the
answer comes back to the same address. Nothing is authenticated, since nothing that must be right stands on it.
"""

import asyncio
import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

import structlog

from quorate.clusapi.identity import NetworkInterfaceId, NodeId

_FORMAT: Final = struct.Struct(">4sc3x16sQI")
_MAGIC: Final = b"QRN1"
_QUESTION, _ANSWER = b"Q", b"A"
SIZE: Final = _FORMAT.size

OnAnswer = Callable[[NetworkInterfaceId, str, int], None]
"""Takes an answer: our interface, the other one's address, the sequence."""

_log = structlog.get_logger("networks")


@dataclass(frozen=True, slots=True)
class Datagram:
    """One question or answer."""

    is_question: bool
    cluster: uuid.UUID
    sequence: int
    node: NodeId

    def pack(self) -> bytes:
        """Its bytes."""
        kind = _QUESTION if self.is_question else _ANSWER
        return _FORMAT.pack(_MAGIC, kind, self.cluster.bytes, self.sequence, int(self.node))


def unpack(data: bytes) -> Datagram | None:
    """Read a datagram; None when it is none of ours."""
    if len(data) != SIZE:
        return None
    magic, kind, cluster, sequence, node = _FORMAT.unpack(data)
    if magic != _MAGIC or kind not in (_QUESTION, _ANSWER):
        return None
    return Datagram(kind == _QUESTION, uuid.UUID(bytes=cluster), sequence, NodeId(str(node)))


class ProbeSockets:
    """One UDP socket for each of this node's interfaces."""

    def __init__(self, node: NodeId, cluster: uuid.UUID, on_answer: OnAnswer) -> None:
        """Answer questions of this cluster's nodes, and hand their answers to ours on."""
        self._node = node
        self._cluster = cluster
        self._on_answer = on_answer
        self._ports: dict[NetworkInterfaceId, _Port] = {}
        self._refused: set[tuple[str, int]] = set()
        self.known_addresses: frozenset[str] = frozenset()
        """Of every interface of the cluster: who may ask."""

    async def serve(self, places: Mapping[NetworkInterfaceId, tuple[str, int]]) -> None:
        """Listen at exactly these addresses and ports; one that cannot be had is left out, and tried again later."""
        for interface, port in tuple(self._ports.items()):
            if places.get(interface) != port.place or port.is_closed:
                port.close()
                del self._ports[interface]
        for interface, place in places.items():
            if interface not in self._ports:
                await self._open(interface, place)

    def ask(self, interface: NetworkInterfaceId, address: tuple[str, int], sequence: int) -> None:
        """Send a question; what cannot be sent is lost."""
        port = self._ports.get(interface)
        if port is not None:
            port.send(Datagram(True, self._cluster, sequence, self._node).pack(), address)

    def close(self) -> None:
        """Close every socket."""
        for port in self._ports.values():
            port.close()
        self._ports.clear()

    async def _open(self, interface: NetworkInterfaceId, place: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        port = _Port(place, lambda data, address: self._take(interface, data, address))
        try:
            await loop.create_datagram_endpoint(lambda: port, local_addr=place)
        except OSError as error:
            if place not in self._refused:  # said once, tried every second
                self._refused.add(place)
                _log.warning("a network cannot be probed", address=place[0], port=place[1], error=str(error))
            return
        self._refused.discard(place)
        self._ports[interface] = port

    def _take(self, interface: NetworkInterfaceId, data: bytes, address: tuple[str, int]) -> None:
        datagram = unpack(data)
        if datagram is None or datagram.cluster != self._cluster or address[0] not in self.known_addresses:
            return
        if datagram.is_question:
            answer = Datagram(False, self._cluster, datagram.sequence, datagram.node)
            self._ports[interface].send(answer.pack(), address)
        elif datagram.node == self._node:
            self._on_answer(interface, address[0], datagram.sequence)


class _Port(asyncio.DatagramProtocol):
    """One socket."""

    def __init__(self, place: tuple[str, int], on_data: Callable[[bytes, tuple[str, int]], None]) -> None:
        self.place = place
        self.is_closed = False
        self._on_data = on_data
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # which Python 3.11 does not derive it from

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._on_data(data, addr)

    def error_received(self, exc: Exception) -> None:
        """The network is unreachable, or nobody listens there: that shows as an answer that does not come."""

    def send(self, data: bytes, address: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, address)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
