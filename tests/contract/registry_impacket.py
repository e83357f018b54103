"""Impacket on the registry and on notification ports, in a process of its own: prints what it was told, as JSON.

    python -m tests.contract.registry_impacket PORT USER PASSWORD

What it sends and reads is declared here in impacket's own way, from the interface definition of [MS-CMRP].
"""

import json
import struct
import sys
from typing import Any

from impacket.dcerpc.v5 import rpcrt, transport  # type: ignore[import-untyped]
from impacket.dcerpc.v5.dtypes import DWORD, LPWSTR, NULL, WSTR  # type: ignore[import-untyped]
from impacket.dcerpc.v5.ndr import (  # type: ignore[import-untyped]
    NDRCALL,
    NDRHYPER,
    NDRPOINTER,
    NDRSTRUCT,
    NDRUniConformantArray,
    NDRUniConformantVaryingArray,
)
from impacket.uuid import uuidtup_to_bin  # type: ignore[import-untyped]

CLUSAPI = "b97db8b2-4c63-11cf-bff6-08002be23f2f"
KEY_ALL = 0xF003F


class Handle(NDRSTRUCT):  # type: ignore[misc]
    structure = (("Data", "20s=b''"),)

    def getAlignment(self) -> int:  # noqa: N802
        return 4


class FileTime(NDRSTRUCT):  # type: ignore[misc]
    structure = (("Low", DWORD), ("High", DWORD))


class Bytes(NDRUniConformantArray):  # type: ignore[misc]
    item = "c"


class BytesPointer(NDRPOINTER):  # type: ignore[misc]
    referent = (("Data", Bytes),)


class VaryingBytes(NDRUniConformantVaryingArray):  # type: ignore[misc]
    item = "c"


class VaryingBytesPointer(NDRPOINTER):  # type: ignore[misc]
    referent = (("Data", VaryingBytes),)


class Descriptor(NDRSTRUCT):  # type: ignore[misc]
    structure = (("Bytes", VaryingBytesPointer), ("InSize", DWORD), ("OutSize", DWORD))


class Filter(NDRSTRUCT):  # type: ignore[misc]
    structure = (("Type", DWORD), ("Flags", NDRHYPER))


class Data(NDRSTRUCT):  # type: ignore[misc]
    structure = (
        ("Filter", Filter),
        ("Buffer", BytesPointer),
        ("BufferSize", DWORD),
        ("ObjectId", LPWSTR),
        ("ParentId", LPWSTR),
        ("Name", LPWSTR),
        ("Type", LPWSTR),
    )


class Notification(NDRSTRUCT):  # type: ignore[misc]
    structure = (("Key", DWORD), ("Told", Data))


class Notifications(NDRUniConformantArray):  # type: ignore[misc]
    item = Notification


class NotificationsPointer(NDRPOINTER):  # type: ignore[misc]
    referent = (("Data", Notifications),)


STATUS = ("Status", DWORD)
RPC_STATUS = ("RpcStatus", DWORD)
HANDLE = ("Handle", Handle)


def call(*members: tuple[str, Any]) -> type[Any]:
    """The inputs, or the outputs, of a call."""
    return type("Call", (NDRCALL,), {"structure": members})


OPENED = call(STATUS, RPC_STATUS, HANDLE)
DONE = call(RPC_STATUS, STATUS)


