"""The encoding of etcd's messages: round trips, bytes of a real etcd 3.4.23, and bytes that are none."""

from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.database.etcd import messages
from quorate.database.etcd.messages import (
    AlarmRequest,
    CompactionRequest,
    Compare,
    CompareTarget,
    DeleteRangeRequest,
    Event,
    EventType,
    KeyValue,
    Member,
    MemberListResponse,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    RequestOp,
    ResponseHeader,
    ResponseOp,
    StatusResponse,
    TxnRequest,
    TxnResponse,
    WatchProgressRequest,
    WatchRequest,
    WatchResponse,
)
from quorate.database.etcd.wire import Kind, Message, WireError, boolean, integer, octets

MESSAGES = [
    kind
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message
]

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
PLAIN: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.INT: INT64,
    Kind.UINT: st.integers(0, (1 << 64) - 1),
    Kind.BOOL: st.booleans(),
    Kind.BYTES: st.binary(max_size=200),
    Kind.TEXT: st.text(max_size=50),
}


def any_message(kind: type[Message]) -> st.SearchStrategy[Message]:
    parts: dict[str, st.SearchStrategy[Any]] = {}
    for attribute in fields(kind):  # type: ignore[arg-type]
        _, how, inner = attribute.metadata["wire"]
        one = PLAIN[how] if inner is None else any_message(inner)
        if attribute.default is None:
            one = st.none() | one
        elif attribute.default == ():
            one = st.lists(one, max_size=3).map(tuple)
        parts[attribute.name] = one
    return st.builds(kind, **parts)


@given(st.sampled_from(MESSAGES).flatmap(any_message))
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    assert type(message).decode(message.encode()) == message


