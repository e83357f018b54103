"""The endpoint mapper: towers as Samba sends them, and what is found."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dcerpc import exchanges
from tests.unit.dcerpc.world import ECHO, OTHER, run

from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.epm import (
    DECLARATIONS,
    EPT_LOOKUP,
    EPT_MAP,
    LOOKUP_OPNUM,
    MAP_OPNUM,
    MAPPER,
    NOT_REGISTERED,
    Endpoint,
    EndpointMapper,
    InterfaceVersion,
    LookupIn,
    LookupOut,
    MapIn,
    Tower,
    TowerOctets,
    find_port,
    pack_tower,
    parse_tower,
)
from quorate.dcerpc.errors import RpcFault
from quorate.dcerpc.ndr import NULL_HANDLE
from quorate.dcerpc.server import RpcServer
from quorate.dcerpc.syntaxes import NDR32, SyntaxId

CLUSTER = SyntaxId(UUID("b97db8b2-4c63-11cf-bff6-08002be23f2f"), 3)


def test_a_request_of_sambas_and_its_answer_byte_by_byte() -> None:
    asked = EPT_MAP.inputs.unpack(exchanges.EPM_MAP[24:])
    assert asked == MapIn(None, TowerOctets.of(pack_tower(CLUSTER)), NULL_HANDLE, 1)
    # Samba numbers its pointers from 1, we from 0x20000; an NDR reader must not care.
    assert EPT_MAP.inputs.pack(asked) == bytes(4) + b"\0\0\2\0" + exchanges.EPM_MAP[32:]
    answered = EPT_MAP.outputs.unpack(exchanges.EPM_MAP_ANSWER[24:], inputs=EPT_MAP.inputs.values(asked))
    (octets,) = answered.towers
    assert octets is not None
    assert parse_tower(octets.octets) == Tower(CLUSTER, NDR32, 49152, "127.0.0.1")
    assert EPT_MAP.outputs.pack(answered, EPT_MAP.inputs.values(asked)) == exchanges.EPM_MAP_ANSWER[24:]


@given(st.binary(max_size=120))
def test_a_tower_of_any_bytes_is_a_tower_or_none(data: bytes) -> None:
    assert parse_tower(data) is None
    assert parse_tower(pack_tower(CLUSTER, 1, "192.0.2.1") + data) == Tower(CLUSTER, NDR32, 1, "192.0.2.1")
    parse_tower(b"\5\0" + data)


def test_an_interface_is_found_in_its_version_only() -> None:
    async def test() -> None:
        mapper = EndpointMapper()
        endpoint = Endpoint(ECHO, 50123, "the echo")
        mapper.register(endpoint)
        server = RpcServer(mapper.interface)
        await server.start("127.0.0.1")
        try:
            assert await find_port("127.0.0.1", ECHO, port=server.port) == 50123
            assert await find_port("127.0.0.1", SyntaxId(ECHO.uuid, 3, 0), port=server.port) == 50123
            for wanted in (OTHER, SyntaxId(ECHO.uuid, 2), SyntaxId(ECHO.uuid, 3, 9)):
                with pytest.raises(RpcFault, match="does not know"):
                    await find_port("127.0.0.1", wanted, port=server.port)
            mapper.unregister(endpoint)
            with pytest.raises(RpcFault, match="does not know"):
                await find_port("127.0.0.1", ECHO, port=server.port)
        finally:
            await server.close()

    run(test)


@pytest.mark.parametrize(("at_once", "answers"), [(1, [1, 1, 1, 0]), (2, [2, 1]), (3, [3, 0]), (500, [3])])
def test_a_lookup_goes_on_until_everything_is_told(at_once: int, answers: list[int]) -> None:
    async def test() -> None:
        mapper = EndpointMapper()
        for name in ("one", "two"):
            mapper.register(Endpoint(ECHO, 50123, name, "192.0.2.1"))
        server = RpcServer(mapper.interface)
        await server.start("127.0.0.1")
        client = await RpcClient.connect("127.0.0.1", server.port)
        try:
            await client.bind(MAPPER)
            told: list[LookupOut] = []
            while not told or told[-1].entry_handle:
                handle = told[-1].entry_handle if told else NULL_HANDLE
                inputs = LookupIn(0, None, None, 1, handle, at_once)
                told.append(await client.invoke(LOOKUP_OPNUM, EPT_LOOKUP, inputs))
            assert [answer.count for answer in told] == answers
            assert [answer.status for answer in told] == [0 if count else NOT_REGISTERED for count in answers]
            names = [entry.annotation for answer in told for entry in answer.entries]
            assert names == ["Endpoint mapper", "one", "two"]
            only = LookupIn(1, None, InterfaceVersion(ECHO.uuid, 3, 1), 1, NULL_HANDLE, 500)
            assert (await client.invoke(LOOKUP_OPNUM, EPT_LOOKUP, only)).count == 2
        finally:
            await client.close()
            await server.close()
        assert server.handles == 0

    run(test)


def test_every_operation_is_declared() -> None:
    assert DECLARATIONS[MAP_OPNUM].name == "ept_map"