class Caller:
    """One connection, sealed."""

    def __init__(self, port: str, user: str, password: str) -> None:
        binding = transport.DCERPCTransportFactory(f"ncacn_ip_tcp:127.0.0.1[{port}]")
        self._rpc = binding.get_dce_rpc()
        binding.set_credentials(user, password, "WORKGROUP", "", "")
        self._rpc.set_auth_type(rpcrt.RPC_C_AUTHN_WINNT)
        self._rpc.set_auth_level(rpcrt.RPC_C_AUTHN_LEVEL_PKT_PRIVACY)
        self._rpc.connect()
        self._rpc.bind(uuidtup_to_bin((CLUSAPI, "3.0")))

    def ask(self, opnum: int, outputs: type[Any], *inputs: tuple[str, Any, Any]) -> Any:
        """Make a call; inputs are names, types and values."""
        request = call(*((name, type_) for name, type_, _ in inputs))()
        for name, _, value in inputs:
            if value is not None:
                request[name] = value
        self._rpc.call(opnum, request)
        return outputs(self._rpc.recv())

    def handle(self, opnum: int, *inputs: tuple[str, Any, Any]) -> bytes:
        """Make a call that opens something."""
        opened = self.ask(opnum, OPENED, *inputs)
        assert opened["Status"] == 0, opened["Status"]
        found: bytes = opened["Handle"]
        return found

    def set_value(self, key: bytes, name: str, number: int) -> int:
        """ApiSetValue of a DWORD."""
        data = struct.pack("<I", number)
        inputs = (on(key), text("Name", name), ("Type", DWORD, 4), ("Data", Bytes, data), ("Size", DWORD, len(data)))
        status: int = self.ask(32, DONE, *inputs)["Status"]
        return status


def on(handle: bytes, name: str = "Handle") -> tuple[str, Any, Any]:
    return name, Handle, handle


def text(name: str, value: str) -> tuple[str, Any, Any]:
    return name, WSTR, f"{value}\0"


def number(name: str, value: int) -> tuple[str, Any, Any]:
    return name, DWORD, value


def registry(caller: Caller, told: dict[str, Any]) -> bytes:
    """Keys, values, security and batches."""
    root = caller.handle(28, number("Sam", KEY_ALL))
    create = (on(root), text("Sub", "Software\\Mine"), number("Options", 0), number("Sam", KEY_ALL))
    created = caller.ask(
        29, call(("Disposition", DWORD), STATUS, RPC_STATUS, HANDLE), *create, ("Security", BytesPointer, NULL)
    )
    key: bytes = created["Handle"]
    told["create"] = [created["Status"], created["Disposition"]]
    told["set"] = caller.set_value(key, "Number", 77)
    outputs = call(("Type", DWORD), ("Data", Bytes), ("Required", DWORD), RPC_STATUS, STATUS)
    told["query"] = []
    for room in (2, 4, 9):
        found = caller.ask(34, outputs, on(key), text("Name", "NUMBER"), number("Room", room))
        told["query"].append([found["Status"], found["Type"], b"".join(found["Data"]).hex(), found["Required"]])
    outputs = call(
        ("Name", LPWSTR), ("Type", DWORD), ("Data", Bytes), ("Size", DWORD), ("Total", DWORD), RPC_STATUS, STATUS
    )
    found = caller.ask(36, outputs, on(key), number("Index", 0), number("Room", 16))
    told["enum value"] = [found["Status"], found["Name"].rstrip("\0"), b"".join(found["Data"]).hex(), found["Total"]]
    told["enum value end"] = caller.ask(36, outputs, on(key), number("Index", 1), number("Room", 16))["Status"]
    software = caller.handle(30, on(root), text("Sub", "software"), number("Sam", KEY_ALL))
    outputs = call(("Name", LPWSTR), ("Written", FileTime), RPC_STATUS, STATUS)
    found = caller.ask(31, outputs, on(software), number("Index", 0))
    told["enum key"] = [found["Status"], found["Name"].rstrip("\0"), found["Written"]["High"] > 0x019DB1DE]
    numbers = [(name, DWORD) for name in ("Keys", "KeyLength", "Values", "NameLength", "ValueLength", "Security")]
    found = caller.ask(38, call(*numbers, ("Written", FileTime), RPC_STATUS, STATUS), on(key))
    told["info"] = [found["Status"], found["Keys"], found["Values"], found["NameLength"], found["ValueLength"]]
    outputs = call(("Descriptor", Descriptor), RPC_STATUS, STATUS)
    # The room of a buffer that is still empty: impacket has no word for it.
    empty = struct.pack("<7I", 7, 0x20000, found["Security"], 0, found["Security"], 0, 0)
    caller._rpc.call(40, key + empty)
    answer = outputs(caller._rpc.recv())
    told["security"] = [answer["Status"], b"".join(answer["Descriptor"]["Bytes"]).hex()]
    batch = struct.pack("<I", 1) + command(2, "b") + command(1, "N", 4, b"\5\0\0\0")
    sent = (on(key), number("Size", len(batch)), ("Data", Bytes, batch))
    done = caller.ask(113, call(("Failed", DWORD), RPC_STATUS, STATUS), *sent)
    told["batch"] = [done["Status"], done["Failed"]]
    batch = struct.pack("<I", 1) + command(7, "b") + command(8, "N")
    outputs = call(("Size", DWORD), ("Data", BytesPointer), RPC_STATUS, STATUS)
    read = caller.ask(145, outputs, on(key), number("Size", len(batch)), ("Data", Bytes, batch))
    told["read batch"] = [read["Status"], b"".join(read["Data"]).hex()]
    return key


