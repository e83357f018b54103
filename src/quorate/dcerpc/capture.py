"""Captures of network traffic, as far as TCP: pcap and pcapng, the usual links, IPv4 and IPv6, TCP in order.

A capture comes from anybody, so every length in it is compared with what is there: what does not fit raises
:class:`CaptureError`, and a packet that is not TCP, or cut short, is left out.

Source: the drafts draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng; RFC 791, 8200, 9293.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status

_PCAP: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_PCAPNG: Final = b"\x0a\x0d\x0d\x0a"
_INTERFACE_BLOCK: Final = 1
_SIMPLE_BLOCK: Final = 3
_ENHANCED_BLOCK: Final = 6
_NULL, _ETHERNET, _LINUX, _LINUX2 = 0, 1, 113, 276
_RAW: Final = frozenset({12, 14, 101, 228, 229})
_IPV4, _IPV6, _VLAN = 0x0800, 0x86DD, frozenset({0x8100, 0x88A8})
_TCP: Final = 6
_EXTENSIONS: Final = frozenset({0, 43, 60})
_MOST_WAITING: Final = 4 * 1024 * 1024
_SEQUENCES: Final = 1 << 32


class CaptureError(CallerError):
    """A file that is no capture: ERROR_INVALID_DATA."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Status.ERROR_INVALID_DATA, sentence)
        self.args = (sentence,)


@dataclass(frozen=True, slots=True)
class Segment:
    """What one TCP packet carries. Time is in seconds since 1970, ends are written ADDRESS:PORT."""

    time: float
    source: str
    target: str
    sequence: int
    begins: bool
    payload: bytes


def is_capture(data: bytes) -> bool:
    """Tell whether a file is of one of the two formats."""
    return data[:4] in _PCAP or data[:4] == _PCAPNG


def read_segments(data: bytes) -> Iterator[Segment]:
    """Read the TCP packets of a capture, in its order. Raises CaptureError."""
    packets = _read_pcapng(data) if data[:4] == _PCAPNG else _read_pcap(data)
    for time, link, packet in packets:
        segment = _parse_link(time, link, packet)
        if segment is not None:
            yield segment


def _read_pcap(data: bytes) -> Iterator[tuple[float, int, bytes]]:
    if data[:4] not in _PCAP or len(data) < 24:
        raise CaptureError("the file is no capture of the format pcap or pcapng")
    order, unit = _PCAP[data[:4]]
    link = struct.unpack_from(f"{order}I", data, 20)[0] & 0x0FFFFFFF
    at = 24
    while at + 16 <= len(data):
        seconds, fraction, size, _ = struct.unpack_from(f"{order}4I", data, at)
        at += 16
        if at + size > len(data):
            raise CaptureError(f"the capture ends within a packet, at byte {at}")
        yield seconds + fraction * unit, link, data[at : at + size]
        at += size


def _read_pcapng(data: bytes) -> Iterator[tuple[float, int, bytes]]:
    at, order = 0, "<"
    interfaces: list[tuple[int, float]] = []
    while at + 12 <= len(data):
        if data[at : at + 4] == _PCAPNG:
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if size < 12 or size % 4 or at + size > len(data):
            raise CaptureError(f"the capture has a block of {size} bytes at byte {at}, which cannot be")
        body = data[at + 8 : at + size - 4]
        at += size
        if kind == _INTERFACE_BLOCK and len(body) >= 8:
            interfaces.append((struct.unpack_from(f"{order}H", body)[0], _resolution(body, order)))
        elif kind == _ENHANCED_BLOCK and len(body) >= 20:
            number, high, low, captured, _ = struct.unpack_from(f"{order}5I", body)
            if number >= len(interfaces) or 20 + captured > len(body):
                raise CaptureError("the capture has a packet of an unknown interface, or one that is cut off")
            link, unit = interfaces[number]
            yield ((high << 32) | low) * unit, link, body[20 : 20 + captured]
        elif kind == _SIMPLE_BLOCK and len(body) >= 4 and interfaces:
            yield 0.0, interfaces[0][0], body[4 : 4 + struct.unpack_from(f"{order}I", body)[0]]


