"""PDUs in words: what a capture, a hex dump or bare bytes have of DCE/RPC, one line for each PDU.

Data that is not sealed is shown by the declarations of the interfaces that are passed in, one line for each parameter.
Nothing here decides anything: it is for people who look at what two programs say to each other. What cannot be read is
said to be so, and the next PDU is looked at.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from quorate.dcerpc.capture import CaptureError, Stream, is_capture, read_segments
from quorate.dcerpc.errors import FaultCode, NdrError, ProtocolError
from quorate.dcerpc.interfaces import Described
from quorate.dcerpc.ndr import ContextHandle, UnionValue
from quorate.dcerpc.pdu import (
    HEADER_SIZE,
    Answered,
    AuthTrailer,
    Bind,
    BindAck,
    BindNak,
    ContextResult,
    Fault,
    Frame,
    PduFlags,
    PduType,
    PresentationContext,
    Request,
    Response,
    frame_size,
    parse_body,
    parse_frame,
)
from quorate.dcerpc.security import AuthLevel, AuthType
from quorate.dcerpc.syntaxes import NDR32, NDR64, Feature, SyntaxId, features_of

_LONGEST_BYTES: Final = 48
_OFFSET: Final = re.compile(r"^\s*[0-9A-Fa-f]{4,8}:\s")
_TRAILER: Final = bytes.fromhex("8ae3137102f43671")
_HEX: Final = re.compile(r"[0-9A-Fa-f\s]*")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What is known of an interface: its name and its operations by number."""

    name: str
    syntax: SyntaxId
    operations: Mapping[int, Described]


@dataclass(slots=True)
class _CallSeen:
    opnum: int
    operation: Described | None
    inputs: Mapping[str, object] | None = None
    request: bytearray = field(default_factory=bytearray)
    response: bytearray = field(default_factory=bytearray)


class Conversation:
    """The two directions of one connection."""

    def __init__(self, vocabularies: Sequence[Vocabulary] = ()) -> None:
        """Calls on a context whose bind was not seen are taken for the first vocabulary's."""
        self._known = {item.syntax.uuid: item for item in vocabularies}
        self._assumed = vocabularies[0].syntax if vocabularies else None
        self._contexts: dict[int, SyntaxId] = {}
        self._calls: dict[int, _CallSeen] = {}
        self._is_sealed = False

    def describe(self, data: bytes) -> Iterator[str]:
        """The lines for one whole PDU."""
        try:
            frame = parse_frame(data)
            body = parse_body(frame)
        except ProtocolError as error:
            yield f"{len(data)} bytes that are no PDU: {error.sentence}"
            return
        if frame.auth is not None and frame.kind in {PduType.BIND, PduType.ALTER_CONTEXT}:
            self._is_sealed = frame.auth.level == AuthLevel.PRIVACY
        start = f"{frame.kind.name.lower()}, call {frame.call_id}"
        match body:
            case Bind():
                yield start + self._words_of_bind(body) + _words_of_logon(frame.auth)
            case BindAck():
                yield start + _words_of_ack(body) + _words_of_logon(frame.auth)
            case BindNak():
                yield f"{start}: refused for reason {body.reason}"
            case Request():
                yield from self._describe_request(start, frame, body)
            case Response():
                yield from self._describe_response(start, frame, body)
            case Fault():
                name = FaultCode(body.status).name if body.status in set(FaultCode) else "unknown"
                seen = self._calls.pop(frame.call_id, None)
                what = f" of {self._name(body.context_id, seen.opnum)}" if seen else ""
                yield f"{start}{what}: {name} ({body.status:#x})"
            case _:
                yield start + _words_of_logon(frame.auth)

    def _words_of_bind(self, body: Bind) -> str:
        parts: list[str] = []
        for item in body.contexts:
            asked = [features_of(transfer) for transfer in item.transfers]
            if any(features is not None for features in asked):
                parts.append(f"bind-time features {', '.join(_words_of_features(features) for features in asked)}")
                continue
            self._contexts[item.context_id] = item.abstract
            parts.append(self._words_of_context(item))
        group = f"association group {body.group:#x}" if body.group else "a new association group"
        return f": {'; '.join(parts)}; fragments up to {body.max_xmit}/{body.max_recv} bytes; {group}"

    def _words_of_context(self, item: PresentationContext) -> str:
        known = self._known.get(item.abstract.uuid)
        name = f"{known.name} ({item.abstract})" if known else str(item.abstract)
        return f"context {item.context_id} for {name} by {' or '.join(map(_words_of_syntax, item.transfers))}"

    def _operation(self, context_id: int, opnum: int) -> Described | None:
        syntax = self._contexts.get(context_id, self._assumed)
        known = None if syntax is None else self._known.get(syntax.uuid)
        return None if known is None else known.operations.get(opnum)

    def _name(self, context_id: int, opnum: int) -> str:
        syntax = self._contexts.get(context_id, self._assumed)
        known = None if syntax is None else self._known.get(syntax.uuid)
        operation = self._operation(context_id, opnum)
        place = known.name if known else str(syntax.uuid) if syntax else f"context {context_id}"
        return f"{place}.{operation.name if operation else '?'} (opnum {opnum})"

    def _describe_request(self, start: str, frame: Frame, body: Request) -> Iterator[str]:
        if PduFlags.FIRST in frame.flags or frame.call_id not in self._calls:
            self._calls[frame.call_id] = _CallSeen(body.opnum, self._operation(body.context_id, body.opnum))
        seen = self._calls[frame.call_id]
        data, protected = self._data(frame, body.stub_at)
        target = f" on object {body.object}" if body.object else ""
        yield f"{start}: {self._name(body.context_id, seen.opnum)}{target}, {_amount(frame, data)}{protected}"
        if self._is_hidden(frame):
            return
        seen.request += data
        if PduFlags.LAST not in frame.flags:
            return
        stub = bytes(seen.request)
        if seen.operation is None:
            yield from _lines_of_bytes(stub)
            return
        try:
            seen.inputs = seen.operation.show_inputs(stub, frame.order)
        except NdrError as error:
            yield f"    malformed: {error.reason} (byte {error.offset})"
            return
        yield from _lines_of(seen.inputs)
        if _TRAILER in stub:
            yield "    (a verification trailer follows)"

    def _describe_response(self, start: str, frame: Frame, body: Response) -> Iterator[str]:
        seen = self._calls.get(frame.call_id)
        data, protected = self._data(frame, body.stub_at)
        name = self._name(body.context_id, seen.opnum) if seen else f"context {body.context_id}"
        yield f"{start}: {name}, {_amount(frame, data)}{protected}"
        if PduFlags.LAST in frame.flags:
            self._calls.pop(frame.call_id, None)
        if self._is_hidden(frame) or seen is None:
            return
        seen.response += data
        if PduFlags.LAST not in frame.flags:
            return
        stub = bytes(seen.response)
        if seen.operation is None:
            yield from _lines_of_bytes(stub)
            return
        try:
            yield from _lines_of(seen.operation.show_outputs(stub, frame.order, seen.inputs))
        except NdrError as error:
            yield f"    malformed: {error.reason} (byte {error.offset})"

    def _is_hidden(self, frame: Frame) -> bool:
        return frame.auth is not None and (frame.auth.level == AuthLevel.PRIVACY or self._is_sealed)

    def _data(self, frame: Frame, stub_at: int) -> tuple[bytes, str]:
        pad = frame.auth.pad if frame.auth else 0
        data = frame.data[stub_at : frame.body_end - pad]
        if frame.auth is None:
            return data, ""
        return data, ", sealed" if self._is_hidden(frame) else ", signed"


