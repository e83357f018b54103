"""Server and client on the loopback: every level, fragments, handles, cancelling, and who is sent away."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from tests.unit.dcerpc.world import (
    ALICE,
    CLOSE,
    ECHO,
    NAME_OF,
    OPEN,
    OPEN_ECHO,
    OPNUMS,
    OTHER,
    SAY,
    SECOND,
    HandleIn,
    HandleOut,
    SayIn,
    SayOut,
    World,
    connected,
    logged_on,
    run,
    serving,
    until,
)
from tests.waiting import slowness

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.errors import ConnectionLost, FaultCode, LogonRefused, ProtocolError, RpcFault
from quorate.dcerpc.frames import read_frame
from quorate.dcerpc.initiators import Credentials, Logon, Mechanism
from quorate.dcerpc.limits import Limits
from quorate.dcerpc.ndr import ContextHandle
from quorate.dcerpc.pdu import (
    Bare,
    Bind,
    BindAck,
    BindNak,
    ContextResult,
    Fault,
    PduFlags,
    PduType,
    PresentationContext,
    Request,
    Response,
    pack_pdu,
    parse_body,
)
from quorate.dcerpc.security import AuthLevel, pack_fragments
from quorate.dcerpc.server import RpcServer
from quorate.dcerpc.syntaxes import NDR32, NDR64, Feature, SyntaxId, features_syntax

LEVELS = [AuthLevel.CONNECT, AuthLevel.PACKET, AuthLevel.INTEGRITY, AuthLevel.PRIVACY]


async def open_thing(client: RpcClient, name: str) -> ContextHandle:
    return (await client.invoke(OPNUMS["open"], OPEN, SayIn(name))).handle


async def name_of(client: RpcClient, handle: ContextHandle) -> str | None:
    return (await client.invoke(OPNUMS["name_of"], NAME_OF, HandleIn(handle))).text


@pytest.mark.parametrize("mechanism", [Mechanism.NTLM, Mechanism.SPNEGO])
@pytest.mark.parametrize("level", LEVELS)
def test_every_level_carries_calls(level: AuthLevel, mechanism: Mechanism) -> None:
    async def test() -> None:
        async with serving(World()) as server, connected(server) as client:
            await client.bind(OPEN_ECHO, Logon(ALICE, level, mechanism))
            assert client.level == level
            assert await client.invoke(0, SAY, SayIn("grüße")) == SayOut("grüße", 0)
            assert await client.invoke(0, SAY, SayIn("none")) == SayOut(None, 0)
            large = bytes(range(256)) * 2500
            assert (await client.call(OPNUMS["bytes"], large)).data == large

    run(test)


def test_nobody_has_to_log_on_where_nothing_is_asked_for() -> None:
    async def test() -> None:
        async with serving(World()) as server, connected(server) as client:
            await client.bind(OPEN_ECHO)
            assert await client.invoke(0, SAY, SayIn("hello")) == SayOut("hello", 0)

    run(test)


@pytest.mark.parametrize("level", [None, *LEVELS[:-1]])
def test_less_than_packet_privacy_is_refused_by_default(level: AuthLevel | None) -> None:
    async def test() -> None:
        async with serving(World()) as server, connected(server) as client:
            await client.bind(ECHO, None if level is None else Logon(ALICE, level))
            with pytest.raises(RpcFault) as caught:
                await client.invoke(0, SAY, SayIn("hello"))
            assert (caught.value.code, caught.value.status) == (FaultCode.ACCESS_DENIED, Status.ERROR_ACCESS_DENIED)

    run(test)


@pytest.mark.parametrize("mechanism", [Mechanism.NTLM, Mechanism.SPNEGO])
def test_a_wrong_password_is_refused_and_reported(mechanism: Mechanism) -> None:
    async def test() -> None:
        world = World()
        async with serving(world) as server, connected(server) as client:
            with pytest.raises((LogonRefused, RpcFault)) as caught:
                await client.bind(ECHO, Logon(Credentials("alice", "wrong"), mechanism=mechanism))
                await client.invoke(0, SAY, SayIn("hello"))
            assert caught.value.status in {Status.ERROR_LOGON_FAILURE, Status.ERROR_ACCESS_DENIED}
            (report,) = world.reports
            assert (report.user, report.source, report.is_granted) == ("alice", "127.0.0.1", False)

    run(test)


def test_a_logon_is_reported_before_the_client_knows() -> None:
    async def test() -> None:
        world = World()
        async with serving(world) as server, logged_on(server, mechanism=Mechanism.SPNEGO):
            assert [(item.user, item.domain, item.is_granted) for item in world.reports] == [
                ("alice", "WORKGROUP", True)
            ]

    run(test)


def test_several_interfaces_on_one_connection() -> None:
    async def test() -> None:
        async with serving(World()) as server, logged_on(server) as client:
            await client.alter(OPEN_ECHO)
            for syntax in (ECHO, OPEN_ECHO):
                assert await client.invoke(0, SAY, SayIn("x"), syntax=syntax) == SayOut("x", 0)
            with pytest.raises(RpcFault, match="not bound"):
                await client.call(0, b"", syntax=OTHER)
            with pytest.raises(RpcFault, match="does not serve that interface"):
                await client.alter(OTHER)

    run(test)


@pytest.mark.parametrize(
    "syntax", [OTHER, SyntaxId(ECHO.uuid, 2, 0), SyntaxId(ECHO.uuid, 4, 0), SyntaxId(ECHO.uuid, 3, 2)]
)
def test_what_is_not_served_cannot_be_bound(syntax: SyntaxId) -> None:
    async def test() -> None:
        async with serving(World()) as server, connected(server) as client:
            with pytest.raises(RpcFault) as caught:
                await client.bind(syntax, Logon(ALICE))
            assert caught.value.code == FaultCode.UNKNOWN_INTERFACE

    run(test)


def test_calls_that_go_wrong_say_how() -> None:
    async def test() -> None:
        async with serving(World()) as server, logged_on(server) as client:
            for opnum, data, code in (
                (99, b"", FaultCode.OPERATION_RANGE),
                (0, b"\1", FaultCode.BAD_STUB_DATA),
                (0, b"\xff" * 12, FaultCode.BAD_STUB_DATA),
                (OPNUMS["break"], b"", FaultCode.UNSPECIFIED),
                (OPNUMS["name_of"], bytes(20), FaultCode.CONTEXT_MISMATCH),
            ):
                with pytest.raises(RpcFault) as caught:
                    await client.call(opnum, data)
                assert caught.value.code == code
            assert await client.invoke(0, SAY, SayIn("still here")) == SayOut("still here", 0)

    run(test)


def test_an_object_travels_with_a_call_and_a_trailer_is_left() -> None:
    async def test() -> None:
        async with serving(World()) as server, logged_on(server) as client:
            data = SAY.inputs.pack(SayIn("x")) + bytes.fromhex("8ae3137102f43671") + bytes(52)
            answer = await client.call(0, data, object_uuid=uuid4())
            assert SAY.outputs.unpack(answer.data) == SayOut("x", 0)

    run(test)


# --- Handles -------------------------------------------------------------------------------------------------------


def test_handles_are_open_until_they_are_closed() -> None:
    async def test() -> None:
        world = World()
        async with serving(world) as server, logged_on(server) as client:
            handle = await open_thing(client, "one")
            assert await name_of(client, handle) == "one"
            closed = await client.invoke(OPNUMS["close"], CLOSE, HandleIn(handle))
            assert closed == HandleOut(closed.handle, 0)
            assert not closed.handle
            with pytest.raises(RpcFault) as caught:
                await name_of(client, handle)
            assert caught.value.code == FaultCode.CONTEXT_MISMATCH
            assert world.run_down == []

    run(test)


def test_handles_belong_to_the_group_and_are_run_down_with_its_last_connection() -> None:
    async def test() -> None:
        world = World()
        async with serving(world) as server:
            async with logged_on(server) as first:
                handle = await open_thing(first, "one")
                await open_thing(first, "two")
                async with logged_on(server, group=first.group) as second:
                    assert await name_of(second, handle) == "one"
                assert await name_of(first, handle) == "one"
                assert (server.groups, server.handles) == (1, 2)
                async with logged_on(server) as stranger:
                    with pytest.raises(RpcFault):
                        await name_of(stranger, handle)
            await until(lambda: not server.connections)
            assert (world.run_down, server.groups, server.handles) == (["two", "one"], 0, 0)

    run(test)


def test_a_handle_is_of_one_user_one_interface_and_one_kind() -> None:
    async def test() -> None:
        async with serving(World()) as server, logged_on(server) as alice:
            await alice.alter(OPEN_ECHO)
            handle = await open_thing(alice, "one")
            bob = Credentials("bob", "geheim")
            async with logged_on(server, group=alice.group, who=bob) as guest:
                with pytest.raises(RpcFault, match="CONTEXT_MISMATCH"):
                    await name_of(guest, handle)
            with pytest.raises(RpcFault, match="CONTEXT_MISMATCH"):
                await alice.invoke(OPNUMS["name_of"], NAME_OF, HandleIn(handle), syntax=OPEN_ECHO)
            number = (await alice.call(OPNUMS["number"], b"")).data
            with pytest.raises(RpcFault, match="CONTEXT_MISMATCH"):
                await alice.call(OPNUMS["name_of"], number)

    run(test)


def test_a_group_that_there_is_not_cannot_be_joined() -> None:
    async def test() -> None:
        async with serving(World()) as server, connected(server) as client:
            with pytest.raises(LogonRefused, match="refuses the bind"):
                await client.bind(ECHO, Logon(ALICE), group=12345)

    run(test)


# --- Calls at a time -----------------------------------------------------------------------------------------------


def test_a_call_that_waits_does_not_hold_up_the_others() -> None:
    async def test() -> None:
        world = World()
        async with serving(world) as server, logged_on(server) as client:
            waiting = [asyncio.create_task(client.call(OPNUMS["finish"], b"")) for _ in range(20)]
            await until(lambda: world.waiting == 20)
            large = bytes(100_000)
            assert (await client.call(OPNUMS["bytes"], large)).data == large
            world.let_finish.set()
            assert {answer.data for answer in await asyncio.gather(*waiting)} == {b"done"}

    run(test)


def test_a_call_that_is_given_up_is_cancelled_where_that_is_possible() -> None:
    async def test() -> None:
        world = World()
        async with serving(world) as server, logged_on(server) as client:
            for name in ("wait", "finish"):
                given_up = asyncio.create_task(client.call(OPNUMS[name], b"", within=SECOND))
                await until(lambda: world.waiting == 1)
                given_up.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await given_up
                await until(lambda: "wait cancelled" in world.ended)
            with pytest.raises(TimeoutError):
                await client.call(OPNUMS["wait"], b"", within=0.05)
            await until(lambda: world.waiting == 1)  # of the three only the one that finishes is left
            world.let_finish.set()
            await until(lambda: world.waiting == 0)
            assert await client.invoke(0, SAY, SayIn("x")) == SayOut("x", 0)
            assert "finish finished" in world.ended
            assert "finish cancelled" not in world.ended

    run(test)


def test_when_the_client_goes_what_can_be_cancelled_is_and_the_rest_finishes_first() -> None:
    async def test() -> None:
        world = World()
        async with serving(world) as server:
            async with logged_on(server) as client:
                await open_thing(client, "one")
                calls = [asyncio.create_task(client.call(OPNUMS[name], b"")) for name in ("wait", "finish")]
                await until(lambda: world.waiting == 2)
            for call in calls:
                with pytest.raises(ConnectionLost):
                    await call
            await until(lambda: world.ended == ["wait cancelled"])
            assert world.run_down == []
            world.let_finish.set()
            await until(lambda: world.run_down == ["one"])
            assert world.ended == ["wait cancelled", "finish finished"]

    run(test)


def test_closing_the_server_ends_everything() -> None:
    async def test() -> None:
        world = World()
        async with serving(world) as server, logged_on(server) as client:
            await open_thing(client, "one")
            call = asyncio.create_task(client.call(OPNUMS["finish"], b""))
            await until(lambda: world.waiting == 1)
            await server.close()
            with pytest.raises(ConnectionLost):
                await call
            with pytest.raises(ConnectionLost):
                await client.call(0, b"")
            assert (world.ended, world.run_down, server.connections) == (["finish cancelled"], ["one"], 0)

    run(test)


# --- By hand -------------------------------------------------------------------------------------------------------


class Bare5:
    """A connection on which the test sends PDUs of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, server: RpcServer) -> "Bare5":
        return cls(*await asyncio.open_connection("127.0.0.1", server.port))

    async def ask(self, data: bytes) -> object:
        self.writer.write(data)
        return await self.next()

    async def next(self) -> object:
        """The body that comes next; None when the server has closed."""
        try:
            frame = await read_frame(self.reader)
        except ConnectionLost:
            return None
        return None if frame is None else parse_body(frame)

    async def bind(self, *contexts: PresentationContext, flags: PduFlags | None = None) -> object:
        wanted = contexts or (PresentationContext(0, OPEN_ECHO, (NDR32,)),)
        both = PduFlags.FIRST | PduFlags.LAST | (flags or PduFlags(0))
        return await self.ask(pack_pdu(PduType.BIND, 1, Bind(4280, 4280, 0, wanted), None, both))

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def fragment(call_id: int, data: bytes, flags: PduFlags, opnum: int = 4, context_id: int = 0) -> bytes:
    (whole,) = pack_fragments(PduType.REQUEST, call_id, Request(0, context_id, opnum, None, 0), data, 60000)
    return whole[:3] + bytes((flags,)) + whole[4:]


