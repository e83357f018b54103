"""What every part of a node's engine works with."""

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import GroupId, ImageId, NodeId
from quorate.clusapi.json_types import JsonValue
from quorate.database.cluster_database import ClusterDatabase
from quorate.engine.guard import GuardLink
from quorate.engine.journal import Journals
from quorate.engine.lease import LeaseKeeper
from quorate.engine.paths import NodePaths
from quorate.engine.view import ClusterView
from quorate.hypervisor.contract import Hypervisor
from quorate.peers.client import Peers
from quorate.peers.identity import NodeIdentity


@dataclass(frozen=True, slots=True)
class EngineContext:
    """The node, its database, its hypervisor and its neighbours. `service` builds it."""

    node: NodeId
    node_name: str
    database: ClusterDatabase
    hypervisor: Hypervisor
    view: ClusterView
    lease: LeaseKeeper
    guard: GuardLink
    peers: Peers
    journals: Journals
    paths: NodePaths
    migration_host: str | None = None
    """The node's own address, at which memory of virtual machines comes in; None: by sockets of this machine."""
    certificates: NodeIdentity | None = None
    """What the node shows to others; None where nodes speak to each other by sockets of this machine."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def new_image(self) -> ImageId:
        """Make the id of a memory image; none is ever made twice."""
        return ImageId(str(uuid.uuid4()))

    def name_of(self, node: NodeId) -> str:
        """Give a node's name, for people."""
        info = self.view.snapshot.nodes.get(node)
        return info.name if info is not None else f"node {node}"

    def event(
        self,
        kind: EventKind,
        group: GroupId,
        sentence: str,
        *,
        before: JsonValue = None,
        after: JsonValue = None,
        cause: str = "",
    ) -> EventRecord:
        """Make an event about a group, as of now."""
        info = self.view.snapshot.groups.get(group)
        return EventRecord.of(
            kind,
            time=datetime.now(UTC),
            node=self.node,
            object_id=group,
            object_name=info.name if info is not None else group,
            sentence=sentence,
            before=before,
            after=after,
            actor=f"node {self.node}",
            cause_id=cause,
        )
