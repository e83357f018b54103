"""Impacket as the caller, in a process of its own: sealed calls a second of two servers, block by block in turns.

Its argument is JSON: ``targets``, each with a port, an interface, an opnum and the data of the call (and, where the
call takes a handle, ``open``: the opnum and the data of the call that gives one, in its last twenty bytes); ``calls``
in a block, and how many ``blocks`` of each. What it prints is JSON too: the calls a second of every block.
"""

import json
import sys
import time
from typing import Any

from impacket.dcerpc.v5 import rpcrt, transport  # type: ignore[import-untyped]
from impacket.uuid import uuidtup_to_bin  # type: ignore[import-untyped]

from bench.wire_echo import PASSWORD, USER


def connect(target: dict[str, Any]) -> Any:
    """Log on, sealed, and bind."""
    binding = transport.DCERPCTransportFactory(f"ncacn_ip_tcp:127.0.0.1[{target['port']}]")
    binding.set_credentials(USER, PASSWORD, "WORKGROUP", "", "")
    rpc = binding.get_dce_rpc()
    rpc.set_auth_type(rpcrt.RPC_C_AUTHN_WINNT)
    rpc.set_auth_level(rpcrt.RPC_C_AUTHN_LEVEL_PKT_PRIVACY)
    rpc.connect()
    rpc.bind(uuidtup_to_bin((target["uuid"], target["version"])))
    return rpc


def data_of(rpc: Any, target: dict[str, Any]) -> bytes:
    """What is sent with each call: a handle, where one is taken."""
    if "open" not in target:
        return bytes.fromhex(target["data"])
    opnum, data = target["open"]
    rpc.call(opnum, bytes.fromhex(data))
    answer: bytes = rpc.recv()
    return answer[-20:]


def block(rpc: Any, opnum: int, data: bytes, calls: int) -> float:
    """Make some calls; how many a second."""
    begun = time.perf_counter()
    for _ in range(calls):
        rpc.call(opnum, data)
        rpc.recv()
    return calls / (time.perf_counter() - begun)


def main(order: dict[str, Any]) -> list[list[float]]:
    """Do what is asked for."""
    rpcs = [connect(target) for target in order["targets"]]
    sent = [data_of(rpc, target) for rpc, target in zip(rpcs, order["targets"], strict=True)]
    rates: list[list[float]] = [[] for _ in rpcs]
    for _ in range(order["blocks"]):
        for rpc, target, data, found in zip(rpcs, order["targets"], sent, rates, strict=True):
            found.append(block(rpc, target["opnum"], data, order["calls"]))
    for rpc in rpcs:
        rpc.disconnect()
    return rates


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