HandTest = Callable[[RpcServer, Bare5], Awaitable[None]]


def with_server(limits: Limits | None = None) -> Callable[[HandTest], Callable[[], None]]:
    """Run a test with a server and a connection of its own."""

    def decorate(test: HandTest) -> Callable[[], None]:
        async def body() -> None:
            async with serving(World(), limits) as server:
                bare = await Bare5.open(server)
                try:
                    await test(server, bare)
                finally:
                    await bare.close()

        return lambda: run(body)

    return decorate


@with_server()
async def test_a_windows_bind_gets_an_answer_to_each_of_its_contexts(server: RpcServer, bare: Bare5) -> None:
    features = features_syntax(Feature.SECURITY_CONTEXTS | Feature.KEEP_AFTER_ORPHAN)
    ack = await bare.bind(
        PresentationContext(0, OPEN_ECHO, (NDR32,)),
        PresentationContext(1, OPEN_ECHO, (NDR64,)),
        PresentationContext(2, OPEN_ECHO, (features,)),
        PresentationContext(3, OTHER, (NDR32,)),
    )
    assert isinstance(ack, BindAck)
    assert [(item.result, item.reason) for item in ack.results] == [
        (ContextResult.ACCEPTED, 0),
        (ContextResult.PROVIDER_REJECTED, 2),
        (ContextResult.NEGOTIATED, 2),
        (ContextResult.PROVIDER_REJECTED, 1),
    ]
    assert (ack.address, ack.max_xmit, ack.max_recv, ack.group != 0) == (str(server.port), 4280, 4280, True)
    assert isinstance(await bare.ask(fragment(2, b"x", PduFlags(3), context_id=1)), Fault)


