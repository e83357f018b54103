"""Notification and batch ports over the wire: what is told, calls that wait, and ports that are closed meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.server.mscmrp.face_world import PASSWORD, FaceWorld, WireUser, with_face

from quorate.clusapi.events import Change
from quorate.clusapi.notifications import ClusterFlag, GroupFlag, NodeFlag, ObjectType, RegistryFlag, ResourceTypeFlag
from quorate.clusapi.registry_batch import RegistryCommand, parse_batch
from quorate.clusapi.security_descriptors import ADMINISTRATORS, AccessEntry, SecurityDescriptor
from quorate.clusapi.status import Status
from quorate.database.values import RegistryValue
from quorate.dcerpc.associations import HandleTable
from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.errors import FaultCode, RpcFault
from quorate.dcerpc.initiators import Credentials, Logon
from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp import notify_methods as methods
from quorate.mscmrp import registry_methods as registry
from quorate.mscmrp.interface import SYNTAX
from quorate.mscmrp.method import Method
from quorate.mscmrp.notify_methods import (
    AddNotifyIn,
    AddNotifyKeyIn,
    AddNotifyResourceTypeV2In,
    AddNotifyV2In,
    GetNotifyOut,
    GetNotifyV2Out,
    ReAddNotifyIn,
)
from quorate.mscmrp.registry_methods import GetRootKeyIn, OpenKeyIn
from quorate.mscmrp.shapes import HandleIn, NoIn
from quorate.mscmrp.types import NotifyFilter
from quorate.server import notification_ports

KEY_READ = 0x20019
CLOSE_OR_UNBLOCK: list[Method[HandleIn, Any]] = [methods.CLOSE_NOTIFY, methods.UNBLOCK_GET_NOTIFY_CALL]
ALL = int(Change.ALL)


@asynccontextmanager
async def same_client(world: FaceWorld, user: WireUser, name: str = "alice") -> AsyncIterator[WireUser]:
    """Another connection of the same client: it shares the handles."""
    client = await RpcClient.connect("127.0.0.1", world.server.port)
    try:
        await client.bind(SYNTAX, Logon(Credentials(name, PASSWORD, "WORKGROUP")), group=user.client.group)
        yield WireUser(client)
    finally:
        await client.close()


async def first_port(user: WireUser) -> ContextHandle:
    answer = await user.ask(methods.CREATE_NOTIFY, NoIn())
    assert answer.status == 0
    return answer.handle


async def second_port(user: WireUser) -> ContextHandle:
    answer = await user.ask(methods.CREATE_NOTIFY_V2, NoIn())
    assert answer.status == 0
    return answer.handle


async def key(user: WireUser, path: str) -> ContextHandle:
    root = (await user.ask(registry.GET_ROOT_KEY, GetRootKeyIn(KEY_READ))).handle
    answer = await user.ask(registry.OPEN_KEY, OpenKeyIn(root, path, KEY_READ))
    assert answer.status == 0
    return answer.handle


def test_the_first_generation_tells_one_event_at_a_time() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            port, cluster = await first_port(user), await user.cluster()
            add = AddNotifyIn(port, cluster, Change.GROUP_ADDED | Change.GROUP_PROPERTY, 7)
            assert await user.status(methods.ADD_NOTIFY_CLUSTER, add) == 0
            added = await user.ask(methods.ADD_NOTIFY_GROUP, AddNotifyIn(port, await user.group("web1"), ALL, 8))
            assert added.status == 0
            waiting = asyncio.create_task(user.ask(methods.GET_NOTIFY, HandleIn(port)))
            await world.call("CreateGroup", name="spare")
            one = await waiting
            assert (one.key, one.filter, one.name, one.status) == (7, Change.GROUP_ADDED, "spare", 0)
            assert one.state_sequence > added.state_sequence
            await world.call("SetGroupNodeList", group="web1", nodes=("node2",))
            told = [await user.ask(methods.GET_NOTIFY, HandleIn(port)) for _ in range(2)]
            assert [(one.key, one.filter, one.name) for one in told] == [
                (7, Change.GROUP_PROPERTY, "web1"),
                (8, Change.GROUP_PROPERTY, "web1"),
            ]

    with_face(test)


def test_the_asynchronous_call_tells_several() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            port = await first_port(user)
            filter_ = Change.GROUP_ADDED | Change.REGISTRY_VALUE | Change.REGISTRY_SUBTREE
            add = AddNotifyIn(port, await user.cluster(), filter_, 7)
            assert await user.status(methods.ADD_NOTIFY_CLUSTER, add) == 0
            group = (await world.call("CreateGroup", name="spare")).text("id")
            path = f"Groups\\{group}"
            await world.call("SetValue", key=path, name="Priority", type=4, data=b"\x01\0\0\0")
            seen: list[tuple[int, str | None]] = []
            while len(seen) < 2:
                told = await user.ask(methods.GET_NOTIFY_ASYNC, HandleIn(port))
                seen += [(one.filter, one.name) for one in told.notifications or ()]
            assert seen[0] == (Change.GROUP_ADDED, "spare")
            assert (Change.REGISTRY_VALUE, path) in seen

    with_face(test)


def test_the_second_generation_tells_whose_flag_it_is() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            port, cluster, group = await second_port(user), await user.cluster(), await user.group("web1")
            wanted = (
                (cluster, ObjectType.NODE, NodeFlag.GROUP_GAINED | NodeFlag.GROUP_LOST, 1, False),
                (group, ObjectType.GROUP, GroupFlag.OWNER_NODE, 2, True),
                (cluster, ObjectType.CLUSTER, ClusterFlag.RENAME, 3, True),
            )
            for handle, type_, flags, number, targeted in wanted:
                add = AddNotifyV2In(port, handle, NotifyFilter(type_, flags), number, 1, targeted)
                assert await user.status(methods.ADD_NOTIFY_V2, add) == 0
            await world.call("MoveGroup", group="web1", destination="node2")
            id_ = (await world.call("GetGroupId", group="web1")).text("id")
            seen: set[tuple[int, int, int, str | None, str | None]] = set()
            while len(seen) < 3:
                told = await user.ask(methods.GET_NOTIFY_V2, HandleIn(port))
                for one in told.notifications or ():
                    data = one.data
                    seen.add((one.key, data.filter.object_type, data.filter.flags, data.object_id, data.name))
            assert seen == {
                (1, ObjectType.NODE, NodeFlag.GROUP_LOST, "1", "node1"),
                (1, ObjectType.NODE, NodeFlag.GROUP_GAINED, "2", "node2"),
                (2, ObjectType.GROUP, GroupFlag.OWNER_NODE, id_, "web1"),
            }

    with_face(test)


def test_keys_and_resource_types_have_calls_of_their_own() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            await world.call("CreateKey", key="a\\b")
            first, second, it = await first_port(user), await second_port(user), await key(user, "a")
            add = AddNotifyKeyIn(first, it, 5, Change.REGISTRY_VALUE | Change.REGISTRY_NAME, True)
            assert await user.status(methods.ADD_NOTIFY_KEY, add) == 0
            flags = RegistryFlag.VALUE | RegistryFlag.SUBTREE
            add_v2 = AddNotifyV2In(second, it, NotifyFilter(ObjectType.REGISTRY, flags), 6, 1, True)
            assert await user.status(methods.ADD_NOTIFY_V2, add_v2) == 0
            await world.call("SetValue", key="a\\b", name="x", type=4, data=b"1234")
            one = await user.ask(methods.GET_NOTIFY, HandleIn(first))
            assert (one.key, one.filter, one.name) == (5, Change.REGISTRY_VALUE, "a\\b")
            (told,) = (await user.ask(methods.GET_NOTIFY_V2, HandleIn(second))).notifications or ()
            assert (told.key, told.data.filter.flags, told.data.name) == (6, RegistryFlag.VALUE, "a\\b")
            of_type = AddNotifyResourceTypeV2In(second, ResourceTypeFlag.COMMON_PROPERTY, 9, "generic SCRIPT", 1)
            assert await user.status(methods.ADD_NOTIFY_RESOURCE_TYPE_V2, of_type) == 0
            nope = AddNotifyResourceTypeV2In(second, 1, 9, "nope", 1)
            assert await user.status(methods.ADD_NOTIFY_RESOURCE_TYPE_V2, nope) == 5078
            database = next(iter(world.nodes.nodes.values())).database
            await database.set_values("ResourceTypes\\Generic Script", {"Description": RegistryValue.sz("x")})
            (told,) = (await user.ask(methods.GET_NOTIFY_V2, HandleIn(second))).notifications or ()
            assert (told.key, told.data.filter.object_type) == (9, ObjectType.RESOURCE_TYPE)

    with_face(test)


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set whenever a call begins to wait at a port."""
    event, take = asyncio.Event(), notification_ports._Queue.take

    async def noted(queue: notification_ports._Queue[object], most: int) -> tuple[object, ...]:
        event.set()
        return await take(queue, most)

    monkeypatch.setattr(notification_ports._Queue, "take", noted)
    return event


