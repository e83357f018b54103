"""A machine of its own for clients that insist on port 135: a network with nothing but a loopback, and servers on it.

Run as ``unshare --user --map-root-user --net python -m tests.contract.dcerpc_host`` with a JSON list of command lines
on standard input. It serves the echo (also as the interface that rpcclient knows) at a free port and the endpoint
mapper at 135, runs the commands one after the other, and prints what they and the server have said as JSON.
"""

import asyncio
import fcntl
import json
import socket
import struct
import sys
from uuid import UUID

from tests.unit.dcerpc.world import DOOR, ECHO, World

from quorate.dcerpc.epm import PORT, Endpoint, EndpointMapper
from quorate.dcerpc.interfaces import Call, Interface, RawOperation
from quorate.dcerpc.ndr import HANDLE, NULL_HANDLE
from quorate.dcerpc.server import RpcServer
from quorate.dcerpc.syntaxes import SyntaxId

KNOWN_TO_RPCCLIENT = SyntaxId(UUID("b97db8b2-4c63-11cf-bff6-08002be23f2f"), 3)
PATIENCE = 60.0
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name = struct.pack("16sH14x", b"lo", 0)
        _, flags = struct.unpack("16sH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, name))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


async def open_cluster(call: Call, data: bytes) -> bytes:
    """Status 0 and a handle: what rpcclient's first call expects."""
    return bytes(4) + HANDLE.pack(call.open_handle("opened"))


async def close_cluster(call: Call, data: bytes) -> bytes:
    call.close_handle(HANDLE.unpack(data), str)
    return HANDLE.pack(NULL_HANDLE) + bytes(4)


async def run(command: list[str]) -> dict[str, object]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(PATIENCE):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
        output += b"\n(did not end in time)"
    return {"code": process.returncode, "output": output.decode(errors="replace")}


async def main() -> None:
    raise_loopback()
    world = World()
    known = Interface("known", KNOWN_TO_RPCCLIENT, {0: RawOperation(open_cluster), 1: RawOperation(close_cluster)})
    server = RpcServer(known, *world.interfaces(), door=DOOR, on_logon=world.on_logon)
    await server.start("127.0.0.1")
    mapper = EndpointMapper()
    mapper.register(Endpoint(KNOWN_TO_RPCCLIENT, server.port, "known"))
    mapper.register(Endpoint(ECHO, server.port, "echo"))
    at_135 = RpcServer(mapper.interface)
    await at_135.start("127.0.0.1", PORT)
    results: list[dict[str, object]] = []
    try:
        for command in json.load(sys.stdin):
            world.reports.clear()
            result = await run([part.replace("{port}", str(server.port)) for part in command])
            result["logons"] = [[item.user, item.level, item.is_granted, item.sentence] for item in world.reports]
            results.append(result)
    finally:
        await at_135.close()
        await server.close()
    json.dump({"results": results, "connections": server.connections, "handles": server.handles}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