@given(st.sampled_from(MESSAGES).flatmap(any_message), st.binary(max_size=20))
def test_what_is_cut_off_or_garbled_is_an_error_or_a_message_but_nothing_else(message: Message, noise: bytes) -> None:
    data = message.encode()
    for bad in (data[: len(data) // 2], noise, data + noise, noise + data):
        with suppress(WireError):
            type(message).decode(bad)


def test_there_is_a_message_for_everything_the_client_says() -> None:
    assert len(MESSAGES) >= 25


# --- Bytes of a real server, and what it understood ----------------------------------------------------------------

HEADER = "0a1908a98bc3cfebcbb0db9f0110e49c85bf8fe4cffc0618042002"
MEMBER_ID = 502502244258762340
ETCD = ResponseHeader(11508599609894159785, MEMBER_ID, 4, 2)

CAPTURED: list[tuple[str, Message]] = [
    ("0a02712f", RangeRequest(b"q/")),
    ("0a03712f001203712f7f18f403", RangeRequest(b"q/\0", b"q/\x7f", limit=500)),
    ("0804", CompactionRequest(4)),
    ("", AlarmRequest()),
    ("1a00", WatchRequest(progress_request=WatchProgressRequest())),
    (
        "0a0810011a02712f2800121c121a0a02712f12147b2271756f726174655f73746f7265223a20317d",
        TxnRequest(
            (Compare(target=CompareTarget.CREATE, key=b"q/", create_revision=0),),
            (RequestOp(request_put=PutRequest(b"q/", b'{"quorate_store": 1}')),),
        ),
    ),
    (
        "0a0910021a03712f613003120a12080a03712f6112013212071a050a03712f621a070a050a03712f61",
        TxnRequest(
            (Compare(target=CompareTarget.MOD, key=b"q/a", mod_revision=3),),
            (
                RequestOp(request_put=PutRequest(b"q/a", b"2")),
                RequestOp(request_delete_range=DeleteRangeRequest(b"q/b")),
            ),
            (RequestOp(request_range=RangeRequest(b"q/a")),),
        ),
    ),
    (
        HEADER + "12200a02712f1002180220012a147b2271756f726174655f73746f7265223a20317d2001",
        RangeResponse(ETCD, (KeyValue(b"q/", 2, 2, 1, b'{"quorate_store": 1}'),), count=1),
    ),
    (
        HEADER + "10011a0612040a0218041a0612040a021804",
        TxnResponse(ETCD, True, (ResponseOp(response_put=PutResponse(ResponseHeader(revision=4))),) * 2),
    ),
    (HEADER + "1801", WatchResponse(ETCD, created=True)),
    (
        HEADER + "5a10120e0a03712f611003180420022a01325a0b080112070a03712f621804",
        WatchResponse(
            ETCD,
            events=(
                Event(EventType.PUT, KeyValue(b"q/a", 3, 4, 2, b"2")),
                Event(EventType.DELETE, KeyValue(b"q/b", mod_revision=4)),
            ),
        ),
    ),
    (HEADER + "10ffffffffffffffffff01", WatchResponse(ETCD, watch_id=-1)),  # the answer to a progress request
    (HEADER + "20012804", WatchResponse(ETCD, canceled=True, compact_revision=4)),
    (
        HEADER + "1206332e342e32331880a00120e49c85bf8fe4cffc06280b3002380b48808001",
        StatusResponse(ETCD, "3.4.23", 20480, MEMBER_ID, db_size_in_use=16384),
    ),
    (
        HEADER + "124308e49c85bf8fe4cffc06120565746364311a1768747470733a2f2f3132372e302e302e313a3230303539"
        "221768747470733a2f2f3132372e302e302e313a3238373035",
        MemberListResponse(
            ETCD,
            (Member(MEMBER_ID, "etcd1", ("https://127.0.0.1:20059",), ("https://127.0.0.1:28705",)),),
        ),
    ),
]


@pytest.mark.parametrize(("captured", "meaning"), CAPTURED, ids=lambda value: type(value).__name__)
def test_bytes_of_a_real_etcd_are_understood(captured: str, meaning: Message) -> None:
    assert type(meaning).decode(bytes.fromhex(captured)) == meaning


@pytest.mark.parametrize(("captured", "meaning"), CAPTURED[:7], ids=lambda value: type(value).__name__)
def test_requests_are_the_bytes_that_a_real_etcd_understood(captured: str, meaning: Message) -> None:
    assert meaning.encode().hex() == captured


# --- The rules -----------------------------------------------------------------------------------------------------


def test_fields_of_newer_servers_are_skipped_whatever_their_encoding() -> None:
    known = KeyValue(b"k", 1, 2, 3, b"v")
    newer = bytes.fromhex("a00601a9060102030405060708ad0601020304b20603616263")  # 100 to 102, all wire types
    assert KeyValue.decode(newer + known.encode() + newer) == known


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    assert KeyValue.decode(KeyValue(b"a", 1).encode() + KeyValue(b"b").encode()) == KeyValue(b"b", 1)


def test_defaults_are_not_written_but_a_member_of_a_oneof_is() -> None:
    assert RangeRequest().encode() == b""
    assert Compare(mod_revision=0).encode() == bytes.fromhex("3000")
    assert RequestOp(request_put=PutRequest()).encode() == bytes.fromhex("1200")
    assert Compare.decode(bytes.fromhex("3000")).mod_revision == 0
    assert Compare.decode(b"").mod_revision is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("0a05ab", "ends within a field"),
        ("10", "ends within an integer"),
        ("10ff", "ends within an integer"),
        ("10" + "ff" * 10 + "01", "more than ten bytes"),
        ("0b", "wire type 3"),
        ("0801", "not of the kind BYTES"),
        ("12026162", "not of the kind INT"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(data: str, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        KeyValue.decode(bytes.fromhex(data))


def test_integers_are_64_bit_on_the_wire() -> None:
    @dataclass(frozen=True, slots=True)
    class Numbers(Message):
        first: int = integer(1)
        second: bool = boolean(2)
        third: bytes = octets(1000)

    assert Numbers(-1).encode() == bytes.fromhex("08ffffffffffffffffff01")
    assert Numbers.decode(bytes.fromhex("08ffffffffffffffff7f")).first == (1 << 63) - 1
    assert Numbers(second=True, third=b"x").encode() == bytes.fromhex("1001c23e0178")


def test_a_text_that_is_no_utf8_is_read_all_the_same() -> None:
    assert Member.decode(bytes.fromhex("1201ff")).name == "�"
