"""Small stand-ins for what the host of resources stands on, for tests here and above: they obey the protocols."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from quorate.clusapi.dependencies import Dependency, every, parse_dependency
from quorate.clusapi.errors import FaultError, RefusalError
from quorate.clusapi.identity import GroupId, NetworkId, ResourceId
from quorate.clusapi.states import MigrationState, OfflineAction, ResourceState, VmState
from quorate.clusapi.status import S_OK, Status
from quorate.hosting.contract import (
    NOT_MINE,
    Changes,
    ControlAnswer,
    Parameters,
    PropertyOwner,
    PropertyStore,
    Report,
    RunStates,
    VirtualMachines,
    VmFacts,
)
from quorate.hosting.property_table import with_changes
from quorate.hosting.resource_type import Lost, OfflineRequest, OpenedResource, ReportStatus, ResourceType, TypeTraits


@dataclass(frozen=True, slots=True)
class PlainGroup:
    """A group's facts."""

    id: GroupId
    name: str


@dataclass(frozen=True, slots=True)
class PlainResource:
    """A resource's facts."""

    id: ResourceId
    name: str
    type: str
    group_id: GroupId
    dependencies: tuple[ResourceId, ...] = ()
    expression: str = ""

    @property
    def requirement(self) -> Dependency:
        """The expression, or all dependencies."""
        return parse_dependency(self.expression) if self.expression else every(self.dependencies)


class MemoryProperties(PropertyStore):
    """Keeps properties in memory."""

    def __init__(self) -> None:
        """Begin without values."""
        self.values: dict[PropertyOwner, Parameters] = {}
        self.failure: Exception | None = None

    async def read(self, owner: PropertyOwner) -> Parameters:
        """The stored values; raises ``failure`` if there is one."""
        if self.failure is not None:
            raise self.failure
        return self.values.get(owner, {})

    async def write(self, owner: PropertyOwner, changes: Changes) -> None:
        """Store; raises ``failure`` if there is one."""
        if self.failure is not None:
            raise self.failure
        self.values[owner] = with_changes(self.values.get(owner, {}), changes)


class MemoryRunStates(RunStates):
    """Remembers what was written last, and how often."""

    def __init__(self) -> None:
        """Begin without states."""
        self.states: dict[GroupId, Mapping[ResourceId, ResourceState]] = {}
        self.persistent: dict[GroupId, bool] = {}
        self.writes = 0
        self.failures: list[Exception] = []  # raised by the next writes, in order

    async def write_resource_states(
        self, group_id: GroupId, states: Mapping[ResourceId, ResourceState], persistent_state: bool | None
    ) -> None:
        """Remember, or raise the next failure."""
        if self.failures:
            raise self.failures.pop(0)
        self.writes += 1
        self.states[group_id] = dict(states)
        if persistent_state is not None:
            self.persistent[group_id] = persistent_state


OFF = VmFacts(VmState.OFF, MigrationState.NO_MIGRATION, 0, S_OK, queued=False, sentence="the VM is off")


@dataclass(slots=True)
class MemoryVirtualMachines(VirtualMachines):
    """VMs that are nothing but their facts; whoever tests sets the facts, and reads the calls."""

    known: dict[GroupId, VmFacts] = field(default_factory=dict)
    calls: list[tuple[object, ...]] = field(default_factory=list)
    network_names: dict[NetworkId, str] = field(default_factory=dict)
    refusal: RefusalError | None = None  # raised by the next call that may be refused

    def put(self, group_id: GroupId, vm_state: VmState, migration_state: MigrationState, progress: int = 0) -> None:
        """Set the facts of a VM."""
        self.known[group_id] = replace(
            OFF, vm_state=vm_state, migration_state=migration_state, migration_progress=progress
        )

    async def online(self, group_id: GroupId, report: Report) -> None:
        """The VM runs at once."""
        self._note("online", group_id)
        report(1, "starting")
        self._become(group_id, VmState.RUNNING)

    async def offline(self, group_id: GroupId, action: OfflineAction, report: Report) -> None:
        """The VM is off or saved at once."""
        self._note("offline", group_id, action)
        report(1, "stopping")
        self._become(group_id, VmState.SAVED if action is OfflineAction.SAVE else VmState.OFF)

    async def terminate(self, group_id: GroupId) -> None:
        """The VM is off at once."""
        self._note("terminate", group_id)
        self._become(group_id, VmState.OFF)

    def looks_alive(self, group_id: GroupId) -> bool:
        """Answer whether the VM runs or is paused."""
        return self.facts(group_id).vm_state in (VmState.RUNNING, VmState.PAUSED)

    async def is_alive(self, group_id: GroupId) -> bool:
        """Answer whether the VM runs or is paused."""
        return self.looks_alive(group_id)

    def networks(self) -> dict[NetworkId, str]:
        """What was set."""
        return self.network_names

    def facts(self, group_id: GroupId) -> VmFacts:
        """What was set; off if nothing was."""
        return self.known.get(group_id, OFF)

    async def start_migration(
        self, group_id: GroupId, destination: str | None, policy: str = "", bandwidth_limit: int = 0
    ) -> None:
        """Accept, when the VM runs and no migration is under way."""
        self._note("start_migration", group_id, destination, *(one for one in (policy, bandwidth_limit) if one))
        facts = self.facts(group_id)
        if facts.vm_state is not VmState.RUNNING or facts.migration_state.is_under_way:
            raise RefusalError(Status.ERROR_INVALID_STATE, "the VM does not run, or migrates already")
        self.known[group_id] = replace(facts, migration_state=MigrationState.SETUP, migration_progress=0)

    async def cancel_migration(self, group_id: GroupId) -> None:
        """Cancel in state 1 and 2."""
        self._note("cancel_migration", group_id)
        if not self.facts(group_id).migration_state.is_cancellable:
            raise RefusalError(Status.ERROR_INVALID_STATE, "there is no migration to cancel")
        self.known[group_id] = replace(self.facts(group_id), migration_state=MigrationState.CANCELED)

    async def set_migration_state_idle(self, group_id: GroupId) -> None:
        """Forget a migration that ended."""
        self._note("set_migration_state_idle", group_id)
        self.known[group_id] = replace(self.facts(group_id), migration_state=MigrationState.NO_MIGRATION)

    async def refresh_configuration(self, group_id: GroupId) -> None:
        """Remember the call."""
        self._note("refresh_configuration", group_id)

    async def pause(self, group_id: GroupId) -> None:
        """The VM is paused at once."""
        self._note("pause", group_id)
        self._become(group_id, VmState.PAUSED)

    async def resume(self, group_id: GroupId) -> None:
        """The VM runs at once."""
        self._note("resume", group_id)
        self._become(group_id, VmState.RUNNING)

    def _note(self, name: str, *arguments: object) -> None:
        self.calls.append((name, *arguments))
        if self.refusal is not None:
            refusal, self.refusal = self.refusal, None
            raise refusal

    def _become(self, group_id: GroupId, vm_state: VmState) -> None:
        self.known[group_id] = replace(self.facts(group_id), vm_state=vm_state)