@with_server()
async def test_fragments_of_several_calls_may_mix(server: RpcServer, bare: Bare5) -> None:
    await bare.bind()
    bare.writer.write(fragment(7, b"a", PduFlags.FIRST) + fragment(8, b"x", PduFlags.FIRST))
    bare.writer.write(fragment(7, b"b", PduFlags(0)) + fragment(8, b"y", PduFlags.LAST))
    answer = await bare.ask(fragment(7, b"c", PduFlags.LAST))
    assert isinstance(answer, Response)
    assert isinstance(await bare.next(), Response)


@with_server()
async def test_orphaned_and_cancel_are_taken(server: RpcServer, bare: Bare5) -> None:
    await bare.bind()
    bare.writer.write(fragment(7, b"a", PduFlags.FIRST))
    bare.writer.write(pack_pdu(PduType.ORPHANED, 7, Bare()) + pack_pdu(PduType.CANCEL, 9, Bare()))
    assert isinstance(await bare.ask(fragment(7, b"again", PduFlags(3))), Response)
    bare.writer.write(fragment(8, b"", PduFlags(3), OPNUMS["wait"]) + pack_pdu(PduType.CANCEL, 8, Bare()))
    answer = await bare.next()
    assert isinstance(answer, Fault)
    assert answer.status == FaultCode.CANCELLED


