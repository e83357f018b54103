"""Makes the brains' pictures of groups from snapshots: what has not changed since the last one is not made again.

Two snapshots share what is the same in both of them, so that it is known at next to no cost which groups have changed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.states import (
    GroupPriority,
    GroupStatus,
    GroupType,
    MigrationState,
    NodeResumeFailbackType,
    ResourceState,
    VmResdllContext,
)
from quorate.cluster.groups import Groups
from quorate.cluster.moves import DrainStage
from quorate.cluster.picture import AS_MANY_AS_OTHER_NODES, NO_HOUR, Failover, GroupPicture
from quorate.database.records import Ownership, RunState, Versioned
from quorate.database.snapshot import ClusterSnapshot, GroupInfo, ResourceInfo, ResourceTypeInfo
from quorate.engine.move_types import default_move_type, move_type_threshold

_log = structlog.get_logger("coordinator")


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


@dataclass(frozen=True, slots=True)
class _Known:
    """A group's picture and what it was made of: a snapshot's own objects, and their revisions."""

    info: GroupInfo
    ownership: Versioned[Ownership]
    run: Versioned[RunState]
    resources: Mapping[ResourceId, ResourceInfo]
    nodes: int
    """How many there were."""
    types: Mapping[str, ResourceTypeInfo]
    revisions: tuple[int, ...]
    group: GroupPicture

    def is_made_of(
        self, info: GroupInfo, ownership: Versioned[Ownership], run: Versioned[RunState], snapshot: ClusterSnapshot
    ) -> bool:
        """Tell, at next to no cost, that nothing has changed; snapshots keep the objects that have not."""
        same = self.run is run and self.ownership is ownership and self.info is info
        same_types = self.types is snapshot.resource_types
        return same and same_types and self.resources is snapshot.resources and self.nodes == len(snapshot.nodes)


class GroupPictures:
    """Pictures of groups. What is made here depends on the snapshot alone, and not on who looks at it."""

    def __init__(self) -> None:
        """Know none."""
        self._memory = VmMemory()
        self._known: dict[GroupId, _Known] = {}
        self._snapshot: ClusterSnapshot | None = None
        self._groups = Groups({})
        self._sets: dict[int, tuple[tuple[NodeId, ...], frozenset[NodeId]]] = {}

    def of(self, snapshot: ClusterSnapshot) -> Groups:
        """The groups of a snapshot."""
        last = self._snapshot
        if last is None or not _has_same_objects(last, snapshot):
            self._look_at_all(snapshot)
        else:
            self._look_at_changes(last, snapshot)
        self._snapshot = snapshot
        homeward = _homeward(snapshot)
        if not homeward:
            return self._groups
        going = (group for drain in homeward for group in self._groups.drained_by(drain))
        return self._groups.changed({group.id: replace(group, away=True) for group in going})

    def _look_at_changes(self, last: ClusterSnapshot, snapshot: ClusterSnapshot) -> None:
        changed = snapshot.run.differences(last.run) | snapshot.ownership.differences(last.ownership)
        news: dict[GroupId, GroupPicture] = {}
        for id_ in sorted(changed):
            info, ownership, run = snapshot.groups.get(id_), snapshot.ownership.get(id_), snapshot.run.get(id_)
            if info is None or ownership is None or run is None or id_ not in self._groups:
                self._look_at_all(snapshot)  # it is about to be made, or deleted
                return
            known = self._known[id_] = self._make(snapshot, info, ownership, run, self._known.get(id_))
            news[id_] = known.group
        self._groups = self._groups.changed(news)

    def _look_at_all(self, snapshot: ClusterSnapshot) -> None:
        kept: dict[GroupId, _Known] = {}
        for info in snapshot.groups.values():
            ownership, run = snapshot.ownership.get(info.id), snapshot.run.get(info.id)
            if ownership is None or run is None:
                continue
            known = self._known.get(info.id)
            if known is None or not known.is_made_of(info, ownership, run, snapshot):
                known = self._make(snapshot, info, ownership, run, known)
            kept[info.id] = known
        self._known = kept
        self._groups = Groups({id_: known.group for id_, known in kept.items()})

    def _make(
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
            memory = self._memory.of(snapshot, info.id)
            group = _group(info, resources, ownership, run.value, memory, how, self._possible(resources))
        made_of = snapshot.resources, len(snapshot.nodes), snapshot.resource_types
        return _Known(info, ownership, run, *made_of, revisions, group)

    def _possible(self, resources: tuple[ResourceInfo, ...]) -> frozenset[NodeId] | None:
        """Give the nodes that may own all of these; equal ones are the same set, as there are so many of them."""
        sets = {id(owners): self._set(owners) for owners in (resource.possible_owners for resource in resources)}
        if len(sets) == 1:
            return next(iter(sets.values()))
        return frozenset.intersection(*sets.values()) if sets else None

    def _set(self, owners: tuple[NodeId, ...]) -> frozenset[NodeId]:
        known = self._sets.get(id(owners))
        if known is None or known[0] is not owners:
            if len(self._sets) > MOST_SETS:
                self._sets.clear()
            known = self._sets[id(owners)] = (owners, frozenset(owners))
        return known[1]


MOST_SETS: Final = 1000
"""Sets of possible owners that are kept."""


def _has_same_objects(one: ClusterSnapshot, other: ClusterSnapshot) -> bool:
    """Tell whether nothing but owners and run states can differ."""
    same = one.groups is other.groups and one.resources is other.resources and len(one.nodes) == len(other.nodes)
    return same and one.resource_types is other.resource_types


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
    possible: frozenset[NodeId] | None,
) -> GroupPicture:
    values, failover = info.properties, run.failover
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
        possible=possible,
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
        fetches=ownership.value.giver is None and run.vm is not None and run.vm.migration_state == MigrationState.MOVE,
    )


def _homeward(snapshot: ClusterSnapshot) -> frozenset[str]:
    """The drains, by id, whose groups their failback policies may bring home, as their nodes were resumed so."""
    return frozenset(
        found.value.id
        for found in snapshot.drains.values()
        if found.value.stage == DrainStage.RETURNING.value
        and found.value.failback == NodeResumeFailbackType.FAIL_BACK_PER_POLICY
    )
