"""Who and what MS-CMRP refuses, over the wire, with the methods that the protocol has."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import spnego
from spnego.exceptions import NegotiateOptions
from tests.unit.server.mscmrp.face_world import PASSWORD, FaceWorld, WireUser, with_face
from tests.unit.server.mscmrp.plain_inputs import inputs_of, make_objects, open_all, open_for_reading

from quorate.clusapi.control_code_lookup import all_control_codes
from quorate.clusapi.operation_types import Access
from quorate.clusapi.operations import MODIFY_BIT
from quorate.clusapi.status import Status
from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.errors import FaultCode, LogonRefused, RpcFault
from quorate.dcerpc.frames import read_frame
from quorate.dcerpc.initiators import Credentials, Logon, Mechanism
from quorate.dcerpc.ndr import NULL_HANDLE, ContextHandle
from quorate.dcerpc.pdu import (
    Answered,
    AuthTrailer,
    Bare,
    Bind,
    BindAck,
    ContextResult,
    Fault,
    Frame,
    PduFlags,
    PduType,
    PresentationContext,
    Request,
    pack_pdu,
    parse_body,
)
from quorate.dcerpc.security import AuthLevel, AuthType, pack_fragments
from quorate.dcerpc.server import RpcServer
from quorate.dcerpc.syntaxes import NDR32, NDR64, SyntaxId
from quorate.mscmrp import registry_methods
from quorate.mscmrp.cluster_methods import GET_CLUSTER_NAME, OPEN_CLUSTER
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.interface import METHODS, SYNTAX, AnyMethod
from quorate.mscmrp.shapes import NoIn
from quorate.server.mscmrp.face import HANDLERS
from quorate.server.mscmrp.unanswered import REASONS

ALICE = Credentials("alice", PASSWORD, "WORKGROUP")
MECHANISMS = pytest.mark.parametrize("mechanism", [Mechanism.NTLM, Mechanism.SPNEGO])
WHOLE = PduFlags.FIRST | PduFlags.LAST


async def fault_of(server: RpcServer, logon: Logon | None) -> int:
    """Log on in some way and call: the fault that comes of it."""
    client = await RpcClient.connect("127.0.0.1", server.port)
    try:
        await client.bind(SYNTAX, logon)
        with pytest.raises(RpcFault) as caught:
            await client.invoke(GET_CLUSTER_NAME.opnum, GET_CLUSTER_NAME.declaration, NoIn())
        return caught.value.code
    finally:
        await client.close()


# --- Who is refused ------------------------------------------------------------------------------------------------


def test_nobody_calls_without_a_logon_or_below_packet_privacy() -> None:
    async def test(world: FaceWorld) -> None:
        assert await fault_of(world.server, None) == FaultCode.ACCESS_DENIED
        for level in (AuthLevel.CONNECT, AuthLevel.PACKET, AuthLevel.INTEGRITY):
            for mechanism in (Mechanism.NTLM, Mechanism.SPNEGO):
                assert await fault_of(world.server, Logon(ALICE, level, mechanism)) == FaultCode.ACCESS_DENIED
        assert world.answered == []

    with_face(test)


def test_a_wrong_password_and_an_unknown_user_are_told_the_same() -> None:
    async def test(world: FaceWorld) -> None:
        for who in (Credentials("alice", "wrong"), Credentials("nobody", PASSWORD)):
            assert await fault_of(world.server, Logon(who, mechanism=Mechanism.NTLM)) == FaultCode.ACCESS_DENIED
            with pytest.raises(LogonRefused):
                await fault_of(world.server, Logon(who, mechanism=Mechanism.SPNEGO))

    with_face(test)


class Hand:
    """A connection on which the test sends PDUs of its own making, with tokens of pyspnego's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def at(cls, server: RpcServer) -> "Hand":
        return cls(*await asyncio.open_connection("127.0.0.1", server.port))

    async def bind(self, token: bytes, *contexts: PresentationContext) -> Frame:
        wanted = contexts or (PresentationContext(0, SYNTAX, (NDR32,)),)
        body = Bind(4280, 4280, 0, wanted)
        trailer = AuthTrailer(AuthType.NTLM, AuthLevel.PRIVACY, 7, token) if token else None
        self.writer.write(pack_pdu(PduType.BIND, 1, body, trailer, WHOLE))
        frame = await read_frame(self.reader)
        assert frame is not None
        return frame

    async def authenticate(self, token: bytes) -> object:
        """Send the last token and call; the body that comes back."""
        self.writer.write(pack_pdu(PduType.AUTH3, 2, Bare(), AuthTrailer(AuthType.NTLM, AuthLevel.PRIVACY, 7, token)))
        self.writer.write(b"".join(pack_fragments(PduType.REQUEST, 3, Request(0, 0, 3, None, 0), b"", 4280)))
        frame = await read_frame(self.reader)
        return None if frame is None else parse_body(frame)

    def close(self) -> None:
        self.writer.close()


def tokens_of_pyspnego() -> Any:
    return spnego.client("alice", PASSWORD, protocol="ntlm", options=NegotiateOptions.use_ntlm)


