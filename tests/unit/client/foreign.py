"""A server of MS-CMRP that is not ours: two nodes, one virtual machine, and no word of VM_START_MIGRATION.

What it has no answer for is 120. It tells what it was asked.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from quorate.client.mscmrp.places import Place
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    pack_property_list,
    pack_sz,
)
from quorate.dcerpc.acceptors import LogonDoor
from quorate.dcerpc.interfaces import Call, Interface, Operation, Served
from quorate.dcerpc.ndr import NULL_HANDLE
from quorate.dcerpc.ntlm_crypto import nt_hash
from quorate.dcerpc.ntlm_messages import ServerNames
from quorate.dcerpc.security import LogonAttempt
from quorate.dcerpc.server import RpcServer
from quorate.mscmrp import cluster_methods as c
from quorate.mscmrp.group_methods import CreateGroupEnumOut, GetGroupStateOut
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.interface import INTERFACE_NAME, METHODS, SYNTAX, AnyMethod
from quorate.mscmrp.notify_methods import GetNotifyV2Out
from quorate.mscmrp.resource_methods import CreateResourceEnumOut, GetResourceStateOut
from quorate.mscmrp.shapes import (
    CloseOut,
    ControlOut,
    EnumExOut,
    EnumOut,
    OpenExOut,
    OpenOut,
    StateOut,
    StatusOut,
    TextOut,
)
from quorate.mscmrp.types import (
    EnumEntry,
    EnumList,
    GroupEnumEntry,
    GroupEnumList,
    Notification,
    ResourceEnumEntry,
    ResourceEnumList,
)

USER, PASSWORD = "admin", "secret"
NOT_FOUND = {HandleKind.NODE: 5042, HandleKind.GROUP: 5013, HandleKind.RESOURCE: 5007}
MASKS = {1: HandleKind.NODE, 4: HandleKind.RESOURCE, 8: HandleKind.GROUP}


@dataclass(slots=True)
class Thing:
    """What a handle stands for."""

    kind: HandleKind
    id: str
    name: str
    type: str = ""


@dataclass(slots=True)
class Foreign:
    """The cluster, and what was asked of it."""

    owner: str = "alpha"
    pending: int = 0
    """How often the group is still to be seen on its way."""
    destination: str = ""
    moves_while_asked: str = ""
    """The node to which the group has moved when its properties are read."""
    breaks_at: str = ""
    """The method at which it hangs up."""
    missing: tuple[str, ...] = ()
    """Methods that it does not have, as an older server."""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    news: "asyncio.Queue[Notification]" = field(default_factory=asyncio.Queue)
    things: tuple[Thing, ...] = (
        Thing(HandleKind.NODE, "1", "alpha"),
        Thing(HandleKind.NODE, "2", "beta"),
        Thing(HandleKind.GROUP, "g-1", "SQL"),
        Thing(HandleKind.RESOURCE, "r-1", "VM SQL", "Virtual Machine"),
        Thing(HandleKind.RESOURCE, "r-2", "Configuration of SQL", "Virtual Machine Configuration"),
        Thing(HandleKind.RESOURCE, "r-3", "Disk", "Physical Disk"),
    )
    server: RpcServer | None = None

    @property
    def names(self) -> list[str]:
        """The methods that were asked for, without opening and closing."""
        return [name for name, _ in self.asked if not name.startswith(("Open", "Close"))]

    def inputs_of(self, name: str) -> Any:
        """The inputs of the last call of a method."""
        return next(inputs for asked, inputs in reversed(self.asked) if asked == name)

    async def answer(self, method: AnyMethod, call: Call, inputs: Any) -> Any:
        """Answer one call."""
        self.asked.append((method.name, inputs))
        if method.name == self.breaks_at:
            assert self.server is not None
            self.server.put_out(lambda principal: True)
            await asyncio.Event().wait()
        if method.opens is not None and method.name.startswith("Open"):
            return self._open(method, call, inputs)
        if method.name.startswith("Close"):
            call.close_handle(inputs.handle, Thing)
            return CloseOut(NULL_HANDLE)
        handler = getattr(self, re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower(), None)
        if handler is None or method.name in self.missing:
            return method.failed(120)
        answer = handler(call, inputs)
        return await answer if asyncio.iscoroutine(answer) else answer

    def _open(self, method: AnyMethod, call: Call, inputs: Any) -> Any:
        kind = method.opens
        assert kind is not None
        if kind is HandleKind.CLUSTER:
            return c.OpenClusterExOut(handle=call.open_handle(Thing(kind, "", "foreign")))
        found = self.find(kind, inputs.name)
        if found is None:
            return method.failed(NOT_FOUND.get(kind, 2))
        handle = call.open_handle(found)
        return OpenExOut(handle=handle) if method.name.endswith("Ex") else OpenOut(handle=handle)

    def find(self, kind: HandleKind, name: str) -> Thing | None:
        """An object by id or name."""
        wanted = name.casefold()
        return next((one for one in self.things if one.kind is kind and wanted in (one.id, one.name.casefold())), None)

    # --- Methods -------------------------------------------------------------------------------------------------

    def get_cluster_name(self, call: Call, inputs: Any) -> c.GetClusterNameOut:
        """Its name."""
        return c.GetClusterNameOut("foreign", "alpha")

    def create_enum_ex(self, call: Call, inputs: Any) -> EnumExOut:
        """Every object of the kinds."""
        wanted = {kind: bit for bit, kind in MASKS.items() if inputs.mask & bit}
        found = [(wanted[one.kind], one) for one in self.things if one.kind in wanted]
        ids = tuple(EnumEntry(bit, one.id) for bit, one in found)
        return EnumExOut(EnumList(ids), EnumList(tuple(EnumEntry(bit, one.name) for bit, one in found)))

    def create_group_enum(self, call: Call, inputs: Any) -> CreateGroupEnumOut:
        """Groups without any properties."""
        return CreateGroupEnumOut(GroupEnumList((GroupEnumEntry("SQL", "g-1", 0, self.owner, 0),)))

    def create_resource_enum(self, call: Call, inputs: Any) -> CreateResourceEnumOut:
        """Resources without any properties."""
        found = [one for one in self.things if one.kind is HandleKind.RESOURCE]
        return CreateResourceEnumOut(
            ResourceEnumList(tuple(ResourceEnumEntry(one.name, one.id, "SQL", "g-1") for one in found))
        )

    def create_group_resource_enum(self, call: Call, inputs: Any) -> EnumOut:
        """The resources by name."""
        found = [one for one in self.things if one.kind is HandleKind.RESOURCE]
        return EnumOut(EnumList(tuple(EnumEntry(1, one.name) for one in found)))

    def get_group_state(self, call: Call, inputs: Any) -> GetGroupStateOut:
        """Online, or pending as long as the test wants."""
        self._look()
        return GetGroupStateOut(4 if self.pending else 0, self.owner)

    def get_resource_state(self, call: Call, inputs: Any) -> GetResourceStateOut:
        """Online."""
        return GetResourceStateOut(2, self.owner, "SQL")

    def get_node_state(self, call: Call, inputs: Any) -> StateOut:
        """Up."""
        return StateOut(0)

    def get_resource_type(self, call: Call, inputs: Any) -> TextOut:
        """Its type."""
        return TextOut(call.find_handle(inputs.handle, Thing).type)

    def get_resource_id(self, call: Call, inputs: Any) -> TextOut:
        """Its id."""
        return TextOut(call.find_handle(inputs.handle, Thing).id)

    get_group_id = get_resource_id
    get_node_id = get_resource_id

    def resource_control(self, call: Call, inputs: Any) -> ControlOut:
        """Names, and private properties; nothing else."""
        thing, operation = call.find_handle(inputs.handle, Thing), inputs.control_code & 0xFFFFFF
        if operation == 0x29:
            return _fitting(pack_sz(thing.name), inputs)
        if operation == 0x81 and thing.type.startswith("Virtual Machine"):
            vm_id = [("VmId", PropertyFormat.SZ, "7f0c")]
            return _fitting(pack_property_list(PropertyList.of(vm_id)), inputs)
        if operation == 0x7D and thing.type == "Virtual Machine":
            self.owner = self.moves_while_asked or self.owner
            state = pack_property_list(PropertyList.of([("VmState", PropertyFormat.DWORD, 2)]))
            return _fitting(state + bytes(4), inputs)  # with the end mark that some servers add
        return ControlOut(status=1)

    def group_control(self, call: Call, inputs: Any) -> ControlOut:
        """Names."""
        return _fitting(pack_sz(call.find_handle(inputs.handle, Thing).name), inputs)

    def move_group_to_node_ex(self, call: Call, inputs: Any) -> StatusOut:
        """Begin to move."""
        self.destination, self.pending = call.find_handle(inputs.node, Thing).name, 2
        return StatusOut(997)

    def cancel_cluster_group_operation(self, call: Call, inputs: Any) -> StatusOut:
        """End the move."""
        self.pending = 0
        return StatusOut(0)

    def offline_group_ex(self, call: Call, inputs: Any) -> StatusOut:
        """Accept it."""
        return StatusOut(997)

    def create_notify_v2(self, call: Call, inputs: Any) -> OpenOut:
        """A port."""
        return OpenOut(handle=call.open_handle(Thing(HandleKind.NOTIFY, "", "")))

    def add_notify_v2(self, call: Call, inputs: Any) -> StatusOut:
        """Watch something."""
        return StatusOut(0)

    async def get_notify_v2(self, call: Call, inputs: Any) -> GetNotifyV2Out:
        """Wait for the news."""
        return GetNotifyV2Out((await self.news.get(),))

    def _look(self) -> None:
        if self.pending:
            self.pending -= 1
            if not self.pending:
                self.owner = self.destination


def _fitting(data: bytes, inputs: Any) -> ControlOut:
    if len(data) > inputs.out_size:
        return ControlOut(b"", len(data), status=234)
    return ControlOut(data, len(data))


def accounts(attempt: LogonAttempt) -> bytes | None:
    """One account."""
    return nt_hash(PASSWORD) if attempt.user.lower() == USER else None


@asynccontextmanager
async def serving(foreign: Foreign) -> AsyncIterator[Place]:
    """A server of that cluster, on a free port of the loopback."""

    def operation(method: AnyMethod) -> Served:
        async def handle(call: Call, inputs: Any) -> Any:
            return await foreign.answer(method, call, inputs)

        return Operation(method.declaration, handle, is_cancellable=True)

    interface = Interface(INTERFACE_NAME, SYNTAX, {number: operation(method) for number, method in METHODS.items()})
    names = ServerNames("ALPHA", "alpha.example")
    server = RpcServer(interface, door=LogonDoor(accounts, names))
    foreign.server = server
    await server.start("127.0.0.1")
    try:
        yield Place("127.0.0.1", server.port)
    finally:
        await server.close()
