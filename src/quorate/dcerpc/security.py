"""Who sends a fragment, and that nobody has read or changed it: what a logon gives, and how fragments carry it.

A logon is a few tokens, made and taken by an :class:`Initiator` at the client and an :class:`Acceptor` at the server;
what they have in the end is a :class:`Session`, which signs and seals. A :class:`Shield` is a session on a connection,
at the level that was bound.

Source: [MS-RPCE] 2.2.1.1.7, 2.2.1.1.8, 2.2.2.11, 3.3.1.5.2.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol, TypeAlias

from quorate.dcerpc.errors import LogonRefused, SecurityError
from quorate.dcerpc.pdu import (
    HEADER_SIZE,
    TRAILER_SIZE,
    AuthTrailer,
    Frame,
    PduFlags,
    PduType,
    Request,
    Response,
    pack_header,
)

_PAD: Final = 16
"""Data is padded to a multiple of it, so that the trailer is aligned and no cipher minds."""


class AuthType(IntEnum):
    """Which protocol the tokens of a logon are of."""

    SPNEGO = 9
    NTLM = 10
    KERBEROS = 16


class AuthLevel(IntEnum):
    """What is protected: nothing, the connection, each fragment from changes, or from readers too."""

    NONE = 1
    CONNECT = 2
    CALL = 3
    PACKET = 4
    INTEGRITY = 5
    PRIVACY = 6


@dataclass(frozen=True, slots=True)
class LogonAttempt:
    """Who says to be whom. Domain and workstation are the client's own words; ``source`` is its address."""

    user: str
    domain: str = ""
    workstation: str = ""
    source: str = ""


Accounts: TypeAlias = Callable[[LogonAttempt], bytes | None]
"""Gives the 16 bytes of an account's NT hash, None when there is no such account; may raise LogonRefused."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who has logged on, and how: ``mechanism`` is "ntlm" or "kerberos"."""

    user: str
    domain: str
    mechanism: str


class Session(Protocol):
    """The keys of a logon at work. Calls of one direction must come in the order of the fragments."""

    @property
    def signature_size(self) -> int:
        """Bytes of every signature."""

    def seal(self, before: bytes, data: bytes, after: bytes) -> tuple[bytes, bytes]:
        """Encrypt the data and sign all three; the sealed data and the signature."""

    def unseal(self, before: bytes, data: bytes, after: bytes, signature: bytes) -> bytes:
        """Decrypt the data and compare the signature of all three. Raises SecurityError."""

    def sign(self, data: bytes) -> bytes:
        """Make a signature."""

    def verify(self, data: bytes, signature: bytes) -> None:
        """Compare a signature. Raises SecurityError."""

    def restart(self, *, outgoing: bool) -> None:
        """Set a cipher's state back, as SPNEGO has it after its own signature; the sequence goes on."""


class Acceptor(Protocol):
    """The server's side of a logon."""

    @property
    def principal(self) -> Principal | None:
        """Who has logged on; None until it is complete."""

    @property
    def session(self) -> Session:
        """The keys; only once it is complete."""

    def step(self, token: bytes) -> bytes:
        """Take the client's token and make the answer, which may be empty. Raises LogonRefused."""


class Initiator(Protocol):
    """The client's side of a logon."""

    @property
    def is_complete(self) -> bool:
        """Tell whether no more token is awaited."""

    @property
    def session(self) -> Session:
        """The keys; only once it is complete."""

    def step(self, token: bytes | None) -> bytes:
        """Make the first token, or the one after the server's; may be empty. Raises LogonRefused."""


class AcceptorFactory(Protocol):
    """Makes an acceptor for each logon."""

    def __call__(self, kind: AuthType, level: AuthLevel, source: str) -> Acceptor:
        """Begin the logon of a client at that address. Raises LogonRefused for a type that is not spoken here."""


def refuse_logons(kind: AuthType, level: AuthLevel, source: str) -> Acceptor:
    """Be the factory of a server that knows nobody."""
    raise LogonRefused("nobody logs on here")