# --- Words ---------------------------------------------------------------------------------------------------------


def _words_of_syntax(syntax: SyntaxId) -> str:
    return {NDR32: "NDR", NDR64: "NDR64"}.get(syntax, str(syntax))


def _words_of_features(features: Feature | None) -> str:
    return ", ".join(item.name or "" for item in Feature if features is not None and item in features) or "none"


def _words_of_ack(body: BindAck) -> str:
    parts = [_words_of_answer(item) for item in body.results]
    port = f"port {body.address}, " if body.address else ""
    sizes = f"fragments up to {body.max_xmit}/{body.max_recv} bytes"
    return f": {'; '.join(parts)}; {port}{sizes}; association group {body.group:#x}"


def _words_of_answer(item: Answered) -> str:
    if item.result == ContextResult.ACCEPTED:
        return f"accepted by {_words_of_syntax(item.syntax)}"
    if item.result == ContextResult.NEGOTIATED:
        return f"features {item.reason:#x}"
    reasons = {1: "the interface is not served", 2: "no transfer syntax is known", 3: "a local limit"}
    return f"rejected: {reasons.get(item.reason, item.reason)}"


def _words_of_logon(auth: AuthTrailer | None) -> str:
    if auth is None:
        return ""
    kind = AuthType(auth.kind).name if auth.kind in set(AuthType) else f"type {auth.kind}"
    level = AuthLevel(auth.level).name if auth.level in set(AuthLevel) else f"level {auth.level}"
    return f"; {kind} at {level}, a token of {len(auth.value)} bytes"


def _amount(frame: Frame, data: bytes) -> str:
    whole = PduFlags.FIRST | PduFlags.LAST
    if frame.flags & whole == whole:
        return f"{len(data)} bytes"
    which = "the first" if PduFlags.FIRST in frame.flags else "the last" if PduFlags.LAST in frame.flags else "more"
    return f"{which} {len(data)} bytes"


def _lines_of(values: Mapping[str, object]) -> Iterator[str]:
    for name, value in values.items():
        yield from _lines_of_value(name, value, "    ")


