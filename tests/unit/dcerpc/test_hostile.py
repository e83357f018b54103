"""A live server, and clients that send what nobody should: it goes on, and everybody else is served."""

import asyncio
import time
from random import Random

import pytest
from structlog.testing import capture_logs
from tests.system.soak import soaking
from tests.unit.dcerpc import exchanges
from tests.unit.dcerpc.mutations import mutate
from tests.unit.dcerpc.world import (
    ALICE,
    OPEN_ECHO,
    OPNUMS,
    SAY,
    SayIn,
    SayOut,
    World,
    connected,
    logged_on,
    run,
    serving,
    until,
)

from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.errors import RpcFault
from quorate.dcerpc.frames import read_frame
from quorate.dcerpc.initiators import Logon, Mechanism
from quorate.dcerpc.limits import Limits
from quorate.dcerpc.pdu import Bare, Bind, PduType, PresentationContext, Request, pack_pdu
from quorate.dcerpc.security import AuthLevel, pack_fragments
from quorate.dcerpc.server import RpcServer
from quorate.dcerpc.syntaxes import NDR32

SEED = int(time.time()) if soaking() else 11
ROUNDS = 50_000 if soaking() else 150
pytestmark = pytest.mark.soak

CONTEXTS = (PresentationContext(0, OPEN_ECHO, (NDR32,)),)
GOOD_BIND = pack_pdu(PduType.BIND, 1, Bind(4280, 4280, 0, CONTEXTS))


def requests() -> list[bytes]:
    stubs = [SAY.inputs.pack(SayIn("hello")), bytes(20), b"\xff" * 40, b""]
    return [
        fragment
        for opnum in (*OPNUMS.values(), 99)
        for stub in stubs
        for fragment in pack_fragments(PduType.REQUEST, 2 + opnum, Request(0, 0, opnum, None, 0), stub, 4280)
    ]


SEEDS = [
    GOOD_BIND,
    exchanges.BIND,
    exchanges.ALTER_CONTEXT,
    exchanges.SEALED_REQUEST,
    exchanges.EPM_MAP,
    pack_pdu(PduType.ALTER_CONTEXT, 3, Bind(4280, 4280, 0, CONTEXTS)),
    pack_pdu(PduType.AUTH3, 3, Bare()),
    pack_pdu(PduType.CANCEL, 7, Bare()),
    pack_pdu(PduType.ORPHANED, 7, Bare()),
    *requests(),
]


async def pester(server: RpcServer, dice: Random) -> None:
    """One connection: perhaps a good bind, then damaged PDUs until the server has had enough."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        data = GOOD_BIND if dice.random() < 0.7 else b""
        writer.write(data + b"".join(mutate(dice, dice.choice(SEEDS)) for _ in range(dice.randrange(1, 12))))
        writer.write_eof()
        await reader.read()
    except OSError:
        return
    finally:
        writer.close()


async def pester_sealed(server: RpcServer, dice: Random) -> None:
    """A client that has logged on and sends damaged stubs, well sealed."""
    async with connected(server) as client:
        mechanism = dice.choice((Mechanism.NTLM, Mechanism.SPNEGO))
        await client.bind(OPEN_ECHO, Logon(ALICE, AuthLevel.PRIVACY, mechanism))
        for _ in range(5):
            stub = mutate(dice, dice.choice(SEEDS))[24:]
            await _call_anything(client, dice.choice((0, 1, 2, 3, 4, 99)), stub)


async def _call_anything(client: RpcClient, opnum: int, stub: bytes) -> None:
    try:
        await client.call(opnum, stub)
    except RpcFault:  # what is expected; anything else would be the end of the connection
        return


def test_a_server_goes_on_whatever_is_sent_to_it() -> None:
    dice = Random(SEED)

    async def test() -> None:
        world = World()
        world.let_finish.set()
        with capture_logs() as logs:
            async with serving(world, Limits(request_size=100_000, strangers=1000)) as server:
                async with logged_on(server) as good:
                    for number in range(ROUNDS):
                        await (pester_sealed if number % 10 == 9 else pester)(server, dice)
                        if number % 25 == 0:
                            assert await good.invoke(0, SAY, SayIn("x"), within=10) == SayOut("x", 0)
                await until(lambda: not server.connections)
                assert (server.handles, server.groups, world.waiting) == (0, 0, 0)
        broken = [entry for entry in logs if entry["log_level"] == "error" and "ZeroDivisionError" not in str(entry)]
        assert [entry for entry in broken if entry.get("opnum") != OPNUMS["break"]] == [], f"seed {SEED}"

    run(test, 36_000 if soaking() else 60)


def test_many_connections_and_waiting_calls_at_a_time() -> None:
    async def test() -> None:
        world = World()
        async with serving(world) as server:
            clients = [await RpcClient.connect("127.0.0.1", server.port) for _ in range(60)]
            try:
                logon = Logon(ALICE, AuthLevel.PRIVACY, Mechanism.NTLM)
                await asyncio.gather(*(client.bind(OPEN_ECHO, logon) for client in clients))
                waiting = [asyncio.create_task(client.call(OPNUMS["wait"], b"")) for client in clients]
                await until(lambda: world.waiting == len(clients))
                for client in clients:
                    assert await client.invoke(0, SAY, SayIn("served")) == SayOut("served", 0)
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
                await until(lambda: not world.waiting)
            finally:
                for client in clients:
                    await client.close()
            await until(lambda: not server.connections)

    run(test)


def test_a_client_that_does_not_read_holds_up_nobody() -> None:
    async def test() -> None:
        async with serving(World()) as server, logged_on(server) as good:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GOOD_BIND)
            assert await read_frame(reader) is not None
            stub = bytes(60_000)
            for call_id in range(2, 200):
                head = Request(0, 0, OPNUMS["bytes"], None, 0)
                writer.write(b"".join(pack_fragments(PduType.REQUEST, call_id, head, stub, 65528)))
            for _ in range(20):
                assert await good.invoke(0, SAY, SayIn("x"), within=10) == SayOut("x", 0)
            writer.transport.abort()
            await until(lambda: server.connections == 1)

    run(test)
