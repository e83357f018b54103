"""The contract between the engine and whatever runs virtual machines.

A :class:`Hypervisor` makes :class:`Instance` objects; an instance is one process-like copy of a VM on this node, at
most one per VmId that is not an incoming copy. vCPUs never start by themselves: every instance begins stopped, and
only :meth:`Instance.cont` starts them; a driver never calls it of its own accord (DESIGN §4, I2).

Errors: a refusal of the host is a RefusalError (5953 incompatible, 5957 memory, 5023 already running here), everything
that broke or did not answer in time is a FaultError. A command to an instance that is gone raises
:class:`HypervisorGone`. Durations are seconds unless a name says milliseconds; sizes are bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeAlias

from quorate.clusapi.errors import FaultError
from quorate.clusapi.host_sight import GuestSight, HostSight
from quorate.clusapi.identity import ImageId, VmId
from quorate.clusapi.status import Status
from quorate.hypervisor.definition import VmDefinition
from quorate.hypervisor.pinned import Accelerator, Pinned
from quorate.hypervisor.transfer import (
    MemorySight,
    MigrationParameters,
    MigrationSample,
    MigrationStatus,
    MigrationTls,
    Progress,
)

__all__ = [
    "Accelerator",
    "Exited",
    "Fresh",
    "GuestPanicked",
    "GuestReset",
    "GuestShutdown",
    "HostFacts",
    "Hypervisor",
    "HypervisorGone",
    "Incoming",
    "Instance",
    "InstanceEvent",
    "Launch",
    "LaunchRequest",
    "MemorySight",
    "MigrationChanged",
    "MigrationParameters",
    "MigrationSample",
    "MigrationStatus",
    "MigrationTls",
    "Mute",
    "PassStarted",
    "Pinned",
    "ProcessSight",
    "Progress",
    "Restore",
    "RunState",
    "RunStateChanged",
    "Speaking",
    "VmPaths",
]


class HypervisorGone(FaultError):
    """The process behind an instance has ended, or its control connection is lost for good."""

    def __init__(self, vm_id: VmId, sentence: str) -> None:
        """Say which VM it was and what is known of the cause."""
        super().__init__(Status.ERROR_CLUSTER_RESOURCE_PROVIDER_FAILED, sentence)
        self.vm_id = vm_id


# --- What a host offers, and what a launch needs ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What this host can run; other nodes see it and the placement decides with it."""

    kind: str  # "qemu" or "fake"
    version: tuple[int, int, int]
    accelerator: Accelerator
    machine_type: str  # the newest versioned machine type, such as pc-q35-10.0
    cpu_model: str
    memory_total: int
    memory_free: int
    no_post_copy: str = ""  # why it cannot be the destination of a post-copy; empty: it can


@dataclass(frozen=True, slots=True)
class ProcessSight:
    """What the process behind an instance says of the guest that it runs."""

    version: tuple[int, int, int]  # of the hypervisor program, which may be replaced on the disk meanwhile
    withheld: frozenset[str] = frozenset()  # CPU features that the model has and the guest did not get
    blocked: tuple[str, ...] = ()  # why it could not be migrated, such as a device that is passed through


