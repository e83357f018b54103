"""The contract of a resource type: what ClusAPI calls a resource DLL, with plain data in and out.

Two faces of the same entry points:

- :class:`EntryPoints` is what a third party writes: plain blocking methods. A Python entry point of the group
  ``quorate.resource_types`` names the class; it is imported and called in a monitor process only, each call on a thread
  of its own, so that whatever it does harms nobody else.
- :class:`ResourceType` is what the host calls: the same as coroutines. ``hosting.monitor`` implements it for every
  third party's type; the two VM types implement it themselves, inside the daemon.

The rules of both (resource-dll.md §3 to §7):

- For one resource no entry point is called while another runs, except ``terminate``, which may overlap every one but
  ``open`` and ``close``, and makes a running ``online`` or ``offline`` end.
- ``online`` and ``offline`` answer ERROR_SUCCESS when it is done, or ERROR_IO_PENDING when the work goes on by itself
  and its end is reported. PendingTimeout counts from report to report; a report counts if its checkpoint changed.
- Any entry point that does not return within DeadlockTimeout is taken for hung: the monitor process that holds it is
  killed, and each resource in it is opened in another and asked by ``is_alive`` whether it works. Whatever a type
  starts that is to outlive its monitor process takes a session of its own (setsid).
- ``close`` forgets the resource and stops nothing: what runs may be wanted by the next daemon on this node.
- A type never writes its private properties: it answers with ``changes``, and the host stores them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.states import ResourceState, ResourceStatus, VmResdllContext
from quorate.clusapi.status import Status
from quorate.hosting.contract import ControlAnswer, Parameters

ENTRY_POINT_GROUP = "quorate.resource_types"
"""The group of Python entry points; the name of each is the name of a resource type."""


class ReportStatus(Protocol):
    """Reports how work goes on that ``online`` or ``offline`` left behind.

    ONLINE_PENDING and OFFLINE_PENDING say that it goes on; ONLINE, OFFLINE and FAILED end it. ONLINE at the end of
    ``offline`` says that the resource could not go offline without harm and has stayed online. With FAILED, ``status``
    says why and ``lacking`` what the node has too little of (bits 0x4, 0x8 and 0x10 of StatusInformation).

    False means: stop working, ``terminate`` has been called.
    """

    def __call__(
        self,
        state: ResourceState,
        checkpoint: int,
        sentence: str,
        /,
        *,
        status: Status = Status.ERROR_SUCCESS,
        lacking: ResourceStatus = ResourceStatus.NORMAL,
    ) -> bool:
        """Report; a report counts if its checkpoint is another one than the last report's."""
        ...


Lost = Callable[[str], None]
"""Called with a sentence when the process that held a resource is gone, which says nothing about the resource."""