@pytest.mark.parametrize(
    "data",
    [
        fragment(1, b"", PduFlags(3)),
        pack_pdu(PduType.BIND_ACK, 1, BindAck(4280, 4280, 0, "", ())),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(100),
    ],
)
def test_who_does_not_begin_with_a_bind_is_sent_away(data: bytes) -> None:
    async def test(server: RpcServer, bare: Bare5) -> None:
        assert await bare.ask(data) is None

    with_server()(test)()


@pytest.mark.parametrize(
    "data",
    [
        fragment(7, b"", PduFlags(0)),
        fragment(7, b"", PduFlags.LAST),
        fragment(7, b"", PduFlags.FIRST) * 2,
        pack_pdu(PduType.BIND, 1, Bind(4280, 4280, 0, ())),
        pack_pdu(PduType.SHUTDOWN, 1, Bare()),
        pack_pdu(PduType.AUTH3, 1, Bare()),
    ],
)
def test_what_may_not_come_ends_the_connection(data: bytes) -> None:
    async def test(server: RpcServer, bare: Bare5) -> None:
        await bare.bind()
        assert await bare.ask(data) is None

    with_server()(test)()


@with_server()
async def test_fragments_that_are_too_small_are_refused(server: RpcServer, bare: Bare5) -> None:
    answer = await bare.ask(pack_pdu(PduType.BIND, 1, Bind(1000, 1000, 0, ())))
    assert isinstance(answer, BindNak)
    assert await bare.next() is None


