"""PDUs, connection-oriented: what the two ends of a connection say to each other.

::

    header     u8 5, u8 minor, u8 type, u8 flags, 4 bytes data representation,
               u16 length of all, u16 length of the auth value, u32 call
    body       by type
    trailer    u8 auth type, u8 level, u8 pad, u8 0, u32 auth context      where there is an auth value
    value      the auth value

Both byte orders are read, little-endian is written. A frame is cut out of the stream by its header alone; what it
claims of itself is checked before anything is read by it. Whatever does not fit raises :class:`ProtocolError`.

Source: C706 chapter 12; [MS-RPCE] 2.2.2.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, TypeAlias
from uuid import UUID

from quorate.dcerpc.errors import NdrError, ProtocolError
from quorate.dcerpc.ndr import ByteOrder, NdrReader
from quorate.dcerpc.syntaxes import NO_SYNTAX, SyntaxId

HEADER_SIZE: Final = 16
TRAILER_SIZE: Final = 8
SMALLEST_MAX_FRAGMENT: Final = 1432
"""Bytes of a fragment that everybody must be able to take."""
LARGEST_FRAGMENT: Final = 65528
"""Bytes of a fragment that both ends here take: what fits into u16, at a multiple of 8."""

_LITTLE: Final = b"\x10\0\0\0"  # little-endian, ASCII, IEEE floats
_HEADER: Final = struct.Struct("<BBBB4sHHI")
_TRAILER: Final = struct.Struct("<BBBBI")


class PduType(IntEnum):
    """What a PDU is."""

    REQUEST = 0
    RESPONSE = 2
    FAULT = 3
    BIND = 11
    BIND_ACK = 12
    BIND_NAK = 13
    ALTER_CONTEXT = 14
    ALTER_CONTEXT_RESP = 15
    AUTH3 = 16
    SHUTDOWN = 17
    CANCEL = 18
    ORPHANED = 19


class PduFlags(IntFlag):
    """The flags of the header."""

    FIRST = 0x01
    LAST = 0x02
    HEADER_SIGNING = 0x04
    """In bind, alter_context and their answers; elsewhere the bit tells of a pending cancel."""
    CONCURRENT = 0x10
    """Several calls at a time on one connection."""
    DID_NOT_EXECUTE = 0x20
    MAYBE = 0x40
    OBJECT = 0x80


WHOLE: Final = PduFlags.FIRST | PduFlags.LAST


@dataclass(frozen=True, slots=True)
class AuthTrailer:
    """What says who sends a PDU; ``pad`` counts the bytes before it that are not data."""

    kind: int
    level: int
    context_id: int
    value: bytes
    pad: int = 0

    def pack(self) -> bytes:
        """Make its bytes without those of the value."""
        return _TRAILER.pack(self.kind, self.level, self.pad, 0, self.context_id)


@dataclass(frozen=True, slots=True)
class Frame:
    """A PDU as it came, with its header read."""

    data: bytes
    kind: PduType
    flags: PduFlags
    call_id: int
    order: ByteOrder
    auth: AuthTrailer | None
    body_end: int
    """Where the auth trailer begins, or the frame ends; a pad before it is part of the body."""


def frame_size(header: bytes) -> int:
    """The length of a frame, from its first 16 bytes. Raises ProtocolError when they are no header."""
    if header[0] != 5 or header[1] > 1:
        raise ProtocolError(f"version {header[0]}.{header[1]} is not spoken here")
    size = int.from_bytes(header[8:10], "little" if header[4] & 0x10 else "big")
    if size < HEADER_SIZE:
        raise ProtocolError(f"a frame of {size} bytes, less than its header")
    return size


def parse_frame(data: bytes) -> Frame:
    """Read the header and the trailer of one whole frame. Raises ProtocolError."""
    if len(data) < HEADER_SIZE or frame_size(data) != len(data):
        raise ProtocolError(f"{len(data)} bytes are not one frame")
    order: ByteOrder = "<" if data[4] & 0x10 else ">"
    auth_size, call_id = struct.unpack_from(f"{order}HI", data, 10)
    try:
        kind = PduType(data[2])
    except ValueError as error:
        raise ProtocolError(f"a frame of the unknown type {data[2]}") from error
    if not auth_size:
        return Frame(data, kind, PduFlags(data[3]), call_id, order, None, len(data))
    trailer_at = len(data) - auth_size - TRAILER_SIZE
    if trailer_at < HEADER_SIZE:
        raise ProtocolError(f"an auth value of {auth_size} bytes in a frame of {len(data)}")
    auth_kind, level, pad, _, context_id = struct.unpack_from(f"{order}BBBBI", data, trailer_at)
    if pad > trailer_at - HEADER_SIZE:
        raise ProtocolError(f"a pad of {pad} bytes in a body of {trailer_at - HEADER_SIZE}")
    auth = AuthTrailer(auth_kind, level, context_id, data[trailer_at + TRAILER_SIZE :], pad)
    return Frame(data, kind, PduFlags(data[3]), call_id, order, auth, trailer_at)


def pack_header(kind: PduType, flags: PduFlags, call_id: int, size: int, auth_size: int = 0) -> bytes:
    """Make a header. A frame that cannot be told to be that long is a mistake of ours: ValueError."""
    if size > 0xFFFF:
        raise ValueError(f"a frame cannot have {size} bytes")
    return _HEADER.pack(5, 0, kind, flags, _LITTLE, size, auth_size, call_id)


# --- Bodies --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """One thing to agree on: an interface, and the transfer syntaxes that the client could use for it."""

    context_id: int
    abstract: SyntaxId
    transfers: tuple[SyntaxId, ...]


@dataclass(frozen=True, slots=True)
class Bind:
    """What begins a connection; alter_context has the same body. Sizes are those of the client, in bytes."""

    max_xmit: int
    max_recv: int
    group: int
    contexts: tuple[PresentationContext, ...]

    def pack(self) -> bytes:
        """Make the body."""
        parts = [struct.pack("<HHIBxxx", self.max_xmit, self.max_recv, self.group, len(self.contexts))]
        for item in self.contexts:
            parts.append(struct.pack("<HBx", item.context_id, len(item.transfers)) + item.abstract.pack())
            parts.extend(transfer.pack() for transfer in item.transfers)
        return b"".join(parts)


class ContextResult(IntEnum):
    """What became of a presentation context."""

    ACCEPTED = 0
    USER_REJECTED = 1
    PROVIDER_REJECTED = 2
    NEGOTIATED = 3
    """Of bind-time features; the reason holds those that both sides know."""


REASON_ABSTRACT_SYNTAX: Final = 1
REASON_TRANSFER_SYNTAXES: Final = 2
REASON_LOCAL_LIMIT: Final = 3


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to one presentation context."""

    result: int
    reason: int = 0
    syntax: SyntaxId = NO_SYNTAX


