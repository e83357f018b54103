"""Two nodes with their doors of several machines, on loopback, and what a test needs to knock at them.

Database, dispatchers, doors and certificates are real; what the nodes host is the fake of the server's tests. All of it
runs in a thread, so that callers that block can be tried as well.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from structlog.testing import capture_logs
from tests.unit.peers.certificates import Authorities
from tests.unit.server.fake import FakeNode, FakeWorld
from tests.waiting import PATIENCE

from quorate.client.blocking import BlockingClient
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Put
from quorate.database.credentials import UserRecord
from quorate.database.member_records import AuthorityRecord
from quorate.database.memory import MemoryData, MemoryStore
from quorate.database.records import NodeFacts
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.paths import NodePaths
from quorate.engine.view import ClusterView
from quorate.peers.authority import Authority, describe
from quorate.server.audit import Audit
from quorate.server.http import build_app
from quorate.service.configuration import NodeConfiguration, read_configuration
from quorate.service.doors import Doors

T = TypeVar("T")
NAMES = ("node1", "node2")


@dataclass
class Rig:
    """The cluster under test."""

    directory: Path
    sockets: Path
    """A short directory: paths of sockets have a limit."""
    loop: asyncio.AbstractEventLoop
    authorities: Authorities
    data: MemoryData
    world: FakeWorld
    views: dict[NodeId, ClusterView] = field(default_factory=dict)
    doors: dict[NodeId, Doors] = field(default_factory=dict)
    audits: dict[NodeId, Audit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.database = ClusterDatabase(MemoryStore(self.data))

    def run(self, work: Coroutine[None, None, T]) -> T:
        """Run something where the cluster runs, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def url(self, node: str = "1") -> str:
        """Where a node answers clients."""
        return self.doors[NodeId(node)].http_address

    def port(self, node: str = "1") -> int:
        return int(self.url(node).rpartition(":")[2])

    def user(self, name: str, role: str = "full") -> Path:
        """Certify a user and put it on the list; gives the credentials' directory."""
        directory = self.directory / "users" / f"{name}-{role}"
        self.listed(self.authorities.credentials(directory, name, role))
        return directory

    def listed(self, certificate: bytes) -> None:
        """Put the owner of a certificate on the list, or another certificate in the place of the old one."""
        facts = describe(certificate)
        record = UserRecord(facts.subject, facts.serial, facts.role, facts.not_after)
        self.run(self.database.credentials.add_user(record, replacing=True))
        self.run(self.seen_by_all())

    async def seen_by_all(self) -> None:
        """Wait until every node has seen what is in the database now."""
        revision = (await self.database.store.range(keys.USERS)).revision
        for view in self.views.values():
            seen = asyncio.Event()
            unsubscribe = view.subscribe(_setter(seen, revision))
            if view.snapshot.revision < revision:
                async with asyncio.timeout(PATIENCE):
                    await seen.wait()
            unsubscribe()

    def client(self, credentials: Path, *urls: str) -> BlockingClient:
        """Somebody on another machine."""
        return BlockingClient.at(",".join(urls or (self.url(),)), str(credentials))

    def events(self, kind: str) -> list[JsonObject]:
        """The events of a kind, oldest first."""
        return [event.to_json() for event in self.run(self.database.latest_events(100)) if event.kind == kind]


def _setter(seen: asyncio.Event, revision: int) -> Callable[[ClusterSnapshot], None]:
    def look(snapshot: ClusterSnapshot) -> None:
        if snapshot.revision >= revision:
            seen.set()

    return look


@contextmanager
def running_rig(directory: Path) -> Iterator[Rig]:
    """Two nodes; everything is gone afterwards."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="tls rig")
    thread.start()
    try:
        # What the nodes log would stand between the lines that commands print.
        with TemporaryDirectory(prefix="q") as sockets, capture_logs():
            rig = Rig(directory, Path(sockets), loop, *_empty(directory))
            try:
                rig.run(_start(rig))
                yield rig
            finally:
                rig.run(_stop(rig))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _empty(directory: Path) -> tuple[Authorities, MemoryData, FakeWorld]:
    return Authorities.make(), MemoryData(), FakeWorld(directory)


async def _start(rig: Rig) -> None:
    await rig.database.create_cluster("prod")
    for name in NAMES:
        await rig.database.add_node(name)
    instance_id = (await rig.database.snapshot()).cluster.instance_id
    rig.authorities = replace(rig.authorities, instance_id=instance_id)
    await write_authorities(rig.database, rig.authorities)
    for number, name in enumerate(NAMES, 1):
        node = NodeId(str(number))
        fake = rig.world.nodes[node] = FakeNode(rig.world, node, name, rig.data)
        rig.views[node] = ClusterView(fake.database, node)
        await rig.views[node].start()
        configuration = configure(rig.directory / name, rig.sockets / node, node, rig.authorities)
        paths = NodePaths(configuration.state, configuration.runtime, configuration.saved)
        paths.create()
        rig.doors[node] = await _open(rig, node, configuration, paths)
    await rig.seen_by_all()


async def _open(rig: Rig, node: NodeId, configuration: NodeConfiguration, paths: NodePaths) -> Doors:
    fake = rig.world.nodes[node]

    async def answer(sender: NodeId | None, kind: str, body: JsonObject) -> JsonObject:
        return {"sender": sender, "kind": kind}

    doors = Doors(configuration, paths, rig.views[node], fake.database)
    await doors.open_peers(answer)
    audit = rig.audits[node] = Audit(node, fake.database.append_events)
    await doors.open_http(build_app(fake, fake.dispatcher, audit=audit), audit)
    facts = NodeFacts(doors.http_address, doors.peers_address, 1, "0")
    await fake.database.write_node_facts(node, facts)
    return doors


def configure(place: Path, runtime: Path, node: NodeId, authorities: Authorities) -> NodeConfiguration:
    """A node's files, as `quorate node join` leaves them."""
    place.mkdir()
    authorities.identity(place / "pki", node)
    fields = {
        "node": node,
        "database": "cluster.sqlite",
        "state": "state",
        "saved": "saved",
        "runtime": str(runtime),
        "listen": "127.0.0.1:0",
        "peers": "127.0.0.1:0",
        "certificates": "pki",
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    path = place / "node.toml"
    path.write_text("\n".join([*lines, "storage_roots = []"]) + "\n")
    return read_configuration(path)


async def write_authorities(database: ClusterDatabase, authorities: Authorities) -> None:
    """Put the authorities' keys where nodes find them."""

    def record(authority: Authority) -> bytes:
        return AuthorityRecord(authority.certificate_pem.decode(), authority.key_pem.decode()).encode()

    await database.store.transact(
        [],
        [
            Put(keys.NODES_AUTHORITY, record(authorities.nodes)),
            Put(keys.USERS_AUTHORITY, record(authorities.users)),
        ],
    )


async def _stop(rig: Rig) -> None:
    await asyncio.gather(*(doors.close_http() for doors in rig.doors.values()))
    for doors in rig.doors.values():
        await doors.close_peers()
        await doors.peers.close()
    for view in rig.views.values():
        await view.close()
    for node in rig.world.nodes.values():
        await node.wait_later()
