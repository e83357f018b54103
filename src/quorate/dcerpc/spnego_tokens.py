"""The tokens of SPNEGO: which mechanism, its tokens, and a signature over the list that was offered.

::

    init      the client's list of mechanisms, perhaps the first token of the one it likes best
    response  state, the mechanism chosen, a token, a signature over the list

DER, of which only definite lengths and the tags below are taken. What does not fit raises :class:`LogonRefused`.

Source: RFC 4178; [MS-SPNG] 2.2.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from quorate.dcerpc.errors import LogonRefused

SPNEGO_OID: Final = "1.3.6.1.5.5.2"
NTLM_OID: Final = "1.3.6.1.4.1.311.2.2.10"
KERBEROS_OID: Final = "1.2.840.113554.1.2.2"
MS_KERBEROS_OID: Final = "1.2.840.48018.1.2.2"
"""The same mechanism under a number that came of a mistake, and that Windows offers first."""

_SEQUENCE: Final = 0x30
_OID: Final = 0x06
_OCTETS: Final = 0x04
_ENUMERATED: Final = 0x0A
_APPLICATION: Final = 0x60
_CONTEXT: Final = 0xA0
_MOST_MECHANISMS: Final = 16


class NegState(IntEnum):
    """How far the negotiation is."""

    COMPLETED = 0
    INCOMPLETE = 1
    REJECT = 2
    REQUEST_MIC = 3


@dataclass(frozen=True, slots=True)
class InitToken:
    """What the client offers; ``list_der`` is what the signature is over."""

    mechanisms: tuple[str, ...]
    list_der: bytes
    token: bytes | None = None
    mic: bytes | None = None


@dataclass(frozen=True, slots=True)
class ResponseToken:
    """Everything after the offer, of either side."""

    state: NegState | None = None
    mechanism: str | None = None
    token: bytes | None = None
    mic: bytes | None = None


def _tlv(tag: int, data: bytes) -> bytes:
    size = len(data)
    if size < 0x80:
        return bytes((tag, size)) + data
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + data


def _take(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Read one element at a place: its tag, its contents, where the next one is."""
    if at + 2 > len(data):
        raise LogonRefused("a SPNEGO token ends too early")
    tag, size = data[at], data[at + 1]
    at += 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 3 or at + count > len(data):
            raise LogonRefused("a SPNEGO token has a length that is none")
        size = int.from_bytes(data[at : at + count], "big")
        at += count
    if at + size > len(data):
        raise LogonRefused(f"a SPNEGO token has an element of {size} bytes where {len(data) - at} are left")
    return tag, data[at : at + size], at + size


def _only(data: bytes, tag: int) -> bytes:
    found, contents, end = _take(data, 0)
    if found != tag or end != len(data):
        raise LogonRefused(f"a SPNEGO token has the tag {found:#x} where {tag:#x} is due")
    return contents


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        tag, contents, at = _take(data, at)
        found.append((tag, contents))
    return found


def pack_oid(text: str) -> bytes:
    """Make the DER of an object identifier."""
    numbers = [int(part) for part in text.split(".")]
    data = bytes((40 * numbers[0] + numbers[1],))
    for number in numbers[2:]:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(0x80 | (number & 0x7F))
        data += bytes(reversed(groups))
    return _tlv(_OID, data)


def _parse_oid(contents: bytes) -> str:
    if not contents or len(contents) > 32 or contents[-1] & 0x80:
        raise LogonRefused("a SPNEGO token has a mechanism that is no object identifier")
    numbers = [min(contents[0] // 40, 2), contents[0] - 40 * min(contents[0] // 40, 2)]
    value = 0
    for byte in contents[1:]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    return ".".join(map(str, numbers))


def pack_init(mechanisms: tuple[str, ...], token: bytes | None = None) -> bytes:
    """Make an offer."""
    inner = _tlv(_CONTEXT, _tlv(_SEQUENCE, b"".join(map(pack_oid, mechanisms))))
    if token is not None:
        inner += _tlv(_CONTEXT | 2, _tlv(_OCTETS, token))
    return _tlv(_APPLICATION, pack_oid(SPNEGO_OID) + _tlv(_CONTEXT, _tlv(_SEQUENCE, inner)))


def pack_response(response: ResponseToken) -> bytes:
    """Make an answer."""
    inner = b""
    if response.state is not None:
        inner += _tlv(_CONTEXT, _tlv(_ENUMERATED, bytes((response.state,))))
    if response.mechanism is not None:
        inner += _tlv(_CONTEXT | 1, pack_oid(response.mechanism))
    if response.token is not None:
        inner += _tlv(_CONTEXT | 2, _tlv(_OCTETS, response.token))
    if response.mic is not None:
        inner += _tlv(_CONTEXT | 3, _tlv(_OCTETS, response.mic))
    return _tlv(_CONTEXT | 1, _tlv(_SEQUENCE, inner))


def parse_token(data: bytes) -> InitToken | ResponseToken:
    """Read either. Raises LogonRefused."""
    if data[:1] == bytes((_APPLICATION,)):
        tag, oid, at = _take(_only(data, _APPLICATION), 0)
        if tag != _OID or _parse_oid(oid) != SPNEGO_OID:
            raise LogonRefused("the token is of another mechanism than SPNEGO")
        rest = _only(data, _APPLICATION)[at:]
        return _parse_init(_only(_only(rest, _CONTEXT), _SEQUENCE))
    return _parse_response(_only(_only(data, _CONTEXT | 1), _SEQUENCE))


def _parse_init(data: bytes) -> InitToken:
    parts = dict(_elements(data))
    list_der = parts.get(_CONTEXT, b"")
    offered = _elements(_only(list_der, _SEQUENCE))
    if not 1 <= len(offered) <= _MOST_MECHANISMS or any(tag != _OID for tag, _ in offered):
        raise LogonRefused(f"a SPNEGO token offers {len(offered)} mechanisms, or what is none")
    return InitToken(
        tuple(_parse_oid(contents) for _, contents in offered),
        list_der,
        _octets(parts, 2),
        _octets(parts, 3),
    )


def _parse_response(data: bytes) -> ResponseToken:
    parts = dict(_elements(data))
    state = None
    if _CONTEXT in parts:
        number = _only(parts[_CONTEXT], _ENUMERATED)
        if len(number) != 1 or number[0] not in set(NegState):
            raise LogonRefused("a SPNEGO token has a state that is none")
        state = NegState(number[0])
    mechanism = _parse_oid(_only(parts[_CONTEXT | 1], _OID)) if _CONTEXT | 1 in parts else None
    return ResponseToken(state, mechanism, _octets(parts, 2), _octets(parts, 3))


def _octets(parts: dict[int, bytes], number: int) -> bytes | None:
    found = parts.get(_CONTEXT | number)
    if found is None:
        return None
    if found[:1] != bytes((_OCTETS,)):
        return None  # the hint that Windows servers send where a signature would be
    return _only(found, _OCTETS)
