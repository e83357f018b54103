"""The logon to MS-CMRP on the loopback: users with passwords, who guesses, who was removed; all of it written down."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from tests.unit.dcerpc.world import ECHO, OPNUMS, SAY, SayIn, SayOut, World, connected, run, until

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.accounts import Account, Accounts
from quorate.database.records import Versioned
from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.errors import ConnectionLost, LogonRefused, RpcFault
from quorate.dcerpc.initiators import Credentials, Logon, Mechanism
from quorate.dcerpc.ntlm_crypto import nt_hash
from quorate.dcerpc.security import AuthLevel, Principal
from quorate.dcerpc.server import RpcServer
from quorate.server.audit import Audit
from quorate.server.callers import Caller
from quorate.server.mscmrp.logon import Logons

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "grüner Tee 7"


@dataclass
class Door:
    """Accounts, the door that goes by them, and what the audit has written."""

    records: dict[str, Versioned[Account]] = field(default_factory=dict)
    written: list[EventRecord] = field(default_factory=list)
    world: World = field(default_factory=World)
    now: float = 0.0
    revision: int = 1

    def __post_init__(self) -> None:
        async def write(events: Sequence[EventRecord]) -> None:
            self.written.extend(events)

        self.audit = Audit(NodeId("1"), write)
        self.logons = Logons(Accounts(lambda: self.records), self.audit, "node1", "pocket", clock=lambda: self.now)
        self.server = RpcServer(*self.world.interfaces(), door=self.logons.door, on_logon=self.logons.on_logon)
        self.put("Alice", SECRET)

    def put(self, name: str, password: str, role: str = "full") -> None:
        self.revision += 1
        account = Account(name, role, nt_hash(password), NOW)
        self.records = {**self.records, keys.fold(name): Versioned(account, self.revision)}

    def remove(self, name: str) -> None:
        self.records = {key: record for key, record in self.records.items() if key != keys.fold(name)}

    async def sentences(self) -> list[str]:
        await self.audit.close()
        return [event.sentence for event in self.written]


@asynccontextmanager
async def logged_on(door: Door, user: str = "alice", password: str = SECRET) -> AsyncIterator[RpcClient]:
    async with connected(door.server) as client:
        await client.bind(ECHO, Logon(Credentials(user, password), AuthLevel.PRIVACY, Mechanism.SPNEGO))
        yield client


async def attempt(door: Door, user: str, password: str) -> bool:
    try:
        async with logged_on(door, user, password):
            return True
    except (LogonRefused, RpcFault):
        return False


def with_door(test: Callable[[Door], Awaitable[None]]) -> Callable[[], None]:
    async def body() -> None:
        door = Door()
        await door.server.start("127.0.0.1")
        try:
            await test(door)
        finally:
            await door.server.close()

    return lambda: run(body)


@with_door
async def test_who_has_a_password_comes_in_whatever_the_case_of_the_name(door: Door) -> None:
    for user in ("alice", "ALICE"):
        async with logged_on(door, user) as client:
            assert await client.invoke(0, SAY, SayIn("x")) == SayOut("x", 0)
    assert not await attempt(door, "bob", SECRET)
    assert not await attempt(door, "alice", "wrong")
    assert await door.sentences() == [
        "alice logged on at 127.0.0.1",
        "ALICE logged on at 127.0.0.1",
        '"bob" at 127.0.0.1 was not let in: there is no such account, or the password is wrong',
        '"alice" at 127.0.0.1 was not let in: there is no such account, or the password is wrong',
    ]


@with_door
async def test_who_calls_is_who_the_account_is_now(door: Door) -> None:
    principal = Principal("ALICE", "ANY", "ntlm")
    assert door.logons.caller(principal) == Caller("Alice", full_access=True)
    door.put("Alice", SECRET, "read")
    assert door.logons.caller(principal) == Caller("Alice", full_access=False)
    door.remove("Alice")
    for nobody in (principal, None):
        with pytest.raises(ClusterError) as caught:
            door.logons.caller(nobody)
        assert caught.value.status is Status.ERROR_ACCESS_DENIED


@with_door
async def test_guessing_closes_the_account_to_this_source_and_time_opens_it(door: Door) -> None:
    for _ in range(4):
        assert not await attempt(door, "alice", "wrong")  # the fourth answer comes a little later
    assert not await attempt(door, "alice", SECRET), "the right one is not looked at either: time stands still here"
    door.put("bob", SECRET)
    assert await attempt(door, "bob", SECRET)
    door.now += 1
    assert await attempt(door, "alice", SECRET)
    assert any("no password is looked at for 0.2 s more" in sentence for sentence in await door.sentences())


@with_door
async def test_a_user_who_is_removed_or_gets_another_password_is_put_out(door: Door) -> None:
    door.put("bob", SECRET)
    door.put("carol", SECRET)
    door.logons.put_out_strangers(door.server)
    async with logged_on(door, "alice") as alice, logged_on(door, "bob") as bob, logged_on(door, "carol") as carol:
        waiting = [asyncio.create_task(one.call(OPNUMS["wait"], b"")) for one in (alice, bob)]
        await until(lambda: door.world.waiting == 2)
        door.put("alice", "another one")
        door.remove("bob")
        door.logons.put_out_strangers(door.server)
        for task in waiting:
            with pytest.raises(ConnectionLost):
                await task
        await until(lambda: door.server.connections == 1 and not door.world.waiting)
        assert await carol.invoke(0, SAY, SayIn("x")) == SayOut("x", 0)
    assert not await attempt(door, "alice", SECRET)
    assert await attempt(door, "alice", "another one")


@with_door
async def test_a_password_that_changes_while_the_answer_is_held_back_counts_no_more(door: Door) -> None:
    for number in range(12):
        door.logons._slow_down.on_refused("alice", f"192.0.2.{number}", 0.0)
    task = asyncio.create_task(attempt(door, "alice", SECRET))
    await until(lambda: door.server.connections == 1 and len(door.audit._book._waiting) == 1)
    door.put("alice", "another one")
    assert not await task
