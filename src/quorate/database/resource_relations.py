"""What resources depend on, and which group they are in. Part of ``ClusterDatabase``.

What may be is decided by pure functions over one snapshot; the transactions decide anew on what they read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Final

from quorate.clusapi.dependencies import (
    NO_DEPENDENCY,
    Dependency,
    and_also,
    format_dependency,
    is_plain,
    resources_of,
    restricted,
    too_complex,
)
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.states import GroupType
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.administration import Events, changed_key
from quorate.database.plan import Plan, commit_until_done
from quorate.database.records import Ownership, RunState, Versioned
from quorate.database.resource_administration import ResourceAdministration
from quorate.database.snapshot import (
    DEPENDENCY_EXPRESSION,
    TYPE_VIRTUAL_MACHINE,
    TYPE_VIRTUAL_MACHINE_CONFIGURATION,
    ClusterSnapshot,
    GroupInfo,
    ResourceInfo,
)
from quorate.database.values import RegistryValue

DEEPEST_TREE: Final = 100
"""Resources that may depend on each other in a row ([MS-CMRP] 3.1.4.1.20)."""
QUORUM_RESOURCE: Final = "QuorumResource"
"""Value of the cluster's key: the id of the resource that is its witness; there need not be one."""

_VM_TYPES: Final = frozenset({TYPE_VIRTUAL_MACHINE.casefold(), TYPE_VIRTUAL_MACHINE_CONFIGURATION.casefold()})


@dataclass(frozen=True, slots=True)
class Regrouping:
    """A change of group: a resource takes along what depends on it and what it depends on, directly or not."""

    resources: tuple[ResourceInfo, ...]
    source: GroupInfo
    target: GroupInfo


Writers = Mapping[GroupId, tuple[Versioned[Ownership], RunState]]
"""The run states of groups, and the ownership records under which they may be written."""


class ResourceRelations(ResourceAdministration):
    """Changes of what resources have to do with each other."""

    async def add_dependency(self, resource: ResourceId, provider: ResourceId, *, events: Events = ()) -> None:
        """Let a resource depend on one more.

        Raises CallerError: ERROR_RESOURCE_NOT_FOUND, ERROR_DEPENDENCY_ALREADY_EXISTS, and as :meth:`set_dependencies`.
        """

        def added(info: ResourceInfo, snapshot: ClusterSnapshot) -> Dependency:
            check_new_dependency(snapshot, info, snapshot.resource(provider))
            return and_also(info.requirement, provider)

        await self._change_dependencies(resource, added, events)

    async def remove_dependency(self, resource: ResourceId, provider: ResourceId, *, events: Events = ()) -> None:
        """Let a resource not depend on another any more, wherever its expression names it.

        Raises CallerError: ERROR_RESOURCE_NOT_FOUND, ERROR_DEPENDENCY_NOT_FOUND.
        """

        def left(info: ResourceInfo, snapshot: ClusterSnapshot) -> Dependency:
            if provider not in resources_of(info.requirement):
                other = snapshot.resource(provider)
                sentence = f"the resource {info.name!r} does not depend on {other.name!r}"
                raise CallerError(Status.ERROR_DEPENDENCY_NOT_FOUND, sentence)
            return restricted(info.requirement, lambda item: item != provider)

        await self._change_dependencies(resource, left, events)

    async def set_dependencies(self, resource: ResourceId, dependency: Dependency, *, events: Events = ()) -> None:
        """Set what a resource depends on.

        Raises CallerError: ERROR_RESOURCE_NOT_FOUND, ERROR_INVALID_PARAMETER (not of this group),
        ERROR_CIRCULAR_DEPENDENCY, ERROR_DEPENDENCY_TREE_TOO_COMPLEX, RefusalError ERROR_DEPENDENCY_NOT_ALLOWED.
        """
        await self._change_dependencies(resource, lambda info, snapshot: dependency, events)

    async def _change_dependencies(
        self, resource: ResourceId, change: Callable[[ResourceInfo, ClusterSnapshot], Dependency], events: Events
    ) -> None:
        async def plan() -> tuple[Plan, None]:
            snapshot = await self.snapshot()
            info = snapshot.resource(resource)
            group = snapshot.groups[info.group_id]
            dependency = change(info, snapshot)
            check_dependency(snapshot, info, dependency)
            planned = Plan()
            record = await self._registry_record(keys.resource_path(resource))
            planned.replace(record, changed_key(record, _values(dependency)))
            planned.compares[record.key] = info.revision  # planned on the snapshot, not on this later reading
            await self._set_members(planned, group, group.resources)  # two changes that close a circle must meet
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def change_resource_group(
        self, resource: ResourceId, group: GroupId, writers: Writers, *, events: Events = ()
    ) -> Regrouping:
        """Put a resource, with its whole dependency tree, into another group of the same owner.

        ``writers`` are the new run states of both groups: written only while their owner owns both, else RefusalError
        ERROR_HOST_NODE_NOT_GROUP_OWNER. Raises what :func:`plan_regrouping` raises.
        """

        async def plan() -> tuple[Plan, Regrouping]:
            snapshot = await self.snapshot()
            moves = plan_regrouping(snapshot, snapshot.resource(resource), snapshot.group(group))
            planned = Plan()
            moved = tuple(info.id for info in moves.resources)
            left = tuple(id_ for id_ in moves.source.resources if id_ not in moved)
            await self._set_members(planned, moves.source, left)
            await self._set_members(planned, moves.target, (*moves.target.resources, *moved))
            for info in moves.resources:  # so that whoever changes or deletes one meanwhile plans anew
                record = await self._registry_record(keys.resource_path(info.id))
                planned.replace(record, record.value)
                planned.compares[record.key] = info.revision
            for id_, (ownership, run) in writers.items():
                await self._expect_ownership(planned, id_, ownership)
                planned.put(keys.run(id_), run.encode())
            self._log.add(planned, events)
            return planned, moves

        return (await commit_until_done(self._store, plan))[1]