@dataclass
class ToyType(ResourceType):
    """A type that does as it is told, and remembers what it was asked."""

    log: list[str] = field(default_factory=list)
    answers: dict[str, Status] = field(default_factory=dict)  # "online app" -> status
    blocked: dict[str, asyncio.Event] = field(default_factory=dict)
    reports: dict[str, ReportStatus] = field(default_factory=dict)
    alive: bool = True
    times: TypeTraits = field(default_factory=TypeTraits)  # what it gives as its traits
    control: ControlAnswer = NOT_MINE
    lost: Lost | None = None
    running: int = 0
    most_running: int = 0

    @property
    def name(self) -> str:
        """Toy."""
        return "Toy"

    @property
    def traits(self) -> TypeTraits:
        """As the test says."""
        return self.times

    async def _enter(self, entry: str, resource_id: ResourceId) -> Status:
        self.log.append(f"{entry} {resource_id}")
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if (gate := self.blocked.get(f"{entry} {resource_id}")) is not None:
                await gate.wait()
        finally:
            self.running -= 1
        status = self.answers.get(f"{entry} {resource_id}", Status.ERROR_SUCCESS)
        if status not in (Status.ERROR_SUCCESS, Status.ERROR_IO_PENDING):
            raise FaultError(status, f"{entry} went wrong")
        return status

    async def open(self, resource: OpenedResource, lost: Lost) -> None:
        """Remember whom to tell of a loss."""
        self.lost = lost
        await self._enter("open", resource.resource_id)

    async def prepare(self, resource: OpenedResource, limit: float, *, patient: bool) -> None:
        """Nothing to prepare, unless the test says so."""
        if (gate := self.blocked.get(f"prepare {resource.resource_id}")) is not None:
            await gate.wait()

    async def close(self, resource_id: ResourceId) -> None:
        """Remember the call."""
        await self._enter("close", resource_id)

    async def online(self, resource_id: ResourceId, parameters: Parameters, report: ReportStatus) -> Status:
        """Answer as the test says."""
        self.reports[f"online {resource_id}"] = report
        return await self._enter("online", resource_id)

    async def offline(self, resource_id: ResourceId, request: OfflineRequest, report: ReportStatus) -> Status:
        """Answer as the test says."""
        self.reports[f"offline {resource_id}"] = report
        return await self._enter("offline", resource_id)

    async def terminate(self, resource_id: ResourceId) -> None:
        """Answer as the test says."""
        await self._enter("terminate", resource_id)

    async def looks_alive(self, resource_id: ResourceId) -> bool:
        """Answer as the test says."""
        await self._enter("looks_alive", resource_id)
        return self.alive

    async def is_alive(self, resource_id: ResourceId) -> bool:
        """Answer as the test says."""
        await self._enter("is_alive", resource_id)
        return self.alive

    async def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        """Answer as the test says."""
        await self._enter("control", resource_id)
        return self.control

    async def resource_type_control(self, code: int, data: bytes | None, parameters: Parameters) -> ControlAnswer:
        """Answer as the test says."""
        await self._enter("type_control", ResourceId("-"))
        return self.control

    def state_after_stop(self, parameters: Parameters) -> ResourceState:
        """Offline."""
        return ResourceState.OFFLINE

    async def on_deadlock(self, resource_id: ResourceId | None, sentence: str) -> None:
        """Remember the call."""
        self.log.append(f"deadlock {resource_id}")