def command(number_: int, name: str, type_: int = 0, data: bytes = b"") -> bytes:
    """BATCH_UPDATE_COMMAND."""
    encoded = f"{name}\0".encode("utf-16-le")
    head = struct.pack("<III", number_, type_, len(encoded)) + encoded
    return head + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def notifications(caller: Caller, key: bytes, told: dict[str, Any]) -> None:
    """Ports of both versions, and a batch port."""
    opened = caller.ask(117, call(("Granted", DWORD), STATUS, HANDLE), number("Access", 0x02000000))
    cluster: bytes = opened["Handle"]
    second = caller.handle(137)
    wanted = call(
        on(second)[:2], ("Object", Handle), ("Filter", Filter), ("Key", DWORD), ("Version", DWORD), ("Own", DWORD)
    )()
    wanted["Handle"], wanted["Object"], wanted["Key"], wanted["Version"], wanted["Own"] = second, cluster, 21, 1, 0
    wanted["Filter"]["Type"], wanted["Filter"]["Flags"] = 1, 4  # of the cluster: a group was added
    caller._rpc.call(138, wanted)
    told["add v2"] = DONE(caller._rpc.recv())["Status"]
    group = caller.handle(42, text("Name", "spare"))
    answer = caller.ask(139, call(("List", NotificationsPointer), ("Count", DWORD), STATUS), on(second))
    told["get v2"] = [answer["Status"], answer["Count"]]
    (item,) = answer["List"]
    data = item["Told"]
    told["v2"] = [item["Key"], data["Filter"]["Type"], data["Filter"]["Flags"], data["Name"].rstrip("\0")]
    outputs = call(("Id", LPWSTR), RPC_STATUS, STATUS)
    told["same id"] = data["ObjectId"] == caller.ask(47, outputs, on(group))["Id"]
    first = caller.handle(55)
    add = (on(first), on(key, "Other"), number("Key", 22), number("Filter", 0x40), number("Subtree", 1))
    told["add key"] = caller.ask(61, DONE, *add)["Status"]
    port = caller.ask(114, call(HANDLE, RPC_STATUS, STATUS), on(key))
    told["port"] = port["Status"]
    caller.set_value(key, "Number", 78)
    outputs = call(("Key", DWORD), ("Filter", DWORD), ("Sequence", DWORD), ("Name", LPWSTR), RPC_STATUS, STATUS)
    one = caller.ask(65, outputs, on(first))
    told["v1"] = [one["Status"], one["Key"], one["Filter"], one["Name"].rstrip("\0")]
    outputs = call(("Size", DWORD), ("Data", BytesPointer), STATUS)
    batch = caller.ask(115, outputs, on(port["Handle"]))
    told["batch port"] = [batch["Status"], b"".join(batch["Data"]).hex()]
    for opnum, handle in ((56, first), (56, second), (116, port["Handle"]), (37, key)):
        closed = caller.ask(opnum, call(HANDLE, STATUS), on(handle))
        assert (closed["Handle"], closed["Status"]) == (bytes(20), 0), opnum


def main() -> None:
    caller = Caller(*sys.argv[1:])
    told: dict[str, Any] = {}
    notifications(caller, registry(caller, told), told)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
