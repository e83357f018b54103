"""NTLMv2: the numbers of the specification, a logon of Samba's as it was recorded, and who is not let in."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import spnego
from hypothesis import given, settings
from hypothesis import strategies as st
from spnego.exceptions import NegotiateOptions
from tests.unit.dcerpc import exchanges
from tests.unit.dcerpc.world import ALICE, NAMES, PASSWORDS, accounts

from quorate.dcerpc.acceptors import LogonDoor
from quorate.dcerpc.errors import LogonRefused, SecurityError
from quorate.dcerpc.initiators import Credentials, Logon, Mechanism, ProxyInitiator
from quorate.dcerpc.kerberos import KerberosAcceptor, is_available, kerberos_door
from quorate.dcerpc.negotiate import SpnegoAcceptor
from quorate.dcerpc.ntlm import NtlmAcceptor
from quorate.dcerpc.ntlm_crypto import NtlmSession, exchange_key, hmac_md5, md4, nt_hash, response_key
from quorate.dcerpc.ntlm_messages import NtlmFlags, challenge_flags, parse_authenticate
from quorate.dcerpc.pdu import WHOLE, PduType, Response, parse_frame
from quorate.dcerpc.security import Acceptor, AuthLevel, AuthType, Initiator, LogonAttempt, Principal, Shield
from quorate.dcerpc.spnego_tokens import (
    KERBEROS_OID,
    NTLM_OID,
    InitToken,
    NegState,
    ResponseToken,
    pack_init,
    pack_oid,
    pack_response,
    parse_token,
)


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4_by_rfc_1320(data: bytes, expected: str) -> None:
    assert md4(data).hex() == expected


def test_the_numbers_of_ms_nlmp_4_2_4() -> None:
    key = response_key(nt_hash("Password"), "USER", "Domain")
    assert key == hexed("0c868a403bfd7a93a3001ef22ef02e3f")
    pairs = hexed("02000c0044006f006d00610069006e0001000c00530065007200760065007200 00000000 00000000")
    blob = hexed("0101000000000000 0000000000000000 aaaaaaaaaaaaaaaa 00000000") + pairs
    proof = hmac_md5(key, hexed("0123456789abcdef"), blob)
    assert proof == hexed("68cd0ab851e51c96aabc927bebef6a1c")
    base = hmac_md5(key, proof)
    assert base == hexed("8de40ccadbc14a82f15cb0ad0de95ca3")
    assert exchange_key(base, hexed("c5dad2544fc9799094ce1ce90bc9d03e")) == b"U" * 16
    session = NtlmSession(b"U" * 16, is_server=False)
    sealed, signature = session.seal(b"", "Plaintext".encode("utf-16-le"), b"")
    assert sealed == hexed("54e50165bf1936dc996020c1811b0f06fb5f")
    assert signature == hexed("01000000 7fb38ec5c55d4976 00000000")


def _recorded_acceptor() -> SpnegoAcceptor:
    """An acceptor in which the recorded logon has taken place."""
    when = (0x01DD7AA1ED3AFB14 - 116444736000000000) * 100
    door = {NTLM_OID: lambda: NtlmAcceptor(accounts, NAMES, AuthLevel.PRIVACY, "192.0.2.1", clock=lambda: when)}
    server = SpnegoAcceptor(door)
    recorded = (exchanges.BIND, exchanges.BIND_ACK, exchanges.ALTER_CONTEXT, exchanges.ALTER_CONTEXT_RESP)
    frames = [parse_frame(data) for data in recorded]
    tokens = [frame.auth.value for frame in frames if frame.auth is not None]
    assert server.step(tokens[0]) == tokens[1]
    assert server.step(tokens[2]) == tokens[3]
    return server


def test_a_logon_of_sambas_as_it_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda size: hexed("2ad9b31d3a67dcbe")[:size])
    server, twin = _recorded_acceptor(), _recorded_acceptor()
    assert server.principal == Principal("alice", "WORKGROUP", "ntlm")
    shield = Shield(AuthType.SPNEGO, AuthLevel.PRIVACY, 1, server.session)
    stub = shield.uncover(parse_frame(exchanges.SEALED_REQUEST), 24)
    assert stub.startswith(hexed("8ae3137102f43671"))  # no arguments, then the verification trailer
    answer = parse_frame(exchanges.SEALED_RESPONSE)
    plain, _ = twin.session.seal(b"", answer.data[24 : answer.body_end], b"")  # the cipher undoes itself
    sealed = shield.protect(PduType.RESPONSE, WHOLE, 4, Response(24, 0).pack(), plain[:24])
    assert sealed == exchanges.SEALED_RESPONSE


def acceptor(level: AuthLevel = AuthLevel.PRIVACY) -> NtlmAcceptor:
    return NtlmAcceptor(accounts, NAMES, level, "192.0.2.1")


def log_on(server: Acceptor, client: Initiator, change: Callable[[bytes], bytes] = lambda token: token) -> None:
    """Exchange tokens until both are done; ``change`` is what somebody does to the client's on the way."""
    token = client.step(None)
    while True:
        answer = server.step(change(token))
        if client.is_complete or not answer:
            return
        token = client.step(answer)
        if not token:
            return