def _resolution(body: bytes, order: str) -> float:
    """Seconds of one unit of an interface's times: its option 9, else a microsecond."""
    at = 8
    while at + 4 <= len(body):
        code, size = struct.unpack_from(f"{order}HH", body, at)
        if code == 9 and size >= 1 and at + 4 < len(body):
            value = body[at + 4]
            return float(2.0 ** -(value & 0x7F)) if value & 0x80 else float(10.0**-value)
        at += 4 + size + -size % 4
    return 1e-6


def _parse_link(time: float, link: int, packet: bytes) -> Segment | None:
    if link == _ETHERNET:
        at = 12
        while int.from_bytes(packet[at : at + 2], "big") in _VLAN:
            at += 4
        return _parse_ip(time, int.from_bytes(packet[at : at + 2], "big"), packet[at + 2 :])
    if link == _LINUX:
        return _parse_ip(time, int.from_bytes(packet[14:16], "big"), packet[16:])
    if link == _LINUX2:
        return _parse_ip(time, int.from_bytes(packet[:2], "big"), packet[20:])
    if link == _NULL:
        packet = packet[4:]
    elif link not in _RAW:
        return None
    version = packet[0] >> 4 if packet else 0
    return _parse_ip(time, {4: _IPV4, 6: _IPV6}.get(version, 0), packet)


def _parse_ip(time: float, protocol: int, packet: bytes) -> Segment | None:
    if protocol == _IPV4 and len(packet) >= 20:
        head = 4 * (packet[0] & 15)
        size, fragment = int.from_bytes(packet[2:4], "big"), int.from_bytes(packet[6:8], "big") & 0x3FFF
        if packet[9] != _TCP or fragment:
            return None
        # 0 where the card cuts what is sent into packets: the capture has seen it before.
        return _parse_tcp(time, packet[12:16], packet[16:20], packet[head : size or None])
    if protocol == _IPV6 and len(packet) >= 40:
        following, at = packet[6], 40
        while following in _EXTENSIONS and at + 2 <= len(packet):
            following, at = packet[at], at + 8 * (packet[at + 1] + 1)
        if following == _TCP:
            return _parse_tcp(time, packet[8:24], packet[24:40], packet[at:])
    return None


def _parse_tcp(time: float, source: bytes, target: bytes, packet: bytes) -> Segment | None:
    if len(packet) < 20:
        return None
    source_port, target_port, sequence = struct.unpack_from(">HHI", packet)
    payload = packet[4 * (packet[12] >> 4) :]
    begins = bool(packet[13] & 0x02)
    return Segment(time, _end(source, source_port), _end(target, target_port), sequence, begins, payload)


def _end(address: bytes, port: int) -> str:
    text = str(ip_address(address))
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


@dataclass(slots=True)
class Stream:
    """One direction of a connection, put in order: what came twice is left out, what came early waits."""

    _next: int | None = None
    _waiting: dict[int, bytes] = field(default_factory=dict)

    def feed(self, segment: Segment) -> bytes:
        """Take a segment; the bytes that can be read now. A gap that grows too large is jumped over."""
        sequence = (segment.sequence + segment.begins) % _SEQUENCES
        if segment.begins or self._next is None:
            self._next = sequence
            self._waiting.clear()
        if not segment.payload:
            return b""
        self._waiting[sequence] = max(self._waiting.get(sequence, b""), segment.payload, key=len)
        if sum(map(len, self._waiting.values())) > _MOST_WAITING:
            self._next = min(self._waiting, key=lambda number: (number - self._expected) % _SEQUENCES)
        return self._take()

    @property
    def _expected(self) -> int:
        return self._next or 0

    def _take(self) -> bytes:
        taken = b""
        found = True
        while found:
            found = False
            for sequence, payload in sorted(self._waiting.items()):
                behind = (self._expected - sequence) % _SEQUENCES
                if behind >= _SEQUENCES // 2:
                    continue  # it lies ahead
                del self._waiting[sequence]
                found = True
                if behind < len(payload):
                    taken += payload[behind:]
                    self._next = (sequence + len(payload)) % _SEQUENCES
                break
        return taken
