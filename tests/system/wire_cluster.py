"""A pocket cluster on a machine of its own that speaks MS-CMRP there, with an endpoint mapper at port 135."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.system.machines.fabric import Fabric, Machine, why_not
from tests.system.pocket_cluster import PocketCluster
from tests.system.shell import COMMAND

from quorate.client.blocking import BlockingClient

HOST: Final = "127.0.0.1"
FIRST_PORT: Final = 49152
USER, READER = "alice", "rita"
PASSWORD: Final = "long enough, and Secret"
RPCCLIENT: Final = shutil.which("rpcclient")


def why_no_wire() -> str | None:
    """Say why the tests with clients of others cannot run here; None when they can."""
    return why_not() or (None if RPCCLIENT else "not installed: rpcclient (package smbclient)")


class WireCluster(PocketCluster):
    """A pocket cluster in a network namespace; its unix sockets are reached from anywhere."""

    def __init__(self, directory: Path, machine: Machine, nodes: int = 3) -> None:
        super().__init__(directory, nodes)
        self.machine = machine

    def start(self) -> None:
        self.quorate("up", "--nodes", str(self.nodes), "--mscmrp", f"{HOST}:{FIRST_PORT}", "--endpoint-mapper")
        self.client = BlockingClient.at(str(self.directory))
        for name, role in ((USER, "full"), (READER, "read")):
            self.call("AddUserAccount", name=name, role=role, password=PASSWORD)

    def quorate(self, *arguments: str, code: int = 0) -> str:
        """Type a command on that machine."""
        done = self.machine.run([*COMMAND, *arguments], env={"QUORATE_CLUSTER": str(self.directory)})
        assert done.returncode == code, (arguments, done.stdout, done.stderr, self.last_words())
        return done.stdout

    def rpcclient(
        self, *commands: str, binding: str = "[seal]", user: str = USER, password: str = PASSWORD, option: str = ""
    ) -> tuple[int, str]:
        """Have rpcclient do commands on one connection: its exit code, and what it said."""
        argv = [str(RPCCLIENT), "--configfile=/dev/null", f"ncacn_ip_tcp:{HOST}{binding}"]
        argv += ["-U", f"{user}%{password}", "-c", "; ".join(commands), *([option] if option else [])]
        done = self.machine.run(argv)
        return done.returncode, done.stdout + done.stderr

    def port(self, node: str) -> int:
        """Where a node speaks MS-CMRP."""
        return FIRST_PORT + int(node.removeprefix("node")) - 1


@contextmanager
def wire_cluster(directory: Path, nodes: int = 3) -> Iterator[WireCluster]:
    """A cluster that is up, and is gone afterwards whatever happens."""
    with Fabric(["wire"]) as fabric:
        cluster = WireCluster(directory, fabric["wire"], nodes)
        try:
            cluster.start()
            cluster.trust_all()
            cluster.set_lease(60)  # a machine that is busy loses no node
            yield cluster
        finally:
            cluster.end()


__all__ = ["HOST", "PASSWORD", "READER", "USER", "WireCluster", "why_no_wire", "wire_cluster"]
