"""The server's end of one connection: bind, logon, calls.

::

    fresh ── bind ──▶ open                     nobody has to log on, or nobody wants to
       │
       └── bind with a token ──▶ logging on ── auth3, alter_context ──▶ open, shielded
                                      └── a token that is not good ──▶ refused

Requests are answered while open; before and when refused they get fault 5. Each is a task of its own, so that one that
waits for an event does not hold up the others. Whatever arrives that may not come ends the connection: the cipher of
the shield would be out of step anyhow. A call goes on when its client goes away, unless it is cancellable; only when
the last one has ended are the handles run down.

Source: [MS-RPCE] 3.3.3; C706 chapter 9.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.dcerpc.associations import Associations, Group
from quorate.dcerpc.errors import (
    ConnectionLost,
    FaultCode,
    LogonRefused,
    NdrError,
    ProtocolError,
    RpcFault,
    SecurityError,
)
from quorate.dcerpc.frames import agreed_size, close_stream, read_frame
from quorate.dcerpc.interfaces import Call, Interface, Served
from quorate.dcerpc.limits import Limits
from quorate.dcerpc.logon_desk import LogonDesk, Standing
from quorate.dcerpc.pdu import (
    LARGEST_FRAGMENT,
    REASON_ABSTRACT_SYNTAX,
    REASON_LOCAL_LIMIT,
    REASON_TRANSFER_SYNTAXES,
    SMALLEST_MAX_FRAGMENT,
    WHOLE,
    Answered,
    AuthTrailer,
    Bind,
    BindAck,
    BindNak,
    ContextResult,
    Fault,
    Frame,
    NakReason,
    PduFlags,
    PduType,
    PresentationContext,
    Request,
    Response,
    pack_pdu,
    parse_body,
)
from quorate.dcerpc.reassembly import Reassembly, Room
from quorate.dcerpc.security import Principal, pack_fragments
from quorate.dcerpc.syntaxes import NDR32, Feature, features_of

_KNOWN_TYPES: Final = frozenset({9, 10, 16})
_log = structlog.get_logger("dcerpc")


@dataclass(slots=True)
class _Running:
    """A call that is being answered."""

    task: "asyncio.Task[None]"
    operation: Served
    has_begun: bool = False
    is_cancelled: bool = False
    is_orphaned: bool = False


class Connection:
    """One connection of a server."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        interfaces: tuple[Interface, ...],
        associations: Associations,
        desk: LogonDesk,
        limits: Limits,
        room: Room,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._interfaces = interfaces
        self._associations = associations
        self._desk = desk
        self._limits = limits
        self._source = _host(writer.get_extra_info("peername"))
        self._local_address = _host(writer.get_extra_info("sockname"))
        self._port = _port(writer.get_extra_info("sockname"))
        self._group: Group | None = None
        self._contexts: dict[int, Interface] = {}
        self._max_xmit = self._max_recv = SMALLEST_MAX_FRAGMENT
        self._arriving: Reassembly[Request] = Reassembly(limits.request_size, limits.fragments, room)
        self._running: dict[int, _Running] = {}
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def source(self) -> str:
        """The client's address."""
        return self._source

    @property
    def is_stranger(self) -> bool:
        """Tell whether nobody has logged on."""
        return self._desk.shield is None

    @property
    def principal(self) -> Principal | None:
        """Who has logged on; None when nobody has."""
        return self._desk.principal

    def abort(self) -> None:
        """End the connection without another word; `serve` notices."""
        self._writer.transport.abort()

    async def serve(self) -> None:
        """Answer until the connection ends; cancelled, end it and every call on it."""
        self._expiry = asyncio.get_running_loop().call_later(self._limits.logon_within, self._expire)
        try:
            while (frame := await self._next()) is not None:
                await self._on_frame(frame)
                await self._wait_until_read()
        except (ProtocolError, SecurityError, ConnectionLost, RpcFault) as error:
            _log.info("a connection was ended", source=self._source, sentence=error.sentence)
        except asyncio.CancelledError:
            for running in self._running.values():
                running.task.cancel()
            raise
        finally:
            self._expiry.cancel()
            await self._end()

    async def _end(self) -> None:
        self._arriving.clear()
        await close_stream(self._writer)
        for running in tuple(self._running.values()):
            if running.operation.is_cancellable:
                running.task.cancel()
        await asyncio.gather(*(running.task for running in self._running.values()), return_exceptions=True)
        if self._group is not None:
            await self._associations.leave(self._group)

    def _expire(self) -> None:
        _log.info("a connection was ended: it has not logged on in time", source=self._source)
        self._writer.transport.abort()

    async def _next(self) -> Frame | None:
        if not self.is_stranger:
            return await read_frame(self._reader)
        try:
            async with asyncio.timeout(self._limits.stranger_patience):
                return await read_frame(self._reader)
        except TimeoutError as error:
            raise ProtocolError(f"a stranger said nothing for {self._limits.stranger_patience:g} s") from error

    async def _wait_until_read(self) -> None:
        """Take no further request of a client that leaves the answers to its earlier ones unread."""
        with suppress(OSError):  # it went away; the reader notices
            await self._writer.drain()

    async def _send(self, data: bytes) -> None:
        """Send; who does not take it is noticed by the reader."""
        if self._writer.is_closing():
            return
        self._writer.write(data)
        try:
            await self._writer.drain()
        except OSError:
            return

    async def _on_frame(self, frame: Frame) -> None:
        body = parse_body(frame)
        match frame.kind, body:
            case PduType.BIND, Bind():
                await self._on_bind(frame, body)
            case _ if self._group is None:
                raise ProtocolError(f"a {frame.kind.name} came before the bind")
            case PduType.ALTER_CONTEXT, Bind():
                await self._on_alter_context(frame, body)
            case PduType.AUTH3, _:
                await self._on_auth3(frame)
            case PduType.REQUEST, Request():
                await self._on_request(frame, body)
            case PduType.CANCEL, _:
                self._on_cancel(frame.call_id, orphaned=False)
            case PduType.ORPHANED, _:
                self._arriving.drop(frame.call_id)
                self._on_cancel(frame.call_id, orphaned=True)
            case _:
                raise ProtocolError(f"a {frame.kind.name} came, which a server does not take")

    # --- Bind and logon --------------------------------------------------------------------------------------------

    async def _on_bind(self, frame: Frame, body: Bind) -> None:
        if self._group is not None:
            raise ProtocolError("a second bind came")
        try:
            self._max_xmit = agreed_size(body.max_recv, LARGEST_FRAGMENT, SMALLEST_MAX_FRAGMENT)
            self._max_recv = agreed_size(body.max_xmit, LARGEST_FRAGMENT, SMALLEST_MAX_FRAGMENT)
        except ProtocolError:
            await self._send(pack_pdu(PduType.BIND_NAK, frame.call_id, BindNak(NakReason.NOT_SPECIFIED)))
            raise
        group = self._associations.join(body.group)
        if group is None:
            await self._send(pack_pdu(PduType.BIND_NAK, frame.call_id, BindNak(NakReason.NOT_SPECIFIED)))
            raise ProtocolError(f"there is no association group {body.group:#x}")
        self._group = group
        token = None
        if frame.auth is not None:
            try:
                token = await self._desk.begin(frame.auth, header_signing=PduFlags.HEADER_SIGNING in frame.flags)
            except LogonRefused as error:
                reason = NakReason.INVALID_CHECKSUM
                if frame.auth.kind not in _KNOWN_TYPES:
                    reason = NakReason.AUTHENTICATION_TYPE
                await self._send(pack_pdu(PduType.BIND_NAK, frame.call_id, BindNak(reason)))
                raise ProtocolError(error.sentence) from error
        results = tuple(self._agree(item) for item in body.contexts)
        ack = BindAck(self._max_xmit, self._max_recv, group.number, str(self._port), results)
        await self._answer_bind(PduType.BIND_ACK, frame, ack, token)

    async def _on_alter_context(self, frame: Frame, body: Bind) -> None:
        assert self._group is not None
        token = None
        if frame.auth is not None:
            try:
                token = await self._desk.go_on(frame.auth)
            except LogonRefused as error:
                _log.info("a logon was refused", source=self._source, sentence=error.sentence)
                await self._fault(frame.call_id, 0, FaultCode.ACCESS_DENIED)
                return
        results = tuple(self._agree(item) for item in body.contexts)
        ack = BindAck(self._max_xmit, self._max_recv, self._group.number, "", results)
        await self._answer_bind(PduType.ALTER_CONTEXT_RESP, frame, ack, token)

    async def _answer_bind(self, kind: PduType, frame: Frame, ack: BindAck, token: AuthTrailer | None) -> None:
        self._settle()
        flags = WHOLE | frame.flags & (PduFlags.HEADER_SIGNING | PduFlags.CONCURRENT)
        await self._send(pack_pdu(kind, frame.call_id, ack, token if token and token.value else None, flags))

    async def _on_auth3(self, frame: Frame) -> None:
        if frame.auth is None:
            raise ProtocolError("an auth3 without a token")
        try:
            await self._desk.go_on(frame.auth)
        except LogonRefused as error:  # there is no answer to auth3: the client learns of it by its first call
            _log.info("a logon was refused", source=self._source, sentence=error.sentence)
        self._settle()

    def _settle(self) -> None:
        """Stop the clock of the logon once there is none to wait for."""
        if self._desk.standing == Standing.OPEN and self._expiry is not None:
            self._expiry.cancel()

    def _agree(self, wanted: PresentationContext) -> Answered:
        """Answer one presentation context."""
        for transfer in wanted.transfers:
            features = features_of(transfer)
            if features is not None:
                return Answered(ContextResult.NEGOTIATED, features & Feature.KEEP_AFTER_ORPHAN)
        interface = next((item for item in self._interfaces if item.serves(wanted.abstract)), None)
        if interface is None:
            return Answered(ContextResult.PROVIDER_REJECTED, REASON_ABSTRACT_SYNTAX)
        if NDR32 not in wanted.transfers:
            return Answered(ContextResult.PROVIDER_REJECTED, REASON_TRANSFER_SYNTAXES)
        known = self._contexts.get(wanted.context_id)
        if len(self._contexts) >= self._limits.contexts if known is None else known is not interface:
            return Answered(ContextResult.PROVIDER_REJECTED, REASON_LOCAL_LIMIT)
        self._contexts[wanted.context_id] = interface
        return Answered(ContextResult.ACCEPTED, 0, NDR32)

    # --- Calls -----------------------------------------------------------------------------------------------------

    async def _on_request(self, frame: Frame, head: Request) -> None:
        if self._desk.standing != Standing.OPEN:
            await self._fault(frame.call_id, head.context_id, FaultCode.ACCESS_DENIED)
            if self._desk.standing == Standing.PENDING:
                raise ProtocolError("a request came in the middle of the logon")
            return
        data = await self._uncover(frame, head)
        if frame.call_id in self._running:
            raise ProtocolError(f"call {frame.call_id} begins while it is answered")
        if PduFlags.LAST not in frame.flags and not self._may_call(head):
            await self._fault(frame.call_id, head.context_id, FaultCode.ACCESS_DENIED)
            raise ProtocolError("a request in fragments came from a client that may not make it")
        if PduFlags.FIRST in frame.flags and len(self._arriving) + len(self._running) >= self._limits.calls:
            await self._fault(frame.call_id, head.context_id, FaultCode.SERVER_TOO_BUSY)
            if PduFlags.LAST in frame.flags:
                return
            raise ProtocolError(f"more than {self._limits.calls} calls at a time")
        try:
            whole = self._arriving.add(frame.flags, frame.call_id, head, data)
        except RpcFault as fault:
            await self._fault(frame.call_id, head.context_id, fault.code)
            raise
        if whole is not None:
            await self._begin_call(frame, *whole)

    async def _uncover(self, frame: Frame, head: Request) -> bytes:
        shield = self._desk.shield
        if shield is None:
            return frame.data[head.stub_at : frame.body_end - (frame.auth.pad if frame.auth else 0)]
        try:
            return shield.uncover(frame, head.stub_at)
        except SecurityError:
            await self._fault(frame.call_id, head.context_id, FaultCode.SECURITY_PACKAGE_ERROR)
            raise

    def _may_call(self, head: Request) -> bool:
        interface = self._contexts.get(head.context_id)
        return interface is not None and self._desk.level >= interface.minimum_level

    async def _begin_call(self, frame: Frame, head: Request, data: bytes) -> None:
        interface = self._contexts.get(head.context_id)
        refusal: FaultCode | None = None
        operation: Served | None = None
        if interface is None:
            refusal = FaultCode.UNKNOWN_INTERFACE
        elif self._desk.level < interface.minimum_level:
            refusal = FaultCode.ACCESS_DENIED
        else:
            operation = interface.operations.get(head.opnum)
        if interface is None or operation is None:
            await self._fault(frame.call_id, head.context_id, refusal or FaultCode.OPERATION_RANGE)
            return
        assert self._group is not None
        call = Call(
            head.opnum,
            head.object,
            self._source,
            self._local_address,
            self._desk.principal,
            self._desk.level,
            interface.syntax,
            self._group.handles,
        )
        work = self._answer(frame, head.context_id, operation, call, data)
        self._running[frame.call_id] = _Running(asyncio.create_task(work), operation)

    async def _answer(self, frame: Frame, context_id: int, operation: Served, call: Call, data: bytes) -> None:
        call_id = frame.call_id
        running = self._running[call_id]
        running.has_begun = True
        try:
            answer = FaultCode.CANCELLED if running.is_cancelled else await self._ask(frame, operation, call, data)
        finally:
            del self._running[call_id]
        if running.is_orphaned:
            return
        if isinstance(answer, int):
            await self._fault(call_id, context_id, answer, executed=True)
            return
        head = Response(len(answer), context_id)
        # Sealed and handed over without a pause in between, so that the fragments leave in the order of their seals.
        fragments = pack_fragments(PduType.RESPONSE, call_id, head, answer, self._max_xmit, self._desk.shield)
        await self._send(b"".join(fragments))

    async def _ask(self, frame: Frame, operation: Served, call: Call, data: bytes) -> bytes | int:
        """What the operation answers: data, or the status of a fault."""
        try:
            return await operation.serve(call, data, frame.order)
        except RpcFault as fault:
            _log.debug("a call ended in a fault", opnum=call.opnum, source=call.source, sentence=fault.sentence)
            return fault.code
        except NdrError as error:
            _log.info("a call was malformed", opnum=call.opnum, source=call.source, sentence=error.sentence)
            return FaultCode.BAD_STUB_DATA
        except ClusterError as error:
            _log.info("a call was refused", opnum=call.opnum, source=call.source, sentence=error.sentence)
            return int(error.status)
        except asyncio.CancelledError:
            if self._running[frame.call_id].is_cancelled:
                return FaultCode.CANCELLED
            raise
        except Exception:  # noqa: BLE001 - the supervisor of calls: one that breaks must not end the connection
            _log.exception("a call failed", opnum=call.opnum, source=call.source)
            return FaultCode.UNSPECIFIED

    def _on_cancel(self, call_id: int, *, orphaned: bool) -> None:
        running = self._running.get(call_id)
        if running is None or not running.operation.is_cancellable:
            return
        running.is_cancelled = True
        running.is_orphaned = orphaned
        if running.has_begun:  # a task that is cancelled before it begins does nothing at all, not even its end
            running.task.cancel()

    async def _fault(self, call_id: int, context_id: int, code: int, *, executed: bool = False) -> None:
        flags = WHOLE if executed else WHOLE | PduFlags.DID_NOT_EXECUTE
        await self._send(pack_pdu(PduType.FAULT, call_id, Fault(context_id, code, 32), None, flags))


def _host(address: object) -> str:
    return str(address[0]) if isinstance(address, tuple) else ""


def _port(address: object) -> int:
    return int(address[1]) if isinstance(address, tuple) else 0