@dataclass(frozen=True, slots=True)
class Shield:
    """A session on a connection. Without header signing the signature covers the data only."""

    kind: AuthType
    level: AuthLevel
    context_id: int
    session: Session
    signs_header: bool = True

    @property
    def is_in_frames(self) -> bool:
        """Tell whether each fragment carries a signature."""
        return self.level >= AuthLevel.CALL

    @property
    def overhead(self) -> int:
        """Bytes that a fragment needs beside its head and its padded data."""
        return TRAILER_SIZE + self.session.signature_size if self.is_in_frames else 0

    def protect(self, kind: PduType, flags: PduFlags, call_id: int, head: bytes, data: bytes) -> bytes:
        """Make a whole fragment."""
        size = HEADER_SIZE + len(head) + len(data)
        if not self.is_in_frames:
            return pack_header(kind, flags, call_id, size) + head + data
        pad = -len(data) % _PAD
        data += bytes(pad)
        trailer = AuthTrailer(self.kind, self.level, self.context_id, b"", pad).pack()
        signature_size = self.session.signature_size
        size += pad + len(trailer) + signature_size
        before = pack_header(kind, flags, call_id, size, signature_size) + head
        signed_before, signed_after = (before, trailer) if self.signs_header else (b"", b"")
        if self.level == AuthLevel.PRIVACY:
            sealed, signature = self.session.seal(signed_before, data, signed_after)
        else:
            sealed, signature = data, self.session.sign(signed_before + data + signed_after)
        if len(signature) != signature_size:  # what it signs tells its size already
            raise SecurityError(f"a signature of {len(signature)} bytes where {signature_size} were told")
        return before + sealed + trailer + signature

    def uncover(self, frame: Frame, stub_at: int) -> bytes:
        """Take the data out of a fragment that came. Raises SecurityError when it is not as it was sent."""
        data = frame.data
        if not self.is_in_frames:
            end = frame.body_end - (frame.auth.pad if frame.auth else 0)
            return data[stub_at:end]
        auth = frame.auth
        if auth is None:
            raise SecurityError("a fragment is not signed")
        if (auth.kind, auth.level, auth.context_id) != (self.kind, self.level, self.context_id):
            raise SecurityError(f"a fragment of auth type {auth.kind}, level {auth.level}, context {auth.context_id}")
        after_at = frame.body_end
        before, stub = data[:stub_at], data[stub_at:after_at]
        after = data[after_at : after_at + TRAILER_SIZE]
        if not self.signs_header:
            before = after = b""
        if self.level == AuthLevel.PRIVACY:
            stub = self.session.unseal(before, stub, after, auth.value)
        else:
            self.session.verify(before + stub + after, auth.value)
        return stub[: len(stub) - auth.pad]


def pack_fragments(
    kind: PduType,
    call_id: int,
    head: Request | Response,
    data: bytes,
    max_xmit: int,
    shield: Shield | None = None,
) -> Iterator[bytes]:
    """Cut the data of a call into fragments of at most ``max_xmit`` bytes, each protected on its own.

    The allocation hint of the head is written anew for each. What comes out must be sent in this order and at once.
    """
    fixed = HEADER_SIZE + len(head.pack()) + (shield.overhead if shield else 0)
    room = (max_xmit - fixed) // _PAD * _PAD
    flags = PduFlags.FIRST
    if isinstance(head, Request) and head.object is not None:
        flags |= PduFlags.OBJECT
    at = 0
    while True:
        part = data[at : at + room]
        left = len(data) - at
        at += len(part)
        if at == len(data):
            flags |= PduFlags.LAST
        if isinstance(head, Request):
            packed = Request(left, head.context_id, head.opnum, head.object, head.stub_at).pack()
        else:
            packed = Response(left, head.context_id, head.cancel_count).pack()
        if shield is not None:
            yield shield.protect(kind, flags, call_id, packed, part)
        else:
            size = HEADER_SIZE + len(packed) + len(part)
            yield pack_header(kind, flags, call_id, size) + packed + part
        if PduFlags.LAST in flags:
            return
        flags &= ~PduFlags.FIRST
