"""Makes the brains' picture of the cluster from the newest snapshot and from what this node knows of the others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import is_
from typing import Protocol

import structlog

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.states import (
    NodeState,
    NodeStatus,
)
from quorate.cluster.memory import AUTOMATIC_RESERVE, memory_for_vms
from quorate.cluster.moves import Drain, Move
from quorate.cluster.observer import EndVerdict
from quorate.cluster.picture import (
    Lapse,
    LeaseView,
    NodePicture,
    Picture,
    Role,
    Settings,
)
from quorate.database.backup import RESTORED
from quorate.database.failover_records import CoordinatorRecord
from quorate.database.move_records import DrainRecord, MoveRecord
from quorate.database.records import Lease, NodeFacts, Versioned
from quorate.database.snapshot import ClusterInfo, ClusterSnapshot, NodeInfo
from quorate.engine.cluster_clock import ClusterClock
from quorate.engine.group_pictures import GroupPictures
from quorate.engine.guard_file import boottime
from quorate.engine.queue_records import limits_of, to_drain, to_move
from quorate.engine.view import ClusterView

MEMORY_TOTAL = "memory_total"
MEMORY_CONFIGURED = "memory_configured"
"""In a node's facts: the host's memory, and what its configuration gives to virtual machines, bytes as text."""

_log = structlog.get_logger("coordinator")


class Judgement(Protocol):
    """What this node knows of the other nodes (`engine/membership.py`)."""

    def node_state(self, node: NodeId) -> NodeState:
        """State of a node."""
        ...

    def node_status(self, node: NodeId) -> NodeStatus:
        """What its membership says besides."""
        ...

    def may_end(self, node: NodeId, *, fenced: bool = False) -> EndVerdict:
        """Whether this node may end that node's lease."""
        ...


@dataclass(slots=True)  # a frozen one takes thrice as long to make
class _KnownNode:
    """A node's picture, and what it was made of. Its lease changes all the time, its memory hardly ever."""

    cluster: ClusterInfo
    facts: Versioned[NodeFacts] | None
    seen: tuple[object, ...]
    picture: NodePicture


class Pictures:
    """Pictures of the cluster. What has not changed since the last one is not made again."""

    def __init__(
        self,
        me: NodeId,
        view: ClusterView,
        judgement: Judgement,
        clock: ClusterClock,
        is_fenced: Callable[[NodeId], bool] = lambda node: False,
        now: Callable[[], float] = boottime,
        groups: GroupPictures | None = None,
        steady: Callable[[], object] = lambda: None,
    ) -> None:
        """See the cluster as node ``me`` does; ``is_fenced`` tells of whom it is proven that he is off.

        ``now`` gives CLOCK_BOOTTIME. Those who see the same snapshots may share ``groups``.
        ``steady`` gives the same object for as long as all leases and their judgement stay the same; None: ask again.
        """
        self._me = me
        self._view = view
        self._judgement = judgement
        self._clock = clock
        self._is_fenced = is_fenced
        self._now = now
        self._groups = groups if groups is not None else GroupPictures()
        self._nodes: dict[NodeId, _KnownNode] = {}
        self._steady = steady
        self._all_nodes: tuple[tuple[object, ...], dict[NodeId, NodePicture]] = ((), {})
        self._moves: tuple[Mapping[GroupId, Versioned[MoveRecord]], dict[GroupId, Move]] = ({}, {})
        self._drains: tuple[Mapping[NodeId, Versioned[DrainRecord]], dict[NodeId, Drain]] = ({}, {})
        self._settings: tuple[ClusterInfo, Settings] | None = None
        self._role: tuple[Versioned[CoordinatorRecord], Role] | None = None

    def current(self) -> Picture:
        """The cluster as it is now."""
        snapshot = self._view.snapshot
        return Picture(
            revision=snapshot.revision,
            me=self._me,
            now=self._now(),
            clock=self._clock.now(),
            settings=self._settings_of(snapshot),
            nodes=self._nodes_of(snapshot),
            groups=self._groups.of(snapshot),
            role=self._role_of(snapshot),
            moves=self._all_moves(snapshot),
            drains=self._all_drains(snapshot),
            turn=snapshot.turn,
        )

    # --- nodes -----------------------------------------------------------------------------------------------------

    def _nodes_of(self, snapshot: ClusterSnapshot) -> dict[NodeId, NodePicture]:
        steady = self._steady()
        made_of = (steady, snapshot.nodes, snapshot.facts, snapshot.cluster)
        before, nodes = self._all_nodes
        if steady is None or not before or not all(map(is_, before, made_of)):
            nodes = {node.id: self._node(snapshot, node) for node in snapshot.nodes.values()}
            self._all_nodes = (made_of, nodes)
        return nodes

    def _node(self, snapshot: ClusterSnapshot, info: NodeInfo) -> NodePicture:
        id_ = info.id
        facts, lease = snapshot.facts.get(id_), snapshot.leases.get(id_)
        state, status = self._judgement.node_state(id_), self._judgement.node_status(id_)
        verdict = None
        if lease is not None and not lease.value.ended and id_ != self._me:
            verdict = self._judgement.may_end(id_, fenced=self._is_fenced(id_))
        seen = (info, lease, verdict, state, status)
        known = self._nodes.get(id_)
        is_as_strong = known is not None and known.facts is facts and known.cluster is snapshot.cluster
        if known is not None and is_as_strong and all(map(is_, known.seen, seen)):
            return known.picture
        memory = known.picture.memory if known is not None and is_as_strong else _memory_of_node(snapshot, facts)
        is_status_same = known is not None and known.seen[0] is info and known.seen[4] is status
        made = NodePicture(
            id=id_,
            name=info.name,
            state=state,
            status=known.picture.status if known is not None and is_status_same else status | info.status,
            memory=memory,
            lease=None if lease is None else _lease(lease, verdict),
        )
        self._nodes[id_] = _KnownNode(snapshot.cluster, facts, seen, made)
        return made

    # --- moves and drains ------------------------------------------------------------------------------------------

    def _all_moves(self, snapshot: ClusterSnapshot) -> dict[GroupId, Move]:
        known, moves = self._moves
        if snapshot.moves is not known:
            moves = {
                group: moves[group] if known.get(group) is found else to_move(group, found)
                for group, found in snapshot.moves.items()
            }
            self._moves = snapshot.moves, moves
        return moves

    def _all_drains(self, snapshot: ClusterSnapshot) -> dict[NodeId, Drain]:
        known, drains = self._drains
        if snapshot.drains is not known:
            drains = {
                node: drains[node] if known.get(node) is found else to_drain(node, found)
                for node, found in snapshot.drains.items()
            }
            self._drains = snapshot.drains, drains
        return drains

    # --- the cluster -----------------------------------------------------------------------------------------------

    def _settings_of(self, snapshot: ClusterSnapshot) -> Settings:
        if self._settings is None or self._settings[0] is not snapshot.cluster:
            self._settings = snapshot.cluster, _settings(snapshot)
        return self._settings[1]

    def _role_of(self, snapshot: ClusterSnapshot) -> Role | None:
        found = snapshot.coordinator
        if found is None:
            return None
        if self._role is None or self._role[0] is not found:
            self._role = found, _role(found)
        return self._role[1]