@dataclass(frozen=True, slots=True)
class VmPaths:
    """Where an instance keeps its files; all of them are named by the VM's id.

    ``directory`` holds the serial log and what else may be long; ``runtime`` (a path of less than 90 bytes) holds
    sockets, locks and run files. Sockets are named by a digest of the VM's id: their paths stay under 107 bytes.
    """

    directory: Path
    runtime: Path

    def serial_log(self, vm_id: VmId) -> Path:
        """Tell which file the guest's first serial port is appended to.

        It grows without bound: a QEMU cannot change to another file while it runs.
        """
        return self.directory / f"{vm_id}.serial.log"

    def process_log(self, vm_id: VmId) -> Path:
        """Tell which file the hypervisor process writes its own messages to."""
        return self.directory / f"{vm_id}.hypervisor.log"

    def rom(self, vm_id: VmId) -> Path:
        """Tell which file the built-in guest is in while its instance lives."""
        return self.directory / f"{vm_id}.rom"

    def firmware_variables(self, vm_id: VmId) -> Path:
        """Tell which file keeps the variables of UEFI."""
        return self.directory / f"{vm_id}.vars.fd"

    def lock(self, vm_id: VmId) -> Path:
        """Tell which file is locked by the instance as long as it lives."""
        return self.runtime / f"{vm_id}.lock"

    def run_file(self, vm_id: VmId) -> Path:
        """Tell which file says how to find the instance again."""
        return self.runtime / f"{vm_id}.run"

    def control_socket(self, vm_id: VmId) -> Path:
        """Tell which unix socket takes commands to the instance."""
        return self._socket(vm_id, "q")

    def migration_socket(self, vm_id: VmId) -> Path:
        """Tell which unix socket an incoming instance of this VM listens on by default."""
        return self._socket(vm_id, "m")

    def agent_socket(self, vm_id: VmId) -> Path:
        """Tell which unix socket leads to the agent in the guest."""
        return self._socket(vm_id, "a")

    def migration_certificates(self, vm_id: VmId) -> Path:
        """Tell in which directory the node's certificates lie while an instance reads them."""
        return self._socket(vm_id, "t")

    def _socket(self, vm_id: VmId, kind: str) -> Path:
        return self.runtime / f"{hashlib.sha256(vm_id.encode()).hexdigest()[:12]}.{kind}"


@dataclass(frozen=True, slots=True)
class Fresh:
    """Start from the disks: nothing is in memory yet."""


@dataclass(frozen=True, slots=True)
class Restore:
    """Load a saved image; when launch returns the guest is as it was saved, stopped."""

    path: Path


@dataclass(frozen=True, slots=True)
class Incoming:
    """Wait for a migration; ``prefault`` touches all of the memory first, which shortens the copy."""

    prefault: bool = True


Launch: TypeAlias = Fresh | Restore | Incoming


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """Everything a launch needs."""

    vm_id: VmId
    name: str  # for people who look at the list of processes
    image: ImageId
    definition: VmDefinition
    pinned: Pinned
    paths: VmPaths
    launch: Launch


# --- What an instance tells ---------------------------------------------------------------------------------------


class RunState(Enum):
    """Whether the vCPUs run, and if not, why; the many states of QEMU in eight groups."""

    RUNNING = "running"
    PAUSED = "paused"  # stopped, can be continued
    INMIGRATE = "inmigrate"  # waits for, or takes in, a memory image
    POSTMIGRATE = "postmigrate"  # its image was sent completely
    SHUTDOWN = "shutdown"  # the guest has switched itself off
    SAVING = "saving"  # stopped while the last part is sent
    PANICKED = "panicked"
    UNKNOWN = "unknown"  # did not answer

    @property
    def vcpus_run(self) -> bool:
        """Answer whether guest code is being executed."""
        return self is RunState.RUNNING


@dataclass(frozen=True, slots=True)
class Exited:
    """The process has ended. Always the last event of an instance."""

    exit_code: int | None  # None: not known (an adopted process is not our child); negative: killed by that signal
    sentence: str


@dataclass(frozen=True, slots=True)
class RunStateChanged:
    """The vCPUs started or stopped."""

    state: RunState


@dataclass(frozen=True, slots=True)
class MigrationChanged:
    """The transfer's status changed."""

    status: MigrationStatus
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class PassStarted:
    """The source begins its pass ``number`` (from 1) over the memory."""

    number: int


@dataclass(frozen=True, slots=True)
class GuestShutdown:
    """The guest was switched off: by itself (or by its power button), or by a command to the hypervisor."""

    by_guest: bool


