"""The three messages of NTLM, as far as an acceptor reads and writes them.

::

    negotiate     the client's flags
    challenge     ours: flags, eight random bytes, who we are, what time it is
    authenticate  the user, the answer to the challenge, the session's key, a signature over all three

Parsing trusts nothing: what does not fit raises :class:`LogonRefused`. The answer to the challenge is kept as the bytes
that came, since it is over those that it is computed: clients differ in how they end it.

Source: [MS-NLMP] 2.2.1, 2.2.2.
"""

import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from quorate.dcerpc.errors import LogonRefused

SIGNATURE: Final = b"NTLMSSP\0"
MIC_AT: Final = 72
MIC_SIZE: Final = 16
PROOF_SIZE: Final = 16
_V1_SIZE: Final = 24
_BLOB_HEAD: Final = 28  # types, reserved, time, the client's challenge, reserved
_LONGEST: Final = 64 * 1024
_FILETIME_1970: Final = 116444736000000000


class NtlmFlags(IntFlag):
    """The flags that matter here."""

    UNICODE = 0x00000001
    REQUEST_TARGET = 0x00000004
    SIGN = 0x00000010
    SEAL = 0x00000020
    NTLM = 0x00000200
    ANONYMOUS = 0x00000800
    ALWAYS_SIGN = 0x00008000
    TARGET_IS_SERVER = 0x00020000
    EXTENDED_SESSION_SECURITY = 0x00080000
    TARGET_INFO = 0x00800000
    VERSION = 0x02000000
    KEY_128 = 0x20000000
    KEY_EXCHANGE = 0x40000000


class AvId(IntFlag):
    """Which pair of the target information."""

    END = 0
    COMPUTER = 1
    DOMAIN = 2
    DNS_COMPUTER = 3
    DNS_DOMAIN = 4
    FLAGS = 6
    TIMESTAMP = 7
    TARGET_NAME = 9


AV_FLAG_MIC: Final = 0x2


@dataclass(frozen=True, slots=True)
class ServerNames:
    """Who a server says it is: nothing depends on it, but clients show it."""

    computer: str
    dns_computer: str
    domain: str = ""
    dns_domain: str = ""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """The client's last message."""

    flags: NtlmFlags
    user: str
    domain: str
    workstation: str
    proof: bytes
    blob: bytes
    encrypted_session_key: bytes
    has_mic: bool
    target_name: str
    raw: bytes

    @property
    def mic(self) -> bytes:
        """The signature over all three messages."""
        return self.raw[MIC_AT : MIC_AT + MIC_SIZE]

    @property
    def without_mic(self) -> bytes:
        """The message as it was before its signature was put in."""
        return self.raw[:MIC_AT] + bytes(MIC_SIZE) + self.raw[MIC_AT + MIC_SIZE :]


def _head(message: bytes, kind: int, size: int, name: str) -> None:
    if not size <= len(message) <= _LONGEST or message[:8] != SIGNATURE:
        raise LogonRefused(f"the token is no NTLM {name} message")
    if int.from_bytes(message[8:12], "little") != kind:
        raise LogonRefused(f"an NTLM message came that is not the {name} message that is due")


def parse_negotiate(message: bytes) -> NtlmFlags:
    """Read the client's first message: its flags. Raises LogonRefused."""
    _head(message, 1, 16, "negotiate")
    return NtlmFlags(int.from_bytes(message[12:16], "little"))


def pack_challenge(flags: NtlmFlags, challenge: bytes, names: ServerNames, now: int) -> bytes:
    """Make our message; ``now`` is in nanoseconds since 1970, ``challenge`` has eight random bytes."""
    pairs = [(AvId.DOMAIN, names.domain or names.computer), (AvId.COMPUTER, names.computer)]
    pairs += [(AvId.DNS_DOMAIN, names.dns_domain), (AvId.DNS_COMPUTER, names.dns_computer)]
    info = b"".join(_pair(kind, text.encode("utf-16-le", "replace")) for kind, text in pairs)
    info += _pair(AvId.TIMESTAMP, struct.pack("<Q", now // 100 + _FILETIME_1970)) + _pair(AvId.END, b"")
    target = (names.domain or names.computer).encode("utf-16-le", "replace")
    head = 56
    fields = struct.pack("<HHI", len(target), len(target), head)
    fields_info = struct.pack("<HHI", len(info), len(info), head + len(target))
    version = bytes((10, 0, 0, 0, 0, 0, 0, 15))  # of the protocol; the rest is for looking at only
    start = SIGNATURE + struct.pack("<I", 2) + fields + struct.pack("<I", flags) + challenge + bytes(8)
    return start + fields_info + version + target + info


def _pair(kind: AvId, value: bytes) -> bytes:
    return struct.pack("<HH", kind, len(value)) + value


def challenge_flags(message: bytes) -> NtlmFlags:
    """Read the flags of a server's challenge. Raises LogonRefused."""
    _head(message, 2, 32, "challenge")
    return NtlmFlags(int.from_bytes(message[20:24], "little"))


def _field(message: bytes, at: int) -> bytes:
    size, _, offset = struct.unpack_from("<HHI", message, at)
    if offset + size > len(message):
        raise LogonRefused("the NTLM authenticate message points outside of itself")
    return message[offset : offset + size]


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise LogonRefused("a name in the NTLM authenticate message is not UTF-16") from error


def parse_authenticate(message: bytes) -> Authenticate:
    """Read the client's last message. Raises LogonRefused for NTLMv1, LM and anonymous as for anything malformed."""
    _head(message, 3, 64, "authenticate")
    flags = NtlmFlags(int.from_bytes(message[60:64], "little"))
    if NtlmFlags.UNICODE not in flags:
        raise LogonRefused("the names of an NTLM authenticate message must be UTF-16")
    user, domain = _text(_field(message, 36)), _text(_field(message, 28))
    response = _field(message, 20)
    if NtlmFlags.ANONYMOUS in flags or not user:
        raise LogonRefused("an anonymous logon is not let in")
    if not response:
        raise LogonRefused("a logon by LM is not let in: it is broken; NTLMv2 is asked for", user)
    if len(response) == _V1_SIZE:
        raise LogonRefused("a logon by NTLMv1 is not let in: it is broken; NTLMv2 is asked for", user)
    proof, blob = response[:PROOF_SIZE], response[PROOF_SIZE:]
    if len(blob) < _BLOB_HEAD or blob[:2] != b"\1\1":
        raise LogonRefused("the answer to the challenge is not of NTLMv2", user)
    pairs = _parse_pairs(blob[_BLOB_HEAD:], user)
    has_mic = bool(int.from_bytes(pairs.get(AvId.FLAGS, b""), "little") & AV_FLAG_MIC)
    if has_mic and len(message) < MIC_AT + MIC_SIZE:
        raise LogonRefused("the NTLM authenticate message is too short for the signature that it tells of", user)
    return Authenticate(
        flags=flags,
        user=user,
        domain=domain,
        workstation=_text(_field(message, 44)),
        proof=proof,
        blob=blob,
        encrypted_session_key=_field(message, 52),
        has_mic=has_mic,
        target_name=_text(pairs.get(AvId.TARGET_NAME, b"")),
        raw=message,
    )


def _parse_pairs(data: bytes, user: str) -> dict[int, bytes]:
    pairs: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        kind, size = struct.unpack_from("<HH", data, at)
        if kind == AvId.END:
            return pairs
        if at + 4 + size > len(data):
            break
        pairs[kind] = data[at + 4 : at + 4 + size]
        at += 4 + size
    raise LogonRefused("the target information in the answer to the challenge does not end", user)
