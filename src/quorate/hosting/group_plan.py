"""In which order the resources of a group go online and offline: pure, ``plan(states, dependencies, wishes) -> Plan``.

A wish says where a resource is to end. It is carried out when its turn has come: online when what it depends on is
online, offline when nothing that needs it is online or on its way. Needs are AND/OR expressions: a resource with
alternatives comes online as soon as one of each is there, and stays when another one goes.

The host asks for a plan after every change of a state, carries it out and keeps the wishes that are left; a wish ends
when it is fulfilled or can no longer be. Besides there are resources that are to *return*: taken offline because a
provider is restarted, or failed while their provider was not there. Each is brought online, once, when its turn comes,
however long that takes; nobody waits for them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final

from quorate.clusapi.dependencies import NO_DEPENDENCY, Dependency, is_met, resources_of
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.states import ResourceState, VmResdllContext
from quorate.clusapi.status import Status

States = Mapping[ResourceId, ResourceState]
Dependencies = Mapping[ResourceId, Dependency]


class Goal(Enum):
    """Where a resource is to end."""

    ONLINE = auto()
    OFFLINE = auto()


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of one resource."""

    goal: Goal
    started: bool = False  # its turn has come: what happens to the resource now is its outcome
    forced: bool = False  # offline at once, by terminate
    after_dependents: bool = False  # online, but not before those that depend on it have gone offline: a restart
    flags: int = 0
    vm_context: VmResdllContext | None = None


Wishes = Mapping[ResourceId, Wish]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a wish ended."""

    status: Status
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, what is left to wish, what has come to an end, and what is still to return."""

    act: tuple[ResourceId, ...] = ()
    wishes: Wishes = field(default_factory=dict)
    ended: Mapping[ResourceId, Outcome] = field(default_factory=dict)
    returning: frozenset[ResourceId] = frozenset()


_DONE: Final = Outcome(Status.ERROR_SUCCESS)
_STILL: Final = frozenset({ResourceState.OFFLINE, ResourceState.FAILED})
_THERE: Final = frozenset({ResourceState.ONLINE, ResourceState.ONLINE_PENDING})
_PENDING_STATE: Final = {Goal.ONLINE: ResourceState.ONLINE_PENDING, Goal.OFFLINE: ResourceState.OFFLINE_PENDING}


class _Next(Enum):
    WAIT = auto()  # not its turn, or under way
    ACT = auto()  # its turn


def plan(
    states: States, dependencies: Dependencies, wishes: Wishes, returning: frozenset[ResourceId] = frozenset()
) -> Plan:
    """Decide what is next; wishes for resources that are not there (any more) end unfulfilled."""
    group = _Group(states, dependencies, wishes)
    left_to_return = {item for item in returning if not group.has_returned(item)}
    picked = {item: Wish(Goal.ONLINE) for item in sorted(left_to_return) if group.may_return(item)}
    group = _Group(states, dependencies, {**wishes, **picked})
    act: list[ResourceId] = []
    left: dict[ResourceId, Wish] = {}
    ended: dict[ResourceId, Outcome] = {}
    for resource_id, wish in group.wishes.items():
        state = states.get(resource_id)
        if state is None:
            ended[resource_id] = Outcome(Status.ERROR_RESOURCE_NOT_FOUND, "the resource is not here any more")
            continue
        decide = group.towards_online if wish.goal is Goal.ONLINE else group.towards_offline
        decision = decide(resource_id, state, wish)
        if isinstance(decision, Outcome):
            ended[resource_id] = decision
            continue
        if decision is _Next.ACT:
            act.append(resource_id)
            if wish.goal is Goal.ONLINE:
                left_to_return.discard(resource_id)  # one try: what comes of it is for others to judge
        under_way = _PENDING_STATE[wish.goal] == state
        left[resource_id] = replace(wish, started=wish.started or decision is _Next.ACT or under_way)
    return Plan(tuple(act), left, ended, frozenset(left_to_return))


