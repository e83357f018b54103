"""What the host of resources expects of others, and what it promises to them.

::

    server ──calls──▶ Host ──calls──▶ ResourceType        the entry points of one type (hosting.resource_type)
                       │
                       ├──▶ RunStates        durable states of the groups of this node (the engine)
                       ├──▶ PropertyStore    stored properties of resources and types  (the database)
                       └──▶ ClusterHandling  control codes that the cluster answers   (hosting.cluster_handling)

    the two VM types ──call──▶ VirtualMachines                                         (the engine)

Every protocol here raises :class:`~quorate.clusapi.errors.ClusterError` for what does not succeed, and nothing else.
Times are seconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from quorate.clusapi.dependencies import Dependency
from quorate.clusapi.identity import GroupId, NetworkId, ResourceId
from quorate.clusapi.property_lists import PropertyValue
from quorate.clusapi.states import MigrationState, OfflineAction, ResourceState, ResourceStatus, VmState
from quorate.clusapi.status import Status

Report = Callable[[int, str], None]
"""Called with a checkpoint, which rises with every report, and a sentence; PendingTimeout counts between reports."""

Parameters = Mapping[str, PropertyValue]
"""Stored values by property name; names are compared without regard to case."""

Changes = Mapping[str, PropertyValue | None]
"""Values to store by property name; None removes the value, so that the default holds again."""


# --- What the engine implements ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VmFacts:
    """What is known of a VM at this moment; never a question to the hypervisor, so that it may be asked often."""

    vm_state: VmState
    migration_state: MigrationState
    migration_progress: int  # percent; 100 after success until the next START
    migration_failure_reason: int  # HRESULT: S_OK, E_BUSY or E_FAIL
    queued: bool  # accepted, and waits for a free migration slot
    sentence: str  # what is going on, for people


class VirtualMachines(Protocol):
    """The virtual machines of the groups that this node owns; each is named by its group.

    All methods raise CallerError 5013 (ERROR_GROUP_NOT_FOUND) or RefusalError for a group that this node does not own.
    """

    async def online(self, group_id: GroupId, report: Report) -> None:
        """Start the VM and return when it runs; a saved image is restored, else it starts from its disks."""
        ...

    async def offline(self, group_id: GroupId, action: OfflineAction, report: Report) -> None:
        """Take the VM off as ``action`` says; returns when it is off or saved."""
        ...

    async def terminate(self, group_id: GroupId) -> None:
        """Turn the VM off now, whatever it is doing; ends a running :meth:`online` or :meth:`offline`. Idempotent."""
        ...

    def looks_alive(self, group_id: GroupId) -> bool:
        """Answer from what is known already whether the VM runs (or is paused on purpose)."""
        ...

    async def is_alive(self, group_id: GroupId) -> bool:
        """Ask the hypervisor whether the VM runs (or is paused on purpose)."""
        ...

    def facts(self, group_id: GroupId) -> VmFacts:
        """What is known of the VM now."""
        ...

    async def start_migration(
        self, group_id: GroupId, destination: str | None, policy: str = "", bandwidth_limit: int = 0
    ) -> None:
        """Check everything from "VmState is 2" on and return when the migration is accepted, not when it is done.

        ``destination`` is a node's name, already known to be well-formed; None means the best node. ``policy`` is the
        name of a migration policy that there is; empty: as the virtual machine or the cluster says. The smallest of
        ``bandwidth_limit`` (MiB/s) and theirs holds; 0 is none.
        """
        ...

    async def cancel_migration(self, group_id: GroupId) -> None:
        """Cancel a migration in state 1 or 2; RefusalError 5023 in every other state."""
        ...

    async def set_migration_state_idle(self, group_id: GroupId) -> None:
        """Write MigrationState 0 after 4 or 5. Does nothing in 0; RefusalError 5023 while a migration is under way."""
        ...

    async def refresh_configuration(self, group_id: GroupId) -> None:
        """Read the VM's definition again and check that this node still has what it asks for."""
        ...

    def networks(self) -> Mapping[NetworkId, str]:
        """The names of the cluster's networks: what memory may take."""
        ...

    async def pause(self, group_id: GroupId) -> None:
        """Stop the vCPUs; RefusalError 5023 unless VmState is 2, FaultError where the wish could not be written."""
        ...

    async def resume(self, group_id: GroupId) -> None:
        """Let the vCPUs run again; RefusalError 5023 unless VmState is 32768."""
        ...