@pytest.mark.parametrize("how", CLOSE_OR_UNBLOCK)
def test_a_call_that_waits_ends_when_its_port_is_closed_or_unblocked(
    how: Method[HandleIn, Any], blocked: asyncio.Event
) -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user, same_client(world, user) as other:
            port = await first_port(user)
            second = await second_port(user)
            first = asyncio.create_task(user.ask(methods.GET_NOTIFY, HandleIn(port)))
            await blocked.wait()
            assert await other.status(how, HandleIn(port)) == 0
            assert await first == GetNotifyOut(status=Status.ERROR_NO_MORE_ITEMS)
            blocked.clear()
            last = asyncio.create_task(user.ask(methods.GET_NOTIFY_V2, HandleIn(second)))
            await blocked.wait()
            assert await other.status(how, HandleIn(second)) == 0
            assert await last == GetNotifyV2Out(status=Status.ERROR_NO_MORE_ITEMS)

    with_face(test)


def test_a_port_is_forgotten_when_its_client_goes_away_while_a_call_waits(blocked: asyncio.Event) -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            port = await first_port(user)
            waiting = asyncio.create_task(user.ask(methods.GET_NOTIFY, HandleIn(port)))
            await blocked.wait()
            assert not waiting.done()
        with pytest.raises(Exception):  # noqa: B017 - however a client tells that it has hung up
            await waiting
        while world.server.handles:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        while any(task.get_name() == "notifications" for task in asyncio.all_tasks()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    with_face(test)


def test_a_port_that_there_is_no_room_for_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> ContextHandle:
        raise RpcFault(FaultCode.OUT_OF_MEMORY)

    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            it = await key(user, "")
            makes: tuple[tuple[Method[Any, Any], object], ...] = (
                (methods.CREATE_NOTIFY, NoIn()),
                (methods.CREATE_NOTIFY_V2, NoIn()),
                (registry.CREATE_BATCH_PORT, HandleIn(it)),
            )
            for method, inputs in makes:
                with monkeypatch.context() as patch:
                    patch.setattr(HandleTable, "open", full)
                    with pytest.raises(RpcFault) as caught:
                        await user.ask(method, inputs)
                assert caught.value.code == FaultCode.OUT_OF_MEMORY
                assert not [task for task in asyncio.all_tasks() if task.get_name() == "notifications"]

    with_face(test)


def test_ports_and_wishes_that_make_no_sense_are_refused() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user, world.user("rita") as reader:
            first, second, group = await first_port(user), await second_port(user), await user.group("web1")
            bad = Status.ERROR_INVALID_PARAMETER
            of_unknown = AddNotifyV2In(second, group, NotifyFilter(99, 1), 1, 1, False)
            assert await user.status(methods.ADD_NOTIFY_V2, of_unknown) == bad
            of_another = AddNotifyV2In(second, group, NotifyFilter(ObjectType.NODE, 1), 1, 1, True)
            assert await user.status(methods.ADD_NOTIFY_V2, of_another) == bad
            assert await user.status(methods.ADD_NOTIFY_GROUP, AddNotifyIn(second, group, ALL, 1)) == bad
            assert await user.status(methods.GET_NOTIFY_V2, HandleIn(first)) == bad
            for handles in ((group, group), (first, await user.cluster())):
                with pytest.raises(RpcFault) as caught:
                    await user.ask(methods.ADD_NOTIFY_GROUP, AddNotifyIn(*handles, ALL, 1))
                assert caught.value.code == FaultCode.CONTEXT_MISMATCH
            for no_object in (first, second):
                of_port = AddNotifyV2In(second, no_object, NotifyFilter(ObjectType.NODE, 1), 1, 1, False)
                with pytest.raises(RpcFault) as caught:
                    await user.ask(methods.ADD_NOTIFY_V2, of_port)
                assert caught.value.code == FaultCode.CONTEXT_MISMATCH
            with pytest.raises(RpcFault):
                await reader.ask(methods.GET_NOTIFY, HandleIn(first))

    with_face(test)


def test_who_comes_back_is_told_of_a_state_that_it_may_have_missed() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            port, group = await first_port(user), await user.group("web1")
            added = await user.ask(methods.ADD_NOTIFY_GROUP, AddNotifyIn(port, group, Change.GROUP_STATE, 1))
            again = await first_port(user)
            same = ReAddNotifyIn(again, group, Change.GROUP_STATE, 2, added.state_sequence)
            assert await user.status(methods.RE_ADD_NOTIFY_GROUP, same) == 0
            old = ReAddNotifyIn(again, group, Change.GROUP_STATE, 3, 0)
            assert await user.status(methods.RE_ADD_NOTIFY_GROUP, old) == 0
            one = await user.ask(methods.GET_NOTIFY, HandleIn(again))
            assert (one.key, one.filter, one.name) == (3, Change.GROUP_STATE, "web1")

    with_face(test)


@pytest.mark.parametrize("generation", [1, 2])
def test_of_a_key_that_somebody_may_not_read_nothing_is_told(generation: int) -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user("rita") as user:
            await world.call("CreateKey", key="a\\secret")
            only = SecurityDescriptor(dacl=(AccessEntry(0, 2, 0xF003F, ADMINISTRATORS),)).encode()
            await world.call("SetKeySecurity", key="a\\secret", security_information=4, descriptor=only)
            cluster = await user.cluster()
            if generation == 1:
                port, filter_ = await first_port(user), Change.REGISTRY_NAME | Change.REGISTRY_VALUE
                add = AddNotifyIn(port, cluster, filter_ | Change.REGISTRY_SUBTREE, 1)
                assert await user.status(methods.ADD_NOTIFY_CLUSTER, add) == 0
            else:
                port = await second_port(user)
                wanted = NotifyFilter(ObjectType.REGISTRY, 0x1F)
                add_v2 = AddNotifyV2In(port, cluster, wanted, 1, 1, False)
                assert await user.status(methods.ADD_NOTIFY_V2, add_v2) == 0
            await world.call("CreateKey", key="a\\secret\\deeper")
            await world.call("SetValue", key="a\\secret", name="hush", type=4, data=b"1234")
            await world.call("SetValue", key="a", name="x", type=4, data=b"1234")
            if generation == 1:
                name = (await user.ask(methods.GET_NOTIFY, HandleIn(port))).name
            else:
                (told,) = (await user.ask(methods.GET_NOTIFY_V2, HandleIn(port))).notifications or ()
                name = told.data.name
            assert name == "a"

    with_face(test)


# --- Batch ports ---------------------------------------------------------------------------------------------------


def test_a_batch_port_tells_what_is_changed_below_its_key(blocked: asyncio.Event) -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user("rita") as user, same_client(world, user, "rita") as other:
            await world.call("CreateKey", key="a\\secret")
            only = SecurityDescriptor(dacl=(AccessEntry(0, 2, 0xF003F, ADMINISTRATORS),)).encode()
            await world.call("SetKeySecurity", key="a\\secret", security_information=4, descriptor=only)
            made = await user.ask(registry.CREATE_BATCH_PORT, HandleIn(await key(user, "a")))
            assert made.status == 0
            await world.call("SetValue", key="a\\secret", name="hush", type=4, data=b"1234")
            await world.call("SetValue", key="a", name="x", type=4, data=b"1234")
            await world.call("SetValue", key="a", name="x", type=4, data=b"5678")
            told = [await user.ask(registry.GET_BATCH_NOTIFICATION, HandleIn(made.handle)) for _ in range(2)]
            commands = [[(one.command, one.name, one.data) for one in parse_batch(batch.data or b"")] for batch in told]
            assert commands == [
                [(RegistryCommand.SET_VALUE, "x", b"1234")],
                [(RegistryCommand.VALUE_DELETED, "x", b"1234"), (RegistryCommand.SET_VALUE, "x", b"5678")],
            ]
            blocked.clear()
            waiting = asyncio.create_task(user.ask(registry.GET_BATCH_NOTIFICATION, HandleIn(made.handle)))
            await blocked.wait()
            assert await other.status(registry.CLOSE_BATCH_PORT, HandleIn(made.handle)) == 0
            assert (await waiting).status == Status.ERROR_NO_MORE_ITEMS

    with_face(test)