def client(
    who: Credentials = ALICE, level: AuthLevel = AuthLevel.PRIVACY, mechanism: Mechanism = Mechanism.NTLM
) -> Initiator:
    return ProxyInitiator(Logon(who, level, mechanism, "TestService"), "node1.example")


@pytest.mark.parametrize("mechanism", [Mechanism.NTLM, Mechanism.SPNEGO])
@pytest.mark.parametrize("level", [AuthLevel.CONNECT, AuthLevel.PACKET, AuthLevel.INTEGRITY, AuthLevel.PRIVACY])
@pytest.mark.parametrize("user", ["alice", "ALICE", "bob", "Straße"])
def test_both_ends_have_the_same_keys(mechanism: Mechanism, level: AuthLevel, user: str) -> None:
    who = Credentials(user, password_hash=PASSWORDS[user.lower()], domain="ANY")
    server = LogonDoor(accounts, NAMES)(Logon(who, level, mechanism).kind, level, "192.0.2.1")
    ours = client(who, level, mechanism)
    log_on(server, ours)
    assert server.principal == Principal(user, "ANY", "ntlm")
    for one, other in ((server.session, ours.session), (ours.session, server.session)):
        for number in range(3):
            sealed, signature = one.seal(b"head", b"data %d" % number, b"tail")
            assert sealed != b"data %d" % number
            assert other.unseal(b"head", sealed, b"tail", signature) == b"data %d" % number
            other.verify(b"plain", one.sign(b"plain"))


@pytest.mark.parametrize(
    "change",
    [
        lambda before, data, after, signature: (before + b"x", data, after, signature),
        lambda before, data, after, signature: (before, data[:-1] + b"\0", after, signature),
        lambda before, data, after, signature: (before, data, b"", signature),
        lambda before, data, after, signature: (before, data, after, signature[:-1] + b"\1"),
        lambda before, data, after, signature: (before, data, after, b""),
    ],
)
def test_what_was_changed_is_not_unsealed(change: Callable[..., tuple[bytes, bytes, bytes, bytes]]) -> None:
    one, other = NtlmSession(b"k" * 16, is_server=True), NtlmSession(b"k" * 16, is_server=False)
    sealed, signature = one.seal(b"head", b"data", b"tail")
    with pytest.raises(SecurityError):
        other.unseal(*change(b"head", sealed, b"tail", signature))


def test_what_comes_twice_is_not_verified() -> None:
    one, other = NtlmSession(b"k" * 16, is_server=True), NtlmSession(b"k" * 16, is_server=False)
    signature = one.sign(b"data")
    other.verify(b"data", signature)
    with pytest.raises(SecurityError):
        other.verify(b"data", signature)


@pytest.mark.parametrize(
    "who",
    [Credentials("alice", "wrong"), Credentials("nobody", "secret"), Credentials("nobody", password_hash=bytes(16))],
)
@pytest.mark.parametrize("mechanism", [Mechanism.NTLM, Mechanism.SPNEGO])
def test_who_is_not_known_is_told_the_same_as_who_errs(who: Credentials, mechanism: Mechanism) -> None:
    server = LogonDoor(accounts, NAMES)(AuthType[mechanism.name], AuthLevel.PRIVACY, "192.0.2.1")
    with pytest.raises(LogonRefused, match="no such account, or the password is wrong") as caught:
        log_on(server, client(who, mechanism=mechanism))
    assert caught.value.user == who.user
    assert server.principal is None


def test_the_lookup_is_told_who_asks_from_where() -> None:
    seen: list[LogonAttempt] = []

    def lookup(attempt: LogonAttempt) -> bytes | None:
        seen.append(attempt)
        return accounts(attempt)

    log_on(NtlmAcceptor(lookup, NAMES, AuthLevel.PRIVACY, "192.0.2.9"), client())
    assert [(item.user, item.domain, item.source) for item in seen] == [("alice", "WORKGROUP", "192.0.2.9")]


