"""Impacket as a client of MS-CMRP, in a process of its own: it blocks, and has its own ideas of warnings.

Reads orders from standard input, one JSON object a line, and answers each with one. What it sends and reads is declared
here in impacket's own way, so that its NDR is checked against ours. Bytes are text in hex.

    {"do": "connect", "port": 49152, "user": …, "password": …, "level": 6, "version": "3.0"}
    {"do": "OpenResource", "name": "Virtual Machine web1"}      → {"status": 0, "handle": "…"}
    {"do": "ResourceControl", "handle": "…", "code": 23068676, "data": "…" or null, "room": 100}
    {"do": "raw", "opnum": 3, "data": ""}                       → {"data": "…"}
"""

import json
import sys
from typing import Any

from impacket.dcerpc.v5 import rpcrt, transport  # type: ignore[import-untyped]
from impacket.dcerpc.v5.dtypes import DWORD, LPWSTR, NULL, WSTR  # type: ignore[import-untyped]
from impacket.dcerpc.v5.ndr import (  # type: ignore[import-untyped]
    NDRCALL,
    NDRPOINTER,
    NDRSTRUCT,
    NDRUniConformantArray,
    NDRUniConformantVaryingArray,
)
from impacket.uuid import uuidtup_to_bin  # type: ignore[import-untyped]

CLUSAPI = "b97db8b2-4c63-11cf-bff6-08002be23f2f"


class Handle(NDRSTRUCT):  # type: ignore[misc]
    structure = (("Data", "20s=b''"),)

    def getAlignment(self) -> int:  # noqa: N802
        return 4


class Bytes(NDRUniConformantArray):  # type: ignore[misc]
    item = "c"


class BytesPointer(NDRPOINTER):  # type: ignore[misc]
    referent = (("Data", Bytes),)


class VaryingBytes(NDRUniConformantVaryingArray):  # type: ignore[misc]
    item = "c"


class EnumEntry(NDRSTRUCT):  # type: ignore[misc]
    structure = (("Type", DWORD), ("Name", LPWSTR))


class EnumEntries(NDRUniConformantArray):  # type: ignore[misc]
    item = EnumEntry


class EnumList(NDRSTRUCT):  # type: ignore[misc]
    structure = (("EntryCount", DWORD), ("Entry", EnumEntries))


class EnumListPointer(NDRPOINTER):  # type: ignore[misc]
    referent = (("Data", EnumList),)


class Open(NDRCALL):  # type: ignore[misc]
    structure = (("Name", WSTR),)


class Opened(NDRCALL):  # type: ignore[misc]
    structure = (("Status", DWORD), ("RpcStatus", DWORD), ("Handle", Handle))


class OnHandle(NDRCALL):  # type: ignore[misc]
    structure = (("Handle", Handle),)


class Done(NDRCALL):  # type: ignore[misc]
    structure = (("RpcStatus", DWORD), ("Status", DWORD))


class Closed(NDRCALL):  # type: ignore[misc]
    structure = (("Handle", Handle), ("Status", DWORD))


class ResourceState(NDRCALL):  # type: ignore[misc]
    structure = (("State", DWORD), ("Node", LPWSTR), ("Group", LPWSTR), ("RpcStatus", DWORD), ("Status", DWORD))


class Control(NDRCALL):  # type: ignore[misc]
    structure = (("Handle", Handle), ("Code", DWORD), ("In", BytesPointer), ("InSize", DWORD), ("OutSize", DWORD))


class NodeControl(NDRCALL):  # type: ignore[misc]
    structure = (
        ("Handle", Handle),
        ("Node", Handle),
        ("Code", DWORD),
        ("In", BytesPointer),
        ("InSize", DWORD),
        ("OutSize", DWORD),
    )


class Controlled(NDRCALL):  # type: ignore[misc]
    structure = (
        ("Out", VaryingBytes),
        ("Returned", DWORD),
        ("Required", DWORD),
        ("RpcStatus", DWORD),
        ("Status", DWORD),
    )


class MoveToNodeEx(NDRCALL):  # type: ignore[misc]
    structure = (("Handle", Handle), ("Node", Handle), ("Flags", DWORD), ("In", Bytes), ("InSize", DWORD))


class CreateEnum(NDRCALL):  # type: ignore[misc]
    structure = (("Mask", DWORD),)


class Enumerated(NDRCALL):  # type: ignore[misc]
    structure = (("Entries", EnumListPointer), ("RpcStatus", DWORD), ("Status", DWORD))


OPENS = {"OpenResource": 8, "OpenGroup": 41, "OpenNode": 66}
CLOSES = {"CloseResource": 11, "CloseGroup": 44, "CloseNode": 67}
CHANGES = {"OnlineResource": 17, "OfflineResource": 18, "OnlineGroup": 49, "OfflineGroup": 50, "PauseNode": 69}
CONTROLS = {"ResourceControl": 73, "GroupControl": 77, "ClusterControl": 106}


