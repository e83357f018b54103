"""The registry and notifications on a real cluster: what one node is told, the other one shows and tells."""

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import pytest
from tests.system.pocket_cluster import PocketCluster

from quorate.clusapi.control_codes import CLUSCTL_GROUP_GET_COMMON_PROPERTIES
from quorate.clusapi.notifications import GroupFlag, NodeFlag, ObjectType, RegistryFlag, ResourceFlag
from quorate.clusapi.property_lists import parse_property_list
from quorate.clusapi.registry_batch import BatchCommand, RegistryCommand, parse_batch, write_batch
from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.initiators import Credentials, Logon
from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp import cluster_methods as cluster_calls
from quorate.mscmrp import notify_methods as notify
from quorate.mscmrp import registry_methods as registry
from quorate.mscmrp.interface import SYNTAX
from quorate.mscmrp.method import Answered, Method
from quorate.mscmrp.shapes import HandleIn, NoIn
from quorate.mscmrp.types import NotifyFilter

HOST: Final = "127.0.0.1"
USER: Final = "alice"
PASSWORD: Final = "long enough, and Secret"
KEY_ALL: Final = 0xF003F
LIMIT: Final = 60.0
_C = RegistryCommand
I = TypeVar("I")  # noqa: E741
O = TypeVar("O", bound=Answered)  # noqa: E741


