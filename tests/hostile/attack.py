"""Clients of MS-CMRP that send what nobody should: strangers damaged PDUs, insiders damaged stubs, well sealed.

They come from addresses of the loopback that nobody else uses, 127.0.0.2 and on, so that what is held against them is
not held against others.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.unit.dcerpc import exchanges
from tests.unit.dcerpc.mutations import mutate, mutate_stub
from tests.unit.server.mscmrp.face_world import WireUser
from tests.unit.server.mscmrp.plain_inputs import inputs_of, open_all, open_for_reading

from quorate.clusapi.control_code_lookup import all_control_codes
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import Change
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list
from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.errors import ConnectionLost, LogonRefused, RpcFault
from quorate.dcerpc.initiators import Credentials, Logon, Mechanism
from quorate.dcerpc.ndr import ContextHandle, Struct
from quorate.dcerpc.ntlm_messages import SIGNATURE
from quorate.dcerpc.pdu import AuthTrailer, Bare, Bind, PduType, PresentationContext, Request, pack_pdu
from quorate.dcerpc.security import AuthLevel, AuthType, pack_fragments
from quorate.dcerpc.syntaxes import NDR32, NDR64, Feature, features_syntax
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.interface import LAST_OPNUM, METHODS, SYNTAX, AnyMethod
from quorate.server.mscmrp.access import MAXIMUM_ALLOWED

_METHODS: Final = tuple(METHODS.values())
_METHODS_THAT_KEEP: Final = tuple(method for method in _METHODS if not method.name.startswith("Close"))
STUBS_A_CONNECTION: Final = 60
PATIENCE: Final = 60.0
"""Seconds after which a server that neither answers nor closes is taken to hang."""
_WITHIN: Final = 0.3
"""Seconds after which an insider gives a call up: some wait for an event."""
_CONTEXTS: Final = (
    PresentationContext(0, SYNTAX, (NDR32,)),
    PresentationContext(1, SYNTAX, (NDR64,)),
    PresentationContext(2, SYNTAX, (features_syntax(Feature.KEEP_AFTER_ORPHAN),)),
)
_BIND: Final = Bind(4280, 4280, 0, _CONTEXTS)
_NEGOTIATE: Final = SIGNATURE + bytes.fromhex("01000000358288e2") + bytes(16)


def _trailer(token: bytes, kind: AuthType = AuthType.NTLM, level: AuthLevel = AuthLevel.PRIVACY) -> AuthTrailer:
    return AuthTrailer(kind, level, 7, token)


def _requests() -> list[bytes]:
    stubs = (b"", bytes(20), b"\xff" * 40, bytes(6000))
    return [
        fragment
        for opnum in (0, 8, 73, 184, 65535)
        for stub in stubs
        for fragment in pack_fragments(PduType.REQUEST, 2 + opnum, Request(0, 0, opnum, None, 0), stub, 4280)
    ]


_CODES: Final = tuple(code.value for code in all_control_codes())
_BUFFERS: Final = (
    b"",
    bytes(200),
    pack_property_list(
        PropertyList.of([("Description", PropertyFormat.SZ, "x"), ("Priority", PropertyFormat.DWORD, 1)])
    ),
    pack_property_list(PropertyList.of([("AntiAffinityClassNames", PropertyFormat.MULTI_SZ, ("a", "b"))])),
)


def _fitting(method: AnyMethod, chosen: dict[str, object]) -> dict[str, object]:
    """Those of the values that are of the type that the method has under that name."""
    members = method.declaration.inputs._members
    return {name: value for name, value in chosen.items() if not isinstance(members.get(name), Struct)}


PDUS: Final = (
    pack_pdu(PduType.BIND, 1, _BIND),
    pack_pdu(PduType.BIND, 1, _BIND, _trailer(_NEGOTIATE)),
    pack_pdu(PduType.BIND, 1, _BIND, _trailer(_NEGOTIATE, level=AuthLevel.INTEGRITY)),
    pack_pdu(PduType.ALTER_CONTEXT, 3, _BIND, _trailer(_NEGOTIATE)),
    pack_pdu(PduType.AUTH3, 3, Bare(), _trailer(SIGNATURE + bytes.fromhex("03000000") + bytes(200))),
    pack_pdu(PduType.CANCEL, 7, Bare()),
    pack_pdu(PduType.ORPHANED, 7, Bare()),
    exchanges.BIND,
    exchanges.ALTER_CONTEXT,
    exchanges.SEALED_REQUEST,
    exchanges.EPM_BIND,
    exchanges.EPM_MAP,
    *_requests(),
)


@dataclass
class Attack:
    """So many damaged PDUs and stubs on one server."""

    port: int
    users: Mapping[str, str]
    """Passwords of those who send stubs, by name."""
    dice: Random
    sent: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    """What came of the stubs."""
    hangs: int = 0

    async def run(self, count: int, at_a_time: int = 6) -> None:
        """Send at least so many."""
        end = self.sent + count

        async def work() -> None:
            while self.sent < end:
                await (self._insider if self.dice.random() < 0.08 else self._stranger)()

        async with asyncio.TaskGroup() as group:
            for _ in range(at_a_time):
                group.create_task(work())

    def _source(self) -> tuple[str, int]:
        return f"127.0.0.{self.dice.randrange(2, 200)}", 0

    async def _stranger(self) -> None:
        """One connection: perhaps a good bind, then damaged PDUs until the server has had enough."""
        dice = self.dice
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=self._source())
        except OSError:
            self.faults["no connection"] += 1
            return
        try:
            damaged = [mutate(dice, dice.choice(PDUS)) for _ in range(dice.randrange(1, 16))]
            self.sent += len(damaged)
            writer.write((dice.choice(PDUS[:3]) if dice.random() < 0.8 else b"") + b"".join(damaged))
            writer.write_eof()
            async with asyncio.timeout(PATIENCE):
                await reader.read()
        except TimeoutError:
            self.hangs += 1
        except OSError:
            return
        finally:
            writer.transport.abort()

    async def _insider(self) -> None:
        """One connection of somebody who has logged on."""
        user = self.dice.choice(sorted(self.users))
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=self._source())
        except OSError:
            self.faults["no connection"] += 1
            return
        client = RpcClient(reader, writer, "127.0.0.1")
        try:
            mechanism = self.dice.choice((Mechanism.NTLM, Mechanism.SPNEGO))
            await client.bind(SYNTAX, Logon(Credentials(user, self.users[user]), AuthLevel.PRIVACY, mechanism))
            await self._send_stubs(client, user)
        except (LogonRefused, ConnectionLost) as error:
            self.faults[type(error).__name__] += 1
        finally:
            await client.close()

    async def _send_stubs(self, client: RpcClient, user: str) -> None:
        wire = WireUser(client)
        handles = await (open_for_reading if user.startswith("reader") else open_all)(wire, of_all_kinds=False)
        for _ in range(STUBS_A_CONNECTION):
            method = self.dice.choice(_METHODS if self.dice.random() < 0.02 else _METHODS_THAT_KEEP)
            await self._note(client.call(*self._damaged(method, handles), within=_WITHIN))

    def _damaged(self, method: AnyMethod, handles: Mapping[HandleKind, ContextHandle]) -> tuple[int, bytes]:
        dice = self.dice
        self.sent += 1
        some = dice.choice(list(handles.values()))
        given = [handles.get(kind, some) if dice.random() < 0.95 else some for kind in method.takes]
        text = dice.choice(("x", "web1", "node1", "Cluster Group", "", "\u00fc" * 300))
        chosen: dict[str, object] = {
            "control_code": dice.choice(_CODES),
            "in_buffer": dice.choice(_BUFFERS),
            "out_size": 4096,
            "type_name": "Virtual Machine",
            "desired_access": MAXIMUM_ALLOWED,
            "sam_desired": MAXIMUM_ALLOWED,
            "mask": dice.choice((1, 0xFFFFFFFF)),
            "filter": dice.choice((0, int(Change.ALL))),
        }
        stub = method.declaration.inputs.pack(inputs_of(method, given, text, **_fitting(method, chosen)))
        keep = 20 * len(given) if dice.random() < 0.8 else 0
        opnum = method.opnum if dice.random() < 0.98 else dice.randrange(LAST_OPNUM + 20)
        return opnum, mutate_stub(dice, stub, min(keep, len(stub)))

    async def _note(self, call: Awaitable[object]) -> None:
        try:
            await call
        except RpcFault as fault:
            self.faults[f"fault {fault.code:#x}"] += 1
        except TimeoutError:
            self.faults["waits"] += 1
        else:
            self.faults["answered"] += 1


@dataclass
class Witness:
    """Somebody else, who is served meanwhile: asks again and again until `end`, and never waits long."""

    ask: Callable[[], Awaitable[object]]
    pause: float
    longest: float = 0.0
    answers: int = 0
    errors: list[str] = field(default_factory=list)
    _task: "asyncio.Task[None] | None" = None

    def start(self) -> None:
        """Begin to ask."""
        self._task = asyncio.create_task(self._keep_asking())

    async def end(self) -> None:
        """Stop asking."""
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _keep_asking(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await self.ask()
            except (ClusterError, OSError, TimeoutError) as error:
                self.errors.append(str(error))
                return
            self.answers += 1
            self.longest = max(self.longest, loop.time() - begun)
            await asyncio.sleep(self.pause)
