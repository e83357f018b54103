"""A pocket cluster of one node that speaks MS-CMRP, its users, and what its daemon has, looked at from outside."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from tests.system.pocket_cluster import PocketCluster
from tests.unit.server.mscmrp.face_world import WireUser

from quorate.client.blocking import BlockingClient
from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.initiators import Credentials, Logon, Mechanism
from quorate.dcerpc.security import AuthLevel
from quorate.mscmrp.interface import SYNTAX
from quorate.service import pocket

USERS: Final = {
    "mallory": "mallory's password",
    "reader1": "the first reader's",
    "reader2": "the second reader's",
    "walter": "the witness's password",
}
_FULL: Final = "mallory"


class Daemon:
    """The node under attack."""

    def __init__(self, cluster: PocketCluster) -> None:
        self.cluster = cluster
        (settings,) = pocket.mscmrp_places(cluster.directory).values()
        self.port = settings.listen.port

    @property
    def pid(self) -> int:
        """The daemon's process."""
        return self.cluster.daemon_pid("node1")

    @property
    def memory(self) -> int:
        """Its resident bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    @property
    def files(self) -> int:
        """Its open files, connections among them."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def log(self) -> str:
        """What it has written so far."""
        path = self.cluster.directory / "nodes" / "1" / "daemon.log"
        return path.read_text(encoding="utf-8", errors="replace")

    @asynccontextmanager
    async def user(self, name: str) -> AsyncIterator[WireUser]:
        """Somebody who has logged on."""
        client = await RpcClient.connect("127.0.0.1", self.port, within=60)
        try:
            credentials = Credentials(name, USERS[name])
            await client.bind(SYNTAX, Logon(credentials, AuthLevel.PRIVACY, Mechanism.NTLM))
            yield WireUser(client)
        finally:
            await client.close()


@contextmanager
def running_daemon(directory: Path) -> Iterator[Daemon]:
    """Start it, with a virtual machine "web1" that is off; nothing is left afterwards."""
    cluster = PocketCluster(directory, nodes=1)
    try:
        pocket.start(directory, 1, f"127.0.0.1:{_free_port()}")
        cluster.client = BlockingClient.at(str(directory))
        cluster.create_builtin("web1", "32M", start=False)
        for name, password in USERS.items():
            cluster.call("AddUserAccount", name=name, role="full" if name == _FULL else "read", password=password)
        yield Daemon(cluster)
    finally:
        cluster.end()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
