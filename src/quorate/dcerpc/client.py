"""A client on TCP (ncacn_ip_tcp): bind, log on, call; several calls at a time where the server can.

::

    client = await RpcClient.connect("192.0.2.7", 49152)
    await client.bind(SYNTAX, Logon(Credentials("alice", "secret")))
    answer = await client.invoke(0, ECHO, EchoIn("hello"))
    await client.close()

A call that is given up (a timeout, a cancelled task) is cancelled at the server; its answer is thrown away when it
comes. A connection that broke, or on which something came that could not be believed, is of no use any more: every call
on it ends with the reason.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Self, TypeVar
from uuid import UUID

from quorate.clusapi.errors import ClusterError
from quorate.dcerpc.errors import ConnectionLost, FaultCode, LogonRefused, ProtocolError, RpcFault
from quorate.dcerpc.frames import BUFFER, agreed_size, close_stream, read_frame
from quorate.dcerpc.initiators import Logon, Mechanism, ProxyInitiator
from quorate.dcerpc.interfaces import Declaration
from quorate.dcerpc.ndr import ByteOrder
from quorate.dcerpc.pdu import (
    LARGEST_FRAGMENT,
    SMALLEST_MAX_FRAGMENT,
    WHOLE,
    AuthTrailer,
    Bare,
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
    pack_pdu,
    parse_body,
)
from quorate.dcerpc.reassembly import Reassembly
from quorate.dcerpc.security import AuthLevel, Initiator, Shield, pack_fragments
from quorate.dcerpc.syntaxes import NDR32, Feature, SyntaxId, features_syntax

I = TypeVar("I")  # noqa: E741 - inputs
O = TypeVar("O")  # noqa: E741 - outputs

LARGEST_ANSWER: Final = 64 * 1024 * 1024
_MOST_FRAGMENTS: Final = 1 << 20
_AUTH_CONTEXT: Final = 1
_REJECTED: Final = {
    1: "the server does not serve that interface, or not in that version",
    2: "the server knows none of the transfer syntaxes",
    3: "a limit of the server",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The data of a response, and the byte order that it is in."""

    data: bytes
    order: ByteOrder


