"""Makes the brains' picture of the cluster from the newest snapshot and from what this node knows of the others."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.states import (
    GroupPriority,
    GroupStatus,
    GroupType,
    NodeResumeFailbackType,
    NodeState,
    NodeStatus,
    ResourceState,
    VmResdllContext,
)
from quorate.cluster.memory import AUTOMATIC_RESERVE, memory_for_vms
from quorate.cluster.moves import DrainStage, Move
from quorate.cluster.observer import EndVerdict
from quorate.cluster.picture import (
    AS_MANY_AS_OTHER_NODES,
    NO_HOUR,
    Failover,
    GroupPicture,
    Lapse,
    LeaseView,
    NodePicture,
    Picture,
    Role,
    Settings,
)
from quorate.database.backup import RESTORED
from quorate.database.move_records import MoveRecord
from quorate.database.records import Ownership, RunState, Versioned
from quorate.database.snapshot import ClusterSnapshot, GroupInfo, NodeInfo, ResourceInfo, ResourceTypeInfo
from quorate.engine.cluster_clock import ClusterClock
from quorate.engine.guard_file import boottime
from quorate.engine.move_types import default_move_type, move_type_threshold
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
    ) -> None:
        """See the cluster as node ``me`` does; ``is_fenced`` tells of whom it is proven that he is off.

        ``now`` gives CLOCK_BOOTTIME.
        """
        self._me = me
        self._view = view
        self._judgement = judgement
        self._clock = clock
        self._is_fenced = is_fenced
        self._now = now
        self._groups: dict[GroupId, _Known] = {}
        self._moves: dict[GroupId, tuple[Versioned[MoveRecord], Move]] = {}
        self._memory = VmMemory()

    def current(self) -> Picture:
        """The cluster as it is now."""
        snapshot = self._view.snapshot
        return Picture(
            revision=snapshot.revision,
            me=self._me,
            now=self._now(),
            clock=self._clock.now(),
            settings=_settings(snapshot),
            nodes={node.id: self._node(snapshot, node) for node in snapshot.nodes.values()},
            groups=self._all_groups(snapshot),
            role=_role(snapshot),
            moves=self._all_moves(snapshot),
            drains={node: to_drain(node, found) for node, found in snapshot.drains.items()},
            turn=snapshot.turn,
        )

    # --- nodes -----------------------------------------------------------------------------------------------------

    def _node(self, snapshot: ClusterSnapshot, info: NodeInfo) -> NodePicture:
        reserved = snapshot.cluster.properties.number("RootMemoryReserved", AUTOMATIC_RESERVE)
        facts = snapshot.facts.get(info.id)
        return NodePicture(
            id=info.id,
            name=info.name,
            state=self._judgement.node_state(info.id),
            status=self._judgement.node_status(info.id) | info.status,
            memory=None if facts is None else _memory_of_node(facts.value.hypervisor, reserved),
            lease=self._lease(snapshot, info.id),
        )

    def _lease(self, snapshot: ClusterSnapshot, node: NodeId) -> LeaseView | None:
        lease = snapshot.leases.get(node)
        if lease is None:
            return None
        if lease.value.ended or node == self._me:
            is_restored = lease.value.incarnation == RESTORED
            return LeaseView(lease.revision, lease.value.incarnation, lease.value.ended, is_restored=is_restored)
        verdict = self._judgement.may_end(node, fenced=self._is_fenced(node))
        return LeaseView(
            revision=lease.revision,
            incarnation=lease.value.incarnation,
            may_end=verdict.allowed,
            again_at=verdict.at,
            sentence=verdict.sentence,
        )

    # --- groups ----------------------------------------------------------------------------------------------------

    def _all_groups(self, snapshot: ClusterSnapshot) -> dict[GroupId, GroupPicture]:
        kept: dict[GroupId, _Known] = {}
        for info in snapshot.groups.values():
            ownership, run = snapshot.ownership.get(info.id), snapshot.run.get(info.id)
            if ownership is None or run is None:
                continue
            known = self._groups.get(info.id)
            if known is None or not known.is_made_of(info, ownership, run, snapshot):
                known = self._known(snapshot, info, ownership, run, known)
            kept[info.id] = known
        self._groups = kept
        groups = {id_: known.group for id_, known in kept.items()}
        homeward = _homeward(snapshot)
        if homeward:
            groups.update(
                (id_, replace(group, away=True)) for id_, group in groups.items() if group.drained in homeward
            )
        return groups

    def _all_moves(self, snapshot: ClusterSnapshot) -> dict[GroupId, Move]:
        known = self._moves
        self._moves = {
            group: before if before is not None and before[0] is found else (found, to_move(group, found))
            for group, found in snapshot.moves.items()
            for before in (known.get(group),)
        }
        return {group: move for group, (_, move) in self._moves.items()}

    def _known(
        self,
        snapshot: ClusterSnapshot,
        info: GroupInfo,
        ownership: Versioned[Ownership],
        run: Versioned[RunState],
        before: "_Known | None",
    ) -> "_Known":
        resources = snapshot.resources_of(info.id)
        threshold = move_type_threshold(snapshot)
        revisions = (*_revisions(info, resources, ownership, run, len(snapshot.nodes)), threshold)
        if before is not None and before.revisions == revisions:
            group = before.group
        else:
            how = default_move_type(snapshot, info.id, threshold)
            group = _group(info, resources, ownership, run.value, self._memory.of(snapshot, info.id), how)
        made_of = snapshot.resources, snapshot.nodes, snapshot.resource_types
        return _Known(info, ownership, run, *made_of, revisions, group)


@dataclass(frozen=True, slots=True)
class _Known:
    """A group's picture and what it was made of: a snapshot's own objects, and their revisions."""

    info: GroupInfo
    ownership: Versioned[Ownership]
    run: Versioned[RunState]
    resources: Mapping[ResourceId, ResourceInfo]
    nodes: Mapping[NodeId, NodeInfo]
    types: Mapping[str, ResourceTypeInfo]
    revisions: tuple[int, ...]
    group: GroupPicture

    def is_made_of(
        self, info: GroupInfo, ownership: Versioned[Ownership], run: Versioned[RunState], snapshot: ClusterSnapshot
    ) -> bool:
        """Tell, at next to no cost, that nothing has changed; snapshots keep the objects that have not."""
        same = self.run is run and self.ownership is ownership and self.info is info
        same_types = self.types is snapshot.resource_types
        return same and same_types and self.resources is snapshot.resources and self.nodes is snapshot.nodes


class VmMemory:
    """How much memory virtual machines commit, by their definitions."""

    def __init__(self) -> None:
        """Know none."""
        self._known: dict[ResourceId, tuple[int, int]] = {}

    def of(self, snapshot: ClusterSnapshot, group: GroupId) -> int:
        """Bytes that a group's virtual machine commits; 0 for a group without one."""
        configuration = snapshot.vm_configuration(group)
        if configuration is None:
            return 0
        known = self._known.get(configuration.id)
        if known is None or known[0] != configuration.parameters_revision:
            size = _memory_of(configuration)
            known = self._known[configuration.id] = (configuration.parameters_revision, size)
        return known[1]


