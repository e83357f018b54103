"""PDUs: as they came from Samba, as we write them, and what is refused."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.dcerpc import exchanges

from quorate.dcerpc.epm import MAPPER
from quorate.dcerpc.errors import ProtocolError
from quorate.dcerpc.pdu import (
    WHOLE,
    Answered,
    AuthTrailer,
    Bare,
    Bind,
    BindAck,
    BindNak,
    Body,
    Fault,
    PduFlags,
    PduType,
    PresentationContext,
    Request,
    Response,
    frame_size,
    pack_pdu,
    parse_body,
    parse_frame,
)
from quorate.dcerpc.security import AuthLevel, AuthType, pack_fragments
from quorate.dcerpc.syntaxes import NDR32, NDR64, Feature, SyntaxId, features_of, features_syntax

CLUSTER = SyntaxId(UUID("b97db8b2-4c63-11cf-bff6-08002be23f2f"), 3)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)
SYNTAXES = st.builds(SyntaxId, st.builds(lambda data: UUID(bytes=data), st.binary(min_size=16, max_size=16)), U16, U16)
CONTEXTS = st.builds(PresentationContext, U16, SYNTAXES, st.lists(SYNTAXES, max_size=3).map(tuple))
RECORDED = [value for name, value in vars(exchanges).items() if name.isupper()]


def test_a_bind_of_sambas() -> None:
    frame = parse_frame(exchanges.BIND)
    assert (frame.kind, frame.call_id, frame.order) == (PduType.BIND, 3, "<")
    assert frame.flags == WHOLE | PduFlags.HEADER_SIGNING
    assert parse_body(frame) == Bind(4280, 4280, 0, (PresentationContext(0, CLUSTER, (NDR32,)),))
    assert frame.auth is not None
    assert (frame.auth.kind, frame.auth.level, frame.auth.context_id) == (AuthType.SPNEGO, AuthLevel.PRIVACY, 1)
    assert (frame.auth.pad, len(frame.auth.value)) == (0, 0x4A)


def test_a_request_of_sambas() -> None:
    frame = parse_frame(exchanges.EPM_MAP)
    assert parse_body(frame) == Request(0x74, 0, 3, None, 24)
    frame = parse_frame(exchanges.SEALED_REQUEST)
    assert frame.auth is not None
    assert (frame.auth.pad, len(frame.auth.value), frame.body_end) == (4, 16, 24 + 64)


def test_what_we_write_is_what_samba_writes() -> None:
    contexts = (PresentationContext(0, MAPPER, (NDR32,)),)
    assert pack_pdu(PduType.BIND, 1, Bind(4280, 4280, 0, contexts)) == exchanges.EPM_BIND
    frame = parse_frame(exchanges.BIND)
    assert pack_pdu(PduType.BIND, 3, parse_body(frame), frame.auth, frame.flags) == exchanges.BIND


@pytest.mark.parametrize("data", RECORDED, ids=[name for name in vars(exchanges) if name.isupper()])
def test_everything_that_was_recorded_is_read(data: bytes) -> None:
    assert frame_size(data[:16]) == len(data)
    parse_body(parse_frame(data))


@given(
    st.sampled_from(
        [
            (PduType.BIND, st.builds(Bind, U16, U16, U32, st.lists(CONTEXTS, max_size=4).map(tuple))),
            (
                PduType.BIND_ACK,
                st.builds(
                    BindAck,
                    U16,
                    U16,
                    U32,
                    st.text("0123456789", max_size=5),
                    st.lists(st.builds(Answered, U16, U16, SYNTAXES), max_size=4).map(tuple),
                ),
            ),
            (PduType.BIND_NAK, st.builds(BindNak, U16)),
            (PduType.FAULT, st.builds(Fault, U16, U32, U32)),
            (PduType.AUTH3, st.just(Bare())),
            (PduType.CANCEL, st.just(Bare())),
            (PduType.ORPHANED, st.just(Bare())),
            (PduType.SHUTDOWN, st.just(Bare())),
        ]
    ).flatmap(lambda item: st.tuples(st.just(item[0]), item[1])),
    U32,
    st.none() | st.builds(AuthTrailer, st.just(10), st.just(6), U32, st.binary(min_size=1, max_size=40)),
)
@settings(deadline=None)
def test_what_is_written_is_read_again(item: tuple[PduType, Body], call_id: int, auth: AuthTrailer | None) -> None:
    kind, body = item
    frame = parse_frame(pack_pdu(kind, call_id, body, auth))
    assert (frame.kind, frame.call_id, frame.flags) == (kind, call_id, WHOLE)
    assert parse_body(frame) == body
    if auth is None:
        assert frame.auth is None
    else:
        assert frame.auth is not None
        assert (frame.auth.value, frame.auth.context_id) == (auth.value, auth.context_id)
        assert (frame.body_end % 4, frame.auth.pad < 4) == (0, True)


def test_both_byte_orders_are_read() -> None:
    head = bytes.fromhex("05 00 00 83 00000000 002c 0000 00000007")
    body = bytes.fromhex("00000004 0001 0002 00112233445566778899aabbccddeeff 01020304")
    frame = parse_frame(head + body)
    assert (frame.order, frame.call_id) == (">", 7)
    assert parse_body(frame) == Request(4, 1, 2, UUID("00112233-4455-6677-8899-aabbccddeeff"), 40)
    version = bytes.fromhex("00000003")
    contexts = bytes.fromhex("0001 00 00") + CLUSTER.uuid.bytes + version
    bind = bytes.fromhex("05 00 0b 03 00000000 0038 0000 00000001 10b8 10b8 00000000 01 000000") + contexts
    parsed = parse_body(parse_frame(bind + bytes(4)))
    assert isinstance(parsed, Bind)
    assert parsed.contexts[0].abstract == CLUSTER


@pytest.mark.parametrize(
    "data",
    [
        exchanges.BIND[:20],
        exchanges.BIND[:-1],
        b"\4" + exchanges.BIND[1:],
        exchanges.BIND[:2] + b"\x63" + exchanges.BIND[3:],
        exchanges.BIND[:8] + b"\x0f\0" + exchanges.BIND[10:],
        exchanges.BIND[:10] + b"\xff\xff" + exchanges.BIND[12:],
        exchanges.EPM_BIND[:24] + b"\xff" + exchanges.EPM_BIND[25:],
        exchanges.SEALED_REQUEST[:90] + b"\xff" + exchanges.SEALED_REQUEST[91:],
    ],
)
def test_what_is_no_pdu_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_body(parse_frame(data))


@given(st.sampled_from(RECORDED), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5))
@settings(max_examples=200, deadline=None)
def test_a_damaged_pdu_is_a_pdu_or_a_protocol_error(data: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    try:
        parse_body(parse_frame(bytes(damaged)))
    except ProtocolError:
        return


@given(st.binary(max_size=5000), st.integers(1432, 4280), st.booleans())
def test_fragments_fit_and_make_the_whole(data: bytes, size: int, with_object: bool) -> None:
    head = Request(0, 1, 2, MAPPER.uuid if with_object else None, 0)
    fragments = list(pack_fragments(PduType.REQUEST, 5, head, data, size))
    frames = [parse_frame(fragment) for fragment in fragments]
    heads = [parse_body(frame) for frame in frames]
    assert all(len(fragment) <= size for fragment in fragments)
    assert [PduFlags.FIRST in frame.flags for frame in frames] == [True] + [False] * (len(frames) - 1)
    assert [PduFlags.LAST in frame.flags for frame in frames] == [False] * (len(frames) - 1) + [True]
    whole = b""
    for frame, parsed in zip(frames, heads, strict=True):
        assert isinstance(parsed, Request)
        assert (parsed.context_id, parsed.opnum, parsed.object) == (1, 2, head.object)
        assert parsed.alloc_hint == len(data) - len(whole)
        whole += frame.data[parsed.stub_at :]
    assert whole == data


def test_an_answer_has_no_object() -> None:
    (only,) = pack_fragments(PduType.RESPONSE, 5, Response(0, 1), b"abc", 4280)
    assert only == bytes.fromhex("05 00 02 03 10000000 1b00 0000 05000000 03000000 0100 00 00 616263")


def test_features_travel_as_a_transfer_syntax() -> None:
    both = Feature.SECURITY_CONTEXTS | Feature.KEEP_AFTER_ORPHAN
    syntax = features_syntax(both)
    assert str(syntax.uuid) == "6cb71c2c-9812-4540-0300-000000000000"
    assert features_of(syntax) == both
    assert features_of(NDR32) is None
    assert features_of(NDR64) is None