@pytest.mark.parametrize("change", ["stub", "trailer", "signature", "head", "unsigned", "level"])
def test_a_fragment_that_was_changed_ends_the_connection(change: str) -> None:
    async def test() -> None:
        async with serving(World()) as server, logged_on(server) as client:
            shield = client._shield
            assert shield is not None
            head = Request(0, 0, 4, None, 24)
            (sealed,) = pack_fragments(PduType.REQUEST, 50, head, bytes(32), 4280, shield)
            at = {"stub": 30, "trailer": -22, "signature": -10, "head": 20, "level": -23}.get(change)
            if at is None:
                sealed = fragment(50, bytes(32), PduFlags(3))
            else:
                changed = bytearray(sealed)
                changed[at] ^= 1
                sealed = bytes(changed)
            future = asyncio.get_running_loop().create_future()
            client._waiting[50] = future
            client._writer.write(sealed)
            with pytest.raises(RpcFault) as caught:
                await future
            assert caught.value.code == FaultCode.SECURITY_PACKAGE_ERROR
            await until(lambda: not client.is_open)
            with pytest.raises(ConnectionLost):
                await client.call(4, b"")

    run(test)


# --- Limits --------------------------------------------------------------------------------------------------------


@with_server(Limits(request_size=1000))
async def test_a_request_that_is_too_large_is_refused(server: RpcServer, bare: Bare5) -> None:
    await bare.bind()
    bare.writer.write(fragment(7, bytes(600), PduFlags.FIRST) + fragment(8, bytes(300), PduFlags.FIRST))
    answer = await bare.ask(fragment(7, bytes(200), PduFlags.LAST))
    assert isinstance(answer, Fault)
    assert answer.status == FaultCode.OUT_OF_MEMORY
    assert await bare.next() is None