class RpcClient:
    """One connection to a server. Not for use by several event loops."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        """Take a connection that stands; :meth:`connect` makes one."""
        self._reader = reader
        self._writer = writer
        self._host = host
        self._next_call = 1
        self._max_xmit = SMALLEST_MAX_FRAGMENT
        self._shield: Shield | None = None
        self._contexts: dict[SyntaxId, int] = {}
        self._is_concurrent = False
        self._turn = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[Answer | BindAck]] = {}
        self._arriving: Reassembly[Response] = Reassembly(LARGEST_ANSWER, _MOST_FRAGMENTS)
        self._receiver: asyncio.Task[None] | None = None
        self._broken: ClusterError | None = None
        self.group = 0
        """The association group: another connection that binds with it shares the context handles."""

    @classmethod
    async def connect(cls, host: str, port: int, *, within: float = 10.0) -> Self:
        """Open a connection. Raises ConnectionLost when nobody listens there, or does not answer in time."""
        try:
            async with asyncio.timeout(within):
                reader, writer = await asyncio.open_connection(host, port, limit=BUFFER)
        except (OSError, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or f"no answer within {within:g} s"
            raise ConnectionLost(f"nothing can be reached at {host}[{port}]: {reason}") from error
        return cls(reader, writer, host)

    async def close(self) -> None:
        """End the connection; calls under way end with ConnectionLost."""
        self._break(ConnectionLost("the connection was closed here"))
        if self._receiver is not None:
            self._receiver.cancel()
            with suppress(asyncio.CancelledError):
                await self._receiver
        await close_stream(self._writer)

    @property
    def is_open(self) -> bool:
        """Tell whether calls can be made."""
        return self._receiver is not None and self._broken is None

    @property
    def level(self) -> AuthLevel:
        """What is protected."""
        return AuthLevel.NONE if self._shield is None else self._shield.level

    # --- Bind ------------------------------------------------------------------------------------------------------

    async def bind(self, syntax: SyntaxId, logon: Logon | None = None, *, group: int = 0, within: float = 30.0) -> None:
        """Agree on an interface and log on; once, before any call.

        Raises:
            LogonRefused: the server does not let us in, or we cannot log on as asked.
            RpcFault: the server does not serve the interface.
            ProtocolError, ConnectionLost: it is no server, or gone.
        """
        if self._receiver is not None or self._broken is not None:
            raise ProtocolError("a connection is bound once")
        try:
            async with asyncio.timeout(within):
                await self._bind(syntax, logon, group)
        except TimeoutError as error:
            self._break(ConnectionLost(f"the server did not answer the bind within {within:g} s"))
            assert self._broken is not None
            raise self._broken from error
        except ClusterError as error:
            self._break(error)
            raise
        self._receiver = asyncio.create_task(self._receive())

    async def _bind(self, syntax: SyntaxId, logon: Logon | None, group: int) -> None:
        initiator: Initiator | None = None if logon is None else ProxyInitiator(logon, self._host)
        token = None if initiator is None else initiator.step(None)
        wanted = (
            PresentationContext(0, syntax, (NDR32,)),
            PresentationContext(1, syntax, (features_syntax(Feature.KEEP_AFTER_ORPHAN),)),
        )
        call_id = self._new_call()
        flags = WHOLE | PduFlags.HEADER_SIGNING | PduFlags.CONCURRENT
        body = Bind(LARGEST_FRAGMENT, LARGEST_FRAGMENT, group, wanted)
        self._writer.write(pack_pdu(PduType.BIND, call_id, body, _trailer(logon, token), flags))
        frame, ack = await self._read_ack(PduType.BIND_ACK, call_id)
        self._accept(ack, 0, syntax)
        self._max_xmit = agreed_size(ack.max_recv, LARGEST_FRAGMENT, SMALLEST_MAX_FRAGMENT)
        self._is_concurrent = PduFlags.CONCURRENT in frame.flags
        self.group = ack.group
        if initiator is not None and logon is not None:
            await self._log_on(logon, initiator, frame, wanted[:1])
            # Kerberos signs the header only when both sides say so; NTLM always does.
            signs = logon.mechanism != Mechanism.KERBEROS or PduFlags.HEADER_SIGNING in frame.flags
            self._shield = Shield(logon.kind, logon.level, _AUTH_CONTEXT, initiator.session, signs)

    async def _log_on(
        self, logon: Logon, initiator: Initiator, frame: Frame, contexts: tuple[PresentationContext, ...]
    ) -> None:
        """Exchange tokens until both sides have what they need."""
        while True:
            if frame.auth is None:
                raise LogonRefused("the server does not take part in the logon")
            token = initiator.step(frame.auth.value or None) if not initiator.is_complete else b""
            if not token:
                break
            call_id = self._new_call()
            if initiator.is_complete:
                # A last token that needs no answer, as of NTLM: whether it was good shows with the first call.
                self._writer.write(pack_pdu(PduType.AUTH3, call_id, Bare(), _trailer(logon, token)))
                break
            body = Bind(LARGEST_FRAGMENT, LARGEST_FRAGMENT, self.group, contexts)
            flags = WHOLE | PduFlags.HEADER_SIGNING
            self._writer.write(pack_pdu(PduType.ALTER_CONTEXT, call_id, body, _trailer(logon, token), flags))
            frame, _ = await self._read_ack(PduType.ALTER_CONTEXT_RESP, call_id)
        if not initiator.is_complete:
            raise LogonRefused("the server ended the logon before we know that it is the right one")

    async def _read_ack(self, kind: PduType, call_id: int) -> tuple[Frame, BindAck]:
        frame = await read_frame(self._reader)
        if frame is None:
            raise ConnectionLost("the server closed the connection instead of answering")
        body = parse_body(frame)
        if isinstance(body, BindNak):
            raise LogonRefused(f"the server refuses the bind: reason {body.reason}")
        if isinstance(body, Fault):
            if body.status == FaultCode.ACCESS_DENIED:
                raise LogonRefused("the server does not let us in: no such account, or a wrong password")
            raise RpcFault(body.status)
        if frame.kind != kind or not isinstance(body, BindAck) or frame.call_id != call_id:
            raise ProtocolError(f"a {frame.kind.name} came where a {kind.name} was due")
        return frame, body

    def _accept(self, ack: BindAck, context_id: int, syntax: SyntaxId) -> None:
        if not ack.results:
            raise ProtocolError("the server's answer has no results")
        result = ack.results[0]
        if result.result != ContextResult.ACCEPTED or result.syntax != NDR32:
            reason = _REJECTED.get(result.reason, f"reason {result.reason}")
            raise RpcFault(FaultCode.UNKNOWN_INTERFACE, f"{syntax} cannot be bound: {reason}")
        self._contexts[syntax] = context_id

    async def alter(self, syntax: SyntaxId) -> None:
        """Agree on one more interface. Raises RpcFault when the server does not serve it."""
        self._expect_open()
        context_id = max(self._contexts.values(), default=0) + 2  # 1 has carried the features
        call_id = self._new_call()
        contexts = (PresentationContext(context_id, syntax, (NDR32,)),)
        body = Bind(LARGEST_FRAGMENT, LARGEST_FRAGMENT, self.group, contexts)
        async with self._turn:
            self._writer.write(pack_pdu(PduType.ALTER_CONTEXT, call_id, body))
            ack = await self._wait(call_id)
        if not isinstance(ack, BindAck):
            raise ProtocolError("a response came where the answer to alter_context was due")
        self._accept(ack, context_id, syntax)

    # --- Calls -----------------------------------------------------------------------------------------------------

    async def invoke(
        self,
        opnum: int,
        declaration: Declaration[I, O],
        inputs: I,
        *,
        syntax: SyntaxId | None = None,
        object_uuid: UUID | None = None,
        within: float | None = None,
    ) -> O:
        """Make a call by its declaration. Raises as :meth:`call` does, and NdrError for data not as declared."""
        data = declaration.inputs.pack(inputs)
        answer = await self.call(opnum, data, syntax=syntax, object_uuid=object_uuid, within=within)
        values = declaration.inputs.values(inputs)
        return declaration.outputs.unpack(answer.data, answer.order, values, lenient=True)

    async def call(
        self,
        opnum: int,
        data: bytes,
        *,
        syntax: SyntaxId | None = None,
        object_uuid: UUID | None = None,
        within: float | None = None,
    ) -> Answer:
        """Make a call with bytes, and wait for its answer, at most ``within`` seconds.

        Raises:
            RpcFault: the server's own word that it did not do it, or could not.
            ConnectionLost, ProtocolError, SecurityError: it is not known whether it was done.
            TimeoutError: no answer in time; the server was told that nobody waits any more.
        """
        self._expect_open()
        context_id = self._contexts.get(syntax, -1) if syntax else next(iter(self._contexts.values()))
        if context_id < 0:
            raise RpcFault(FaultCode.UNKNOWN_INTERFACE, f"{syntax} is not bound on this connection")
        head = Request(len(data), context_id, opnum, object_uuid, 0)
        async with asyncio.timeout(within), self._call_turn():
            self._expect_open()
            call_id = self._new_call()
            fragments = pack_fragments(PduType.REQUEST, call_id, head, data, self._max_xmit, self._shield)
            self._writer.write(b"".join(fragments))
            answer = await self._wait(call_id)
        if not isinstance(answer, Answer):
            raise ProtocolError("the answer to alter_context came where a response was due")
        return answer

    @asynccontextmanager
    async def _call_turn(self) -> AsyncIterator[None]:
        if self._is_concurrent:
            yield
            return
        async with self._turn:
            yield

    async def _wait(self, call_id: int) -> "Answer | BindAck":
        future: asyncio.Future[Answer | BindAck] = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = future
        try:
            with suppress(OSError):  # the receiver says what has happened
                await self._writer.drain()
            return await future
        except asyncio.CancelledError:
            self._give_up(call_id)
            raise

    def _give_up(self, call_id: int) -> None:
        if self._broken is not None or call_id not in self._waiting:
            return
        if not self._is_concurrent:
            self._break(ConnectionLost("a call was given up, and the server answers one after the other"))
            return
        self._writer.write(pack_pdu(PduType.CANCEL, call_id, Bare()))

    def _new_call(self) -> int:
        call_id = self._next_call
        self._next_call = call_id % 0xFFFFFFFF + 1
        return call_id

    def _expect_open(self) -> None:
        if self._broken is not None:
            raise self._broken.with_traceback(None)
        if self._receiver is None:
            raise ProtocolError("a call before the bind")

    # --- Answers ---------------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        try:
            while (frame := await read_frame(self._reader)) is not None:
                self._on_frame(frame)
            self._break(ConnectionLost("the server closed the connection"))
        except ClusterError as error:
            self._break(error)
        self._writer.close()

    def _on_frame(self, frame: Frame) -> None:
        body = parse_body(frame)
        call_id = frame.call_id
        if call_id not in self._waiting:
            raise ProtocolError(f"a {frame.kind.name} came for call {call_id}, which nobody has made")
        if isinstance(body, Fault):
            self._arriving.drop(call_id)
            self._end_call(call_id, RpcFault(body.status))
        elif frame.kind == PduType.RESPONSE and isinstance(body, Response):
            data = frame.data[body.stub_at : frame.body_end - (frame.auth.pad if frame.auth else 0)]
            if self._shield is not None:
                data = self._shield.uncover(frame, body.stub_at)
            if (whole := self._arriving.add(frame.flags, call_id, body, data)) is not None:
                self._end_call(call_id, Answer(whole[1], frame.order))
        elif frame.kind == PduType.ALTER_CONTEXT_RESP and isinstance(body, BindAck):
            self._end_call(call_id, body)
        else:
            raise ProtocolError(f"a {frame.kind.name} came, which a client does not take")

    def _end_call(self, call_id: int, answer: "Answer | BindAck | ClusterError") -> None:
        future = self._waiting.pop(call_id)
        if future.done():
            return  # given up
        if isinstance(answer, ClusterError):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _break(self, error: ClusterError) -> None:
        """End every call; the first reason stays."""
        if self._broken is None:
            self._broken = error
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._broken)
        self._waiting.clear()


def _trailer(logon: Logon | None, token: bytes | None) -> AuthTrailer | None:
    if logon is None or token is None:
        return None
    return AuthTrailer(logon.kind, logon.level, _AUTH_CONTEXT, token)
