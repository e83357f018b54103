"""In which order the resources of a group go online and offline: pure, ``plan(states, dependencies, wishes) -> Plan``.

A wish says where a resource is to end. It is carried out when its turn has come: online when all its providers are
online, offline when none of its dependents is online or on its way. The host asks for a plan after every change of a
state, carries it out and keeps the wishes that are left; a wish ends when it is fulfilled or can no longer be.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final

from quorate.clusapi.identity import ResourceId
from quorate.clusapi.states import ResourceState, VmResdllContext
from quorate.clusapi.status import Status

States = Mapping[ResourceId, ResourceState]
Dependencies = Mapping[ResourceId, tuple[ResourceId, ...]]


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
    flags: int = 0
    vm_context: VmResdllContext | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a wish ended."""

    status: Status
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, what is left to wish, and what has come to an end."""

    act: tuple[ResourceId, ...] = ()
    wishes: Mapping[ResourceId, Wish] = field(default_factory=dict)
    ended: Mapping[ResourceId, Outcome] = field(default_factory=dict)


_DONE: Final = Outcome(Status.ERROR_SUCCESS)
_STILL: Final = frozenset({ResourceState.OFFLINE, ResourceState.FAILED})


class _Next(Enum):
    WAIT = auto()  # not its turn, or under way
    ACT = auto()  # its turn


def plan(states: States, dependencies: Dependencies, wishes: Mapping[ResourceId, Wish]) -> Plan:
    """Decide what is next; wishes for resources that are not there (any more) end unfulfilled."""
    act: list[ResourceId] = []
    left: dict[ResourceId, Wish] = {}
    ended: dict[ResourceId, Outcome] = {}
    for resource_id, wish in wishes.items():
        state = states.get(resource_id)
        if state is None:
            ended[resource_id] = Outcome(Status.ERROR_RESOURCE_NOT_FOUND, "the resource is not here any more")
            continue
        decide = _towards_online if wish.goal is Goal.ONLINE else _towards_offline
        decision = decide(resource_id, state, wish, states, dependencies, wishes)
        if isinstance(decision, Outcome):
            ended[resource_id] = decision
            continue
        if decision is _Next.ACT:
            act.append(resource_id)
        under_way = _PENDING_STATE[wish.goal] == state
        left[resource_id] = replace(wish, started=wish.started or decision is _Next.ACT or under_way)
    return Plan(tuple(act), left, ended)


_PENDING_STATE: Final = {Goal.ONLINE: ResourceState.ONLINE_PENDING, Goal.OFFLINE: ResourceState.OFFLINE_PENDING}


def _towards_online(
    resource_id: ResourceId,
    state: ResourceState,
    wish: Wish,
    states: States,
    dependencies: Dependencies,
    wishes: Mapping[ResourceId, Wish],
) -> _Next | Outcome:
    if state == ResourceState.ONLINE:
        return _DONE
    if state not in _STILL:
        return _Next.WAIT
    if wish.started:
        return Outcome(Status.ERROR_RESOURCE_FAILED, "it did not come online")
    missing = [item for item in _providers(resource_id, states, dependencies) if states[item] != ResourceState.ONLINE]
    if not missing:
        return _Next.ACT
    if all(item in wishes and wishes[item].goal is Goal.ONLINE for item in missing):
        return _Next.WAIT
    return Outcome(Status.ERROR_CLUSTER_RESOURCE_PROVIDER_FAILED, "a resource that it depends on is not online")


def _towards_offline(
    resource_id: ResourceId,
    state: ResourceState,
    wish: Wish,
    states: States,
    dependencies: Dependencies,
    wishes: Mapping[ResourceId, Wish],
) -> _Next | Outcome:
    if state == ResourceState.OFFLINE:
        return _DONE
    if state == ResourceState.ONLINE and wish.started:
        return Outcome(Status.ERROR_CLUSTER_RESOURCE_VETOED_CALL, "it stays online")
    if state == ResourceState.FAILED and wish.started:
        return Outcome(Status.ERROR_RESOURCE_FAILED, "it failed while it went offline")
    if not (state in (ResourceState.ONLINE, ResourceState.FAILED) or (wish.forced and not wish.started)):
        return _Next.WAIT
    above = [item for item in _dependents(resource_id, dependencies) if states.get(item) not in (*_STILL, None)]
    if not above:
        return _Next.ACT
    if all(item in wishes and wishes[item].goal is Goal.OFFLINE for item in above):
        return _Next.WAIT
    return Outcome(Status.ERROR_CLUSTER_RESOURCE_VETOED_CALL, "a resource that depends on it is still online")


def _providers(resource_id: ResourceId, states: States, dependencies: Dependencies) -> list[ResourceId]:
    return [item for item in dependencies.get(resource_id, ()) if item in states]


def _dependents(resource_id: ResourceId, dependencies: Dependencies) -> list[ResourceId]:
    return [item for item, providers in dependencies.items() if resource_id in providers]


def with_providers(start: Iterable[ResourceId], dependencies: Dependencies) -> tuple[ResourceId, ...]:
    """The resources and everything they depend on, directly or not."""
    return _closure(start, lambda item: dependencies.get(item, ()))


def with_dependents(start: Iterable[ResourceId], dependencies: Dependencies) -> tuple[ResourceId, ...]:
    """The resources and everything that depends on them, directly or not."""
    return _closure(start, lambda item: _dependents(item, dependencies))


def is_wanted_online(states: States, dependencies: Dependencies, leaving: Iterable[ResourceId]) -> bool:
    """Answer whether the group is wanted online when ``leaving`` are offline.

    It is as long as one of its purposes is: a resource on which no other depends.
    """
    gone = set(leaving)
    purposes = [item for item in states if not _dependents(item, dependencies)]
    return any(item not in gone and states[item] != ResourceState.OFFLINE for item in purposes)


def _closure(
    start: Iterable[ResourceId], following: Callable[[ResourceId], Iterable[ResourceId]]
) -> tuple[ResourceId, ...]:
    found: dict[ResourceId, None] = {}
    waiting = list(start)
    while waiting:
        item = waiting.pop()
        if item not in found:
            found[item] = None
            waiting.extend(following(item))
    return tuple(found)