@dataclass(frozen=True, slots=True)
class BindAck:
    """The answer to bind or alter_context. ``address`` is the server's port in digits, empty after alter_context."""

    max_xmit: int
    max_recv: int
    group: int
    address: str
    results: tuple[Answered, ...]

    def pack(self) -> bytes:
        """Make the body."""
        address = self.address.encode() + b"\0" if self.address else b""
        body = struct.pack("<HHIH", self.max_xmit, self.max_recv, self.group, len(address)) + address
        body += bytes(-len(body) % 4) + struct.pack("<Bxxx", len(self.results))
        return body + b"".join(
            struct.pack("<HH", item.result, item.reason) + item.syntax.pack() for item in self.results
        )


class NakReason(IntEnum):
    """Why a bind is refused as a whole."""

    NOT_SPECIFIED = 0
    TEMPORARY_CONGESTION = 1
    LOCAL_LIMIT_EXCEEDED = 2
    VERSION = 4
    AUTHENTICATION_TYPE = 8
    INVALID_CHECKSUM = 9


@dataclass(frozen=True, slots=True)
class BindNak:
    """The refusal of a bind."""

    reason: int

    def pack(self) -> bytes:
        """Make the body: the reason, and the one version that is spoken here."""
        return struct.pack("<HBBB3x", self.reason, 1, 5, 0)


@dataclass(frozen=True, slots=True)
class Request:
    """The head of one fragment of a request; ``stub_at`` is where its data begins in the frame."""

    alloc_hint: int
    context_id: int
    opnum: int
    object: UUID | None
    stub_at: int

    def pack(self) -> bytes:
        """Make what stands before the data."""
        head = struct.pack("<IHH", self.alloc_hint, self.context_id, self.opnum)
        return head if self.object is None else head + self.object.bytes_le


@dataclass(frozen=True, slots=True)
class Response:
    """The head of one fragment of a response."""

    alloc_hint: int
    context_id: int
    cancel_count: int = 0
    stub_at: int = 24

    def pack(self) -> bytes:
        """Make what stands before the data."""
        return struct.pack("<IHBx", self.alloc_hint, self.context_id, self.cancel_count)


@dataclass(frozen=True, slots=True)
class Fault:
    """What comes instead of a response; ``stub_at`` is where data may follow."""

    context_id: int
    status: int
    alloc_hint: int = 0
    cancel_count: int = 0
    stub_at: int = 32

    def pack(self) -> bytes:
        """Make the body."""
        return struct.pack("<IHBxI4x", self.alloc_hint, self.context_id, self.cancel_count, self.status)