@dataclass(frozen=True, slots=True)
class GuestPanicked:
    """The guest told that it has crashed."""


@dataclass(frozen=True, slots=True)
class GuestReset:
    """The guest was reset."""


@dataclass(frozen=True, slots=True)
class Mute:
    """The control connection has not answered for two seconds; the guest may well run on."""

    since: float  # time.monotonic() of the last word


@dataclass(frozen=True, slots=True)
class Speaking:
    """The control connection answers again."""


InstanceEvent: TypeAlias = (
    Exited
    | RunStateChanged
    | MigrationChanged
    | PassStarted
    | GuestShutdown
    | GuestPanicked
    | GuestReset
    | Mute
    | Speaking
)


class Instance(Protocol):
    """One copy of a VM on this node.

    Every coroutine raises HypervisorGone when the process is gone and FaultError when it does not answer in time.
    Events are delivered on the event loop, in order, to every subscriber; a subscriber that raises is logged and harms
    nobody else. Exited comes exactly once, to those as well who subscribe when the process is gone already.
    """

    @property
    def vm_id(self) -> VmId:
        """The VM's id."""
        ...

    @property
    def image(self) -> ImageId:
        """The id of the memory image it holds."""
        ...

    @property
    def pid(self) -> int:
        """The process id (of the fake: a number below zero)."""
        ...

    @property
    def started_at(self) -> float:
        """Seconds since the epoch at which the process was started."""
        ...

    @property
    def is_gone(self) -> bool:
        """Tell whether the process has ended, perhaps before `Exited` has told so."""
        ...

    async def run_state(self) -> RunState:
        """Ask whether the vCPUs run."""
        ...

    async def cont(self) -> None:
        """Start the vCPUs. Only who has the right by R1 may call it."""
        ...

    async def stop(self) -> None:
        """Stop the vCPUs; when it returns no guest code runs. Idempotent."""
        ...

    async def shutdown_guest(self) -> None:
        """Press the ACPI power button; whether the guest obeys shows as GuestShutdown."""
        ...

    async def reset(self) -> None:
        """Reset the guest as its reset button would."""
        ...

    async def quit(self, timeout: float) -> None:
        """End the process politely, after ``timeout`` by force; returns when it is gone."""
        ...

    def kill(self) -> None:
        """End the process at once (SIGKILL). Idempotent, never hits another process."""
        ...

    async def wait_gone(self) -> None:
        """Wait until the process is gone."""
        ...

    async def save(self, path: Path, report: Progress | None = None) -> None:
        """Write the memory image of the stopped guest; ``path`` appears only when it is complete and on the disk.

        ``report`` is told how many bytes are written. Raises FaultError when the file could not be written: then
        nothing is left of it, and the guest can be continued.
        """
        ...

    async def listen(self, parameters: MigrationParameters) -> str:
        """Begin to wait for the source (incoming instances only); return the uri that the source connects to."""
        ...

    async def migrate(self, uri: str, parameters: MigrationParameters) -> None:
        """Begin to send the memory image to ``uri``; returns once begun, the rest comes as events and samples."""
        ...

    async def migrate_cancel(self) -> None:
        """Give the transfer up. Idempotent.

        The status goes to CANCELLED, or to FAILED where the hypervisor trips over the connection that it cuts itself,
        or has been COMPLETED before. Raises FaultError when it is in post-copy, which nothing can take back.
        """
        ...

    async def throttle(self, percent: int) -> None:
        """Hold the processors of a guest back, 1 to 99 percent of their time, while its memory is being copied.

        The transfer must have been begun with ``may_throttle``. It takes the hypervisor a look for dirty pages or more;
        a sample tells when it is in force. It ends with the transfer, however that ends and whoever still lives then.
        """
        ...

    async def begin_postcopy(self) -> None:
        """Let a transfer that was begun with ``post_copy`` switch as soon as the guest has been stopped.

        It then waits at PRE_SWITCHOVER for `enter_postcopy`; until that it can be cancelled, and the guest continued.
        """
        ...

    async def enter_postcopy(self) -> None:
        """Send the devices' state. From here on this instance can never run the guest again (FaultError from `cont`).

        Raises FaultError when the transfer does not stand at PRE_SWITCHOVER.
        """
        ...

    async def pause_postcopy(self) -> None:
        """Give up a connection over which nothing comes any more; each side keeps what it has. Idempotent.

        This and `listen_again` are the only commands that the destination's instance is sure to answer while its guest
        waits for a page.

        Raises FaultError when the transfer is not a post-copy.
        """
        ...

    async def listen_again(self, parameters: MigrationParameters) -> str:
        """Begin to wait for the source of a paused post-copy; return the uri. A second call replaces the first."""
        ...

    async def migrate_again(self, uri: str) -> None:
        """Begin to go on with a paused post-copy over a new connection; what comes of it comes as events."""
        ...

    async def migration(self) -> MigrationSample:
        """Look at the transfer."""
        ...

    async def sight(self) -> ProcessSight:
        """Ask what the guest was given, and whether anything of it stands against a migration."""
        ...

    async def memory_in_use(self) -> MemorySight:
        """Look how much of the memory is not zero."""
        ...

    async def memory_written(self, seconds: float) -> MemorySight:
        """Watch for so long how much of the memory is written. Never while it is migrated: it costs both time."""
        ...

    async def vcpu_seconds(self) -> float:
        """Tell for how long the vCPUs have run on a processor: it grows while the guest lives."""
        ...

    async def announce(self) -> None:
        """Tell the network where the guest's MAC addresses are now."""
        ...

    async def heard(self, addresses: frozenset[str], seconds: float) -> frozenset[str] | None:
        """Listen for frames to these MAC addresses (lower case, with colons) until each has got one, or for so long.

        Answers those that have got one; None, at once, where nobody may listen.
        """
        ...

    async def release(self) -> None:
        """Let go of the process without harming it: another daemon may adopt it.

        This object is of no use from then on: no event comes, commands fail, kill does nothing, wait_gone returns.
        """
        ...

    def subscribe(self, callback: Callable[[InstanceEvent], None]) -> Callable[[], None]:
        """Have ``callback`` called with each event from now on; returns a function that ends it."""
        ...