class HolderLost(FaultError):
    """The process that held a resource ended before a call was answered; ``Lost`` has been, or is being, called."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Status.ERROR_RESOURCE_FAILED, sentence)
        self.args = (sentence,)


@dataclass(frozen=True, slots=True)
class TypeTraits:
    """What the host must know of a type before it calls it. Times are the defaults, in seconds."""

    notifies_failure: bool = False  # the type says by itself when a resource fails: it is not polled
    looks_alive_interval: float = 5.0
    is_alive_interval: float = 60.0
    pending_timeout: float = 180.0
    deadlock_timeout: float = 300.0


@dataclass(frozen=True, slots=True)
class OpenedResource:
    """The facts with which a resource is opened."""

    resource_id: ResourceId
    name: str
    type_name: str
    group_id: GroupId
    group_name: str
    was_online: bool = False  # it was online when its last daemon or monitor process ended, and may be still
    separate_monitor: bool = False  # it asks for a monitor process of its own
    settings: Mapping[str, str] = field(default_factory=dict)  # what the node's configuration says to resource types
    parameters: Parameters = field(default_factory=dict)  # its private properties at the time


@dataclass(frozen=True, slots=True)
class OfflineRequest:
    """How a resource is to go offline."""

    parameters: Parameters
    flags: int = 0  # RESOURCE_OFFLINE flags of the caller
    vm_context: VmResdllContext | None = None  # what the caller wants done with a VM, this once


class EntryPoints(Protocol):
    """What a third party writes. Everything may block; anything may raise :class:`ClusterError`.

    The class is made once in each monitor process, without arguments.
    """

    def open(self, resource: OpenedResource) -> None:
        """Build what is needed for this resource."""
        ...

    def close(self, resource_id: ResourceId) -> None:
        """Forget the resource; stop nothing."""
        ...

    def online(self, resource_id: ResourceId, parameters: Parameters, report: ReportStatus) -> Status:
        """Bring it online."""
        ...

    def offline(self, resource_id: ResourceId, request: OfflineRequest, report: ReportStatus) -> Status:
        """Take it offline gracefully."""
        ...

    def terminate(self, resource_id: ResourceId) -> None:
        """Stop it now, and make a running online or offline end."""
        ...

    def looks_alive(self, resource_id: ResourceId) -> bool:
        """Answer cheaply whether it seems to work."""
        ...

    def is_alive(self, resource_id: ResourceId) -> bool:
        """Check whether it works."""
        ...

    def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        """Answer a control code of the resource; ``NOT_MINE`` when it does not know the code."""
        ...

    def resource_type_control(self, code: int, data: bytes | None, parameters: Parameters) -> ControlAnswer:
        """Answer a control code of the type; ``NOT_MINE`` when it does not know the code."""
        ...


class ResourceType(Protocol):
    """The entry points of one type as the host calls them; see :class:`EntryPoints` for what each does."""

    @property
    def name(self) -> str:
        """The name of the type."""
        ...

    @property
    def traits(self) -> TypeTraits:
        """What the host must know before it calls."""
        ...

    async def open(self, resource: OpenedResource, lost: Lost) -> None:
        """Build what is needed for this resource; call ``lost`` when there is nobody left to call for it."""
        ...

    async def prepare(self, resource: OpenedResource, limit: float, *, patient: bool) -> None:
        """See to it that there is somebody to call for an open resource; ``resource`` are its newest facts.

        Takes the time that a process takes to start, and to be started again after a crash: that does not count for
        DeadlockTimeout; entry point open, if it is called here, must return within ``limit`` seconds of its own.
        Raises FaultError 5017, 5931, and 5910 when open hangs; without ``patient`` 5931 rather than to wait.
        """
        ...

    async def close(self, resource_id: ResourceId) -> None:
        """Forget the resource; stop nothing."""
        ...

    async def online(self, resource_id: ResourceId, parameters: Parameters, report: ReportStatus) -> Status:
        """Bring it online."""
        ...

    async def offline(self, resource_id: ResourceId, request: OfflineRequest, report: ReportStatus) -> Status:
        """Take it offline gracefully."""
        ...

    async def terminate(self, resource_id: ResourceId) -> None:
        """Stop it now, and make a running online or offline end."""
        ...

    async def looks_alive(self, resource_id: ResourceId) -> bool:
        """Answer cheaply whether it seems to work."""
        ...

    async def is_alive(self, resource_id: ResourceId) -> bool:
        """Check whether it works."""
        ...

    async def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        """Answer a control code of the resource."""
        ...

    async def resource_type_control(self, code: int, data: bytes | None, parameters: Parameters) -> ControlAnswer:
        """Answer a control code of the type."""
        ...

    def state_after_stop(self, parameters: Parameters) -> ResourceState:
        """OFFLINE or FAILED: what it means that a resource stopped by itself, in order."""
        ...

    async def on_deadlock(self, resource_id: ResourceId | None, sentence: str) -> None:
        """Get rid of a call that did not return in time; None when it was a call of the type itself."""
        ...


class ResourceTypes(Protocol):
    """Finds the implementation of a type by its name."""

    def find(self, type_name: str) -> ResourceType:
        """The type of that name. Raises CallerError 5078 when there is none."""
        ...