@dataclass(frozen=True, slots=True)
class Bare:
    """A body without anything in it: auth3, cancel, orphaned, shutdown."""

    def pack(self) -> bytes:
        """Make the body."""
        return b""


Body: TypeAlias = Bind | BindAck | BindNak | Request | Response | Fault | Bare


def parse_body(frame: Frame) -> Body:
    """Read the body of a frame, without the data of a call. Raises ProtocolError."""
    auth_pad = 0 if frame.auth is None else frame.auth.pad
    source = NdrReader(frame.data[: frame.body_end], frame.order)
    source.at = HEADER_SIZE
    try:
        match frame.kind:
            case PduType.BIND | PduType.ALTER_CONTEXT:
                return _read_bind(source)
            case PduType.BIND_ACK | PduType.ALTER_CONTEXT_RESP:
                return _read_bind_ack(source)
            case PduType.BIND_NAK:
                return BindNak(_u16(source))
            case PduType.REQUEST:
                body: Request | Response | Fault = _read_request(source, has_object=PduFlags.OBJECT in frame.flags)
            case PduType.RESPONSE:
                alloc_hint, context_id, cancels = source.read_count(), _u16(source), _u8(source)
                source.take(1)
                body = Response(alloc_hint, context_id, cancels)
            case PduType.FAULT:
                alloc_hint, context_id, cancels = source.read_count(), _u16(source), _u8(source)
                source.take(1)
                body = Fault(context_id, source.read_count(), alloc_hint, cancels)
            case _:
                return Bare()
    except NdrError as error:
        raise ProtocolError(f"a {frame.kind.name} is malformed: {error.reason}") from error
    if frame.kind != PduType.FAULT and body.stub_at + auth_pad > frame.body_end:
        raise ProtocolError(f"a {frame.kind.name} is shorter than its head and its pad")
    return body


def _u8(source: NdrReader) -> int:
    return source.take(1)[0]


def _u16(source: NdrReader) -> int:
    return int.from_bytes(source.take(2), source.word_order)


def _read_syntax(source: NdrReader) -> SyntaxId:
    data = source.take(16)
    uuid = UUID(bytes_le=data) if source.order == "<" else UUID(bytes=data)
    version = source.read_count()  # one u32, in which the minor version is the high half
    return SyntaxId(uuid, version & 0xFFFF, version >> 16)


def _read_bind(source: NdrReader) -> Bind:
    max_xmit, max_recv, group, count = _u16(source), _u16(source), source.read_count(), _u8(source)
    source.take(3)
    contexts: list[PresentationContext] = []
    for _ in range(count):
        context_id, transfers = _u16(source), _u8(source)
        source.take(1)
        abstract = _read_syntax(source)
        contexts.append(
            PresentationContext(context_id, abstract, tuple(_read_syntax(source) for _ in range(transfers)))
        )
    return Bind(max_xmit, max_recv, group, tuple(contexts))


def _read_bind_ack(source: NdrReader) -> BindAck:
    max_xmit, max_recv, group = _u16(source), _u16(source), source.read_count()
    address = source.take(_u16(source)).rstrip(b"\0").decode("latin-1")
    source.align(4)
    count = _u8(source)
    source.take(3)
    results = tuple(Answered(_u16(source), _u16(source), _read_syntax(source)) for _ in range(count))
    return BindAck(max_xmit, max_recv, group, address, results)


def _read_request(source: NdrReader, *, has_object: bool) -> Request:
    alloc_hint, context_id, opnum = source.read_count(), _u16(source), _u16(source)
    found: UUID | None = None
    if has_object:
        data = source.take(16)
        found = UUID(bytes_le=data) if source.order == "<" else UUID(bytes=data)
    return Request(alloc_hint, context_id, opnum, found, source.at)


def pack_pdu(
    kind: PduType, call_id: int, body: Body, auth: AuthTrailer | None = None, flags: PduFlags = WHOLE
) -> bytes:
    """Make a whole PDU that carries no data of a call: all but request and response fragments."""
    data = body.pack()
    if kind == PduType.AUTH3:
        data = bytes(4)  # a pad that everybody sends
    if auth is None:
        return pack_header(kind, flags, call_id, HEADER_SIZE + len(data)) + data
    pad = -len(data) % 4
    trailer = AuthTrailer(auth.kind, auth.level, auth.context_id, auth.value, pad).pack()
    size = HEADER_SIZE + len(data) + pad + TRAILER_SIZE + len(auth.value)
    return pack_header(kind, flags, call_id, size, len(auth.value)) + data + bytes(pad) + trailer + auth.value
