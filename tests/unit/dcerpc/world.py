"""A server for tests: accounts, an interface that echoes, waits and holds handles, and clients of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from quorate.dcerpc.acceptors import LogonDoor
from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.initiators import Credentials, Logon, Mechanism
from quorate.dcerpc.interfaces import Call, Declaration, Interface, Operation, RawOperation, Served
from quorate.dcerpc.limits import Limits
from quorate.dcerpc.logon_desk import LogonReport
from quorate.dcerpc.ndr import (
    HANDLE,
    NULL_HANDLE,
    U32,
    WSTRING,
    ContextHandle,
    Parameters,
    Unique,
)
from quorate.dcerpc.ntlm_crypto import nt_hash
from quorate.dcerpc.ntlm_messages import ServerNames
from quorate.dcerpc.security import AuthLevel, LogonAttempt
from quorate.dcerpc.server import RpcServer
from quorate.dcerpc.syntaxes import SyntaxId

ECHO = SyntaxId(UUID("6c1d0a4e-5f3b-4f7e-9a52-0d3a4d1c7b10"), 3, 1)
OPEN_ECHO = SyntaxId(UUID("6c1d0a4e-5f3b-4f7e-9a52-0d3a4d1c7b11"), 1)
OTHER = SyntaxId(UUID("6c1d0a4e-5f3b-4f7e-9a52-0d3a4d1c7b12"), 1)
NAMES = ServerNames("NODE1", "node1.example")
PASSWORDS = {"alice": nt_hash("secret"), "bob": nt_hash("geheim"), "straße": nt_hash("secret")}
ALICE = Credentials("alice", "secret", "WORKGROUP")
SECOND = 60.0
"""Seconds after which a test gives up; nothing waits that long."""


@dataclass(frozen=True, slots=True)
class SayIn:
    text: Annotated[str, WSTRING]


@dataclass(frozen=True, slots=True)
class SayOut:
    text: Annotated[str | None, Unique(WSTRING)]
    status: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class HandleIn:
    handle: Annotated[ContextHandle, HANDLE]


@dataclass(frozen=True, slots=True)
class HandleOut:
    handle: Annotated[ContextHandle, HANDLE]
    status: Annotated[int, U32]


SAY = Declaration("Say", Parameters.of(SayIn), Parameters.of(SayOut))
OPEN = Declaration("Open", Parameters.of(SayIn), Parameters.of(HandleOut))
NAME_OF = Declaration("NameOf", Parameters.of(HandleIn), Parameters.of(SayOut))
CLOSE = Declaration("Close", Parameters.of(HandleIn), Parameters.of(HandleOut))
OPNUMS = {"say": 0, "open": 1, "name_of": 2, "close": 3, "bytes": 4, "wait": 5, "finish": 6, "break": 7, "number": 8}


@dataclass(slots=True)
class Thing:
    """What a handle stands for."""

    name: str


@dataclass(slots=True)
class Number:
    """What a handle of another kind stands for."""

    value: int


@dataclass
class World:
    """What the handlers have seen."""

    run_down: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    reports: list[LogonReport] = field(default_factory=list)
    waiting: int = 0
    let_finish: asyncio.Event = field(default_factory=asyncio.Event)

    async def say(self, call: Call, inputs: SayIn) -> SayOut:
        return SayOut(inputs.text if inputs.text != "none" else None, 0)

    async def open(self, call: Call, inputs: SayIn) -> HandleOut:
        async def gone() -> None:
            self.run_down.append(inputs.text)

        return HandleOut(call.open_handle(Thing(inputs.text), gone), 0)

    async def name_of(self, call: Call, inputs: HandleIn) -> SayOut:
        return SayOut(call.find_handle(inputs.handle, Thing).name, 0)

    async def close(self, call: Call, inputs: HandleIn) -> HandleOut:
        call.close_handle(inputs.handle, Thing)
        return HandleOut(NULL_HANDLE, 0)

    async def echo(self, call: Call, data: bytes) -> bytes:
        return data

    async def wait(self, call: Call, data: bytes) -> bytes:
        """Wait for what never comes."""
        return await self._until(asyncio.Event(), "wait")

    async def finish(self, call: Call, data: bytes) -> bytes:
        """Wait until the test lets it finish."""
        return await self._until(self.let_finish, "finish")

    async def _until(self, event: asyncio.Event, name: str) -> bytes:
        self.waiting += 1
        try:
            await event.wait()
        except asyncio.CancelledError:
            self.ended.append(f"{name} cancelled")
            raise
        finally:
            self.waiting -= 1
        self.ended.append(f"{name} finished")
        return b"done"

    async def fail(self, call: Call, data: bytes) -> bytes:
        raise ZeroDivisionError("a handler that breaks")

    async def number(self, call: Call, data: bytes) -> bytes:
        return HANDLE.pack(call.open_handle(Number(7)))

    def interfaces(self) -> tuple[Interface, ...]:
        operations: dict[int, Served] = {
            0: Operation(SAY, self.say),
            1: Operation(OPEN, self.open),
            2: Operation(NAME_OF, self.name_of),
            3: Operation(CLOSE, self.close),
            4: RawOperation(self.echo),
            5: RawOperation(self.wait, is_cancellable=True),
            6: RawOperation(self.finish),
            7: RawOperation(self.fail),
            8: RawOperation(self.number),
        }
        return (
            Interface("echo", ECHO, operations),
            Interface("open echo", OPEN_ECHO, operations, AuthLevel.NONE),
        )

    async def on_logon(self, report: LogonReport) -> None:
        self.reports.append(report)


def accounts(attempt: LogonAttempt) -> bytes | None:
    return PASSWORDS.get(attempt.user.lower())


DOOR = LogonDoor(accounts, NAMES)


@asynccontextmanager
async def serving(world: World, limits: Limits | None = None) -> AsyncIterator[RpcServer]:
    """A server of that world, on a free port of the loopback."""
    server = RpcServer(*world.interfaces(), door=DOOR, limits=limits, on_logon=world.on_logon)
    await server.start("127.0.0.1")
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def connected(server: RpcServer) -> AsyncIterator[RpcClient]:
    """A client that is not bound yet."""
    client = await RpcClient.connect("127.0.0.1", server.port)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def logged_on(
    server: RpcServer,
    level: AuthLevel = AuthLevel.PRIVACY,
    mechanism: Mechanism = Mechanism.NTLM,
    *,
    group: int = 0,
    who: Credentials = ALICE,
) -> AsyncIterator[RpcClient]:
    """A client that has logged on to the echo."""
    async with connected(server) as client:
        await client.bind(ECHO, Logon(who, level, mechanism), group=group)
        yield client


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(SECOND):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def run(test: Callable[[], Awaitable[None]], within: float = SECOND) -> None:
    """Run a test that is a coroutine, and not for ever."""

    async def limited() -> None:
        async with asyncio.timeout(within):
            await test()

    asyncio.run(limited())
