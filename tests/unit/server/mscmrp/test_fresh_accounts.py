"""Who was added, changed or removed a moment ago, while this node's view does not show it yet."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.unit.dcerpc.world import ECHO, SAY, SayIn, SayOut, World, connected, run

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import NodeId
from quorate.database.accounts import Account, Accounts
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import StoreUnavailable
from quorate.database.memory import MemoryStore
from quorate.database.snapshot import ClusterSnapshot
from quorate.dcerpc.errors import LogonRefused, RpcFault
from quorate.dcerpc.initiators import Credentials, Logon
from quorate.dcerpc.ntlm_crypto import nt_hash
from quorate.dcerpc.security import Principal
from quorate.dcerpc.server import RpcServer
from quorate.server.audit import Audit
from quorate.server.callers import Caller
from quorate.server.mscmrp.fresh_accounts import FreshAccounts
from quorate.server.mscmrp.logon import Logons

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "grüner Tee 7"
ALICE = Principal("alice", "", "ntlm")


@dataclass
class Node:
    """A door at a node whose view stands still until it is moved."""

    database: ClusterDatabase
    seen: ClusterSnapshot
    is_silent: bool = False

    def __post_init__(self) -> None:
        self.fresh = FreshAccounts(lambda: self.seen, self._read)
        audit = Audit(NodeId("1"), self.database.append_events)
        self.logons = Logons(Accounts(self.fresh.records), audit, "node1", "demo")
        self.server = RpcServer(
            *World().interfaces(),
            door=self.logons.door,
            on_logon=self.logons.on_logon,
            before_logon=self.fresh.refresh,
        )

    async def _read(self) -> ClusterSnapshot:
        if self.is_silent:
            raise StoreUnavailable("nobody answers")
        return await self.database.snapshot()

    async def add(self, name: str, password: str = SECRET) -> None:
        await self.database.credentials.add_account(Account(name, "full", nt_hash(password), NOW))

    async def move_view(self) -> None:
        self.seen = await self.database.snapshot()

    async def attempt(self, name: str, password: str = SECRET) -> bool:
        try:
            async with connected(self.server) as client:
                await client.bind(ECHO, Logon(Credentials(name, password)))
                return await client.invoke(0, SAY, SayIn("x")) == SayOut("x", 0)
        except (LogonRefused, RpcFault):
            return False


def with_node(test: Callable[[Node], Awaitable[None]]) -> Callable[[], None]:
    async def body() -> None:
        database = ClusterDatabase(MemoryStore())
        await database.create_cluster("demo")
        node = Node(database, await database.snapshot())
        await node.server.start("127.0.0.1")
        try:
            await test(node)
        finally:
            await node.server.close()

    return lambda: run(body)


@with_node
async def test_who_was_added_elsewhere_comes_in_and_calls_at_once(node: Node) -> None:
    assert not await node.attempt("alice")
    await node.add("alice")
    assert await node.attempt("alice")
    assert node.logons.caller(ALICE) == Caller("alice", full_access=True)
    await node.move_view()
    assert node.fresh.records() is node.seen.accounts
    assert node.logons.caller(ALICE) == Caller("alice", full_access=True)


@with_node
async def test_who_was_removed_or_got_another_password_elsewhere_does_not_come_in(node: Node) -> None:
    await node.add("alice")
    await node.add("bob")
    await node.move_view()
    await node.database.credentials.remove_user("alice")
    await node.database.credentials.set_password("bob", nt_hash("another one"), NOW)
    assert [await node.attempt("alice"), await node.attempt("bob")] == [False, False]
    assert await node.attempt("bob", "another one")
    try:
        node.logons.caller(ALICE)
    except ClusterError as error:
        assert error.status == 5
    else:
        raise AssertionError("a removed user may call")


@with_node
async def test_while_the_database_is_silent_the_view_counts(node: Node) -> None:
    await node.add("alice")
    await node.move_view()
    await node.add("bob")
    node.is_silent = True
    assert [await node.attempt("alice"), await node.attempt("bob")] == [True, False]