def _lines_of_value(name: str, value: object, indent: str) -> Iterator[str]:
    if isinstance(value, UnionValue):
        yield from _lines_of_value(f"{name} [{value.tag}]", value.value, indent)
    elif is_dataclass(value) and not isinstance(value, ContextHandle | type):
        yield f"{indent}{name}:"
        for item in fields(value):
            yield from _lines_of_value(item.name, getattr(value, item.name), indent + "  ")
    elif isinstance(value, Mapping):
        yield f"{indent}{name}:"
        for key, inner in value.items():
            yield from _lines_of_value(str(key), inner, indent + "  ")
    elif isinstance(value, tuple) and value and not all(isinstance(item, int) for item in value):
        for number, item in enumerate(value):
            yield from _lines_of_value(f"{name}[{number}]", item, indent)
    else:
        yield f"{indent}{name} = {_word_of(value)}"


def _word_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int():
            return str(value) if -10 < value < 10 else f"{int(value)} ({int(value):#x})"
        case bytes():
            return _word_of_bytes(value)
        case ContextHandle():
            return f"handle {value.uuid}" if value else "no handle"
        case UUID():
            return str(value)
        case _:
            return repr(value)


def _word_of_bytes(data: bytes) -> str:
    more = f" … ({len(data)} bytes)" if len(data) > _LONGEST_BYTES else ""
    return (data[:_LONGEST_BYTES].hex(" ", 4) or "no bytes") + more


def _lines_of_bytes(data: bytes) -> Iterator[str]:
    if data:
        yield f"    {_word_of_bytes(data)}"


# --- Sources -------------------------------------------------------------------------------------------------------


def parse_hex(text: str) -> bytes:
    """Read a hex dump: digits with spaces anywhere, lines may begin with an offset and a colon.

    Raises:
        CaptureError: it is none.
    """
    lines = [_OFFSET.sub("", line) for line in text.splitlines()]
    digits = "".join("".join(lines).split())
    if len(digits) % 2 or not _HEX.fullmatch(digits):
        raise CaptureError("the text is no hex dump: it has something else than pairs of hex digits")
    return bytes.fromhex(digits)


def cut_frames(data: bytearray) -> Iterator[bytes]:
    """Take whole PDUs off the beginning of some bytes. Raises ProtocolError where there is none."""
    while len(data) >= HEADER_SIZE:
        size = frame_size(bytes(data[:HEADER_SIZE]))
        if size > len(data):
            return
        yield bytes(data[:size])
        del data[:size]


def dissect_bytes(data: bytes, vocabularies: Sequence[Vocabulary] = ()) -> Iterator[str]:
    """The lines for PDUs one after the other, of both directions of one connection."""
    conversation, rest = Conversation(vocabularies), bytearray(data)
    try:
        for frame in cut_frames(rest):
            yield from conversation.describe(frame)
    except ProtocolError as error:
        yield f"{len(rest)} bytes that are no PDU: {error.sentence}"
        return
    if rest:
        yield f"{len(rest)} bytes of a PDU that is not whole"


def dissect_capture(data: bytes, vocabularies: Sequence[Vocabulary] = ()) -> Iterator[str]:
    """The lines for all DCE/RPC in a capture, in its order. Raises CaptureError."""
    conversations: dict[frozenset[str], Conversation] = {}
    streams: dict[tuple[str, str], tuple[Stream, bytearray]] = {}
    for segment in read_segments(data):
        key = (segment.source, segment.target)
        stream, buffered = streams.setdefault(key, (Stream(), bytearray()))
        arrived = stream.feed(segment)
        if not buffered and arrived[:1] != b"\5":
            continue  # another protocol, or the middle of a PDU whose beginning was not captured
        buffered += arrived
        conversation = conversations.setdefault(frozenset(key), Conversation(vocabularies))
        time = _time_of_day(segment.time)
        lines = _describe_all(conversation, buffered)
        yield from _prefix(f"{time} {segment.source} > {segment.target}  ", lines)


def _time_of_day(time: float) -> str:
    return datetime.fromtimestamp(time % 86400, UTC).strftime("%H:%M:%S.%f")


def _describe_all(conversation: Conversation, buffered: bytearray) -> Iterator[str]:
    try:
        for frame in cut_frames(buffered):
            yield from conversation.describe(frame)
    except ProtocolError:
        buffered.clear()


def _prefix(prefix: str, lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield line if line.startswith(" ") else prefix + line


def dissect(data: bytes, vocabularies: Sequence[Vocabulary] = ()) -> Iterator[str]:
    """The lines for a file, whatever it is: a capture, PDUs as they are, or a hex dump. Raises CaptureError."""
    if is_capture(data):
        return dissect_capture(data, vocabularies)
    if data[:2] in {b"\5\0", b"\5\1"}:
        return dissect_bytes(data, vocabularies)
    try:
        return dissect_bytes(parse_hex(data.decode("ascii")), vocabularies)
    except UnicodeDecodeError as error:
        raise CaptureError("the file is no capture, no PDU and no hex dump") from error
