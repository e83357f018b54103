"""A bare server on our own dcerpc package, as a process: each call is answered at once, with so many bytes.

``python -m bench.wire_echo BYTES`` prints its port and goes on until its standard input ends. Who calls logs on as in
:mod:`bench.wire_caller`.
"""

import asyncio
import sys
from typing import Final
from uuid import UUID

from quorate.dcerpc.acceptors import LogonDoor
from quorate.dcerpc.interfaces import Call, Interface, RawOperation
from quorate.dcerpc.ntlm_crypto import nt_hash
from quorate.dcerpc.ntlm_messages import ServerNames
from quorate.dcerpc.server import RpcServer
from quorate.dcerpc.syntaxes import SyntaxId

ECHO: Final = SyntaxId(UUID("6c1d0a4e-5f3b-4f7e-9a52-0d3a4d1c7b20"), 1)
USER: Final = "bench"
PASSWORD: Final = "as secret as it gets"


async def serve(size: int) -> None:
    """Serve until the standard input ends."""

    async def answer(call: Call, data: bytes) -> bytes:
        return bytes(size)

    door = LogonDoor(lambda attempt: nt_hash(PASSWORD), ServerNames("ECHO", "echo"))
    server = RpcServer(Interface("echo", ECHO, {0: RawOperation(answer)}), door=door)
    await server.start("127.0.0.1")
    print(server.port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
