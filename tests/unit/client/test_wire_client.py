"""The transport over MS-CMRP, against a server that is not ours."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.unit.client.foreign import PASSWORD, USER, Foreign, accounts, serving
from tests.unit.dcerpc.world import OTHER, run, until

from quorate.client import connect
from quorate.client.account import Account
from quorate.client.blocking import BlockingClient
from quorate.client.mscmrp import streams
from quorate.client.mscmrp.clients import BlockingWireClient, WireClient
from quorate.client.mscmrp.performers import PERFORMERS
from quorate.client.mscmrp.places import Place
from quorate.client.mscmrp.session import GENERIC_ALL, GENERIC_READ
from quorate.clusapi.errors import CallerError, ClusterError, FaultError
from quorate.clusapi.operations import OPERATIONS
from quorate.clusapi.property_lists import parse_property_list
from quorate.clusapi.states import NodeState
from quorate.clusapi.status import Status
from quorate.dcerpc.acceptors import LogonDoor
from quorate.dcerpc.interfaces import Interface
from quorate.dcerpc.ntlm_messages import ServerNames
from quorate.dcerpc.security import AuthLevel
from quorate.dcerpc.server import RpcServer
from quorate.mscmrp.types import Notification, NotificationData, NotifyFilter

ACCOUNT = Account(USER, PASSWORD)
START, CANCEL = 0x01600004, 0x01600008


@asynccontextmanager
async def reaching(
    *foreigns: Foreign, account: Account = ACCOUNT, full_access: bool = True
) -> AsyncIterator[WireClient]:
    async with AsyncExitStack() as stack:
        places = [await stack.enter_async_context(serving(foreign)) for foreign in foreigns]
        client = WireClient(tuple(places), account, full_access=full_access)
        stack.push_async_callback(client.close)
        yield client


async def refused(call: Awaitable[object]) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        await call
    return caught.value


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LOOK_EVERY", 0.001)


# --- What there is -------------------------------------------------------------------------------------------------


def test_every_operation_with_a_wire_call_is_carried_out() -> None:
    with_calls = {operation.name for operation in OPERATIONS.values() if operation.opnums}
    assert with_calls <= set(PERFORMERS) <= set(OPERATIONS)


@pytest.mark.parametrize("missing", [(), ("CreateGroupEnum", "CreateResourceEnum")])
def test_virtual_machines_of_another_server_are_found_by_their_types(missing: tuple[str, ...]) -> None:
    async def test() -> None:
        foreign = Foreign(missing=missing)
        async with reaching(foreign) as client:
            machines = (await client.call("ListVirtualMachines")).objects("virtual_machines")
            shown = [(item["name"], item["vm"], item["node"], item["vm_state_name"]) for item in machines]
            assert shown == [("SQL", "7f0c", "alpha", "RUNNING")]
            assert (machines[0]["vm_resource"], machines[0]["configuration_resource"]) == ("r-1", "r-2")
            for name in ("sql", "g-1", "7F0C"):
                found = (await client.call("GetVirtualMachine", vm=name)).json("virtual_machine")
                assert found["group"] == "g-1"
            assert (await refused(client.call("GetVirtualMachine", vm="none"))).status == 5013
            status = (await client.call("GetStatus")).as_json()
            assert [node["name"] for node in status["nodes"]] == ["alpha", "beta"]  # type: ignore[union-attr,call-overload,index]
            assert foreign.server is not None
            assert foreign.server.handles == 0  # each handle was closed

    run(test)


def test_objects_are_the_same_as_over_http() -> None:
    async def test() -> None:
        async with serving(Foreign()) as place, connect(str(place), USER, PASSWORD) as cluster:
            node = await cluster.node("BETA")
            assert (node.id, node.name, await node.state()) == ("2", "BETA", NodeState.UP)
            assert [group.name for group in await cluster.groups()] == ["SQL"]
            resource = await cluster.resource("disk")
            assert (resource.id, resource.type) == ("r-3", "Physical Disk")

    run(test)


# --- Live migration at servers that do it otherwise ------------------------------------------------------------------


def test_who_is_told_that_a_migration_is_over_is_told_where_the_machine_is_now() -> None:
    async def test() -> None:
        foreign = Foreign(moves_while_asked="beta")
        async with reaching(foreign) as client:
            told = await client.call("GetMigrationProgress", vm="SQL")
            assert (told.text("node"), foreign.names.count("GetGroupState") > 0) == ("beta", True)

    run(test)


def test_a_server_without_the_code_is_asked_to_move_the_group() -> None:
    async def test() -> None:
        foreign = Foreign()
        async with reaching(foreign) as client:
            wanted = "beta\0".encode("utf-16-le")
            answer = await client.call("ResourceControl", resource="r-1", control_code=START, in_buffer=wanted)
            assert answer.number("status") == 0
            asked = foreign.inputs_of("MoveGroupToNodeEx")
            assert asked.flags == 0xE
            context = parse_property_list(asked.in_buffer)
            assert [(item.name, item.value) for item in context] == [("Virtual Machine", 4)]
            parts = [part async for _, part in client.stream("/v1/migrations/SQL/progress")]
            assert [(part["node"], part["migration_state"]) for part in parts] == [("beta", 0)]
            answer = await client.call("ResourceControl", resource="r-1", control_code=CANCEL)
            assert answer.number("status") == 0
            assert foreign.names[-3:] == ["GetResourceType", "GetResourceState", "CancelClusterGroupOperation"]

    run(test)


def test_an_unknown_code_of_another_resource_stays_unknown() -> None:
    async def test() -> None:
        foreign = Foreign()
        async with reaching(foreign) as client:
            answer = await client.call("ResourceControl", resource="r-3", control_code=START)
            assert answer.number("status") == Status.ERROR_INVALID_FUNCTION
            assert "MoveGroupToNodeEx" not in foreign.names

    run(test)


# --- Access and refusals ---------------------------------------------------------------------------------------------


def test_objects_are_opened_for_what_is_done() -> None:
    async def test() -> None:
        foreign = Foreign()
        async with reaching(foreign) as client:
            await client.call("GetGroupState", group="SQL")
            assert foreign.inputs_of("OpenGroupEx").desired_access == GENERIC_READ
            assert (await client.call("OfflineGroup", group="SQL")).number("status") == Status.ERROR_IO_PENDING
            assert foreign.inputs_of("OpenGroupEx").desired_access == GENERIC_ALL

    run(test)


def test_without_full_access_no_change_is_asked_for() -> None:
    async def test() -> None:
        foreign = Foreign()
        async with reaching(foreign, full_access=False) as client:
            assert (await refused(client.call("OfflineGroup", group="SQL"))).status == Status.ERROR_ACCESS_DENIED
            modifying = client.call("ResourceControl", resource="r-1", control_code=0x01400086, in_buffer=b"")
            assert (await refused(modifying)).status == Status.ERROR_ACCESS_DENIED
            assert foreign.asked == []

    run(test)


@pytest.mark.parametrize(
    ("name", "inputs", "status"),
    [
        ("GetGroupState", {"group": "nope"}, 5013),
        ("PauseNode", {"node": "nope"}, 5042),
        ("PauseNode", {"node": "alpha"}, 120),
        ("GetQuorumResource", {}, 120),
        ("Validate", {}, 120),
        ("CreateVirtualMachine", {"name": "a", "definition": {}}, 120),
        ("NoSuchOperation", {}, 120),
        ("GetGroupState", {}, 87),
        ("GetGroupState", {"group": "SQL", "more": 1}, 87),
    ],
)
def test_refusals_have_their_status(name: str, inputs: dict[str, str], status: int) -> None:
    async def test() -> None:
        async with reaching(Foreign()) as client:
            error = await refused(client.call(name, **inputs))
            assert isinstance(error, CallerError)
            assert error.status == status

    run(test)


def test_a_wrong_password_is_told_as_such() -> None:
    async def test() -> None:
        for account in (Account(USER, "wrong"), Account("nobody", PASSWORD)):
            async with reaching(Foreign(), account=account) as client:
                assert (await refused(client.call("ListNodes"))).status == Status.ERROR_LOGON_FAILURE

    run(test)


def test_where_nobody_speaks_the_protocol_the_reason_is_told() -> None:
    async def test() -> None:
        empty = Interface("other", OTHER, {}, AuthLevel.NONE)
        server = RpcServer(empty, door=LogonDoor(accounts, ServerNames("A", "a")))
        await server.start("127.0.0.1")
        try:
            client = WireClient((Place("127.0.0.1", server.port), Place("127.0.0.1", 9)), ACCOUNT)
            error = await refused(client.call("ListNodes"))
            assert error.status == Status.RPC_S_SERVER_UNAVAILABLE
            assert "cannot be bound" in error.sentence or "no account" in error.sentence
            assert "127.0.0.1[9]" in error.sentence
        finally:
            await server.close()

    run(test)


# --- Servers that go away --------------------------------------------------------------------------------------------


def test_a_question_goes_to_the_next_server_when_one_dies() -> None:
    async def test() -> None:
        first, second = Foreign(), Foreign(owner="beta")
        async with reaching(first, second) as client:
            assert (await client.call("GetGroupState", group="SQL")).text("node") == "alpha"
            first.breaks_at = "GetGroupState"
            assert (await client.call("GetGroupState", group="SQL")).text("node") == "beta"
            assert (await client.call("GetGroupState", group="SQL")).text("node") == "beta"
            assert first.names == ["GetGroupState", "GetGroupState"]

    run(test)


def test_a_change_is_not_asked_for_twice() -> None:
    async def test() -> None:
        first, second = Foreign(breaks_at="OfflineGroupEx"), Foreign()
        async with reaching(first, second) as client:
            error = await refused(client.call("OfflineGroup", group="SQL"))
            assert isinstance(error, FaultError)
            assert error.status == Status.RPC_S_CALL_FAILED
            assert (first.names, second.names) == (["OfflineGroupEx"], [])

    run(test)


def test_a_change_that_was_not_asked_for_yet_goes_to_the_next_server() -> None:
    async def test() -> None:
        first, second = Foreign(breaks_at="OpenGroupEx"), Foreign()
        async with reaching(first, second) as client:
            assert (await client.call("OfflineGroup", group="SQL")).number("status") == Status.ERROR_IO_PENDING
            assert (first.names, second.names) == ([], ["OfflineGroupEx"])

    run(test)


def test_a_server_that_always_hangs_up_is_given_up() -> None:
    async def test() -> None:
        async with reaching(Foreign(breaks_at="OpenGroupEx")) as client:
            error = await refused(client.call("GetGroupState", group="SQL"))
            assert error.status == Status.RPC_S_SERVER_UNAVAILABLE

    run(test)


# --- Events ----------------------------------------------------------------------------------------------------------


def test_notifications_are_events() -> None:
    async def test() -> None:
        foreign = Foreign()
        owner = NotificationData(NotifyFilter(2, 0x18), None, "g-1", None, "SQL", None)
        node = NotificationData(NotifyFilter(7, 0x10), None, "1", None, "alpha", None)
        async with reaching(foreign) as client:
            for data in (owner, node, owner):
                foreign.news.put_nowait(Notification(1, data))
            events = client.stream("/v1/events?after=3&kind=group")
            told = [part for _, part in [await anext(events), await anext(events), await anext(events)]]
            assert [(part["kind"], part["sentence"]) for part in told[:2]] == [
                ("group.state", 'group "SQL" has another state'),
                ("group.owner", 'group "SQL" has another owner'),
            ]
            assert [part["sequence"] for part in told] == ["1", "2", "3"]
            assert (await client.call("GetGroupState", group="SQL")).number("state") == 0  # others are served meanwhile
            await events.aclose()
            assert foreign.server is not None
            await until(lambda: foreign.server is not None and foreign.server.connections == 1)

    run(test)


def test_events_that_the_protocol_cannot_tell_are_refused() -> None:
    async def test() -> None:
        async with reaching(Foreign()) as client:
            for target in ("/v1/events?node=alpha", "/v1/other"):
                with pytest.raises(CallerError) as caught:
                    await anext(client.stream(target))
                assert caught.value.status == Status.ERROR_CALL_NOT_IMPLEMENTED
            assert (await refused(client.call("GetEvents"))).status == Status.ERROR_CALL_NOT_IMPLEMENTED

    run(test)


# --- Without asyncio -------------------------------------------------------------------------------------------------


@pytest.fixture
def foreign_place() -> Iterator[tuple[Foreign, Place]]:
    """A server in a thread of its own."""
    ready: threading.Event = threading.Event()
    loop = asyncio.new_event_loop()
    made: list[tuple[Foreign, Place]] = []
    end: list[Callable[[], object]] = []

    async def serve() -> None:
        foreign, over = Foreign(), asyncio.Event()
        end.append(over.set)
        async with serving(foreign) as place:
            made.append((foreign, place))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(20)
    yield made[0]
    loop.call_soon_threadsafe(end[0])
    thread.join()
    loop.close()


def test_blocking_calls_from_several_threads(foreign_place: tuple[Foreign, Place]) -> None:
    _, place = foreign_place
    client = BlockingClient.at(str(place), None, ACCOUNT)
    assert isinstance(client, BlockingWireClient)
    states: list[int] = []
    threads = [
        threading.Thread(target=lambda: states.append(client.call("GetGroupState", group="SQL").number("state")))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == [0] * 5
    with pytest.raises(CallerError) as caught:
        client.call("OfflineGroup", full_access=False, group="SQL")
    assert caught.value.status == Status.ERROR_ACCESS_DENIED
    client.close()
    assert "ms-cmrp" not in [thread.name for thread in threading.enumerate()]


def test_a_blocking_stream_ends_when_it_is_left(foreign_place: tuple[Foreign, Place]) -> None:
    foreign, place = foreign_place
    client = BlockingWireClient.reaching(str(place), ACCOUNT)
    assert [part["node"] for _, part in client.stream("/v1/migrations/SQL/progress")] == ["alpha"]
    foreign.news.put_nowait(Notification(1, NotificationData(NotifyFilter(2, 0x8), None, "g-1", None, "SQL", None)))
    for kind, part in client.stream("/v1/events"):
        assert (kind, part["object_name"]) == ("event", "SQL")
        break
    assert [(kind, part["status"]) for kind, part in client.stream("/v1/migrations/no/progress")] == [("error", 5013)]
    client.close()
    assert foreign.server is not None
    assert foreign.names.count("GetNotifyV2") <= 2


def test_a_blocking_stream_tells_why_it_does_not_begin(foreign_place: tuple[Foreign, Place]) -> None:
    foreign, place = foreign_place
    foreign.breaks_at = "CreateNotifyV2"
    client = BlockingWireClient.reaching(str(place), ACCOUNT)
    with pytest.raises(FaultError, match="the stream broke"):
        next(client.stream("/v1/events"))
    with pytest.raises(CallerError, match="do not tell who noted them"):
        next(client.stream("/v1/events?node=a"))
    client.close()


def test_a_place_alone_takes_the_account_of_the_environment(
    foreign_place: tuple[Foreign, Place], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("account") / "password"
    file.write_text(f"{PASSWORD}\nmore\n")
    monkeypatch.setenv("QUORATE_CLUSTER", str(foreign_place[1]))
    monkeypatch.setenv("QUORATE_USER", f"WORKGROUP\\{USER}")
    monkeypatch.setenv("QUORATE_PASSWORD_FILE", str(file))
    client = BlockingClient.at()
    assert client.call("GetNodeState", node="alpha").number("state") == NodeState.UP
    assert [node.called for node in client.nodes] == [str(foreign_place[1])]