def test_an_authenticate_message_is_good_for_its_own_challenge_only() -> None:
    async def test(world: FaceWorld) -> None:
        first, second = await Hand.at(world.server), await Hand.at(world.server)
        proxy = tokens_of_pyspnego()
        negotiate = proxy.step()
        challenge = (await first.bind(negotiate)).auth
        assert challenge is not None
        recorded = proxy.step(challenge.value)
        assert (await second.bind(negotiate)).auth is not None
        answer = await second.authenticate(recorded)
        assert isinstance(answer, Fault) and answer.status == FaultCode.ACCESS_DENIED
        first.close()
        second.close()

    with_face(test)


@pytest.mark.parametrize("compatibility", ["0", "1", "2"])
def test_ntlmv1_and_lm_are_refused(compatibility: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LM_COMPAT_LEVEL", compatibility)

    async def test(world: FaceWorld) -> None:
        hand, proxy = await Hand.at(world.server), tokens_of_pyspnego()
        negotiate = bytearray(proxy.step())
        negotiate[14] |= 0x08  # extended session security, without which it would be refused for that
        challenge = (await hand.bind(bytes(negotiate))).auth
        assert challenge is not None
        answer = await hand.authenticate(proxy.step(challenge.value))
        assert isinstance(answer, Fault) and answer.status == FaultCode.ACCESS_DENIED
        hand.close()

    with_face(test)


def test_a_fragment_that_was_changed_ends_the_connection_before_anything_is_done() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            shield = user.client._shield
            assert shield is not None
            head = Request(0, 0, OPEN_CLUSTER.opnum, None, 24)
            (sealed,) = pack_fragments(PduType.REQUEST, 50, head, bytes(16), 4280, shield)
            changed = sealed[:30] + bytes((sealed[30] ^ 1,)) + sealed[31:]
            future = asyncio.get_running_loop().create_future()
            user.client._waiting[50] = future
            user.client._writer.write(changed)
            with pytest.raises(RpcFault) as caught:
                await future
            assert caught.value.code == FaultCode.SECURITY_PACKAGE_ERROR
            assert world.answered == []
        while world.server.connections:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)

    with_face(test)


def test_version_2_and_ndr64_cannot_be_bound() -> None:
    async def test(world: FaceWorld) -> None:
        hand = await Hand.at(world.server)
        ack = parse_body(
            await hand.bind(
                b"",
                PresentationContext(0, SyntaxId(SYNTAX.uuid, 2, 0), (NDR32,)),
                PresentationContext(1, SYNTAX, (NDR64,)),
                PresentationContext(2, SyntaxId(SYNTAX.uuid, 3, 1), (NDR32,)),
                PresentationContext(3, SYNTAX, (NDR32,)),
            )
        )
        assert isinstance(ack, BindAck)
        assert ack.results == (
            Answered(ContextResult.PROVIDER_REJECTED, 1),
            Answered(ContextResult.PROVIDER_REJECTED, 2),
            Answered(ContextResult.PROVIDER_REJECTED, 1),
            Answered(ContextResult.ACCEPTED, 0, NDR32),
        )
        hand.close()

    with_face(test)


# --- Handles that are none -----------------------------------------------------------------------------------------


async def mismatched(user: WireUser, method: AnyMethod, handles: list[ContextHandle]) -> bool:
    try:
        await user.ask(method, inputs_of(method, handles))
    except RpcFault as fault:
        return fault.code == FaultCode.CONTEXT_MISMATCH
    return False


def answered_methods() -> list[AnyMethod]:
    return [method for number, method in METHODS.items() if number in HANDLERS and number not in REASONS]


@pytest.mark.parametrize("what", ["null", "made up", "closed", "of another connection", "of another kind"])
def test_no_method_takes_a_handle_that_is(what: str) -> None:
    async def test(world: FaceWorld) -> None:
        await make_objects(world)
        async with world.user() as user, world.user() as other:
            good, foreign = await open_all(user), await open_all(other)
            closed = await _close_all(user, await open_all(user))
            taken = []
            for method in answered_methods():
                if any(kind not in good for kind in method.takes if kind is not HandleKind.ANY):
                    continue
                for at, kind in enumerate(method.takes):
                    if kind is HandleKind.ANY:
                        continue
                    wrong = {
                        "null": [NULL_HANDLE],
                        "made up": [ContextHandle(uuid4())],
                        "closed": [closed[kind]],
                        "of another connection": [foreign[kind]],
                        "of another kind": [handle for other_kind, handle in good.items() if other_kind is not kind],
                    }[what]
                    rest = [good.get(one, good[HandleKind.CLUSTER]) for one in method.takes]
                    for handle in wrong:
                        handles = [*rest[:at], handle, *rest[at + 1 :]]
                        if not await mismatched(user, method, handles):
                            taken.append((method.name, at, handle))
            assert taken == []
            assert len(good) >= 10

    with_face(test)