class Hypervisor(Protocol):
    """A driver."""

    async def host_facts(self) -> HostFacts:
        """Tell what this host can run; the first call may take two seconds, since KVM is tried."""
        ...

    async def pin(self, definition: VmDefinition) -> Pinned:
        """Decide what the guest will see of this kind of host, for good."""
        ...

    async def learn(self) -> None:
        """Find out what takes longer and is not needed to run anything: the daemon calls it once, when it is up.

        Raises FaultError; what could not be found out is not known then.
        """
        ...

    @property
    def compression(self) -> float | None:
        """Bytes per second that one processor compresses as a transfer would; None: not at all, or not known yet."""
        ...

    async def measure(self, definition: VmDefinition, pinned: Pinned) -> HostSight:
        """Look what this host has for a VM; whether that suffices, others judge."""
        ...

    async def look_at(self, instance: Instance | None, definition: VmDefinition, pinned: Pinned) -> GuestSight:
        """Look what a VM of this host has been given; without an instance only at its files."""
        ...

    async def launch(self, request: LaunchRequest, report: Progress | None = None) -> Instance:
        """Make an instance with its vCPUs stopped; ``report`` is told how many bytes of a saved image are read.

        Raises RefusalError 5023 when a live instance of this VM already holds its lock on this node (whatever the
        daemon that started it), FaultError when it could not be started; then nothing is left over.
        """
        ...

    async def adopt(self, vm_id: VmId, paths: VmPaths) -> Instance | None:
        """Take over the instance that an earlier daemon started under ``paths``; None if there is none that lives."""
        ...