class RunStates(Protocol):
    """The durable states of the groups that this node owns."""

    async def write_resource_states(
        self, group_id: GroupId, states: Mapping[ResourceId, ResourceState], persistent_state: bool | None
    ) -> None:
        """Write the states of all the group's resources; ``persistent_state`` None leaves that as it is.

        Writes only while this node owns the group. A RefusalError says that it does not any more: the host then drops
        the write. A FaultError (the database does not answer) makes the host try again with the newest states.
        """
        ...


# --- What the database's side implements ---------------------------------------------------------------------------


class PropertyScope(Enum):
    """Which of an object's two sets of stored properties is meant."""

    COMMON = "common"  # the cluster's own, the same for every object of the kind
    PRIVATE = "private"  # the resource type's


@dataclass(frozen=True, slots=True)
class ResourceProperties:
    """The stored properties of one resource."""

    resource_id: ResourceId
    scope: PropertyScope


@dataclass(frozen=True, slots=True)
class TypeProperties:
    """The stored properties of one resource type."""

    type_name: str
    scope: PropertyScope


PropertyOwner = ResourceProperties | TypeProperties


class PropertyStore(Protocol):
    """Where the values of properties are kept."""

    async def read(self, owner: PropertyOwner) -> Parameters:
        """All stored values, in one consistent read; nothing stored is an empty mapping."""
        ...

    async def write(self, owner: PropertyOwner, changes: Changes) -> None:
        """Store all changes or none.

        A changed "Name" of a resource renames it, with everything that goes with that; a name that is taken is a
        RefusalError 5010 (ERROR_OBJECT_ALREADY_EXISTS).
        """
        ...


class GroupFacts(Protocol):
    """What the host needs to know of a group; the database's GroupInfo fits."""

    @property
    def id(self) -> GroupId:
        """The group's id."""
        ...

    @property
    def name(self) -> str:
        """The group's name at the time."""
        ...


class ResourceFacts(Protocol):
    """What the host needs to know of a resource; the database's ResourceInfo fits."""

    @property
    def id(self) -> ResourceId:
        """The resource's id."""
        ...

    @property
    def name(self) -> str:
        """The resource's name at the time."""
        ...

    @property
    def type(self) -> str:
        """The name of its resource type."""
        ...

    @property
    def group_id(self) -> GroupId:
        """The group that it is in."""
        ...

    @property
    def requirement(self) -> Dependency:
        """Which resources of the same group must be online before it."""
        ...


# --- What the host tells -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResourceStateChange:
    """A resource of this node changed its state."""

    group_id: GroupId
    resource_id: ResourceId
    name: str
    old: ResourceState
    new: ResourceState
    sentence: str


@dataclass(frozen=True, slots=True)
class ResourceFailure:
    """A resource that was to be online has failed, of whatever type: now the restart policy has its say.

    Failures on the way offline are none of these. Terminate has begun, and :meth:`Host.restart_resource` waits for it.
    """

    group_id: GroupId
    resource_id: ResourceId
    name: str
    type: str
    status: Status  # LastOperationStatusCode
    lacking: ResourceStatus  # what this node had too little of, if that was why
    sentence: str  # why, for people


# --- Control codes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """What a resource type, the hosting default or the cluster answers to a control code.

    ERROR_INVALID_FUNCTION means: not mine, ask the next one. ``changes`` are private properties that the host stores
    before the caller hears of success; whoever answers never writes by himself.
    """

    status: Status
    output: bytes = b""
    sentence: str = ""  # for people, when the status is not success
    changes: Changes = field(default_factory=dict)


NOT_MINE = ControlAnswer(Status.ERROR_INVALID_FUNCTION)
"""The answer of whoever does not know a control code."""


@dataclass(frozen=True, slots=True)
class ControlResult:
    """What the caller of a control code gets; refusals are a status too, never an exception."""

    status: Status
    output: bytes
    required: int  # bytes of the whole output; more than fitted when the status is ERROR_MORE_DATA
    sentence: str = ""  # for people, when the status is not success


class ClusterHandling(Protocol):
    """The cluster's own handling of control codes: asked last, and first for codes that no type ever sees."""

    async def resource_control(self, resource: ResourceFacts, code: int, data: bytes | None) -> ControlAnswer:
        """Answer a resource code, or :data:`NOT_MINE`."""
        ...

    async def resource_type_control(self, type_name: str, code: int, data: bytes | None) -> ControlAnswer:
        """Answer a resource type code, or :data:`NOT_MINE`."""
        ...