async def _close_all(user: WireUser, handles: Any) -> dict[HandleKind, ContextHandle]:
    names = {
        HandleKind.CLUSTER: "CloseCluster",
        HandleKind.NODE: "CloseNode",
        HandleKind.GROUP: "CloseGroup",
        HandleKind.RESOURCE: "CloseResource",
        HandleKind.NETWORK: "CloseNetwork",
        HandleKind.NET_INTERFACE: "CloseNetInterface",
        HandleKind.GROUP_SET: "CloseGroupSet",
        HandleKind.KEY: "CloseKey",
        HandleKind.NOTIFY: "CloseNotify",
        HandleKind.BATCH_PORT: "CloseBatchPort",
    }
    by_name = {method.name: method for method in METHODS.values()}
    for kind, handle in sorted(handles.items(), key=lambda item: item[0] is HandleKind.KEY):
        method = by_name[names[kind]]
        assert (await user.ask(method, inputs_of(method, [handle]))).status == 0
    return dict(handles)


# --- Room that nobody has ------------------------------------------------------------------------------------------


def test_a_client_that_asks_for_all_the_room_there_is_gets_no_more_than_there_is_to_tell() -> None:
    async def test(world: FaceWorld) -> None:
        await make_objects(world)
        async with world.user() as user:
            handles = await open_all(user)
            asked = 0
            for method in answered_methods():
                names = {"out_size", "room"} & set(method.declaration.inputs._members)
                if not names:
                    continue
                given = [handles[kind] for kind in method.takes]
                chosen: dict[str, object] = {**dict.fromkeys(names, 0xFFFFFFF0), "name": "ClusterName"}
                inputs = inputs_of(method, given, "Virtual Machine", control_code=0x01000051, **chosen)
                try:
                    answer = await user.client.call(method.opnum, method.declaration.inputs.pack(inputs))
                    assert len(answer.data) < 100_000, method.name
                except RpcFault as fault:
                    assert fault.code == FaultCode.BAD_STUB_DATA, method.name
                asked += 1
            assert asked > 15
            query = registry_methods.QUERY_VALUE
            for room, is_answered in ((1 << 20, True), ((1 << 20) + 1, False)):
                data = query.declaration.inputs.pack(
                    registry_methods.QueryValueIn(handles[HandleKind.KEY], "ClusterName", room)
                )
                try:
                    assert len((await user.client.call(query.opnum, data)).data) >= room and is_answered
                except RpcFault as fault:
                    assert fault.code == FaultCode.BAD_STUB_DATA and not is_answered

    with_face(test)


# --- Who may only read ---------------------------------------------------------------------------------------------


async def _refused_everywhere(
    world: FaceWorld, user: WireUser, is_of_interest: Callable[[AnyMethod], bool], why: Status
) -> None:
    handles = await open_for_reading(user)
    before = await _dump(world)
    not_refused = []
    for method in answered_methods():
        if not is_of_interest(method) or any(kind not in handles for kind in method.takes):
            continue
        given = [handles[kind] for kind in method.takes]
        answer = await user.ask(method, inputs_of(method, given))
        if answer.status != why:
            not_refused.append((method.name, answer.status))
    assert not_refused == []
    assert await _dump(world) == before


async def _dump(world: FaceWorld) -> dict[str, bytes]:
    node = next(iter(world.nodes.nodes.values()))
    return {record.key: record.value for record in (await node.database.store.range("")).records}


def test_who_may_only_read_is_refused_every_method_that_changes() -> None:
    async def test(world: FaceWorld) -> None:
        await make_objects(world)
        async with world.user("rita") as rita:
            await _refused_everywhere(
                world, rita, lambda method: method.access is Access.FULL, Status.ERROR_ACCESS_DENIED
            )

    with_face(test)


def test_a_handle_opened_for_reading_changes_nothing_by_any_method() -> None:
    async def test(world: FaceWorld) -> None:
        await make_objects(world)
        async with world.user("alice") as alice:
            await _refused_everywhere(
                world,
                alice,
                lambda method: method.access is Access.FULL and bool(method.takes),
                Status.ERROR_ACCESS_DENIED,
            )

    with_face(test)


def test_who_may_only_read_is_refused_every_control_code_that_modifies() -> None:
    codes = [code for code in all_control_codes() if code.value & MODIFY_BIT and code.handler is not None]

    async def test(world: FaceWorld) -> None:
        await make_objects(world)
        async with world.user("rita") as rita:
            handles = await open_for_reading(rita)
            before, taken = await _dump(world), []
            for method in answered_methods():
                if method.access is not Access.BY_CODE or any(kind not in handles for kind in method.takes):
                    continue
                for code in codes:
                    given = [handles[kind] for kind in method.takes]
                    inputs = inputs_of(method, given, control_code=code.value, type_name="Virtual Machine", out_size=64)
                    answer = await rita.ask(method, inputs)
                    if answer.status != Status.ERROR_ACCESS_DENIED:
                        taken.append((method.name, code.name, answer.status))
            assert taken == []
            assert await _dump(world) == before

    with_face(test)
