"""Captures in words: both formats, packets out of order and twice, hex dumps, and what is none of these."""

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.dcerpc import exchanges

from quorate.dcerpc.capture import CaptureError, Segment, Stream, read_segments
from quorate.dcerpc.dissect import Vocabulary, dissect, dissect_bytes, parse_hex
from quorate.dcerpc.epm import DECLARATIONS, MAPPER

MAPPER_WORDS = Vocabulary("epm", MAPPER, DECLARATIONS)
EPM_TALK = (
    (True, exchanges.EPM_BIND),
    (False, exchanges.EPM_BIND_ACK),
    (True, exchanges.EPM_MAP),
    (False, exchanges.EPM_MAP_ANSWER),
)
CLIENT, SERVER = (bytes((192, 0, 2, 1)), 50000), (bytes((192, 0, 2, 2)), 135)


def tcp(source: tuple[bytes, int], target: tuple[bytes, int], sequence: int, data: bytes, flags: int = 0x18) -> bytes:
    """An IPv4 packet."""
    segment = struct.pack(">HHIIBBHHH", source[1], target[1], sequence, 0, 0x50, flags, 0, 0, 0) + data
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0)
    return head + source[0] + target[0] + segment


def conversation(chunk: int) -> list[bytes]:
    """The talk with the mapper as packets of at most so many bytes."""
    packets: list[bytes] = []
    sequences = {True: 0xFFFFFF00, False: 17}  # one of them wraps around
    for is_request in (True, False):
        source, target = (CLIENT, SERVER) if is_request else (SERVER, CLIENT)
        packets.append(tcp(source, target, sequences[is_request] - 1, b"", 0x02))
    for is_request, data in EPM_TALK:
        source, target = (CLIENT, SERVER) if is_request else (SERVER, CLIENT)
        for at in range(0, len(data), chunk):
            part = data[at : at + chunk]
            packets.append(tcp(source, target, sequences[is_request] % 2**32, part))
            sequences[is_request] += len(part)
    return packets


def pcap(packets: Sequence[bytes], link: int = 101, order: str = "<") -> bytes:
    head = struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)
    return head + b"".join(struct.pack(f"{order}IIII", 3600, 1, len(item), len(item)) + item for item in packets)


def pcapng(packets: Sequence[bytes]) -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        return struct.pack("<II", kind, 12 + len(body)) + body + struct.pack("<I", 12 + len(body))

    options = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)  # times in nanoseconds
    data = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + block(
        1, struct.pack("<HHI", 101, 0, 0) + options
    )
    for item in packets:
        data += block(6, struct.pack("<IIIII", 0, *divmod(3600 * 10**9 + 1000, 2**32), len(item), len(item)) + item)
    return data


EXPECTED = [
    "01:00:00.000001 192.0.2.1:50000 > 192.0.2.2:135  bind, call 1: context 0 for epm "
    "(e1af8308-5d1f-11c9-91a4-08002b14a0fa v3.0) by NDR; fragments up to 4280/4280 bytes; a new association group",
    "01:00:00.000001 192.0.2.2:135 > 192.0.2.1:50000  bind_ack, call 1: accepted by NDR; port 135, "
    "fragments up to 4280/4280 bytes; association group 0x11a0858b",
    "01:00:00.000001 192.0.2.1:50000 > 192.0.2.2:135  request, call 2: epm.ept_map (opnum 3), 116 bytes",
    "    object_uuid = null",
    "    tower:",
    "      size = 75 (0x4b)",
    "      octets = 05001300 0db2b87d b9634ccf 11bff608 002be23f 2f030002 00000013 000d045d 888aeb1c c9119fe8 08002b10 "
    "48600200 … (75 bytes)",
    "    entry_handle = no handle",
    "    max_towers = 1",
    "01:00:00.000001 192.0.2.2:135 > 192.0.2.1:50000  response, call 2: epm.ept_map (opnum 3), 128 bytes",
    "    entry_handle = no handle",
    "    count = 1",
    "    towers[0]:",
    "      size = 75 (0x4b)",
    "      octets = 05001300 0db2b87d b9634ccf 11bff608 002be23f 2f030002 00000013 000d045d 888aeb1c c9119fe8 08002b10 "
    "48600200 … (75 bytes)",
    "    status = 0",
]


@pytest.mark.parametrize("chunk", [7, 50, 2000])
def test_a_capture_in_words(chunk: int) -> None:
    packets = conversation(chunk)
    assert list(dissect(pcap(packets), [MAPPER_WORDS])) == EXPECTED
    assert list(dissect(pcap(packets, order=">"), [MAPPER_WORDS])) == EXPECTED
    assert list(dissect(pcapng(packets), [MAPPER_WORDS])) == EXPECTED