@with_server(Limits(fragments=10))
async def test_a_request_of_too_many_fragments_is_refused(server: RpcServer, bare: Bare5) -> None:
    await bare.bind()
    bare.writer.write(fragment(7, b"", PduFlags.FIRST) + fragment(7, b"", PduFlags(0)) * 9)
    answer = await bare.ask(fragment(7, b"", PduFlags.LAST))
    assert isinstance(answer, Fault)
    assert answer.status == FaultCode.OUT_OF_MEMORY


@with_server(Limits(calls=3))
async def test_too_many_calls_at_a_time_are_refused(server: RpcServer, bare: Bare5) -> None:
    await bare.bind()
    for call_id in range(2, 5):
        bare.writer.write(fragment(call_id, b"", PduFlags(3), OPNUMS["wait"]))
    answer = await bare.ask(fragment(9, b"", PduFlags(3)))
    assert isinstance(answer, Fault)
    assert answer.status == FaultCode.SERVER_TOO_BUSY


@with_server(Limits(contexts=2))
async def test_too_many_contexts_are_refused(server: RpcServer, bare: Bare5) -> None:
    ack = await bare.bind(*(PresentationContext(number, OPEN_ECHO, (NDR32,)) for number in range(3)))
    assert isinstance(ack, BindAck)
    assert [item.result for item in ack.results] == [0, 0, ContextResult.PROVIDER_REJECTED]


def test_too_many_handles_are_refused() -> None:
    async def test() -> None:
        async with serving(World(), Limits(handles=3)) as server, logged_on(server) as client:
            for number in range(3):
                await open_thing(client, str(number))
            with pytest.raises(RpcFault) as caught:
                await open_thing(client, "four")
            assert caught.value.code == FaultCode.OUT_OF_MEMORY
            async with logged_on(server) as other:
                await open_thing(other, "of another group")

    run(test)


def test_too_many_handles_of_all_clients_are_refused_and_closed_ones_make_room() -> None:
    async def test() -> None:
        async with serving(World(), Limits(all_handles=3)) as server, logged_on(server) as client:
            handle = await open_thing(client, "one")
            async with logged_on(server) as other:
                for number in range(2):
                    await open_thing(other, str(number))
                for full in (client, other):
                    with pytest.raises(RpcFault) as caught:
                        await open_thing(full, "four")
                    assert caught.value.code == FaultCode.OUT_OF_MEMORY
                await client.invoke(OPNUMS["close"], CLOSE, HandleIn(handle))
                assert await open_thing(client, "another")
            await until(lambda: server.handles == 1)
            assert [await open_thing(client, str(number)) for number in range(2)]

    run(test)


def test_requests_in_fragments_have_one_room_on_all_connections() -> None:
    async def test() -> None:
        async with serving(World(), Limits(all_requests=1000)) as server:
            first, second = await Bare5.open(server), await Bare5.open(server)
            for one in (first, second):
                await one.bind()
            first.writer.write(fragment(7, bytes(900), PduFlags.FIRST) + pack_pdu(PduType.CANCEL, 99, Bare()))
            assert isinstance(await first.ask(fragment(8, b"whole", PduFlags(3))), Response)
            answer = await second.ask(fragment(7, bytes(900), PduFlags.FIRST))
            assert isinstance(answer, Fault) and answer.status == FaultCode.OUT_OF_MEMORY
            await first.close()
            await until(lambda: not server.connections)
            third = await Bare5.open(server)
            await third.bind()
            third.writer.write(fragment(7, bytes(900), PduFlags.FIRST))
            assert isinstance(await third.ask(fragment(7, b"", PduFlags.LAST)), Response)
            for one in (second, third):
                await one.close()

    run(test)