def _lease(lease: Versioned[Lease], verdict: EndVerdict | None) -> LeaseView:
    if verdict is None:
        is_restored = lease.value.incarnation == RESTORED
        return LeaseView(lease.revision, lease.value.incarnation, lease.value.ended, is_restored=is_restored)
    return LeaseView(
        revision=lease.revision,
        incarnation=lease.value.incarnation,
        may_end=verdict.allowed,
        again_at=verdict.at,
        sentence=verdict.sentence,
    )


def _memory_of_node(snapshot: ClusterSnapshot, facts: Versioned[NodeFacts] | None) -> int | None:
    if facts is None:
        return None
    hypervisor: JsonObject = facts.value.hypervisor

    def number(name: str) -> int | None:
        value = hypervisor.get(name)
        return int(value) if isinstance(value, str) and value.isdigit() else None

    reserved = snapshot.cluster.properties.number("RootMemoryReserved", AUTOMATIC_RESERVE)
    total, configured = number(MEMORY_TOTAL), number(MEMORY_CONFIGURED)
    return None if total is None else memory_for_vms(total, configured, reserved)


def _settings(snapshot: ClusterSnapshot) -> Settings:
    values = snapshot.cluster.properties
    return Settings(
        enforced_anti_affinity=values.number("ClusterEnforcedAntiAffinity") == 1,
        fixed_order=values.number("DisableGroupPreferredOwnerRandomization") == 1,
        ignore_persistent_state=values.number("IgnorePersistentStateOnStartup") == 1,
        group_wait_delay=float(values.number("ClusterGroupWaitDelay", 120)),
        lease_duration=values.number("SameSubnetDelay", 1000) / 1000 * values.number("SameSubnetThreshold", 5),
        quarantine_threshold=values.number("QuarantineThreshold", 3),
        quarantine_duration=values.number("QuarantineDuration", 7200),
        limits=limits_of(snapshot),
    )


def _role(found: Versioned[CoordinatorRecord]) -> Role:
    record = found.value
    return Role(
        node=record.node,
        incarnation=record.incarnation,
        revision=found.revision,
        clock=record.clock,
        formed=record.formed,
        lapses=tuple(Lapse(one.node, one.incarnation, one.at) for one in record.lapses),
        quarantined=dict(record.quarantined),
    )


PictureOf = Callable[[], Picture]
