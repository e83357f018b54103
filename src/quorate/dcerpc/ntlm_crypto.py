"""The arithmetic of NTLMv2: the NT hash, the keys, the cipher, and the session that signs and seals with them.

Only what a session of today needs: extended session security, 128 bits, keys exchanged. The hash functions are old and
known to be weak; that is why accounts live on this side of nothing but packet privacy, and why nothing else is made
with them. MD4 is written out here, since neither the standard library nor the cryptographic one still has it.

Source: [MS-NLMP] 3.3.2, 3.4; RFC 1320.
"""

import hashlib
import hmac
import struct
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext

from quorate.dcerpc.errors import SecurityError

_MASK: Final = 0xFFFFFFFF
_ROUNDS: Final = (
    (0x00000000, tuple(range(16)), (3, 7, 11, 19)),
    (0x5A827999, (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13)),
    (0x6ED9EBA1, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
)
_VERSION: Final = b"\1\0\0\0"
_CLIENT: Final = b"session key to client-to-server"
_SERVER: Final = b"session key to server-to-client"


def _mix(step: int, b: int, c: int, d: int) -> int:
    if step == 0:
        return (b & c) | (~b & d)
    if step == 1:
        return (b & c) | (b & d) | (c & d)
    return b ^ c ^ d


def md4(data: bytes) -> bytes:
    """The MD4 of some bytes."""
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    padded = data + b"\x80" + bytes((55 - len(data)) % 64) + struct.pack("<Q", 8 * len(data))
    for at in range(0, len(padded), 64):
        words = struct.unpack_from("<16I", padded, at)
        a, b, c, d = state
        for step, (constant, order, shifts) in enumerate(_ROUNDS):
            for index, word in enumerate(order):
                total = (a + _mix(step, b, c, d) + words[word] + constant) & _MASK
                shift = shifts[index % 4]
                a, b, c, d = d, ((total << shift) | (total >> (32 - shift))) & _MASK, b, c
        state = [(old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True)]
    return struct.pack("<4I", *state)


def nt_hash(password: str) -> bytes:
    """The 16 bytes that NTLM knows of a password, and that are as good as it: keep them as secret."""
    return md4(password.encode("utf-16-le", "surrogatepass"))


def hmac_md5(key: bytes, *parts: bytes) -> bytes:
    """The HMAC-MD5 of the parts one after the other."""
    return hmac.digest(key, b"".join(parts), "md5")


def response_key(password_hash: bytes, upper_user: str, domain: str) -> bytes:
    """NTOWFv2: the key of an account, from its NT hash, its name in capitals and the domain as the client says it."""
    return hmac_md5(password_hash, (upper_user + domain).encode("utf-16-le", "surrogatepass"))


def _rc4(key: bytes) -> CipherContext:
    return Cipher(ARC4(key), mode=None).encryptor()


def exchange_key(session_base_key: bytes, encrypted: bytes) -> bytes:
    """The session's own key, which the client has chosen and sent encrypted (or the other way round)."""
    return _rc4(session_base_key).update(encrypted)


class _Direction:
    """The keys of one direction, and how far it is."""

    def __init__(self, session_key: bytes, name: bytes, *, exchanged: bool) -> None:
        self._signing_key = hashlib.md5(session_key + name + b" signing key magic constant\0").digest()
        self._sealing_key = hashlib.md5(session_key + name + b" sealing key magic constant\0").digest()
        self._exchanged = exchanged
        self._sequence = 0
        self.restart()

    def restart(self) -> None:
        self._cipher = _rc4(self._sealing_key)

    def crypt(self, data: bytes) -> bytes:
        return self._cipher.update(data)

    def sign(self, message: bytes) -> bytes:
        sequence = struct.pack("<I", self._sequence & _MASK)
        self._sequence += 1
        checksum = hmac.digest(self._signing_key, sequence + message, "md5")[:8]
        if self._exchanged:
            checksum = self._cipher.update(checksum)
        return _VERSION + checksum + sequence


class NtlmSession:
    """Signs and seals with the key of an NTLMv2 logon.

    Without keys exchanged (``exchanged`` false: nobody asked to sign) there is only what SPNEGO signs itself with.
    """

    signature_size: Final = 16

    def __init__(self, session_key: bytes, *, is_server: bool, exchanged: bool = True) -> None:
        own, other = (_SERVER, _CLIENT) if is_server else (_CLIENT, _SERVER)
        self._out = _Direction(session_key, own, exchanged=exchanged)
        self._in = _Direction(session_key, other, exchanged=exchanged)

    def seal(self, before: bytes, data: bytes, after: bytes) -> tuple[bytes, bytes]:
        """Encrypt the data and sign all three."""
        sealed = self._out.crypt(data)
        return sealed, self._out.sign(before + data + after)

    def unseal(self, before: bytes, data: bytes, after: bytes, signature: bytes) -> bytes:
        """Decrypt the data and compare the signature of all three. Raises SecurityError."""
        plain = self._in.crypt(data)
        self.verify(before + plain + after, signature)
        return plain

    def sign(self, data: bytes) -> bytes:
        """Make a signature."""
        return self._out.sign(data)

    def verify(self, data: bytes, signature: bytes) -> None:
        """Compare a signature. Raises SecurityError: changed, sent by somebody else, sent again or out of order."""
        if not hmac.compare_digest(self._in.sign(data), signature):
            raise SecurityError("a signature does not fit: the data was changed, or is not from who has logged on")

    def restart(self, *, outgoing: bool) -> None:
        """Set the cipher of one direction back."""
        (self._out if outgoing else self._in).restart()
