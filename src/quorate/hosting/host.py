"""The groups and resources that this node hosts: what the server, the engine and the service talk to.

All methods belong to one event loop. Requests answer ERROR_SUCCESS when it is done or ERROR_IO_PENDING when it goes on
by itself, and raise :class:`~quorate.clusapi.errors.ClusterError` for everything else; control codes always answer with
a :class:`~quorate.hosting.contract.ControlResult`.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from quorate.clusapi.dependencies import Dependency
from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.states import (
    GroupState,
    ResourceOfflineFlags,
    ResourceOnlineFlags,
    ResourceState,
    VmResdllContext,
    group_state,
)
from quorate.clusapi.status import Status
from quorate.hosting.cluster_handling import PlainClusterHandling
from quorate.hosting.common_properties import effective_traits
from quorate.hosting.contract import (
    ClusterHandling,
    ControlAnswer,
    ControlResult,
    GroupFacts,
    Parameters,
    PropertyScope,
    PropertyStore,
    ResourceFacts,
    ResourceFailure,
    ResourceStateChange,
    RunStates,
    TypeProperties,
)
from quorate.hosting.controls import Controls
from quorate.hosting.entry_calls import timed_call
from quorate.hosting.group_plan import Goal, Wish
from quorate.hosting.hosted_group import HostedGroup
from quorate.hosting.hosted_resource import HostedResource, Surroundings
from quorate.hosting.monitor_pool import MonitorFacts, MonitorNews, MonitorPool
from quorate.hosting.monitored_types import MonitoredType
from quorate.hosting.property_codes import PropertyRequest, request_of
from quorate.hosting.resource_type import ResourceType

_TOLD_WITHIN: Final = 2.0  # seconds; a group that is being migrated is told of changes when that is over
_ENDED_WITHIN: Final = 10.0  # seconds that a node that goes down leaves to what it is ending
_log: Final = logging.getLogger(__name__)


def _ignore(news: object) -> None:
    """Nobody listens."""


class Host:
    """Hosts groups: brings their resources online and offline in order, watches them, and answers control codes."""

    def __init__(
        self,
        types: Iterable[ResourceType],
        store: PropertyStore,
        run_states: RunStates,
        *,
        monitors: MonitorPool | None = None,
        cluster: ClusterHandling | None = None,
        settings: Mapping[str, str] | None = None,
        on_state_changed: Callable[[ResourceStateChange], None] = _ignore,
        on_failed: Callable[[ResourceFailure], None] = _ignore,
        on_monitor_news: Callable[[MonitorNews], None] = _ignore,
    ) -> None:
        """Take the types that live in the daemon; all others are looked for in the monitor processes.

        ``settings`` is what the node's configuration says to resource types (``scripts_directory``…).
        All callbacks must return at once: ``on_state_changed`` hears of every change of a resource's state as it
        happens, ``on_failed`` of every resource that was to be online and has failed (the restart policy hangs on it),
        ``on_monitor_news`` of monitor processes that hang, end or are started again.
        """
        self._types = {type_.name.casefold(): type_ for type_ in types}
        self._store = store
        self._run_states = run_states
        self._monitors = MonitorPool() if monitors is None else monitors
        self._monitors.on_news = on_monitor_news
        self._controls = Controls(store, PlainClusterHandling() if cluster is None else cluster)
        self._around = Surroundings(store, dict(settings or {}))
        self._on_state_changed = on_state_changed
        self._on_failed = on_failed
        self._groups: dict[GroupId, HostedGroup] = {}
        self._resources: dict[ResourceId, HostedResource] = {}
        self._news: set[asyncio.Task[None]] = set()
        self._ending: dict[GroupId, asyncio.Task[None]] = {}
        self._kept: frozenset[ResourceId] = frozenset()

    # --- Groups come and go ------------------------------------------------------------------------------------

    async def attach_group(
        self,
        group: GroupFacts,
        resources: Sequence[ResourceFacts],
        states: Mapping[ResourceId, ResourceState],
        written: Mapping[ResourceId, ResourceState] | None = None,
    ) -> None:
        """Host a group in the states given; nothing is started or stopped. ``written``: those that are recorded, if
        they are others.

        A state that is pending counts as failed, and one that is not given as offline. For a group that is hosted
        already this takes over new facts: names, dependencies, resources that were added or are gone. Raises
        RefusalError 5944 while its end here, which :meth:`detach_group` began, is not done.
        """
        if group.id in self._ending:
            sentence = f"what ran of group {group.name!r} here is still being ended"
            raise RefusalError(Status.ERROR_CLUSTER_GROUP_BUSY, sentence)
        hosted = self._groups.get(group.id)
        if hosted is None:
            hosted = HostedGroup(group, self._run_states, self._on_state_changed, self._on_failed)
            self._groups[group.id] = hosted
        hosted.facts = group
        given = {facts.id: facts for facts in resources}
        for resource_id in [item for item in hosted.resources if item not in given]:
            await self._remove(hosted, resource_id)
        for facts in given.values():
            if facts.id in hosted.resources:
                await hosted.resources[facts.id].take_over(facts, group)
            else:
                with self.keeping((facts.id,)):
                    await self._leave_its_group(facts.id)
                await self._add(hosted, facts, states.get(facts.id, ResourceState.OFFLINE))
        hosted.note_facts(states if written is None else written)

    async def detach_group(self, group_id: GroupId, *, end: bool = False) -> None:
        """Host a group no more: its owner is another node now, or it was deleted. What runs is not touched.

        With ``end`` what may run of it is ended, by terminate, but for what the engine itself runs (the VMs): another
        node may bring it online at any moment. Nobody waits for that here, and the group can be attached again only
        when it is done.
        """
        hosted = self._groups.pop(group_id, None)
        if hosted is None:
            return
        for resource_id in hosted.resources:
            self._resources.pop(resource_id, None)
        if not (end and hosted.has_to_be_ended):
            await hosted.close()
            return
        task = asyncio.create_task(hosted.close(end=True), name=f"the end of group {group_id}")
        self._ending[group_id] = task
        task.add_done_callback(lambda done: self._on_ended(group_id, done))

    def _on_ended(self, group_id: GroupId, task: asyncio.Task[None]) -> None:
        self._ending.pop(group_id, None)
        if not task.cancelled() and task.exception() is not None:
            _log.error("%s did not come off: %r", task.get_name(), task.exception())

    async def close(self) -> None:
        """Let go of everything and end the monitor processes; what runs is not touched."""
        for group_id in list(self._groups):
            await self.detach_group(group_id)
        tasks = (*self._news, *self._ending.values())
        if self._ending:
            await asyncio.wait(tuple(self._ending.values()), timeout=_ENDED_WITHIN)  # another node may have them
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._monitors.close()

    async def _add(self, hosted: HostedGroup, facts: ResourceFacts, state: ResourceState) -> None:
        type_ = self._type(facts.type)
        resource = HostedResource(facts, hosted.facts, type_, state, self._around, hosted.on_changed, hosted.on_quiet)
        hosted.resources[facts.id] = resource
        self._resources[facts.id] = resource
        await resource.open()

    async def _leave_its_group(self, resource_id: ResourceId) -> None:
        """A resource that was put into another group is let go of by the one that it was in; what runs goes on."""
        resource = self._resources.get(resource_id)
        group = None if resource is None else self._groups.get(resource.group_id)
        if group is not None:
            await self._remove(group, resource_id)

    async def _remove(self, hosted: HostedGroup, resource_id: ResourceId) -> None:
        """Let go of a resource that is in the group no more; what may run of one that was deleted is ended."""
        self._resources.pop(resource_id, None)
        resource = hosted.resources.pop(resource_id)
        if resource_id in self._kept or not resource.has_to_be_ended:
            await resource.close()
            return
        task = asyncio.create_task(resource.end_and_close(), name=f"the end of resource {resource_id}")
        self._news.add(task)
        task.add_done_callback(self._on_news_done)

    @contextmanager
    def keeping(self, resources: Iterable[ResourceId]) -> Iterator[None]:
        """Let these resources go on when they leave their group meanwhile: they come into another one here."""
        kept = frozenset(resources)
        self._kept |= kept
        try:
            yield
        finally:
            self._kept -= kept

    def _type(self, name: str) -> ResourceType:
        return self._types.get(name.casefold()) or MonitoredType(name, self._monitors)

    def _process_id(self, resource: HostedResource) -> int:
        """MonitorProcessId: the daemon is the monitor of the types that live in it."""
        if resource.facts.type.casefold() in self._types:
            return os.getpid()
        return self._monitors.process_id(resource.facts.id)

    # --- States ------------------------------------------------------------------------------------------------

    def hosts(self, group_id: GroupId) -> bool:
        """Answer whether this node hosts a group."""
        return group_id in self._groups

    def state(self, resource_id: ResourceId) -> ResourceState:
        """The state of a resource; UNKNOWN when this node does not host it."""
        resource = self._resources.get(resource_id)
        return ResourceState.UNKNOWN if resource is None else resource.state

    def sentence(self, resource_id: ResourceId) -> str:
        """Why a resource is in its state, for people; empty when this node does not host it."""
        resource = self._resources.get(resource_id)
        return "" if resource is None else resource.sentence

    def states(self, group_id: GroupId) -> dict[ResourceId, ResourceState]:
        """The states of a group's resources; empty when this node does not host it."""
        hosted = self._groups.get(group_id)
        return {} if hosted is None else hosted.states()

    def group_state(self, group_id: GroupId) -> GroupState:
        """The state of a group; UNKNOWN when this node does not host it."""
        return group_state(self.states(group_id).values()) if self.hosts(group_id) else GroupState.UNKNOWN

    async def wait_settled(self, group_id: GroupId) -> None:
        """Return when nothing in the group is pending, wished or unwritten any more."""
        await self._group(group_id).wait_settled()

    async def wait_requirement(self, resource_id: ResourceId, requirement: Dependency) -> None:
        """Wait shortly until the engine has told of a resource, and what it depends on; who asks next goes by it."""
        deadline = asyncio.get_running_loop().time() + _TOLD_WITHIN
        while asyncio.get_running_loop().time() < deadline:
            resource = self._resources.get(resource_id)
            if resource is not None and resource.facts.requirement == requirement:
                return
            await asyncio.sleep(0.01)

    # --- Requests ----------------------------------------------------------------------------------------------

    async def online_group(self, group_id: GroupId, flags: int = 0) -> Status:
        """Bring all resources of a group online, and want it online from now on; ``flags`` as of a resource."""
        hosted = self._group(group_id)
        persistent = not flags & ResourceOnlineFlags.DO_NOT_UPDATE_PERSISTENT_STATE
        return await hosted.online(tuple(hosted.resources), persistent=persistent)

    async def offline_group(
        self, group_id: GroupId, flags: int = 0, vm_context: VmResdllContext | None = None
    ) -> Status:
        """Take all resources of a group offline; it is wanted offline from now on.

        ``flags`` are those of :meth:`offline_resource`: a group that is on its way to another node goes offline with
        DO_NOT_UPDATE_PERSISTENT_STATE, and is still wanted online.
        """
        hosted = self._group(group_id)
        return await self._offline(hosted, tuple(hosted.resources), flags, vm_context)

    async def online_resource(self, resource_id: ResourceId, flags: int = 0) -> Status:
        """Bring a resource online, with all that it depends on."""
        persistent = not flags & ResourceOnlineFlags.DO_NOT_UPDATE_PERSISTENT_STATE
        return await self._group_of(resource_id).online((resource_id,), persistent=persistent)

    async def offline_resource(
        self, resource_id: ResourceId, flags: int = 0, vm_context: VmResdllContext | None = None
    ) -> Status:
        """Take a resource offline, with all that depends on it."""
        return await self._offline(self._group_of(resource_id), (resource_id,), flags, vm_context)

    async def _offline(
        self, hosted: HostedGroup, targets: tuple[ResourceId, ...], flags: int, vm_context: VmResdllContext | None
    ) -> Status:
        persistent = not flags & ResourceOfflineFlags.DO_NOT_UPDATE_PERSISTENT_STATE
        forced = bool(flags & ResourceOfflineFlags.FORCE_WITH_TERMINATION)
        wish = Wish(Goal.OFFLINE, forced=forced, flags=flags, vm_context=vm_context)
        return await hosted.offline(targets, wish, persistent=persistent)

    async def fail_resource(self, resource_id: ResourceId) -> Status:
        """Let a resource count as failed, as if it had been found dead. Raises RefusalError 5004 unless online."""
        resource = self._resource(resource_id)
        status = resource.request_failure("it was made to fail by an administrator")
        if status != Status.ERROR_SUCCESS:
            raise RefusalError(status, f"resource {resource.facts.name!r} is not online; only then it can fail")
        return status

    def restart_resource(self, resource_id: ResourceId) -> None:
        """Bring a failed resource online again; what cannot be without it goes offline first and comes back after it.

        It goes online as soon as what it depends on is, however long that takes, unless somebody asks otherwise. A new
        failure is told like any other. Does nothing unless it is failed. Raises RefusalError 5015.
        """
        resource = self._resource(resource_id)
        if resource.state == ResourceState.FAILED:
            self._group_of(resource_id).restart(resource_id)

    # --- News from the engine ----------------------------------------------------------------------------------

    def on_resource_failed(self, resource_id: ResourceId, sentence: str) -> None:
        """A resource whose type gives notice died; nothing happens when it is not hosted here (any more)."""
        resource = self._resources.get(resource_id)
        if resource is not None:
            resource.on_failed(sentence)

    def on_resource_stopped(self, resource_id: ResourceId, sentence: str) -> None:
        """A resource stopped in order, but not by our doing: a guest that shut itself down.

        Its type says what that means (ShutdownAction): it is offline and not wanted online any more, or it has failed.
        """
        resource = self._resources.get(resource_id)
        if resource is None:
            return
        task = asyncio.get_running_loop().create_task(self._stop(resource, sentence), name=f"{resource_id} stopped")
        self._news.add(task)
        task.add_done_callback(self._on_news_done)

    async def _stop(self, resource: HostedResource, sentence: str) -> None:
        if await resource.on_stopped(sentence) and resource.facts.id in self._resources:
            self._group_of(resource.facts.id).note_stopped(resource.facts.id)

    def _on_news_done(self, task: asyncio.Task[None]) -> None:
        self._news.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("%s: this was not dealt with: %r", task.get_name(), task.exception())

    # --- Control codes -----------------------------------------------------------------------------------------

    async def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, out_size: int | None = None
    ) -> ControlResult:
        """Carry out a control code for a resource; ``data`` None is no input buffer, ``out_size`` None is any size."""
        resource = self._resources.get(resource_id)
        return await self._controls.resource_control(
            resource, code, data, out_size, lambda: 0 if resource is None else self._process_id(resource)
        )

    async def resource_type_control(
        self, type_name: str, code: int, data: bytes | None, out_size: int | None = None
    ) -> ControlResult:
        """Carry out a control code for a resource type, on this node."""
        type_ = self._type(type_name)

        async def call(parameters: Parameters) -> ControlAnswer:
            return await self._timed_type_control(type_, code, data, parameters)

        result = await self._controls.resource_type_control(type_, code, data, out_size, call)
        if request_of(code, PropertyScope.COMMON) is PropertyRequest.SET:
            for resource in [item for item in self._resources.values() if item.type.name == type_.name]:
                await resource.refresh()  # intervals and timeouts
        return result

    async def _timed_type_control(
        self, type_: ResourceType, code: int, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        common = await self._store.read(TypeProperties(type_.name, PropertyScope.COMMON))
        limit = effective_traits(type_.traits, common, {}).deadlock_timeout

        async def call() -> ControlAnswer:
            return await type_.resource_type_control(code, data, parameters)

        async def on_hung(sentence: str) -> None:
            await type_.on_deadlock(None, sentence)

        return await timed_call(f"resource_type_control of {type_.name!r}", type_.name, limit, call, on_hung)

    # --- Diagnosis ---------------------------------------------------------------------------------------------

    def monitors(self) -> tuple[MonitorFacts, ...]:
        """The monitor processes of this node and what each does at this moment."""
        return self._monitors.facts()

    # --- Lookups -----------------------------------------------------------------------------------------------

    def _group(self, group_id: GroupId) -> HostedGroup:
        hosted = self._groups.get(group_id)
        if hosted is None:
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, f"this node does not host group {group_id}")
        return hosted

    def _resource(self, resource_id: ResourceId) -> HostedResource:
        resource = self._resources.get(resource_id)
        if resource is None:
            sentence = f"this node does not host resource {resource_id}"
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_RESOURCE_OWNER, sentence)
        return resource

    def _group_of(self, resource_id: ResourceId) -> HostedGroup:
        return self._groups[self._resource(resource_id).group_id]