def test_a_recorded_logon_is_of_no_use_a_second_time() -> None:
    tokens: list[bytes] = []
    log_on(acceptor(), client(), lambda token: tokens.append(token) or token)  # type: ignore[func-returns-value]
    again = acceptor()
    again.step(tokens[0])
    with pytest.raises(LogonRefused):
        again.step(tokens[1])
    with pytest.raises(LogonRefused, match="over"):
        again.step(tokens[1])


def _change_flags(token: bytes, cleared: NtlmFlags) -> bytes:
    at = 12 if token[8] == 1 else 60
    flags = struct.unpack_from("<I", token, at)[0] & ~cleared
    return token[:at] + struct.pack("<I", flags) + token[at + 4 :]


@pytest.mark.parametrize(
    "flag",
    [
        NtlmFlags.SIGN,
        NtlmFlags.SEAL,
        NtlmFlags.KEY_128,
        NtlmFlags.KEY_EXCHANGE,
        NtlmFlags.EXTENDED_SESSION_SECURITY,
        NtlmFlags.UNICODE,
        NtlmFlags.NTLM,
    ],
)
@pytest.mark.parametrize("kind", [1, 3])
def test_less_than_the_level_needs_is_refused(flag: NtlmFlags, kind: int) -> None:
    def change(token: bytes) -> bytes:
        return _change_flags(token, flag) if token[8] == kind else token

    with pytest.raises(LogonRefused):
        log_on(acceptor(), client(), change)


def test_a_changed_message_is_seen_by_the_signature_over_all_three() -> None:
    def change(token: bytes) -> bytes:
        return token[:16] + b"\1" + token[17:] if token[8] == 1 else token

    with pytest.raises(LogonRefused, match="a message was changed"):
        log_on(acceptor(), client(), change)


@pytest.mark.parametrize("level", range(3))
def test_ntlmv1_is_refused(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LM_COMPAT_LEVEL", str(level))
    with pytest.raises(LogonRefused, match="NTLMv1"):
        client()
    # pyspnego itself does as the variable says
    proxy = spnego.client("alice", "secret", protocol="ntlm", options=NegotiateOptions.use_ntlm)
    server = acceptor(AuthLevel.CONNECT)
    challenge = server.step(_with_ess(proxy.step() or b""))
    with pytest.raises(LogonRefused, match=r"NTLMv1|less than"):
        server.step(proxy.step(challenge) or b"")


def _with_ess(token: bytes) -> bytes:
    flags = struct.unpack_from("<I", token, 12)[0] | NtlmFlags.EXTENDED_SESSION_SECURITY
    return token[:12] + struct.pack("<I", flags) + token[16:]


def _authenticate(user: str, response: bytes, flags: int = 0xE2888235) -> bytes:
    """An authenticate message by hand."""
    name, head = user.encode("utf-16-le"), 88
    fields = b"".join(
        struct.pack("<HHI", size, size, offset)
        for size, offset in (
            (24, head),
            (len(response), head + 24),
            (0, head),
            (len(name), head + 24 + len(response)),
            (0, head),
            (0, head),
        )
    )
    start = b"NTLMSSP\0" + struct.pack("<I", 3) + fields + struct.pack("<I", flags)
    return start + bytes(8) + bytes(16) + bytes(24) + response + name


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (_authenticate("", bytes(100)), "anonymous"),
        (_authenticate("alice", bytes(100), 0xE2888A35), "anonymous"),
        (_authenticate("alice", b""), "LM"),
        (_authenticate("alice", bytes(24)), "NTLMv1"),
        (_authenticate("alice", bytes(60)), "not of NTLMv2"),
        (_authenticate("alice", bytes(16) + b"\1\1" + bytes(26) + b"\7\0\xff\xff"), "does not end"),
        (_authenticate("alice", bytes(100), 0xE2888234), "UTF-16"),
        (_authenticate("alice", bytes(100))[:40], "no NTLM"),
        (_authenticate("alice", bytes(100))[:-1], "outside"),
    ],
)
def test_what_is_no_logon_by_ntlmv2_is_refused(token: bytes, why: str) -> None:
    with pytest.raises(LogonRefused, match=why):
        parse_authenticate(token)


@given(st.integers(0, 2), st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=6))
@settings(deadline=None, max_examples=150)
def test_damaged_tokens_are_refused_and_nothing_else(which: int, changes: list[tuple[int, int]]) -> None:
    mechanism = Mechanism.SPNEGO if which else Mechanism.NTLM

    def change(token: bytes) -> bytes:
        damaged = bytearray(token)
        for at, value in changes:
            damaged[at % len(damaged)] ^= value
        return bytes(damaged)

    server = LogonDoor(accounts, NAMES)(AuthType[mechanism.name], AuthLevel.PRIVACY, "192.0.2.1")
    try:
        log_on(server, client(mechanism=mechanism), change)
    except LogonRefused:
        assert server.principal is None


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_a_hostile_server_is_refused_and_nothing_else(answer: bytes) -> None:
    for mechanism in (Mechanism.NTLM, Mechanism.SPNEGO):
        ours = client(mechanism=mechanism)
        ours.step(None)
        with pytest.raises(LogonRefused):
            ours.step(b"NTLMSSP\0\2\0\0\0" + answer)