def _memory_of(configuration: ResourceInfo) -> int:
    """What the guest was really given where that is known, else what its definition says."""
    for name, field in (("Pinned", "memory_bytes"), ("Definition", "memory")):
        text = configuration.parameters.text(name)
        try:
            size = json.loads(text).get(field) if text else None
        except (ValueError, AttributeError) as error:
            _log.warning("a definition is unreadable", resource=configuration.name, value=name, error=str(error))
            continue
        if isinstance(size, int) and size > 0:
            return size
    return 0


def _memory_of_node(hypervisor: JsonObject, reserved: int) -> int | None:
    def number(name: str) -> int | None:
        value = hypervisor.get(name)
        return int(value) if isinstance(value, str) and value.isdigit() else None

    total, configured = number(MEMORY_TOTAL), number(MEMORY_CONFIGURED)
    return None if total is None else memory_for_vms(total, configured, reserved)


def _revisions(
    info: GroupInfo,
    resources: tuple[ResourceInfo, ...],
    ownership: Versioned[Ownership],
    run: Versioned[RunState],
    nodes: int,
) -> tuple[int, ...]:
    of_resources = (number for resource in resources for number in (resource.revision, resource.parameters_revision))
    return (info.revision, ownership.revision, run.revision, nodes, *of_resources)


def _group(
    info: GroupInfo,
    resources: tuple[ResourceInfo, ...],
    ownership: Versioned[Ownership],
    run: RunState,
    memory: int,
    how: VmResdllContext,
) -> GroupPicture:
    values, failover = info.properties, run.failover
    possible = [frozenset(resource.possible_owners) for resource in resources]
    stored = (run.resource_states.get(resource.id, ResourceState.OFFLINE) for resource in resources)
    return GroupPicture(
        id=info.id,
        name=info.name,
        owner=ownership.value.holder,
        epoch=ownership.value.epoch,
        revision=ownership.revision,
        giver=ownership.value.giver,
        group_type=info.group_type,
        priority=values.number("Priority", GroupPriority.MEDIUM),
        wanted=run.persistent_state,
        states=tuple(ResourceState(state) for state in stored),
        memory=memory if info.group_type == GroupType.VIRTUAL_MACHINE else 0,
        possible=frozenset.intersection(*possible) if possible else None,
        preferred=info.preferred_owners,
        classes=frozenset(name.casefold() for name in values.texts("AntiAffinityClassNames")),
        failovers=tuple(Failover(one.at, one.node) for one in failover.failovers),
        failover_threshold=values.number("FailoverThreshold", AS_MANY_AS_OTHER_NODES),
        failover_period=values.number("FailoverPeriod", 6),
        failed_at=failover.failed_at,
        status=GroupStatus(run.status_information),
        away=failover.away,
        failback=values.number("AutoFailbackType") == 1,
        failback_window=(
            values.number("FailbackWindowStart", NO_HOUR),
            values.number("FailbackWindowEnd", NO_HOUR),
        ),
        locked=values.number("LockedFromMoving") == 1,
        sentence=failover.sentence,
        how=how,
        drained=failover.drained,
    )


def _homeward(snapshot: ClusterSnapshot) -> frozenset[str]:
    """The drains, by id, whose groups their failback policies may bring home, as their nodes were resumed so."""
    return frozenset(
        found.value.id
        for found in snapshot.drains.values()
        if found.value.stage == DrainStage.RETURNING.value
        and found.value.failback == NodeResumeFailbackType.FAIL_BACK_PER_POLICY
    )


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


def _role(snapshot: ClusterSnapshot) -> Role | None:
    found = snapshot.coordinator
    if found is None:
        return None
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