@with_server()
async def test_nothing_is_kept_for_who_may_not_call(server: RpcServer, bare: Bare5) -> None:
    await bare.bind(PresentationContext(0, ECHO, (NDR32,)))
    answer = await bare.ask(fragment(7, bytes(1000), PduFlags.FIRST))
    assert isinstance(answer, Fault) and answer.status == FaultCode.ACCESS_DENIED
    assert await bare.next() is None


def test_no_request_is_taken_of_who_does_not_read_the_answers() -> None:
    async def test() -> None:
        world = World()
        world.let_finish.set()
        async with serving(world) as server:
            bare = await Bare5.open(server)
            await bare.bind()
            bare.writer.transport.set_write_buffer_limits(1 << 30)
            for call_id in range(2, 2000):
                bare.writer.write(fragment(call_id, bytes(50_000), PduFlags(3)))
            bare.writer.write(fragment(2000, b"", PduFlags(3), OPNUMS["finish"]))
            await asyncio.sleep(0.5)
            assert world.ended == [], "the last request is behind a hundred megabytes that nobody takes"
            (connection,) = server._connections
            assert connection._writer.transport.get_write_buffer_size() < 16 << 20
            bare.writer.transport.abort()
            await until(lambda: not server.connections)

    run(test)


def test_too_many_connections_and_strangers_are_sent_away() -> None:
    async def test() -> None:
        async with serving(World(), Limits(connections=3, strangers=2)) as server, logged_on(server) as client:
            strangers = [await Bare5.open(server) for _ in range(3)]
            assert await strangers[2].next() is None
            await until(lambda: server.connections == 3)
            assert await client.invoke(0, SAY, SayIn("served")) == SayOut("served", 0)
            await strangers[0].close()
            await until(lambda: server.connections == 2)
            async with logged_on(server):
                late = await Bare5.open(server)
                assert await late.next() is None
                await late.close()
            for stranger in strangers[1:]:
                await stranger.close()

    run(test)


def test_strangers_of_one_address_do_not_take_the_places_of_others() -> None:
    async def test() -> None:
        async with serving(World(), Limits(strangers=4, strangers_of_source=2)) as server:
            strangers = [await Bare5.open(server) for _ in range(3)]
            assert await strangers[2].next() is None
            elsewhere = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0))
            other = Bare5(*elsewhere)
            assert isinstance(await other.bind(), BindAck)
            for one in (*strangers, other):
                await one.close()

    run(test)


def test_who_does_not_log_on_in_time_is_sent_away() -> None:
    async def test() -> None:
        limits = Limits(logon_within=0.3 * slowness())
        async with serving(World(), limits) as server, logged_on(server) as client:
            silent = await Bare5.open(server)
            assert await silent.next() is None
            await silent.close()
            for _ in range(2):  # it came earlier: its time would be over as well
                assert await client.invoke(0, SAY, SayIn("in time")) == SayOut("in time", 0)

    run(test)


@with_server(Limits(stranger_patience=0.2 * slowness()))
async def test_a_stranger_that_says_nothing_is_sent_away(server: RpcServer, bare: Bare5) -> None:
    await bare.bind()
    assert await bare.next() is None


# --- The client alone ----------------------------------------------------------------------------------------------


def test_nothing_there_is_connection_lost() -> None:
    async def test() -> None:
        async with serving(World()) as server:
            port = server.port
        with pytest.raises(ConnectionLost, match="nothing can be reached"):
            await RpcClient.connect("127.0.0.1", port)

    run(test)


def test_a_taken_address_is_a_fault_that_says_so() -> None:
    async def test() -> None:
        async with serving(World()) as server:
            with pytest.raises(FaultError, match="cannot be served"):
                await RpcServer().start("192.0.2.1", server.port)

    run(test)


def test_a_connection_is_bound_once_and_before_any_call() -> None:
    async def test() -> None:
        async with serving(World()) as server, connected(server) as client:
            with pytest.raises(ProtocolError):
                await client.call(0, b"")
            await client.bind(OPEN_ECHO)
            with pytest.raises(ProtocolError):
                await client.bind(OPEN_ECHO)

    run(test)