def test_a_client_does_not_agree_to_less_than_it_asked_for() -> None:
    ours, server = client(), acceptor()
    challenge = server.step(ours.step(None))
    assert NtlmFlags.SEAL in challenge_flags(challenge)
    weaker = challenge[:20] + struct.pack("<I", challenge_flags(challenge) & ~NtlmFlags.SEAL) + challenge[24:]
    with pytest.raises(LogonRefused, match="SEAL missing"):
        ours.step(weaker)


# --- SPNEGO --------------------------------------------------------------------------------------------------------


def spnego_acceptor() -> SpnegoAcceptor:
    return SpnegoAcceptor({NTLM_OID: acceptor})


def test_the_list_of_mechanisms_is_what_was_sent() -> None:
    token = parse_token(pack_init((KERBEROS_OID, NTLM_OID), b"first"))
    assert isinstance(token, InitToken)
    assert (token.mechanisms, token.token) == ((KERBEROS_OID, NTLM_OID), b"first")
    assert token.list_der == hexed("3017") + pack_oid(KERBEROS_OID) + pack_oid(NTLM_OID)


def test_a_mechanism_that_is_not_the_first_is_negotiated_and_must_be_signed() -> None:
    server, inner = spnego_acceptor(), client()
    first = inner.step(None)
    answer = parse_token(server.step(pack_init((KERBEROS_OID, NTLM_OID), b"of the other")))
    assert answer == ResponseToken(NegState.REQUEST_MIC, NTLM_OID)
    challenge = parse_token(server.step(pack_response(ResponseToken(token=first))))
    assert isinstance(challenge, ResponseToken)
    last = inner.step(challenge.token)
    unsigned = parse_token(server.step(pack_response(ResponseToken(token=last))))
    assert unsigned == ResponseToken(NegState.INCOMPLETE)
    assert server.principal is None
    with pytest.raises(LogonRefused, match="signature over the offered mechanisms"):
        server.step(pack_response(ResponseToken(mic=bytes(16))))


def test_a_list_that_was_changed_on_the_way_is_seen() -> None:
    def change(token: bytes) -> bytes:
        offer = parse_token(token)
        return pack_init((*offer.mechanisms, KERBEROS_OID), offer.token) if isinstance(offer, InitToken) else token

    with pytest.raises(LogonRefused, match="the offer was changed"):
        log_on(spnego_acceptor(), client(mechanism=Mechanism.SPNEGO), change)


def test_bare_ntlm_is_taken_where_spnego_is_said() -> None:
    server, ours = spnego_acceptor(), client()
    log_on(server, ours)
    assert server.principal is not None


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"\x60",
        b"\x60\x84\xff\xff\xff\xff",
        pack_init((KERBEROS_OID,)),
        pack_init(()),
        pack_init((NTLM_OID,) * 40),
        pack_response(ResponseToken(NegState.INCOMPLETE)),
        pack_init((NTLM_OID,))[:-3],
        pack_init((NTLM_OID,)) + b"more",
    ],
)
def test_offers_that_are_none_are_refused(token: bytes) -> None:
    with pytest.raises(LogonRefused):
        spnego_acceptor().step(token)


def test_kerberos_is_refused_where_it_is_not_set_up() -> None:
    with pytest.raises(LogonRefused, match="not set up"):
        LogonDoor(accounts, NAMES)(AuthType.KERBEROS, AuthLevel.PRIVACY, "192.0.2.1")


def test_kerberos_is_not_tried_where_it_is_missing(tmp_path: Path) -> None:
    if not is_available():
        with pytest.raises(LogonRefused, match="not installed"):
            kerberos_door(tmp_path / "keytab", "TestService", "node1.example")
    with pytest.raises(LogonRefused, match="at PRIVACY"):
        client(level=AuthLevel.INTEGRITY, mechanism=Mechanism.KERBEROS)
    with pytest.raises(LogonRefused, match="at PRIVACY"):
        KerberosAcceptor("TestService", "node1.example", AuthLevel.INTEGRITY)


def test_credentials_are_not_shown() -> None:
    assert "secret" not in f"{ALICE!r} {Logon(ALICE)!r}"
    with pytest.raises(ValueError, match="either"):
        Credentials("alice")
