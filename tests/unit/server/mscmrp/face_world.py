"""The face over a cluster of fake nodes: real methods, dispatchers and sockets; one user may do all, one may read."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.unit.server.fake import FakeWorld, start_fake_cluster, stop_fake_cluster

from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.operation_values import FieldValue, Values
from quorate.clusapi.status import Status
from quorate.dcerpc.acceptors import LogonDoor
from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.initiators import Credentials, Logon
from quorate.dcerpc.ndr import ContextHandle
from quorate.dcerpc.ntlm_crypto import nt_hash
from quorate.dcerpc.ntlm_messages import ServerNames
from quorate.dcerpc.security import LogonAttempt, Principal
from quorate.dcerpc.server import RpcServer
from quorate.mscmrp.cluster_methods import OPEN_CLUSTER_EX, OpenClusterExIn
from quorate.mscmrp.group_methods import GET_GROUP_STATE, OPEN_GROUP
from quorate.mscmrp.interface import SYNTAX
from quorate.mscmrp.method import Answered, Method
from quorate.mscmrp.node_methods import OPEN_NODE
from quorate.mscmrp.resource_methods import OPEN_RESOURCE
from quorate.mscmrp.shapes import HandleIn, NameIn, OpenOut
from quorate.server.callers import Caller
from quorate.server.mscmrp.access import MAXIMUM_ALLOWED
from quorate.server.mscmrp.calls import AnsweredCall
from quorate.server.mscmrp.face import MscmrpFace
from quorate.server.services import CallContext

PASSWORD = "secret"
LIMIT = 120.0
I = TypeVar("I")  # noqa: E741
O = TypeVar("O", bound=Answered)  # noqa: E741


@dataclass
class Gatekeeper:
    """Knows who may do what, and forgets it at a word."""

    full: dict[str, bool] = field(default_factory=lambda: {"alice": True, "rita": False})

    def caller(self, principal: Principal | None) -> Caller:
        if principal is None or principal.user not in self.full:
            raise CallerError(Status.ERROR_ACCESS_DENIED, "nobody knows who that is")
        return Caller(principal.user, self.full[principal.user])

    def hash_of(self, attempt: LogonAttempt) -> bytes | None:
        return nt_hash(PASSWORD) if attempt.user in self.full else None


@dataclass
class FaceWorld:
    """A fake cluster whose first node speaks MS-CMRP."""

    nodes: FakeWorld
    server: RpcServer
    gate: Gatekeeper
    answered: list[AnsweredCall]

    @asynccontextmanager
    async def user(self, name: str = "alice") -> AsyncIterator["WireUser"]:
        client = await RpcClient.connect("127.0.0.1", self.server.port)
        try:
            await client.bind(SYNTAX, Logon(Credentials(name, PASSWORD, "WORKGROUP")))
            yield WireUser(client)
        finally:
            await client.close()

    async def call(self, operation: str, **inputs: FieldValue) -> Values:
        """An operation without the wire."""
        context = CallContext("anna", True, "op-1")
        return await self.nodes.nodes[NodeId("1")].dispatcher.call(operation, Values(inputs), context)


@dataclass
class WireUser:
    """Somebody who has logged on."""

    client: RpcClient

    async def ask(self, method: Method[I, O], inputs: I) -> O:
        return await self.client.invoke(method.opnum, method.declaration, inputs)

    async def status(self, method: Method[I, O], inputs: I) -> int:
        return (await self.ask(method, inputs)).status

    async def cluster(self, access: int = MAXIMUM_ALLOWED) -> ContextHandle:
        answer = await self.ask(OPEN_CLUSTER_EX, OpenClusterExIn(access))
        assert answer.status == 0
        return answer.handle

    async def group(self, name: str) -> ContextHandle:
        return await self.open(OPEN_GROUP, name)

    async def resource(self, name: str) -> ContextHandle:
        return await self.open(OPEN_RESOURCE, name)

    async def node(self, name: str) -> ContextHandle:
        return await self.open(OPEN_NODE, name)

    async def open(self, method: Method[NameIn, OpenOut], name: str) -> ContextHandle:
        answer = await self.ask(method, NameIn(name))
        assert (answer.status, answer.rpc_status) == (0, 0)
        assert answer.handle
        return answer.handle

    async def owner_is(self, group: ContextHandle, node: str) -> None:
        """Wait until that node owns a group."""
        while (await self.ask(GET_GROUP_STATE, HandleIn(group))).node_name != node:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


@asynccontextmanager
async def face_world(nodes: int = 2) -> AsyncIterator[FaceWorld]:
    """A fake cluster with the virtual machine "web1" on its first node, served."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = await start_fake_cluster(directory, nodes)
        stack.push_async_callback(stop_fake_cluster, cluster)
        gate, answered = Gatekeeper(), list[AnsweredCall]()
        first = cluster.nodes[NodeId("1")]
        face = MscmrpFace(first, first.dispatcher, gate, answered.append)
        server = RpcServer(face.interface, door=LogonDoor(gate.hash_of, ServerNames("NODE1", "node1")))
        await server.start("127.0.0.1")
        stack.push_async_callback(server.close)
        world = FaceWorld(cluster, server, gate, answered)
        await world.call("CreateVirtualMachine", name="web1", definition={"memory": 1}, node="1")
        yield world


def with_face(test: Callable[[FaceWorld], Awaitable[None]], nodes: int = 2) -> None:
    """Run a test in such a world, and not for ever."""

    async def run() -> None:
        async with asyncio.timeout(LIMIT), face_world(nodes) as world:
            await test(world)

    asyncio.run(run())
