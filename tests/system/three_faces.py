"""A cluster of two real nodes in this process, and its three faces: HTTP, MS-CMRP with our client, and none at all.

The nodes are what a daemon runs, with QEMU, guards and a database; only that they share one process with the test lets
it call their operations directly.
"""

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from tests.system.pocket_cluster import PocketCluster

from quorate.client.account import Account
from quorate.client.blocking import BlockingClient
from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.operation_values import FieldValue, Values
from quorate.cluster.networks import FoundInterface
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.sqlite import SqliteStore
from quorate.engine.network_registration import NetworkRegistration
from quorate.server.services import CallContext
from quorate.service.configuration import MscmrpSettings, read_configuration
from quorate.service.drivers import open_driver
from quorate.service.node import Node
from quorate.service.pocket_files import configure, make_private, write_cluster_file
from quorate.service.pocket_mscmrp import write_mscmrp

USER, PASSWORD = "alice", "long enough, and Secret"
HOST: Final = "127.0.0.1"
NODES: Final = 2
Plain = Mapping[str, object]
T = TypeVar("T")

_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GUID_16: Final = re.compile(rb"(?:[0-9a-f]\x00){8}(?:-\x00(?:[0-9a-f]\x00){4}){3}-\x00(?:[0-9a-f]\x00){12}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a face answered: outputs, or the status of an error. Ids are made alike, since no two runs share them."""

    status: int
    outputs: Plain
    sentence: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Face:
    """One way to call an operation of node1."""

    name: str
    ask: Callable[[str, Mapping[str, FieldValue]], Values]

    def call(self, operation: str, **inputs: FieldValue) -> Answer:
        """Carry out an operation."""
        try:
            values = self.ask(operation, inputs)
        except ClusterError as error:
            return Answer(int(error.status), {}, error.sentence)
        return Answer(0, {name: _without_ids(value) for name, value in values.as_mapping().items()})


class InProcessCluster(PocketCluster):
    """Two nodes that run in a thread of this process."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, NODES)
        self.running: list[Node] = []
        self.ports: list[int] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="two nodes")

    def start(self) -> None:
        self._thread.start()
        self.wait_for(self._start(), 60)
        self.client = BlockingClient.at(str(self.directory))
        self.call("AddUserAccount", name=USER, role="full", password=PASSWORD)

    def wait_for(self, work: Coroutine[object, object, T], patience: float = 60) -> T:
        """Do something where the nodes run."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(patience)

    def faces(self) -> tuple[Face, Face, Face]:
        """HTTP, MS-CMRP, and no face; each reaches node1."""
        http = self.client_of("node1")
        place = f"ncacn_ip_tcp:{HOST}[{self.ports[0]}]"
        wire = BlockingClient.at(place, account=Account(USER, PASSWORD))
        context = CallContext("direct", True, "a test")

        def directly(operation: str, inputs: Mapping[str, FieldValue]) -> Values:
            return self.wait_for(self.running[0]._dispatcher.call(operation, Values(inputs), context))

        return (
            Face("http", lambda operation, inputs: http.call(operation, full_access=True, **inputs)),
            Face("wire", lambda operation, inputs: wire.call(operation, full_access=True, **inputs)),
            Face("direct", directly),
        )

    def end(self) -> None:
        children = [child for node in self.running if (child := node._guard._child) is not None]
        self.wait_for(self._stop(), 60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        super().end()
        for child in children:
            child.wait()  # a guard outlives its daemon, not this test

    async def _start(self) -> None:
        make_private(self.directory)
        store = SqliteStore(self.directory / "cluster.sqlite")
        database = ClusterDatabase(store)
        await database.create_cluster("pocket")
        places = {}
        for number in range(1, NODES + 1):
            name = f"node{number}"
            places[name] = configure(self.directory, await database.add_node(name))
            path = self.directory / "nodes" / str(number) / "node.toml"
            self.ports.append(_free_port())
            write_mscmrp(path, MscmrpSettings(HostPort(HOST, self.ports[-1])))
        await store.close()
        write_cluster_file(self.directory, places)
        for number in range(1, NODES + 1):
            configuration = read_configuration(self.directory / "nodes" / str(number) / "node.toml")
            node = Node(configuration, open_driver(configuration))
            await node.start()
            self.running.append(node)
        await self._register_networks()

    async def _register_networks(self) -> None:
        """Networks as nodes on machines of their own find them; those of a pocket cluster share one machine."""
        for number, node in enumerate(self.running, start=1):
            found = [
                FoundInterface(f"eth{n}", f"02:00:00:00:0{number}:0{n}", (f"10.{n}.0.{number}/24",)) for n in (0, 1)
            ]
            seen = _Seen(await node._database.snapshot(), node)
            await NetworkRegistration(NodeId(str(number)), node._database, seen).register(found, ())

    async def _stop(self) -> None:
        for node in reversed(self.running):
            await node.stop()


class _Seen:
    """What the registration of networks looks at."""

    def __init__(self, snapshot: ClusterSnapshot, node: Node) -> None:
        self.snapshot = snapshot
        self.node_state = node._services.node_state


@contextmanager
def in_process_cluster(directory: Path) -> Iterator[InProcessCluster]:
    """A cluster that is up, and is gone afterwards whatever happens."""
    cluster = InProcessCluster(directory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


def _without_ids(value: object) -> object:
    """Make what differs from one run to the next alike: the ids of objects."""
    if isinstance(value, str):
        return _GUID.sub("<id>", value)
    if isinstance(value, bytes):
        return _GUID_16.sub(b"<id>", value)
    if isinstance(value, Mapping):
        return {_without_ids(name): _without_ids(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_ids(item) for item in value]
    return value


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind((HOST, 0))
        return int(tried.getsockname()[1])