class Caller:
    """One connection."""

    def __init__(self) -> None:
        self._rpc: Any = None

    def do(self, order: dict[str, Any]) -> dict[str, Any]:
        name = order["do"]
        if name == "connect":
            return self._connect(order)
        if name == "raw":
            return {"data": self._send(order["opnum"], bytes.fromhex(order["data"])).hex()}
        if name in OPENS:
            return self._open(OPENS[name], order["name"])
        if name in CLOSES:
            closed = self._call(CLOSES[name], self._on_handle(order), Closed)
            return {"status": closed["Status"], "handle": closed["Handle"].hex()}
        if name in CHANGES:
            return {"status": self._call(CHANGES[name], self._on_handle(order), Done)["Status"]}
        if name == "OpenCluster":
            data = self._send(0, b"")
            return {"status": int.from_bytes(data[:4], "little"), "handle": data[4:].hex()}
        if name == "GetResourceState":
            told = self._call(12, self._on_handle(order), ResourceState)
            state, node, group = told["State"], told["Node"].rstrip("\0"), told["Group"].rstrip("\0")
            return {"status": told["Status"], "state": state, "node": node, "group": group}
        if name == "CreateEnum":
            return self._create_enum(order["mask"])
        if name == "MoveGroupToNodeEx":
            return self._move(order)
        return self._control(CONTROLS.get(name, 72), order)

    def _connect(self, order: dict[str, Any]) -> dict[str, Any]:
        binding = transport.DCERPCTransportFactory(f"ncacn_ip_tcp:127.0.0.1[{order['port']}]")
        rpc = binding.get_dce_rpc()
        level = order.get("level", 6)
        if level > 1:
            binding.set_credentials(order["user"], order["password"], "WORKGROUP", "", "")
            rpc.set_auth_type(rpcrt.RPC_C_AUTHN_WINNT)
            rpc.set_auth_level(level)
        if "fragment" in order:
            rpc.set_max_fragment_size(order["fragment"])
        rpc.connect()
        rpc.bind(uuidtup_to_bin((CLUSAPI, order.get("version", "3.0"))))
        self._rpc = rpc
        return {}

    def _send(self, opnum: int, data: Any) -> bytes:
        self._rpc.call(opnum, data)
        answer: bytes = self._rpc.recv()
        return answer

    def _call(self, opnum: int, inputs: Any, outputs: type[Any]) -> Any:
        return outputs(self._send(opnum, inputs))

    def _on_handle(self, order: dict[str, Any]) -> Any:
        call = OnHandle()
        call["Handle"] = bytes.fromhex(order["handle"])
        return call

    def _open(self, opnum: int, name: str) -> dict[str, Any]:
        call = Open()
        call["Name"] = f"{name}\0"
        opened = self._call(opnum, call, Opened)
        return {"status": opened["Status"], "handle": opened["Handle"].hex()}

    def _create_enum(self, mask: int) -> dict[str, Any]:
        call = CreateEnum()
        call["Mask"] = mask
        found = self._call(7, call, Enumerated)
        entries = found["Entries"]["Entry"] if found["Status"] == 0 else []
        listed = [[entry["Type"], entry["Name"].rstrip("\0")] for entry in entries]
        return {"status": found["Status"], "entries": listed}

    def _control(self, opnum: int, order: dict[str, Any]) -> dict[str, Any]:
        call = NodeControl() if "node" in order else Control()
        call["Handle"] = bytes.fromhex(order["handle"])
        if "node" in order:
            call["Node"] = bytes.fromhex(order["node"])
        call["Code"] = order["code"]
        data = None if order.get("data") is None else bytes.fromhex(order["data"])
        call["In"] = NULL if data is None else data
        call["InSize"] = 0 if data is None else len(data)
        call["OutSize"] = order["room"]
        answer = self._call(opnum, call, Controlled)
        out = b"".join(answer["Out"])
        return {"status": answer["Status"], "out": out.hex(), "required": answer["Required"]}

    def _move(self, order: dict[str, Any]) -> dict[str, Any]:
        call = MoveToNodeEx()
        call["Handle"] = bytes.fromhex(order["handle"])
        call["Node"] = bytes.fromhex(order["node"])
        call["Flags"] = order["flags"]
        call["In"] = bytes.fromhex(order["data"])
        call["InSize"] = len(order["data"]) // 2
        return {"status": self._call(133, call, Done)["Status"]}


def main() -> None:
    caller = Caller()
    for line in sys.stdin:
        try:
            answer = caller.do(json.loads(line))
        except rpcrt.DCERPCException as error:
            answer = {"fault": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
