"""Impacket as the other side, in a process of its own: it blocks, and has its own ideas of warnings.

``client PORT`` binds, seals and calls in every way that is asked for on the command line, and prints JSON; ``server``
serves an echo without any logon, prints its port and goes on until its standard input ends; ``lookup HOST`` asks an
endpoint mapper.
"""

import json
import sys
import threading
import time
from typing import Any

from impacket.dcerpc.v5 import epm, rpcrt, transport  # type: ignore[import-untyped]
from impacket.uuid import uuidtup_to_bin  # type: ignore[import-untyped]


def _connect(port: str, *, user: str, password: str, level: int, fragment: int = 0) -> Any:
    binding = transport.DCERPCTransportFactory(f"ncacn_ip_tcp:127.0.0.1[{port}]")
    rpc = binding.get_dce_rpc()
    if level > 1:
        binding.set_credentials(user, password, "WORKGROUP", "", "")
        rpc.set_auth_type(rpcrt.RPC_C_AUTHN_WINNT)
        rpc.set_auth_level(level)
    rpc.set_max_fragment_size(fragment or -1)
    rpc.connect()
    return rpc


def call(port: str, uuid: str, version: str, order: dict[str, Any]) -> dict[str, Any]:
    """Do what one order says: bind, call so often, tell how long the answers were and how many calls a second."""
    try:
        rpc = _connect(
            port,
            user=order.get("user", "alice"),
            password=order.get("password", "secret"),
            level=order["level"],
            fragment=order.get("fragment", 0),
        )
        rpc.bind(uuidtup_to_bin((uuid, version)))
        data, opnum = bytes.fromhex(order.get("data", "")) * order.get("times", 1), order["opnum"]
        lengths: list[int] = []
        answer = b""
        begun = time.perf_counter()
        for _ in range(order.get("calls", 1)):
            rpc.call(opnum, data)
            answer = rpc.recv()
            lengths.append(len(answer))
        spent = time.perf_counter() - begun
        rpc.disconnect()
    except Exception as error:  # noqa: BLE001 - whatever it says is what the test wants to know
        return {"error": f"{type(error).__name__}: {error}"}
    return {"lengths": sorted(set(lengths)), "same": answer == data, "rate": len(lengths) / spent}


def lookup(host: str, uuid: str, version: str) -> dict[str, Any]:
    """Ask for an interface, for all, and for one that there is not; each on a connection of its own."""
    found = epm.hept_map(host, uuidtup_to_bin((uuid, version)), protocol="ncacn_ip_tcp")
    listed = [epm.PrintStringBinding(item["tower"]["Floors"]) for item in epm.hept_lookup(host)]
    try:
        unknown = uuidtup_to_bin(("00000000-1111-2222-3333-444444444444", "1.0"))
        missing = epm.hept_map(host, unknown, protocol="ncacn_ip_tcp")
    except Exception as error:  # noqa: BLE001 - whatever it says is what the test wants to know
        missing = f"{type(error).__name__}: {error}"
    return {"found": found, "listed": listed, "missing": missing}


class _Echo(rpcrt.DCERPCServer):  # type: ignore[misc]
    def __init__(self, uuid: str, version: str) -> None:
        super().__init__()
        self.addCallbacks((uuid, version), "", {0: lambda data: data, 4: lambda data: data})
        self.setListenPort(0)


def serve(uuid: str, version: str) -> None:
    server = _Echo(uuid, version)
    server.daemon = True
    server.start()
    print(server.getListenPort(), flush=True)
    threading.Thread(target=sys.stdin.read).run()


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "client":
        print(json.dumps([call(rest[0], rest[1], rest[2], order) for order in json.loads(rest[3])]))
    elif what == "lookup":
        print(json.dumps(lookup(*rest)))
    else:
        serve(*rest)
