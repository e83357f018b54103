"""The groups and resources that this node hosts: what the server, the engine and the service talk to.

All methods belong to one event loop. Requests answer ERROR_SUCCESS when it is done or ERROR_IO_PENDING when it goes on
by itself, and raise :class:`~quorate.clusapi.errors.ClusterError` for everything else; control codes always answer with
a :class:`~quorate.hosting.contract.ControlResult`.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from quorate.clusapi.errors import FaultError, RefusalError
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
    RunStates,
    TypeProperties,
)
from quorate.hosting.controls import Controls
from quorate.hosting.group_plan import Goal, Wish
from quorate.hosting.hosted_group import HostedGroup, ResourceStateChange
from quorate.hosting.hosted_resource import HostedResource, Surroundings
from quorate.hosting.monitored_types import MonitorPool
from quorate.hosting.resource_type import ResourceType

_log: Final = logging.getLogger(__name__)


def _ignore(change: ResourceStateChange) -> None:
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
    ) -> None:
        """Take the types that live in the daemon; all others are looked for in the monitor processes.

        ``settings`` is what the node's configuration says to resource types (``scripts_directory``…).
        ``on_state_changed`` hears of every change of a resource's state, as it happens; it must return at once.
        """
        self._types = {type_.name.casefold(): type_ for type_ in types}
        self._store = store
        self._run_states = run_states
        self._monitors = MonitorPool() if monitors is None else monitors
        self._controls = Controls(store, PlainClusterHandling() if cluster is None else cluster)
        self._around = Surroundings(store, dict(settings or {}))
        self._on_state_changed = on_state_changed
        self._groups: dict[GroupId, HostedGroup] = {}
        self._resources: dict[ResourceId, HostedResource] = {}
        self._news: set[asyncio.Task[None]] = set()

    # --- Groups come and go ------------------------------------------------------------------------------------

    async def attach_group(
        self, group: GroupFacts, resources: Sequence[ResourceFacts], states: Mapping[ResourceId, ResourceState]
    ) -> None:
        """Host a group in the states given; nothing is started or stopped.

        A state that is pending counts as failed, and one that is not given as offline. For a group that is hosted
        already this takes over new facts: names, dependencies, resources that were added or are gone.
        """
        hosted = self._groups.get(group.id)
        if hosted is None:
            hosted = HostedGroup(group, self._run_states, self._on_state_changed)
            self._groups[group.id] = hosted
        hosted.facts = group
        given = {facts.id: facts for facts in resources}
        for resource_id in [item for item in hosted.resources if item not in given]:
            await self._remove(hosted, resource_id)
        for facts in given.values():
            if facts.id in hosted.resources:
                hosted.resources[facts.id].facts = facts
            else:
                await self._add(hosted, facts, states.get(facts.id, ResourceState.OFFLINE))
        hosted.note_states(states)

    async def detach_group(self, group_id: GroupId) -> None:
        """Host a group no more: its owner is another node now, or it was deleted. What runs is not touched."""
        hosted = self._groups.pop(group_id, None)
        if hosted is None:
            return
        for resource_id in hosted.resources:
            self._resources.pop(resource_id, None)
        await hosted.close()

    async def close(self) -> None:
        """Let go of everything and end the monitor processes; what runs is not touched."""
        for group_id in list(self._groups):
            await self.detach_group(group_id)
        for task in list(self._news):
            task.cancel()
        await self._monitors.close()

    async def _add(self, hosted: HostedGroup, facts: ResourceFacts, state: ResourceState) -> None:
        resource = HostedResource(
            facts,
            hosted.facts,
            self._type(facts.type),
            state,
            self._around,
            hosted.on_changed,
            hosted.on_quiet,
        )
        hosted.resources[facts.id] = resource
        self._resources[facts.id] = resource
        await resource.open()

    async def _remove(self, hosted: HostedGroup, resource_id: ResourceId) -> None:
        self._resources.pop(resource_id, None)
        await hosted.resources.pop(resource_id).close()

    def _type(self, name: str) -> ResourceType:
        return self._types.get(name.casefold()) or self._monitors.type(name)

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

    # --- Requests ----------------------------------------------------------------------------------------------

    async def online_group(self, group_id: GroupId, flags: int = 0) -> Status:
        """Bring all resources of a group online, and want it online from now on."""
        hosted = self._group(group_id)
        return await hosted.online(tuple(hosted.resources), persistent=True)

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

    # --- News from the engine ----------------------------------------------------------------------------------

    def on_resource_failed(self, resource_id: ResourceId, sentence: str) -> None:
        """A resource whose type gives notice died; nothing happens when it is not hosted here (any more)."""
        resource = self._resources.get(resource_id)
        if resource is not None:
            resource.on_failed(sentence)

    def on_resource_stopped(self, resource_id: ResourceId, sentence: str) -> None:
        """A resource stopped in order, but not by our doing: a guest that shut itself down.

        Its type says what that means (ShutdownAction): it is offline, or it has failed.
        """
        resource = self._resources.get(resource_id)
        if resource is None:
            return
        task = asyncio.get_running_loop().create_task(resource.on_stopped(sentence), name=f"{resource_id} stopped")
        self._news.add(task)
        task.add_done_callback(self._on_news_done)

    def _on_news_done(self, task: asyncio.Task[None]) -> None:
        self._news.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("%s, and what that means was not found out: %r", task.get_name(), task.exception())

    # --- Control codes -----------------------------------------------------------------------------------------

    async def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, out_size: int | None = None
    ) -> ControlResult:
        """Carry out a control code for a resource; ``data`` None is no input buffer, ``out_size`` None is any size."""
        resource = self._resources.get(resource_id)
        return await self._controls.resource_control(
            resource, code, data, out_size, lambda: self._monitors.process_id(resource_id)
        )

    async def resource_type_control(
        self, type_name: str, code: int, data: bytes | None, out_size: int | None = None
    ) -> ControlResult:
        """Carry out a control code for a resource type, on this node."""
        type_ = self._type(type_name)

        async def call(parameters: Parameters) -> ControlAnswer:
            return await self._timed_type_control(type_, code, data, parameters)

        return await self._controls.resource_type_control(type_, code, data, out_size, call)

    async def _timed_type_control(
        self, type_: ResourceType, code: int, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        common = await self._store.read(TypeProperties(type_.name, PropertyScope.COMMON))
        limit = effective_traits(type_.traits, common, {}).deadlock_timeout
        try:
            async with asyncio.timeout(limit) as scope:
                return await type_.resource_type_control(code, data, parameters)
        except TimeoutError:
            if not scope.expired():
                raise
            sentence = f"resource_type_control of {type_.name!r} did not return within {limit:g} s (DeadlockTimeout)"
            await type_.on_deadlock(None, sentence)
            raise FaultError(Status.ERROR_RESOURCE_CALL_TIMED_OUT, sentence) from None

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
        return self._groups[self._resource(resource_id).facts.group_id]