def test_packets_out_of_order_and_twice() -> None:
    packets = conversation(40)
    begin, rest = packets[:2], packets[2:]
    mixed = begin + [item for pair in zip(rest[1::2], rest[::2], strict=False) for item in (*pair, pair[0])]
    mixed += rest[len(rest) // 2 * 2 :]
    lines = [line for line in dissect(pcap(mixed), [MAPPER_WORDS]) if not line.startswith(" ")]
    assert lines == [line for line in EXPECTED if not line.startswith(" ")]


def test_the_usual_links() -> None:
    packets = conversation(2000)
    links = {
        1: bytes(12) + b"\x08\x00",
        0: b"\2\0\0\0",
        113: bytes(14) + b"\x08\x00",
        276: b"\x08\x00" + bytes(18),
    }
    for link, head in links.items():
        assert len(list(read_segments(pcap([head + item for item in packets], link)))) == len(packets)
    tagged = [bytes(12) + b"\x81\x00\x00\x07\x08\x00" + item for item in packets]
    assert len(list(read_segments(pcap(tagged, 1)))) == len(packets)
    assert list(read_segments(pcap(packets, 999))) == []


def test_ipv6() -> None:
    segment = struct.pack(">HHIIBBHHH", 1, 2, 3, 0, 0x50, 0x18, 0, 0, 0) + b"data"
    head = struct.pack(">IHBB", 6 << 28, len(segment) + 8, 0, 64) + bytes(15) + b"\1" + bytes(15) + b"\2"
    extension = b"\6\0" + bytes(6)
    (found,) = read_segments(pcap([head + extension + segment]))
    assert (found.source, found.target, found.payload) == ("[::1]:1", "[::2]:2", b"data")


def test_hex_with_and_without_offsets() -> None:
    data = exchanges.EPM_BIND
    dump = "\n".join(f"{at:04x}: {data[at : at + 16].hex(' ')}" for at in range(0, len(data), 16))
    assert parse_hex(dump) == parse_hex(data.hex()) == parse_hex(data.hex(" ", 4)) == data
    assert list(dissect(dump.encode(), [MAPPER_WORDS])) == list(dissect(data, [MAPPER_WORDS]))
    for wrong in ("0", "xyz", "00 0g"):
        with pytest.raises(CaptureError):
            parse_hex(wrong)
    with pytest.raises(CaptureError):
        list(dissect(b"\xff\xfe\xfd"))


def test_a_sealed_call_says_that_it_is() -> None:
    talk = (exchanges.BIND, exchanges.BIND_ACK, exchanges.SEALED_REQUEST, exchanges.SEALED_RESPONSE, exchanges.FAULT)
    lines = list(dissect_bytes(b"".join(talk)))
    assert "SPNEGO at PRIVACY, a token of 74 bytes" in lines[0]
    assert lines[2].endswith("? (opnum 0), 60 bytes, sealed")
    assert lines[3].endswith("24 bytes, sealed")
    assert lines[4].endswith("OPERATION_RANGE (0x1c010002)")
    assert len(lines) == 5


def test_what_is_not_whole_or_no_pdu_is_said_to_be() -> None:
    assert list(dissect_bytes(exchanges.EPM_BIND[:-1])) == ["71 bytes of a PDU that is not whole"]
    assert "no PDU" in list(dissect_bytes(exchanges.EPM_BIND + bytes(40)))[-1]
    broken = exchanges.EPM_MAP[:24] + b"\xff" * 116
    lines = list(dissect_bytes(exchanges.EPM_BIND + broken, [MAPPER_WORDS]))
    assert "malformed" in lines[-1]


def test_another_protocol_is_passed_over() -> None:
    packets = [tcp(CLIENT, SERVER, 1, b"GET / HTTP/1.1\r\n\r\n"), *conversation(100)]
    assert list(dissect(pcap(packets), [MAPPER_WORDS])) == EXPECTED


def test_a_stream_jumps_over_a_gap_that_is_too_large() -> None:
    stream = Stream()
    assert stream.feed(Segment(0, "a", "b", 10, False, b"first")) == b"first"
    taken = b""
    for number in range(70):
        taken += stream.feed(Segment(0, "a", "b", 100 + number * 65536, False, bytes(65536)))
    assert len(taken) == 70 * 65536


@pytest.mark.parametrize("data", [pcap([])[:20], pcap(conversation(50))[:-3], pcapng([])[:-4] + b"\1\0\0\0"])
def test_a_damaged_capture_is_refused(data: bytes) -> None:
    if data[:4] != b"\x0a\x0d\x0d\x0a":
        with pytest.raises(CaptureError):
            list(dissect(data))
    else:
        list(dissect(data))


@given(st.booleans(), st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=8))
@settings(deadline=None, max_examples=200)
def test_damage_is_read_or_refused_and_nothing_else(is_ng: bool, changes: list[tuple[int, int]]) -> None:
    packets = conversation(60)
    damaged = bytearray(pcapng(packets) if is_ng else pcap(packets))
    for at, value in changes:
        damaged[(at * 7) % len(damaged)] = value
    try:
        list(dissect(bytes(damaged), [MAPPER_WORDS]))
    except CaptureError:
        return