class Caller:
    """Somebody who has logged on at one node."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    async def ask(self, method: Method[I, O], inputs: I) -> O:
        """A call that must succeed."""
        answer = await self._client.invoke(method.opnum, method.declaration, inputs)
        assert answer.status == 0, (method.name, answer)
        return answer

    async def key(self, path: str) -> ContextHandle:
        root = await self.ask(registry.GET_ROOT_KEY, registry.GetRootKeyIn(KEY_ALL))
        made = registry.CreateKeyIn(root.handle, path, 0, KEY_ALL)
        return (await self.ask(registry.CREATE_KEY, made)).handle

    async def cluster(self) -> ContextHandle:
        opened = await self.ask(cluster_calls.OPEN_CLUSTER_EX, cluster_calls.OpenClusterExIn(0x02000000))
        return opened.handle


class Served(PocketCluster):
    """A pocket cluster whose nodes speak MS-CMRP at ports that were free."""

    def __init__(self, directory: Path) -> None:
        self.first_port = _free_ports(2)
        super().__init__(directory, 2, f"{HOST}:{self.first_port}")

    @asynccontextmanager
    async def caller(self, node: int) -> AsyncIterator[Caller]:
        client = await RpcClient.connect(HOST, self.first_port + node - 1)
        try:
            await client.bind(SYNTAX, Logon(Credentials(USER, PASSWORD, "WORKGROUP")))
            yield Caller(client)
        finally:
            await client.close()


def _free_ports(count: int) -> int:
    """The first of several ports in a row that nobody has."""
    while True:
        with socket.create_server((HOST, 0)) as first:
            port: int = first.getsockname()[1]
        try:
            for offset in range(count):
                socket.create_server((HOST, port + offset)).close()
        except OSError:
            continue
        return port


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    cluster = Served(tmp_path_factory.mktemp("pc"))
    try:
        cluster.start()
        cluster.call("AddUserAccount", name=USER, role="full", password=PASSWORD)
        cluster.create_builtin("web1", "64M", start=False)
        yield cluster
    finally:
        cluster.end()


def run(test: Coroutine[None, None, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT):
            await test

    asyncio.run(limited())


def test_what_one_node_is_told_the_other_one_shows_at_once(served: Served) -> None:
    async def test() -> None:
        async with served.caller(1) as here, served.caller(2) as there:
            for number in range(20):
                value = BatchCommand(_C.SET_VALUE, "Number", 4, number.to_bytes(4, "little"))
                batch = write_batch([BatchCommand(_C.CREATE_KEY, f"Software\\k{number}"), value])
                root = await here.key("Tests")
                await here.ask(registry.EXECUTE_BATCH, registry.ExecuteBatchIn(root, data=batch))
                key = await there.key(f"tests\\software\\K{number}")
                found = await there.ask(registry.QUERY_VALUE, registry.QueryValueIn(key, "number", 4))
                assert found.data == number.to_bytes(4, "little")

    run(test())


def test_properties_and_the_registry_are_one_truth(served: Served) -> None:
    async def test() -> None:
        group = served.call("GetGroupId", group="web1").text("id")
        async with served.caller(2) as there:
            key = await there.key(f"Groups\\{group}")
            data = (3000).to_bytes(4, "little")
            await there.ask(registry.SET_VALUE, registry.SetValueIn(key, "Priority", 4, data))
        code = CLUSCTL_GROUP_GET_COMMON_PROPERTIES
        output = served.call("GroupControl", group="web1", control_code=code).data("output")
        assert {one.name: one.value for one in parse_property_list(output)}["Priority"] == 3000

    run(test())


def test_a_machine_that_starts_and_moves_is_told_at_every_node(served: Served) -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(served.caller(node)) for node in (1, 2)]
            ports = [await _port(caller) for caller in callers]
            source = served.owner("web1")
            target = "node2" if source == "node1" else "node1"
            await asyncio.to_thread(served.call, "OnlineGroup", group="web1", flags=2)
            await asyncio.to_thread(served.call, "MoveGroup", group="web1", destination=target)
            wanted = {
                (ObjectType.RESOURCE, ResourceFlag.STATE, "Virtual Machine web1"),
                (ObjectType.GROUP, GroupFlag.STATE, "web1"),
                (ObjectType.GROUP, GroupFlag.OWNER_NODE, "web1"),
                (ObjectType.RESOURCE, ResourceFlag.PRIVATE_PROPERTY, "Virtual Machine web1"),
                (ObjectType.NODE, NodeFlag.GROUP_LOST, source),
                (ObjectType.NODE, NodeFlag.GROUP_GAINED, target),
            }
            for caller, port in zip(callers, ports, strict=True):
                seen: set[tuple[int, int, str | None]] = set()
                while not wanted <= seen:
                    told = await caller.ask(notify.GET_NOTIFY_V2, HandleIn(port))
                    for one in told.notifications or ():
                        seen.add((one.data.filter.object_type, one.data.filter.flags, one.data.name))

    run(test())


async def _port(caller: Caller) -> ContextHandle:
    port = (await caller.ask(notify.CREATE_NOTIFY_V2, NoIn())).handle
    cluster = await caller.cluster()
    for type_ in (ObjectType.GROUP, ObjectType.RESOURCE, ObjectType.NODE):
        await caller.ask(
            notify.ADD_NOTIFY_V2, notify.AddNotifyV2In(port, cluster, NotifyFilter(type_, 0x7FF), 1, 1, False)
        )
    return port


def test_a_batch_port_of_one_node_tells_what_is_written_at_the_other(served: Served) -> None:
    async def test() -> None:
        async with served.caller(1) as here, served.caller(2) as there:
            port = (await there.ask(registry.CREATE_BATCH_PORT, HandleIn(await there.key("Watched")))).handle
            commands = (BatchCommand(_C.SET_VALUE, "x", 4, b"1234"), BatchCommand(_C.CREATE_KEY, "below"))
            batch = registry.ExecuteBatchIn(await here.key("Watched"), data=write_batch(commands))
            await here.ask(registry.EXECUTE_BATCH, batch)
            told = await there.ask(registry.GET_BATCH_NOTIFICATION, HandleIn(port))
            assert parse_batch(told.data or b"") == commands

    run(test())


def test_a_key_is_watched_with_all_below(served: Served) -> None:
    async def test() -> None:
        async with served.caller(1) as here, served.caller(2) as there:
            port = (await there.ask(notify.CREATE_NOTIFY_V2, NoIn())).handle
            flags = NotifyFilter(ObjectType.REGISTRY, RegistryFlag.VALUE | RegistryFlag.SUBTREE)
            asked = notify.AddNotifyV2In(port, await there.key("Seen"), flags, 5, 1, True)
            await there.ask(notify.ADD_NOTIFY_V2, asked)
            below = await here.key("Seen\\Deep")
            await here.ask(registry.SET_VALUE, registry.SetValueIn(below, "x", 4, b"1234"))
            (one,) = (await there.ask(notify.GET_NOTIFY_V2, HandleIn(port))).notifications or ()
            assert (one.key, one.data.filter.flags, one.data.name) == (5, RegistryFlag.VALUE, "Seen\\Deep")

    run(test())