@dataclass(frozen=True, slots=True)
class _Group:
    """One look at a group."""

    states: States
    dependencies: Dependencies
    wishes: Wishes

    def has_returned(self, resource_id: ResourceId) -> bool:
        there = self.states.get(resource_id, ResourceState.ONLINE) == ResourceState.ONLINE
        return there and not self._wants(resource_id, Goal.OFFLINE)

    def may_return(self, resource_id: ResourceId) -> bool:
        if resource_id in self.wishes or self.states[resource_id] not in _STILL:
            return False
        return self._is_met(resource_id, self._stays_online)

    def towards_online(self, resource_id: ResourceId, state: ResourceState, wish: Wish) -> _Next | Outcome:
        if state == ResourceState.ONLINE:
            return _DONE
        if state not in _STILL:
            return _Next.WAIT
        if wish.started:
            return Outcome(Status.ERROR_RESOURCE_FAILED, "it did not come online")
        leaving = (item for item in dependents_of(resource_id, self.dependencies) if self._wants(item, Goal.OFFLINE))
        if wish.after_dependents and any(leaving):
            return _Next.WAIT
        if self._is_met(resource_id, self._stays_online):
            return _Next.ACT
        if self._is_met(resource_id, lambda item: self._stays_online(item) or self._wants(item, Goal.ONLINE)):
            return _Next.WAIT
        return Outcome(Status.ERROR_CLUSTER_RESOURCE_PROVIDER_FAILED, "a resource that it depends on is not online")

    def towards_offline(self, resource_id: ResourceId, state: ResourceState, wish: Wish) -> _Next | Outcome:
        if state == ResourceState.OFFLINE:
            return _DONE
        if state == ResourceState.ONLINE and wish.started:
            return Outcome(Status.ERROR_CLUSTER_RESOURCE_VETOED_CALL, "it stays online")
        if state == ResourceState.FAILED and wish.started:
            return Outcome(Status.ERROR_RESOURCE_FAILED, "it failed while it went offline")
        if not (state in (ResourceState.ONLINE, ResourceState.FAILED) or (wish.forced and not wish.started)):
            return _Next.WAIT
        above = [item for item in dependents_of(resource_id, self.dependencies) if self._needs(item, resource_id)]
        if not above:
            return _Next.ACT
        if all(self._wants(item, Goal.OFFLINE) for item in above):
            return _Next.WAIT
        return Outcome(Status.ERROR_CLUSTER_RESOURCE_VETOED_CALL, "a resource that depends on it is still online")

    def _needs(self, dependent: ResourceId, provider: ResourceId) -> bool:
        """Answer whether a provider must wait for a dependent before it goes offline."""
        if self.states.get(dependent, ResourceState.OFFLINE) in _STILL:
            return False
        return self._wants(dependent, Goal.OFFLINE) or not self._is_met(
            dependent, lambda item: item != provider and self._stays_online(item)
        )

    def _is_met(self, resource_id: ResourceId, holds: Callable[[ResourceId], bool]) -> bool:
        return is_met(self.dependencies.get(resource_id, NO_DEPENDENCY), holds)

    def _stays_online(self, resource_id: ResourceId) -> bool:
        return self.states.get(resource_id) == ResourceState.ONLINE and not self._wants(resource_id, Goal.OFFLINE)

    def _wants(self, resource_id: ResourceId, goal: Goal) -> bool:
        return resource_id in self.wishes and self.wishes[resource_id].goal is goal


def dependents_of(resource_id: ResourceId, dependencies: Dependencies) -> list[ResourceId]:
    """The resources that name a resource among what they depend on."""
    return [item for item, needed in dependencies.items() if resource_id in resources_of(needed)]


def with_providers(start: Iterable[ResourceId], dependencies: Dependencies) -> tuple[ResourceId, ...]:
    """The resources and everything they depend on, directly or not; of alternatives all."""
    found: dict[ResourceId, None] = {}
    waiting = list(start)
    while waiting:
        item = waiting.pop()
        if item not in found:
            found[item] = None
            waiting.extend(resources_of(dependencies.get(item, NO_DEPENDENCY)))
    return tuple(found)


def with_dependents(start: Iterable[ResourceId], states: States, dependencies: Dependencies) -> tuple[ResourceId, ...]:
    """The resources and everything that cannot be online without them, directly or not."""
    gone = dict.fromkeys(start)
    while True:
        more = [
            item
            for item, needed in dependencies.items()
            if item not in gone
            and not gone.keys().isdisjoint(resources_of(needed))
            and not is_met(needed, lambda other: other not in gone and states.get(other) in _THERE)
        ]
        if not more:
            return tuple(gone)
        gone.update(dict.fromkeys(more))


def is_wanted_online(states: States, dependencies: Dependencies, leaving: Iterable[ResourceId]) -> bool:
    """Answer whether the group is wanted online when ``leaving`` are offline.

    It is as long as one of its purposes is: a resource on which no other depends.
    """
    gone = set(leaving)
    purposes = [item for item in states if not dependents_of(item, dependencies)]
    return any(item not in gone and states[item] != ResourceState.OFFLINE for item in purposes)