# --- What may be ---------------------------------------------------------------------------------------------------


def check_new_dependency(snapshot: ClusterSnapshot, info: ResourceInfo, provider: ResourceInfo) -> None:
    """Refuse what :meth:`ResourceRelations.add_dependency` refuses; the answer of CanResourceBeDependent."""
    if provider.id in resources_of(info.requirement):
        sentence = f"the resource {info.name!r} depends on {provider.name!r} already"
        raise CallerError(Status.ERROR_DEPENDENCY_ALREADY_EXISTS, sentence)
    check_dependency(snapshot, info, and_also(info.requirement, provider.id))


def check_dependency(snapshot: ClusterSnapshot, info: ResourceInfo, dependency: Dependency) -> None:
    """Refuse what a resource may not depend on.

    Raises CallerError ERROR_INVALID_PARAMETER for a resource of another group, ERROR_CIRCULAR_DEPENDENCY,
    ERROR_DEPENDENCY_TREE_TOO_COMPLEX; RefusalError ERROR_DEPENDENCY_NOT_ALLOWED for the quorum resource.
    """
    named = resources_of(dependency)
    if named and snapshot.cluster.properties.text(QUORUM_RESOURCE).lower() == info.id:
        sentence = f"the resource {info.name!r} is the quorum resource, which may depend on nothing"
        raise RefusalError(Status.ERROR_DEPENDENCY_NOT_ALLOWED, sentence)
    for id_ in named:
        other = snapshot.resources.get(id_)
        if other is None or other.group_id != info.group_id:
            name = id_ if other is None else other.name
            sentence = (
                f"{info.name!r} and {name!r} are in different groups: a resource depends on those of its own only"
            )
            raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
    _check_order(snapshot, info, named)


def _check_order(snapshot: ClusterSnapshot, info: ResourceInfo, named: tuple[ResourceId, ...]) -> None:
    """Refuse dependencies that lead in a circle, or too deep, when ``info`` depends on ``named``."""
    below = {item.id: item.dependencies for item in snapshot.resources_of(info.group_id)} | {info.id: named}
    depths: dict[ResourceId, int] = {}
    try:
        for id_ in TopologicalSorter(below).static_order():
            depths[id_] = 1 + max((depths[item] for item in below.get(id_, ())), default=0)
    except CycleError as error:
        sentence = f"the resource {info.name!r} would need itself, by way of what it depends on"
        raise CallerError(Status.ERROR_CIRCULAR_DEPENDENCY, sentence) from error
    deepest = max(depths.values())
    if deepest > DEEPEST_TREE:
        raise too_complex(f"{deepest} resources would depend on each other in a row; {DEEPEST_TREE} may")


def plan_regrouping(snapshot: ClusterSnapshot, info: ResourceInfo, target: GroupInfo) -> Regrouping:
    """Say what goes along when a resource changes its group.

    Raises CallerError ERROR_ALREADY_EXISTS when it is there already; RefusalError ERROR_HOST_NODE_NOT_RESOURCE_OWNER
    when the groups have different owners, ERROR_CORE_RESOURCE for the core group, ERROR_NOT_SUPPORTED for a virtual
    machine, which is its group. Source: nf-clusapi-changeclusterresourcegroup, [MS-CMRP] 3.1.4.2.26.
    """
    source = snapshot.groups[info.group_id]
    if source.id == target.id:
        raise CallerError(Status.ERROR_ALREADY_EXISTS, f"{info.name!r} is in the group {target.name!r} already")
    for group in (source, target):
        if group.group_type == GroupType.CORE_CLUSTER:
            raise RefusalError(Status.ERROR_CORE_RESOURCE, f"the core group {group.name!r} keeps what it holds")
    if snapshot.owner_of(source.id) != snapshot.owner_of(target.id):
        sentence = f"{source.name!r} and {target.name!r} have different owners: move one of them to the other's first"
        raise RefusalError(Status.ERROR_HOST_NODE_NOT_RESOURCE_OWNER, sentence)
    tree = _tree(snapshot, info)
    for item in tree:
        if item.type.casefold() in _VM_TYPES:
            sentence = f"{item.name!r} stays where it is: a virtual machine is its group"
            raise RefusalError(Status.ERROR_NOT_SUPPORTED, sentence)
    return Regrouping(tree, source, target)


def _tree(snapshot: ClusterSnapshot, info: ResourceInfo) -> tuple[ResourceInfo, ...]:
    members = snapshot.resources_of(info.group_id)
    found = {info.id}
    while True:
        more = {
            item.id
            for item in members
            if item.id not in found
            and (
                not found.isdisjoint(item.dependencies)
                or any(item.id in snapshot.resources[known].dependencies for known in found)
            )
        }
        if not more:
            return tuple(item for item in members if item.id in found)
        found |= more


def _values(dependency: Dependency) -> dict[str, RegistryValue | None]:
    """The values of a resource's key that hold it: the plain list always, the expression where that says more."""
    text = None if is_plain(dependency) else RegistryValue.sz(format_dependency(dependency))
    named = None if dependency == NO_DEPENDENCY else RegistryValue.multi_sz(*resources_of(dependency))
    return {"Dependencies": named, DEPENDENCY_EXPRESSION: text}
